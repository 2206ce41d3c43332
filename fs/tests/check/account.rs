//! Values of the account are part of the vault like everything else.

use keyfold_fs::check::{FindingKind as Kind, ReadData};
use keyfold_fs::error::FsError;
use keyfold_fs::vault::Access;
use keyfold_fs::volume::{ACCOUNT_VALUE_MAX, AccountSlot};

use crate::bench::{Bench, assert_found, assert_intact};

fn value(bench: &Bench, slot: u32) -> Option<Vec<u8>> {
    let value = bench.v().account_value(AccountSlot(slot)).unwrap();
    value.map(|value| value.to_vec())
}

#[test]
fn values_of_the_account_are_there_after_a_crash_and_gone_when_deleted() {
    let mut bench = Bench::new();
    let (first, second) = (AccountSlot(0), AccountSlot(7));
    let put = [(first, Some(&b"who"[..])), (second, Some(b"keys"))];
    bench.v().put_account_values(&put).unwrap();
    bench.crash();
    assert_eq!(value(&bench, 0).unwrap(), b"who");
    assert_eq!(value(&bench, 7).unwrap(), b"keys");
    assert_eq!(value(&bench, 1), None);
    let change = [(first, Some(&b"who else"[..])), (second, None)];
    bench.v().put_account_values(&change).unwrap();
    bench.crash();
    assert_eq!(value(&bench, 0).unwrap(), b"who else");
    assert_eq!(value(&bench, 7), None);
    assert_intact(&bench.check(ReadData::Yes), "with an account");
    bench.remount();
    assert_intact(&bench.check(ReadData::Yes), "after a remount");
}

#[test]
fn too_long_a_value_changes_nothing() {
    let bench = Bench::new();
    let long = vec![1; ACCOUNT_VALUE_MAX + 1];
    let put = [
        (AccountSlot(0), Some(&b"x"[..])),
        (AccountSlot(1), Some(&long)),
    ];
    let refused = bench.v().put_account_values(&put);
    assert_eq!(refused, Err(FsError::InvalidArgument));
    assert_eq!((value(&bench, 0), value(&bench, 1)), (None, None));
    let longest = [(AccountSlot(1), Some(&long[1..]))];
    bench.v().put_account_values(&longest).unwrap();
    assert_eq!(value(&bench, 1).unwrap().len(), ACCOUNT_VALUE_MAX);
}

#[test]
fn a_vault_opened_for_reading_keeps_its_account() {
    let mut bench = Bench::new();
    let put = [(AccountSlot(0), Some(&b"who"[..]))];
    bench.v().put_account_values(&put).unwrap();
    bench.close();
    bench.open(Access::ReadOnly);
    assert_eq!(value(&bench, 0).unwrap(), b"who");
    let refused = bench.v().put_account_values(&[(AccountSlot(0), None)]);
    assert_eq!(refused, Err(FsError::ReadOnly));
}

#[test]
fn a_value_of_another_slot_is_not_taken_and_is_found() {
    let mut bench = Bench::new();
    let put = [
        (AccountSlot(0), Some(&b"who"[..])),
        (AccountSlot(1), Some(b"keys")),
    ];
    bench.v().put_account_values(&put).unwrap();
    bench.close();
    bench.edit_soundly(|db| {
        let moved = "UPDATE account SET v = (SELECT v FROM account WHERE id = 1) WHERE id = 0";
        assert_eq!(db.execute(moved, []).unwrap(), 1);
    });
    bench.open(Access::ReadOnly);
    let read = bench.v().account_value(AccountSlot(0));
    assert_eq!(read.unwrap_err(), FsError::MetadataTampered);
    assert_eq!(value(&bench, 1).unwrap(), b"keys");
    assert_found(&bench.check(ReadData::No), Kind::BadRow);
}

#[test]
fn no_value_of_the_account_shows_in_the_vault_directory() {
    let mut bench = Bench::new();
    let planted = b"canary-secret-of-the-account-5uXw";
    let put = [(AccountSlot(0), Some(&planted[..]))];
    bench.v().put_account_values(&put).unwrap();
    bench.close();
    for name in ["meta.db", "meta.db-wal", "journal"] {
        let bytes = std::fs::read(bench.path(name)).unwrap_or_default();
        let shows = bytes.windows(planted.len()).any(|w| w == planted);
        assert!(!shows, "{name}");
    }
}
