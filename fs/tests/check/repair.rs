//! What a repair computes anew: everything that follows from the rest, and nothing else.

use std::fs::{self, OpenOptions};

use keyfold_fs::check::{FindingKind as Kind, ReadData};
use keyfold_fs::error::FsError;
use keyfold_fs::layout::{DentryRow, SegmentRow};
use keyfold_fs::repair::{Altered, RepairError, RepairOptions, RepairReport, repair};
use keyfold_fs::vault::Access;
use keyfold_fs::vfs::{FileKind, FileRange, Ino, OpenMode, Vfs, XattrMode};
use keyfold_fs::volume::Volume;
use rusqlite::Connection;

use crate::bench::{Bench, assert_intact, at, pattern};
use crate::database::{change_content, change_inode, change_leaf, content, put, value};

const READ: OpenMode = OpenMode {
    read: true,
    write: false,
    append: false,
    truncate: false,
    sync: false,
};

pub(crate) fn try_repair(
    bench: &mut Bench,
    options: &RepairOptions,
) -> Result<RepairReport, RepairError> {
    bench.close();
    repair(bench.unlock_for_repair(), options, &mut |_| {})
}

/// Repairs with all data read afterwards.
pub(crate) fn repaired(bench: &mut Bench) -> RepairReport {
    let options = RepairOptions {
        read_data: ReadData::Yes,
        ..RepairOptions::default()
    };
    try_repair(bench, &options).unwrap()
}

/// The content of a file by its path.
pub(crate) fn read(volume: &Volume, path: &str) -> Result<Vec<u8>, FsError> {
    let mut ino = Ino::ROOT;
    for name in path.split('/') {
        ino = volume.lookup(at(ino, name))?.attr.ino;
    }
    let size = volume.getattr(ino)?.size as usize;
    let handle = volume.open(ino, READ)?;
    let mut data = vec![0; size];
    let range = FileRange {
        ino,
        handle,
        offset: 0,
    };
    let result = volume.read(range, &mut data);
    volume.release(ino, handle);
    assert_eq!(result?, size);
    Ok(data)
}

/// What the two files of [`Bench::with_letter`] hold.
fn letter_data() -> Vec<u8> {
    pattern(10 * 4096, 1)
}

fn other_data() -> Vec<u8> {
    pattern(3 * 4096 - 5, 2)
}

/// Damages soundly, repairs, and asserts that all is well, that `kinds` were mended, and that the
/// volume goes on being so.
#[track_caller]
fn mends(kinds: &[Kind], edit: impl FnOnce(&Connection, Ino)) -> (Bench, RepairReport) {
    let (mut bench, letter) = Bench::with_letter();
    bench.close();
    bench.edit_soundly(|db| edit(db, letter));
    bench.open(Access::ReadOnly);
    assert!(
        bench.check(ReadData::No).damaged() > 0,
        "nothing is damaged"
    );
    let report = repaired(&mut bench);
    assert_intact(&report.check, "repaired");
    for kind in kinds {
        let mended = report.mended.iter().any(|m| m.kind == *kind);
        assert!(mended, "no {kind} in {:?}", report.mended);
    }
    assert_eq!((&report.restored, &report.aside), (&None, &None));
    let again = repaired(&mut bench);
    assert_eq!(again.mended, [], "a second repair finds nothing to do");
    bench.open(Access::ReadWrite);
    bench.file(Ino::ROOT, "new", &pattern(70 * 4096, 5));
    bench.v().sync().unwrap();
    bench.remount();
    assert_intact(&bench.check(ReadData::Yes), "used after the repair");
    assert!(read(bench.v(), "docs/other").unwrap() == other_data());
    (bench, report)
}

#[test]
fn numbers_of_links_entries_and_blocks_are_counted_again() {
    let (bench, report) = mends(
        &[
            Kind::LinkCount,
            Kind::EntryCount,
            Kind::BlockCount,
            Kind::XattrBytes,
        ],
        |db, letter| {
            change_inode(db, letter, |row| {
                row.nlink = 7;
                row.xattr_bytes = 99;
            });
            change_inode(db, Ino::ROOT, |row| row.dir_mut().unwrap().entries = 9);
            change_content(db, letter, |row| row.blocks = 3);
        },
    );
    let links = report.mended.iter().find(|m| m.kind == Kind::LinkCount);
    let path = links.unwrap().path.as_ref().unwrap();
    assert_eq!(path.text, "/docs/letter", "files are told by name");
    assert!(read(bench.v(), "docs/letter").unwrap() == letter_data());
}

