//! Write-behind: dirty blocks are sealed in runs and appended to segments by flusher threads.
//!
//! Flushers never write rows of files: they leave (block, place, tweak, tag) in the content of
//! the inode, where the next commit of that inode finds it. The blocks of one batch may belong
//! to many files, so that many small files become one stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use keyfold_crypto::Sealed;
use parking_lot::{Condvar, Mutex};

use super::content::{Content, Page};
use super::memory::Pages;
use super::node::Node;
use super::{Failure, Volume};
use crate::data::Run;
use crate::error::{FsError, FsResult};
use crate::layout::{
    BLOCK_SIZE, BlockEntry, BlockIndex, KeyIndex, Place, RunOwner, SEGMENT_SLOTS, Slot,
};
use crate::meta::Key;
use crate::vfs::Ino;

/// Blocks sealed and appended at once (1 MiB).
const BATCH: usize = 256;

/// What waits to be sealed, and who waits for it.
pub(super) struct WriteBehind {
    /// Dirty pages of the volume.
    dirty: AtomicU64,
    /// Bytes of rows that the leaves changed since the last cut will take, about.
    leaf_bytes: AtomicUsize,
    /// Above this many pages writers wait.
    limit: u64,
    queue: Mutex<Queue>,
    work: Condvar,
    /// Counts batches that were stored or given up, and cuts; waited on by writers and commits.
    progress: Mutex<u64>,
    progressed: Condvar,
    /// Files with changes that no commit has begun to take.
    changed: Mutex<Vec<Arc<Node>>>,
    pub(super) pages: Pages,
}

#[derive(Default)]
struct Queue {
    nodes: VecDeque<Arc<Node>>,
    stopped: bool,
}

/// Which dirty pages of a file to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// All of them.
    All,
    /// Those that the running commit needs.
    Cut,
}

impl WriteBehind {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            dirty: AtomicU64::new(0),
            leaf_bytes: AtomicUsize::new(0),
            limit: (limit_bytes / BLOCK_SIZE).max(1024) as u64,
            queue: Mutex::default(),
            work: Condvar::new(),
            progress: Mutex::new(0),
            progressed: Condvar::new(),
            changed: Mutex::default(),
            pages: Pages::default(),
        }
    }

    pub(super) fn dirty_pages(&self) -> u64 {
        self.dirty.load(Ordering::Relaxed)
    }

    pub(super) fn add_dirty(&self, pages: u64) {
        self.dirty.fetch_add(pages, Ordering::Relaxed);
    }

    pub(super) fn leaf_bytes(&self) -> usize {
        self.leaf_bytes.load(Ordering::Relaxed)
    }

    /// Changes content, and counts the leaves that are touched by it.
    pub(super) fn counting_leaves<T>(
        &self,
        content: &mut Content,
        change: impl FnOnce(&mut Content) -> T,
    ) -> T {
        let before = content.head.leaf_bytes();
        let result = change(content);
        let added = content.head.leaf_bytes().saturating_sub(before);
        if added > 0 {
            self.leaf_bytes.fetch_add(added, Ordering::Relaxed);
        }
        result
    }

    /// A cut takes these leaves along.
    pub(super) fn sub_leaf_bytes(&self, bytes: usize) {
        let less = |now: usize| Some(now.saturating_sub(bytes));
        let _ = self
            .leaf_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Pages are no longer dirty: writers may go on.
    pub(super) fn sub_dirty(&self, pages: u64) {
        self.dirty.fetch_sub(pages, Ordering::Relaxed);
        self.note_progress();
    }

    /// Counts what writers may wait for.
    pub(super) fn progress(&self) -> u64 {
        *self.progress.lock()
    }

    /// Waits for progress since the count was `before`, and not for ever.
    pub(super) fn wait_beyond(&self, before: u64) {
        let mut progress = self.progress.lock();
        if *progress == before {
            self.progressed
                .wait_for(&mut progress, std::time::Duration::from_millis(100));
        }
    }

    pub(super) fn note_progress(&self) {
        *self.progress.lock() += 1;
        self.progressed.notify_all();
    }

    /// Lists a file for the next commit.
    pub(super) fn note_changed(&self, node: &Arc<Node>) {
        if !node.listed.swap(true, Ordering::AcqRel) {
            self.changed.lock().push(Arc::clone(node));
        }
    }

    /// The files changed since the last call.
    pub(super) fn take_changed(&self) -> Vec<Arc<Node>> {
        let nodes = std::mem::take(&mut *self.changed.lock());
        for node in &nodes {
            node.listed.store(false, Ordering::Release);
        }
        nodes
    }

    pub(super) fn changed(&self) -> Vec<Arc<Node>> {
        self.changed.lock().clone()
    }

    pub(super) fn anything_changed(&self) -> bool {
        !self.changed.lock().is_empty()
    }

    /// Asks the flushers to seal what is dirty in these files.
    pub(super) fn enqueue(&self, nodes: impl IntoIterator<Item = Arc<Node>>) {
        let mut queue = self.queue.lock();
        for node in nodes {
            if !node.queued.swap(true, Ordering::AcqRel) {
                queue.nodes.push_back(node);
            }
        }
        self.work.notify_all();
    }

    /// Files for a flusher to work on; `None` when the volume closes.
    fn next(&self) -> Option<Vec<Arc<Node>>> {
        let mut queue = self.queue.lock();
        loop {
            if !queue.nodes.is_empty() {
                let some = queue.nodes.len().min(64);
                let nodes: Vec<_> = queue.nodes.drain(..some).collect();
                for node in &nodes {
                    node.queued.store(false, Ordering::Release);
                }
                return Some(nodes);
            }
            if queue.stopped {
                return None;
            }
            self.work.wait(&mut queue);
        }
    }

    pub(super) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.work.notify_all();
    }

    pub(super) fn above_half(&self) -> bool {
        self.dirty_pages() > self.limit / 2
    }
}

