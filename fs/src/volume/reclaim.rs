//! Giving space back: dead runs are punched, dead segments deleted, nearly dead ones cleaned.
//!
//! A slot is dead when no committed map names it and no uncommitted change does. The second is
//! known only of segments that were full before the cut of a commit of everything: what lies in
//! them is in that cut, in what was committed before, or superseded. So only those are touched.

use std::collections::{BTreeMap, BTreeSet};

use super::Volume;
use super::commit::Committer;
use super::flush::Moving;
use super::images::Held;
use super::install::Install;
use crate::error::{FsError, FsResult};
use crate::layout::{
    BLOCK_SIZE, BlockIndex, Place, RunOwner, SEGMENT_SLOTS, SegmentId, SegmentRow, Slot, encode_u64,
};
use crate::meta::{Key, Table};

/// Dead runs shorter than this (256 KiB) are not worth the call that punches them.
const PUNCH_SLOTS: u32 = 64;
/// A segment is no longer appended to with this many dead slots (32 MiB).
const RETIRE_SLOTS: u32 = 8192;
/// A segment with fewer live slots than this share of its committed ones is cleaned.
const CLEAN_BELOW_PERCENT: u32 = 30;
/// Live blocks that one commit moves to clean segments (32 MiB), unless a single one has more.
const CLEAN_BLOCKS: usize = 8192;

/// What a commit gives back once it is durable.
#[derive(Default)]
pub(super) struct Reclaimed {
    /// Segments with slots that died.
    pub(super) freed: BTreeSet<SegmentId>,
    /// Dead segments were looked for.
    swept: bool,
    /// Segments whose dead runs were looked at.
    examined: BTreeSet<SegmentId>,
    /// Segments without a live slot.
    pub(super) deleted: BTreeSet<SegmentId>,
    /// Dead runs to punch.
    pub(super) runs: Vec<(Slot, u32)>,
}

/// What is known between commits.
#[derive(Default)]
pub(super) struct Reclaim {
    /// Segments with slots that died and were not looked at yet.
    stale: BTreeSet<SegmentId>,
    /// Slots punched since the volume was opened: they are not punched again.
    punched: BTreeMap<SegmentId, Vec<bool>>,
    /// There may be segments without a live slot from before the volume was opened.
    left_over: bool,
    /// Live slots of segments when they were last cleaned.
    cleaned: BTreeMap<SegmentId, u32>,
}

impl Reclaim {
    /// Slots of these segments died before the volume was opened.
    pub(super) fn note_freed(&mut self, segments: BTreeSet<SegmentId>) {
        self.stale.extend(segments);
    }

    /// Tells the first commit to look for dead segments.
    pub(super) fn note_left_over(&mut self) {
        self.left_over = true;
    }

    /// Nothing can be given back now: what died lies in segments that are still appended to.
    pub(super) fn is_done(&self, filling: &[SegmentId], held: &Held) -> bool {
        let waits = |id: &SegmentId| filling.contains(id) || held.is_still(*id);
        !self.left_over && self.stale.iter().all(waits)
    }
}

