//! Who may say who takes part.

use keyfold_protocol::chain::SignedEntry;
use keyfold_protocol::ids::{ChainRoot, Epoch, GrantHash, Nonce, Time};
use keyfold_protocol::log::{Outcome, Stop, Void};
use keyfold_protocol::roster::{Change, NewEpoch, Role, RosterBody};

use crate::people::{NOW, Person, Rotation, Share, add, add_until, named, person};

fn cast() -> [Person; 4] {
    ["alice", "bob", "carol", "dave"].map(person)
}

#[test]
fn a_member_gets_the_key_and_reads_from_the_beginning_of_its_epoch() {
    let [alice, bob, ..] = cast();
    let mut share = Share::begin(&alice);
    share.write(&alice, vec![]);
    share.change(&alice, vec![add(&bob, Role::Reader)], Rotation::Stay);
    let (log, applied) = share.seen_by(&bob);
    assert_eq!(log.role(), Some(Role::Reader));
    assert_eq!(applied[1].outcome, Outcome::Unreadable);
    let content = log.reread(&share.appended[1].record).unwrap();
    assert!(matches!(content, Outcome::Content(_)));
}

#[test]
fn a_newcomer_from_now_has_no_earlier_key_and_one_with_history_has() {
    let [alice, bob, carol, _] = cast();
    let mut share = Share::begin(&alice);
    share.change(&alice, vec![add(&bob, Role::Reader)], Rotation::FromNow);
    let (log, _) = share.seen_by(&bob);
    assert!(log.epoch_key(Epoch(1)).is_none() && log.epoch_key(Epoch(2)).is_some());
    share.change(
        &alice,
        vec![add(&carol, Role::Reader)],
        Rotation::WithHistory,
    );
    let (log, _) = share.seen_by(&carol);
    assert!(log.epoch_key(Epoch(2)).is_some() && log.epoch_key(Epoch(3)).is_some());
    assert!(log.epoch_key(Epoch(1)).is_none());
}

#[test]
fn a_removed_member_gets_no_later_key() {
    let [alice, bob, ..] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    share.change(&alice, vec![Change::Remove(bob.root())], Rotation::FromNow);
    let (log, _) = share.seen_by(&bob);
    assert_eq!(log.role(), None);
    assert!(log.epoch_key(Epoch(1)).is_some() && log.epoch_key(Epoch(2)).is_none());
}

#[test]
fn nobody_but_an_owner_changes_the_roster() {
    let [alice, bob, carol, dave] = cast();
    let members = [(&bob, Role::Writer), (&carol, Role::Reader)];
    let mut share = Share::with(&alice, &members);
    let before = share.log.roster().unwrap().hash();
    for author in [&bob, &carol] {
        for change in [
            add(&dave, Role::Reader),
            Change::Remove(alice.root()),
            Change::Role(author.root(), Role::Owner),
            Change::Expiry(author.root(), None),
        ] {
            let outcome = share.force_changes(author, vec![change]);
            assert_eq!(outcome, Outcome::Void(Void::RoleMayNot));
        }
    }
    assert_eq!(share.log.roster().unwrap().hash(), before);
}

#[test]
fn only_the_creator_removes_or_lowers_owners_and_nobody_the_creator() {
    let [alice, bob, carol, _] = cast();
    let owners = [(&bob, Role::Owner), (&carol, Role::Owner)];
    let mut share = Share::with(&alice, &owners);
    for (target, void) in [(&carol, Void::OnlyTheCreator), (&alice, Void::CreatorStays)] {
        for change in [
            Change::Remove(target.root()),
            Change::Role(target.root(), Role::Writer),
            Change::Expiry(target.root(), Some(NOW)),
        ] {
            assert_eq!(
                share.draft(&bob, vec![change.clone()], Rotation::FromNow),
                Err(void)
            );
            let outcome = share.force_changes(&bob, vec![change]);
            assert_eq!(outcome, Outcome::Void(void));
        }
    }
    let outcome = share.force_changes(&alice, vec![Change::Leave]);
    assert_eq!(outcome, Outcome::Void(Void::CreatorStays));
    share.change(
        &alice,
        vec![Change::Remove(carol.root())],
        Rotation::FromNow,
    );
    share.change(
        &alice,
        vec![Change::Role(bob.root(), Role::Reader)],
        Rotation::Stay,
    );
}

#[test]
fn a_removal_without_a_new_epoch_is_void() {
    let [alice, bob, ..] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    let outcome = share.force_changes(&alice, vec![Change::Remove(bob.root())]);
    assert_eq!(outcome, Outcome::Void(Void::RotationMissing));
}

#[test]
fn leaving_is_for_oneself_and_makes_a_rotation_due() {
    let [alice, bob, ..] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Reader)]);
    share.change(&bob, vec![Change::Leave], Rotation::Stay);
    assert!(share.log.rotation_due());
    assert!(
        !share
            .log
            .roster()
            .unwrap()
            .members
            .contains_key(&bob.root())
    );
    share.change(&alice, vec![], Rotation::FromNow);
    assert!(!share.log.rotation_due());
}

