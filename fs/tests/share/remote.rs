//! Blocks that lie in blobs only are fetched, kept, and verified.

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::{Allocate, FileRange, Ino, SetAttr, Vfs};

use crate::apply::pair;
use crate::partner::Partner;
use crate::site::{RO, RW, Site, pattern};
use crate::trees::{assert_same, read};

const SIZE: usize = 400_000;

/// A file that one has, and the other only knows of.
fn known() -> (Site, Site, Partner, Ino) {
    let (a, b, mut partner) = pair();
    partner.tell_tags = false;
    a.file(a.root, "file", &pattern(SIZE, 3));
    partner.push(&a).apply_now(&b, 1);
    a.marks();
    let there = b.v().view_entry(b.root, b"file").unwrap().unwrap().ino;
    (a, b, partner, there)
}

fn read_at(site: &Site, ino: Ino, offset: u64, len: usize) -> Result<Vec<u8>, FsError> {
    let handle = site.open(ino, RO);
    let mut buf = vec![0; len];
    let range = FileRange {
        ino,
        handle,
        offset,
    };
    let read = site.v().read(range, &mut buf);
    site.close(ino, handle);
    read.map(|_| buf)
}

#[test]
fn what_was_fetched_is_here_from_then_on() {
    let (a, mut b, partner, there) = known();
    assert_eq!(
        read_at(&b, there, 10_000, 100).unwrap(),
        pattern(SIZE, 3)[10_000..10_100]
    );
    assert_eq!(*partner.store.fetched.lock(), 1);
    assert_same(&a, &b);
    *partner.store.down.lock() = true;
    assert_eq!(read(&b, there), pattern(SIZE, 3));
    assert!(b.marks().is_empty(), "fetching is no change");
    b.check();
    b.remount();
    assert_eq!(read(&b, there), pattern(SIZE, 3));
    b.check();
}

#[test]
fn without_whom_to_ask_reading_fails_and_names_work() {
    let (_a, mut b, partner, there) = known();
    *partner.store.down.lock() = true;
    let unreachable = Err(FsError::Unreachable);
    assert_eq!(read_at(&b, there, 0, 100), unreachable);
    assert_eq!(b.v().getattr(there).unwrap().size, SIZE as u64);
    b.remount();
    assert_eq!(read_at(&b, there, 0, 100), unreachable, "nobody is asked");
    let handle = b.open(there, RW);
    assert_eq!(
        b.write(there, handle, 5, b"part"),
        Err(FsError::Unreachable)
    );
    let whole = pattern(4096, 9);
    b.write(there, handle, 8192, &whole).unwrap();
    b.close(there, handle);
    assert_eq!(read_at(&b, there, 8192, 4096).unwrap(), whole);
    b.check();
}

#[test]
fn changing_part_of_a_block_fetches_it_first() {
    let (a, b, mut partner, there) = known();
    let mut expected = pattern(SIZE, 3);
    b.overwrite(there, 100, b"in the first block");
    expected[100..118].copy_from_slice(b"in the first block");
    let size = 200_001;
    let cut = SetAttr {
        size: Some(size as u64),
        ..SetAttr::default()
    };
    b.v().setattr(there, None, &cut).unwrap();
    expected.truncate(size);
    let handle = b.open(there, RW);
    let range = FileRange {
        ino: there,
        handle,
        offset: 50_000,
    };
    b.v().fallocate(range, 20_000, Allocate::PunchHole).unwrap();
    expected[50_000..70_000].fill(0);
    b.close(there, handle);
    assert_eq!(*partner.store.fetched.lock(), 4, "an edge each");
    assert_eq!(read(&b, there), expected);
    b.check();
    partner.push(&b).apply_now(&a, 2);
    assert_same(&a, &b);
    a.check();
}

#[test]
fn what_does_not_verify_is_not_kept() {
    let (_a, b, partner, there) = known();
    *partner.store.lies.lock() = true;
    assert_eq!(read_at(&b, there, 0, 100), Err(FsError::Tampered(there)));
    assert!(b.v().status().security_events > 0);
    *partner.store.lies.lock() = false;
    assert_eq!(read(&b, there), pattern(SIZE, 3));
    b.check();
}

#[test]
fn a_snapshot_of_remote_blocks_says_that_they_are_not_here() {
    let (_a, b, partner, there) = known();
    let kind = keyfold_fs::layout::ImageKind::Snapshot;
    let image = b.v().keep_image(kind, Some("before")).unwrap();
    assert_eq!(read(&b, there), pattern(SIZE, 3));
    let shown = b.v().with_image(image.id, |image| {
        let handle = image.open(there, RO).unwrap();
        let range = FileRange {
            ino: there,
            handle,
            offset: 0,
        };
        let read = image.read(range, &mut [0; 10]);
        image.release(there, handle);
        read
    });
    assert_eq!(shown.unwrap(), Err(FsError::Unreachable));
    assert!(*partner.store.fetched.lock() > 0);
    b.check();
}

#[test]
fn an_ended_share_leaves_what_was_fetched() {
    let (_a, mut b, _partner, there) = known();
    assert_eq!(
        read_at(&b, there, 0, 8192).unwrap(),
        pattern(SIZE, 3)[..8192]
    );
    b.v().end_share(b.share).unwrap();
    b.check();
    b.remount();
    assert_eq!(
        read_at(&b, there, 0, 8192).unwrap(),
        pattern(SIZE, 3)[..8192]
    );
    assert_eq!(read_at(&b, there, 8192, 10), Err(FsError::Unreachable));
    let again = b
        .v()
        .begin_share(keyfold_fs::share::ShareId([9; 32]), b.root, b"");
    assert_ne!(
        again.unwrap(),
        b.share,
        "its number still means the ended one"
    );
    b.check();
}

#[test]
fn a_share_that_has_to_be_here_does_not_end_before_it_is() {
    let (a, mut b, _partner, there) = known();
    let head = |site: &Site| read_at(site, there, 0, 4096).unwrap();
    head(&b);
    let ended = b.v().end_share_that_is_here(b.share);
    assert_eq!(ended, Err(FsError::Unreachable));
    assert!(b.member(there).is_some());
    assert_same(&a, &b);
    b.v().end_share_that_is_here(b.share).unwrap();
    assert!(b.v().shares().unwrap().is_empty());
    b.v().set_fetch(None);
    b.v().sync().unwrap();
    b.crash();
    assert_eq!(read(&b, there), pattern(SIZE, 3));
    b.check();
}
