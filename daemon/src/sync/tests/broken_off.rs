//! A push that ends at any point: nothing is lost, and nothing is there twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyfold_fs::vfs::{Handle, Ino, Vfs};

use super::site::{People, Site, assert_same, pattern, share};
use crate::account::Session;
use crate::remote::tests::run;
use crate::remote::tests::script::{Answer, Seen};
use crate::sync::{Round, ShareSync};

fn is_append(seen: &Seen) -> bool {
    seen.head.starts_with("POST") && seen.path().ends_with("/records")
}

/// Records of content in the log.
fn records(sync: &ShareSync<'_, '_>) -> u64 {
    sync.shared.log().next_seq().0
}

/// Alice pushes and is broken off as `meddle` says; what comes of that after she begins again.
fn broken_off(
    meddle: impl Fn(&Seen, std::net::SocketAddr, usize) -> Option<Answer> + Send + Sync + 'static,
) {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("first", &pattern(9000, 1));
    alice.push();
    bob.pull();
    let before = records(&alice.sync);
    alice.file("second", &pattern(9000, 2));
    alice.mkdir("dir");
    alice.rename("first", "dir/first");
    let appends = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&appends);
    people.scene.meddle(move |seen, real| {
        if is_append(seen) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        meddle(seen, real, counted.load(Ordering::Relaxed))
    });
    run(alice.sync.push()).unwrap_err();
    assert!(appends.load(Ordering::Relaxed) > 0, "it was being sent");
    people.scene.be_honest();
    let sent = alice
        .sync
        .in_flight
        .as_ref()
        .map(|own| own.append.record.header.hash());
    alice.again();
    let kept = alice
        .sync
        .in_flight
        .as_ref()
        .map(|own| own.append.record.header.hash());
    assert!(kept.is_some() && kept == sent, "it is kept as it was sent");
    people.scene.script.take();
    alice.push();
    let seen = people.scene.script.take();
    assert!(
        !seen
            .iter()
            .any(|seen| seen.head.starts_with("PUT") && seen.path().contains("/blobs/"))
    );
    assert_eq!(records(&alice.sync), before + 1);
    assert_eq!(
        alice.sync.shared.log().head().map(|(_, record)| record),
        sent
    );
    assert!(alice.v().take_marks(alice.sync.share).unwrap().is_empty());
    bob.pull();
    alice.again();
    assert!(alice.sync.in_flight.is_none());
    assert_same(&alice, &bob);
    assert_eq!(bob.paths(), ["dir", "dir/first", "second"]);
    alice.push();
    assert_eq!(records(&alice.sync), before + 1);
}

#[test]
fn a_record_that_was_kept_and_not_sent_is_sent_as_it_is() {
    broken_off(|seen, _, _| is_append(seen).then(|| Answer::Bytes(Vec::new())));
}

#[test]
fn a_record_whose_reply_was_lost_is_found_in_the_log() {
    broken_off(|seen, real, appends| {
        if is_append(seen) {
            return Some(Answer::Lose(real));
        }
        (appends > 0).then(|| Answer::Bytes(Vec::new()))
    });
}

#[test]
fn a_record_that_was_confirmed_and_not_noted_is_found_in_the_log() {
    broken_off(|seen, _, appends| {
        (!is_append(seen) && appends > 0).then(|| Answer::Bytes(Vec::new()))
    });
}

#[test]
fn a_record_that_others_came_before_is_made_anew() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("one", b"1");
    alice.push();
    bob.pull();
    alice.overwrite("one", 0, b"by alice");
    people
        .scene
        .meddle(|seen, _| is_append(seen).then(|| Answer::Bytes(Vec::new())));
    run(alice.sync.push()).unwrap_err();
    people.scene.be_honest();
    bob.file("two", b"2");
    bob.push();
    alice.again();
    alice.file("three", b"3");
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
    assert_eq!(bob.paths(), ["one", "three", "two"]);
    assert_eq!(bob.read("one"), b"by alice");
}

#[test]
fn what_changes_after_a_record_was_kept_is_sent_by_the_next() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("one", b"first");
    people
        .scene
        .meddle(|seen, real| is_append(seen).then(|| Answer::Lose(real)));
    let _lost = run(alice.sync.push());
    people
        .scene
        .meddle(|seen, _| is_append(seen).then(|| Answer::Bytes(Vec::new())));
    alice.overwrite("one", 0, b"later");
    alice.file("two", b"2");
    run(alice.sync.push()).unwrap_err();
    alice.overwrite("two", 0, b"3");
    people.scene.be_honest();
    alice.again();
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
    assert_eq!(
        (bob.read("one"), bob.read("two")),
        (b"later".to_vec(), b"3".to_vec())
    );
}

#[test]
fn a_file_in_use_holds_back_nothing_else() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.mkdir("dir");
    alice.file("busy", &pattern(9000, 1));
    alice.file("other", b"other");
    alice.push();
    bob.pull();
    let ino = bob.ino("busy");
    let handle = bob.v().open(ino, super::site::RW).unwrap();
    alice.overwrite("busy", 0, b"new");
    alice.overwrite("other", 0, b"OTHER");
    alice.rename("busy", "dir/moved");
    alice.xattr("dir/moved", "user.note", b"1");
    alice.file("third", b"3");
    alice.push();
    bob.file("of bob", b"bob");
    for _ in 0..2 {
        let round = run(bob.sync.push()).unwrap();
        assert!(matches!(round, Round::Waiting(nodes) if nodes.len() == 1));
        assert_eq!(
            bob.paths(),
            ["dir", "dir/moved", "of bob", "other", "third"]
        );
        assert_eq!(
            (bob.read("other"), bob.read("third")),
            (b"OTHER".to_vec(), b"3".to_vec())
        );
        assert_eq!(
            (bob.ino("dir/moved"), bob.read("dir/moved")),
            (ino, pattern(9000, 1))
        );
        bob.again();
    }
    // What bob made meanwhile is sent, and nothing of what waits.
    alice.pull();
    assert_eq!(alice.read("of bob"), b"bob");
    assert_eq!(&alice.read("dir/moved")[..3], b"new");
    bob.v().release(ino, handle);
    bob.push();
    alice.pull();
    assert_same(&alice, &bob);
    assert_eq!(&bob.read("dir/moved")[..3], b"new");
}

