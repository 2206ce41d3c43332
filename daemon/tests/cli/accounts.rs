//! Accounts, from vaults to a real server and back.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keyfold_server::config::Config;

use crate::sandbox::Sandbox;
use crate::world::{NEW, OLD, World};

#[test]
fn an_account_made_in_one_vault_is_used_in_another_with_the_kit() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v", "w"]);
    sandbox.register(&world, "alice", "v");
    let mode = sandbox.path("alice.kit").metadata().unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let first = sandbox.json(&["account", "show", "v"]);
    assert_eq!(first["logged_in"], true);
    assert_eq!(first["server"], world.url);

    sandbox.login(&world, "alice", "w").expect(0);
    let second = sandbox.json(&["account", "show", "w"]);
    assert_eq!(second["fingerprint"], first["fingerprint"]);
    assert_ne!(second["device"], first["device"]);

    let devices = sandbox.json(&["account", "devices", "list", "w"]);
    let current: Vec<_> = devices.as_array().unwrap().iter().collect();
    assert_eq!(current.len(), 2);
    assert!(
        current
            .iter()
            .any(|d| d["device"] == first["device"] && d["current"] == false)
    );
    assert!(
        current
            .iter()
            .any(|d| d["device"] == second["device"] && d["current"] == true)
    );

    let of = |vault: &str| {
        sandbox
            .with_password(&[&["account", "kit", vault]])
            .expect(0)
            .out
    };
    assert_eq!(of("v"), of("w"));
    let check = sandbox.with_password(&[&["check", "v"]]);
    check.expect(0);
}

#[test]
fn a_login_without_the_right_kit_or_password_sends_nothing_and_keeps_nothing() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v", "u", "w"]);
    sandbox.register(&world, "alice", "v");
    sandbox.register(&world, "bob", "u");
    fs::write(sandbox.path("account-pw"), "short giraffe\n").unwrap();
    let wrong = sandbox.login(&world, "alice", "w");
    wrong.refused(12, "wrong account password");
    let login = ["account", "login", "alice", "w", "--server", &world.url];
    let other = sandbox.with_password(&[&login, &["--kit", "bob.kit"], &OLD]);
    other.refused(12, "the kit is of another account");
    let none = sandbox.with_password(&[&login, &OLD]);
    none.refused(53, "give the kit");
    let kit = fs::read_to_string(sandbox.path("alice.kit")).unwrap();
    fs::write(
        sandbox.path("typo.kit"),
        kit.replacen("secret: ", "secret: 0", 1),
    )
    .unwrap();
    let typo = sandbox.with_password(&[&login, &["--kit", "typo.kit"], &OLD]);
    typo.refused(16, "the kit has a typing error");
    let shown = sandbox.with_password(&[&["account", "show", "w"]]);
    shown.refused(53, "has no account");
}

#[test]
fn the_recovery_key_logs_in_and_sets_another_password() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v", "w", "x"]);
    sandbox.register(&world, "alice", "v");
    let login = ["account", "login", "alice", "w", "--server", &world.url];
    let with_recovery = ["--kit", "alice.kit", "--with-recovery"];
    sandbox.with_password(&[&login, &with_recovery]).expect(0);
    fs::write(sandbox.path("account-pw"), "third giraffe\n").unwrap();
    let changed = sandbox.with_password(&[&["account", "password", "w", "--with-recovery"], &NEW]);
    assert!(!changed.expect(0).out.contains("Kit of the account"));
    sandbox.login(&world, "alice", "x").expect(0);
}

#[test]
fn a_password_changed_elsewhere_is_taken_only_when_the_user_says_so() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v", "w"]);
    sandbox.register(&world, "alice", "v");
    sandbox.login(&world, "alice", "w").expect(0);
    sandbox
        .with_password(&[&["account", "logout", "w"]])
        .expect(0);
    fs::write(sandbox.path("new-pw"), "third giraffe\n").unwrap();
    let new = ["--new-account-password-file", "new-pw"];
    sandbox
        .with_password(&[&["account", "password", "v"], &OLD, &new])
        .expect(0);
    fs::write(sandbox.path("account-pw"), "third giraffe\n").unwrap();
    let refused = sandbox.login(&world, "alice", "w");
    refused.refused(52, "--password-changed");
    let login = ["account", "login", "alice", "w", "--kit", "alice.kit"];
    sandbox
        .with_password(&[&login, &["--password-changed"], &OLD])
        .expect(0);
}