/// Blocks on their way into a segment.
struct Batch {
    data: Vec<u8>,
    items: Vec<Item>,
}

struct Item {
    node: Arc<Node>,
    block: BlockIndex,
    page: Page,
    key: KeyIndex,
    sealed: Sealed,
}

/// A sealed block that is to lie elsewhere.
pub(super) struct Moving {
    pub(super) ino: Ino,
    pub(super) block: BlockIndex,
    pub(super) entry: BlockEntry,
    pub(super) ciphertext: Box<[u8]>,
}

impl Volume {
    /// Waits, holding no lock, until there is room for more dirty pages.
    pub(super) fn wait_for_room(&self) -> FsResult<()> {
        let w = &self.write_behind;
        if !w.above_half() {
            return Ok(());
        }
        w.enqueue(w.changed());
        let mut progress = w.progress.lock();
        while w.dirty_pages() >= w.limit {
            self.check_writable()?;
            w.progressed
                .wait_for(&mut progress, std::time::Duration::from_millis(200));
        }
        Ok(())
    }

    /// Body of a flusher thread.
    pub(super) fn flusher(&self) {
        while let Some(nodes) = self.write_behind.next() {
            if self.failure().is_none() {
                // A failure is kept in the volume's state, where commits and writers find it.
                let _ = self.flush(&nodes, Which::All);
            }
            for node in nodes {
                self.nodes.put_back(node);
            }
        }
    }

    /// Seals and stores the dirty pages of `nodes`, except those that somebody else is at.
    pub(super) fn flush(&self, nodes: &[Arc<Node>], which: Which) -> FsResult<()> {
        let mut batch = Batch {
            data: Vec::new(),
            items: Vec::new(),
        };
        for node in nodes {
            while gather(node, which, &mut batch) > 0 {
                if batch.items.len() == BATCH {
                    self.store(&mut batch)?;
                } else {
                    break;
                }
            }
        }
        self.store(&mut batch)
    }

