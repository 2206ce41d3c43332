//! What both change, and what goes wrong on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::Vfs;
use keyfold_protocol::ids::ShareId;

use super::site::{People, Site, assert_same, pattern, share};
use crate::account::Session;
use crate::remote::tests::run;
use crate::remote::tests::script::Answer;
use crate::sharing::{Shared, SharingError};
use crate::sync::{Round, SyncError};

/// Two that have the same.
fn two<'s, 'a>(
    people: &'a People,
    (a, b): (&'s Session<'a>, &'s Session<'a>),
) -> (Site<'s, 'a>, Site<'s, 'a>, ShareId) {
    let id = share(a);
    let mut alice = Site::begin((&people.alice, a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, b), id, |_, _| {});
    alice.mkdir("dir");
    alice.file("dir/file.txt", &pattern(10_000, 1));
    alice.file("plain", b"plain");
    alice.push();
    bob.pull();
    bob.push();
    assert_same(&alice, &bob);
    (alice, bob, id)
}

fn meet(one: &mut Site<'_, '_>, other: &mut Site<'_, '_>) {
    one.push();
    other.push();
    one.pull();
    assert_same(one, other);
}

#[test]
fn two_versions_of_a_file_are_both_kept() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.overwrite("dir/file.txt", 0, b"by alice");
    bob.overwrite("dir/file.txt", 0, b"by bob");
    bob.truncate("dir/file.txt", 400_000);
    alice.stamp("dir/file.txt", 1111);
    bob.stamp("dir/file.txt", 2222);
    meet(&mut alice, &mut bob);
    let paths = alice.paths();
    assert_eq!(paths.len(), 4, "{paths:?}");
    let copy = &paths[1];
    assert!(
        copy.starts_with("dir/file (conflict, bob, 20") && copy.ends_with(").txt"),
        "{copy}"
    );
    assert_eq!(&alice.read("dir/file.txt")[..8], b"by alice");
    assert_eq!(alice.read("dir/file.txt").len(), 10_000);
    assert_eq!(&alice.read(copy)[..6], b"by bob");
    assert_eq!(alice.read(copy).len(), 400_000);
    let stamp = |path: &str| alice.seen()[path].2.secs;
    assert_eq!((stamp("dir/file.txt"), stamp(copy)), (1111, 2222));
    assert!(!bob.sync.take_outdated().is_empty());
}

#[test]
fn an_edit_beats_a_delete_on_either_side() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.unlink("dir/file.txt");
    alice.rmdir("dir");
    alice.overwrite("plain", 0, b"EDIT");
    bob.overwrite("dir/file.txt", 0, b"by bob");
    bob.unlink("plain");
    meet(&mut alice, &mut bob);
    assert_eq!(alice.paths(), ["dir", "dir/file.txt", "plain"]);
    assert_eq!(&alice.read("dir/file.txt")[..6], b"by bob");
    assert_eq!(alice.read("plain"), b"EDITn");
}

#[test]
fn a_name_taken_twice_keeps_both() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.file("new", b"of alice");
    bob.file("new", b"of bob");
    alice.mkdir("both");
    alice.file("both/a", b"a");
    bob.mkdir("both");
    bob.file("both/b", b"b");
    meet(&mut alice, &mut bob);
    assert_eq!(alice.read("new"), b"of alice");
    assert_eq!(alice.read("both/a"), b"a");
    let paths = alice.paths();
    let other = |begin: &str, end: &str| {
        let mut found = paths
            .iter()
            .filter(|p| p.starts_with(begin) && p.ends_with(end));
        found.next().unwrap_or_else(|| panic!("{paths:?}")).clone()
    };
    assert_eq!(alice.read(&other("new (conflict, bob, ", ")")), b"of bob");
    assert_eq!(alice.read(&other("both (conflict, bob, ", "/b")), b"b");
}

#[test]
fn moves_that_would_make_a_cycle_are_undone_and_lose_nothing() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.mkdir("x");
    alice.file("x/in x", b"x");
    alice.mkdir("y");
    alice.file("y/in y", b"y");
    meet(&mut alice, &mut bob);
    alice.rename("x", "y/x");
    bob.rename("y", "x/y");
    meet(&mut alice, &mut bob);
    assert_eq!(alice.read("y/x/in x"), b"x");
    assert_eq!(alice.read("y/in y"), b"y");
}