impl Install<'_> {
    /// Finds what the commit gives back.
    pub(super) fn reclaim(&mut self, closed: &BTreeSet<SegmentId>) -> FsResult<()> {
        self.out.reclaimed.swept = true;
        let dead: Vec<SegmentId> = closed
            .iter()
            .filter(|id| self.current(**id).is_none_or(|r| r.live() == 0))
            .filter(|id| !self.committer.held.holds(**id))
            .copied()
            .collect();
        for id in dead {
            for table in [Table::RunOwner, Table::Freed] {
                for key in self.range_keys(table, id)? {
                    self.out.rows.insert(key, None);
                }
            }
            self.out.reclaimed.deleted.insert(id);
        }
        let stale: Vec<SegmentId> = self
            .committer
            .reclaim
            .stale
            .union(&self.freed)
            .copied()
            .collect();
        for id in stale {
            let untouchable = self.committer.held.is_still(id);
            if closed.contains(&id) && !untouchable && !self.out.reclaimed.deleted.contains(&id) {
                self.find_runs(id);
                self.out.reclaimed.examined.insert(id);
            }
        }
        Ok(())
    }

    fn current(&self, id: SegmentId) -> Option<&SegmentRow> {
        self.out
            .segments
            .get(&id)
            .or_else(|| self.committer.segments.get(&id))
    }

    fn find_runs(&mut self, id: SegmentId) {
        let Some(row) = self.current(id) else { return };
        let row = self.committer.held.over(id, row);
        let punched = self.committer.reclaim.punched.get(&id);
        let mut runs = Vec::new();
        let mut slot = 0;
        while slot < row.committed {
            if row.is_live(slot) {
                slot += 1;
                continue;
            }
            let (first, count) = row.dead_run(slot);
            slot = first + count;
            let done = punched.is_some_and(|p| (first..slot).all(|s| p[s as usize]));
            if count >= PUNCH_SLOTS && !done {
                runs.push((
                    Slot {
                        segment: id,
                        index: first,
                    },
                    count,
                ));
            }
        }
        for (first, count) in &runs {
            let key = Key::freed(first.segment, first.index);
            self.out
                .rows
                .insert(key, Some(encode_u64(u64::from(*count))));
        }
        self.out.reclaimed.runs.extend(runs);
    }
}

impl Volume {
    /// Gives back what a durable commit no longer names.
    pub(super) fn give_back(&self, c: &mut Committer, reclaimed: &Reclaimed) {
        c.reclaim.stale.extend(&reclaimed.freed);
        c.reclaim.left_over &= !reclaimed.swept;
        for id in reclaimed.examined.iter().chain(&reclaimed.deleted) {
            c.reclaim.stale.remove(id);
        }
        if reclaimed.runs.is_empty() && reclaimed.deleted.is_empty() {
            return;
        }
        // Whoever resolved a block before the commit has read it once this is passed.
        drop(self.readers.write());
        for (first, count) in &reclaimed.runs {
            self.punch(c, *first, *count);
        }
        for id in &reclaimed.deleted {
            if let Err(e) = self.segments.delete(*id) {
                tracing::warn!(
                    segment = id.0,
                    errno = e.raw_os_error(),
                    "cannot delete segment"
                );
            }
            c.segments.remove(id);
            c.reclaim.punched.remove(id);
            c.reclaim.cleaned.remove(id);
        }
    }

    /// Punches a dead run whose row is committed, and lets the next commit delete the row.
    pub(super) fn punch(&self, c: &mut Committer, first: Slot, count: u32) {
        match self.segments.punch(first, count) {
            Ok(()) => {
                let slots = c
                    .reclaim
                    .punched
                    .entry(first.segment)
                    .or_insert_with(|| vec![false; SEGMENT_SLOTS as usize]);
                slots[first.index as usize..(first.index + count) as usize].fill(true);
                self.meta.put(Key::freed(first.segment, first.index), None);
            }
            Err(e) => {
                let errno = e.raw_os_error();
                tracing::warn!(segment = first.segment.0, errno, "cannot punch segment");
            }
        }
    }

    /// Stops appending to a segment in which much is dead, so that it can be given back.
    pub(super) fn retire_dead(&self, c: &Committer) -> FsResult<()> {
        let live = |id| {
            let row = c.segments.get(&id);
            row.map_or(0, |row| c.held.over(id, row).live())
        };
        self.segments
            .retire(|id, used| used.saturating_sub(live(id)) >= RETIRE_SLOTS)?;
        Ok(())
    }

    /// Cleaning takes the disk from programs, so it waits while they write much: but not on a full
    /// disk, nor when twice as much is dead as lives, which bounds what a busy volume takes.
    pub(super) fn is_cleaning_urgent(&self, c: &Committer) -> bool {
        let (mut live, mut dead) = (0, 0);
        for row in c.segments.values() {
            live += u64::from(row.live());
            dead += u64::from(row.committed.saturating_sub(row.live()));
        }
        self.space.is_full() || dead > 2 * live.max(SEGMENT_SLOTS.into())
    }

