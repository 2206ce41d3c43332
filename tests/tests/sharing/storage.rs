//! What of a shared folder lies where, what it was before, and a server that says nothing.

use std::fs;
use std::path::Path;

use keyfold_tests::{Mount, keyfold, pattern, until};
use serde_json::Value;

use crate::scene::{
    Person, SOON, World, comes, command, end, given, refused, run, share_status, shared, text,
};

const LARGE: usize = 6 << 20;

/// How much of a path is here, as `keyfold status` tells.
fn here(path: &Path) -> Value {
    let status = run(&["status", text(path), "--json"]);
    serde_json::from_str::<Value>(&status).unwrap()["here"].clone()
}

fn is_synced(path: &Path) {
    run(&["wait-synced", text(path), "--timeout", "120s"]);
}

/// Alice has a folder with a large file, of which Bob knows the name and the size.
fn large_file(
    at_alice: &Mount,
    at_bob: &Mount,
) -> (std::path::PathBuf, std::path::PathBuf, Vec<u8>) {
    let reports = shared(at_alice, "bob", &["--write"]);
    let there = at_bob.join("Shared/alice/Reports");
    let large = pattern(7, LARGE);
    fs::create_dir(reports.join("dir")).unwrap();
    fs::write(reports.join("dir/large"), &large).unwrap();
    let known = there.join("dir/large");
    until("name and size came", SOON, || {
        fs::metadata(&known).is_ok_and(|meta| meta.len() == LARGE as u64)
    });
    (reports, there, large)
}

/// Bytes that a vault's segments take of the disk.
fn taken(person: &Person) -> u64 {
    let segments = fs::read_dir(person.vault.path().join("segments")).unwrap();
    let blocks = |entry: std::io::Result<fs::DirEntry>| {
        std::os::unix::fs::MetadataExt::blocks(&entry.unwrap().metadata().unwrap()) * 512
    };
    segments.map(blocks).sum()
}