    /// Like [`Volume::flush`], and waits for what others are at.
    pub(super) fn flush_cut(&self, nodes: &[Arc<Node>]) -> FsResult<()> {
        loop {
            let before = *self.write_behind.progress.lock();
            self.flush(nodes, Which::Cut)?;
            let left = nodes.iter().any(|n| {
                n.content
                    .read()
                    .cut
                    .as_ref()
                    .is_some_and(|c| !c.dirty.is_empty())
            });
            if !left {
                return Ok(());
            }
            let w = &self.write_behind;
            let mut progress = w.progress.lock();
            if *progress == before {
                w.progressed
                    .wait_for(&mut progress, std::time::Duration::from_millis(50));
            }
            drop(progress);
            if let Some(failure) = self.failure() {
                return Err(failure.error());
            }
        }
    }

    fn store(&self, batch: &mut Batch) -> FsResult<()> {
        if batch.items.is_empty() {
            return Ok(());
        }
        let stored = self.seal(batch).and_then(|()| {
            let owners: Vec<_> = batch.items.iter().map(|i| (i.node.ino, i.block)).collect();
            self.append(&batch.data, &owners)
        });
        let count = batch.items.len() as u64;
        match stored {
            Ok(slots) => {
                record(&batch.items, &slots);
                self.write_behind.sub_dirty(count);
                let pages = batch.items.drain(..).map(|item| item.page);
                self.write_behind.pages.put_back(pages);
                batch.data.clear();
                Ok(())
            }
            Err(e) => {
                self.give_up(batch, e);
                Err(e)
            }
        }
    }

    /// Seals the batch, one run of blocks per file.
    fn seal(&self, batch: &mut Batch) -> FsResult<()> {
        let Batch { data, items } = batch;
        data.clear();
        data.reserve(items.len() * BLOCK_SIZE);
        for of_node in items.chunk_by_mut(|a, b| Arc::ptr_eq(&a.node, &b.node)) {
            let first = &of_node[0];
            let pages = of_node.iter().map(|i| (i.block, &i.page));
            let seals = first.node.seal(&self.meta, first.key, pages, data)?;
            for (item, sealed) in of_node.iter_mut().zip(seals) {
                item.sealed = sealed;
            }
        }
        Ok(())
    }

    /// Writes ciphertext to reserved slots and records whose it is. A slot per block.
    pub(super) fn append(&self, data: &[u8], owners: &[(Ino, BlockIndex)]) -> FsResult<Vec<Slot>> {
        let runs = self.segments.take(owners.len() as u32)?;
        let mut slots = Vec::with_capacity(owners.len());
        let mut at = 0;
        for run in &runs {
            let count = run.count as usize;
            self.segments
                .write(run, &data[at * BLOCK_SIZE..(at + count) * BLOCK_SIZE])
                .inspect_err(|e| {
                    self.segments.promise_again(owners.len() as u64);
                    self.storing_failed(*e);
                })?;
            let owned = run_owners(&owners[at..at + count]);
            let key = Key::run_owner(run.first.segment, run.first.index);
            self.meta.put(key, Some(RunOwner::encode_all(&owned)));
            slots.extend(slots_of(run));
            at += count;
        }
        Ok(slots)
    }

    /// The batch stays dirty as it was; pages that no longer matter are dropped.
    fn give_up(&self, batch: &mut Batch, error: FsError) {
        self.storing_failed(error);
        let mut gone = 0;
        for item in batch.items.drain(..) {
            if !item.node.content.write().unsealed(item.block, &item.page) {
                gone += 1;
            }
        }
        self.segments.release(gone);
        self.write_behind.sub_dirty(gone);
    }

    fn storing_failed(&self, error: FsError) {
        if error != FsError::NoSpace {
            self.fail(Failure::Write(error));
        }
    }

