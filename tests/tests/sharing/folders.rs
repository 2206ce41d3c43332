//! What is done in a shared folder comes to the others.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use keyfold_tests::{pattern, until};

use crate::scene::{SOON, World, comes, end, given, same, share_status, shared, tree};

#[test]
fn a_shared_folder_appears_and_what_either_writes_comes_to_the_other() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    // The kernel remembers that there is none, and the listing.
    let listed = || -> Vec<_> {
        let entries = fs::read_dir(at_bob.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert!(!at_bob.join("Shared").exists());
    assert!(listed().is_empty());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    assert_eq!(listed(), ["Shared"]);
    fs::write(here.join("second"), "from bob").unwrap();
    comes(&reports.join("second"), "from bob");
    fs::write(reports.join("second"), "alice again").unwrap();
    comes(&here.join("second"), "alice again");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn all_that_is_done_in_a_shared_folder_comes_to_the_other() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);

    // Longer than a pack, and not all the same.
    let large = pattern(1, 3 << 20);
    fs::write(reports.join("large"), &large).unwrap();
    fs::create_dir_all(here.join("deep/er")).unwrap();
    fs::write(here.join("deep/er/file"), "x").unwrap();
    std::os::unix::fs::symlink("first", here.join("link")).unwrap();
    same("after a large file and directories", &reports, &here);
    assert!(fs::read(here.join("large")).unwrap() == large);

    let change = |path: &Path, offset: u64, bytes: &[u8]| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    };
    change(&here.join("large"), 1 << 20, &[0xaa; 4096]);
    fs::rename(reports.join("first"), reports.join("deep/renamed")).unwrap();
    same("after one block and a rename", &reports, &here);
    fs::remove_dir_all(here.join("deep")).unwrap();
    fs::set_permissions(reports.join("large"), fs::Permissions::from_mode(0o500)).unwrap();
    same("after removing a tree", &reports, &here);
    assert!(!reports.join("deep").exists());

    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_file_in_use_is_left_alone_and_both_edits_of_one_file_are_kept() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);

    let writing = fs::File::options()
        .append(true)
        .open(here.join("first"))
        .unwrap();
    fs::write(reports.join("first"), "alice changed it").unwrap();
    until("bob's mount waits", SOON, || {
        share_status(&at_bob)["state"] == "busy"
    });
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );
    drop(writing);
    comes(&here.join("first"), "alice changed it");

    // Who reads keeps what he opened.
    let mut reading = fs::File::open(here.join("first")).unwrap();
    fs::write(reports.join("first"), "and again").unwrap();
    comes(&here.join("first"), "and again");
    let mut kept = String::new();
    reading.read_to_string(&mut kept).unwrap();
    assert_eq!(kept, "alice changed it");
    drop(reading);

    world.server.stop();
    fs::write(reports.join("first"), "alice offline").unwrap();
    fs::write(here.join("first"), "bob offline").unwrap();
    world.server.start();
    let contents = |dir: &Path| -> Vec<String> {
        let tree = tree(dir).unwrap_or_default().into_values();
        let text = tree.map(|(_, content)| String::from_utf8_lossy(&content).into_owned());
        let mut all: Vec<String> = text.collect();
        all.sort();
        all
    };
    let both = ["alice offline", "bob offline"];
    let mut last = Vec::new();
    until("both edits are on both sides", SOON, || {
        let found = [contents(&reports), contents(&here)];
        if found.as_slice() != last.as_slice() {
            eprintln!("{found:?}");
            last = found.to_vec();
        }
        found.iter().all(|found| *found == both)
    });
    same("after the conflict", &reports, &here);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn what_others_add_between_opening_and_listing_a_directory_is_in_every_later_listing() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &[]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    for n in 0..3 {
        let early = fs::read_dir(&here).unwrap();
        let name = format!("added {n}");
        fs::write(reports.join(&name), "later").unwrap();
        comes(&here.join(&name), "later");
        // What this lists is kept by the kernel for whoever comes later.
        assert!(early.count() > n);
        assert_eq!(tree(&here).unwrap().len(), n + 2);
    }
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn another_device_of_the_owner_has_the_folder_too() {
    let world = World::new();
    let (alice, bob) = world.two();
    let tablet = alice.another_device(&world);
    let (at_alice, at_tablet) = (alice.vault.mount(), tablet.mount());
    let reports = shared(&at_alice, bob.name, &[]);
    let here = at_tablet.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    fs::write(here.join("second"), "from the tablet").unwrap();
    comes(&reports.join("second"), "from the tablet");
    at_alice.unmount();
    at_tablet.unmount();
}

#[test]
fn who_opens_a_file_reads_what_is_there_and_not_what_the_kernel_had_before() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
    let (file, there) = (reports.join("first"), here.join("first"));
    let all = |mut file: &File| {
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        content
    };
    for version in 0..40_u8 {
        let content = vec![b'a' + version % 26; 20_000 + usize::from(version) * 7919 % 100_000];
        fs::write(&file, &content).unwrap();
        until("the version comes", SOON, || {
            // While this is open for writing, nobody replaces it.
            let open = File::options().read(true).write(true).open(&there).unwrap();
            let through_the_cache = all(&open);
            let mut past_the_cache = File::options();
            past_the_cache.read(true).custom_flags(libc::O_DIRECT);
            let is_there = all(&past_the_cache.open(&there).unwrap());
            assert!(through_the_cache == is_there, "version {version}");
            assert_eq!(open.metadata().unwrap().len(), is_there.len() as u64);
            is_there == content
        });
    }
    end([(at_alice, &alice), (at_bob, &bob)]);
}
