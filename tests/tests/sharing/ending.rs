//! Shares that end: their folders and files are ordinary ones again.

use std::fs;

use keyfold_tests::{Mount, keyfold, until};
use nix::errno::Errno;

use crate::scene::{
    SOON, World, comes, command, end, given, refused, run, same, share_status, status, stored, text,
};

fn shares(mount: &Mount) -> usize {
    let shares = status(mount)["sharing"]["shares"].clone();
    shares.as_array().map_or(0, Vec::len)
}

fn state_becomes(mount: &Mount, state: &str) {
    until("it is told", SOON, || share_status(mount)["state"] == state);
}

#[test]
fn who_made_a_share_ends_it_has_all_of_it_and_leaves_nothing_at_the_server() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let tablet = alice.another_device(&world);
    let (mut at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let at_tablet = tablet.mount();
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    let at_tablets = at_tablet.join("Shared/alice/Reports");
    comes(&at_tablets.join("first"), "from alice");
    refused(
        &keyfold(["unshare", text(&here), "--end"]),
        33,
        "only who made a share ends it",
    );
    refused(
        &keyfold(["leave", "Reports", text(at_alice.path())]),
        33,
        "--end",
    );
    let both = keyfold(["unshare", text(&reports), "bob", "--end"]);
    refused(&both, 2, "cannot be used with");

    // What bob writes was not read here before.
    let large = vec![7; 3 << 20];
    fs::create_dir(here.join("dir")).unwrap();
    fs::write(here.join("dir/large"), &large).unwrap();
    run(&["wait-synced", text(&here), "--timeout", "60s"]);
    assert!(stored(&world.server) > 3 << 20);
    run(&["unshare", text(&reports), "--end"]);
    assert_eq!(shares(&at_alice), 0);
    for mount in [&at_bob, &at_tablet] {
        state_becomes(mount, "removed");
    }
    world.server.stop();
    assert_eq!(fs::read(reports.join("dir/large")).unwrap(), large);
    fs::write(reports.join("first"), "hers alone").unwrap();
    fs::rename(reports.join("first"), at_alice.join("out")).unwrap();
    at_alice.unmount();
    at_alice = alice.vault.mount();
    assert_eq!(fs::read(at_alice.join("Reports/dir/large")).unwrap(), large);
    // What is deleted goes from the disk when the server begins, at the latest.
    world.server.start();
    until("nothing is left", SOON, || stored(&world.server) == 0);

    // Nobody brings it back, and it can be given anew.
    let write = fs::write(at_tablets.join("second"), "lost").unwrap_err();
    assert_eq!(write.raw_os_error(), Some(libc::EROFS));
    run(&["leave", "Shared/alice/Reports", text(at_tablet.path())]);
    assert_eq!(
        fs::read_to_string(at_tablets.join("first")).unwrap(),
        "from alice"
    );
    run(&["share", text(&reports), "bob"]);
    comes(
        &at_bob.join("Shared/alice/Reports (2)/dir/large"),
        str::from_utf8(&large).unwrap(),
    );
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );
    at_tablet.unmount();
    tablet.check();
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_share_is_not_ended_without_the_server_or_while_something_of_others_waits() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    world.server.stop();
    refused(
        &keyfold(["unshare", text(&reports), "--end"]),
        50,
        "cannot connect",
    );
    world.server.start();
    fs::write(here.join("second"), "goes on").unwrap();
    comes(&reports.join("second"), "goes on");

    // A file that is open for writing keeps bob's version waiting.
    let open = fs::File::options()
        .write(true)
        .open(reports.join("first"))
        .unwrap();
    fs::write(here.join("first"), "from bob").unwrap();
    run(&["wait-synced", text(&here), "--timeout", "60s"]);
    let (errno, reply) = command(&at_alice, "unshare Reports --end");
    assert_eq!(errno, Some(Errno::EBUSY as i32), "{reply}");
    assert!(reply.contains("have open"), "{reply}");
    drop(open);
    comes(&reports.join("first"), "from bob");
    let (errno, reply) = command(&at_alice, "unshare Reports --end");
    assert_eq!(errno, None, "{reply}");
    assert_eq!(shares(&at_alice), 0);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_share_within_another_ends_as_a_folder_of_that() {
    let world = World::new();
    let (alice, bob) = world.two();
    let tablet = alice.another_device(&world);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let at_tablet = tablet.mount();
    let (reports, _) = given(&at_alice, &at_bob, &[]);
    run(&["unshare", text(&reports), "--all"]);
    fs::create_dir(reports.join("sub")).unwrap();
    fs::write(reports.join("sub/file"), "1").unwrap();
    let there = at_tablet.join("Shared/alice/Reports");
    comes(&there.join("sub/file"), "1");
    run(&["share", text(&reports.join("sub")), "bob", "--write"]);
    let bobs = at_bob.join("Shared/alice/sub");
    comes(&bobs.join("file"), "1");
    fs::write(bobs.join("file"), "22").unwrap();
    comes(&there.join("sub/file"), "22");
    run(&["unshare", text(&reports.join("sub")), "--end"]);
    // What the tablet had of the other share is beside, for as long as nobody leaves it.
    until("the tablet has it in the parent", SOON, || {
        at_tablet.join("Shared/alice/sub").exists() && there.join("sub/file").exists()
    });
    same("in the parent", &reports, &there);
    assert_eq!(fs::read_to_string(there.join("sub/file")).unwrap(), "22");
    fs::write(there.join("sub/file"), "333").unwrap();
    comes(&reports.join("sub/file"), "333");
    at_tablet.unmount();
    tablet.check();
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_share_of_one_file_ends_as_an_ordinary_file() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let plan = at_alice.join("Plan.txt");
    fs::write(&plan, "from alice").unwrap();
    run(&["share", text(&plan), "bob", "--write"]);
    let here = at_bob.join("Shared/alice/Plan.txt");
    comes(&here, "from alice");
    fs::write(&here, "from bob").unwrap();
    run(&["wait-synced", text(&here), "--timeout", "60s"]);
    run(&["unshare", text(&plan), "--end"]);
    assert_eq!(fs::read_to_string(&plan).unwrap(), "from bob");
    assert_eq!(shares(&at_alice), 0);
    fs::hard_link(&plan, at_alice.join("again")).unwrap();
    end([(at_alice, &alice), (at_bob, &bob)]);
}
