//! Commit: what makes changes durable, as one moment of the namespace and of each file in it.
//!
//! Durability order, which everything relies on:
//! 1. ciphertext of the cut is written and segments are synced (or it goes into step 2);
//! 2. the rows that name it are committed, in one synced transaction;
//! 3. only then is what they no longer name punched or deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::content::Content;
use super::flush::Moving;
use super::images::Held;
use super::install::{Hurry, Install, Installed};
use super::node::Node;
use super::{Failure, Volume};
use crate::data::Journal;
use crate::error::{FsError, FsResult};
use crate::layout::{
    BlockEntry, BlockIndex, BlockRow, MapId, Place, SegmentId, SegmentRow, StateRow,
};
use crate::meta::{CommitFailure, Key, RowMap, Rows, Table, Writer};
use crate::vfs::Ino;

/// Fewer dirty blocks than this are not worth a sync of their own ahead of the cut.
const AHEAD_BLOCKS: usize = 32;

/// What a commit has to make durable.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    /// The namespace and the content of every file.
    Everything,
    /// The namespace and the content of this file.
    File(Ino),
    /// The namespace.
    Namespace,
}

/// Commits asked for and not yet begun.
#[derive(Default)]
pub(super) struct Requests {
    pub(super) everything: bool,
    pub(super) files: BTreeSet<Ino>,
    pub(super) ticket: u64,
}

impl Requests {
    fn add(&mut self, scope: &Scope) {
        match scope {
            Scope::Everything => self.everything = true,
            Scope::File(ino) => drop(self.files.insert(*ino)),
            Scope::Namespace => {}
        }
    }

    fn take(&mut self) -> Self {
        let ticket = self.ticket;
        let taken = std::mem::take(self);
        self.ticket = ticket;
        Self { ticket, ..taken }
    }
}

/// What only the holder of the commit lock touches.
pub(super) struct Committer {
    /// None in a volume opened for reading.
    pub(super) writer: Option<Writer>,
    pub(super) state: StateRow,
    /// Every segment that has a file.
    pub(super) segments: BTreeMap<SegmentId, SegmentRow>,
    /// Segments below this number are in `segments`.
    pub(super) next_segment: u64,
    /// Blocks that opening found in the database, where the journal brought them: still to be
    /// moved to a segment. None is added while the volume is open.
    pub(super) database_blocks: Vec<u64>,
    /// Maps whose leaves are still to be freed.
    pub(super) trims: BTreeSet<MapId>,
    /// What was freed and not yet given back to the disk.
    pub(super) reclaim: super::reclaim::Reclaim,
    /// Slots that kept images name.
    pub(super) held: Held,
    /// The database file is being copied: nothing is written to it but the log.
    pub(super) still: bool,
    /// Takes what small fsyncs make durable between commits.
    pub(super) journal: Option<Journal>,
    /// Files of which the journal holds more than the database: the next commit, which makes
    /// the journal void, takes them along.
    pub(super) journaled: BTreeSet<Ino>,
    done: u64,
    /// Rows of the last commit; none once there was nothing to commit.
    rows: usize,
}

/// Rows of a commit from which on programs are taken to be busy.
const MUCH: usize = 4096;

impl Committer {
    pub(super) fn new(writer: Option<Writer>, state: StateRow) -> Self {
        Self {
            writer,
            state,
            segments: BTreeMap::new(),
            next_segment: state.next_segment,
            database_blocks: Vec::new(),
            trims: BTreeSet::new(),
            reclaim: super::reclaim::Reclaim::default(),
            held: Held::default(),
            still: false,
            journal: None,
            journaled: BTreeSet::new(),
            done: 0,
            rows: 0,
        }
    }

    /// Whether the last commit was of a busy time: upkeep that can wait, waits.
    pub(super) fn wrote_much(&self) -> bool {
        self.rows >= MUCH
    }

    /// There was nothing to commit: the busy time is over.
    pub(super) fn note_quiet(&mut self) {
        self.rows = 0;
    }
}

