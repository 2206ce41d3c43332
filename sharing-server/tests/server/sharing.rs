//! Sharing from the first record to a restored backup.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::exchange::Append;
use keyfold_protocol::ids::{BlobId, Seq, ShareId, Time};
use keyfold_protocol::log::Log;
use keyfold_protocol::roster::{Change, Role};
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{AppendReply, ShareItem, SharesReply};
use keyfold_server::{AuditVerdict, operation};

use crate::http::{Answer, Client};
use crate::people::{Rotation, Share, add, add_until, person};
use crate::world::{World, append, create, now, pull, push, refused, upload};

#[test]
fn a_member_pulls_what_another_appended_and_applies_it_with_his_grant() {
    let world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    upload(&at_alice, &share);
    let pulled = pull(&at_bob, share.id, 0);
    let mut log = Log::new(bob.own(), share.id);
    let applied = log.absorb(&pulled.records).unwrap();
    assert_eq!(applied.len(), 2);
    assert!(applied.iter().all(|applied| applied.events.is_empty()));
    assert_eq!(log.role(), Some(Role::Writer));
    assert!(log.epoch_key(log.roster().unwrap().epoch).is_some());
    assert_eq!(pulled.head, share.log.head().unwrap().1);
    share.write(&bob, vec![]);
    push(&at_bob, &share).done();
    assert_eq!(pull(&at_alice, share.id, 2).records.len(), 1);
}

#[test]
fn a_record_sent_twice_is_appended_once_and_answers_its_place() {
    let world = World::new();
    let alice = person("alice");
    let client = world.join(&alice);
    let mut share = Share::begin(&alice);
    assert_eq!(
        create(&client, &share.appended[0]),
        create(&client, &share.appended[0])
    );
    share.write(&alice, vec![]);
    push(&client, &share).done();
    share.write(&alice, vec![]);
    push(&client, &share).done();
    let again: AppendReply = append(&client, share.id, &share.appended[1]).json();
    assert_eq!((again.seq, again.head.seq), (Seq(1), Seq(2)));
    assert_eq!(pull(&client, share.id, 0).records.len(), 3);
}

#[test]
fn of_two_records_for_one_place_one_is_appended_and_the_other_hears_of_the_head() {
    let world = World::new();
    let alice = person("alice");
    let client = world.join(&alice);
    let mut share = Share::begin(&alice);
    upload(&client, &share);
    let mut other = Share {
        appended: vec![],
        keys: share.keys.clone(),
        log: share.log.clone(),
        creator: alice.clone(),
        time: share.time,
        id: share.id,
    };
    other.time.0 += 1;
    share.write(&alice, vec![]);
    other.write(&alice, vec![]);
    push(&client, &share).done();
    let answer = push(&client, &other);
    refused(&answer, ErrorCode::HeadMoved);
    let head = answer.error().head.unwrap();
    assert_eq!((head.seq, head.record), share.log.head().unwrap());
}

#[test]
fn a_removed_member_gets_nothing_any_more_and_appends_nothing() {
    let world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    upload(&at_alice, &share);
    share.change(
        &alice,
        vec![Change::Remove(bob.root())],
        Rotation::WithHistory,
    );
    push(&at_alice, &share).done();
    let path = Route::Pull.path(&[&share.id]) + "?from=0";
    refused(&at_bob.get(Route::Pull, &path), ErrorCode::NotFound);
    share.write(&bob, vec![]);
    refused(&push(&at_bob, &share), ErrorCode::NotFound);
    let shares: SharesReply = at_bob.get(Route::Shares, "/v1/shares").json();
    assert_eq!(shares.shares, []);
}