#[test]
fn a_lost_reply_does_no_harm() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.file("lost", &pattern(5000, 3));
    alice.overwrite("plain", 0, b"lost");
    let append = |path: &str| path.ends_with("/records");
    people.scene.meddle(move |seen, real| {
        (append(seen.path()) && seen.head.starts_with("POST")).then_some(Answer::Lose(real))
    });
    alice.push();
    // The record arrives, and whoever sent it cannot even ask for it.
    alice.overwrite("lost", 0, b"more");
    let arrived = Arc::new(AtomicBool::new(false));
    let noted = Arc::clone(&arrived);
    people.scene.meddle(move |seen, real| {
        if append(seen.path()) && seen.head.starts_with("POST") {
            noted.store(true, Ordering::Relaxed);
            return Some(Answer::Lose(real));
        }
        let asked = seen.path().contains("/records?") && noted.load(Ordering::Relaxed);
        asked.then(|| Answer::Reply(500, Vec::new()))
    });
    assert!(run(alice.sync.push()).is_err());
    assert!(arrived.load(Ordering::Relaxed));
    people.scene.be_honest();
    alice.overwrite("lost", 100, b"and more");
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
    assert_eq!(bob.paths(), ["dir", "dir/file.txt", "lost", "plain"]);
}

#[test]
fn without_a_server_nothing_is_lost_and_the_next_push_sends_all() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    people.scene.meddle(|_, _| Some(Answer::Bytes(Vec::new())));
    alice.file("new", &pattern(20_000, 5));
    alice.rename("plain", "dir/plain");
    let error = run(alice.sync.push()).unwrap_err();
    assert!(error.to_string().contains("the connection to"), "{error}");
    assert!(
        bob.try_read(bob.ino("plain")).is_ok(),
        "it was brought before"
    );
    people.scene.be_honest();
    alice.again();
    alice.push();
    people
        .scene
        .meddle(|_, _| Some(Answer::Reply(503, Vec::new())));
    assert!(run(bob.sync.pull()).is_err());
    people.scene.be_honest();
    bob.pull();
    people.scene.meddle(|_, _| Some(Answer::Bytes(Vec::new())));
    let there = bob.ino("new");
    assert_eq!(bob.try_read(there), Err(FsError::Unreachable));
    people.scene.be_honest();
    assert_same(&alice, &bob);
}

#[test]
fn who_was_removed_gets_nothing_that_is_pushed_later() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, id) = two(&people, (&a, &b));
    let mut shared = run(Shared::open(&a, id)).unwrap();
    let root = shared.member(&"bob".parse().unwrap()).unwrap().key.root;
    run(shared.remove(root)).unwrap();
    alice.overwrite("dir/file.txt", 5000, b"not for bob");
    alice.push();
    bob.overwrite("plain", 0, b"mine");
    let error = run(bob.sync.pull()).unwrap_err();
    assert!(matches!(
        error,
        SyncError::Sharing(SharingError::NotAMember)
    ));
    // What is written is under a key of the new epoch, whoever hands out the record.
    let tree = &alice.sync.head;
    let epoch = alice.sync.shared.log().roster().unwrap().epoch;
    let mut written = 0;
    for (_, node) in tree.nodes() {
        let Some(content) = node.content() else {
            continue;
        };
        written += content
            .keys
            .values()
            .filter(|key| key.epoch == epoch)
            .count();
    }
    assert_eq!(written, 1);
    assert!(bob.sync.shared.log().epoch_key(epoch).is_none());
    assert!(run(bob.sync.push()).is_err());
    assert_eq!(bob.sync.take_unsent().as_deref(), Some("Unsent/shared"));
    assert_eq!(bob.read("plain"), b"minen");
}

#[test]
fn a_file_that_is_written_to_waits_and_comes_when_it_is_closed() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    let ino = bob.ino("plain");
    let handle = bob.v().open(ino, super::site::RW).unwrap();
    alice.overwrite("plain", 0, b"new");
    alice.push();
    let round = run(bob.sync.pull()).unwrap();
    assert!(matches!(round, Round::Waiting(nodes) if nodes.len() == 1));
    assert_eq!(bob.read("plain"), b"plain");
    bob.v().release(ino, handle);
    bob.pull();
    assert_same(&alice, &bob);
}

