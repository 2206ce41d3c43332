//! Extended attributes that act, and programs that set what they found elsewhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use keyfold_tests::{Sandbox, program, until};
use serde_json::Value;

use crate::publish::{attribute, offered};
use crate::scene::{SOON, World, comes, end, given, names, run, run_in, status, text};

/// Sets an attribute as a program does.
fn set(name: &str, value: &str, path: &Path) -> Output {
    let name = format!("user.keyfold.{name}");
    let mut setfattr = program("setfattr");
    setfattr
        .args(["-n", &name, "-v", value, text(path)])
        .output()
        .unwrap()
}

/// Sets an attribute with the token that it takes to act.
fn act(name: &str, what: &str, path: &Path) -> Output {
    set(name, &format!("{what};{}", attribute("token", path)), path)
}

#[track_caller]
fn fails(output: &Output, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it was taken");
    assert!(said.contains(why), "{said}");
}

#[track_caller]
fn not_permitted(output: &Output) {
    fails(output, "not permitted");
}

#[track_caller]
fn done(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_attribute_gives_takes_and_asks_as_the_command_does() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = at_alice.join("Reports");
    let other = at_alice.join("Other");
    for dir in [&reports, &other] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(reports.join("first"), "from alice").unwrap();
    not_permitted(&set("grant", "bob:rw", &reports));
    not_permitted(&set("grant", "bob:rw;", &reports));
    not_permitted(&set(
        "grant",
        &format!("bob:rw;{}", attribute("token", &other)),
        &reports,
    ));
    not_permitted(&set("owner", "bob", &reports));
    assert_eq!(status(&at_alice)["sharing"]["shares"], Value::Array(vec![]));

    done(&act("grant", "bob:rw", &reports));
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    until("the members are told", SOON, || {
        attribute("members", &here) == "alice owner\nbob writer"
    });
    assert_eq!(attribute("owner", &here.join("first")), "alice");
    assert_eq!(attribute("fingerprint", &here), alice_fingerprint(&at_bob));
    not_permitted(&set("revoke", "bob", &reports));
    assert_eq!(names("Reports", &at_alice), ["alice", "bob"]);
    done(&act("revoke", "bob", &reports));
    until("bob is told", SOON, || {
        attribute("state", &here) == "removed"
    });

    let (_, stub) = offered(&at_alice, &at_bob);
    not_permitted(&set("request", "rw", &stub));
    assert_eq!(attribute("state", &stub), "locked");
    done(&act("request", "rw", &stub));
    assert_eq!(attribute("state", &stub), "requested");
    until("the request is told", SOON, || {
        status(&at_alice)["sharing"]["requests"] == 1
    });
    let inbox = fs::read_to_string(at_alice.join(".keyfold/inbox")).unwrap();
    assert!(inbox.contains("bob asks to read and write"), "{inbox}");
    let mut listing = program("getfattr");
    let listed = listing
        .args(["-d", "-m", "-", text(&reports), text(&here)])
        .output()
        .unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(!listed.contains("keyfold"), "{listed}");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn attributes_act_on_a_file_that_is_shared_by_itself_and_on_no_other_file() {
    let world = World::new();
    let (alice, bob) = world.two();
    let carol = world.person("carol");
    alice.trusts(&carol);
    carol.trusts(&alice);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let at_carol = carol.vault.mount();
    let dir = at_alice.join("Work");
    fs::create_dir(&dir).unwrap();
    let (plan, other) = (dir.join("Plan"), dir.join("other"));
    fs::write(&plan, "from alice").unwrap();
    fs::write(&other, "of alice alone").unwrap();
    fails(&act("grant", "bob:r", &plan), "not supported");
    run(&["share", text(&plan), "bob"]);
    not_permitted(&set("grant", "carol:r", &plan));
    done(&act("grant", "carol:r", &plan));
    comes(&at_carol.join("Shared/alice/Plan"), "from alice");
    let at_bobs = at_bob.join("Shared/alice/Plan");
    comes(&at_bobs, "from alice");
    done(&act("revoke", "bob", &plan));
    until("bob is told", SOON, || {
        attribute("state", &at_bobs) == "removed"
    });
    fails(&act("grant", "bob:r", &other), "not supported");
    fails(&act("revoke", "carol", &other), "not supported");
    assert_eq!(names("Work/Plan", &at_alice), ["alice", "carol"]);
    end([(at_alice, &alice), (at_bob, &bob), (at_carol, &carol)]);
}

/// A command that runs as the mounting user does who is not root: by permissions alone.
fn unprivileged(words: &[&str]) -> Output {
    let mut setpriv = program("setpriv");
    let without = "--bounding-set=-dac_override,-dac_read_search";
    setpriv.arg(without).args(words).output().unwrap()
}

#[test]
fn who_mounted_reads_and_sets_attributes_of_a_stub_without_privileges_and_enters_it_with_none() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (_, stub) = offered(&at_alice, &at_bob);
    let path = text(&stub);
    // It is one whom permissions hold up.
    let barred = world.sandbox.file("barred", "x");
    fs::set_permissions(&barred, fs::Permissions::from_mode(0o000)).unwrap();
    fails(&unprivileged(&["cat", text(&barred)]), "denied");
    let get = ["getfattr", "--only-values", "--absolute-names", "-n"];
    let read = |name: &str| {
        let output = unprivileged(&[&get[..], &[name, path]].concat());
        done(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(read("user.keyfold.state"), "locked");
    assert_eq!(read("user.keyfold.owner"), "alice");
    for entering in [
        &["ls", path][..],
        &["ls", text(&stub.join("x"))],
        &["touch", text(&stub.join("x"))],
        &["env", "-C", path, "true"],
    ] {
        fails(&unprivileged(entering), "denied");
    }
    let asking = format!("r;{}", read("user.keyfold.token"));
    let set = [
        "setfattr",
        "-n",
        "user.keyfold.request",
        "-v",
        &asking,
        path,
    ];
    done(&unprivileged(&set));
    assert_eq!(read("user.keyfold.state"), "requested");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

fn alice_fingerprint(mount: &keyfold_tests::Mount) -> String {
    let people = crate::scene::run(&["people", text(mount.path()), "--json"]);
    let people: Value = serde_json::from_str(&people).unwrap();
    people[0]["fingerprint"].as_str().unwrap().to_owned()
}

/// A directory that carries attributes which would act.
fn carrying(sandbox: &Sandbox, name: &str, value: &str) -> std::path::PathBuf {
    let dir = sandbox.dir(name);
    fs::write(dir.join("file"), "x").unwrap();
    for path in [dir.clone(), dir.join("file")] {
        done(&set("grant", value, &path));
        done(&set("request", "rw", &path));
    }
    dir
}

#[test]
fn programs_that_restore_attributes_give_nobody_anything() {
    let world = World::new();
    let (alice, bob) = world.two();
    let at_alice = alice.vault.mount();
    // Even the token of another mount, or of another file, is of no use.
    let old = attribute("token", at_alice.path());
    let carried = carrying(&world.sandbox, "carried", &format!("bob:rw;{old}"));
    let moved = carrying(&world.sandbox, "moved", "bob:rw");
    let archive = world.sandbox.path().join("archive.tar");
    let place = at_alice.path();
    let xattrs = ["--xattrs", "--xattrs-include=*"];
    let run = |words: &[&str]| program(words[0]).args(&words[1..]).output().unwrap();
    let tar = [
        "tar",
        "-C",
        text(world.sandbox.path()),
        "-cf",
        text(&archive),
    ];
    done(&run(&[&tar[..], &xattrs, &["carried"]].concat()));
    let mount = text(place);
    // They complain, or not; what they were to copy is there.
    run(&[&["tar", "-C", mount, "-xf", text(&archive)][..], &xattrs].concat());
    assert_eq!(fs::read_to_string(place.join("carried/file")).unwrap(), "x");
    run(&[&["tar", "-C", mount, "-xf", text(&archive)][..], &xattrs].concat());
    run(&["cp", "-a", text(&carried), text(&place.join("copied"))]);
    run(&["mv", text(&moved), text(&place.join("moved"))]);
    for name in ["copied/file", "moved/file"] {
        assert_eq!(fs::read_to_string(place.join(name)).unwrap(), "x", "{name}");
    }
    let sharing = &status(&at_alice)["sharing"];
    assert_eq!(sharing["shares"], Value::Array(vec![]));
    assert!(
        fs::read_to_string(place.join(".keyfold/activity"))
            .unwrap()
            .is_empty()
    );
    end([(at_alice, &alice)]);
    drop(bob);
}

#[test]
fn what_is_unpacked_over_a_share_or_a_stub_takes_nothing_from_anybody_and_asks_for_nothing() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    given(&at_alice, &at_bob, &["--write"]);
    let (_, stub) = offered(&at_alice, &at_bob);
    // Packed by somebody who knows the names that are there.
    let packed = world.sandbox.dir("packed");
    for (name, attribute, value) in [("Reports", "revoke", "bob"), ("Plan 2027", "request", "rw")] {
        fs::create_dir(packed.join(name)).unwrap();
        done(&set(attribute, value, &packed.join(name)));
    }
    let unpack = |name: &str, dir: &Path| {
        let archive = packed.join("archive.tar");
        let tar = ["tar", "--xattrs", "--xattrs-include=*", "-C"];
        let words = [text(&packed), "-cf", text(&archive), name];
        run_in(&[&tar[..], &words].concat());
        // It complains, or not.
        let mut unpacking = program(tar[0]);
        unpacking.args(&tar[1..]);
        unpacking.args([text(dir), "-xvf", text(&archive)]);
        let unpacked = unpacking.output().unwrap();
        let said = String::from_utf8_lossy(&unpacked.stderr);
        assert!(said.contains("user.keyfold."), "it was not tried: {said}");
    };
    unpack("Reports", at_alice.path());
    unpack("Plan 2027", stub.parent().unwrap());
    assert_eq!(names("Reports", &at_alice), ["alice", "bob"]);
    assert_eq!(attribute("state", &stub), "locked");
    end([(at_alice, &alice), (at_bob, &bob)]);
}
