//! What the server alone can have done stops the log.

use keyfold_protocol::exchange::Delivered;
use keyfold_protocol::grant::Grant;
use keyfold_protocol::ids::{Epoch, RosterHash, ShareId};
use keyfold_protocol::log::{Event, Log, Stop};
use keyfold_protocol::record::{Kind, Record};
use keyfold_protocol::roster::Role;

use crate::people::{Person, Rotation, Share, add, person};

fn pair() -> (Person, Person, Share) {
    let (alice, bob) = (person("alice"), person("bob"));
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    share.write(&alice, vec![]);
    share.write(&bob, vec![]);
    (alice, bob, share)
}

fn told(share: &Share, bob: &Person, records: &[Delivered]) -> Result<usize, Stop> {
    let mut log = Log::new(bob.own(), share.id);
    log.absorb(records).map(|applied| applied.len())
}

#[test]
fn a_record_left_out_or_in_anothers_place_stops() {
    let (_, bob, share) = pair();
    let all = share.delivered(&bob);
    // What lies beyond a gap waits: nothing after it is believed.
    let mut gap = all.clone();
    gap.remove(2);
    assert_eq!(told(&share, &bob, &gap), Ok(2));
    let mut log = Log::new(bob.own(), share.id);
    log.absorb(&all[..2]).unwrap();
    assert_eq!(log.apply(&all[3].record, None), Err(Stop::OutOfOrder));
}

#[test]
fn a_record_of_somebody_who_was_never_a_member_stops() {
    let (_, bob, share) = pair();
    let mallory = person("mallory");
    let header = share.header(Kind::Content, &mallory);
    let record = Record::sign(header, vec![1], &mallory.account.identity);
    let mut records = share.delivered(&bob);
    records.push(Delivered {
        record,
        grant: None,
    });
    assert_eq!(told(&share, &bob, &records), Err(Stop::UnknownAuthor));
}

#[test]
fn a_record_that_its_author_did_not_sign_stops() {
    let (alice, bob, share) = pair();
    let header = share.header(Kind::Content, &alice);
    let record = Record::sign(header, vec![1], &bob.account.identity);
    let mut records = share.delivered(&bob);
    records.push(Delivered {
        record,
        grant: None,
    });
    assert_eq!(told(&share, &bob, &records), Err(Stop::Signature));
}

#[test]
fn a_record_on_another_chain_stops() {
    let (alice, bob, share) = pair();
    let mut header = share.header(Kind::Content, &alice);
    header.previous.0[0] ^= 1;
    let record = Record::sign(header, vec![1], &alice.account.identity);
    let mut records = share.delivered(&bob);
    records.push(Delivered {
        record,
        grant: None,
    });
    assert_eq!(told(&share, &bob, &records), Err(Stop::Chain));
}

#[test]
fn a_record_of_another_share_stops() {
    let (alice, bob, share) = pair();
    let other = Share::with(&alice, &[(&bob, Role::Writer)]);
    let mut log = Log::new(bob.own(), share.id);
    assert_eq!(log.absorb(&other.delivered(&bob)), Err(Stop::Genesis));
    let mut header = share.header(Kind::Content, &alice);
    header.share = ShareId([7; 32]);
    let record = Record::sign(header, vec![1], &alice.account.identity);
    log.absorb(&share.delivered(&bob)).unwrap();
    assert_eq!(log.apply(&record, None), Err(Stop::Chain));
}

#[test]
fn a_body_exchanged_or_taken_from_a_roster_record_stops() {
    let (_, bob, share) = pair();
    let mut records = share.delivered(&bob);
    records[1].record = records[1].record.without_body();
    assert_eq!(told(&share, &bob, &records), Err(Stop::Body));
    // Bodies of content may be left out, but not exchanged: their hash is signed.
    let mut records = share.delivered(&bob);
    records[2].record = records[2].record.without_body();
    assert_eq!(told(&share, &bob, &records), Ok(4));
}

