//! Input that makes no sense, and a world that does not help: clear words, the right errno and exit
//! status, and nothing lost.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use keyfold_tests::{Answer, Mount, Sandbox, Server, Vault, keyfold, program, shell, until};
use serde_json::Value;

use crate::scene::{
    SOON, World, comes, command, end, given, members, refused, run, run_in, share_status, shared,
    status, text, tree,
};
use crate::stage::{Stage, connected, fails, look, synced};

/// Writes bytes to the control file. Returns the errno that this fails with, and the reply.
fn control(mount: &Mount, line: &[u8]) -> (Option<i32>, String) {
    let mut options = fs::File::options();
    let control = options.read(true).write(true);
    let mut control = control.open(mount.join(".keyfold/control")).unwrap();
    let written = control.write_all(line).err();
    let mut reply = Vec::new();
    // What is no text makes no reply either.
    let read = control.read_to_end(&mut reply).map(drop);
    let errno = written.and_then(|error| error.raw_os_error());
    assert!(read.is_ok() || errno.is_some());
    (errno, String::from_utf8_lossy(&reply).into_owned())
}

#[test]
fn lines_that_are_no_command_are_refused_and_the_mount_lives_on() {
    let world = World::new();
    let (alice, _bob) = world.two();
    let mount = alice.vault.mount();
    fs::create_dir(mount.join("Reports")).unwrap();
    let long = [&b"share "[..], &vec![b'x'; 100_000], b" bob"].concat();
    let many = b"share ".repeat(100);
    let deep = b"{\"command\":".repeat(5000);
    let lines: [(&[u8], &str); 17] = [
        (b"\n", "empty"),
        (b"   \t ", "empty"),
        (b"frobnicate", "unknown command"),
        (b"share 'Reports bob", "quote"),
        (b"share Reports bob\\", "backslash"),
        (b"share \xff\xfe bob", "UTF-8"),
        (b"sh\0are", "control characters"),
        (b"sync\nsync", "one line"),
        (b"{", "JSON"),
        (b"{}", "JSON"),
        (b"[]", "unknown command"),
        (b"{\"command\": \"share\"}", "path"),
        (b"{\"command\": 7}", "JSON"),
        (
            b"{\"command\": \"share\", \"path\": 1, \"user\": \"bob\"}",
            "",
        ),
        (&long, "too long"),
        (&many, "words"),
        (&deep, "JSON"),
    ];
    for (line, said) in lines {
        let shown = String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
        let (errno, reply) = control(&mount, line);
        let errno = errno.unwrap_or_else(|| panic!("{shown} was taken: {reply}"));
        assert_eq!(errno, libc::EINVAL, "{shown}: {reply}");
        assert!(reply.contains(said), "{shown}: {reply}");
    }
    // Nothing written is nothing asked.
    assert_eq!(control(&mount, b"").0, None);
    assert_eq!(status(&mount)["sharing"]["shares"], Value::Array(vec![]));
    mount.unmount();
    alice.vault.check();
}

#[test]
fn paths_that_lead_elsewhere_are_no_folders_of_the_mount() {
    let world = World::new();
    let (alice, _bob) = world.two();
    let mount = alice.vault.mount();
    let outside = world.sandbox.dir("outside");
    fs::create_dir(mount.join("inside")).unwrap();
    std::os::unix::fs::symlink("inside", mount.join("link")).unwrap();
    std::os::unix::fs::symlink("/etc", mount.join("away")).unwrap();
    refused(&keyfold(["share", text(&outside), "bob"]), 23, "");
    for (path, errno) in [
        ("../outside", libc::EINVAL),
        ("inside/../../outside", libc::EINVAL),
        ("away", libc::ENOENT),
        ("link", libc::ENOENT),
        ("link/inside", libc::ENOENT),
        (".keyfold", libc::ENOENT),
        (".keyfold/snapshots", libc::ENOENT),
        ("inside/\u{202e}x", libc::ENOENT),
    ] {
        let (failed, reply) = command(&mount, &format!("share '{path}' bob"));
        assert_eq!(failed, Some(errno), "{path}: {reply}");
    }
    assert_eq!(status(&mount)["sharing"]["shares"], Value::Array(vec![]));
    mount.unmount();
    alice.vault.check();
}

