//! What an image shows, how long, and what it holds back.

use std::fs;

use keyfold_fs::check::ReadData;
use keyfold_fs::error::FsError;
use keyfold_fs::layout::ImageKind;
use keyfold_fs::vault::Access;
use keyfold_fs::vfs::{FileRange, Ino, OpenMode, Vfs};
use keyfold_fs::volume::Volume;

use crate::bench::{Bench, assert_intact, at, pattern};

const BLOCK: usize = 4096;
const READ: OpenMode = OpenMode {
    read: true,
    write: false,
    append: false,
    truncate: false,
    sync: false,
};

/// The content of a file of the root, or that it has none.
pub(crate) fn content(volume: &Volume, name: &str) -> Option<Vec<u8>> {
    let entry = match volume.lookup(at(Ino::ROOT, name)) {
        Ok(entry) => entry.attr,
        Err(FsError::NotFound) => return None,
        Err(e) => panic!("{name}: {e}"),
    };
    let handle = volume.open(entry.ino, READ).unwrap();
    let mut data = vec![0; entry.size as usize];
    let range = FileRange {
        ino: entry.ino,
        handle,
        offset: 0,
    };
    assert_eq!(volume.read(range, &mut data).unwrap(), data.len());
    volume.release(entry.ino, handle);
    volume.forget(entry.ino, 1);
    Some(data)
}

fn keep(bench: &Bench, name: &str) -> keyfold_fs::layout::ImageId {
    bench
        .v()
        .keep_image(ImageKind::Snapshot, Some(name))
        .unwrap()
        .id
}

/// Writes files that fill some segments, so that they can be given back when they die.
fn fill(bench: &Bench, prefix: &str) {
    for n in 0..3 {
        let data = pattern(40 << 20, n);
        bench.file(Ino::ROOT, &format!("{prefix}{n}"), &data);
        bench.v().sync().unwrap();
    }
}

fn remove(bench: &Bench, prefix: &str) {
    for n in 0..3 {
        bench
            .v()
            .unlink(at(Ino::ROOT, &format!("{prefix}{n}")))
            .unwrap();
    }
    // One commit trims the maps, the next finds what died in segments that are full by then.
    for _ in 0..3 {
        bench.mkdir(Ino::ROOT, "tick");
        bench.v().sync().unwrap();
        bench.v().rmdir(at(Ino::ROOT, "tick")).unwrap();
        bench.v().sync().unwrap();
    }
}

/// Bytes that the segments take on the disk.
fn on_disk(bench: &Bench) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::read_dir(bench.path("segments"))
        .unwrap()
        .map(|e| e.unwrap().metadata().unwrap().blocks() * 512)
        .sum()
}

#[test]
fn an_image_shows_what_was_there_when_it_was_made() {
    let mut bench = Bench::new();
    bench.file(Ino::ROOT, "stays", &pattern(3 * BLOCK + 7, 1));
    bench.file(Ino::ROOT, "goes", &pattern(100 * BLOCK, 2));
    let id = keep(&bench, "before");
    bench.v().unlink(at(Ino::ROOT, "goes")).unwrap();
    bench.file(Ino::ROOT, "new", b"new");
    bench.v().sync().unwrap();
    for round in 0..2 {
        let old = |name| bench.v().with_image(id, |v| content(v, name)).unwrap();
        assert!(old("stays") == Some(pattern(3 * BLOCK + 7, 1)), "{round}");
        assert!(old("goes") == Some(pattern(100 * BLOCK, 2)), "{round}");
        assert_eq!(old("new"), None);
        assert_eq!(content(bench.v(), "goes"), None);
        assert_intact(&bench.check(ReadData::Yes), "with an image");
        bench.remount();
    }
    let images = bench.v().images();
    assert_eq!(images.len(), 1);
    assert_eq!((images[0].id, &*images[0].name), (id, "before"));
}

#[test]
fn an_image_can_only_be_read() {
    let bench = Bench::new();
    let ino = bench.file(Ino::ROOT, "file", b"x");
    let id = keep(&bench, "one");
    bench
        .v()
        .with_image(id, |v| {
            assert_eq!(v.unlink(at(Ino::ROOT, "file")), Err(FsError::ReadOnly));
            let write = OpenMode {
                write: true,
                ..READ
            };
            assert_eq!(v.open(ino, write).unwrap_err(), FsError::ReadOnly);
        })
        .unwrap();
}

