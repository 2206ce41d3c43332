//! Reading regular files: resolving blocks, reading them in runs, verifying and decrypting.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{FsError, FsResult};
use crate::events::EventKind;
use crate::layout::{
    BLOCK_SIZE, BlockEntry, BlockIndex, BlockRow, ContentRow, Leaf, LeafIndex, MapId, Place, Slot,
};
use crate::meta::Key;
use crate::vfs::FileRange;
use crate::volume::Volume;
use crate::volume::content::{Content, Leaves, Source};
use crate::volume::node::{Node, NodeLeaves};

const BLOCK: u64 = BLOCK_SIZE as u64;
/// A read of so many bytes (64 KiB) is of a program that reads on, or of the kernel for it.
const STREAM_READ: usize = 64 << 10;
/// Less than so many blocks (1 MiB) of a file are not read ahead.
const STREAM_BLOCKS: u64 = 256;

impl Volume {
    pub(in crate::volume) fn do_read(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize> {
        let file = self.handles.file(at.handle)?;
        if !file.mode.read && !file.mode.write {
            return Err(FsError::BadHandle);
        }
        self.read_node(&file.node, (at.offset, buf), Way::Bulk)
    }

    /// Reads like [`crate::vfs::Vfs::read`], decrypting by an implementation of the cipher that
    /// shares nothing with the one that sealed.
    ///
    /// # Errors
    /// Those of [`crate::vfs::Vfs::read`].
    pub fn read_reference(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize> {
        let file = self.handles.file(at.handle)?;
        self.noted(self.read_node(&file.node, (at.offset, buf), Way::Reference))
    }

    fn read_node(
        &self,
        node: &Arc<Node>,
        (offset, buf): (u64, &mut [u8]),
        way: Way,
    ) -> FsResult<usize> {
        loop {
            match self.read_once(node, (offset, buf), way)? {
                Once::Read(count) => return Ok(count),
                Once::Moved => {}
                Once::Remote(blocks) => self.fetch(node, &blocks)?,
            }
        }
    }

    fn read_once(&self, node: &Node, (offset, buf): (u64, &mut [u8]), way: Way) -> FsResult<Once> {
        let _reading = self.readers.read();
        let mut sealed = Vec::new();
        let count = {
            let content = node.content.read();
            let left = content.head.size.saturating_sub(offset);
            let count = left.min(buf.len() as u64) as usize;
            if count > 0 {
                let leaves = self.leaves(node.ino);
                resolve(&content, &leaves, (offset, &mut buf[..count]), &mut sealed)?;
            }
            count
        };
        let is_remote = |(_, entry): &Located| matches!(entry.place, Place::Remote(_));
        if sealed.iter().any(is_remote) {
            sealed.retain(is_remote);
            return Ok(Once::Remote(sealed));
        }
        self.read_ahead(node, (offset, count), &sealed);
        for run in sealed.chunk_by(follows) {
            if self.read_run(node, run, (offset, buf), way)? == Found::Moved {
                return Ok(Once::Moved);
            }
        }
        // Blocks end beyond the file; the padding is no part of it.
        Ok(Once::Read(count))
    }

    /// Asks for what a program that reads from end to end wants now and next.
    fn read_ahead(&self, node: &Node, (offset, count): (u64, usize), sealed: &[Located]) {
        let end = offset + count as u64;
        let expected = node.next_read.swap(end, Ordering::Relaxed);
        let Some((first, entry)) = sealed.first() else {
            return;
        };
        let Place::Segment(slot) = entry.place else {
            return;
        };
        // Requests that are answered side by side come out of their order.
        if count < STREAM_READ || !(expected == offset || self.ahead.knows(slot)) {
            return;
        }
        let size = node.content.read().head.size;
        let left = size.saturating_sub(first.offset()).div_ceil(BLOCK);
        if left >= STREAM_BLOCKS {
            self.ahead.want(slot, left.min(u32::MAX.into()) as u32);
        }
    }

    /// Reads a run of neighbouring blocks into their part of `buf`, which starts at `offset`.
    fn read_run(
        &self,
        node: &Node,
        run: &[Located],
        (offset, buf): (u64, &mut [u8]),
        way: Way,
    ) -> FsResult<Found> {
        let start = run[0].0.offset();
        let length = run.len() * BLOCK_SIZE;
        if start >= offset && (start - offset) as usize + length <= buf.len() {
            let from = (start - offset) as usize;
            return self.read_sealed(node, run, &mut buf[from..from + length], way);
        }
        let mut data = vec![0; length];
        if self.read_sealed(node, run, &mut data, way)? == Found::Moved {
            return Ok(Found::Moved);
        }
        let skip = offset.saturating_sub(start) as usize;
        let into = start.saturating_sub(offset) as usize;
        let count = (length - skip).min(buf.len() - into);
        buf[into..into + count].copy_from_slice(&data[skip..skip + count]);
        Ok(Found::Here)
    }

    /// Reads, verifies and decrypts neighbouring blocks. The caller holds `readers`, which keeps
    /// slots of segments; a block in the database may be replaced by a commit all the same.
    pub(super) fn read_sealed(
        &self,
        node: &Node,
        run: &[Located],
        data: &mut [u8],
        way: Way,
    ) -> FsResult<Found> {
        let Err(error) = self.open_sealed(node, run, data, way) else {
            return Ok(Found::Here);
        };
        let leaves = self.leaves(node.ino);
        for (block, entry) in run {
            let now = node.content.read().source(*block, &leaves)?;
            if !matches!(now, Source::Sealed(e) if e == *entry) {
                return Ok(Found::Moved);
            }
        }
        if matches!(error, FsError::Tampered(_)) {
            self.events.note(EventKind::block(node.ino));
        }
        Err(error)
    }

    fn open_sealed(&self, node: &Node, run: &[Located], data: &mut [u8], way: Way) -> FsResult<()> {
        let tampered = FsError::Tampered(node.ino);
        match run[0].1.place {
            Place::Segment(slot) => return self.open_slots(node, run, (slot, data), way),
            Place::Database(id) => {
                let row = self
                    .meta
                    .get(&Key::block(id), BlockRow::decode)?
                    .ok_or(tampered)?;
                data.copy_from_slice(&row.ciphertext);
            }
            Place::Remote(_) => return Err(FsError::Unreachable),
            Place::Hole => return Err(FsError::Inconsistent(node.ino)),
        }
        self.open_read(node, run, data, way)
    }

    /// Reads and opens neighbouring slots, as far as they were read ahead from memory.
    fn open_slots(
        &self,
        node: &Node,
        mut run: &[Located],
        (mut slot, mut data): (Slot, &mut [u8]),
        way: Way,
    ) -> FsResult<()> {
        while !run.is_empty() {
            let (slots, ahead) = self.ahead.take(slot, run.len() as u32);
            let (these, later) = run.split_at(slots as usize);
            let (into, rest) = data.split_at_mut(these.len() * BLOCK_SIZE);
            let opened = ahead.is_some_and(|ahead| {
                into.copy_from_slice(ahead.bytes());
                self.open_read(node, these, into, way).is_ok()
            });
            if !opened {
                let read = if into.len() >= STREAM_READ {
                    self.segments.read_alone(slot, into)
                } else {
                    self.segments.read(slot, into)
                };
                read.map_err(|e| match e.kind() {
                    std::io::ErrorKind::UnexpectedEof => FsError::Tampered(node.ino),
                    _ => e.into(),
                })?;
                self.open_read(node, these, into, way)?;
            }
            slot.index += slots;
            (run, data) = (later, rest);
        }
        Ok(())
    }

    /// Verifies and decrypts neighbouring blocks that were read.
    fn open_read(&self, node: &Node, run: &[Located], data: &mut [u8], way: Way) -> FsResult<()> {
        let tampered = FsError::Tampered(node.ino);
        let cipher = node.cipher(&self.meta, run[0].1.key)?;
        match way {
            Way::Bulk => {
                let items: Vec<_> = run.iter().map(|(b, entry)| (b.0, entry.sealed)).collect();
                cipher
                    .open_run(&node.file_id, &items, data)
                    .map_err(|_| tampered)
            }
            Way::Reference => {
                let (blocks, _) = data.as_chunks_mut::<BLOCK_SIZE>();
                for ((block, entry), data) in run.iter().zip(blocks) {
                    cipher
                        .open_block_reference(&node.file_id, block.0, &entry.sealed, data)
                        .map_err(|_| tampered)?;
                }
                Ok(())
            }
        }
    }
}

/// Which implementation of the cipher decrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The fast one, which seals too.
    Bulk,
    /// An independent one.
    Reference,
}

/// What came of reading once.
enum Once {
    /// So many bytes.
    Read(usize),
    /// A block was put elsewhere meanwhile.
    Moved,
    /// These blocks are to be fetched first.
    Remote(Vec<Located>),
}

/// Whether a block was where its entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It was.
    Here,
    /// Its entry has changed since.
    Moved,
}