#[test]
fn a_conflict_that_has_to_wait_for_another_file_ends_as_any_other() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    let ino = bob.ino("plain");
    let handle = bob.v().open(ino, super::site::RW).unwrap();
    alice.overwrite("plain", 0, b"new");
    alice.overwrite("dir/file.txt", 0, b"by alice");
    alice.push();
    bob.overwrite("dir/file.txt", 5000, b"by bob");
    for _ in 0..2 {
        let round = run(bob.sync.push()).unwrap();
        assert!(matches!(round, Round::Waiting(_)), "{round:?}");
        bob.again();
    }
    bob.v().release(ino, handle);
    meet(&mut bob, &mut alice);
    let mut expected = pattern(10_000, 1);
    expected[..8].copy_from_slice(b"by alice");
    assert!(alice.read("dir/file.txt") == expected);
    let paths = alice.paths();
    assert_eq!(paths.len(), 4, "{paths:?}");
    assert_eq!(&alice.read(&paths[1])[5000..5006], b"by bob");
}

#[test]
fn blocks_that_are_not_those_of_the_log_are_not_brought() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.file("new", &pattern(9000, 5));
    alice.push();
    bob.pull();
    let there = bob.ino("new");
    // A byte of the block, of the descriptors, and a reply that is too short.
    for (longer_than, cut) in [(4000, false), (80, false), (4000, true)] {
        people.scene.meddle(move |seen, real| {
            let edit = move |mut body: Vec<u8>| {
                if body.len() > longer_than {
                    body[20] ^= 1;
                    body.truncate(body.len() - usize::from(cut));
                }
                body
            };
            let blob = seen.path().contains("/blobs/");
            blob.then(|| Answer::Forward(real, Box::new(edit)))
        });
        bob.again();
        let read = bob.try_read(there);
        let refused = [Err(FsError::Tampered(there)), Err(FsError::Unreachable)];
        assert!(refused.contains(&read), "{read:?}");
    }
    people.scene.be_honest();
    assert_same(&alice, &bob);
}

#[test]
fn stamps_of_directories_and_symlinks_travel_and_of_both_the_later_stays() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.symlink("link", "plain");
    alice.stamp("link", 111);
    alice.stamp("dir", 222);
    meet(&mut alice, &mut bob);
    let stamp = |site: &Site<'_, '_>, path: &str| site.seen()[path].2.secs;
    assert_eq!((stamp(&bob, "link"), stamp(&bob, "dir")), (111, 222));
    // A file that comes is not what changes the directory's stamp where it comes to.
    alice.file("dir/new", b"new");
    alice.stamp("dir", 333);
    meet(&mut alice, &mut bob);
    assert_eq!(stamp(&bob, "dir"), 333);
    alice.stamp("dir", 555);
    bob.file("dir/of bob", b"bob");
    bob.stamp("dir", 444);
    meet(&mut alice, &mut bob);
    assert_eq!(stamp(&bob, "dir"), 555);
}

#[test]
fn a_directory_that_was_removed_does_not_come_back_for_its_stamp() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.unlink("dir/file.txt");
    alice.rmdir("dir");
    bob.file("dir/short", b"lived");
    bob.unlink("dir/short");
    bob.unlink("dir/file.txt");
    meet(&mut alice, &mut bob);
    assert_eq!(alice.paths(), ["plain"]);
}

#[test]
fn of_an_attribute_that_both_change_whoever_sends_later_has_the_last_word() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    let mode = |perm| keyfold_fs::vfs::SetAttr {
        perm: Some(perm),
        ..keyfold_fs::vfs::SetAttr::default()
    };
    alice.xattr("plain", "user.colour", b"red");
    alice.xattr("plain", "user.of alice", b"1");
    alice.set("plain", &mode(0o400));
    alice.stamp("plain", 2000);
    bob.xattr("plain", "user.colour", b"blue");
    bob.xattr("plain", "user.of bob", b"2");
    bob.set("plain", &mode(0o700));
    bob.stamp("plain", 1000);
    meet(&mut alice, &mut bob);
    let (_, perm, stamp, xattrs, _) = alice.seen().remove("plain").unwrap();
    assert_eq!((perm, stamp.secs), (7, 1000));
    let colour = (b"user.colour".to_vec(), b"blue".to_vec());
    assert!(xattrs.len() == 3 && xattrs.contains(&colour));
}
