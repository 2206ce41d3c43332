//! Changing content: what write, truncate, punch and zero have in common.
//!
//! Blocks that are changed in part need their plaintext first. It is read before any lock is
//! taken, and the change starts over when the block has moved meanwhile.

use std::ops::Range;
use std::sync::Arc;

use crate::error::{FsError, FsResult};
use crate::layout::{BLOCK_SIZE, BlockEntry, BlockIndex, Place};
use crate::vfs::{FILE_MAX, Ino};
use crate::volume::Volume;
use crate::volume::content::{BlockKind, Content, Page, Source};
use crate::volume::memory::Pages;
use crate::volume::node::{Node, NodeLeaves};

use super::read::{Found, Way};

const BLOCK: u64 = BLOCK_SIZE as u64;

/// A change of pages: what the volume's accounts have to follow.
#[derive(Default)]
pub(super) struct Changed {
    /// Pages that became dirty.
    pub(super) added: u64,
    /// Dirty pages that are gone.
    pub(super) gone: u64,
}

/// Plaintext of the blocks at the edges of a change, as they are under the lock.
pub(super) struct Edges(Vec<(BlockIndex, Option<Page>)>);

impl Edges {
    /// The block's plaintext; `None` where it is a hole.
    pub(super) fn get(&self, block: BlockIndex) -> Option<&Page> {
        self.0
            .iter()
            .find(|(b, _)| *b == block)
            .and_then(|(_, p)| p.as_ref())
    }
}

/// A sealed block read ahead of a change.
struct Preloaded {
    block: BlockIndex,
    entry: BlockEntry,
    page: Page,
}

/// A change to make.
pub(super) struct Edit<'a> {
    pub(super) node: &'a Arc<Node>,
    /// Blocks that are changed in part.
    pub(super) edges: &'a [BlockIndex],
    /// Most pages that become dirty.
    pub(super) pages: u64,
}

/// What a change does when it finds the file not as it was planned for.
pub(super) enum Outcome<T> {
    /// It was made.
    Done(Changed, T),
    /// It has to be planned anew.
    Replan,
}

