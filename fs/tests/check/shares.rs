//! Rows of shares that contradict one another, or what they are about.

use keyfold_fs::check::{FindingKind as Kind, ReadData};
use keyfold_fs::layout::{
    Leaf, LeafIndex, Mark, NodeRow, Place, RemoteBlock, ShareId, ShareRow, Standing,
};
use keyfold_fs::vfs::{Ino, Vfs};
use rusqlite::Connection;

use crate::bench::{Bench, assert_found, assert_intact, at, pattern};
use crate::database::{content, put, value};

/// A share with a file, a removed file and marks of both.
fn shared() -> (Bench, Ino) {
    let bench = Bench::new();
    let root = bench.mkdir(Ino::ROOT, "shared");
    bench.v().begin_share(ShareId([1; 32]), root, b"").unwrap();
    let file = bench.file(root, "file", &pattern(20_000, 1));
    bench.file(root, "gone", &pattern(100, 2));
    bench.v().unlink(at(root, "gone")).unwrap();
    (bench, file)
}

fn finds(kind: Kind, edit: impl FnOnce(&Connection, Ino)) {
    let (mut bench, file) = shared();
    let report = bench.check_after(ReadData::Yes, |b| b.edit(|db| edit(db, file)));
    assert_found(&report, kind);
}

fn run(db: &Connection, sql: &str) {
    assert!(db.execute(sql, []).unwrap() > 0, "{sql}");
}

/// The second key column of an inode's way back.
fn back(ino: Ino) -> String {
    format!("x'{:016x}'", ino.0)
}

#[test]
fn a_share_in_use_is_intact() {
    let (bench, _) = shared();
    assert_intact(&bench.check(ReadData::Yes), "with a removed node");
}

#[test]
fn an_inode_that_does_not_know_its_node_is_found() {
    finds(Kind::Share, |db, file| {
        run(
            db,
            &format!(
                "DELETE FROM share_node WHERE share = 0 AND node = {}",
                back(file)
            ),
        );
    });
}

#[test]
fn a_node_without_its_row_is_found() {
    finds(Kind::Share, |db, file| {
        let sql = format!(
            "SELECT v FROM share_node WHERE share = 0 AND node = {}",
            back(file)
        );
        let member = value(db, &sql);
        let node = data_encoding::HEXLOWER.encode(&member[8..]);
        run(
            db,
            &format!("DELETE FROM share_node WHERE share = 1 AND node = x'{node}'"),
        );
    });
}

#[test]
fn something_in_a_share_that_is_no_node_of_it_is_found() {
    finds(Kind::Share, |db, file| {
        let sql = format!(
            "SELECT v FROM share_node WHERE share = 0 AND node = {}",
            back(file)
        );
        let node = data_encoding::HEXLOWER.encode(&value(db, &sql)[8..]);
        run(
            db,
            &format!(
                "DELETE FROM share_node WHERE node = {} OR node = x'{node}'",
                back(file)
            ),
        );
    });
}

#[test]
fn a_node_of_an_inode_that_does_not_exist_is_found() {
    finds(Kind::Share, |db, file| {
        let row = NodeRow {
            ino: Ino(file.0 + 1000),
            standing: Standing::Here,
            data: Box::default(),
        };
        let sql = "INSERT INTO share_node(share, node, v) VALUES(1, x'05050505050505050505050505050505', ?1)";
        put(db, sql, &row.encode());
    });
}

#[test]
fn a_mark_of_no_share_is_found() {
    finds(Kind::Share, |db, file| {
        let mark = Mark::Content(file).encode();
        put(
            db,
            "INSERT INTO outbox(share, seq, v) VALUES(9, 1, ?1)",
            &mark,
        );
    });
}

#[test]
fn nodes_and_marks_of_a_share_without_a_row_are_found() {
    finds(Kind::Share, |db, _| run(db, "DELETE FROM share"));
}

#[test]
fn rows_of_shares_that_cannot_be_read_are_found() {
    finds(Kind::BadRow, |db, _| {
        run(db, "UPDATE share_node SET v = x'00' WHERE share = 1");
    });
    finds(Kind::BadRow, |db, _| {
        run(db, "UPDATE share_node SET v = x'00' WHERE share = 0");
    });
}

#[test]
fn a_block_in_a_blob_that_is_of_no_share_is_found() {
    finds(Kind::UnknownPlace, |db, file| {
        let id = content(db, file).map.leaf_key(LeafIndex(0));
        let mut leaf =
            Leaf::decode(&value(db, &format!("SELECT v FROM leaf WHERE id = {id}"))).unwrap();
        let mut entry = leaf.get(1);
        entry.place = Place::Remote(RemoteBlock { blob: 3, slot: 0 });
        leaf.set(1, entry);
        let sql = format!("UPDATE leaf SET v = ?1 WHERE id = {id}");
        put(db, &sql, &leaf.encode());
    });
}