#[test]
fn who_leaves_cannot_take_somebody_along() {
    let [alice, bob, carol, _] = cast();
    let members = [(&bob, Role::Reader), (&carol, Role::Reader)];
    let mut share = Share::with(&alice, &members);
    let changes = vec![Change::Leave, Change::Remove(carol.root())];
    let outcome = share.force_changes(&bob, changes);
    assert_eq!(outcome, Outcome::Void(Void::RoleMayNot));
}

#[test]
fn who_is_a_member_cannot_be_added_nor_another_by_his_name() {
    let [alice, bob, ..] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Reader)]);
    for again in [bob.clone(), named("bob", "mallory")] {
        let outcome = share.force_changes(&alice, vec![add(&again, Role::Owner)]);
        assert_eq!(outcome, Outcome::Void(Void::AlreadyAMember));
    }
}

#[test]
fn a_change_of_nobody_or_of_nothing_is_void() {
    let [alice, bob, ..] = cast();
    let mut share = Share::begin(&alice);
    for change in [
        Change::Remove(bob.root()),
        Change::Role(ChainRoot([9; 32]), Role::Owner),
        Change::Expiry(bob.root(), None),
        Change::MemberKey(bob.root(), bob.chain.clone()),
    ] {
        let outcome = share.force_changes(&alice, vec![change]);
        assert_eq!(outcome, Outcome::Void(Void::UnknownMember));
    }
    let outcome = share.force_changes(&alice, vec![]);
    assert_eq!(outcome, Outcome::Void(Void::Empty));
}

#[test]
fn grants_are_for_exactly_those_who_need_one() {
    let [alice, bob, carol, _] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Reader)]);
    let grant = |whom: &Person| (whom.root(), GrantHash([1; 32]));
    let sorted = |mut list: Vec<(ChainRoot, GrantHash)>| {
        list.sort_unstable();
        list
    };
    let key = share.key();
    let with = |changes: &[Change], epoch: bool, grants: Vec<_>| RosterBody {
        nonce: None,
        changes: changes.to_vec(),
        epoch: epoch.then(|| NewEpoch::from_now(&key)),
        grants: sorted(grants),
    };
    let add_carol = [add(&carol, Role::Reader)];
    for body in [
        with(&add_carol, false, vec![]),
        with(&add_carol, false, vec![grant(&carol), grant(&bob)]),
        with(&add_carol, true, vec![grant(&carol)]),
        with(
            &[Change::Role(bob.root(), Role::Writer)],
            false,
            vec![grant(&bob)],
        ),
        with(
            &[Change::Remove(bob.root())],
            true,
            vec![grant(&alice), grant(&bob)],
        ),
    ] {
        assert_eq!(share.force(&alice, &body), Outcome::Void(Void::WrongGrants));
    }
}

#[test]
fn a_member_key_takes_effect_when_signed_by_old_and_new_key() {
    let [alice, bob, ..] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    let renewed = bob.with_new_keys();
    let entry = renewed.chain.last().unwrap().clone();
    let change = Change::MemberKey(bob.root(), vec![entry]);
    share.change(&bob, vec![change], Rotation::Stay);
    assert!(share.log.rotation_due());
    // The old key signs nothing any more, the new one does.
    assert_eq!(
        share.write(&bob, vec![]).outcome,
        Outcome::Void(Void::KeySuperseded)
    );
    assert!(matches!(
        share.write(&renewed, vec![]).outcome,
        Outcome::Content(_)
    ));
    let (log, _) = share.seen_by(&renewed);
    assert!(log.epoch_key(Epoch(1)).is_some());
}

#[test]
fn a_member_key_that_the_old_key_did_not_sign_is_void() {
    let [alice, bob, carol, _] = cast();
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    let entry = bob
        .with_new_keys()
        .chain
        .last()
        .unwrap()
        .unverified()
        .clone();
    let thief = named("bob", "thief");
    let by_thief = SignedEntry::next(
        entry,
        &bob.with_new_keys().account.identity,
        &thief.account.identity,
    );
    for entries in [vec![by_thief], vec![], carol.with_new_keys().chain] {
        let change = Change::MemberKey(bob.root(), entries);
        let outcome = share.force_changes(&alice, vec![change]);
        assert_eq!(outcome, Outcome::Void(Void::BadKeyChain));
    }
}

#[test]
fn a_member_cannot_replace_the_key_of_another() {
    let [alice, bob, carol, _] = cast();
    let members = [(&bob, Role::Writer), (&carol, Role::Writer)];
    let mut share = Share::with(&alice, &members);
    let entry = bob.with_new_keys().chain.last().unwrap().clone();
    let change = Change::MemberKey(bob.root(), vec![entry]);
    let outcome = share.force_changes(&carol, vec![change]);
    assert_eq!(outcome, Outcome::Void(Void::RoleMayNot));
}