impl Volume {
    /// Makes a change under the content lock. `None` when it has to be planned anew.
    pub(super) fn edit<T>(
        &self,
        edit: &Edit<'_>,
        apply: impl FnOnce(&mut Content, &Edges, &NodeLeaves<'_>) -> FsResult<Outcome<T>>,
    ) -> FsResult<Option<T>> {
        let node = edit.node;
        let Some(preloaded) = self.preload(node, edit.edges)? else {
            return Ok(None);
        };
        self.wait_for_room()?;
        self.reserve(edit.pages)?;
        match self.edit_within_gate(edit, &preloaded, apply) {
            Ok(Outcome::Done(changed, value)) => {
                self.segments
                    .release(edit.pages - changed.added + changed.gone);
                self.write_behind.add_dirty(changed.added);
                if changed.gone > 0 {
                    self.write_behind.sub_dirty(changed.gone);
                }
                self.write_behind.note_changed(node);
                Ok(Some(value))
            }
            Ok(Outcome::Replan) => {
                self.segments.release(edit.pages);
                Ok(None)
            }
            Err(e) => {
                self.segments.release(edit.pages);
                Err(e)
            }
        }
    }

    fn edit_within_gate<T>(
        &self,
        edit: &Edit<'_>,
        preloaded: &[Preloaded],
        apply: impl FnOnce(&mut Content, &Edges, &NodeLeaves<'_>) -> FsResult<Outcome<T>>,
    ) -> FsResult<Outcome<T>> {
        let node = edit.node;
        let _gate = self.gate.read();
        let share = self.share_of_content(node.ino)?;
        let mut content = node.content.write();
        let leaves = self.leaves(node.ino);
        let outcome = self.write_behind.counting_leaves(&mut content, |content| {
            match edges(content, edit.edges, preloaded, &leaves)? {
                Some(edges) => apply(content, &edges, &leaves),
                None => Ok(Outcome::Replan),
            }
        })?;
        if matches!(outcome, Outcome::Done(..)) {
            self.note_content(share, node.ino);
        }
        Ok(outcome)
    }

    /// `None` when a block was put elsewhere meanwhile.
    fn preload(&self, node: &Arc<Node>, blocks: &[BlockIndex]) -> FsResult<Option<Vec<Preloaded>>> {
        let mut out = Vec::new();
        for block in blocks {
            let reading = self.readers.read();
            let source = node.content.read().source(*block, &self.leaves(node.ino))?;
            if let Source::Sealed(entry) = source {
                if matches!(entry.place, Place::Remote(_)) {
                    drop(reading);
                    self.fetch(node, &[(*block, entry)])?;
                    return Ok(None);
                }
                let mut data = vec![0; BLOCK_SIZE];
                if self.read_sealed(node, &[(*block, entry)], &mut data, Way::Bulk)? == Found::Moved
                {
                    return Ok(None);
                }
                out.push(Preloaded {
                    block: *block,
                    entry,
                    page: data.into(),
                });
            }
        }
        Ok(Some(out))
    }

    /// Sets the size of a file.
    pub(in crate::volume) fn resize(&self, ino: Ino, size: u64) -> FsResult<()> {
        if size > FILE_MAX {
            return Err(FsError::FileTooLarge);
        }
        let node = self.node(ino)?;
        let edge = (!size.is_multiple_of(BLOCK)).then(|| BlockIndex::of(size));
        let edges: &[BlockIndex] = edge.as_slice();
        let edit = Edit {
            node: &node,
            edges,
            pages: edges.len() as u64,
        };
        let result = loop {
            let done = self.edit(&edit, |content, edges, leaves| {
                let mut changed = Changed::default();
                if size < content.head.size {
                    changed.gone = content.cut_off(BlockIndex(size.div_ceil(BLOCK)), leaves)?;
                    if let Some(block) = edge
                        && let Some(page) = edges.get(block)
                    {
                        let kept = (size % BLOCK) as usize;
                        let page = zeroed(page, kept..BLOCK_SIZE);
                        changed.added = content.put_page(block, page, BlockKind::Data);
                    }
                } else if size > content.head.size {
                    self.space.check()?;
                }
                let now = self.now();
                let head = &mut content.head;
                (head.size, head.mtime, head.ctime, head.changed) = (size, now, now, true);
                Ok(Outcome::Done(changed, ()))
            });
            match done {
                Ok(None) => {}
                Ok(Some(())) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        self.nodes.put_back(node);
        result
    }

    /// Makes the bytes of `range` zeros and whole blocks of it holes; the file becomes at least
    /// `size` bytes long.
    pub(super) fn zero(&self, node: &Arc<Node>, range: Range<u64>, size: u64) -> FsResult<()> {
        let (first, last) = (BlockIndex::of(range.start), BlockIndex::of(range.end));
        let mut edges = Vec::new();
        if !range.start.is_multiple_of(BLOCK) {
            edges.push(first);
        }
        if !range.end.is_multiple_of(BLOCK) && !edges.contains(&last) {
            edges.push(last);
        }
        let edit = Edit {
            node,
            edges: &edges,
            pages: edges.len() as u64,
        };
        loop {
            let done = self.edit(&edit, |content, found, leaves| {
                let mut changed = Changed::default();
                let whole = BlockIndex(range.start.div_ceil(BLOCK))..last;
                if whole.start < whole.end {
                    changed.gone = content.punch(whole, leaves)?;
                }
                for block in &edges {
                    let start = range.start.saturating_sub(block.offset()) as usize;
                    let end = (range.end - block.offset()).min(BLOCK) as usize;
                    if let Some(page) = found.get(*block) {
                        let page = zeroed(page, start..end);
                        changed.added += content.put_page(*block, page, BlockKind::Data);
                    }
                }
                let now = self.now();
                let head = &mut content.head;
                head.size = head.size.max(size);
                (head.mtime, head.ctime, head.changed) = (now, now, true);
                Ok(Outcome::Done(changed, ()))
            })?;
            if done.is_some() {
                return Ok(());
            }
        }
    }
}

/// The edges as they are now; `None` when one of them is sealed elsewhere than was read.
fn edges(
    content: &Content,
    blocks: &[BlockIndex],
    preloaded: &[Preloaded],
    leaves: &NodeLeaves<'_>,
) -> FsResult<Option<Edges>> {
    let mut out = Vec::with_capacity(blocks.len());
    for block in blocks {
        let page = match content.source(*block, leaves)? {
            Source::Hole => None,
            Source::Page(page) => Some(page),
            Source::Sealed(entry) => {
                let read = preloaded
                    .iter()
                    .find(|p| p.block == *block && p.entry == entry);
                let Some(read) = read else { return Ok(None) };
                Some(Arc::clone(&read.page))
            }
        };
        out.push((*block, page));
    }
    Ok(Some(Edges(out)))
}

fn zeroed(page: &Page, range: Range<usize>) -> Page {
    let mut data = page.to_vec();
    data[range].fill(0);
    data.into()
}

/// The end of a range of a file.
pub(super) fn end_of(offset: u64, len: u64) -> FsResult<u64> {
    offset
        .checked_add(len)
        .filter(|end| *end <= FILE_MAX)
        .ok_or(FsError::FileTooLarge)
}

/// Puts the pages of a write. Nothing is changed when it fails.
pub(super) fn put_pages(
    content: &mut Content,
    edges: &Edges,
    (offset, data): (u64, &[u8]),
    (leaves, pages): (&NodeLeaves<'_>, &Pages),
) -> FsResult<u64> {
    let end = offset + data.len() as u64;
    let blocks = BlockIndex::of(offset).0..=BlockIndex::of(end - 1).0;
    let kinds: FsResult<Vec<BlockKind>> = blocks
        .clone()
        .map(|block| content.kind(BlockIndex(block), leaves))
        .collect();
    let mut added = 0;
    for (block, kind) in blocks.map(BlockIndex).zip(kinds?) {
        let skip = offset.saturating_sub(block.offset()) as usize;
        let from = block.offset().saturating_sub(offset) as usize;
        let count = (BLOCK_SIZE - skip).min(data.len() - from);
        let part = &data[from..from + count];
        added += content.put_page(
            block,
            pages.fill(|page| merge(page, edges.get(block), skip, part)),
            kind,
        );
    }
    Ok(added)
}

/// Fills a page with what the block held and a part that is new.
fn merge(page: &mut [u8], old: Option<&Page>, skip: usize, part: &[u8]) {
    if part.len() < BLOCK_SIZE {
        match old {
            Some(old) => page.copy_from_slice(old),
            None => page.fill(0),
        }
    }
    page[skip..skip + part.len()].copy_from_slice(part);
}