#[test]
fn what_an_image_names_stays_on_the_disk_until_it_is_dropped() {
    let mut bench = Bench::new();
    fill(&bench, "a");
    let id = keep(&bench, "full");
    remove(&bench, "a");
    bench.remount();
    remove_nothing_commits(&bench);
    let held = bench.v().images()[0].held_back;
    assert_eq!(held, 120 << 20, "what the files took");
    assert!(on_disk(&bench) >= 120 << 20);
    for n in 0..3 {
        let read = bench.v().with_image(id, |v| content(v, &format!("a{n}")));
        assert!(read.unwrap() == Some(pattern(40 << 20, n)), "file {n}");
    }
    assert_intact(&bench.check(ReadData::Yes), "held");
    bench.v().drop_image(id).unwrap();
    remove_nothing_commits(&bench);
    assert!(on_disk(&bench) < 70 << 20, "{} bytes stay", on_disk(&bench));
    assert_eq!(fs::read_dir(bench.path("images")).unwrap().count(), 0);
    assert_intact(&bench.check(ReadData::Yes), "dropped");
    bench.remount();
    assert!(on_disk(&bench) < 1 << 20, "{} bytes stay", on_disk(&bench));
    assert_eq!(bench.v().images(), []);
}

fn remove_nothing_commits(bench: &Bench) {
    for _ in 0..3 {
        bench.mkdir(Ino::ROOT, "tick");
        bench.v().sync().unwrap();
        bench.v().rmdir(at(Ino::ROOT, "tick")).unwrap();
        bench.v().sync().unwrap();
    }
}

#[test]
fn names_are_given_once_and_checked() {
    let bench = Bench::new();
    keep(&bench, "one");
    let again = bench.v().keep_image(ImageKind::Automatic, Some("one"));
    assert_eq!(again.unwrap_err(), FsError::Exists);
    for name in ["", ".", "..", ".hidden", "a/b", "a\nb"] {
        let refused = bench.v().keep_image(ImageKind::Snapshot, Some(name));
        assert_eq!(refused.unwrap_err(), FsError::InvalidArgument, "{name:?}");
    }
    assert_eq!(bench.v().images().len(), 1);
}

#[test]
fn an_image_in_use_is_not_dropped_and_one_that_is_dropped_is_gone() {
    let bench = Bench::new();
    let ino = bench.file(Ino::ROOT, "file", b"content");
    let id = keep(&bench, "one");
    let handle = bench.v().with_image(id, |v| v.open(ino, READ)).unwrap();
    let handle = handle.unwrap();
    assert_eq!(bench.v().drop_image(id), Err(FsError::Busy));
    bench
        .v()
        .with_image(id, |v| v.release(ino, handle))
        .unwrap();
    bench.v().drop_image(id).unwrap();
    assert_eq!(bench.v().drop_image(id), Err(FsError::NotFound));
    let gone = bench.v().with_image(id, |v| v.getattr(ino));
    assert_eq!(gone, Err(FsError::Stale(Ino::ROOT)));
}

#[test]
fn a_crash_keeps_images_that_were_made() {
    let mut bench = Bench::new();
    bench.file(Ino::ROOT, "file", &pattern(70 * BLOCK, 3));
    let id = keep(&bench, "one");
    bench.v().unlink(at(Ino::ROOT, "file")).unwrap();
    bench.v().sync().unwrap();
    bench.crash();
    let old = bench.v().with_image(id, |v| content(v, "file")).unwrap();
    assert!(old == Some(pattern(70 * BLOCK, 3)));
    assert_intact(&bench.check(ReadData::Yes), "after a crash");
}

#[test]
fn halves_that_a_crash_left_are_removed_and_lost_files_forgotten() {
    let mut bench = Bench::new();
    bench.file(Ino::ROOT, "file", b"x");
    let id = keep(&bench, "one");
    bench.close();
    let whole = bench.path("images/000001.db");
    fs::copy(&whole, bench.path("images/000002.db")).unwrap();
    fs::copy(&whole, bench.path("images/000003.db.new")).unwrap();
    bench.open(Access::ReadWrite);
    let left: Vec<_> = fs::read_dir(bench.path("images")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(bench.v().images()[0].id, id);
    bench.close();
    fs::remove_file(whole).unwrap();
    bench.open(Access::ReadWrite);
    assert_eq!(bench.v().images(), []);
    bench.remount();
    assert_intact(&bench.check(ReadData::Yes), "without its file");
}

#[test]
fn an_image_that_was_exchanged_is_not_opened_and_is_found_by_a_check() {
    let mut bench = Bench::new();
    bench.file(Ino::ROOT, "file", b"old");
    let old = keep(&bench, "old");
    bench.file(Ino::ROOT, "other", b"new");
    let new = keep(&bench, "new");
    bench.close();
    let path = |n| bench.path(&format!("images/00000{n}.db"));
    fs::copy(path(old.0), path(new.0)).unwrap();
    bench.open(Access::ReadWrite);
    let opened = bench.v().with_image(new, |v| content(v, "other"));
    assert_eq!(opened, Err(FsError::Database));
    let report = bench.check(ReadData::No);
    assert_eq!(report.findings.len(), 1, "{report}");
    assert_eq!(
        report.findings[0].kind,
        keyfold_fs::check::FindingKind::Image
    );
    bench.v().drop_image(new).unwrap();
    assert_intact(&bench.check(ReadData::Yes), "the other one is whole");
}
