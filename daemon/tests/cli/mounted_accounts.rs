//! Accounts of a vault that is mounted.

use std::fs;

use keyfold_server::config::Config;
use serde_json::Value;

use crate::sandbox::{Sandbox, wait_until};
use crate::world::{OLD, World};

/// What `status` tells of sharing.
fn sharing(sandbox: &Sandbox) -> Value {
    let status = fs::read(sandbox.path("m/.keyfold/status")).unwrap();
    serde_json::from_slice::<Value>(&status).unwrap()["sharing"].clone()
}

fn connected(sandbox: &Sandbox) {
    wait_until("shares are synced", || {
        sharing(sandbox)["connected"] == true
    });
}

fn mounted(names: &[&str]) -> Sandbox {
    let sandbox = Sandbox::with_vaults(names);
    fs::create_dir(sandbox.path("m")).unwrap();
    sandbox.mount();
    sandbox
}

#[test]
fn an_account_is_made_and_proved_and_used_without_unmounting() {
    let config = Config {
        verify_email: true,
        mail_folder: Some("/nowhere".into()),
        ..Config::default()
    };
    let world = World::with(config);
    let sandbox = mounted(&["v"]);
    assert_eq!(sharing(&sandbox), Value::Null);
    sandbox.register(&world, "alice", "v");
    let login = ["account", "login", "alice", "m"];
    sandbox
        .with_password(&[&login, &OLD])
        .refused(51, "not proved yet");
    let mail = world.mail();
    let words = mail.split_whitespace();
    let words = words.map(|word| word.rsplit(['=', '/', '#']).next().unwrap());
    let token = words.max_by_key(|word| word.len()).unwrap();
    sandbox
        .with_password(&[&["account", "verify", token, "--vault", "v"]])
        .expect(0);
    sandbox.with_password(&[&login, &OLD]).expect(0);
    connected(&sandbox);
    assert_eq!(sandbox.json(&["account", "show", "m"])["logged_in"], true);

    sandbox
        .with_password(&[&["account", "logout", "v"]])
        .expect(0);
    assert_eq!(sandbox.json(&["account", "show", "v"])["logged_in"], false);
    assert_eq!(sharing(&sandbox), Value::Null);
    sandbox
        .with_password(&[
            &["account", "login", "alice", "v", "--kit", "alice.kit"],
            &OLD,
        ])
        .expect(0);
    connected(&sandbox);
    sandbox.unmount();
    sandbox.with_password(&[&["check", "v"]]).expect(0);
    assert_eq!(sandbox.json(&["account", "show", "v"])["logged_in"], true);
}

#[test]
fn what_is_told_and_changed_of_an_account_is_the_same_while_it_is_mounted() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v", "w", "u"]);
    fs::create_dir(sandbox.path("m")).unwrap();
    sandbox.register(&world, "alice", "v");
    sandbox.register(&world, "bob", "u");
    sandbox.login(&world, "alice", "w").expect(0);
    let show = ["account", "show", "v"];
    let kit = ["account", "kit", "v"];
    let (shown, printed) = (
        sandbox.json(&show),
        sandbox.with_password(&[&kit]).expect(0),
    );
    sandbox.mount();
    assert_eq!(sandbox.json(&show), shown);
    assert_eq!(sandbox.with_password(&[&kit]).expect(0).out, printed.out);

    fs::write(sandbox.path("new-pw"), "third giraffe\n").unwrap();
    let new = ["--new-account-password-file", "new-pw"];
    sandbox
        .with_password(&[&["account", "password", "m"], &OLD, &new])
        .expect(0);
    let wrong = sandbox.with_password(&[&["account", "password", "m"], &OLD, &new]);
    wrong.refused(12, "wrong account password");
    fs::write(sandbox.path("account-pw"), "third giraffe\n").unwrap();

    let bob = sandbox.json(&["account", "show", "u"])["fingerprint"].clone();
    let bob = bob.as_str().unwrap();
    let trust = ["trust", "bob", "m"];
    sandbox.with_password(&[&trust]).expect(2);
    let alice = shown["fingerprint"].as_str().unwrap();
    sandbox
        .with_password(&[&trust, &["--fingerprint", alice]])
        .refused(52, "not the one that was given");
    sandbox
        .with_password(&[&trust, &["--fingerprint", bob]])
        .expect(0);
    assert_eq!(sandbox.json(&["people", "m"])[0]["verified"], true);

    let lost = sandbox.json(&["account", "show", "w"])["device"].clone();
    let remove = ["account", "devices", "remove", lost.as_str().unwrap(), "m"];
    sandbox
        .with_password(&[&remove, &["--kit-file", "new.kit"], &OLD])
        .expect(0);
    let devices = sandbox.json(&["account", "devices", "list", "m"]);
    assert_eq!(devices.as_array().unwrap().len(), 1);
    connected(&sandbox);
    let kits = [sandbox.path("new.kit"), sandbox.path("alice.kit")];
    let [newer, older] = kits.map(|path| fs::read_to_string(path).unwrap());
    assert_ne!(newer, older);

    let delete = ["account", "delete", "m", "--confirm"];
    sandbox
        .with_password(&[&delete, &["bob"]])
        .refused(1, "not confirmed");
    sandbox.with_password(&[&delete, &["alice"]]).expect(0);
    sandbox
        .with_password(&[&["account", "show", "m"]])
        .refused(53, "has no account");
    sandbox.unmount();
    sandbox.with_password(&[&["check", "v"]]).expect(0);
}

#[test]
fn without_the_vaults_password_nothing_is_ordered_of_a_mount() {
    let world = World::new();
    let sandbox = Sandbox::with_vaults(&["v"]);
    fs::create_dir(sandbox.path("m")).unwrap();
    sandbox.register(&world, "alice", "v");
    sandbox.mount();
    fs::write(sandbox.path("other-pw"), "wrong horse\n").unwrap();
    for command in ["show", "kit", "logout"] {
        let wrong = sandbox.run(["account", command, "m", "--password-file", "other-pw"]);
        wrong.refused(12, "");
        sandbox.run(["account", command, "m"]).refused(16, "");
    }
    assert_eq!(sandbox.json(&["account", "show", "m"])["logged_in"], true);
    sandbox.unmount();

    let read = ["mount", "v", "m", "-o", "control=read"];
    sandbox.with_password(&[&read]).expect(0);
    sandbox
        .with_password(&[&["account", "logout", "m"]])
        .refused(33, "control option");
    sandbox.unmount();
}
