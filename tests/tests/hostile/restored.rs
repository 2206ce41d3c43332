//! A server that was restored from a backup, and so has less than it had.

use std::fs;

use keyfold_tests::{keyfold, until};

use crate::scene::{SOON, World, comes, end, given, refused, run, same, share_status, text};
use crate::stage::{look, synced};

#[test]
fn a_restored_server_is_told_and_takes_nothing_from_anybody() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    synced(&at_alice);
    synced(&at_bob);
    let backup = world.sandbox.path().join("backup");
    world.server.back_up(&backup);
    fs::write(reports.join("first"), "after the backup").unwrap();
    fs::write(here.join("second"), "after the backup").unwrap();
    comes(&here.join("first"), "after the backup");
    comes(&reports.join("second"), "after the backup");
    synced(&at_alice);
    synced(&at_bob);
    world.server.stop();
    world.server.restore(&backup);
    world.server.start();

    for (mount, folder) in [(&at_alice, &reports), (&at_bob, &here)] {
        look(mount);
        until("it is told", 2 * SOON, || {
            let share = share_status(mount);
            let error = share["error"].as_str().unwrap_or_default();
            share["state"] == "failing" && error.contains("restored from a backup")
        });
        let waited = keyfold(["wait-synced", text(folder), "--timeout", "1s"]);
        refused(&waited, 42, "restored from a backup");
        // What it had not is here, and work goes on.
        for name in ["first", "second"] {
            let read = fs::read_to_string(folder.join(name)).unwrap();
            assert_eq!(read, "after the backup");
        }
        fs::write(folder.join("third"), "meanwhile").unwrap();
    }
    // Nobody is kept from giving a copy.
    run_copy(&reports, &at_alice.join("Copy"));
    run(&["share", text(&at_alice.join("Copy")), "bob", "--write"]);
    let copy = at_bob.join("Shared/alice/Copy");
    comes(&copy.join("second"), "after the backup");
    same("in the copy", &at_alice.join("Copy"), &copy);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

fn run_copy(from: &std::path::Path, to: &std::path::Path) {
    crate::scene::run_in(&["cp", "-r", text(from), text(to)]);
}
