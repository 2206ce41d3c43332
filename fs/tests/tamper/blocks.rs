//! Attacks 13, 14 and 18: on the ciphertext of files.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use keyfold_fs::events::EventKind;
use keyfold_fs::vault::Access;
use keyfold_fs::vfs::{Ino, Vfs};

use crate::site::{READING, Site, WRITING, at, file, pattern, write};
use crate::tree::{self, Tree, assert_committed_or_eio};

const BLOCK: usize = 4096;

/// A vault whose one segment holds two files of eight blocks, the first of them written twice.
struct Ground {
    site: Site,
    committed: Tree,
    segment: PathBuf,
    whole: Vec<u8>,
    first: Ino,
}

impl Ground {
    fn new() -> Self {
        let site = Site::empty();
        let volume = site.open(WRITING).unwrap();
        let first = file(&volume, Ino::ROOT, "first", &pattern(8 * BLOCK, 1));
        volume.sync().unwrap();
        write(&volume, first, &pattern(8 * BLOCK, 2));
        volume.sync().unwrap();
        file(&volume, Ino::ROOT, "second", &pattern(8 * BLOCK, 3));
        volume.close().unwrap();
        drop(volume);
        let committed = site.tree();
        let segment = site.vault().join("segments/000001");
        let whole = fs::read(&segment).unwrap();
        assert_eq!(whole.len(), 24 * BLOCK, "three times eight blocks");
        Self {
            site,
            committed,
            segment,
            whole,
            first,
        }
    }

    /// Slots of the first file as it is now.
    const LIVE: std::ops::Range<usize> = 8..16;

    fn slot(&self, n: usize) -> &[u8] {
        &self.whole[n * BLOCK..(n + 1) * BLOCK]
    }

    /// Reads after `change`, and puts everything back. Returns how many files could not be read.
    fn after(&self, when: &str, change: impl FnOnce(&mut Vec<u8>)) -> usize {
        let mut bytes = self.whole.clone();
        change(&mut bytes);
        fs::write(&self.segment, &bytes).unwrap();
        let volume = self.site.open(READING).unwrap();
        let failed = assert_committed_or_eio(&tree::read(&volume), &self.committed, when);
        let events = volume.status().events;
        assert_eq!(failed > 0, !events.is_empty(), "{when}: {events:?}");
        fs::write(&self.segment, &self.whole).unwrap();
        failed
    }
}

#[test]
fn a_block_flipped_zeroed_swapped_doubled_or_older_is_never_read() {
    let ground = Ground::new();
    let one = Ground::LIVE.start;
    let put = |bytes: &mut Vec<u8>, n: usize, block: &[u8]| {
        bytes[n * BLOCK..(n + 1) * BLOCK].copy_from_slice(block);
    };
    for n in Ground::LIVE {
        let failed = ground.after("flipped", |b| b[n * BLOCK + 17 * n] ^= 4);
        assert_eq!(failed, 1, "slot {n}");
    }
    assert_eq!(ground.after("zeroed", |b| put(b, one, &[0; BLOCK])), 1);
    let swapped = ground.after("swapped", |b| {
        put(b, one, ground.slot(one + 1));
        put(b, one + 1, ground.slot(one));
    });
    assert_eq!(swapped, 1);
    let doubled = ground.after("doubled", |b| put(b, one + 1, ground.slot(one)));
    assert_eq!(doubled, 1);
    let older = ground.after("rolled back", |b| put(b, one, ground.slot(0)));
    assert_eq!(older, 1);
    let all_older = ground.after("the file rolled back", |b| {
        b.copy_within(..8 * BLOCK, 8 * BLOCK);
    });
    assert_eq!(all_older, 1);
    let exchanged = ground.after("files exchanged", |b| {
        let (first, second) = b[8 * BLOCK..].split_at_mut(8 * BLOCK);
        first.swap_with_slice(second);
    });
    assert_eq!(exchanged, 2);
}

#[test]
fn a_punched_block_is_never_read_as_zeros() {
    let ground = Ground::new();
    let segment = OpenOptions::new()
        .write(true)
        .open(&ground.segment)
        .unwrap();
    let flags = nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
        | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let from = (Ground::LIVE.start * BLOCK) as i64;
    nix::fcntl::fallocate(&segment, flags, from, BLOCK as i64).unwrap();
    let volume = ground.site.open(READING).unwrap();
    let failed = assert_committed_or_eio(&tree::read(&volume), &ground.committed, "punched");
    assert_eq!(failed, 1);
    let event = &volume.status().events[0];
    assert_eq!(event.kind, EventKind::Block(ground.first.0));
}

