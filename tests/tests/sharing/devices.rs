//! One account on two machines, and what is left to one that was lost.

use std::fs;

use keyfold_tests::{keyfold, until};
use serde_json::Value;

use crate::scene::{
    SOON, World, comes, members, on_vault, refused, run, same, share_status, shared, status, text,
};

#[test]
fn two_devices_of_one_user_have_the_same_shares_and_edits_travel_between_them() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let tablet = alice.another_device(&world);
    let (at_alice, at_tablet) = (alice.vault.mount(), tablet.mount());
    let at_bob = bob.vault.mount();
    let own = shared(&at_alice, "bob", &["--write"]);
    let plans = at_bob.join("Plans");
    fs::create_dir(&plans).unwrap();
    fs::write(plans.join("first"), "from bob").unwrap();
    run(&["share", text(&plans), "alice", "--write"]);
    let laptops = at_alice.join("Shared/bob/Plans");
    let tablets = at_tablet.join("Shared/bob/Plans");
    let own_there = at_tablet.join("Shared/alice/Reports");
    for there in [&laptops, &tablets] {
        comes(&there.join("first"), "from bob");
    }
    comes(&own_there.join("first"), "from alice");
    fs::write(tablets.join("second"), "from the tablet").unwrap();
    comes(&laptops.join("second"), "from the tablet");
    comes(&plans.join("second"), "from the tablet");
    fs::write(laptops.join("second"), "from the laptop").unwrap();
    comes(&tablets.join("second"), "from the laptop");

    // Two edits of one file by one user are two edits.
    world.server.stop();
    fs::write(own.join("first"), "laptop offline").unwrap();
    fs::write(own_there.join("first"), "tablet offline").unwrap();
    world.server.start();
    for mount in [&at_alice, &at_tablet, &at_bob] {
        run(&["wait-synced", text(mount.path()), "--timeout", "120s"]);
    }
    until("both edits are everywhere", SOON, || {
        [&own, &own_there, &at_bob.join("Shared/alice/Reports")]
            .into_iter()
            .all(|dir| {
                let files = fs::read_dir(dir).unwrap();
                let mut found: Vec<String> = files
                    .filter_map(|file| fs::read_to_string(file.unwrap().path()).ok())
                    .collect();
                found.sort();
                found == ["laptop offline", "tablet offline"]
            })
    });
    same("after the conflict", &own, &own_there);
    // The tablet shares for both.
    let carol = world.person("carol");
    let key = carol.fingerprint();
    run(&["share", text(&own_there), "carol", "--key", &key]);
    let members = members("Reports", &at_alice);
    assert_eq!(members["members"].as_array().unwrap().len(), 3);
    for mount in [at_alice, at_tablet, at_bob] {
        mount.unmount();
    }
    tablet.check();
}

#[test]
fn a_lost_device_reads_nothing_that_comes_later_and_comes_back_with_the_new_kit() {
    let world = World::new();
    let (alice, bob) = world.two();
    let tablet = alice.another_device(&world);
    let (at_alice, at_tablet) = (alice.vault.mount(), tablet.mount());
    let at_bob = bob.vault.mount();
    let own = shared(&at_alice, "bob", &["--write"]);
    let plans = at_bob.join("Plans");
    fs::create_dir(&plans).unwrap();
    fs::write(plans.join("first"), "from bob").unwrap();
    run(&["share", text(&plans), "alice", "--write"]);
    let laptops = at_alice.join("Shared/bob/Plans");
    let tablets = at_tablet.join("Shared/bob/Plans");
    let own_there = at_tablet.join("Shared/alice/Reports");
    comes(&laptops.join("first"), "from bob");
    comes(&tablets.join("first"), "from bob");
    comes(&own_there.join("first"), "from alice");

    let shown = on_vault(&tablet, &["account", "show", text(tablet.path()), "--json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let device = shown["device"].as_str().unwrap();
    let new_kit = alice.vault.sandbox().path().join("new-kit");
    let password = world.sandbox.file("account-password", "tall giraffe\n");
    let remove = [
        "account",
        "devices",
        "remove",
        device,
        text(at_alice.path()),
    ];
    let with = ["--kit-file", text(&new_kit), "--account-password-file"];
    let removed = on_vault(
        &alice.vault,
        &[&remove[..], &with, &[text(&password)]].concat(),
    );
    removed.expect_success("keyfold account devices remove");
    until("the tablet is out", SOON, || {
        let error = status(&at_tablet)["sharing"]["error"].clone();
        error
            .as_str()
            .is_some_and(|error| error.contains("session has ended"))
    });
    refused(
        &keyfold(["shares", text(at_tablet.path())]),
        53,
        "session has ended",
    );
    // Both shares go on: bob's takes the new keys, and gets a new key of its own from him.
    fs::write(own.join("first"), "later of alice").unwrap();
    fs::write(laptops.join("second"), "later of the laptop").unwrap();
    comes(&plans.join("second"), "later of the laptop");
    comes(&at_bob.join("Shared/alice/Reports/first"), "later of alice");
    for (share, mount) in [("Plans", &at_bob), ("Reports", &at_alice)] {
        until("no new key is due", SOON, || {
            let shown = members(share, mount);
            shown["rotation_due"] == false
        });
    }
    assert_eq!(
        fs::read_to_string(own_there.join("first")).unwrap(),
        "from alice"
    );
    assert!(!tablets.join("second").exists());
    fs::write(tablets.join("third"), "meanwhile on the tablet").unwrap();

    let back = world.log_in((&alice, &tablet), &world.server.url(), &new_kit);
    back.expect_success("keyfold account login");
    comes(&own_there.join("first"), "later of alice");
    comes(&tablets.join("second"), "later of the laptop");
    comes(&plans.join("third"), "meanwhile on the tablet");
    comes(&laptops.join("third"), "meanwhile on the tablet");
    assert_eq!(share_status(&at_tablet)["trouble"], Value::Array(vec![]));
    for mount in [at_alice, at_tablet, at_bob] {
        mount.unmount();
    }
    tablet.check();
    alice.vault.check();
}