/// The moment that a commit writes.
struct Cut {
    nodes: Vec<Arc<Node>>,
    rows: Arc<RowMap>,
    renamed: BTreeSet<Ino>,
    everything: bool,
    /// Segments that were full before the cut: whatever lies in them is in the cut, in what was
    /// committed before, or superseded.
    closed: BTreeSet<SegmentId>,
}

impl Volume {
    /// Makes `scope` durable. Callers that wait at the same time share one commit.
    pub(super) fn commit(&self, scope: &Scope) -> FsResult<()> {
        let ticket = {
            let mut requests = self.requests.lock();
            requests.add(scope);
            requests.ticket += 1;
            requests.ticket
        };
        let mut committer = self.committer.lock();
        if committer.done >= ticket {
            return Ok(());
        }
        if let Some(failure) = self.failure() {
            return Err(failure.error());
        }
        let request = {
            let mut requests = self.requests.lock();
            requests.add(scope);
            requests.take()
        };
        self.run_commit(&mut committer, &request)?;
        committer.done = request.ticket;
        Ok(())
    }

    fn run_commit(&self, c: &mut Committer, request: &Requests) -> FsResult<()> {
        if c.writer.is_none() {
            return Ok(());
        }
        if self.nothing_to_commit(c, request) || self.journal(c, request)? {
            return Ok(());
        }
        self.run_whole_commit(c, request)
    }

    /// Commits the content of a file to the database, also where the journal would do.
    pub(super) fn commit_content(&self, c: &mut Committer, ino: Ino) -> FsResult<()> {
        if let Some(failure) = self.failure() {
            return Err(failure.error());
        }
        let request = Requests {
            files: BTreeSet::from([ino]),
            ..Requests::default()
        };
        let clean = |n: &Arc<Node>| n.content.read().is_clean();
        if c.writer.is_none() || self.nodes.get(ino).is_none_or(|n| clean(&n)) {
            return Ok(());
        }
        self.run_whole_commit(c, &request)
    }

    fn run_whole_commit(&self, c: &mut Committer, request: &Requests) -> FsResult<()> {
        if request.everything {
            self.move_database_blocks(c)?;
        }
        self.flush_ahead(c, request)?;
        if let Some(w) = c.writer.as_ref().filter(|_| !c.still) {
            self.bound_log(w)?;
        }
        let cut = self.cut(c, request);
        let outcome = self.write_cut(c, &cut);
        match outcome {
            Ok(installed) => {
                let large = installed.bytes() >= super::memory::LARGE_COMMIT;
                self.finish(c, cut, installed)?;
                if large {
                    super::memory::return_to_system();
                }
                Ok(())
            }
            Err(FsError::NoSpace) => {
                self.undo(cut);
                self.space.note_full();
                Err(FsError::NoSpace)
            }
            Err(e) => {
                self.fail(Failure::Commit(e));
                Err(e)
            }
        }
    }

    /// What is asked for is durable already.
    fn nothing_to_commit(&self, c: &Committer, request: &Requests) -> bool {
        if self.meta.active_bytes() > 0 || !self.renamed.lock().is_empty() {
            return false;
        }
        let clean = |n: &Arc<Node>| n.content.read().is_clean();
        if request.everything {
            return !self.write_behind.anything_changed()
                && !self.space.is_full()
                && c.database_blocks.is_empty()
                && c.trims.is_empty()
                && c.reclaim.is_done(&self.segments.filling(), &c.held);
        }
        request
            .files
            .iter()
            .all(|ino| self.nodes.get(*ino).is_none_or(|n| clean(&n)))
    }

    /// Seals most of what the commit needs while operations go on.
    fn flush_ahead(&self, c: &Committer, request: &Requests) -> FsResult<()> {
        let nodes = if request.everything {
            self.write_behind.changed()
        } else {
            self.named(&(&(&request.files | &*self.renamed.lock()) | &c.journaled))
        };
        let dirty: usize = nodes
            .iter()
            .map(|n| n.content.read().head.dirty.len())
            .sum();
        if dirty > AHEAD_BLOCKS {
            self.write_behind.enqueue(nodes.iter().cloned());
            self.flush(&nodes, super::flush::Which::All)?;
            self.sync_segments()?;
        }
        Ok(())
    }

