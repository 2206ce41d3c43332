//! Where a log is begun from: snapshots, true and false.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::log::Event;
use keyfold_protocol::operation::{Action, Operation};
use keyfold_protocol::pack::blob_id;
use keyfold_protocol::record::Kind;
use keyfold_protocol::roster::Role;
use keyfold_protocol::snapshot::SnapshotPlace;
use keyfold_protocol::tree::Tree;

use super::site::{People, Site, assert_same, pattern};
use crate::account::Session;
use crate::account::tests::scene::session;
use crate::remote::tests::run;
use crate::remote::tests::script::Answer;
use crate::sharing::tests::newcomer;
use crate::sharing::{Appended, Outgoing, Reads, Shared, SharingError, Trouble};
use crate::sync::{Round, ShareSync, SyncError};

/// A share of alice alone, with some history.
pub(super) fn alone<'s, 'a>(people: &'a People, a: &'s Session<'a>) -> (Site<'s, 'a>, ShareId) {
    let id = run(Shared::create(a)).unwrap().id();
    let mut alice = Site::begin((&people.alice, a), id, |_, _| {});
    alice.mkdir("dir");
    alice.file("dir/file", &pattern(10_000, 1));
    alice.file("gone", b"before");
    alice.push();
    alice.overwrite("dir/file", 4096, b"the second version");
    alice.unlink("gone");
    alice.push();
    (alice, id)
}

/// Adds somebody.
pub(super) fn add(session: &Session<'_>, share: ShareId, user: &str, (role, reads): (Role, Reads)) {
    let mut shared = run(Shared::open(session, share)).unwrap();
    let mut whom = newcomer(session, user, role);
    whom.reads = reads;
    run(shared.add(&whom)).unwrap();
}

/// The same share, in which Bob writes and has everything.
pub(super) fn both<'s, 'a>(
    people: &'a People,
    (a, b): (&'s Session<'a>, &'s Session<'a>),
) -> (Site<'s, 'a>, Site<'s, 'a>, ShareId) {
    let (alice, id) = alone(people, a);
    add(a, id, "bob", (Role::Writer, Reads::ThisEpoch));
    let mut bob = Site::try_begin((&people.bob, b), id).unwrap();
    bob.pull();
    (alice, bob, id)
}

/// Appends a snapshot of a tree, whatever it is.
fn forge(sync: &mut ShareSync<'_, '_>, tree: &Tree) {
    run(sync.pull()).unwrap();
    let log = sync.shared.log();
    let (seq, record) = log.head().unwrap();
    let epoch = log.roster().unwrap().epoch;
    let share = log.share();
    let place = SnapshotPlace {
        share,
        epoch,
        seq,
        record,
    };
    let (body, chunks) = place.seal(tree, log.epoch_key(epoch).unwrap()).unwrap();
    let remote = sync.shared.session().remote();
    for chunk in &chunks {
        run(remote.put_blob(share, blob_id(chunk), chunk)).unwrap();
    }
    let blobs = (body.chunks.clone(), Vec::new());
    let append = sync.shared.draft(Kind::Snapshot, &body.encode(), blobs);
    let appended = run(sync.shared.append_content(&append.unwrap()));
    assert_eq!(appended.unwrap(), Appended::Done);
    run(sync.absorb()).unwrap();
}