/// A sealed block of a file.
pub(in crate::volume) type Located = (BlockIndex, BlockEntry);

/// Whether `b` comes right after `a` in the file and on disk, under the same key.
fn follows(a: &Located, b: &Located) -> bool {
    let neighbours = match (a.1.place, b.1.place) {
        (Place::Segment(a), Place::Segment(b)) => a.segment == b.segment && a.index + 1 == b.index,
        _ => false,
    };
    neighbours && a.0.0 + 1 == b.0.0 && a.1.key == b.1.key
}

/// Fills `buf` from holes and memory, and lists what has to be read.
fn resolve(
    content: &Content,
    leaves: &NodeLeaves<'_>,
    (offset, buf): (u64, &mut [u8]),
    sealed: &mut Vec<Located>,
) -> FsResult<()> {
    let end = offset + buf.len() as u64;
    let leaves = &LastLeaf::of(leaves);
    let mut block = BlockIndex::of(offset);
    while block.offset() < end {
        let skip = offset.saturating_sub(block.offset()) as usize;
        let into = block.offset().saturating_sub(offset) as usize;
        let count = (BLOCK_SIZE - skip).min(buf.len() - into);
        let part = &mut buf[into..into + count];
        match content.source(block, leaves)? {
            Source::Hole => part.fill(0),
            Source::Page(page) => part.copy_from_slice(&page[skip..skip + count]),
            Source::Sealed(entry) => sealed.push((block, entry)),
        }
        block.0 += 1;
    }
    Ok(())
}

/// Looks a leaf up once for all of its blocks. Only while the content lock is held: a commit may
/// replace a leaf.
struct LastLeaf<'a> {
    leaves: &'a NodeLeaves<'a>,
    last: RefCell<Option<(MapId, LeafIndex, Arc<Leaf>)>>,
}

impl<'a> LastLeaf<'a> {
    fn of(leaves: &'a NodeLeaves<'a>) -> Self {
        Self {
            leaves,
            last: RefCell::default(),
        }
    }
}

impl Leaves for LastLeaf<'_> {
    fn leaf(&self, base: &ContentRow, leaf: LeafIndex) -> FsResult<Arc<Leaf>> {
        let mut last = self.last.borrow_mut();
        match &*last {
            Some((map, index, found)) if (*map, *index) == (base.map, leaf) => {
                Ok(Arc::clone(found))
            }
            _ => {
                let found = self.leaves.leaf(base, leaf)?;
                *last = Some((base.map, leaf, Arc::clone(&found)));
                Ok(found)
            }
        }
    }

    fn next_leaf(&self, base: &ContentRow, from: LeafIndex) -> FsResult<Option<LeafIndex>> {
        self.leaves.next_leaf(base, from)
    }
}
