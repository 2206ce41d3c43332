//! Blocks that the others have are given up, and only those.

use std::sync::{Arc, Weak};

use keyfold_fs::layout::{BlobId, ShareNumber};
use keyfold_fs::share::{
    Applied, Blob, BlockChange, Change, Changes, Fetch, Fetched, LeafChange, Presence, Spare,
    SpareBlock, Unfetched, Wanted,
};
use keyfold_fs::vfs::{Ino, Vfs};
use keyfold_fs::volume::Volume;
use parking_lot::Mutex;

use crate::apply::pair;
use crate::partner::{Partner, Store};
use crate::site::{RW, Site, pattern};
use crate::trees::{assert_same, read};

const SIZE: usize = 3 << 20;
const BLOCKS: u64 = SIZE as u64 / 4096;

/// A file that was sent, and where the others have it.
fn sent() -> (Site, Site, Partner, Ino, Spare) {
    let (a, b, mut partner) = pair();
    let file = a.file(a.root, "file", &pattern(SIZE, 3));
    let sent = partner.push(&a);
    sent.apply_now(&b, 1);
    partner.confirm(&a, &sent, 1);
    let spare = partner.spare(a.member(file).unwrap());
    (a, b, partner, file, spare)
}

fn here(site: &Site, ino: Ino) -> u64 {
    let Presence { blocks, remote } = site.v().presence(ino).unwrap();
    assert_eq!(blocks, BLOCKS);
    blocks - remote
}

#[test]
fn what_the_others_have_is_given_up_and_comes_back_when_it_is_read() {
    let (mut a, b, partner, file, spare) = sent();
    assert_eq!(here(&a, file), BLOCKS);
    a.remount();
    let before = a.segment_bytes();
    assert!(before >= SIZE as u64);
    assert_eq!(a.v().free_blocks(a.share, &spare).unwrap(), BLOCKS);
    assert_eq!(here(&a, file), 0);
    assert!(a.marks().is_empty(), "giving up is no change");
    a.v().sync().unwrap();
    a.check();
    a.remount();
    assert_eq!(here(&a, file), 0);
    let after = a.segment_bytes();
    assert!(after < before / 4, "{before} and {after}");
    a.v().set_fetch(Some(partner.store.clone()));
    assert_eq!(read(&a, file), pattern(SIZE, 3));
    assert_eq!(here(&a, file), BLOCKS);
    assert_same(&a, &b);
    a.check();
}

#[test]
fn what_was_not_sent_or_is_another_is_not_given_up() {
    let (a, _b, mut partner, file, spare) = sent();
    a.overwrite(file, 10_000, b"changed and not sent");
    assert_eq!(a.v().free_blocks(a.share, &spare).unwrap(), 0);
    let sent = partner.push(&a);
    partner.confirm(&a, &sent, 2);
    // What was said before of the changed block is not so any more.
    assert_eq!(a.v().free_blocks(a.share, &spare).unwrap(), BLOCKS - 1);
    assert_eq!(here(&a, file), 1);
    let now = partner.spare(spare.node);
    assert_eq!(a.v().free_blocks(a.share, &now).unwrap(), 1);
    let mut expected = pattern(SIZE, 3);
    expected[10_000..10_020].copy_from_slice(b"changed and not sent");
    assert_eq!(read(&a, file), expected);
    a.check();
}

#[test]
fn a_file_that_is_open_for_writing_is_left_alone() {
    let (a, _b, _partner, file, spare) = sent();
    let handle = a.open(file, RW);
    assert_eq!(a.v().free_blocks(a.share, &spare).unwrap(), 0);
    a.close(file, handle);
    assert_eq!(a.v().free_blocks(a.share, &spare).unwrap(), BLOCKS);
}

#[test]
fn giving_up_goes_with_a_commit_and_not_without() {
    let (mut a, _b, partner, file, spare) = sent();
    a.v().sync().unwrap();
    assert_eq!(a.v().free_blocks(a.share, &spare).unwrap(), BLOCKS);
    a.crash();
    a.v().set_fetch(Some(partner.store.clone()));
    assert_eq!(here(&a, file), BLOCKS);
    assert_eq!(a.v().free_blocks(a.share, &spare).unwrap(), BLOCKS);
    a.v().sync().unwrap();
    a.crash();
    a.v().set_fetch(Some(partner.store.clone()));
    assert_eq!(here(&a, file), 0);
    assert_eq!(read(&a, file), pattern(SIZE, 3));
    a.check();
}