#[test]
fn an_entry_of_nothing_goes_and_a_file_without_an_entry_is_found_again() {
    let (bench, report) = mends(&[Kind::Unreachable, Kind::MissingInode], |db, letter| {
        let sql = "SELECT v FROM dentry WHERE name = CAST('letter' AS BLOB)";
        let row = DentryRow::decode(&value(db, sql)).unwrap();
        assert_eq!(row.child, letter);
        let changed = DentryRow {
            child: Ino(4711),
            ..row
        };
        let sql = "UPDATE dentry SET v = ?1 WHERE name = CAST('letter' AS BLOB)";
        put(db, sql, &changed.encode());
    });
    let lost = report.mended.iter().find(|m| m.kind == Kind::Unreachable);
    let ino = lost.unwrap().inode.unwrap();
    let name = format!("lost+found/#{ino}");
    assert!(read(bench.v(), &name).unwrap() == letter_data());
    let dir = bench.v().lookup(at(Ino::ROOT, "lost+found")).unwrap();
    assert_eq!(dir.attr.perm, 0o700, "nobody else looks into it");
}

#[test]
fn a_file_that_is_gone_but_for_its_name_loses_it() {
    mends(&[Kind::MissingInode, Kind::StrayContent], |db, letter| {
        let sql = format!("DELETE FROM inode WHERE ino = {letter}");
        assert_eq!(db.execute(&sql, []).unwrap(), 1);
    });
}

#[test]
fn entries_are_of_their_inodes_kind_and_have_places_in_listings() {
    let (bench, _) = mends(&[Kind::KindMismatch, Kind::Cookie], |db, _| {
        let sql = "SELECT v FROM dentry WHERE name = CAST('letter' AS BLOB)";
        let row = DentryRow::decode(&value(db, sql)).unwrap();
        let changed = DentryRow {
            kind: FileKind::Symlink,
            cookie: row.cookie + 100,
            ..row
        };
        let sql = "UPDATE dentry SET v = ?1 WHERE name = CAST('letter' AS BLOB)";
        put(db, sql, &changed.encode());
    });
    assert!(read(bench.v(), "docs/letter").unwrap() == letter_data());
}

#[test]
fn a_second_name_that_no_link_stands_for_is_counted() {
    let (bench, _) = mends(
        &[Kind::LinkCount, Kind::EntryCount, Kind::Cookie],
        |db, _| {
            let sql = "INSERT INTO dentry SELECT parent, CAST('twin' AS BLOB), 99, v FROM dentry \
                   WHERE name = CAST('letter' AS BLOB)";
            assert_eq!(db.execute(sql, []).unwrap(), 1);
        },
    );
    for name in ["docs/letter", "docs/twin"] {
        assert!(read(bench.v(), name).unwrap() == letter_data());
    }
}

#[test]
fn directories_that_lie_in_one_another_are_hung_up_again() {
    let (mut bench, letter) = Bench::with_letter();
    let a = bench.mkdir(Ino::ROOT, "a");
    let b = bench.mkdir(a, "b");
    bench.file(b, "inside", b"content");
    bench.close();
    bench.edit_soundly(|db| {
        let sql = format!("UPDATE dentry SET parent = {b} WHERE name = CAST('a' AS BLOB)");
        assert_eq!(db.execute(&sql, []).unwrap(), 1);
        change_inode(db, a, |row| row.dir_mut().unwrap().parent = b);
    });
    let report = repaired(&mut bench);
    assert_intact(&report.check, "repaired");
    bench.open(Access::ReadWrite);
    let found = [
        format!("lost+found/#{a}/b/inside"),
        format!("lost+found/#{b}/inside"),
    ];
    assert!(
        found
            .iter()
            .any(|f| read(bench.v(), f).is_ok_and(|d| d == b"content"))
    );
    assert!(bench.v().getattr(letter).is_ok());
}

#[test]
fn a_directory_says_again_where_it_is() {
    let (mut bench, _) = Bench::with_letter();
    let a = bench.mkdir(Ino::ROOT, "a");
    let b = bench.mkdir(a, "b");
    bench.close();
    bench.edit_soundly(|db| {
        change_inode(db, b, |row| row.dir_mut().unwrap().parent = Ino::ROOT);
    });
    let report = repaired(&mut bench);
    assert_intact(&report.check, "repaired");
    assert_eq!(report.mended.len(), 1);
    assert_eq!(report.mended[0].kind, Kind::ParentPointer);
}

