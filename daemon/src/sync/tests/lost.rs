//! A server that lost records and content, and who gives them back.

use keyfold_protocol::ids::{BlobId, RecordHash, Seq, ShareId};
use keyfold_protocol::roster::Role;

use super::site::{People, Site, assert_same, pattern, share};
use crate::account::{Session, Standing};
use crate::remote::tests::run;
use crate::sharing::tests::newcomer;
use crate::sharing::{Shared, SharingError};
use crate::sync::SyncError;

/// Records of a log, with their places.
fn records(site: &Site<'_, '_>) -> Vec<(Seq, RecordHash)> {
    let log = site.sync.shared.log();
    let all = (0..log.next_seq().0).map(Seq);
    all.map(|seq| (seq, log.record_at(seq).unwrap())).collect()
}

/// What files need and the server does not have.
fn missing(session: &Session<'_>, site: &Site<'_, '_>) -> Vec<BlobId> {
    let needed: Vec<BlobId> = site.sync.head.needed_blobs().collect();
    assert!(!needed.is_empty());
    run(session
        .remote()
        .missing_blobs(site.sync.shared.id(), &needed))
    .unwrap()
}

/// A session as it is after the server began anew.
fn standing(session: &Session<'_>, share: ShareId) -> Standing {
    session.kept().standing(share).unwrap()
}

#[test]
fn two_who_give_back_at_once_end_the_same_and_no_record_is_another() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("kept", &pattern(9000, 1));
    alice.push();
    bob.pull();
    people.scene.back_up();
    alice.file("large", &pattern(6 << 20, 2));
    alice.push();
    // Of this pack some blocks are nobody's any more.
    alice.overwrite("large", 300_000, &pattern(5000, 3));
    alice.truncate("kept", 100);
    alice.push();
    bob.pull();
    bob.read("large");
    bob.file("by bob", &pattern(70_000, 4));
    bob.push();
    alice.pull();
    alice.read("by bob");
    let before = records(&alice);
    assert_eq!(before, records(&bob));
    people.scene.restore();

    // While one asks what is missing, the other has sent it.
    run(alice.sync.pull()).unwrap();
    run(bob.sync.pull()).unwrap();
    alice.push();
    bob.push();
    alice.push();
    bob.push();
    assert_eq!(records(&alice)[..before.len()], before);
    assert_eq!(records(&alice), records(&bob));
    assert_eq!(missing(&a, &alice), []);
    assert_eq!([standing(&a, id), standing(&b, id)], [Standing::Whole; 2]);
    assert_same(&alice, &bob);
    assert_eq!(bob.paths(), ["by bob", "kept", "large"]);
    assert!(alice.sync.take_told()[0].contains("restored from a backup"));
    // What somebody has here stays here, also where another was first to send it.
    for (site, path) in [
        (&alice, "large"),
        (&alice, "by bob"),
        (&bob, "large"),
        (&bob, "by bob"),
    ] {
        let presence = site.v().presence(site.ino(path)).unwrap();
        assert_eq!(presence.remote, 0, "{path}");
    }
    // Who has nothing but what the server has reads all of it.
    let mut large = pattern(6 << 20, 2);
    large[300_000..305_000].copy_from_slice(&pattern(5000, 3));
    alice.again();
    assert!(alice.read("large") == large && bob.read("large") == large);
}

#[test]
fn what_was_written_meanwhile_goes_out_with_what_was_lost() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("first", &pattern(9000, 1));
    alice.push();
    people.scene.back_up();
    let content = pattern(600_000, 2);
    alice.file("second", &content);
    alice.push();
    bob.pull();
    people.scene.restore();
    // Bob has the names and nothing of the content.
    alice.overwrite("second", 100, b"meanwhile");
    alice.truncate("second", 590_000);
    bob.file("third", b"by bob");
    bob.push();
    assert!(!missing(&b, &bob).is_empty());
    assert_eq!(standing(&b, id), Standing::InDoubt);
    assert!(
        bob.sync
            .take_told()
            .iter()
            .any(|told| told.contains("1 files"))
    );
    alice.push();
    bob.push();
    let mut expected = content[..590_000].to_vec();
    expected[100..109].copy_from_slice(b"meanwhile");
    assert!(bob.read("second") == expected);
    assert_eq!(missing(&b, &bob), []);
    assert_eq!([standing(&a, id), standing(&b, id)], [Standing::Whole; 2]);
    assert_same(&alice, &bob);
}

