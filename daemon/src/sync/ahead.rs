//! Reading on: blocks that a program that reads from end to end will want are asked for before it does,
//! in larger pieces than it reads. Small files that it reads one after the other are read like one: those
//! of a directory lie beside one another in a pack.
//!
//! What is brought ahead is ciphertext, kept in memory until it is wanted, and goes the way of all that is
//! brought then.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use keyfold_crypto::LEAF_BLOCKS;
use keyfold_protocol::ids::{BlobId, NodeId};
use keyfold_protocol::tree::FileContent;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::take::place;

/// Blocks that are asked for ahead of a reader: at first, and at most (4 MiB), also of who reads small files
/// (1 MiB).
const FIRST: u64 = 64;
const MOST: u64 = 1024;
const MOST_BESIDE: u64 = 256;
/// Blocks that a part may lie before or behind where the reader is (2 MiB): the kernel asks for several
/// at once, and they are served in any order. What has fewer blocks is none of these (128 KiB), and a file
/// with fewer a small one.
const APART: u64 = 512;
const PART: u64 = 32;
/// Blocks of a piece, at most (1 MiB).
const PIECE: u32 = 256;
/// Blocks in memory (16 MiB).
const KEPT: u32 = 4096;
/// Files and packs of which it is known where their readers are.
const FILES: usize = 256;

/// Bytes that several look at.
pub(super) type Bytes = Arc<Vec<u8>>;

/// Neighbouring blocks of a pack, once they are there.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) blob: BlobId,
    pub(super) slots: Range<u32>,
    pub(super) bytes: Arc<OnceCell<Bytes>>,
}

/// What is read from end to end: a file, or of a pack one small file after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    File(NodeId),
    Pack(BlobId),
}

/// Where a reader goes on, and how much is asked for ahead of him.
#[derive(Clone, Copy)]
struct Reader {
    /// The file that he read last.
    file: NodeId,
    next: u64,
    ahead: u64,
    /// What was asked for ends here.
    asked: u64,
}

/// What was asked for ahead of readers.
#[derive(Default)]
pub(super) struct Ahead {
    readers: Mutex<BTreeMap<Source, Reader>>,
    pieces: Mutex<VecDeque<Piece>>,
}

impl Ahead {
    /// The piece that a block lies in, if it was asked for; else where the next one begins.
    pub(super) fn find(&self, blob: BlobId, slot: u32) -> Result<Piece, u32> {
        let pieces = self.pieces.lock();
        let of_blob = || pieces.iter().filter(|piece| piece.blob == blob);
        let later = of_blob().map(|piece| piece.slots.start);
        let later = later.filter(|start| *start > slot).min();
        let found = of_blob().find(|piece| piece.slots.contains(&slot));
        found.cloned().ok_or(later.unwrap_or(u32::MAX))
    }

    /// Somebody read these blocks of a file. Returns what is to be asked for ahead of him.
    pub(super) fn read_on(
        &self,
        node: NodeId,
        content: &FileContent,
        read: Range<u64>,
    ) -> Vec<Piece> {
        let apart = if read.end - read.start < PART {
            0
        } else {
            APART
        };
        let due = self.follow((Source::File(node), node), read, (apart, MOST));
        let new = pieces(content, due);
        self.keep(&new);
        new
    }

    /// Somebody read a small file, which lies there in a pack of so many blocks. Returns what is to be
    /// asked for, which is nothing as long as he reads here and there.
    pub(super) fn read_beside(
        &self,
        node: NodeId,
        (blob, slots): (BlobId, Range<u32>),
        blocks_of_pack: u32,
    ) -> Vec<Piece> {
        let source = Source::Pack(blob);
        let last = self.readers.lock().get(&source).map(|reader| reader.file);
        if last == Some(node) {
            // Who reads parts of one small file need not want another.
            return Vec::new();
        }
        let read = u64::from(slots.start)..u64::from(slots.end);
        let due = self.follow((source, node), read, (PART, MOST_BESIDE));
        let end = due.end.min(u64::from(blocks_of_pack)) as u32;
        let starts = (due.start as u32..end).step_by(PIECE as usize);
        let piece = |start: u32| Piece {
            blob,
            slots: start..end.min(start + PIECE),
            bytes: Arc::default(),
        };
        let new: Vec<Piece> = starts.map(piece).collect();
        self.keep(&new);
        new
    }

    /// Somebody read these blocks of a file. Returns which blocks are to be asked for ahead of him, who may
    /// be so far `apart` from where he was.
    fn follow(
        &self,
        (source, file): (Source, NodeId),
        read: Range<u64>,
        (apart, most): (u64, u64),
    ) -> Range<u64> {
        let mut readers = self.readers.lock();
        if readers.len() >= FILES {
            readers.clear();
        }
        let known = readers.get(&source).copied();
        let begun = Reader {
            file,
            next: read.end,
            ahead: FIRST,
            asked: 0,
        };
        let mut reader = match (known, source) {
            (Some(known), _) if known.next.abs_diff(read.start) <= apart => {
                Reader { file, ..known }
            }
            // Whoever begins at the beginning of a file is likely to go on.
            (_, Source::File(_)) if read.start == 0 => begun,
            _ => {
                readers.insert(source, begun);
                return 0..0;
            }
        };
        reader.next = reader.next.max(read.end);
        let from = reader.asked.max(reader.next);
        let to = reader.next + reader.ahead;
        // Small pieces cost as many calls as none.
        let due = to >= from + reader.ahead / 2;
        if due {
            reader.ahead = (reader.ahead * 2).min(most);
            reader.asked = to;
        }
        readers.insert(source, reader);
        if due { from..to } else { 0..0 }
    }

    fn keep(&self, new: &[Piece]) {
        let mut pieces = self.pieces.lock();
        pieces.extend(new.iter().cloned());
        let length = |piece: &Piece| piece.slots.end - piece.slots.start;
        let mut kept: u32 = pieces.iter().map(length).sum();
        while kept > KEPT
            && let Some(oldest) = pieces.pop_front()
        {
            kept -= length(&oldest);
        }
    }
}

/// Where a file lies that is small, if all of it lies beside one another.
pub(super) fn small(content: &FileContent) -> Option<(BlobId, Range<u32>)> {
    let mut leaves = content.leaves.values();
    let (Some(leaf), None) = (leaves.next(), leaves.next()) else {
        return None;
    };
    let [piece] = leaf.pieces.as_slice() else {
        return None;
    };
    let blocks = piece.named.count_ones();
    let is_small = u64::from(blocks) < PART;
    is_small.then(|| (piece.blob, piece.slot..piece.slot + blocks))
}

/// Where these blocks of a file lie, in pieces.
fn pieces(content: &FileContent, blocks: Range<u64>) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for block in blocks {
        let (leaf, position) = (block / LEAF_BLOCKS as u64, block % LEAF_BLOCKS as u64);
        let Some((blob, slot)) = place(content.leaves.get(&leaf), position as u8) else {
            continue;
        };
        match pieces.last_mut() {
            Some(last)
                if (last.blob, last.slots.end) == (blob, slot)
                    && slot - last.slots.start < PIECE =>
            {
                last.slots.end += 1;
            }
            _ => pieces.push(Piece {
                blob,
                slots: slot..slot + 1,
                bytes: Arc::default(),
            }),
        }
    }
    pieces
}