#[test]
fn what_is_kept_needs_no_server_and_what_is_freed_takes_no_room() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    // Snapshots hold back what they show.
    let mount = || alice.vault.mount_with(&["-o", "snapshots=off"]);
    let (at_alice, at_bob) = (mount(), bob.vault.mount());
    let (reports, there, large) = large_file(&at_alice, &at_bob);
    let nothing = here(&there.join("dir"));
    assert_eq!(nothing["bytes_here"], 0, "{nothing}");
    assert_eq!(nothing["bytes"], LARGE as u64);
    assert_eq!(nothing["kept"], false);
    let kept = run(&["keep", text(&there)]);
    assert!(kept.contains("all of it is here"), "{kept}");
    let all = here(&there);
    assert_eq!(all["bytes_here"], all["bytes"]);
    assert_eq!(all["kept"], true);
    world.server.stop();
    assert!(fs::read(there.join("dir/large")).unwrap() == large);
    world.server.start();

    // What others add to what is kept comes by itself, without being read.
    fs::write(reports.join("added"), pattern(8, 300_000)).unwrap();
    until("what was added is here", SOON, || {
        there.join("added").exists() && {
            let added = here(&there.join("added"));
            added["bytes"].as_u64() > Some(0) && added["bytes"] == added["bytes_here"]
        }
    });
    refused(
        &keyfold(["free", text(&there.join("dir"))]),
        21,
        "lies in a folder that is kept",
    );
    run(&["free", text(&there)]);
    assert_eq!(here(&there)["bytes_here"], 0);
    assert_eq!(here(&there)["kept"], false);
    assert!(fs::read(there.join("dir/large")).unwrap() == large);

    // The owner's own are given up, too, once they were sent.
    is_synced(&reports);
    at_alice.unmount();
    assert!(taken(&alice) > LARGE as u64, "{}", taken(&alice));
    let at_alice = mount();
    let freed = command(&at_alice, "free Reports/dir");
    assert_eq!(freed.0, None, "{}", freed.1);
    assert_eq!(here(&reports.join("dir"))["bytes_here"], 0);
    at_alice.unmount();
    assert!(taken(&alice) < LARGE as u64 / 2, "{}", taken(&alice));
    let at_alice = mount();
    assert!(fs::read(reports.join("dir/large")).unwrap() == large);
    assert_eq!(here(&reports.join("dir"))["bytes_here"], LARGE as u64);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn beyond_a_bound_what_was_used_least_is_given_up() {
    let world = World::new();
    let (alice, bob) = world.two();
    let at_alice = alice.vault.mount();
    let at_bob = bob.vault.mount_with(&["-o", "cache=1M"]);
    let (reports, there, large) = large_file(&at_alice, &at_bob);
    fs::write(reports.join("small"), "read last").unwrap();
    comes(&there.join("small"), "read last");
    assert!(fs::read(there.join("dir/large")).unwrap() == large);
    comes(&there.join("small"), "read last");
    until("what was read first went", SOON, || {
        here(&there)["bytes_here"].as_u64() <= Some(1 << 20)
    });
    assert_eq!(here(&there.join("small"))["bytes_here"], 4096);
    assert!(fs::read(there.join("dir/large")).unwrap() == large);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

fn history(path: &Path) -> Vec<Value> {
    let shown = run(&["history", text(path), "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    shown["entries"].as_array().unwrap().clone()
}

#[test]
fn earlier_versions_and_deleted_files_come_back_until_they_are_purged() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, there) = given(&at_alice, &at_bob, &["--write"]);
    is_synced(&reports);
    fs::write(there.join("first"), "bob wrote this").unwrap();
    comes(&reports.join("first"), "bob wrote this");
    fs::create_dir(reports.join("dir")).unwrap();
    fs::write(reports.join("dir/lost"), pattern(3, 700_000)).unwrap();
    is_synced(&reports);
    fs::remove_file(reports.join("dir/lost")).unwrap();
    is_synced(&reports);

    let versions = history(&reports.join("first"));
    let by: Vec<&str> = versions
        .iter()
        .map(|v| v["user"].as_str().unwrap())
        .collect();
    assert_eq!(by, ["alice", "bob"]);
    assert_eq!(versions[0]["size"], 10);
    assert!(versions[0]["until"].is_u64() && versions[1]["until"].is_null());
    run(&["history", text(&reports.join("first")), "--restore", "1"]);
    comes(&there.join("first (version 1)"), "from alice");
    assert_eq!(
        fs::read_to_string(reports.join("first")).unwrap(),
        "bob wrote this"
    );

    let removed = history(&reports);
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert_eq!(removed[0]["path"], "dir/lost");
    assert_eq!(removed[0]["user"], "alice");
    run(&["history", text(&reports), "--restore", "1"]);
    assert!(fs::read(reports.join("dir/lost")).unwrap() == pattern(3, 700_000));
    // Nothing is written over.
    let again = keyfold(["history", text(&reports), "--restore", "1"]);
    assert_ne!(again.code, Some(0), "{again}");
    let elsewhere = at_alice.join("elsewhere");
    let to = ["--to", text(&elsewhere)];
    run(&[&["history", text(&reports), "--restore", "1"], &to[..]].concat());
    assert!(fs::read(&elsewhere).unwrap() == pattern(3, 700_000));
    is_synced(&reports);

    // Only an owner ends it.
    refused(&keyfold(["purge", text(&there)]), 51, "");
    run(&["purge", text(&reports)]);
    let versions = history(&reports.join("first"));
    assert_eq!(versions[0]["available"], false, "{versions:?}");
    assert_eq!(versions[1]["available"], true);
    refused(
        &keyfold(["history", text(&reports.join("first")), "--restore", "1"]),
        40,
        "cannot be had any more",
    );
    let kept = run(&["history", text(&reports), "--retention", "60d"]);
    assert!(kept.contains("60 days"), "{kept}");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_server_that_says_nothing_is_not_waited_for_twice() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (_, there, large) = large_file(&at_alice, &at_bob);
    is_synced(&there);
    world.server.freeze();
    for _ in 0..20 {
        // One of them waits. All together would take minutes.
        let read = fs::read(there.join("dir/large")).unwrap_err();
        assert_eq!(read.raw_os_error(), Some(libc::EHOSTUNREACH));
    }
    world.server.thaw();
    until("it can be read again", SOON, || {
        fs::read(there.join("dir/large")).is_ok_and(|read| read == large)
    });
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn how_far_sending_is_can_be_seen() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    is_synced(&reports);
    // Nothing more arrives than the first packs, so there is a moment to look.
    world.server.freeze();
    fs::write(reports.join("large"), pattern(9, 40 << 20)).unwrap();
    world.server.thaw();
    let mut seen = None;
    until("sending is seen, or over", SOON, || {
        let status = share_status(&at_alice);
        if status["state"] == "uploading" {
            seen = Some(status["sending"].clone());
        }
        seen.is_some() || status["state"] == "synced" && status["waiting"] == 0
    });
    if let Some(sending) = seen {
        assert_eq!(sending["files"], 1, "{sending}");
        assert!(sending["bytes"].as_u64() >= sending["bytes_done"].as_u64());
    }
    is_synced(&reports);
    assert!(share_status(&at_alice)["sending"].is_null());
    end([(at_alice, &alice), (at_bob, &bob)]);
}