#[test]
fn a_lost_device_is_shut_out_and_its_kit_opens_nothing() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v", "w", "x", "u"]);
    sandbox.register(&world, "alice", "v");
    sandbox.register(&world, "bob", "u");
    sandbox.login(&world, "alice", "w").expect(0);
    let bob = sandbox.json(&["account", "show", "u"])["fingerprint"].clone();
    let bob = bob.as_str().unwrap();
    sandbox
        .with_password(&[&["trust", "bob", "v", "--fingerprint", bob]])
        .expect(0);
    let lost = sandbox.json(&["account", "show", "w"])["device"].clone();
    let lost = lost.as_str().unwrap();
    let remove = ["account", "devices", "remove"];
    let own = sandbox.json(&["account", "show", "v"])["device"].clone();
    let own = [own.as_str().unwrap(), "v"];
    let refused = sandbox.with_password(&[&remove, &own, &OLD]);
    refused.refused(1, "that is this device");
    sandbox
        .with_password(&[&remove, &[&lost[..8], "v", "--kit-file", "new.kit"], &OLD])
        .expect(0);
    let devices = sandbox.with_password(&[&["account", "devices", "list", "w"]]);
    devices.refused(53, "the session has ended");
    sandbox
        .login(&world, "alice", "x")
        .refused(12, "not valid any more");
    fs::rename(sandbox.path("new.kit"), sandbox.path("alice.kit")).unwrap();
    sandbox.login(&world, "alice", "x").expect(0);
    let people = sandbox.json(&["people", "x"]);
    assert_eq!(people[0]["user"], "bob");
    assert_eq!(people[0]["verified"], true);
    // Who knew alice before takes her new keys, which her old ones signed.
    let alice = sandbox.json(&["account", "show", "x"])["fingerprint"].clone();
    let trust = [
        "trust",
        "alice",
        "u",
        "--fingerprint",
        alice.as_str().unwrap(),
    ];
    sandbox.with_password(&[&trust]).expect(0);
}

#[test]
fn people_are_trusted_by_their_fingerprint_and_otherwise_only_on_a_terminal() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v", "u"]);
    sandbox.register(&world, "alice", "v");
    sandbox.register(&world, "bob", "u");
    let trust = sandbox.with_password(&[&["trust", "bob", "v"]]);
    let refused = trust.expect(2);
    assert!(refused.err.contains("--fingerprint"), "{}", refused.err);
    let people = sandbox.json(&["people", "v"]);
    assert_eq!(people[0]["verified"], false);
    let alice = sandbox.json(&["account", "show", "v"])["fingerprint"].clone();
    let wrong = [
        "trust",
        "bob",
        "v",
        "--fingerprint",
        alice.as_str().unwrap(),
    ];
    sandbox
        .with_password(&[&wrong])
        .refused(52, "not the one that was given");
    sandbox
        .with_password(&[&["trust", "nobody", "v"]])
        .refused(51, "not-found");
    let bob = people[0]["fingerprint"].as_str().unwrap();
    let right = ["trust", "bob", "v", "--fingerprint", bob];
    sandbox.with_password(&[&right]).expect(0);
    let again = sandbox.with_password(&[&["trust", "bob", "v"]]).expect(0);
    assert!(again.out.contains("is verified since"));
}

#[test]
fn an_address_is_proved_by_mail_where_the_server_wants_it() {
    let config = Config {
        verify_email: true,
        mail_folder: Some("/nowhere".into()),
        ..Config::default()
    };
    let world = World::with(config);
    let sandbox = Sandbox::with_vaults(&["v"]);
    sandbox.register(&world, "alice", "v");
    let login = ["account", "login", "alice", "v"];
    sandbox
        .with_password(&[&login, &OLD])
        .refused(51, "not proved yet");
    let mail = world.mail();
    let token = mail
        .split_whitespace()
        .map(|word| word.rsplit(['=', '/', '#']).next().unwrap())
        .max_by_key(|word| word.len())
        .unwrap();
    sandbox
        .with_password(&[&["account", "verify", token, "--vault", "v"]])
        .expect(0);
    sandbox.with_password(&[&login, &OLD]).expect(0);
}

#[test]
fn a_registration_that_was_cut_off_goes_on_and_an_account_ends() {
    let mut world = World::new();
    let sandbox = Sandbox::with_vaults(&["v"]);
    let url = world.url.clone();
    world.stop();
    let register = ["account", "register", "alice", "v", "--server", &url];
    let email = ["--email", "a@example.org"];
    let dead = sandbox.with_password(&[&register, &email, &NEW]);
    dead.refused(50, "cannot connect to");
    let shown = sandbox.with_password(&[&["account", "show", "v"]]);
    shown.refused(53, "has no account");

    let world = World::new();
    sandbox.register(&world, "alice", "v");
    let delete = ["account", "delete", "v"];
    let unasked = sandbox.with_password(&[&delete]).expect(2);
    assert!(unasked.err.contains("--confirm"));
    let wrong = sandbox.with_password(&[&delete, &["--confirm", "bob"]]);
    wrong.refused(1, "not confirmed");
    sandbox
        .with_password(&[&delete, &["--confirm", "alice"]])
        .expect(0);
    let shown = sandbox.with_password(&[&["account", "show", "v"]]);
    shown.refused(53, "has no account");
}