#[test]
fn a_segment_cut_anywhere_or_with_a_tail_is_read_as_committed_or_not_at_all() {
    let ground = Ground::new();
    let whole = ground.whole.len();
    let cuts = (0..whole)
        .step_by(1531)
        .chain([whole - 1, whole - BLOCK, 0, 1]);
    for length in cuts {
        let failed = ground.after("cut", |b| b.truncate(length));
        assert!(failed > 0, "cut at {length}");
    }
    for tail in [1, BLOCK, 10 * BLOCK] {
        let stale = ground.whole[..tail].to_vec();
        let failed = ground.after("with a tail", |b| b.extend_from_slice(&stale));
        assert_eq!(failed, 0, "a tail of {tail} bytes");
    }
}

#[test]
fn a_cut_segment_is_refused_for_writing() {
    let ground = Ground::new();
    for length in [0, 100, ground.whole.len() - 1] {
        fs::write(&ground.segment, &ground.whole[..length]).unwrap();
        let refused = ground.site.open(WRITING).map(drop).unwrap_err();
        assert!(refused.is_damage(), "cut at {length}: {refused}");
    }
    fs::write(&ground.segment, &ground.whole).unwrap();
    assert_eq!(ground.site.tree(), ground.committed);
}

#[test]
fn the_same_content_written_again_and_again_is_never_the_same_on_disk() {
    let site = Site::empty();
    let volume = site.open(WRITING).unwrap();
    let same = vec![0x55; 4 * BLOCK];
    let ino = file(&volume, Ino::ROOT, "file", &same);
    for n in 0..6 {
        volume.sync().unwrap();
        write(&volume, ino, &same);
        file(&volume, Ino::ROOT, &format!("copy-{n}"), &same);
    }
    volume.close().unwrap();
    drop(volume);
    // A vault that was copied and used on both sides repeats no tweak either.
    site.keep("copy");
    let mut cells = BTreeSet::new();
    let mut count = 0;
    for round in 0..2 {
        let volume = site.open(WRITING).unwrap();
        write(&volume, ino, &same);
        volume.close().unwrap();
        drop(volume);
        for segment in fs::read_dir(site.vault().join("segments")).unwrap() {
            let path = segment.unwrap().path();
            let newest = path.file_name().unwrap().to_str().unwrap() > "000001";
            if round == 1 && !newest {
                continue;
            }
            let bytes = fs::read(path).unwrap();
            for cell in bytes.as_chunks::<16>().0 {
                count += 1;
                assert!(cells.insert(*cell), "a cell of 16 bytes is repeated");
            }
        }
        fs::remove_dir_all(site.pins()).unwrap();
        site.bring_back("copy");
    }
    assert!(count > 50 * 256, "{count} cells");
}

#[test]
fn a_damaged_file_keeps_nobody_from_the_others_nor_from_writing() {
    let ground = Ground::new();
    let segment = OpenOptions::new()
        .write(true)
        .open(&ground.segment)
        .unwrap();
    segment
        .write_all_at(&[9; 64], (Ground::LIVE.start * BLOCK) as u64)
        .unwrap();
    let volume = ground.site.open(WRITING).unwrap();
    let second = volume.lookup(at(Ino::ROOT, "second")).unwrap().attr.ino;
    write(&volume, second, &pattern(100, 9));
    file(&volume, Ino::ROOT, "third", b"new");
    volume.sync().unwrap();
    assert_eq!(volume.status().security_events, 0, "nothing was read yet");
    // Writing part of a block reads the rest of it.
    let handle = volume.open(ground.first, crate::site::RW).unwrap();
    let range = keyfold_fs::vfs::FileRange {
        ino: ground.first,
        handle,
        offset: 10,
    };
    assert!(volume.write(range, b"x").is_err());
    volume.release(ground.first, handle);
    assert_eq!(
        volume.status().events[0].kind,
        EventKind::Block(ground.first.0)
    );
    volume.close().unwrap();
    assert_eq!(volume.vault().access(), Access::ReadWrite);
}
