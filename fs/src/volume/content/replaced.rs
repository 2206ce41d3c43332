//! Blocks that others wrote, put in the place of those that a file has.

use super::{BlockKind, Content, Leaves};
use crate::error::FsResult;
use crate::layout::{BLOCK_SIZE, BlockEntry, BlockIndex};

/// Other blocks of a file, with what it has in their place.
pub(in crate::volume) struct Replacing {
    /// From where on there is nothing, and how many blocks are data there.
    cut: Option<(BlockIndex, u64)>,
    entries: Vec<(BlockIndex, BlockEntry, BlockKind)>,
}

impl Content {
    /// Looks at what is to be replaced, with all that can fail in it. The content lock is held from
    /// here until it is replaced.
    pub(in crate::volume) fn plan_replacing(
        &self,
        size: u64,
        entries: &[(BlockIndex, BlockEntry)],
        leaves: &impl Leaves,
    ) -> FsResult<Replacing> {
        let limit = BlockIndex(size.div_ceil(BLOCK_SIZE as u64));
        let cut = if size < self.head.size {
            Some((limit, self.data_blocks_from(limit, leaves)?))
        } else {
            None
        };
        let kinds = entries.iter().map(|(block, entry)| {
            let kind = self.kind(*block, leaves)?;
            Ok((*block, *entry, kind))
        });
        Ok(Replacing {
            cut,
            entries: kinds.collect::<FsResult<_>>()?,
        })
    }

    /// Replaces what was planned. Returns like [`Content::cut_off`].
    pub(in crate::volume) fn replace(&mut self, replacing: Replacing) -> u64 {
        self.head.changed = true;
        let mut gone = 0;
        if let Some((limit, data)) = replacing.cut {
            self.head.blocks -= data as i64;
            self.head.limit = self.head.limit.min(limit);
            gone += self.head.drop_from(limit);
        }
        for (block, entry, was) in replacing.entries {
            let dirty = self.head.dirty.remove(&block);
            gone += u64::from(dirty.is_some_and(|d| !d.in_flight));
            let is = super::Source::of(entry).kind();
            self.head.blocks +=
                i64::from(is == BlockKind::Data) - i64::from(was == BlockKind::Data);
            self.head.set_entry(block, entry);
        }
        gone
    }
}