#[test]
fn a_roster_that_names_us_with_a_key_that_is_not_ours_stops_the_log() {
    let [alice, ..] = cast();
    let bob = person("bob");
    let mut share = Share::begin(&alice);
    // Alice was shown mallory's keys as those of bob.
    share.change(
        &alice,
        vec![add(&named("bob", "mallory"), Role::Reader)],
        Rotation::Stay,
    );
    let mut log = keyfold_protocol::log::Log::new(bob.own(), share.id);
    assert_eq!(log.absorb(&share.delivered(&bob)), Err(Stop::NotOurKey));
}

#[test]
fn an_expired_member_writes_nothing_and_backdating_does_not_help_after_an_owner_acted() {
    let [alice, bob, carol, _] = cast();
    let end = Time(NOW.0 + 100);
    let mut share = Share::begin(&alice);
    let change = add_until(&bob, Role::Writer, end);
    share.change(&alice, vec![change], Rotation::Stay);
    assert!(matches!(
        share.write(&bob, vec![]).outcome,
        Outcome::Content(_)
    ));
    share.time = end;
    assert_eq!(
        share.write(&bob, vec![]).outcome,
        Outcome::Void(Void::Expired)
    );
    share.change(&alice, vec![add(&carol, Role::Reader)], Rotation::Stay);
    share.time = NOW;
    assert_eq!(
        share.write(&bob, vec![]).outcome,
        Outcome::Void(Void::Expired)
    );
}

#[test]
fn a_reader_who_leaves_cannot_end_the_time_of_others_by_his_clock() {
    let [alice, bob, carol, _] = cast();
    let mut share = Share::with(&alice, &[(&carol, Role::Reader)]);
    let change = add_until(&bob, Role::Writer, Time(NOW.0 + 100));
    share.change(&alice, vec![change], Rotation::Stay);
    share.time = Time(NOW.0 + 1_000_000);
    share.change(&carol, vec![Change::Leave], Rotation::Stay);
    share.time = NOW;
    assert!(matches!(
        share.write(&bob, vec![]).outcome,
        Outcome::Content(_)
    ));
}

#[test]
fn grants_that_a_record_does_not_list_do_not_fit_it() {
    let [alice, bob, ..] = cast();
    let mut share = Share::begin(&alice);
    let changes = vec![add(&bob, Role::Reader)];
    let append = share.draft(&alice, changes, Rotation::FromNow).unwrap();
    let body = append.record.body().unwrap();
    let body = <RosterBody as keyfold_protocol::cbor::Encoded>::decode(body).unwrap();
    assert!(append.grants_fit(&body));
    let mut fewer = append.clone();
    fewer.grants.pop();
    let mut twice = append.clone();
    twice.grants.push(append.grants[0].clone());
    let mut other = append;
    other.grants[0] = share.appended[0].grants[0].clone();
    for wrong in [fewer, twice, other] {
        assert!(!wrong.grants_fit(&body));
    }
}

#[test]
fn an_epoch_that_begins_with_an_expired_member_is_void() {
    let [alice, bob, ..] = cast();
    let end = Time(NOW.0 + 100);
    let mut share = Share::begin(&alice);
    let change = add_until(&bob, Role::Reader, end);
    share.change(&alice, vec![change], Rotation::Stay);
    share.time = end;
    let drafted = share.draft(&alice, vec![], Rotation::FromNow);
    assert_eq!(drafted, Err(Void::ExpiredMember));
    share.change(&alice, vec![Change::Remove(bob.root())], Rotation::FromNow);
}

#[test]
fn an_owner_does_not_expire() {
    let [alice, bob, ..] = cast();
    let mut share = Share::begin(&alice);
    let change = add_until(&bob, Role::Owner, Time(NOW.0 + 9));
    let outcome = share.force_changes(&alice, vec![change]);
    assert_eq!(outcome, Outcome::Void(Void::OwnersDoNotExpire));
}

#[test]
fn a_second_nonce_is_void() {
    let [alice, ..] = cast();
    let mut share = Share::begin(&alice);
    let body = RosterBody {
        nonce: Some(Nonce([1; 16])),
        changes: vec![],
        epoch: None,
        grants: vec![],
    };
    assert_eq!(share.force(&alice, &body), Outcome::Void(Void::StrayNonce));
}

#[test]
fn adding_costs_the_same_however_much_was_written() {
    let [alice, bob, carol, _] = cast();
    let mut share = Share::begin(&alice);
    let size = |share: &mut Share, whom: &Person| {
        share.change(&alice, vec![add(whom, Role::Reader)], Rotation::Stay);
        let append = share.appended.last().unwrap();
        keyfold_protocol::cbor::Encoded::encode(append).len()
    };
    let empty = size(&mut share, &bob);
    for _ in 0..50 {
        share.write(&alice, vec![]);
    }
    assert!(size(&mut share, &carol) <= empty + 16);
}