#[test]
fn who_is_given_a_share_from_now_on_reads_what_is_there_and_nothing_of_before() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, id) = alone(&people, &a);
    add(&a, id, "bob", (Role::Writer, Reads::FromNow));
    // Until there is a snapshot nothing can be read.
    let waiting = Site::try_begin((&people.bob, &b), id).err().unwrap();
    assert!(matches!(waiting, SyncError::NoHistory), "{waiting:?}");
    alice.push();
    let mut bob = Site::try_begin((&people.bob, &b), id).unwrap();
    bob.pull();
    assert_same(&alice, &bob);
    assert_eq!(bob.paths(), ["dir", "dir/file"]);
    let log = bob.sync.shared.log();
    assert_eq!(log.readable_from(), Some(log.roster().unwrap().epoch));
    let before = keyfold_protocol::ids::Epoch(1);
    assert!(log.epoch_key(before).is_none());
    // Only packs that are needed can be opened.
    let head = &bob.sync.head;
    let known: usize = head
        .nodes()
        .filter_map(|(_, n)| n.content())
        .map(|c| c.packs.len())
        .sum();
    assert_eq!(known, 2);

    bob.file("dir/by bob", b"from now on");
    bob.overwrite("dir/file", 0, b"by bob");
    bob.push();
    alice.pull();
    assert_same(&alice, &bob);
    assert!(alice.told().is_empty() && bob.told().is_empty());
}

#[test]
fn a_removed_member_cannot_read_a_snapshot_that_is_made_after() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, id) = alone(&people, &a);
    add(&a, id, "bob", (Role::Writer, Reads::ThisEpoch));
    let bob = Site::try_begin((&people.bob, &b), id).unwrap();
    let mut shared = run(Shared::open(&a, id)).unwrap();
    let root = shared.member(&"bob".parse().unwrap()).unwrap().key.root;
    run(shared.remove(root)).unwrap();
    alice.file("later", b"not for bob");
    alice.push();
    let newest = alice.sync.newest.clone().unwrap();
    let chunk = newest.chunks[0];
    let remote = a.remote();
    let whole = 0..alice.sync.head.encode().len() + 81;
    let bytes = run(remote.blob(id, chunk, whole.clone())).unwrap();
    assert!(run(b.remote().blob(id, chunk, whole)).is_err());
    // Nor with the bytes: he has no key that opens them.
    let record = alice
        .sync
        .shared
        .log()
        .record_at(keyfold_protocol::ids::Seq(newest.seq.0 - 1));
    let place = SnapshotPlace {
        share: id,
        epoch: newest.epoch,
        seq: keyfold_protocol::ids::Seq(newest.seq.0 - 1),
        record: record.unwrap(),
    };
    let body = keyfold_protocol::snapshot::SnapshotBody {
        seq: place.seq,
        record: place.record,
        tree: alice.sync.head.hash(),
        length: bytes.len() as u64 - 81,
        chunks: vec![chunk],
    };
    let open = |sync: &ShareSync<'_, '_>, epoch| {
        let key = sync.shared.log().epoch_key(epoch)?;
        place.open(&body, std::slice::from_ref(&bytes), key).ok()
    };
    assert!(open(&alice.sync, newest.epoch).is_some());
    for epoch in 0..=newest.epoch.0 {
        assert!(open(&bob.sync, keyfold_protocol::ids::Epoch(epoch)).is_none());
    }
}

#[test]
fn a_false_snapshot_is_told_and_nobody_begins_from_it() {
    let people = People::new();
    let carol = people.scene.registered("carol").0;
    let (a, b) = people.sessions();
    let c = session(&carol);
    let (mut alice, id) = alone(&people, &a);
    add(&a, id, "bob", (Role::Writer, Reads::FromNow));
    alice.push();
    let mut bob = Site::try_begin((&people.bob, &b), id).unwrap();
    bob.pull();
    forge(&mut bob.sync, &Tree::default());
    assert_eq!(bob.told(), [Event::FalseSnapshot]);
    alice.pull();
    assert_eq!(alice.told(), [Event::FalseSnapshot]);
    let told = alice.sync.take_notices();
    let bobs = told.iter().map(|told| told.author.to_string() == "bob");
    assert_eq!(bobs.collect::<Vec<_>>(), [true]);
    assert_eq!(told[0].what, Trouble::Event(Event::FalseSnapshot));
    assert_eq!(alice.paths(), ["dir", "dir/file"]);
    add(&a, id, "carol", (Role::Reader, Reads::ThisEpoch));
    let mut newcomer = Site::try_begin((&carol, &c), id).unwrap();
    newcomer.pull();
    assert_same(&alice, &newcomer);
    assert_eq!(newcomer.told(), [Event::FalseSnapshot]);

    // Nor from a true one that is not an owner's, and the newest of an owner is what counts.
    alice.file("more", b"more");
    alice.push();
    bob.pull();
    let head = bob.sync.head.as_ref().clone();
    forge(&mut bob.sync, &head);
    newcomer.pull();
    assert_same(&alice, &newcomer);
    assert_eq!(newcomer.told(), [Event::FalseSnapshot]);
}

