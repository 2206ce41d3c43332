//! Who takes part no longer, because his time passed, he left, or his account ended.

use std::fs;

use keyfold_tests::{keyfold, until};
use serde_json::Value;

use crate::scene::{
    SOON, World, comes, end, given, members, names, on_vault, refused, run, share_status, shared,
    text,
};

#[test]
fn whose_time_has_passed_reads_nothing_that_comes_later() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write", "--expires", "30d"]);
    let text_of = run(&["members", "Reports", text(at_alice.path())]);
    assert!(text_of.contains("until "), "{text_of}");
    let role = |with: &[&str]| {
        let role = ["role", "Reports", "bob", "writer", text(at_alice.path())];
        run(&[&role[..], with].concat());
    };
    role(&["--expires", "never"]);
    let of_bob = |shown: &Value| shown["members"][1].clone();
    assert_eq!(
        of_bob(&members("Reports", &at_alice))["expires"],
        Value::Null
    );
    let owner = ["role", "Reports", "bob", "owner", text(at_alice.path())];
    let owner = keyfold([&owner[..], &["--expires", "1d"]].concat());
    refused(&owner, 33, "does not end by itself");

    // Nobody does anything: the first owner online begins a new key.
    role(&["--expires", "1s"]);
    until("bob is out", SOON, || {
        names("Reports", &at_alice) == ["alice"]
    });
    assert_eq!(members("Reports", &at_alice)["rotation_due"], false);
    fs::write(reports.join("first"), "later secret").unwrap();
    fs::write(reports.join("second"), "later secret").unwrap();
    run(&["wait-synced", text(&reports), "--timeout", "60s"]);
    until("bob's mount knows", SOON, || {
        share_status(&at_bob)["state"] == "removed"
    });
    let first = fs::read_to_string(here.join("first")).unwrap();
    assert_eq!(first, "from alice");
    assert!(!here.join("second").exists());

    // He can be given it again.
    run(&["share", text(&reports), "bob", "--expires", "30d"]);
    comes(&here.join("second"), "later secret");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn while_no_owner_is_online_who_left_or_expired_is_told_and_the_first_owner_makes_a_key() {
    let world = World::new();
    let (alice, bob) = world.two();
    let carol = world.person("carol");
    alice.trusts(&carol);
    carol.trusts(&alice);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let at_carol = carol.vault.mount();
    let reports = shared(&at_alice, "bob", &["--write"]);
    run(&["share", text(&reports), "carol", "--write"]);
    let at_bobs = at_bob.join("Shared/alice/Reports");
    let at_carols = at_carol.join("Shared/alice/Reports");
    comes(&at_bobs.join("first"), "from alice");
    comes(&at_carols.join("first"), "from alice");
    run(&[
        "role",
        "Reports",
        "carol",
        "writer",
        text(at_alice.path()),
        "--expires",
        "2s",
    ]);
    at_alice.unmount();
    until("carol is out", SOON, || {
        share_status(&at_carol)["state"] == "removed"
    });
    let shown = members("Shared/alice/Reports", &at_bob);
    assert_eq!(shown["rotation_due"], true);
    assert_eq!(shown["members"][2]["expired"], true);
    let text_of = run(&["members", "Shared/alice/Reports", text(at_bob.path())]);
    assert!(text_of.contains("Rotation due"), "{text_of}");
    run(&["leave", "Shared/alice/Reports", text(at_bob.path())]);

    let at_alice = alice.vault.mount();
    until("alice's daemon made a key", SOON, || {
        let shown = members("Reports", &at_alice);
        shown["rotation_due"] == false && shown["members"].as_array().unwrap().len() == 1
    });
    fs::write(reports.join("second"), "later secret").unwrap();
    run(&["wait-synced", text(&reports), "--timeout", "60s"]);
    for there in [&at_bobs, &at_carols] {
        assert!(!there.join("second").exists());
        assert_eq!(
            fs::read_to_string(there.join("first")).unwrap(),
            "from alice"
        );
    }
    end([(at_alice, &alice), (at_bob, &bob), (at_carol, &carol)]);
}

#[test]
fn whose_account_ended_is_taken_out_by_the_first_owner_online() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    let delete = ["account", "delete", text(at_bob.path()), "--confirm", "bob"];
    on_vault(&bob.vault, &delete).expect_success("keyfold account delete");
    until("bob is out", SOON, || {
        names("Reports", &at_alice) == ["alice"]
    });
    fs::write(reports.join("second"), "later").unwrap();
    run(&["wait-synced", text(&reports), "--timeout", "60s"]);
    // What he has of it stays readable.
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn what_is_taken_back_without_the_server_is_not_yet_revoked_and_nothing_is_sent_before() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    until("alice's daemon has everything", SOON, || {
        share_status(&at_alice)["state"] == "synced"
    });
    world.server.stop();
    let nobody = keyfold(["unshare", text(&reports), "carol"]);
    refused(&nobody, 40, "carol is no member");
    let queued = keyfold(["unshare", text(&reports), "bob"]);
    refused(&queued, 54, "NOT YET REVOKED");
    assert_eq!(share_status(&at_alice)["revoking"][0], "bob");
    fs::write(reports.join("first"), "not for bob").unwrap();
    fs::write(reports.join("second"), "not for bob").unwrap();
    // It is not forgotten.
    at_alice.kill9();
    let at_alice = alice.vault.mount();
    assert_eq!(share_status(&at_alice)["revoking"][0], "bob");
    world.server.start();
    until("bob is out", SOON, || {
        share_status(&at_bob)["state"] == "removed"
    });
    run(&["wait-synced", text(&reports), "--timeout", "60s"]);
    assert_eq!(share_status(&at_alice)["revoking"], Value::Array(vec![]));
    assert_eq!(names("Reports", &at_alice), ["alice"]);
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );
    assert!(!here.join("second").exists());
    end([(at_alice, &alice), (at_bob, &bob)]);
}