#[test]
fn a_file_is_brought_here_as_a_whole_or_as_far_as_it_is_wanted() {
    let (_a, b, partner, ..) = sent();
    let file = b.v().view_entry(b.root, b"file").unwrap().unwrap().ino;
    assert_eq!(here(&b, file), 0);
    let mut asked = 0;
    b.v()
        .fetch_file(file, &mut |_| {
            asked += 1;
            false
        })
        .unwrap();
    assert_eq!((here(&b, file), asked), (0, 1));
    b.v().fetch_file(file, &mut |_| true).unwrap();
    assert_eq!(here(&b, file), BLOCKS);
    assert_eq!(*partner.store.fetched.lock(), BLOCKS);
    *partner.store.down.lock() = true;
    assert_eq!(read(&b, file), pattern(SIZE, 3));
    b.check();
}

/// The same blocks in blobs of other names, which is all that there is of them from now on.
fn elsewhere(partner: &Partner, spare: &Spare) -> Changes {
    let other = |blob: BlobId| BlobId(blob.0.map(|byte| !byte));
    let mut store = partner.store.blobs.lock();
    *store = std::mem::take(&mut *store)
        .into_iter()
        .map(|(blob, blocks)| (other(blob), blocks))
        .collect();
    let blobs = spare.blobs.iter().map(|blob| Blob {
        id: other(blob.id),
        ..blob.clone()
    });
    let leaf = |one: &SpareBlock| LeafChange {
        index: (one.block / 64) as u32,
        blocks: vec![BlockChange {
            position: (one.block % 64) as u8,
            blob: other(one.blob),
            slot: one.slot,
            sealed: None,
        }],
        holes: 0,
    };
    Changes {
        blobs: blobs.collect(),
        list: vec![Change::Move {
            node: spare.node,
            leaves: spare.blocks.iter().map(leaf).collect(),
        }],
        ..Changes::default()
    }
}

#[test]
fn blocks_that_were_put_elsewhere_are_fetched_from_there_and_what_is_here_stays() {
    let (_a, mut b, partner, _, spare) = sent();
    let file = b.v().view_entry(b.root, b"file").unwrap().unwrap().ino;
    b.overwrite(file, 700 * 4096, &pattern(4096, 9));
    let marks = b.v().take_marks(b.share).unwrap();
    let handle = b.open(file, RW);
    let changes = elsewhere(&partner, &spare);
    let applied = b.v().apply_to_share(b.share, &changes).unwrap();
    assert_eq!(applied, Applied::Done(Vec::new()));
    b.close(file, handle);
    assert_eq!(here(&b, file), 1);
    assert!(!marks.is_empty() && b.v().take_marks(b.share).unwrap() == marks);
    b.v().sync().unwrap();
    b.crash();
    b.v().set_fetch(Some(partner.store.clone()));
    let mut expected = pattern(SIZE, 3);
    expected[700 * 4096..701 * 4096].copy_from_slice(&pattern(4096, 9));
    assert_eq!(read(&b, file), expected);
    b.check();
}

/// Is asked for blocks in the moment in which others put them elsewhere.
struct JustMoved {
    volume: Weak<Volume>,
    share: ShareNumber,
    changes: Mutex<Option<Changes>>,
    store: Arc<Store>,
}

impl Fetch for JustMoved {
    fn fetch(&self, wanted: &[Wanted]) -> Vec<Result<Vec<Fetched>, Unfetched>> {
        if let Some(changes) = self.changes.lock().take() {
            let volume = self.volume.upgrade().unwrap();
            volume.apply_to_share(self.share, &changes).unwrap();
        }
        self.store.fetch(wanted)
    }
}

#[test]
fn who_reads_while_blocks_are_put_elsewhere_gets_them_from_there() {
    for whole in [false, true] {
        let (_a, b, partner, _, spare) = sent();
        let file = b.v().view_entry(b.root, b"file").unwrap().unwrap().ino;
        let just_moved = Arc::new(JustMoved {
            volume: Arc::downgrade(b.v()),
            share: b.share,
            changes: Mutex::new(Some(elsewhere(&partner, &spare))),
            store: partner.store.clone(),
        });
        b.v().set_fetch(Some(just_moved));
        if whole {
            b.v().fetch_file(file, &mut |_| true).unwrap();
            assert_eq!(here(&b, file), BLOCKS);
        }
        assert_eq!(read(&b, file), pattern(SIZE, 3));
        b.check();
    }
}
