//! Damage done to rows with the database's own key: the state hash shows all of it, and what
//! contradicts itself is named.

use keyfold_fs::check::{CheckReport, FindingKind as Kind, ReadData};
use keyfold_fs::layout::{ContentRow, DentryRow, InodeRow, Leaf, LeafIndex, MapId, SegmentRow};
use keyfold_fs::vault::Access;
use keyfold_fs::vfs::{FileKind, Ino, Vfs, XattrMode};
use rusqlite::{Connection, params};

use crate::bench::{Bench, assert_found, pattern};

pub(crate) fn value(db: &Connection, sql: &str) -> Vec<u8> {
    db.query_row(sql, [], |r| r.get(0)).unwrap()
}

pub(crate) fn put(db: &Connection, sql: &str, value: &[u8]) {
    assert_eq!(db.execute(sql, params![value]).unwrap(), 1, "{sql}");
}

fn check_after(bench: &mut Bench, edit: impl FnOnce(&Connection)) -> CheckReport {
    let report = bench.check_after(ReadData::No, |b| b.edit(edit));
    assert_found(&report, Kind::StateHash);
    report
}

pub(crate) fn change_inode(db: &Connection, ino: Ino, change: impl FnOnce(&mut InodeRow)) {
    let sql = format!("SELECT v FROM inode WHERE ino = {ino}");
    let mut row = InodeRow::decode(&value(db, &sql)).unwrap();
    change(&mut row);
    let sql = format!("UPDATE inode SET v = ?1 WHERE ino = {ino}");
    put(db, &sql, &row.encode());
}

pub(crate) fn content(db: &Connection, ino: Ino) -> ContentRow {
    let sql = format!("SELECT v FROM content WHERE ino = {ino}");
    ContentRow::decode(&value(db, &sql)).unwrap()
}

pub(crate) fn change_content(db: &Connection, ino: Ino, change: impl FnOnce(&mut ContentRow)) {
    let mut row = content(db, ino);
    change(&mut row);
    let sql = format!("UPDATE content SET v = ?1 WHERE ino = {ino}");
    put(db, &sql, &row.encode());
}

pub(crate) fn change_leaf(db: &Connection, map: MapId, change: impl FnOnce(&mut Leaf)) {
    let id = map.leaf_key(LeafIndex(0));
    let mut leaf =
        Leaf::decode(&value(db, &format!("SELECT v FROM leaf WHERE id = {id}"))).unwrap();
    change(&mut leaf);
    put(
        db,
        &format!("UPDATE leaf SET v = ?1 WHERE id = {id}"),
        &leaf.encode(),
    );
}

#[test]
fn a_changed_attribute_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        change_inode(db, letter, |row| row.perm |= 0o4000);
    });
    assert_eq!(report.damaged(), 1, "only the hash can show it: {report}");
}

#[test]
fn an_older_row_put_back_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    let mut old = Vec::new();
    bench.close();
    bench.edit(|db| old = value(db, &format!("SELECT v FROM inode WHERE ino = {letter}")));
    bench.open(Access::ReadWrite);
    let set = keyfold_fs::vfs::SetAttr {
        perm: Some(0o600),
        ..Default::default()
    };
    bench.v().setattr(letter, None, &set).unwrap();
    let report = check_after(&mut bench, |db| {
        let sql = format!("UPDATE inode SET v = ?1 WHERE ino = {letter}");
        put(db, &sql, &old);
    });
    assert_eq!(report.damaged(), 1, "only the hash can show it: {report}");
}

#[test]
fn a_wrong_number_of_links_is_found_and_named() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        change_inode(db, letter, |row| row.nlink = 2);
    });
    assert_found(&report, Kind::LinkCount);
    let found = report.findings.iter().find(|f| f.kind == Kind::LinkCount);
    let path = found.unwrap().path.as_ref().unwrap();
    assert_eq!(path.text, "/docs/letter");
}

#[test]
fn a_removed_entry_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        let removed = db.execute("DELETE FROM dentry WHERE name = CAST('letter' AS BLOB)", []);
        assert_eq!(removed.unwrap(), 1);
    });
    assert_found(&report, Kind::EntryCount);
    let lost = report.findings.iter().find(|f| f.kind == Kind::Unreachable);
    assert_eq!(lost.unwrap().inode, Some(letter.0), "{report}");
}