#[test]
fn what_would_be_void_is_not_appended() {
    let world = World::new();
    let (alice, bob, carol) = (person("alice"), person("bob"), person("carol"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let mut share = Share::with(&alice, &[(&bob, Role::Reader)]);
    upload(&at_alice, &share);
    share.write(&bob, vec![]);
    refused(&push(&at_bob, &share), ErrorCode::NotApplicable);
    let mut share = Share {
        appended: vec![],
        log: share.seen_by(&alice).0,
        keys: share.keys.clone(),
        creator: alice.clone(),
        ..share
    };
    share.force_changes(&bob, vec![add(&carol, Role::Owner)]);
    let answer = push(&at_bob, &share);
    assert!(matches!(
        answer.code(),
        Some(ErrorCode::NotApplicable | ErrorCode::HeadMoved)
    ));
    let at_server = pull(&at_alice, share.id, 0);
    assert_eq!(at_server.head_seq, Seq(1));
}

#[test]
fn grants_that_the_record_does_not_list_are_refused() {
    let world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let client = world.join(&alice);
    let mut share = Share::begin(&alice);
    upload(&client, &share);
    share.change(&alice, vec![add(&bob, Role::Reader)], Rotation::Stay);
    let mut without = share.appended[1].clone();
    without.grants.clear();
    refused(
        &append(&client, share.id, &without),
        ErrorCode::NotApplicable,
    );
    let mut foreign = share.appended[1].clone();
    foreign.grants = share.appended[0].grants.clone();
    refused(
        &append(&client, share.id, &foreign),
        ErrorCode::NotApplicable,
    );
    push(&client, &share).done();
}

#[test]
fn after_a_restored_backup_a_member_brings_the_lost_records_back() {
    let mut world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    upload(&at_alice, &share);
    let copy = world.beside("copy");
    operation::backup(&world.path(), &copy).unwrap();
    share.write(&alice, vec![]);
    push(&at_alice, &share).done();
    let lost = pull(&at_bob, share.id, 2);
    world.stop();
    let restored = world.beside("restored");
    operation::restore(&copy, &restored).unwrap();
    world.start_at(&restored);
    let at_bob = world.login(&bob);
    assert_eq!(pull(&at_bob, share.id, 0).head_seq, Seq(1));
    push(&at_bob, &share).done();
    let again = pull(&at_bob, share.id, 2);
    assert_eq!(
        again.records[0].record.encode(),
        lost.records[0].record.encode()
    );
}

fn restore(client: &Client, share: ShareId, append: &Append) -> Answer {
    let record = append.record.header.hash();
    let path = Route::Restore.path(&[&share, &record]);
    client.call(Route::Restore, &path, &append.encode())
}

#[test]
fn a_record_whose_blobs_were_lost_with_it_comes_back_from_who_may_write_and_from_nobody_else() {
    let world = World::new();
    let (alice, bob, carol) = (person("alice"), person("bob"), person("carol"));
    let [at_alice, at_bob, at_carol] = [&alice, &bob, &carol].map(|one| world.join(one));
    let members = [(&bob, Role::Writer), (&carol, Role::Reader)];
    let mut share = Share::with(&alice, &members);
    upload(&at_alice, &share);
    share.write_with(&alice, vec![], vec![BlobId([7; 32])]);
    share.change(&alice, vec![], Rotation::WithHistory);
    let [.., lost, roster] = &share.appended[..] else {
        panic!("two records")
    };
    refused(&append(&at_bob, share.id, lost), ErrorCode::BlobMissing);
    refused(&restore(&at_carol, share.id, lost), ErrorCode::Forbidden);
    refused(&restore(&at_bob, share.id, roster), ErrorCode::HeadMoved);
    let other = Route::Restore.path(&[&share.id, &roster.record.header.hash()]);
    let answer = at_bob.call(Route::Restore, &other, &lost.encode());
    refused(&answer, ErrorCode::NotApplicable);
    // Several do it at once, and it ends the same.
    for client in [&at_bob, &at_alice] {
        let reply: AppendReply = restore(client, share.id, lost).json();
        assert_eq!(reply.seq, lost.record.header.seq);
    }
    // Keys that a record gives come with it: all of them, or it does not come.
    let mut bare = roster.clone();
    bare.grants.pop();
    let answer = restore(&at_bob, share.id, &bare);
    refused(&answer, ErrorCode::NotApplicable);
    restore(&at_bob, share.id, roster).done();
    assert_eq!(
        pull(&at_carol, share.id, 0).head,
        share.log.head().unwrap().1
    );
}

#[test]
fn the_audit_log_is_whole_and_an_edited_entry_is_found() {
    let mut world = World::new();
    let alice = person("alice");
    let client = world.join(&alice);
    upload(&client, &Share::begin(&alice));
    world.stop();
    let verdict = operation::verify_audit(&world.path()).unwrap();
    assert!(matches!(verdict, AuditVerdict::Whole { entries, .. } if entries >= 3));
    let path = world.path().join("server.db");
    let bytes = std::fs::read(&path).unwrap();
    let at = bytes
        .windows(12)
        .position(|w| w == b"create-share")
        .unwrap();
    let mut edited = bytes;
    edited[at] = b'C';
    std::fs::write(&path, edited).unwrap();
    let verdict = operation::verify_audit(&world.path()).unwrap();
    assert!(matches!(verdict, AuditVerdict::Broken { .. }));
}

#[test]
fn who_has_expired_is_kept_out_and_a_rotation_is_due() {
    let world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let mut share = Share::begin(&alice);
    upload(&at_alice, &share);
    let expired = add_until(&bob, Role::Writer, Time(now().0 - 1));
    share.change(&alice, vec![expired], Rotation::Stay);
    push(&at_alice, &share).done();
    let path = Route::Share.path(&[&share.id]);
    refused(&at_bob.get(Route::Share, &path), ErrorCode::NotFound);
    let item: ShareItem = at_alice.get(Route::Share, &path).json();
    assert!(item.rotation_due);
}

#[test]
fn who_leaves_makes_a_rotation_due_until_an_owner_begins_an_epoch() {
    let world = World::new();
    let (alice, bob) = (person("alice"), person("bob"));
    let (at_alice, at_bob) = (world.join(&alice), world.join(&bob));
    let mut share = Share::with(&alice, &[(&bob, Role::Reader)]);
    upload(&at_alice, &share);
    share.change(&bob, vec![Change::Leave], Rotation::Stay);
    push(&at_bob, &share).done();
    let path = Route::Share.path(&[&share.id]);
    refused(&at_bob.get(Route::Share, &path), ErrorCode::NotFound);
    assert!(
        at_alice
            .get(Route::Share, &path)
            .json::<ShareItem>()
            .rotation_due
    );
    share.change(&alice, vec![], Rotation::WithHistory);
    push(&at_alice, &share).done();
    assert!(
        !at_alice
            .get(Route::Share, &path)
            .json::<ShareItem>()
            .rotation_due
    );
}
