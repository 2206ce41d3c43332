use std::collections::BTreeSet;

use super::*;

const DIR: Node = Node::ROOT;
const FILE: Node = Node(2);

fn create() -> Step {
    Step::Create {
        dir: DIR,
        name: "f".into(),
        file: FILE,
    }
}

fn write(offset: u64, byte: u8, len: usize) -> Step {
    Step::Write {
        file: FILE,
        offset,
        data: vec![byte; len].into(),
    }
}

fn sync(node: Node) -> Step {
    Step::Sync { node }
}

fn disk(steps: &[Step]) -> Disk {
    let mut disk = Disk::new(AfterFailedSync::NeverWritten);
    for step in steps {
        disk.apply(step);
    }
    disk
}

/// The file's bytes after a crash, if it has its name.
fn bytes(disk: &Disk, loss: Loss) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    disk.image(loss).write_to(&path).unwrap();
    std::fs::read(path.join("f")).ok()
}

/// All that may be found.
fn found(disk: &Disk) -> BTreeSet<Option<Vec<u8>>> {
    (0..600)
        .map(|seed| bytes(disk, Loss::Random(seed)))
        .collect()
}

#[test]
fn nothing_is_there_for_certain_before_both_syncs() {
    let steps = [create(), write(0, 7, 10), sync(FILE), sync(DIR)];
    for synced in 0..3 {
        let disk = disk(&steps[..synced]);
        assert!(found(&disk).contains(&None), "after {synced} steps");
        assert_eq!(bytes(&disk, Loss::Unsynced), None);
    }
    let disk = disk(&steps);
    assert_eq!(found(&disk), BTreeSet::from([Some(vec![7; 10])]));
    assert_eq!(bytes(&disk, Loss::Unsynced), Some(vec![7; 10]));
}

#[test]
fn unsynced_bytes_are_torn_at_sectors_and_only_there() {
    let synced = [create(), write(0, 1, 1536), sync(FILE), sync(DIR)];
    let mut disk = disk(&synced);
    disk.apply(&write(100, 2, 1300));
    let all = found(&disk);
    assert_eq!(all.len(), 8, "each of three sectors is old or new");
    for bytes in all.into_iter().flatten() {
        assert_eq!(bytes.len(), 1536);
        for (range, new) in [
            (0..512, 100..512),
            (512..1024, 512..1024),
            (1024..1536, 1024..1400),
        ] {
            let sector: BTreeSet<u8> = bytes[new].iter().copied().collect();
            assert_eq!(sector.len(), 1, "a sector is torn: {range:?}");
        }
    }
}

#[test]
fn a_later_write_may_be_kept_without_an_earlier_one() {
    let synced = [create(), write(0, 1, 1024), sync(FILE), sync(DIR)];
    let mut disk = disk(&synced);
    disk.apply(&write(0, 2, 512));
    disk.apply(&write(512, 3, 512));
    let later_only = [vec![1; 512], vec![3; 512]].concat();
    assert!(found(&disk).contains(&Some(later_only)));
}

#[test]
fn what_fills_a_hole_is_lost_where_the_hole_is() {
    let synced = [create(), write(0, 1, 512), sync(FILE), sync(DIR)];
    let mut disk = disk(&synced);
    disk.apply(&Step::Punch {
        file: FILE,
        offset: 0,
        len: 512,
    });
    disk.apply(&write(0, 2, 512));
    let expected = [1, 0, 2].map(|byte| Some(vec![byte; 512]));
    assert_eq!(found(&disk), BTreeSet::from(expected));
    let kept_hole = |seed| bytes(&disk, Loss::Random(seed));
    assert_eq!(kept_hole(1), kept_hole(1), "a seed repeats");
}

#[test]
fn a_file_cut_short_shows_no_more_than_it_had() {
    let synced = [create(), write(0, 1, 2048), sync(FILE), sync(DIR)];
    let mut disk = disk(&synced);
    disk.apply(&Step::SetLen { file: FILE, len: 0 });
    disk.apply(&write(0, 2, 1024));
    for bytes in found(&disk).into_iter().flatten() {
        match bytes.len() {
            2048 => assert_eq!(bytes, vec![1; 2048]),
            0 => {}
            1024 => assert!(bytes.iter().all(|b| matches!(b, 0 | 2))),
            other => panic!("{other} bytes"),
        }
    }
}

#[test]
fn what_a_failed_sync_left_may_never_be_written() {
    let synced = [create(), write(0, 1, 512), sync(FILE), sync(DIR)];
    let mut disk = disk(&synced);
    disk.apply(&write(0, 2, 512));
    disk.apply(&Step::SyncFailed { node: FILE });
    disk.apply(&sync(FILE));
    assert_eq!(bytes(&disk, Loss::Nothing), Some(vec![1; 512]));
    disk.apply(&write(0, 3, 512));
    disk.apply(&sync(FILE));
    assert_eq!(bytes(&disk, Loss::Unsynced), Some(vec![3; 512]));
}

#[test]
fn names_are_kept_in_their_order() {
    let steps = [
        create(),
        sync(FILE),
        sync(DIR),
        Step::Rename {
            dir: DIR,
            from: "f".into(),
            to: "g".into(),
        },
        Step::Create {
            dir: DIR,
            name: "f".into(),
            file: Node(3),
        },
    ];
    let disk = disk(&steps);
    let names: BTreeSet<Vec<_>> = (0..100)
        .map(|seed| disk.image(Loss::Random(seed)).files.into_keys().collect())
        .collect();
    let expected = [vec!["f"], vec!["f", "g"], vec!["g"]];
    let expected = expected.map(|names| names.into_iter().map(OsString::from).collect());
    assert_eq!(names, BTreeSet::from(expected));
}