/// A share of the file `plan` in `dir`, of which one left.
fn single() -> (Bench, Ino, Ino) {
    let bench = Bench::new();
    let dir = bench.mkdir(Ino::ROOT, "dir");
    bench.file(dir, "plan", &pattern(100, 1));
    let place = at(dir, "plan");
    bench
        .v()
        .begin_single_share(ShareId([1; 32]), place, b"")
        .unwrap();
    let replace = keyfold_fs::vfs::RenameMode::Replace;
    bench
        .v()
        .rename(at(dir, "plan"), at(dir, "old"), replace)
        .unwrap();
    let file = bench.file(dir, "plan", &pattern(100, 2));
    (bench, dir, file)
}

fn finds_in_single(edit: impl FnOnce(&Connection, Ino, Ino)) {
    let (mut bench, dir, file) = single();
    let report = bench.check_after(ReadData::Yes, |b| b.edit(|db| edit(db, dir, file)));
    assert_found(&report, Kind::Share);
}

#[test]
fn a_share_of_a_single_file_is_intact_with_its_file_and_without() {
    let (bench, dir, _) = single();
    assert_intact(&bench.check(ReadData::Yes), "with a file that left");
    bench.v().unlink(at(dir, "plan")).unwrap();
    assert_intact(&bench.check(ReadData::Yes), "while there is none");
}

#[test]
fn a_single_file_that_is_not_where_it_is_to_be_is_found() {
    finds_in_single(|db, _, file| {
        let row = value(db, "SELECT v FROM share WHERE id = 1");
        let mut share = ShareRow::decode(&row).unwrap();
        share.name = Some((*b"old").into());
        put(db, "UPDATE share SET v = ?1 WHERE id = 1", &share.encode());
        assert!(file.0 > 0);
    });
}

#[test]
fn a_single_file_that_is_no_node_of_its_share_is_found() {
    finds_in_single(|db, _, file| {
        run(
            db,
            &format!(
                "DELETE FROM share_node WHERE share = 0 AND node = {}",
                back(file)
            ),
        );
        let ino = format!("substr(v, 1, 8) = x'{}'", hex(file));
        run(
            db,
            &format!("DELETE FROM share_node WHERE share = 1 AND {ino}"),
        );
    });
}

#[test]
fn a_single_file_whose_directory_is_none_or_in_a_share_is_found() {
    finds_in_single(|db, _, file| {
        let row = value(db, "SELECT v FROM share WHERE id = 1");
        let mut share = ShareRow::decode(&row).unwrap();
        share.root = Some(file);
        put(db, "UPDATE share SET v = ?1 WHERE id = 1", &share.encode());
    });
}

/// What is done to a database, given the root of a share.
type Edit<'e> = &'e dyn Fn(&Connection, Ino);

/// A share within another, and its root.
fn nested() -> (Bench, Ino) {
    let (bench, _) = shared();
    let shares = bench.v().shares().unwrap();
    let sub = bench.mkdir(shares[0].root, "sub");
    bench.file(sub, "file", &pattern(100, 3));
    let begun = bench.v().begin_share_within(ShareId([2; 32]), sub, b"");
    begun.unwrap();
    (bench, sub)
}

#[test]
fn a_share_within_another_is_intact_and_found_where_the_two_contradict_one_another() {
    let (bench, _) = nested();
    assert_intact(&bench.check(ReadData::Yes), "within another");
    let row = |db: &Connection, edit: &dyn Fn(&mut ShareRow)| {
        let row = value(db, "SELECT v FROM share WHERE id = 2");
        let mut share = ShareRow::decode(&row).unwrap();
        edit(&mut share);
        put(db, "UPDATE share SET v = ?1 WHERE id = 2", &share.encode());
    };
    let edits: [Edit<'_>; 4] = [
        &|db, sub| {
            let ino = format!("substr(v, 1, 8) = x'{}'", hex(sub));
            let sql = format!("DELETE FROM share_node WHERE share = 1 AND {ino}");
            run(db, &sql);
        },
        &|db, _| row(db, &|share| share.within = None),
        &|db, _| {
            row(db, &|share| {
                let within = share.within.as_mut().unwrap();
                within.point.0[0] ^= 1;
            });
        },
        &|db, _| {
            row(db, &|share| {
                share.within.as_mut().unwrap().share.0 = 9;
            });
        },
    ];
    for edit in edits {
        let (mut bench, sub) = nested();
        let report = bench.check_after(ReadData::Yes, |b| b.edit(|db| edit(db, sub)));
        assert_found(&report, Kind::Share);
    }
}

/// An inode as fields of rows have it.
fn hex(ino: Ino) -> String {
    data_encoding::HEXLOWER.encode(&ino.0.to_le_bytes())
}
