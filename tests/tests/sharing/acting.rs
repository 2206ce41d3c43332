//! Extended attributes that act, and programs that set what they found elsewhere.

use std::fs;
use std::path::Path;
use std::process::Output;

use keyfold_tests::{Sandbox, program, until};
use serde_json::Value;

use crate::publish::{attribute, offered};
use crate::scene::{SOON, World, comes, end, status, text};

/// Sets an attribute as a program does.
fn set(name: &str, value: &str, path: &Path) -> Output {
    let name = format!("user.keyfold.{name}");
    let mut setfattr = program("setfattr");
    setfattr
        .args(["-n", &name, "-v", value, text(path)])
        .output()
        .unwrap()
}

#[track_caller]
fn not_permitted(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it was taken");
    assert!(said.contains("not permitted"), "{said}");
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
    let token = attribute("token", &reports);
    not_permitted(&set("grant", "bob:rw", &reports));
    not_permitted(&set("grant", "bob:rw;", &reports));
    not_permitted(&set(
        "grant",
        &format!("bob:rw;{}", attribute("token", &other)),
        &reports,
    ));
    not_permitted(&set("owner", "bob", &reports));
    assert_eq!(status(&at_alice)["sharing"]["shares"], Value::Array(vec![]));

    done(&set("grant", &format!("bob:rw;{token}"), &reports));
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    until("the members are told", SOON, || {
        attribute("members", &here) == "alice owner\nbob writer"
    });
    assert_eq!(attribute("owner", &here.join("first")), "alice");
    assert_eq!(attribute("fingerprint", &here), alice_fingerprint(&at_bob));
    done(&set("revoke", "bob", &reports));
    until("bob is told", SOON, || {
        attribute("state", &here) == "removed"
    });

    let (_, stub) = offered(&at_alice, &at_bob);
    done(&set("request", "rw", &stub));
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