    pub(super) fn named(&self, inos: &BTreeSet<Ino>) -> Vec<Arc<Node>> {
        inos.iter().filter_map(|ino| self.nodes.get(*ino)).collect()
    }

    /// Takes the moment: no operation is halfway while it is taken.
    fn cut(&self, c: &mut Committer, request: &Requests) -> Cut {
        let moment = self.gate.write();
        let renamed = std::mem::take(&mut *self.renamed.lock());
        let nodes = if request.everything {
            self.write_behind.take_changed()
        } else {
            self.named(&(&(&request.files | &renamed) | &c.journaled))
        };
        let begins =
            |n: &Arc<Node>| !n.is_dead() && n.content.write().begin_cut(|| self.counters.new_map());
        let (nodes, unchanged): (Vec<_>, Vec<_>) = nodes.into_iter().partition(begins);
        let leaves = if request.everything {
            usize::MAX
        } else {
            nodes
                .iter()
                .map(|n| n.content.read().cut_leaf_bytes())
                .sum()
        };
        self.note_cut_of_leaves(leaves);
        let rows = self.meta.freeze();
        for id in c.next_segment..self.segments.next_id() {
            c.segments
                .insert(SegmentId(id as u32), SegmentRow::default());
            c.next_segment = id + 1;
        }
        let filling = self.segments.filling();
        let closed = c
            .segments
            .keys()
            .filter(|s| !filling.contains(s))
            .copied()
            .collect();
        drop(moment);
        self.write_behind.note_progress();
        for node in unchanged {
            self.nodes.put_back(node);
        }
        Cut {
            nodes,
            rows,
            renamed,
            everything: request.everything,
            closed,
        }
    }

    fn write_cut(&self, c: &mut Committer, cut: &Cut) -> FsResult<Installed> {
        self.flush_cut(&cut.nodes)?;
        if cut.everything || cut.nodes.iter().any(names_segment) {
            self.sync_segments()?;
        }
        // What was flushed since the cut has its owners recorded since, too: they belong to it.
        let owners = self.meta.take(Table::RunOwner);
        self.write_flushed(c, cut, &owners)
            .inspect_err(|_| self.meta.give_back(&owners))
    }

    fn write_flushed(&self, c: &mut Committer, cut: &Cut, owners: &Rows) -> FsResult<Installed> {
        let mut install = Install::new(self, c);
        let rows = owners.iter().map(|(k, row)| (k.clone(), Some(row.clone())));
        install.out.rows.extend(rows);
        for node in &cut.nodes {
            install.file(node)?;
        }
        let hurry = if cut.everything || self.space.is_full() {
            Hurry::No
        } else {
            Hurry::Yes
        };
        install.trim(&cut.rows, hurry)?;
        if cut.everything {
            install.reclaim(&cut.closed)?;
        }
        let mut installed = install.done();
        self.write_rows(c, cut, &mut installed)?;
        Ok(installed)
    }

    fn sync_segments(&self) -> FsResult<()> {
        if self.segments.is_synced() {
            return Ok(());
        }
        self.segments
            .sync()
            .map_err(|e| self.fail(Failure::Sync(e)))
    }

    fn write_rows(&self, c: &mut Committer, cut: &Cut, installed: &mut Installed) -> FsResult<()> {
        let mut state = c.state;
        self.counters.fill(&mut state);
        state.next_segment = self.segments.next_id();
        state.blocks = state.blocks.saturating_add_signed(installed.blocks);
        let Some(writer) = &mut c.writer else {
            return Err(FsError::ReadOnly);
        };
        let mut wrote = Err(CommitFailure::NoSpace);
        for _ in 0..2 {
            let overridden = |k: &Key| {
                matches!(k.table, Table::Trim | Table::RunOwner | Table::Freed)
                    && installed.rows.contains_key(k)
            };
            let frozen = cut.rows.iter().filter(|(k, _)| !overridden(k));
            wrote = writer.commit(frozen.chain(&installed.rows), &mut state);
            if wrote != Err(CommitFailure::NoSpace) || !self.space.release_reserve() {
                break;
            }
        }
        match wrote {
            Ok(()) => {
                c.state = state;
                c.rows = cut.rows.len() + installed.rows.len();
                Ok(())
            }
            Err(CommitFailure::NoSpace) => Err(FsError::NoSpace),
            Err(CommitFailure::Tampered) => Err(self.meta.judged(FsError::MetadataTampered)),
            Err(CommitFailure::Failed) => Err(FsError::Database),
        }
    }