#[test]
fn a_snapshot_that_is_withheld_is_told_and_the_log_is_gone_through() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, id) = alone(&people, &a);
    add(&a, id, "bob", (Role::Reader, Reads::ThisEpoch));
    alice.pull();
    assert_eq!(run(alice.sync.make_snapshot()).unwrap(), Appended::Done);
    alice.file("more", b"more");
    alice.push();
    let chunk = alice.sync.newest.clone().unwrap().chunks[0];
    for lie in [
        (|_| Answer::Reply(404, br#"{"code":"not-found","message":"m"}"#.to_vec()))
            as fn(std::net::SocketAddr) -> Answer,
        |real| {
            Answer::Forward(
                real,
                Box::new(|mut body| {
                    body[50] ^= 1;
                    body
                }),
            )
        },
    ] {
        people.scene.meddle(move |seen, real| {
            let blob = seen.path().ends_with(&format!("/blobs/{chunk}"));
            blob.then(|| lie(real))
        });
        let bob = Site::try_begin((&people.bob, &b), id).unwrap();
        assert_eq!(bob.told(), [Event::SnapshotWithheld]);
        assert_eq!(bob.sync.head, alice.sync.head);
    }
    people.scene.be_honest();
    let bob = Site::try_begin((&people.bob, &b), id).unwrap();
    assert!(bob.told().is_empty());
    assert_eq!(bob.sync.head, alice.sync.head);
}

#[test]
fn a_server_that_says_nothing_of_snapshots_or_too_much_changes_nothing() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, id) = alone(&people, &a);
    add(&a, id, "bob", (Role::Reader, Reads::FromNow));
    alice.push();
    alice.file("more", b"more");
    alice.push();
    for claim in [serde_json::Value::Null, 0.into(), 2.into(), 1000.into()] {
        let path = format!("/v1/shares/{id}");
        people
            .scene
            .edit(&path, move |reply| reply["snapshot"] = claim.clone());
        let bob = Site::try_begin((&people.bob, &b), id).unwrap();
        assert_eq!(bob.sync.head, alice.sync.head);
        assert!(bob.told().is_empty());
    }
}

#[test]
fn a_snapshot_replaces_the_one_before() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, id) = alone(&people, &a);
    add(&a, id, "bob", (Role::Writer, Reads::ThisEpoch));
    alice.pull();
    run(alice.sync.make_snapshot()).unwrap();
    let first = alice.sync.newest.clone().unwrap();
    run(alice.sync.make_snapshot()).unwrap();
    let second = alice.sync.newest.clone().unwrap();
    let dropped = || -> Vec<_> {
        let reply = run(a.remote().dropped_blobs(id)).unwrap();
        reply
            .blobs
            .into_iter()
            .map(|dropped| dropped.blob)
            .collect()
    };
    assert!(dropped().contains(&first.chunks[0]));
    // A member who drops what is needed achieves nothing by that.
    let mut bob = Site::try_begin((&people.bob, &b), id).unwrap();
    bob.pull();
    let pack = bob.sync.head.needed_blobs().next().unwrap();
    let mut blobs = vec![second.chunks[0], pack];
    blobs.sort_unstable();
    let outgoing = Outgoing {
        dropped: blobs.clone(),
        ..Outgoing::default()
    };
    let append = bob.sync.shared.draft_content(outgoing).unwrap();
    run(bob.sync.shared.append_content(&append)).unwrap();
    assert!(blobs.iter().all(|blob| dropped().contains(blob)));
    alice.pull();
    assert_eq!(alice.told(), [Event::DroppedInUse]);
    assert!(!blobs.iter().any(|blob| dropped().contains(blob)));
}