#[test]
fn a_vault_has_one_account_and_logging_out_forgets_its_keys() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v", "u"]);
    sandbox.register(&world, "alice", "v");
    sandbox.register(&world, "bob", "u");
    let twice = sandbox.login(&world, "alice", "v");
    twice.refused(53, "is logged in already");
    sandbox
        .login(&world, "bob", "v")
        .refused(53, "one vault has one account");
    sandbox
        .with_password(&[&["account", "logout", "v"]])
        .expect(0);
    sandbox
        .with_password(&[&["account", "kit", "v"]])
        .refused(53, "nobody is logged in");
    let other = sandbox.login(&world, "bob", "v");
    other.refused(53, "one vault has one account");
    let forget = ["account", "logout", "v", "--forget"];
    sandbox.with_password(&[&forget]).expect(0);
    sandbox.login(&world, "bob", "v").expect(0);
}

#[test]
fn a_mounted_vault_is_named_with_its_mount() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v"]);
    fs::create_dir(sandbox.path("m")).unwrap();
    sandbox.register(&world, "alice", "v");
    sandbox.mount();
    let listed = sandbox.with_password(&[&["ls", "v"]]);
    listed.refused(11, "it is mounted on");
    sandbox.unmount();
}

#[test]
fn a_server_without_tls_elsewhere_is_not_called() {
    let sandbox = Sandbox::with_vaults(&["v"]);
    for url in [
        "http://files.example.org",
        "ftp://files.example.org",
        "https://alice:x@files.example.org",
        "https://files.example.org/keyfold",
        "https://[::1]",
        "files.example.org",
    ] {
        let args = ["account", "register", "alice", "v", "--server", url];
        let refused = sandbox.run(args).expect(2);
        assert!(refused.err.contains("server's address"), "{}", refused.err);
    }
}

#[test]
fn rosters_and_requests_are_answered_where_there_is_nothing_yet() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v"]);
    sandbox.register(&world, "alice", "v");
    for command in ["shares", "inbox"] {
        assert_eq!(sandbox.json(&[command, "v"]), serde_json::json!([]));
    }
    let no_share = sandbox.with_password(&[&["members", "0123", "v"]]);
    no_share.refused(40, "no share of this account");
    for command in ["approve", "deny", "withdraw"] {
        let no_request = sandbox.with_password(&[&[command, "01234567", "v"]]);
        no_request.refused(40, "there is no request of that id");
    }
    let host = world.url.strip_prefix("http://").unwrap();
    let nothing = format!("alice@{host}/plan");
    sandbox
        .with_password(&[&["request", &nothing, "v"]])
        .refused(40, "nothing is offered to this account");
    let elsewhere = ["request", "bob@files.example.org/plan", "v"];
    sandbox
        .with_password(&[&elsewhere])
        .refused(2, "another server");
}

/// An authority of its own in `ca.pem`, and a certificate by it for this machine.
fn make_certificate(sandbox: &Sandbox) -> Config {
    const NEW_KEY: [&str; 6] = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ];
    let authority: &[&str] = &[
        "-subj",
        "/CN=authority",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
    ];
    let server: &[&str] = &[
        "-subj",
        "/CN=server",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-keyout",
        "server.key",
        "-out",
        "server.pem",
    ];
    for what in [authority, server] {
        let mut make = std::process::Command::new("openssl");
        make.args(NEW_KEY).args(["-nodes", "-days", "2"]).args(what);
        let made = make.current_dir(sandbox.path("")).output().unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{said}");
    }
    Config {
        tls_certificate: Some(sandbox.path("server.pem")),
        tls_key: Some(sandbox.path("server.key")),
        ..Config::default()
    }
}

#[test]
fn a_server_of_an_authority_of_its_own_is_called_only_with_its_file() {
    let sandbox = Sandbox::with_vaults(&["v"]);
    let world = World::with(make_certificate(&sandbox));
    let register = ["account", "register", "alice", "v", "--server", &world.url];
    let email = ["--email", "alice@example.org", "--kit-file", "alice.kit"];
    let unknown = sandbox.with_password(&[&register, &email, &NEW]);
    unknown.refused(50, "cannot connect to");
    let plain = world.url.replace("https:", "http:");
    let http = ["account", "register", "alice", "v", "--server", &plain];
    let refused = sandbox.with_password(&[&http, &email, &NEW]);
    refused.refused(50, "");
    fs::write(sandbox.path("empty.pem"), "no certificate").unwrap();
    let empty = ["--server-ca", "empty.pem"];
    let none = sandbox.with_password(&[&register, &email, &empty, &NEW]);
    none.refused(1, "it has no certificate");
    let with_file = ["--server-ca", "ca.pem"];
    // Something answered, so there may be an account now: it is given up only when the user says so.
    let again = sandbox.with_password(&[&register, &email, &with_file, &NEW]);
    again.refused(53, "one vault has one account");
    sandbox
        .with_password(&[&["account", "logout", "v", "--forget"]])
        .expect(0);
    sandbox
        .with_password(&[&register, &email, &with_file, &NEW])
        .expect(0);
    fs::remove_file(sandbox.path("ca.pem")).unwrap();
    let devices = sandbox.json(&["account", "devices", "list", "v"]);
    assert_eq!(devices.as_array().unwrap().len(), 1);
}