    /// The rows are durable: the database answers for the cut from now on.
    fn finish(&self, c: &mut Committer, cut: Cut, installed: Installed) -> FsResult<()> {
        for file in installed.files {
            let mut content = file.node.content.write();
            for (leaf, new) in file.leaves {
                self.leaf_cache.replace(file.row.map, leaf, new);
            }
            content.end_cut(file.row);
        }
        self.meta.drop_frozen(installed.rows.iter());
        for node in cut.nodes {
            self.nodes.put_back(node);
        }
        c.segments.extend(installed.segments);
        c.journaled.clear();
        if let Some(journal) = &mut c.journal {
            journal.restart(c.state.commit);
        }
        c.trims = installed.trims;
        self.give_back(c, &installed.reclaimed);
        self.space.restore_reserve();
        if cut.everything
            && !c.still
            && let Some(w) = &c.writer
        {
            self.copy_log(w)?;
        }
        Ok(())
    }

    /// Nothing of the cut was written: everything in it waits for the next commit.
    fn undo(&self, cut: Cut) {
        drop(cut.rows);
        self.meta.thaw();
        for node in &cut.nodes {
            let superseded = self
                .write_behind
                .counting_leaves(&mut node.content.write(), Content::abandon_cut);
            self.segments.release(superseded);
            self.write_behind.sub_dirty(superseded);
            self.write_behind.note_changed(node);
        }
        self.renamed.lock().extend(cut.renamed);
    }

    /// Blocks that came into the database with the journal go to a segment. The rows they leave
    /// are deleted by the commits that take the new places, or what was written over them.
    fn move_database_blocks(&self, c: &mut Committer) -> FsResult<()> {
        while !c.database_blocks.is_empty() {
            let left = c.database_blocks.len().saturating_sub(256);
            let moving = self.moving(&c.database_blocks[left..])?;
            match self.relocate(&moving) {
                // The blocks are safe where they are.
                Err(FsError::NoSpace) => return Ok(()),
                other => other?,
            }
            c.database_blocks.truncate(left);
        }
        Ok(())
    }

    /// Those of the blocks that still lie in the database.
    fn moving(&self, ids: &[u64]) -> FsResult<Vec<Moving>> {
        let mut moving = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(row) = self.meta.get(&Key::block(*id), BlockRow::decode)? else {
                continue;
            };
            if let Some(entry) = self.entry_at(row.ino, row.block, Place::Database(*id))? {
                moving.push(Moving {
                    ino: row.ino,
                    block: row.block,
                    entry,
                    ciphertext: row.ciphertext,
                });
            }
        }
        Ok(moving)
    }

    /// The entry of a block, if the block lies at `place` now.
    pub(super) fn entry_at(
        &self,
        ino: Ino,
        block: BlockIndex,
        place: Place,
    ) -> FsResult<Option<BlockEntry>> {
        let node = match self.node(ino) {
            Ok(node) => node,
            Err(FsError::Stale(_)) => return Ok(None),
            Err(e) => return Err(e),
        };
        let source = node.content.read().source(block, &self.leaves(ino));
        self.nodes.put_back(node);
        Ok(match source? {
            super::content::Source::Sealed(e) if e.place == place => Some(e),
            _ => None,
        })
    }

    /// Nothing waits to be committed.
    pub(super) fn is_settled(&self) -> bool {
        !self.write_behind.anything_changed() && !self.meta.holds_rows()
    }
}

/// Whether the cut of a file names slots, which have to be synced before it is committed.
fn names_segment(node: &Arc<Node>) -> bool {
    let content = node.content.read();
    let mut places = content
        .cut
        .iter()
        .flat_map(|c| c.deltas.values())
        .flat_map(super::content::LeafDelta::places);
    places.any(|p| matches!(p, Place::Segment(_)))
}