#[test]
fn an_inode_that_neither_links_nor_entries_know_goes() {
    mends(&[Kind::Orphan], |db, letter| {
        db.execute("DELETE FROM dentry WHERE name = CAST('letter' AS BLOB)", [])
            .unwrap();
        change_inode(db, letter, |row| row.nlink = 0);
    });
}

#[test]
fn attributes_of_nothing_go() {
    let (mut bench, letter) = Bench::with_letter();
    let set = bench.v().setxattr(letter, b"user.x", b"y", XattrMode::Set);
    set.unwrap();
    bench.close();
    bench.edit_soundly(|db| {
        db.execute("UPDATE xattr SET ino = 4711", []).unwrap();
    });
    let report = repaired(&mut bench);
    assert_intact(&report.check, "repaired");
    bench.open(Access::ReadWrite);
    assert!(read(bench.v(), "docs/letter").unwrap() == letter_data());
}

#[test]
fn blocks_that_no_file_has_are_freed() {
    let (mut bench, _) = mends(&[Kind::StrayLeaf], |db, letter| {
        let sql = format!("DELETE FROM content WHERE ino = {letter}");
        assert_eq!(db.execute(&sql, []).unwrap(), 1);
    });
    bench.remount();
    let live = bench.v().status().live_bytes;
    assert_eq!(live, (70 + 3) * 4096, "what is left is the other files'");
}

#[test]
fn live_slots_and_owners_are_found_from_the_maps() {
    let (bench, _) = mends(&[Kind::LiveSlots, Kind::RunOwner], |db, _| {
        let mut row = SegmentRow::decode(&value(db, "SELECT v FROM segment")).unwrap();
        row.set_dead(2);
        row.set_dead(11);
        put(db, "UPDATE segment SET v = ?1", &row.encode());
        db.execute("DELETE FROM run_owner", []).unwrap();
    });
    assert!(read(bench.v(), "docs/letter").unwrap() == letter_data());
}

#[test]
fn slots_that_hold_blocks_are_not_punched() {
    let (bench, _) = mends(&[Kind::Freed], |db, _| {
        db.execute(
            "INSERT INTO freed SELECT id, 0, x'4000000000000000' FROM segment",
            [],
        )
        .unwrap();
    });
    assert!(read(bench.v(), "docs/letter").unwrap() == letter_data());
}

#[test]
fn counters_are_above_what_is_in_use() {
    let (bench, _) = mends(&[Kind::Counter], |db, _| {
        let mut state = value(db, "SELECT v FROM state");
        for at in [8, 16, 32] {
            state[at..at + 8].copy_from_slice(&1u64.to_le_bytes());
        }
        state[40..48].copy_from_slice(&77u64.to_le_bytes());
        put(db, "UPDATE state SET v = ?1", &state);
    });
    assert!(read(bench.v(), "docs/letter").unwrap() == letter_data());
}

#[test]
fn what_two_files_claim_is_left_to_them() {
    let (mut bench, letter) = Bench::with_letter();
    bench.close();
    bench.edit_soundly(|db| {
        let map = content(db, letter).map;
        change_leaf(db, map, |leaf| leaf.set(4, leaf.get(5)));
    });
    let report = repaired(&mut bench);
    assert!(report.check.damaged() > 0, "{}", report.check);
    bench.open(Access::ReadWrite);
    assert!(read(bench.v(), "docs/other").unwrap() == other_data());
    let handle = bench.v().open(letter, READ).unwrap();
    let mut block = vec![0; 4096];
    for n in 0..10 {
        let range = FileRange {
            ino: letter,
            handle,
            offset: n * 4096,
        };
        let read = bench.v().read(range, &mut block);
        let own = &letter_data()[n as usize * 4096..(n as usize + 1) * 4096];
        assert_eq!(read.is_ok_and(|_| block == own), n != 4, "block {n}");
    }
}

#[test]
fn damaged_content_is_listed_and_left_as_it_is() {
    use std::os::unix::fs::FileExt;
    let (mut bench, _) = Bench::with_letter();
    bench.close();
    let segment = bench.segment();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&segment)
        .unwrap();
    file.write_all_at(&[0xaa; 100], 5 * 4096).unwrap();
    let before = fs::read(&segment).unwrap();
    let report = repaired(&mut bench);
    assert_eq!(report.mended, []);
    assert_eq!(report.check.findings.len(), 1, "{}", report.check);
    let finding = &report.check.findings[0];
    assert_eq!(finding.kind, Kind::BlockTampered);
    assert_eq!(finding.path.as_ref().unwrap().text, "/docs/letter");
    assert!(fs::read(&segment).unwrap() == before);
}