#[test]
fn a_file_that_is_changed_while_another_sends_it_again_is_in_no_conflict() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.push();
    people.scene.back_up();
    let content = pattern(600_000, 1);
    alice.file("first", &content);
    alice.push();
    bob.pull();
    bob.read_at("first", 0, 4096);
    people.scene.restore();
    bob.overwrite("first", 100, b"by bob");
    alice.push();
    bob.push();
    let mut expected = content;
    expected[100..106].copy_from_slice(b"by bob");
    assert_eq!(bob.paths(), ["first"]);
    assert!(bob.read("first") == expected);
    alice.pull();
    assert!(alice.read("first") == expected);
    assert_eq!(missing(&a, &alice), []);
}

#[test]
fn whoever_ends_before_the_content_is_sent_goes_on_with_it() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    people.scene.back_up();
    alice.file("first", &pattern(9000, 1));
    alice.push();
    people.scene.restore();
    run(alice.sync.pull()).unwrap();
    assert_eq!(standing(&a, id), Standing::InDoubt);
    alice.again();
    alice.push();
    assert_eq!(missing(&a, &alice), []);
    bob.pull();
    assert!(bob.read("first") == pattern(9000, 1));
}

#[test]
fn records_that_were_taken_and_not_applied_before_the_end_come_back_too() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.push();
    bob.push();
    alice.pull();
    people.scene.back_up();
    alice.mkdir("one");
    alice.push();
    alice.mkdir("two");
    alice.push();
    run(bob.sync.shared.pull()).unwrap();
    assert_eq!(bob.paths(), [""; 0]);
    people.scene.restore();
    bob.again();
    bob.push();
    assert_eq!(bob.paths(), ["one", "two"]);
    assert_eq!(records(&alice), records(&bob));
    alice.pull();
    assert_same(&alice, &bob);
}

#[test]
fn who_may_only_read_waits_until_a_writer_gave_back() {
    let people = People::new();
    let (a, b) = people.sessions();
    let mut shared = run(Shared::create(&a)).unwrap();
    run(shared.add(&newcomer(&a, "bob", Role::Reader))).unwrap();
    let id = shared.id();
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    people.scene.back_up();
    alice.file("first", b"content");
    alice.push();
    bob.pull();
    people.scene.restore();
    let read = run(bob.sync.pull()).unwrap_err();
    assert!(matches!(
        read,
        SyncError::Sharing(SharingError::LostRecords(_))
    ));
    alice.push();
    bob.pull();
    assert_eq!(bob.read("first"), b"content");
}

#[test]
fn of_a_share_the_last_records_are_kept_and_no_more_than_there_may_be() {
    let people = People::new();
    let (a, _) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    alice.file("first", b"content");
    alice.push();
    let kept = a.kept();
    for (seq, record) in records(&alice) {
        let found = kept.record(id, (seq, record)).unwrap().unwrap();
        assert_eq!(found.record.header.hash(), record);
    }
    let (seq, record) = *records(&alice).last().unwrap();
    let content = kept.record(id, (seq, record)).unwrap().unwrap();
    let numbered = |seq: u64| {
        let mut next = content.clone();
        next.record.header.seq = Seq(seq);
        next
    };
    let is_kept = |seq: u64| {
        let hash = numbered(seq).record.header.hash();
        kept.record(id, (Seq(seq), hash)).unwrap().is_some()
    };
    for from in (1000..6000).step_by(500) {
        let some: Vec<_> = (from..from + 500).map(numbered).collect();
        kept.put_records(id, &some).unwrap();
    }
    assert!(!is_kept(1000) && !is_kept(1903));
    assert!(is_kept(1904) && is_kept(5999));
    assert!(kept.record(id, (seq, record)).unwrap().is_none());
    // What is older than all of them is not kept in their place.
    kept.put_records(id, &[numbered(1000)]).unwrap();
    assert!(!is_kept(1000) && is_kept(1000 + 4096));
    kept.forget_records(id, alice.sync.share.0).unwrap();
    assert!(!is_kept(5999));
}
