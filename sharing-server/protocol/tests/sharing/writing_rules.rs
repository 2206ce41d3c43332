//! Who may write what, and when.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::Append;
use keyfold_protocol::ids::{Epoch, RecordHash};
use keyfold_protocol::log::{Outcome, Stop, Void};
use keyfold_protocol::operation::ContentBody;
use keyfold_protocol::record::{Kind, Record};
use keyfold_protocol::roster::{Change, Role};

use crate::people::{Person, Rotation, Share, add, person};

fn cast() -> [Person; 3] {
    ["alice", "bob", "carol"].map(person)
}

#[test]
fn a_reader_writes_nothing_though_he_has_every_key() {
    let [alice, bob, _] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Reader)]);
    let outcome = share.write(&bob, vec![]).outcome;
    assert_eq!(outcome, Outcome::Void(Void::RoleMayNot));
}

#[test]
fn what_a_removed_member_writes_later_is_void() {
    let [alice, bob, _] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    share.change(&alice, vec![Change::Remove(bob.root())], Rotation::FromNow);
    let outcome = share.write(&bob, vec![]).outcome;
    assert_eq!(outcome, Outcome::Void(Void::NotAMember));
    // And the server cannot pass it off as written before.
    let (log, applied) = share.seen_by(&alice);
    assert_eq!(applied.last().unwrap().author.root, bob.root());
    assert_eq!(log.voids().count(), 1);
}

#[test]
fn who_was_lowered_to_reader_writes_nothing_and_who_was_raised_does() {
    let [alice, bob, carol] = cast();
    let members = [(&bob, Role::Writer), (&carol, Role::Reader)];
    let mut share = Share::with(&alice, &members);
    let lower = Change::Role(bob.root(), Role::Reader);
    let raise = Change::Role(carol.root(), Role::Writer);
    share.change(&alice, vec![lower, raise], Rotation::Stay);
    let outcome = share.write(&bob, vec![]).outcome;
    assert_eq!(outcome, Outcome::Void(Void::RoleMayNot));
    assert!(matches!(
        share.write(&carol, vec![]).outcome,
        Outcome::Content(_)
    ));
}

#[test]
fn content_of_an_epoch_not_in_force_is_void() {
    let [alice, bob, _] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    let old = share.key();
    share.change(&alice, vec![], Rotation::FromNow);
    let mut header = share.header(Kind::Content, &bob);
    header.epoch = Epoch(1);
    let outcome = share.write_as(header, vec![], &old, &bob).outcome;
    assert_eq!(outcome, Outcome::Void(Void::EpochNotInForce));
}

#[test]
fn content_that_does_not_know_the_last_roster_is_void() {
    let [alice, bob, carol] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    let stale = share.log.roster_record();
    share.change(&alice, vec![add(&carol, Role::Reader)], Rotation::Stay);
    let mut header = share.header(Kind::Content, &bob);
    header.roster = stale;
    let key = share.key();
    let outcome = share.write_as(header, vec![], &key, &bob).outcome;
    assert_eq!(outcome, Outcome::Void(Void::WrongRoster));
    // A void record does not become the last roster record.
    let mut header = share.header(Kind::Content, &bob);
    header.roster = RecordHash::NONE;
    let outcome = share.write_as(header, vec![], &key, &bob).outcome;
    assert_eq!(outcome, Outcome::Void(Void::WrongRoster));
}

#[test]
fn a_body_sealed_under_another_key_or_for_another_place_is_void() {
    let [alice, bob, _] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    let other = keyfold_crypto::EpochKey::generate().unwrap();
    let header = share.header(Kind::Content, &bob);
    let outcome = share.write_as(header, vec![], &other, &bob).outcome;
    assert_eq!(outcome, Outcome::Void(Void::Unopened));
    // Bob signs a body that alice sealed, as his own.
    share.write(&alice, vec![]);
    let stolen = share
        .appended
        .last()
        .unwrap()
        .record
        .body()
        .unwrap()
        .to_vec();
    let header = share.header(Kind::Content, &bob);
    let record = Record::sign(header, stolen, &bob.account.identity);
    let append = Append {
        record,
        grants: vec![],
    };
    let outcome = share.append(append).unwrap().outcome;
    assert_eq!(outcome, Outcome::Void(Void::Unopened));
}

#[test]
fn a_body_that_is_not_of_any_form_is_void_and_one_of_a_newer_version_stops() {
    let [alice, bob, _] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    let good = ContentBody { operations: vec![] }.encode();
    let mut newer = good.clone();
    newer[1] = 2;
    let seal = |share: &Share, body: &[u8]| {
        let header = share.header(Kind::Content, &bob);
        let record = Record::seal(header, body, &share.key(), &bob.account.identity).unwrap();
        Append {
            record,
            grants: vec![],
        }
    };
    for body in [
        &good[..1],
        b"",
        &[&good[..], &[0]].concat(),
        &[0x9f, 1, 0x80, 0xff],
    ] {
        let append = seal(&share, body);
        let outcome = share.append(append).unwrap().outcome;
        assert_eq!(outcome, Outcome::Void(Void::Malformed));
    }
    let append = seal(&share, &newer);
    assert_eq!(share.append(append).map(|_| ()), Err(Stop::UnknownVersion));
}

#[test]
fn void_records_keep_their_place_and_change_nothing() {
    let [alice, bob, carol] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Reader)]);
    let before = share.log.roster().unwrap().clone();
    share.write(&bob, vec![]);
    share.force_changes(&bob, vec![add(&carol, Role::Owner)]);
    assert_eq!(share.log.roster(), Some(&before));
    assert_eq!(share.log.voids().count(), 2);
    assert_eq!(share.log.head().unwrap().0.0, 3);
    // What follows stands on them.
    assert!(matches!(
        share.write(&alice, vec![]).outcome,
        Outcome::Content(_)
    ));
}
