//! Small fsyncs: one record of the journal instead of a commit of the database.
//!
//! What is in memory stays as it is, uncommitted; the record is only read after a crash. So a
//! record holds everything that changed since the record before it: the rows, and of the files
//! that are synced the content, with their blocks as they would lie in the database.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;

use super::commit::{Committer, Requests};
use super::content::Captured;
use super::node::Node;
use super::{Failure, Volume, VolumeError};
use crate::data::{Appended, Journal, JournalKey};
use crate::error::{FsError, FsResult};
use crate::layout::{
    BLOCK_SIZE, BlockEntry, BlockIndex, BlockRow, Leaf, LeafIndex, Place, SegmentId, SegmentRow,
    StateRow,
};
use crate::meta::{Key, Meta, Record, RowChange, RowMap, Table, Writer};
use crate::vfs::Ino;

/// Blocks that one record may hold.
const MOST_BLOCKS: usize = 32;

/// A file of a record.
struct File {
    node: Arc<Node>,
    captured: Captured,
    entries: Vec<(BlockIndex, BlockEntry)>,
}

impl Volume {
    /// Makes a small request durable through the journal. Returns whether it could.
    pub(super) fn journal(&self, c: &mut Committer, request: &Requests) -> FsResult<bool> {
        if request.everything || c.journal.is_none() {
            return Ok(false);
        }
        let Some((mut files, mut rows)) = self.capture(request) else {
            return Ok(false);
        };
        let names: BTreeSet<Ino> = files.iter().map(|f| f.node.ino).collect();
        files.retain(|f| !f.node.content.read().is_journaled(&f.captured));
        if files.is_empty() && rows.is_empty() {
            return Ok(true);
        }
        let captured = rows.len();
        if !self.append_record(c, &mut files, &mut rows)? {
            // A commit takes what was captured here. Should it fail, a later record has to.
            self.meta.give_back_unjournaled(&rows[..captured]);
            return Ok(false);
        }
        for file in files {
            let mut content = file.node.content.write();
            content.note_journaled(&file.captured, file.entries);
            c.journaled.insert(file.node.ino);
        }
        self.renamed.lock().retain(|ino| !names.contains(ino));
        Ok(true)
    }

    /// Makes a record of rows and files durable, whose rows it adds. Returns whether it could.
    fn append_record(
        &self,
        c: &mut Committer,
        files: &mut [File],
        rows: &mut Vec<RowChange>,
    ) -> FsResult<bool> {
        for file in files {
            if self.add_file(file, rows).is_err() {
                // A commit meets the same, and says what is wrong.
                return Ok(false);
            }
        }
        let mut state = c.state;
        self.counters.fill(&mut state);
        let record = Record {
            next_ino: state.next_ino,
            next_map: state.next_map,
            next_block: state.next_block,
            rows: std::mem::take(rows),
        };
        let encoded = record.encode();
        *rows = record.rows;
        let Some(journal) = &mut c.journal else {
            return Ok(false);
        };
        match journal.append(&encoded) {
            Ok(appended) => Ok(appended == Appended::Durable),
            Err(e) => Err(self.fail(Failure::Sync(e))),
        }
    }

    /// Takes the moment, if little enough has changed. No operation is halfway while it is taken.
    fn capture(&self, request: &Requests) -> Option<(Vec<File>, Vec<RowChange>)> {
        let _moment = self.gate.write();
        let renamed = self.renamed.lock().clone();
        let mut files = Vec::new();
        for node in self.named(&(&request.files | &renamed)) {
            let mut content = node.content.write();
            if node.is_dead() || !content.head.changed {
                continue;
            }
            let captured = content.capture(MOST_BLOCKS, || self.counters.new_map())?;
            drop(content);
            files.push(File {
                node,
                captured,
                entries: Vec::new(),
            });
        }
        Some((files, self.meta.take_unjournaled()?))
    }

    /// Seals a file's blocks and adds the rows that name them.
    fn add_file(&self, file: &mut File, rows: &mut Vec<RowChange>) -> FsResult<()> {
        let node = &file.node;
        let pages = &file.captured.pages;
        if !pages.is_empty() {
            let key = node.current_key();
            let mut data = Vec::with_capacity(pages.len() * BLOCK_SIZE);
            let blocks = pages.iter().map(|(b, page)| (*b, page));
            let seals = node.seal(&self.meta, key, blocks, &mut data)?;
            let ciphertexts = data.chunks_exact(BLOCK_SIZE);
            for (((block, _), sealed), ciphertext) in pages.iter().zip(seals).zip(ciphertexts) {
                let id = self.block_id(node, *block)?;
                let row = BlockRow::encode(node.ino, *block, ciphertext);
                rows.push((Key::block(id), Some(row)));
                let place = Place::Database(id);
                file.entries
                    .push((*block, BlockEntry { place, sealed, key }));
            }
        }
        self.add_leaves(file, rows)?;
        rows.push((Key::content(node.ino), Some(file.captured.row.encode())));
        Ok(())
    }