#[test]
fn an_injected_grant_stops() {
    let (alice, bob, mut share) = pair();
    share.change(&alice, vec![], Rotation::FromNow);
    let mut records = share.delivered(&bob);
    // A key of the server's own, wrapped for bob as if by alice.
    let roster = share.log.roster().unwrap();
    let context = roster.grant_context(
        share.id,
        &roster.members[&bob.root()],
        &roster.members[&alice.root()].key,
    );
    let own = keyfold_crypto::EpochKey::generate().unwrap();
    let forged = Grant::wrap(&bob.account.kem.public(), &context, &own).unwrap();
    records.last_mut().unwrap().grant = Some(forged.clone());
    assert_eq!(told(&share, &bob, &records), Err(Stop::ForgedGrant));
    // Nor on a record that lists none for him.
    let mut records = share.delivered(&bob);
    records[2].grant = None;
    records[0].grant = Some(forged);
    assert_eq!(told(&share, &bob, &records), Err(Stop::ForgedGrant));
}

#[test]
fn a_grant_of_an_earlier_epoch_or_of_another_member_is_refused() {
    let (alice, bob, mut share) = pair();
    share.change(&alice, vec![], Rotation::FromNow);
    let mut records = share.delivered(&bob);
    let earlier = records[1].grant.clone();
    records.last_mut().unwrap().grant = earlier;
    assert_eq!(told(&share, &bob, &records), Err(Stop::ForgedGrant));
    let mut records = share.delivered(&bob);
    records.last_mut().unwrap().grant = share.delivered(&alice).pop().unwrap().grant;
    assert_eq!(told(&share, &bob, &records), Err(Stop::ForgedGrant));
}

#[test]
fn a_withheld_grant_is_told() {
    let (alice, bob, mut share) = pair();
    share.change(&alice, vec![], Rotation::FromNow);
    let mut records = share.delivered(&bob);
    records.last_mut().unwrap().grant = None;
    let mut log = Log::new(bob.own(), share.id);
    let applied = log.absorb(&records).unwrap();
    assert_eq!(applied.last().unwrap().events, [Event::GrantWithheld]);
    assert!(log.epoch_key(Epoch(2)).is_none());
}

#[test]
fn a_grant_bound_to_anything_else_does_not_open() {
    let (alice, bob, share) = pair();
    let roster = share.log.roster().unwrap();
    let member = &roster.members[&bob.root()];
    let granter = &roster.members[&alice.root()].key;
    let right = roster.grant_context(share.id, member, granter);
    let key = share.key();
    let grant = Grant::wrap(&bob.account.kem.public(), &right, &key).unwrap();
    let opens = |context: &keyfold_protocol::grant::GrantContext| {
        grant
            .unwrap(&bob.account.kem, context, &key.commitment())
            .is_ok()
    };
    assert!(opens(&right));
    let mut wrong = vec![right.clone(); 9];
    wrong[0].share = ShareId([1; 32]);
    wrong[1].version = wrong[1].version.next();
    wrong[2].roster = RosterHash([1; 32]);
    wrong[3].epoch = wrong[3].epoch.next();
    wrong[4].recipient = alice.root();
    wrong[5].entry = alice.account.entry;
    wrong[6].role = Role::Owner;
    wrong[7].granter = bob.root();
    wrong[8].granter_entry = bob.account.entry;
    assert!(!wrong.iter().any(opens));
    // And a key that the roster does not commit to is refused even when it opens.
    let other = keyfold_crypto::EpochKey::generate().unwrap();
    let grant = Grant::wrap(&bob.account.kem.public(), &right, &other).unwrap();
    let opened = grant.unwrap(&bob.account.kem, &right, &roster.commitment);
    assert_eq!(
        opened.map(|_| ()),
        Err(keyfold_crypto::CryptoError::WrongKey)
    );
}

#[test]
fn a_forged_roster_record_stops_and_a_replayed_one_does_too() {
    let (alice, bob, mut share) = pair();
    let mallory = person("mallory");
    let append = share.draft(&alice, vec![add(&mallory, Role::Owner)], Rotation::Stay);
    let body = append.unwrap().record.body().unwrap().to_vec();
    let header = share.header(Kind::Roster, &alice);
    let record = Record::sign(header, body, &mallory.account.identity);
    let mut records = share.delivered(&bob);
    records.push(Delivered {
        record,
        grant: None,
    });
    assert_eq!(told(&share, &bob, &records), Err(Stop::Signature));
    let mut log = Log::new(bob.own(), share.id);
    log.absorb(&share.delivered(&bob)).unwrap();
    let old = &share.delivered(&bob)[1];
    let again = log.apply(&old.record, old.grant.as_ref());
    assert_eq!(again.map(|_| ()), Err(Stop::OutOfOrder));
}
