//! Rollback and forks: two heads for two members, older heads, and what receipts show of them.

use keyfold_protocol::ids::{DeviceId, RecordHash, Seq};
use keyfold_protocol::log::{HeadVerdict, Log, ReceiptVerdict, Stop};
use keyfold_protocol::receipt::Receipt;
use keyfold_protocol::roster::Role;
use keyfold_protocol::signed::Signed;

use crate::people::{NOW, Person, Share, person};

fn pair() -> (Person, Person, Share) {
    let (alice, bob) = (person("alice"), person("bob"));
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    share.write(&alice, vec![]);
    (alice, bob, share)
}

fn receipt(log: &Log, whom: &Person) -> Signed<Receipt> {
    let (seq, record) = log.head().unwrap();
    let receipt = Receipt {
        share: log.share(),
        seq,
        record,
        device: DeviceId([1; 16]),
        root: whom.root(),
        entry: whom.account.entry,
        time: NOW,
    };
    Signed::sign(receipt, &whom.account.identity)
}

#[test]
fn an_older_head_on_our_chain_means_that_the_server_lost_records() {
    let (_, bob, share) = pair();
    let (log, _) = share.seen_by(&bob);
    let (seq, head) = log.head().unwrap();
    let earlier = log.record_at(Seq(1)).unwrap();
    assert_eq!(log.compare(seq, head), HeadVerdict::Same);
    assert_eq!(log.compare(Seq(1), earlier), HeadVerdict::Behind);
    assert_eq!(log.compare(seq.next(), head), HeadVerdict::Ahead);
    assert_eq!(log.compare(Seq(1), head), HeadVerdict::Fork);
    assert_eq!(log.compare(Seq(1), RecordHash([0; 32])), HeadVerdict::Fork);
}

#[test]
fn two_heads_shown_to_two_members_are_shown_by_their_receipts() {
    let (alice, bob, mut share) = pair();
    let mut fork = Share {
        id: share.id,
        appended: share.appended.clone(),
        keys: share.keys.clone(),
        log: share.log.clone(),
        creator: alice.clone(),
        time: NOW,
    };
    share.write(&alice, vec![]);
    fork.write(&bob, vec![]);
    let (at_alice, _) = share.seen_by(&alice);
    let (at_bob, _) = fork.seen_by(&bob);
    assert_eq!(
        at_alice.check_receipt(&receipt(&at_bob, &bob)),
        ReceiptVerdict::Fork
    );
    assert_eq!(
        at_bob.check_receipt(&receipt(&at_alice, &alice)),
        ReceiptVerdict::Fork
    );
    assert_eq!(
        at_alice.check_receipt(&receipt(&share.seen_by(&bob).0, &bob)),
        ReceiptVerdict::Confirms
    );
}

#[test]
fn another_record_at_a_known_place_is_a_fork() {
    let (alice, bob, mut share) = pair();
    let (mut log, _) = share.seen_by(&bob);
    share.appended.pop();
    let creators = share.appended.clone();
    share.log = Log::new(alice.own(), share.id);
    share.appended.clear();
    for append in creators {
        share.append(append).unwrap();
    }
    share.time.0 += 1;
    share.write(&alice, vec![]);
    assert_eq!(log.absorb(&share.delivered(&bob)), Err(Stop::Fork));
}

#[test]
fn a_receipt_that_its_device_did_not_sign_says_nothing() {
    let (alice, bob, share) = pair();
    let (log, _) = share.seen_by(&alice);
    let forged = Signed::sign(
        receipt(&log, &bob).unverified().clone(),
        &alice.account.identity,
    );
    assert_eq!(log.check_receipt(&forged), ReceiptVerdict::Invalid);
    let stranger = receipt(&log, &person("mallory"));
    assert_eq!(log.check_receipt(&stranger), ReceiptVerdict::Invalid);
    let other = Share::with(&alice, &[(&bob, Role::Reader)]);
    let elsewhere = receipt(&other.seen_by(&bob).0, &bob);
    assert_eq!(log.check_receipt(&elsewhere), ReceiptVerdict::Invalid);
}
