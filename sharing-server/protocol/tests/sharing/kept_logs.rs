//! Logs that were kept, and gone on with.

use keyfold_crypto::EpochKey;
use keyfold_protocol::exchange::Delivered;
use keyfold_protocol::ids::{Epoch, NodeId, RecordHash, Seq};
use keyfold_protocol::log::{HeadVerdict, Log, Stop};
use keyfold_protocol::operation::What;
use keyfold_protocol::roster::{Change, Role};

use crate::people::{Person, Rotation, Share, add, person};
use crate::tree_rules::make;

/// A share with members who come and go, and epochs of each kind.
fn eventful() -> (Person, Share) {
    let (alice, bob, carol) = (person("alice"), person("bob"), person("carol"));
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    let write = |share: &mut Share, author: &Person, n: u8| {
        let made = make(NodeId::ROOT, &format!("d{n}"), n, What::Directory);
        share.write(author, vec![made]);
    };
    write(&mut share, &bob, 1);
    share.change(&alice, vec![add(&carol, Role::Writer)], Rotation::FromNow);
    write(&mut share, &carol, 2);
    let remove = vec![Change::Remove(bob.root())];
    share.change(&alice, remove, Rotation::WithHistory);
    write(&mut share, &alice, 3);
    share.change(&carol, vec![Change::Leave], Rotation::Stay);
    write(&mut share, &alice, 4);
    (alice, share)
}

fn applied(person: &Person, share: &Share, records: &[Delivered]) -> Log {
    let mut log = Log::new(person.own(), share.id);
    log.absorb(records).unwrap();
    log
}

#[test]
fn a_log_that_was_kept_goes_on_as_the_one_that_was_applied() {
    let (alice, share) = eventful();
    let all = share.delivered(&alice);
    let whole = applied(&alice, &share, &all);
    assert!(Log::new(alice.own(), share.id).keep().is_none());
    for end in 1..=all.len() {
        let kept = applied(&alice, &share, &all[..end]).keep().unwrap();
        let mut log = Log::resume(alice.own(), &kept).unwrap();
        assert_eq!(log.keep().unwrap(), kept);
        assert_eq!(log.next_seq(), Seq(end as u64));
        log.absorb(&all).unwrap();
        assert_eq!(
            log.keep().unwrap(),
            whole.keep().unwrap(),
            "kept after {end}"
        );
        assert_eq!(log.roster(), whole.roster());
        assert!(log.rotation_due());
        for epoch in 0..5 {
            let keys = [&log, &whole].map(|log| log.epoch_key(Epoch(epoch)).map(EpochKey::secret));
            assert_eq!(keys[0], keys[1]);
        }
    }
}

#[test]
fn whoever_is_added_reads_from_the_last_epoch_that_was_begun_without_history() {
    let (alice, share) = eventful();
    let log = applied(&alice, &share, &share.delivered(&alice));
    assert_eq!(log.roster().unwrap().epoch, Epoch(3));
    assert_eq!(log.readable_from(), Some(Epoch(2)));
    let began = applied(&alice, &share, &share.delivered(&alice)[..1]);
    assert_eq!(began.readable_from(), Some(Epoch(1)));
}

#[test]
fn another_record_than_a_kept_log_has_is_a_fork() {
    let (alice, share) = eventful();
    let all = share.delivered(&alice);
    let kept = applied(&alice, &share, &all).keep().unwrap();
    let mut log = Log::resume(alice.own(), &kept).unwrap();
    let mut other = eventful().1.delivered(&alice);
    other.remove(0);
    assert_eq!(log.absorb(&other).err(), Some(Stop::Fork));
    assert_eq!(log.compare(Seq(3), RecordHash([1; 32])), HeadVerdict::Fork);
    let last = log.head().unwrap();
    assert_eq!(log.compare(last.0, last.1), HeadVerdict::Same);
}

#[test]
fn bytes_that_are_no_kept_log_are_none() {
    let (alice, share) = eventful();
    let kept = applied(&alice, &share, &share.delivered(&alice))
        .keep()
        .unwrap();
    for end in 0..kept.len() {
        assert!(
            Log::resume(alice.own(), &kept[..end]).is_err(),
            "{end} bytes"
        );
    }
    let longer = [&kept[..], &[0]].concat();
    assert!(Log::resume(alice.own(), &longer).is_err());
}

#[test]
fn of_a_long_log_the_newest_records_are_kept_and_older_heads_are_behind() {
    let alice = person("alice");
    let mut share = Share::begin(&alice);
    for _ in 0..4100 {
        share.write(&alice, Vec::new());
    }
    let kept = share.log.keep().unwrap();
    let mut log = Log::resume(alice.own(), &kept).unwrap();
    assert_eq!(log.head(), share.log.head());
    assert_eq!(log.record_at(Seq(4)), None);
    assert_eq!(log.record_at(Seq(5)), share.log.record_at(Seq(5)));
    let old = share.log.record_at(Seq(4)).unwrap();
    assert_eq!(log.compare(Seq(4), old), HeadVerdict::Behind);
    let again = share.delivered(&alice);
    assert!(log.absorb(&again).unwrap().is_empty());
    share.write(&alice, Vec::new());
    assert_eq!(log.absorb(&share.delivered(&alice)).unwrap().len(), 1);
    let kept = log.keep().unwrap();
    let log = Log::resume(alice.own(), &kept).unwrap();
    assert_eq!(log.record_at(Seq(5)), None);
    assert_eq!(log.head(), share.log.head());
}