#[test]
fn nothing_moves_or_links_across_the_edge_of_a_share() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    fs::create_dir_all(reports.join("dir")).unwrap();
    fs::write(at_alice.join("own"), "own").unwrap();
    fs::create_dir(at_alice.join("other")).unwrap();
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    until("the directory is there", SOON, || here.join("dir").is_dir());
    fs::write(at_bob.join("own of bob"), "own").unwrap();
    fs::create_dir(at_bob.join("other")).unwrap();
    for (mount, share, own) in [(&at_alice, &reports, "own"), (&at_bob, &here, "own of bob")] {
        let (inner, outer) = (share.join("first"), mount.join(own));
        let results = [
            fs::rename(&inner, mount.join("moved")),
            fs::rename(&outer, share.join("moved")),
            fs::rename(&inner, &outer),
            fs::rename(&outer, &inner),
            fs::hard_link(&inner, mount.join("linked")),
            fs::hard_link(&outer, share.join("linked")),
            fs::rename(mount.join("other"), share.join("dir/other")),
        ];
        for (number, result) in results.into_iter().enumerate() {
            let errno = result.map_err(|error| error.raw_os_error());
            assert_eq!(errno, Err(Some(libc::EXDEV)), "{number}");
        }
        // Programs copy then.
        shell(mount.path(), &format!("mv '{own}' '{}/'", text(share)));
        let busy = [
            fs::remove_dir(share),
            fs::rename(mount.join("other"), share),
        ];
        for result in busy {
            let errno = result.unwrap_err().raw_os_error();
            assert!([Some(libc::EBUSY), Some(libc::ENOTEMPTY)].contains(&errno));
        }
    }
    comes(&here.join("own"), "own");
    comes(&reports.join("own of bob"), "own");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_share_whose_place_is_taken_comes_beside_it_or_waits_and_says_why() {
    let world = World::new();
    let (alice, bob) = world.two();
    let carol = world.person("carol");
    alice.trusts(&carol);
    carol.trusts(&alice);
    let mounts = [alice.vault.mount(), bob.vault.mount(), carol.vault.mount()];
    let [at_alice, at_bob, at_carol] = &mounts;
    let taken = at_bob.join("Shared/alice/Reports");
    fs::create_dir_all(&taken).unwrap();
    fs::write(taken.join("first"), "bob's own").unwrap();
    fs::write(at_carol.join("Shared"), "carol's own").unwrap();
    let reports = shared(at_alice, "bob", &[]);
    run(&["share", text(&reports), "carol"]);
    let beside = at_bob.join("Shared/alice/Reports (2)");
    comes(&beside.join("first"), "from alice");
    assert_eq!(
        fs::read_to_string(taken.join("first")).unwrap(),
        "bob's own"
    );
    let offered = || status(at_carol)["sharing"]["offered"][0].clone();
    until("it waits", SOON, || {
        let why = offered()["why"].as_str().unwrap_or_default().to_owned();
        why.contains("in the way")
    });
    let accept = ["accept", "alice/Reports", text(at_carol.path())];
    refused(&keyfold(accept), 21, "in the way");
    fs::remove_file(at_carol.join("Shared")).unwrap();
    run(&accept);
    comes(&at_carol.join("Shared/alice/Reports/first"), "from alice");
    let [at_alice, at_bob, at_carol] = mounts;
    end([(at_alice, &alice), (at_bob, &bob), (at_carol, &carol)]);
}

#[test]
fn commands_about_people_and_requests_that_make_no_sense_say_so() {
    let world = World::new();
    let (alice, bob) = world.two();
    let at_alice = alice.vault.mount();
    let reports = shared(&at_alice, "bob", &["--write"]);
    let (at, reports) = (text(at_alice.path()), text(&reports));
    let unknown = keyfold(["share", reports, "nobody"]);
    refused(&unknown, 40, "nobody is called nobody");
    refused(
        &keyfold(["share", reports, "bob"]),
        21,
        "takes part already",
    );
    refused(
        &keyfold(["share", reports, "bob", "--write"]),
        21,
        "takes part already",
    );
    refused(&keyfold(["share", reports, "alice"]), 2, "your own account");
    refused(&keyfold(["share", reports, "Bob!"]), 2, "Bob!");
    refused(
        &keyfold(["unshare", reports, "alice"]),
        33,
        "stays its owner",
    );
    refused(
        &keyfold(["unshare", reports, "carol"]),
        40,
        "carol is no member",
    );
    refused(
        &keyfold(["role", "Reports", "alice", "reader", at]),
        33,
        "stays its owner",
    );
    refused(&keyfold(["leave", "Reports", at]), 33, "stays its owner");
    refused(&keyfold(["members", "nothing", at]), 40, "no share");
    refused(&keyfold(["approve", "00000000", at]), 40, "no request");
    refused(&keyfold(["deny", "00000000", at]), 40, "no request");
    refused(&keyfold(["withdraw", "00000000", at]), 40, "no request");
    refused(
        &keyfold(["accept", "bob/Nothing", at]),
        40,
        "nothing of bob",
    );
    let elsewhere = keyfold(["request", "bob@elsewhere.example/plans", at]);
    refused(&elsewhere, 2, "elsewhere.example");
    let members = members("Reports", &at_alice);
    assert_eq!(members["members"].as_array().unwrap().len(), 2);
    at_alice.unmount();
    alice.vault.check();
    bob.vault.check();
}