#[test]
fn a_lost_segment_costs_its_own_blocks_and_the_volume_can_be_written() {
    for length in [None, Some(10 * 4096 + 7)] {
        let (mut bench, _) = Bench::with_letter();
        bench.close();
        let path = bench.segment();
        let whole = fs::read(&path).unwrap();
        match length {
            None => fs::remove_file(&path).unwrap(),
            Some(length) => fs::write(&path, &whole[..length]).unwrap(),
        }
        assert!(bench.try_open(Access::ReadWrite).is_err());
        let report = repaired(&mut bench);
        assert!(report.check.damaged() > 0, "{}", report.check);
        bench.open(Access::ReadWrite);
        let letter = read(bench.v(), "docs/letter");
        match length {
            None => assert!(matches!(letter, Err(FsError::Tampered(_)))),
            Some(_) => assert!(letter.unwrap() == letter_data()),
        }
        assert!(matches!(
            read(bench.v(), "docs/other"),
            Err(FsError::Tampered(_))
        ));
        bench.file(Ino::ROOT, "new", b"written");
        bench.remount();
        assert_eq!(read(bench.v(), "new").unwrap(), b"written");
        bench.close();
        // Whoever finds the file again puts it back.
        fs::write(&path, &whole).unwrap();
        bench.open(Access::ReadWrite);
        assert!(read(bench.v(), "docs/other").unwrap() == other_data());
        assert_intact(&bench.check(ReadData::Yes), "put back");
    }
}

#[test]
fn altered_rows_are_mended_only_when_that_is_asked_for() {
    let (mut bench, letter) = Bench::with_letter();
    bench.close();
    bench.edit(|db| change_inode(db, letter, |row| row.nlink = 4));
    let before = fs::read(bench.path("meta.db")).unwrap();
    let refused = try_repair(&mut bench, &RepairOptions::default()).unwrap_err();
    assert!(matches!(refused, RepairError::Altered { .. }), "{refused}");
    assert!(fs::read(bench.path("meta.db")).unwrap() == before);
    let options = RepairOptions {
        altered: Altered::Accept,
        ..RepairOptions::default()
    };
    let report = try_repair(&mut bench, &options).unwrap();
    assert_intact(&report.check, "accepted");
    bench.open(Access::ReadWrite);
    assert_eq!(bench.v().getattr(letter).unwrap().nlink, 1);
    assert_intact(&bench.check(ReadData::Yes), "afterwards");
}

#[test]
fn what_a_crash_left_in_the_journal_is_there_after_a_repair() {
    let (mut bench, _) = Bench::with_letter();
    let ino = bench.file(Ino::ROOT, "synced", b"");
    bench.v().sync().unwrap();
    let write = OpenMode {
        write: true,
        ..READ
    };
    let handle = bench.v().open(ino, write).unwrap();
    bench.write((ino, handle), 0, &pattern(5000, 8));
    bench.v().fsync(ino, handle).unwrap();
    bench.v().crash();
    bench.forget();
    let report = repaired(&mut bench);
    assert_intact(&report.check, "repaired after a crash");
    bench.open(Access::ReadWrite);
    assert!(read(bench.v(), "synced").unwrap() == pattern(5000, 8));
    assert_intact(&bench.check(ReadData::Yes), "opened after it");
}

#[test]
fn a_single_file_whose_name_is_lost_is_of_its_own_and_its_share_is_whole() {
    let mut bench = Bench::new();
    let dir = bench.mkdir(Ino::ROOT, "dir");
    let file = bench.file(dir, "plan", &pattern(5000, 1));
    let id = keyfold_fs::share::ShareId([1; 32]);
    let share = bench
        .v()
        .begin_single_share(id, at(dir, "plan"), b"")
        .unwrap();
    bench.close();
    bench.edit_soundly(|db| {
        let sql =
            "UPDATE dentry SET name = CAST('other' AS BLOB) WHERE name = CAST('plan' AS BLOB)";
        assert_eq!(db.execute(sql, []).unwrap(), 1);
    });
    let report = repaired(&mut bench);
    assert_intact(&report.check, "repaired");
    bench.open(Access::ReadWrite);
    assert!(read(bench.v(), "dir/other").unwrap() == pattern(5000, 1));
    assert_eq!(bench.v().share_member(file).unwrap(), None);
    let anew = bench.file(dir, "plan", b"anew");
    let member = bench.v().share_member(anew).unwrap();
    assert_eq!(member.map(|(number, _)| number), Some(share));
    assert_intact(&bench.check(ReadData::Yes), "used again");
}