    /// Whole leaves: as committed, with what the journal has since, and what it gets now.
    fn add_leaves(&self, file: &File, rows: &mut Vec<RowChange>) -> FsResult<()> {
        let node = &file.node;
        let touched: BTreeSet<LeafIndex> = file.entries.iter().map(|(b, _)| b.leaf()).collect();
        let map = file.captured.row.map;
        for leaf in touched {
            let content = node.content.read();
            let of = (node.ino, content.base.map);
            let mut image = (*self.leaf_cache.get(&self.meta, of, leaf)?).clone();
            for (block, entry) in content.journaled(leaf).iter().chain(&file.entries) {
                if block.leaf() == leaf {
                    image.set(block.within_leaf(), *entry);
                }
            }
            rows.push((Key::leaf(map, leaf), Some(image.encode())));
        }
        Ok(())
    }

    /// Where in the database a block would lie: in its own place, if it has one there.
    fn block_id(&self, node: &Node, block: BlockIndex) -> FsResult<u64> {
        let content = node.content.read();
        let journaled = content.journaled(block.leaf());
        let entry = match journaled.iter().find(|(b, _)| *b == block) {
            Some((_, entry)) => *entry,
            None => content.committed(block, &self.leaves(node.ino))?,
        };
        match entry.place {
            Place::Database(id) => Ok(id),
            _ => Ok(self.counters.new_block()),
        }
    }
}

/// What replaying the journal did.
pub(super) struct Replayed {
    pub(super) state: StateRow,
    /// Segments with slots that died.
    pub(super) freed: BTreeSet<SegmentId>,
}

/// Applies the records that follow the last commit, as a commit of their own.
pub(super) fn replay(
    records: &[Vec<u8>],
    meta: &Meta,
    (writer, mut state): (&mut Writer, StateRow),
) -> Result<Replayed, VolumeError> {
    let mut map = RowMap::default();
    for bytes in records {
        let record =
            Record::decode(bytes).map_err(|_| VolumeError::NotCommitted(FsError::Database))?;
        state.next_ino = state.next_ino.max(record.next_ino);
        state.next_map = state.next_map.max(record.next_map);
        state.next_block = state.next_block.max(record.next_block);
        for (key, row) in record.rows {
            map.put(key, row);
        }
    }
    let account = Account::of(&map, meta).map_err(VolumeError::NotCommitted)?;
    state.blocks = state.blocks.saturating_add_signed(account.grown);
    let freed = account.segments.keys().copied().collect();
    for (id, row) in account.segments {
        map.put(Key::segment(id), Some(row.encode()));
    }
    let superseded = map.table(Table::Block).map(|(k, _)| k.a);
    let superseded: Vec<u64> = superseded
        .filter(|id| !account.named.contains(id))
        .collect();
    for id in account.blocks.into_iter().chain(superseded) {
        map.put(Key::block(id), None);
    }
    writer
        .commit(map.iter(), &mut state)
        .map_err(|_| VolumeError::NotCommitted(FsError::Database))?;
    Ok(Replayed { state, freed })
}

/// What follows from leaves that replace those of the database.
#[derive(Default)]
struct Account {
    /// By how many data blocks the volume grows.
    grown: i64,
    segments: BTreeMap<SegmentId, SegmentRow>,
    /// Blocks in the database that nothing names any more.
    blocks: Vec<u64>,
    /// Blocks that the new leaves name.
    named: BTreeSet<u64>,
}

impl Account {
    fn of(map: &RowMap, meta: &Meta) -> FsResult<Self> {
        let mut account = Self::default();
        for (key, row) in map.table(Table::Leaf) {
            let new = row.as_deref().map_or(Ok(Leaf::default()), Leaf::decode);
            let new = new.map_err(|_| FsError::Inconsistent(Ino(0)))?;
            let old = meta.get(key, Leaf::decode)?.unwrap_or_default();
            account.grown += new.used().count() as i64 - old.used().count() as i64;
            for (_, entry) in new.used() {
                if let Place::Database(id) = entry.place {
                    account.named.insert(id);
                }
            }
            for (position, entry) in old.used() {
                if new.get(position).place != entry.place {
                    account.free(entry.place, meta)?;
                }
            }
        }
        Ok(account)
    }

    fn free(&mut self, place: Place, meta: &Meta) -> FsResult<()> {
        match place {
            Place::Segment(slot) => {
                let row = match self.segments.entry(slot.segment) {
                    Entry::Occupied(row) => row.into_mut(),
                    Entry::Vacant(free) => {
                        let key = Key::segment(slot.segment);
                        let row = meta.get(&key, SegmentRow::decode)?;
                        free.insert(row.ok_or(FsError::Database)?)
                    }
                };
                row.set_dead(slot.index);
            }
            Place::Database(id) => self.blocks.push(id),
            Place::Hole | Place::Remote(_) => {}
        }
        Ok(())
    }
}

/// The key of a vault's journal.
pub(super) fn journal_key(vault: &crate::vault::UnlockedVault) -> JournalKey {
    JournalKey {
        key: vault.master().journal_key(),
        vault: vault.id().0,
    }
}

impl Volume {
    /// Makes the journal ready. Without room for it every fsync is a commit of the database.
    pub(super) fn open_journal(&self) {
        let mut c = self.committer.lock();
        let opened = Journal::open(self.path(), journal_key(&self.vault), c.state.commit);
        if let Err(e) = &opened {
            tracing::warn!(
                errno = e.raw_os_error(),
                "no journal: syncing files is slower"
            );
        }
        c.journal = opened.ok();
    }
}