#[test]
fn two_machines_of_one_owner_may_do_the_same_at_once() {
    let world = World::new();
    let (alice, bob) = world.two();
    let carol = world.person("carol");
    alice.trusts(&carol);
    let tablet = alice.another_device(&world);
    let (at_alice, at_tablet) = (alice.vault.mount(), tablet.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_tablet.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    for round in 0..3 {
        let adding = [&reports, &here].map(|folder| {
            let folder = folder.clone();
            std::thread::spawn(move || keyfold(["share", text(&folder), "carol"]))
        });
        let added = adding.map(|thread| thread.join().unwrap());
        let codes = added.each_ref().map(|outcome| outcome.code.unwrap());
        assert!(codes.contains(&0), "round {round}: {added:?}");
        // Who comes second finds it done.
        assert!(codes.iter().all(|code| [0, 21].contains(code)), "{added:?}");
        let members = || {
            let members = members("Reports", &at_alice);
            members["members"].as_array().unwrap().len()
        };
        assert_eq!(members(), 3);
        let taking = [&reports, &here].map(|folder| {
            let folder = folder.clone();
            std::thread::spawn(move || keyfold(["unshare", text(&folder), "carol"]))
        });
        let taken = taking.map(|thread| thread.join().unwrap());
        let codes = taken.each_ref().map(|outcome| outcome.code.unwrap());
        assert!(codes.contains(&0), "round {round}: {taken:?}");
        assert!(codes.iter().all(|code| [0, 40].contains(code)), "{taken:?}");
        assert_eq!(members(), 2);
    }
    fs::write(here.join("after"), "still one share").unwrap();
    comes(&reports.join("after"), "still one share");
    at_tablet.unmount();
    end([(at_alice, &alice)]);
    tablet.check();
    bob.vault.check();
}

#[test]
fn what_does_not_fit_into_a_quota_waits_and_is_told_until_there_is_room() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_alice);
    world.server.stop();
    world.server.set_user("alice", &["--quota", "100000"]);
    world.server.start();
    let large = keyfold_tests::pattern(1, 1 << 20);
    fs::write(reports.join("large"), &large).unwrap();
    look(&at_alice);
    fails(&at_alice, "quota");
    // Here it is whole, whatever the server says, and others go on.
    assert!(fs::read(reports.join("large")).unwrap() == large);
    assert!(share_status(&at_alice)["waiting"].as_u64() > Some(0));
    world.server.stop();
    world.server.set_user("alice", &["--quota", "1000000000"]);
    world.server.start();
    look(&at_alice);
    until("it came", 2 * SOON, || {
        fs::read(here.join("large")).is_ok_and(|read| read == large)
    });
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_server_whose_disk_is_full_loses_nothing_and_takes_it_later() {
    let sandbox = Sandbox::new();
    let disk = sandbox.small_disk(24);
    let server = Server::logging(&disk, "warn");
    let world = World { server, sandbox };
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_alice);
    let filler = disk.join("filler");
    let filled = program("dd")
        .args(["if=/dev/zero", "bs=64k", &format!("of={}", text(&filler))])
        .output()
        .unwrap();
    assert!(!filled.status.success(), "the disk is not full");
    let large = keyfold_tests::pattern(2, 4 << 20);
    fs::write(reports.join("large"), &large).unwrap();
    fs::write(reports.join("first"), "changed").unwrap();
    look(&at_alice);
    until("it is told", SOON, || {
        let share = share_status(&at_alice);
        share["state"] == "failing" && share["error"].is_string()
    });
    assert!(fs::read(reports.join("large")).unwrap() == large);
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );
    fs::remove_file(filler).unwrap();
    look(&at_alice);
    comes(&here.join("first"), "changed");
    until("it came", 2 * SOON, || {
        fs::read(here.join("large")).is_ok_and(|read| read == large)
    });
    end([(at_alice, &alice), (at_bob, &bob)]);
}