    /// Copies ciphertext to new slots and lets the files know. Tags bind no place, so nothing is
    /// sealed anew.
    pub(super) fn relocate(&self, moving: &[Moving]) -> FsResult<()> {
        for part in moving.chunks(BATCH) {
            self.segments.reserve(part.len() as u64)?;
            let data: Vec<u8> = part
                .iter()
                .flat_map(|m| m.ciphertext.iter().copied())
                .collect();
            let owners: Vec<_> = part.iter().map(|m| (m.ino, m.block)).collect();
            let slots = self.append(&data, &owners);
            let slots = slots.inspect_err(|_| self.segments.release(part.len() as u64))?;
            for (m, slot) in part.iter().zip(slots) {
                self.note_moved(m, slot)?;
            }
        }
        Ok(())
    }

    fn note_moved(&self, moved: &Moving, slot: Slot) -> FsResult<()> {
        let node = match self.node(moved.ino) {
            Ok(node) => node,
            Err(FsError::Stale(_)) => return Ok(()),
            Err(e) => return Err(e),
        };
        let new = BlockEntry {
            place: Place::Segment(slot),
            ..moved.entry
        };
        let changed = {
            let leaves = self.leaves(moved.ino);
            self.write_behind
                .counting_leaves(&mut node.content.write(), |content| {
                    content.moved(moved.block, (&moved.entry, new), &leaves)
                })?
        };
        if changed {
            self.write_behind.note_changed(&node);
        }
        self.nodes.put_back(node);
        Ok(())
    }
}

/// Adds dirty pages of a file to the batch, up to its size. Returns how many.
fn gather(node: &Arc<Node>, which: Which, batch: &mut Batch) -> usize {
    let key = node.current_key();
    let mut content = node.content.write();
    let content = &mut *content;
    let head = (which == Which::All).then_some(&mut content.head.dirty);
    // A cut that the committer is writing has no page to take, and is not touched.
    let cut = content
        .cut
        .as_mut()
        .filter(|c| c.dirty.values().any(|d| !d.in_flight));
    let layers = cut
        .map(|c| &mut Arc::make_mut(c).dirty)
        .into_iter()
        .chain(head);
    let before = batch.items.len();
    for (block, dirty) in layers.flatten().filter(|(_, d)| !d.in_flight) {
        if batch.items.len() == BATCH {
            break;
        }
        dirty.in_flight = true;
        batch.items.push(Item {
            node: Arc::clone(node),
            block: *block,
            page: Arc::clone(&dirty.page),
            key,
            sealed: Sealed::default(),
        });
    }
    batch.items.len() - before
}

fn record(items: &[Item], slots: &[Slot]) {
    let mut at = 0;
    for of_node in items.chunk_by(|a, b| Arc::ptr_eq(&a.node, &b.node)) {
        let node = &of_node[0].node;
        let mut content = node.content.write();
        for (item, slot) in of_node.iter().zip(&slots[at..]) {
            let entry = BlockEntry {
                place: Place::Segment(*slot),
                sealed: item.sealed,
                key: item.key,
            };
            content.sealed(item.block, &item.page, entry);
        }
        at += of_node.len();
    }
}

fn slots_of(run: &Run) -> impl Iterator<Item = Slot> {
    let first = run.first;
    debug_assert!(first.index + run.count <= SEGMENT_SLOTS);
    (0..run.count).map(move |i| Slot {
        segment: first.segment,
        index: first.index + i,
    })
}

fn run_owners(owners: &[(Ino, BlockIndex)]) -> Vec<RunOwner> {
    let mut runs: Vec<RunOwner> = Vec::new();
    for (ino, block) in owners {
        match runs.last_mut() {
            Some(r) if r.ino == *ino && r.first.0 + u64::from(r.count) == block.0 => r.count += 1,
            _ => runs.push(RunOwner {
                ino: *ino,
                first: *block,
                count: 1,
            }),
        }
    }
    runs
}