#[test]
fn an_entry_of_an_inode_that_is_gone_is_found_with_its_path() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        db.execute(&format!("DELETE FROM inode WHERE ino = {letter}"), [])
            .unwrap();
    });
    assert_found(&report, Kind::StrayContent);
    assert_found(&report, Kind::Counter);
    let entry = report
        .findings
        .iter()
        .find(|f| f.kind == Kind::MissingInode);
    let path = entry.unwrap().path.as_ref().unwrap();
    assert_eq!(path.text, "/docs/letter", "{report}");
}

#[test]
fn an_entry_that_is_not_text_is_named_without_loss() {
    let (mut bench, _) = Bench::with_letter();
    let name = keyfold_fs::vfs::Name::new(b"caf\xe9").unwrap();
    let place = keyfold_fs::vfs::Place {
        parent: Ino::ROOT,
        name,
    };
    let caller = crate::bench::CALLER;
    let ino = bench.v().mkdir(&caller, place, 0o755).unwrap().attr.ino;
    let report = check_after(&mut bench, |db| change_inode(db, ino, |row| row.nlink = 7));
    let found = report.findings.iter().find(|f| f.kind == Kind::LinkCount);
    let path = found.unwrap().path.as_ref().unwrap();
    assert_eq!(path.text, "/caf\u{fffd}");
    assert_eq!(path.hex.as_deref(), Some("2f636166e9"));
}

#[test]
fn a_changed_entry_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        let sql = "SELECT v FROM dentry WHERE name = CAST('letter' AS BLOB)";
        let row = DentryRow::decode(&value(db, sql)).unwrap();
        assert_eq!(row.child, letter);
        let changed = DentryRow {
            kind: FileKind::Symlink,
            cookie: row.cookie + 100,
            ..row
        };
        let sql = "UPDATE dentry SET v = ?1 WHERE name = CAST('letter' AS BLOB)";
        put(db, sql, &changed.encode());
    });
    assert_found(&report, Kind::KindMismatch);
    assert_found(&report, Kind::Cookie);
}

#[test]
fn a_duplicated_entry_is_found() {
    let (mut bench, _) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        let sql = "INSERT INTO dentry SELECT parent, CAST('twin' AS BLOB), 99, v FROM dentry \
                   WHERE name = CAST('letter' AS BLOB)";
        assert_eq!(db.execute(sql, []).unwrap(), 1);
    });
    for kind in [Kind::LinkCount, Kind::EntryCount, Kind::Cookie] {
        assert_found(&report, kind);
    }
}

#[test]
fn a_cycle_of_directories_is_found() {
    let (mut bench, _) = Bench::with_letter();
    let a = bench.mkdir(Ino::ROOT, "a");
    let b = bench.mkdir(a, "b");
    let report = check_after(&mut bench, |db| {
        let sql = format!("UPDATE dentry SET parent = {b} WHERE name = CAST('a' AS BLOB)");
        assert_eq!(db.execute(&sql, []).unwrap(), 1);
        change_inode(db, a, |row| row.dir_mut().unwrap().parent = b);
    });
    assert_found(&report, Kind::Cycle);
}

#[test]
fn a_directory_that_says_it_is_elsewhere_is_found() {
    let (mut bench, _) = Bench::with_letter();
    let a = bench.mkdir(Ino::ROOT, "a");
    let b = bench.mkdir(a, "b");
    let report = check_after(&mut bench, |db| {
        change_inode(db, b, |row| row.dir_mut().unwrap().parent = Ino::ROOT);
    });
    assert_found(&report, Kind::ParentPointer);
}

#[test]
fn a_file_without_links_that_is_not_listed_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        db.execute("DELETE FROM dentry WHERE name = CAST('letter' AS BLOB)", [])
            .unwrap();
        change_inode(db, letter, |row| row.nlink = 0);
    });
    assert_found(&report, Kind::Orphan);
}

#[test]
fn a_removed_attribute_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    bench
        .v()
        .setxattr(letter, b"user.colour", b"blue", XattrMode::Set)
        .unwrap();
    let report = check_after(&mut bench, |db| {
        assert_eq!(db.execute("DELETE FROM xattr", []).unwrap(), 1);
    });
    assert_found(&report, Kind::XattrBytes);
}