/// A certificate of an authority of its own for this machine, made by openssl.
fn authority(dir: &Path, name: &str) {
    let script = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
            -keyout {name}-ca.key -out {name}-ca.pem -subj /CN={name} 2>/dev/null
         openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
            -keyout {name}.key -out {name}.csr -subj /CN=localhost 2>/dev/null
         printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\\nbasicConstraints=CA:FALSE\\n' >{name}.ext
         openssl x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial \
            -days 2 -extfile {name}.ext -out {name}.pem 2>/dev/null"
    );
    shell(dir, &script);
}

#[test]
fn a_server_whose_certificate_is_not_of_the_known_authority_is_told_nothing() {
    let mut world = World::new();
    let keys = world.sandbox.dir("keys");
    authority(&keys, "right");
    authority(&keys, "wrong");
    let tls = |name: &str| {
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        [keys.join(certificate), keys.join(key)]
    };
    world.server.stop();
    world.server.set_tls(Some(tls("right")));
    world.server.start();
    let ca = keys.join("right-ca.pem");
    let alice = world.person_by("alice", &["--server-ca", text(&ca)]);
    let bob = world.person_by("bob", &["--server-ca", text(&ca)]);
    alice.trusts(&bob);
    bob.trusts(&alice);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_bob);

    world.server.stop();
    world.server.set_tls(Some(tls("wrong")));
    world.server.start();
    look(&at_bob);
    connected(&at_bob, false);
    let error = status(&at_bob)["sharing"]["error"].clone();
    assert!(error.as_str().unwrap().contains("certificate"), "{error}");
    fs::write(here.join("meanwhile"), "from bob").unwrap();
    refused(
        &keyfold(["share", text(&reports), "carol"]),
        50,
        "certificate",
    );
    // Nor is one spoken to that knows no TLS at all.
    world.server.stop();
    world.server.set_tls(None);
    world.server.start();
    refused(&keyfold(["share", text(&reports), "carol"]), 50, "");
    world.server.stop();
    world.server.set_tls(Some(tls("right")));
    world.server.start();
    look(&at_bob);
    comes(&reports.join("meanwhile"), "from bob");
    // An authority that is none of the system's is not believed without being named.
    let stranger = Vault::new();
    let registered = world.register(("carol", &stranger), &[]);
    refused(&registered, 50, "certificate");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn clocks_that_are_wrong_keep_nobody_from_his_files() {
    let stage = Stage::new();
    let (alice, bob) = (&stage.alice, &stage.bob);
    // The server's clock is years behind for alice, and years ahead for bob.
    for (relay, time) in [
        (&stage.before_alice, 1_000_000),
        (&stage.before_bob, 9_000_000_000_u64),
    ] {
        relay.play(move |request, server| {
            if request.path() == "/v1/events" {
                return Answer::Honest;
            }
            let Ok(mut reply) = request.ask(server) else {
                return Answer::Closed;
            };
            if let Ok(mut value) = serde_json::from_slice::<Value>(&reply.body) {
                edit_times(&mut value, time);
                reply.body = serde_json::to_vec(&value).unwrap();
            }
            Answer::Reply(reply)
        });
    }
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    // Files stamped before and after all that a clock shows.
    for (name, stamp) in [("old", "1901-01-01"), ("new", "2399-12-31")] {
        fs::write(here.join(name), name).unwrap();
        run_in(&["touch", "-d", stamp, text(&here.join(name))]);
        comes(&reports.join(name), name);
    }
    synced(&at_bob);
    synced(&at_alice);
    let stamps = |folder: &Path| {
        ["old", "new"].map(|name| fs::metadata(folder.join(name)).unwrap().modified().unwrap())
    };
    until("stamps came", SOON, || stamps(&reports) == stamps(&here));
    assert_eq!(tree(&reports).unwrap().len(), 3);
    end([(at_alice, alice), (at_bob, bob)]);
}

/// Puts a time in the place of every time.
fn edit_times(value: &mut Value, time: u64) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if ["time", "since", "last_seen", "created"].contains(&name.as_str()) {
                    *value = time.into();
                } else {
                    edit_times(value, time);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| edit_times(value, time)),
        _ => {}
    }
}
