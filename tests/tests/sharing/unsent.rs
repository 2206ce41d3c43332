//! What was not sent before somebody was taken out, or may write no more, is his all the same.

use std::fs;
use std::os::unix::fs::MetadataExt;

use keyfold_tests::until;
use serde_json::Value;

use crate::scene::{SOON, World, comes, end, given, run, same, share_status, shared, text, tree};

#[test]
fn who_may_write_no_more_finds_what_he_did_not_send_and_the_share_as_it_is() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    fs::create_dir_all(reports.join("dir/er")).unwrap();
    fs::write(reports.join("dir/er/deep"), "deep of alice").unwrap();
    fs::write(reports.join("kept"), "kept").unwrap();
    fs::write(reports.join("moved"), "moved").unwrap();
    let here = at_bob.join("Shared/alice/Reports");
    same("at first", &reports, &here);
    world.server.stop();
    fs::write(here.join("first"), "bob's edit").unwrap();
    fs::write(here.join("dir/er/deep"), "deep of bob").unwrap();
    fs::create_dir(here.join("new dir")).unwrap();
    fs::write(here.join("new dir/new"), "bob's file").unwrap();
    std::os::unix::fs::symlink("first", here.join("link")).unwrap();
    fs::rename(here.join("moved"), here.join("dir/elsewhere")).unwrap();
    fs::remove_file(here.join("kept")).unwrap();
    // What he had there before stays as it is.
    let before = at_bob.join("Unsent/Reports");
    fs::create_dir_all(&before).unwrap();
    fs::write(before.join("first"), "older").unwrap();
    at_bob.unmount();
    world.server.start();
    run(&["role", "Reports", "bob", "reader", text(at_alice.path())]);
    let at_bob = bob.vault.mount();
    until("bob is told", SOON, || {
        share_status(&at_bob)["unsent"] == "Unsent/Reports (2)"
    });
    same("after bob was lowered", &reports, &here);
    let unsent = at_bob.join("Unsent/Reports (2)");
    let saved = |name: &str| fs::read_to_string(unsent.join(name)).unwrap();
    assert_eq!(saved("first"), "bob's edit");
    assert_eq!(saved("dir/er/deep"), "deep of bob");
    assert_eq!(saved("new dir/new"), "bob's file");
    assert_eq!(fs::read_link(unsent.join("link")).unwrap(), *"first");
    assert_eq!(tree(&unsent).unwrap().len(), 7, "{:?}", tree(&unsent));
    let meta = fs::metadata(unsent.join("first")).unwrap();
    assert_eq!(meta.uid(), fs::metadata(at_bob.path()).unwrap().uid());
    assert_eq!(fs::read_to_string(before.join("first")).unwrap(), "older");
    assert_eq!(share_status(&at_bob)["waiting"], 0);
    assert_eq!(share_status(&at_bob)["role"], "reader");

    // It is his: private, to be changed, and sent to nobody.
    fs::write(unsent.join("first"), "changed").unwrap();
    run(&["role", "Reports", "bob", "writer", text(at_alice.path())]);
    until("bob may write again", SOON, || {
        fs::write(here.join("again"), "bob again").is_ok()
    });
    comes(&reports.join("again"), "bob again");
    same("once bob writes again", &reports, &here);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn who_is_taken_out_finds_what_he_did_not_send_and_gets_nothing_that_comes_later() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let large = keyfold_tests::pattern(1, 300_000);
    fs::write(reports.join("large"), &large).unwrap();
    let here = at_bob.join("Shared/alice/Reports");
    same("at first", &reports, &here);
    world.server.stop();
    fs::write(here.join("first"), "bob's edit").unwrap();
    fs::write(here.join("new"), "bob's file").unwrap();
    at_bob.unmount();
    world.server.start();
    run(&["unshare", text(&reports), "bob"]);
    fs::write(reports.join("first"), "later secret").unwrap();
    run(&["wait-synced", text(&reports), "--timeout", "60s"]);
    let mut at_bob = bob.vault.mount();
    let told = |status: &Value| status["state"] == "removed" && status["unsent"].is_string();
    until("bob is told", SOON, || told(&share_status(&at_bob)));
    assert_eq!(share_status(&at_bob)["unsent"], "Unsent/Reports");
    let unsent = at_bob.join("Unsent/Reports");
    let saved = |name: &str| fs::read_to_string(unsent.join(name)).unwrap();
    assert_eq!((saved("first"), saved("new")).0, "bob's edit");
    assert_eq!(saved("new"), "bob's file");
    assert_eq!(tree(&unsent).unwrap().len(), 2);
    // In the folder he has what he had, and nothing that came later; also after a crash.
    for _ in 0..2 {
        let first = fs::read_to_string(here.join("first")).unwrap();
        assert_eq!(first, "bob's edit");
        assert!(fs::read(here.join("large")).unwrap() == large);
        assert!(fs::write(here.join("first"), "x").is_err());
        assert_eq!(share_status(&at_bob)["waiting"], 0);
        assert_eq!(fs::read_dir(at_bob.join("Unsent")).unwrap().count(), 1);
        at_bob.kill9();
        at_bob = bob.vault.mount();
        until("bob is told again", SOON, || {
            share_status(&at_bob)["state"] == "removed"
        });
    }
    // Who is back has what the others have; what he had saved stays where it is.
    run(&["share", text(&reports), "bob", "--write"]);
    comes(&here.join("first"), "later secret");
    until("bob may write again", SOON, || {
        fs::write(here.join("again"), "bob again").is_ok()
    });
    comes(&reports.join("again"), "bob again");
    same("once bob is back", &reports, &here);
    assert_eq!(saved("first"), "bob's edit");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_crash_while_it_is_saved_loses_nothing_of_what_was_not_sent() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    world.server.stop();
    let content = |file: u64| keyfold_tests::pattern(file, 100_000);
    for file in 0..40 {
        fs::write(here.join(format!("new {file}")), content(file)).unwrap();
    }
    at_bob.unmount();
    world.server.start();
    run(&["role", "Reports", "bob", "reader", text(at_alice.path())]);
    // Killed at whatever it does, again and again, until it is done.
    let everything_saved = |at_bob: &keyfold_tests::Mount| {
        let Ok(all) = fs::read_dir(at_bob.join("Unsent")) else {
            return false;
        };
        let mut all = all.map(|entry| entry.unwrap().path());
        all.any(|dir| {
            (0..40).all(|file| {
                let saved = fs::read(dir.join(format!("new {file}")));
                saved.is_ok_and(|saved| saved == content(file))
            })
        })
    };
    let mut at_bob = bob.vault.mount();
    for round in 0.. {
        let begun = at_bob.join("Unsent").exists();
        let there = || (0..40).all(|file| here.join(format!("new {file}")).exists());
        let in_share = there();
        assert!(
            in_share || everything_saved(&at_bob),
            "round {round}: something is in neither place"
        );
        if !in_share && share_status(&at_bob)["waiting"] == 0 {
            break;
        }
        if begun && round < 6 {
            at_bob.kill9();
            at_bob = bob.vault.mount();
        } else {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    same("in the end", &reports, &here);
    assert!(everything_saved(&at_bob));
    end([(at_alice, &alice), (at_bob, &bob)]);
}
