//! Accounts and trust of people whose vaults are mounted all the time.

use std::fs;

use keyfold_tests::{Vault, keyfold, until};
use serde_json::Value;

use crate::scene::{
    Person, SOON, World, comes, end, on_vault, refused, run, share_status, status, text,
};

#[test]
fn people_register_trust_and_share_without_ever_unmounting() {
    let world = World::new();
    let (alice, bob) = (Vault::new(), Vault::new());
    let (at_alice, at_bob) = (alice.mount(), bob.mount());
    let (alice, bob) = (
        world.person_with("alice", alice),
        world.person_with("bob", bob),
    );
    let connected = |mount| status(mount)["sharing"]["connected"] == true;
    until("both are online", SOON, || {
        connected(&at_alice) && connected(&at_bob)
    });
    alice.trusts(&bob);
    let reports = at_alice.join("Reports");
    fs::create_dir(&reports).unwrap();
    fs::write(reports.join("first"), "from alice").unwrap();
    run(&["share", text(&reports), "bob", "--write"]);
    until("bob is told", SOON, || {
        status(&at_bob)["sharing"]["offered"][0]["name"] == "Reports"
    });
    // What was offered comes by itself once he trusts her.
    bob.trusts(&alice);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");

    let path = text(at_bob.path());
    on_vault(&bob.vault, &["account", "logout", path]).expect_success("keyfold account logout");
    let error = status(&at_bob)["sharing"]["error"].clone();
    assert!(error.as_str().unwrap().contains("nobody is logged in"));
    refused(&keyfold(["members", "Shared/alice/Reports", path]), 53, "");
    fs::write(here.join("second"), "while logged out").unwrap();
    fs::write(reports.join("third"), "from alice meanwhile").unwrap();
    log_in(&world, &bob);
    comes(&reports.join("second"), "while logged out");
    comes(&here.join("third"), "from alice meanwhile");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

fn log_in(world: &World, person: &Person) {
    let kit = person.kit();
    let password = world.sandbox.file("account-password", "tall giraffe\n");
    let login = ["account", "login", person.name, text(person.vault.path())];
    let with = [
        "--account-password-file",
        text(&password),
        "--kit",
        text(&kit),
    ];
    on_vault(&person.vault, &[&login[..], &with].concat()).expect_success("keyfold account login");
}

#[test]
fn who_reads_while_the_account_is_changed_waits_and_reads() {
    let world = World::new();
    let (alice, bob) = world.two();
    let carol = world.person("carol");
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = at_alice.join("Reports");
    fs::create_dir(&reports).unwrap();
    let large = keyfold_tests::pattern(1, 200_000);
    for file in 0..20 {
        fs::write(reports.join(file.to_string()), &large).unwrap();
    }
    run(&["share", text(&reports), "bob"]);
    let here = at_bob.join("Shared/alice/Reports");
    until("names came", SOON, || {
        fs::read_dir(&here).is_ok_and(|entries| entries.count() == 20)
    });
    until("the share is synced", SOON, || {
        share_status(&at_bob)["state"] == "synced"
    });
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            for file in 0..20 {
                let read = fs::read(here.join(file.to_string()));
                assert!(read.unwrap() == large, "{file}");
            }
        });
        bob.trusts(&carol);
        reading.join().unwrap();
    });
    let people = run(&["people", text(at_bob.path()), "--json"]);
    let people: Value = serde_json::from_str(&people).unwrap();
    let verified = |name: &str| {
        let mut all = people.as_array().unwrap().iter();
        all.any(|one| one["user"] == name && one["verified"] == true)
    };
    assert!(verified("carol") && verified("alice"));
    end([(at_alice, &alice), (at_bob, &bob)]);
}