#[test]
fn a_file_that_both_write_is_decided_about_when_it_is_closed() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("log", b"0");
    alice.push();
    bob.pull();
    let ino = bob.ino("log");
    let handle = bob.v().open(ino, super::site::RW).unwrap();
    alice.overwrite("log", 0, b"by alice");
    alice.push();
    for n in 1..4 {
        bob.overwrite("log", n, b"bob");
        let round = run(bob.sync.push()).unwrap();
        assert!(matches!(round, Round::Waiting(_)), "{round:?}");
        assert_eq!(bob.paths(), ["log"]);
        if n == 2 {
            bob.again();
        }
    }
    bob.v().release(ino, handle);
    bob.push();
    alice.pull();
    assert_same(&alice, &bob);
    let paths = alice.paths();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert_eq!(alice.read("log"), b"by alice");
    assert_eq!(alice.read(&paths[1]), b"0bbbob");
}

/// Two who have a directory and files, one of which bob writes to.
fn in_use<'s, 'a>(
    people: &'a People,
    (a, b): (&'s Session<'a>, &'s Session<'a>),
    path: &str,
) -> (Site<'s, 'a>, Site<'s, 'a>, (Ino, Handle)) {
    let id = share(a);
    let mut alice = Site::begin((&people.alice, a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, b), id, |_, _| {});
    alice.mkdir("dir");
    alice.file("dir/busy", b"before");
    alice.file("busy", b"before");
    alice.file("other", b"other");
    alice.push();
    bob.pull();
    let ino = bob.ino(path);
    let handle = bob.v().open(ino, super::site::RW).unwrap();
    (alice, bob, (ino, handle))
}

/// Bob goes on with everything but what waits, and ends as alice when he closes the file.
fn goes_on(
    (alice, bob): (&mut Site<'_, '_>, &mut Site<'_, '_>),
    (ino, handle): (Ino, Handle),
    meanwhile: &[&str],
) {
    alice.overwrite("other", 0, b"OTHER");
    alice.push();
    bob.file("of bob", b"bob");
    for _ in 0..2 {
        let round = run(bob.sync.push()).unwrap();
        assert!(matches!(round, Round::Waiting(_)), "{round:?}");
        assert_eq!(bob.paths(), meanwhile);
        assert_eq!(bob.read("other"), b"OTHER");
        bob.again();
    }
    alice.pull();
    assert_eq!(alice.read("of bob"), b"bob");
    bob.v().release(ino, handle);
    bob.push();
    alice.pull();
    assert_same(alice, bob);
    bob.again();
}

#[test]
fn a_file_in_use_that_others_remove_goes_when_it_is_closed() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, open) = in_use(&people, (&a, &b), "busy");
    alice.unlink("busy");
    let meanwhile = ["busy", "dir", "dir/busy", "of bob", "other"];
    goes_on((&mut alice, &mut bob), open, &meanwhile);
    assert_eq!(alice.paths(), ["dir", "dir/busy", "of bob", "other"]);
}

#[test]
fn a_file_in_use_that_others_replace_is_replaced_when_it_is_closed() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, open) = in_use(&people, (&a, &b), "busy");
    alice.file("saved", b"as editors do");
    alice.rename("saved", "busy");
    let meanwhile = ["busy", "dir", "dir/busy", "of bob", "other"];
    goes_on((&mut alice, &mut bob), open, &meanwhile);
    assert_eq!(bob.read("busy"), b"as editors do");
}

#[test]
fn a_directory_with_a_file_in_use_waits_with_what_takes_its_name() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, open) = in_use(&people, (&a, &b), "dir/busy");
    alice.unlink("dir/busy");
    alice.rmdir("dir");
    alice.mkdir("dir");
    alice.mkdir("dir/below");
    alice.file("dir/below/new", b"new");
    alice.file("elsewhere", b"1");
    bob.file("dir/of bob", b"stays");
    let meanwhile = [
        "busy",
        "dir",
        "dir/busy",
        "dir/of bob",
        "elsewhere",
        "of bob",
        "other",
    ];
    goes_on((&mut alice, &mut bob), open, &meanwhile);
    let paths = alice.paths();
    assert_eq!(alice.read("dir/below/new"), b"new");
    let kept = paths.iter().find(|path| path.ends_with("/of bob")).unwrap();
    assert_eq!(alice.read(kept), b"stays");
    assert!(
        !paths.iter().any(|path| path.ends_with("/busy")),
        "{paths:?}"
    );
}

#[test]
fn a_file_that_is_written_to_while_others_removed_it_stays() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, open) = in_use(&people, (&a, &b), "busy");
    alice.unlink("busy");
    alice.push();
    for text in [b"one", b"two"] {
        let round = run(bob.sync.push()).unwrap();
        assert!(matches!(round, Round::Waiting(_)), "{round:?}");
        bob.overwrite("busy", 0, text);
    }
    let meanwhile = ["busy", "dir", "dir/busy", "of bob", "other"];
    goes_on((&mut alice, &mut bob), open, &meanwhile);
    assert_eq!(alice.paths(), meanwhile);
    assert_eq!(alice.read("busy"), b"twoore");
}