/// So many records that do not change the tree.
fn chatter(sync: &mut ShareSync<'_, '_>, count: usize) {
    for n in 0..count {
        let operation = Operation {
            id: keyfold_protocol::ids::OperationId::generate().unwrap(),
            action: Action::Message(format!("message {n}").parse().unwrap()),
        };
        let outgoing = Outgoing {
            operations: vec![operation],
            ..Outgoing::default()
        };
        let append = sync.shared.draft_content(outgoing).unwrap();
        run(sync.shared.append_content(&append)).unwrap();
    }
    run(sync.absorb()).unwrap();
}

fn few_are_downloaded_after(records: usize) {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, id) = alone(&people, &a);
    add(&a, id, "bob", (Role::Reader, Reads::ThisEpoch));
    chatter(&mut alice.sync, records);
    alice.push();
    run(alice.sync.make_snapshot()).unwrap();
    alice.push();
    let mut bob = Site::try_begin((&people.bob, &b), id).unwrap();
    bob.pull();
    assert_same(&alice, &bob);
    // Opened again, nothing is asked for before somebody syncs, and then only for what is new.
    people.scene.script.take();
    bob.again();
    assert!(people.scene.script.take().is_empty());
    bob.pull();
    let head = bob.sync.shared.log().head().unwrap().0;
    let asked: Vec<String> = people.scene.script.take_paths();
    let from = format!("/records?from={}", head.0 + 1);
    assert!(asked.iter().any(|path| path.ends_with(&from)), "{asked:?}");
    assert!(
        !asked.iter().any(|path| path.contains("/blobs/")),
        "{asked:?}"
    );
}

#[test]
fn opening_again_downloads_nothing_and_syncing_only_what_is_new() {
    few_are_downloaded_after(20);
}

#[test]
#[ignore = "long"]
fn opening_after_many_records_downloads_few() {
    few_are_downloaded_after(1000);
}

#[test]
#[ignore = "long"]
fn after_many_records_an_owner_makes_a_snapshot_and_a_writer_none() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = both(&people, (&a, &b));
    chatter(&mut bob.sync, 520);
    bob.push();
    assert!(bob.sync.newest.is_none());
    alice.push();
    let newest = alice.sync.newest.clone().unwrap();
    assert!(newest.seq.0 > 520);
    alice.push();
    assert_eq!(alice.sync.newest, Some(newest.clone()));
    let round = run(bob.sync.pull()).unwrap();
    assert_eq!(
        (round, bob.sync.newest.clone()),
        (Round::Done { kept_back: 0 }, Some(newest))
    );
    assert!(bob.told().is_empty());
}

#[test]
fn who_was_removed_and_is_given_the_share_again_goes_on_from_a_snapshot() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, id) = both(&people, (&a, &b));
    bob.file("before", b"of bob");
    bob.push();
    let mut shared = run(Shared::open(&a, id)).unwrap();
    let root = shared.member(&"bob".parse().unwrap()).unwrap().key.root;
    run(shared.remove(root)).unwrap();
    alice.push();
    alice.overwrite("dir/file", 0, b"while he was out");
    alice.file("meanwhile", b"1");
    alice.push();
    bob.file("offline", b"not sent");
    let refused = run(bob.sync.push()).unwrap_err();
    assert!(matches!(
        refused,
        SyncError::Sharing(SharingError::NotAMember)
    ));
    add(&a, id, "bob", (Role::Writer, Reads::FromNow));
    for _ in 0..2 {
        let waits = run(bob.sync.push()).unwrap_err();
        assert!(matches!(waits, SyncError::NoHistory), "{waits:?}");
        bob.again();
    }
    alice.push();
    bob.push();
    bob.again();
    alice.pull();
    assert_same(&alice, &bob);
    let paths = ["before", "dir", "dir/file", "meanwhile", "offline"];
    assert_eq!(alice.paths(), paths);
}