    /// Moves what still lives in nearly dead segments; the commit that follows frees them.
    pub(super) fn clean(&self, c: &mut Committer) -> FsResult<()> {
        let filling = self.segments.filling();
        let below = if self.space.is_full() {
            80
        } else {
            CLEAN_BELOW_PERCENT
        };
        let victims: Vec<(SegmentId, u32)> = c
            .segments
            .iter()
            // What an image names would have to stay where it is.
            .filter(|(id, _)| !filling.contains(id) && !c.held.holds(**id))
            .map(|(id, row)| (*id, row.live(), row.committed))
            .filter(|(id, live, committed)| {
                *live > 0
                    && live * 100 < committed * below
                    && c.reclaim.cleaned.get(id) != Some(live)
            })
            .map(|(id, live, _)| (id, live))
            .collect();
        for (id, live) in chosen(victims) {
            match self.clean_segment(c, id) {
                Err(FsError::NoSpace) => return Ok(()),
                other => other?,
            }
            c.reclaim.cleaned.insert(id, live);
        }
        Ok(())
    }

    fn clean_segment(&self, c: &Committer, id: SegmentId) -> FsResult<()> {
        let mut moving = Vec::new();
        for (key, bytes) in self.meta.range(Table::RunOwner, u64::from(id.0))? {
            let mut index = key.number() as u32;
            let runs = RunOwner::decode_all(&bytes).map_err(|_| FsError::Database)?;
            for run in runs {
                for i in 0..run.count {
                    let slot = Slot {
                        segment: id,
                        index: index + i,
                    };
                    let live = slot.index < SEGMENT_SLOTS
                        && c.segments.get(&id).is_some_and(|s| s.is_live(slot.index));
                    if live {
                        let block = BlockIndex(run.first.0 + u64::from(i));
                        moving.extend(self.lift((run.ino, block), slot)?);
                    }
                }
                index += run.count;
            }
        }
        self.relocate(&moving)
    }

    fn lift(
        &self,
        (ino, block): (crate::vfs::Ino, BlockIndex),
        slot: Slot,
    ) -> FsResult<Option<Moving>> {
        let Some(entry) = self.entry_at(ino, block, Place::Segment(slot))? else {
            return Ok(None);
        };
        let mut ciphertext = vec![0; BLOCK_SIZE].into_boxed_slice();
        if self.segments.read(slot, &mut ciphertext).is_err() {
            // A damaged block stays where it is; reading it says so.
            return Ok(None);
        }
        Ok(Some(Moving {
            ino,
            block,
            entry,
            ciphertext,
        }))
    }
}

/// Those of nearly dead segments that one commit cleans: first those with the fewest live slots,
/// as they give back most for what is moved; and always one, as on a full disk all may be large.
fn chosen(mut victims: Vec<(SegmentId, u32)>) -> Vec<(SegmentId, u32)> {
    victims.sort_unstable_by_key(|(id, live)| (*live, *id));
    let mut moved = 0;
    victims
        .into_iter()
        .take_while(|(_, live)| {
            let first = moved == 0;
            moved += *live as usize;
            first || moved <= CLEAN_BLOCKS
        })
        .collect()
}

impl Install<'_> {
    fn range_keys(&self, table: Table, id: SegmentId) -> FsResult<Vec<Key>> {
        Ok(self
            .volume
            .meta
            .range(table, u64::from(id.0))?
            .into_keys()
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen_of(live: &[u32]) -> Vec<u32> {
        let victims = live.iter().zip(1..).map(|(l, id)| (SegmentId(id), *l));
        let chosen = chosen(victims.collect()).into_iter();
        chosen.map(|(_, live)| live).collect()
    }

    #[test]
    fn a_large_segment_keeps_no_other_from_being_cleaned() {
        let large = CLEAN_BLOCKS as u32 + 1;
        assert_eq!(chosen_of(&[large, 100, 2000]), [100, 2000]);
        assert_eq!(chosen_of(&[8000, 100, 92]), [92, 100, 8000]);
        assert_eq!(chosen_of(&[8001, 100, 92]), [92, 100]);
    }

    #[test]
    fn one_segment_is_cleaned_however_much_lives_in_it() {
        let large = CLEAN_BLOCKS as u32 + 1;
        assert_eq!(chosen_of(&[large + 1, large]), [large]);
        assert!(chosen_of(&[]).is_empty());
    }
}