#[test]
fn exchanged_leaves_are_found() {
    let (mut bench, letter) = Bench::with_letter();
    let other = bench.file(Ino::ROOT, "third", &pattern(10 * 4096, 9));
    let report = check_after(&mut bench, |db| {
        let (mut here, mut there) = (Leaf::default(), Leaf::default());
        let (a, b) = (content(db, letter).map, content(db, other).map);
        change_leaf(db, a, |leaf| here = leaf.clone());
        change_leaf(db, b, |leaf| there = std::mem::replace(leaf, here));
        change_leaf(db, a, |leaf| *leaf = there);
    });
    assert_found(&report, Kind::RunOwner);
    let read = bench.check(ReadData::Yes);
    let tampered = read
        .findings
        .iter()
        .filter(|f| f.kind == Kind::BlockTampered);
    assert_eq!(tampered.count(), 2, "{read}");
}

#[test]
fn a_block_named_twice_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        let map = content(db, letter).map;
        change_leaf(db, map, |leaf| leaf.set(4, leaf.get(5)));
    });
    assert_found(&report, Kind::SharedBlock);
    assert_found(&report, Kind::LiveSlots);
}

#[test]
fn blocks_beyond_the_end_and_a_wrong_count_are_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        change_content(db, letter, |row| {
            row.size = 7 * 4096;
            row.blocks = 8;
        });
    });
    assert_found(&report, Kind::BlockCount);
    let beyond = report.findings.iter().find(|f| f.kind == Kind::BeyondEnd);
    assert_eq!(beyond.unwrap().block, Some(7), "{report}");
}

#[test]
fn something_behind_the_end_of_a_file_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = bench.check_after(ReadData::Yes, |b| {
        b.edit(|db| change_content(db, letter, |row| row.size -= 10));
    });
    assert_found(&report, Kind::Padding);
}

#[test]
fn leaves_that_nothing_has_are_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        db.execute(&format!("DELETE FROM content WHERE ino = {letter}"), [])
            .unwrap();
    });
    assert_found(&report, Kind::StrayLeaf);
}

#[test]
fn a_map_of_two_files_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    let other = bench.file(Ino::ROOT, "third", &pattern(10 * 4096, 9));
    let report = check_after(&mut bench, |db| {
        let map = content(db, letter).map;
        change_content(db, other, |row| row.map = map);
    });
    assert_found(&report, Kind::SharedMap);
}

#[test]
fn a_missing_file_key_is_found() {
    let (mut bench, letter) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        db.execute(&format!("DELETE FROM file_key WHERE ino = {letter}"), [])
            .unwrap();
    });
    assert_found(&report, Kind::KeyMissing);
}

#[test]
fn a_cleared_live_bit_is_found() {
    let (mut bench, _) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        let mut row = SegmentRow::decode(&value(db, "SELECT v FROM segment")).unwrap();
        assert!(row.is_live(2));
        row.set_dead(2);
        put(db, "UPDATE segment SET v = ?1", &row.encode());
    });
    assert_found(&report, Kind::LiveSlots);
    assert_eq!(report.damaged(), 2, "{report}");
}

#[test]
fn lost_owners_of_slots_are_found() {
    let (mut bench, _) = Bench::with_letter();
    let report = check_after(&mut bench, |db| {
        db.execute("DELETE FROM run_owner", []).unwrap();
    });
    assert_found(&report, Kind::RunOwner);
}

#[test]
fn rows_that_cannot_be_read_are_found() {
    for table in [
        "inode",
        "content",
        "leaf",
        "file_key",
        "dentry",
        "run_owner",
    ] {
        let (mut bench, _) = Bench::with_letter();
        let report = check_after(&mut bench, |db| {
            let sql = format!("UPDATE {table} SET v = x'0102030405'");
            assert!(db.execute(&sql, []).unwrap() > 0);
        });
        assert_found(&report, Kind::BadRow);
    }
}

#[test]
fn a_counter_that_lags_is_found() {
    let (mut bench, _) = Bench::with_letter();
    let report = bench.check_after(ReadData::No, |b| {
        b.edit(|db| {
            let mut state = value(db, "SELECT v FROM state");
            state[8..16].copy_from_slice(&2u64.to_le_bytes());
            put(db, "UPDATE state SET v = ?1", &state);
        });
    });
    assert_found(&report, Kind::Counter);
}

#[test]
fn another_schema_is_refused() {
    let (mut bench, _) = Bench::with_letter();
    bench.close();
    bench.edit(|db| {
        db.execute_batch("CREATE INDEX more ON dentry(cookie)")
            .unwrap();
    });
    assert!(bench.try_open(Access::ReadOnly).is_err());
}
