//! A server that was restored from a backup, and so has less than it had.

use std::fs;
use std::path::{Path, PathBuf};

use keyfold_tests::{Mount, keyfold, until};

use crate::scene::{Person, SOON, World, comes, end, refused, run, same, shared, text};
use crate::stage::{fails, look, synced, tells};

const LOST: &str = "it was restored from a backup";

/// A server, and what it was once.
struct Restorable {
    world: World,
    backup: PathBuf,
}

impl Restorable {
    fn new() -> Self {
        let world = World::new();
        let backup = world.sandbox.path().join("backup");
        Self { world, backup }
    }

    fn back_up(&self) {
        self.world.server.back_up(&self.backup);
    }

    fn restore(&mut self) {
        self.world.server.stop();
        self.world.server.restore(&self.backup);
        self.world.server.start();
    }
}

/// Bytes of several packs, none like the other.
fn large(seed: u32) -> Vec<u8> {
    let word = |at: u32| (at ^ seed).wrapping_mul(2_654_435_761).to_le_bytes();
    (0..1_500_000).flat_map(word).collect()
}

fn all_synced(mounts: &[&Mount]) {
    for mount in mounts {
        synced(mount);
    }
}

/// Somebody who was given the share just now, and has everything from the server, sees what is in it.
fn newcomer_sees(world: &World, (owner, folder): (&Person, &Path)) {
    let dave = world.person("dave");
    dave.trusts(owner);
    owner.trusts(&dave);
    run(&["share", text(folder), "dave"]);
    let mount = dave.vault.mount();
    same(
        "for who came later",
        folder,
        &mount.join("Shared/alice/Reports"),
    );
    end([(mount, &dave)]);
}

#[test]
fn a_restored_server_gets_back_what_its_members_have() {
    let mut scene = Restorable::new();
    let (alice, bob) = scene.world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    all_synced(&[&at_alice, &at_bob]);
    scene.back_up();
    // Of a content that came and went nobody has anything any more.
    for content in ["one", "two", "after the backup"] {
        fs::write(reports.join("first"), content).unwrap();
        comes(&here.join("first"), content);
    }
    fs::write(here.join("second"), "after the backup").unwrap();
    fs::create_dir(reports.join("folder")).unwrap();
    fs::write(reports.join("folder/large"), large(1)).unwrap();
    comes(&reports.join("second"), "after the backup");
    run(&["share", text(&reports), "bob", "--owner"]);
    same("before", &reports, &here);
    all_synced(&[&at_alice, &at_bob]);
    scene.restore();

    let tellers = [&at_alice, &at_bob];
    tellers.into_iter().for_each(look);
    until("somebody gives it back", 2 * SOON, || {
        let shares = tellers.map(|mount| crate::scene::share_status(mount)["trouble"].to_string());
        shares.iter().any(|trouble| trouble.contains(LOST))
    });
    all_synced(&[&at_alice, &at_bob]);
    same("after", &reports, &here);
    assert_eq!(fs::read(here.join("folder/large")).unwrap(), large(1));
    // It goes on as it was.
    fs::write(reports.join("third"), "from alice again").unwrap();
    fs::write(here.join("fourth"), "from bob again").unwrap();
    comes(&here.join("third"), "from alice again");
    comes(&reports.join("fourth"), "from bob again");
    newcomer_sees(&scene.world, (&alice, &reports));
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn records_come_back_without_their_author_and_content_with_who_has_it() {
    let mut scene = Restorable::new();
    let (alice, bob) = scene.world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    all_synced(&[&at_alice, &at_bob]);
    scene.back_up();
    fs::write(reports.join("unread"), large(2)).unwrap();
    until("bob sees its name", SOON, || here.join("unread").exists());
    all_synced(&[&at_alice, &at_bob]);
    at_alice.unmount();
    fs::write(here.join("second"), "while alice is away").unwrap();
    synced(&at_bob);
    scene.restore();

    look(&at_bob);
    tells(&at_bob, LOST);
    tells(&at_bob, "lost content of 1 files");
    assert_eq!(
        fs::read_to_string(here.join("second")).unwrap(),
        "while alice is away"
    );
    fs::read(here.join("unread")).unwrap_err();
    // Her device finds the records there, and that it is not known any more to have seen them.
    let at_alice = alice.vault.mount();
    let reports = at_alice.join("Reports");
    comes(&reports.join("second"), "while alice is away");
    until("bob has the content", 2 * SOON, || {
        fs::read(here.join("unread")).is_ok_and(|read| read == large(2))
    });
    newcomer_sees(&scene.world, (&alice, &reports));
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_share_that_began_after_the_backup_begins_again() {
    let mut scene = Restorable::new();
    let (alice, bob) = scene.world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    scene.back_up();
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    fs::write(reports.join("second"), "from alice").unwrap();
    comes(&here.join("second"), "from alice");
    all_synced(&[&at_alice, &at_bob]);
    scene.restore();
    look(&at_alice);
    look(&at_bob);
    tells(&at_alice, LOST);
    all_synced(&[&at_alice, &at_bob]);
    fs::write(here.join("third"), "from bob").unwrap();
    comes(&reports.join("third"), "from bob");
    same("after", &reports, &here);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_change_of_members_waits_for_the_device_that_made_it_and_takes_nothing() {
    let mut scene = Restorable::new();
    let (alice, bob) = scene.world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    all_synced(&[&at_alice, &at_bob]);
    let carol = scene.world.person("carol");
    alice.trusts(&carol);
    scene.back_up();
    run(&["share", text(&reports), "carol"]);
    fs::write(reports.join("second"), "for three").unwrap();
    comes(&here.join("second"), "for three");
    all_synced(&[&at_alice, &at_bob]);
    at_alice.unmount();
    scene.restore();
    fails(&at_bob, "the device with which alice made it");
    let waited = keyfold(["wait-synced", text(&here), "--timeout", "1s"]);
    refused(&waited, 42, "the device with which alice made it");
    // What it had not is here, and work goes on.
    assert_eq!(
        fs::read_to_string(here.join("second")).unwrap(),
        "for three"
    );
    fs::write(here.join("third"), "meanwhile").unwrap();
    let at_alice = alice.vault.mount();
    let reports = at_alice.join("Reports");
    let at_carol = carol.vault.mount();
    look(&at_bob);
    comes(&reports.join("third"), "meanwhile");
    same("after", &reports, &here);
    carol.trusts(&alice);
    look(&at_carol);
    same(
        "for carol",
        &reports,
        &at_carol.join("Shared/alice/Reports"),
    );
    end([(at_alice, &alice), (at_bob, &bob), (at_carol, &carol)]);
}
