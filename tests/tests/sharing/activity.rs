//! What is told afterwards of what others did.

use std::fs;

use keyfold_tests::{Mount, until};

use crate::scene::{SOON, World, comes, end, run, shared, text};

/// More than others remove without its being told.
const MANY: usize = 120;

fn activity(mount: &Mount) -> String {
    fs::read_to_string(mount.join(".keyfold/activity")).unwrap()
}

#[test]
fn what_others_remove_at_once_and_what_both_changed_is_told() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    fs::create_dir(reports.join("many")).unwrap();
    for number in 0..MANY {
        fs::write(reports.join(format!("many/{number}")), "x").unwrap();
    }
    let here = at_bob.join("Shared/alice/Reports");
    until("all of them came", SOON, || {
        fs::read_dir(here.join("many")).is_ok_and(|all| all.count() == MANY)
    });
    until("bob may remove them", SOON, || {
        fs::remove_dir_all(here.join("many")).is_ok()
    });
    run(&["wait-synced", text(&here), "--timeout", "60s"]);
    let undo = "`history Reports --undelete 1h` brings the files back";
    until("alice is told", SOON, || {
        let activity = activity(&at_alice);
        activity.contains("Reports: others removed 1") && activity.contains(undo)
    });
    run(&["wait-synced", text(&reports), "--timeout", "60s"]);
    fs::create_dir(reports.join("many")).unwrap();
    fs::write(reports.join("many/7"), "another").unwrap();
    let told = run(&["history", text(&reports), "--undelete", "1h"]);
    let expected = "119 files are back. 1 are not, as something else is there, and 0 cannot";
    assert!(told.contains(expected), "{told}");
    for number in 0..MANY {
        let content = if number == 7 { "another" } else { "x" };
        comes(&here.join(format!("many/{number}")), content);
    }

    comes(&here.join("first"), "from alice");
    world.server.stop();
    fs::write(reports.join("first"), "changed by alice").unwrap();
    fs::write(here.join("first"), "changed by bob").unwrap();
    world.server.start();
    until("whoever came second is told", SOON, || {
        let both = [&at_alice, &at_bob].map(activity).concat();
        both.contains("1 changed here and by others at once; both versions are kept")
    });
    end([(at_alice, &alice), (at_bob, &bob)]);
}
