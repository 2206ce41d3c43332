//! Segments: that each slot is named at most once, that what is recorded of it is so, and that
//! the files are there.

use std::collections::BTreeMap;
use std::ops::Range;

use quick_cache::unsync::Cache;

use super::findings::{Findings, Subject};
use super::maps::Maps;
use super::report::FindingKind as Kind;
use crate::error::FsResult;
use crate::layout::{
    BlockIndex, Leaf, Place, RunOwner, SEGMENT_SLOTS, SegmentId, SegmentRow, Slot, decode_u64,
};
use crate::meta::{Key, ScannedRow, Scanner};
use crate::vfs::Ino;
use crate::volume::Volume;

/// Decoded leaves kept while owners are compared with what files say (5 KiB each).
const LEAVES: usize = 512;

/// What is known of a segment: some KiB.
#[derive(Default)]
struct Use {
    row: Option<SegmentRow>,
    /// Slots that maps name.
    named: SegmentRow,
    /// Those of them that only maps to be freed name: their files are gone.
    trimmed: Option<SegmentRow>,
    /// Slots that the file has room for.
    present: u32,
    owners_seen: bool,
}

/// The segments as far as they were looked at.
pub(super) struct Segments<'a> {
    volume: &'a Volume,
    uses: BTreeMap<u32, Use>,
}

/// What was found at a slot.
pub(super) struct Occupied {
    /// Another entry names it too.
    pub(super) taken: bool,
    /// The file has room for it.
    pub(super) on_disk: bool,
}

impl<'a> Segments<'a> {
    pub(super) fn new(volume: &'a Volume) -> Self {
        Self {
            volume,
            uses: BTreeMap::new(),
        }
    }

    pub(super) fn highest(&self) -> u64 {
        self.uses
            .keys()
            .next_back()
            .map_or(0, |id| u64::from(*id) + 1)
    }

    /// Segments with live slots.
    pub(super) fn in_use(&self) -> u64 {
        self.uses.values().filter(|u| u.named.live() > 0).count() as u64
    }

    /// Takes a row of the segment table, and looks at the file.
    pub(super) fn segment(
        &mut self,
        row: &ScannedRow<'_>,
        findings: &mut Findings,
    ) -> FsResult<()> {
        let subject = Subject::Segment(row.key.a);
        let (Ok(id), Ok(segment)) = (u32::try_from(row.key.a), SegmentRow::decode(row.value))
        else {
            let what = format!("the row of segment {} cannot be read", row.key.a);
            findings.add(Kind::BadRow, subject, what);
            return Ok(());
        };
        let mut present = SEGMENT_SLOTS;
        if segment.live() > 0 {
            let on_disk = self.volume.slots_on_disk(SegmentId(id))?;
            present = on_disk.unwrap_or(0);
            // A mounted volume may have emptied and deleted it since the snapshot.
            if present < segment.committed && self.is_gone_by_now(id)? {
                present = SEGMENT_SLOTS;
            }
            if present < segment.committed {
                let (kind, what) = match on_disk {
                    None => (
                        Kind::SegmentMissing,
                        format!("segment {id} is missing; put its file back from a backup"),
                    ),
                    Some(slots) => (
                        Kind::SegmentShort,
                        format!(
                            "segment {id} has {slots} slots of {}; put its file back from a backup",
                            segment.committed
                        ),
                    ),
                };
                findings.add(kind, subject, what);
            }
        }
        self.uses.insert(
            id,
            Use {
                row: Some(segment),
                present,
                ..Use::default()
            },
        );
        Ok(())
    }

    /// Takes what an image holds of a segment, when all segments were taken.
    pub(super) fn held(
        &mut self,
        (image, id): (u64, SegmentId),
        slots: &SegmentRow,
        findings: &mut Findings,
    ) -> FsResult<()> {
        if slots.live() == 0 {
            return Ok(());
        }
        let subject = Subject::Segment(u64::from(id.0));
        let usage = self.uses.get(&id.0);
        let known = usage
            .and_then(|u| u.row.as_ref())
            .map_or(0, |r| r.committed);
        if known < slots.committed {
            let what = format!(
                "image {image} holds slots of segment {id} that it never had",
                id = id.0
            );
            findings.add(Kind::Held, subject, what);
            return Ok(());
        }
        let live = usage.is_some_and(|u| u.row.as_ref().is_some_and(|r| r.live() > 0));
        let present = self.volume.slots_on_disk(id)?.unwrap_or(0);
        // Where something lives, the file was looked at already.
        if !live && present < slots.committed && self.volume.segment_now(id)?.is_some() {
            let what = format!(
                "segment {} is missing or short, and image {image} shows what was in it",
                id.0
            );
            findings.add(Kind::Held, subject, what);
        }
        Ok(())
    }

    /// Whether what is committed now has nothing in the segment any more.
    fn is_gone_by_now(&self, id: u32) -> FsResult<bool> {
        let now = self.volume.segment_now(SegmentId(id))?;
        Ok(now.is_none_or(|row| row.live() == 0))
    }

    /// Notes that a map names a slot: that of a file, or one that is being trimmed.
    pub(super) fn occupy(&mut self, slot: Slot, owner: Option<Ino>) -> Occupied {
        let volume = self.volume;
        let usage = self.uses.entry(slot.segment.0).or_insert_with(|| Use {
            present: volume
                .slots_on_disk(slot.segment)
                .ok()
                .flatten()
                .unwrap_or(0),
            ..Use::default()
        });
        let taken = usage.named.is_live(slot.index);
        usage.named.set_live(slot.index);
        if owner.is_none() {
            usage.trimmed.get_or_insert_default().set_live(slot.index);
        }
        Occupied {
            taken,
            on_disk: slot.index < usage.present,
        }
    }

    /// Compares what maps name with what is recorded as live, when all leaves were taken.
    pub(super) fn judge_live(&self, findings: &mut Findings) {
        for (id, usage) in &self.uses {
            let subject = Subject::Segment(u64::from(*id));
            let Some(row) = &usage.row else {
                let what = format!("maps name slots of segment {id}, of which nothing is known");
                findings.add(Kind::LiveSlots, subject, what);
                continue;
            };
            let count = |a: &SegmentRow, b: &SegmentRow| {
                (0..SEGMENT_SLOTS)
                    .filter(|s| a.is_live(*s) && !b.is_live(*s))
                    .count()
            };
            let (lost, leaked) = (count(&usage.named, row), count(row, &usage.named));
            if lost + leaked > 0 {
                let what = format!(
                    "of segment {id} {lost} slots with blocks are recorded as free, and {leaked} \
                     free ones as live"
                );
                findings.add(Kind::LiveSlots, subject, what);
            }
            if usage.named.committed > row.committed {
                let (says, needs) = (row.committed, usage.named.committed);
                let what = format!("segment {id} is recorded with {says} slots and needs {needs}");
                findings.add(Kind::LiveSlots, Subject::Segment(u64::from(*id)), what);
            }
        }
    }

    /// Takes a row of the freed table.
    pub(super) fn freed(&self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let (segment, first) = (row.key.a, row.key.number());
        let subject = Subject::Segment(segment);
        let end = decode_u64(row.value)
            .ok()
            .and_then(|count| first.checked_add(count))
            .filter(|end| *end <= u64::from(SEGMENT_SLOTS));
        let Some(end) = end else {
            let what = format!("a row of freed slots of segment {segment} cannot be read");
            findings.add(Kind::BadRow, subject, what);
            return;
        };
        let usage = u32::try_from(segment)
            .ok()
            .and_then(|id| self.uses.get(&id));
        let live = |slots: Range<u64>| {
            usage.is_some_and(|u| slots.into_iter().any(|s| u.named.is_live(s as u32)))
        };
        if live(first..end) {
            let what = format!("slots of segment {segment} are to be punched and hold blocks");
            findings.add(Kind::Freed, subject, what);
        }
    }
}

/// The rows that say whose blocks lie in which slots, compared with what the files say.
pub(super) struct Owners<'a, 'v> {
    scanner: &'a Scanner,
    maps: &'a Maps,
    segments: &'a mut Segments<'v>,
    leaves: Cache<u64, Option<Leaf>>,
    current: Option<(u32, SegmentRow)>,
}

impl<'a, 'v> Owners<'a, 'v> {
    pub(super) fn new(
        scanner: &'a Scanner,
        maps: &'a Maps,
        segments: &'a mut Segments<'v>,
    ) -> Self {
        Self {
            scanner,
            maps,
            segments,
            leaves: Cache::new(LEAVES),
            current: None,
        }
    }

    /// Takes a row of the table of run owners.
    pub(super) fn row(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) -> FsResult<()> {
        let segment = row.key.a;
        let runs = RunOwner::decode_all(row.value).ok().filter(|runs| {
            let count: u64 = runs.iter().map(|r| u64::from(r.count)).sum();
            row.key.number().saturating_add(count) <= u64::from(SEGMENT_SLOTS)
        });
        let (Ok(id), Some(runs)) = (u32::try_from(segment), runs) else {
            let what = format!("a row of owners of slots of segment {segment} cannot be read");
            findings.add(Kind::BadRow, Subject::Segment(segment), what);
            return Ok(());
        };
        if self.current.as_ref().is_none_or(|(at, _)| *at != id) {
            self.end_segment(findings);
            self.current = Some((id, SegmentRow::default()));
        }
        let mut slot = row.key.number() as u32;
        let mut wrong = 0;
        for run in &runs {
            for i in 0..u64::from(run.count) {
                let block = BlockIndex(run.first.0.saturating_add(i));
                wrong += u64::from(!self.is_right((id, slot), (run.ino, block))?);
                slot += 1;
            }
        }
        if wrong > 0 {
            let what = format!("of segment {id} {wrong} slots with blocks name another owner");
            findings.add(Kind::RunOwner, Subject::Segment(segment), what);
        }
        Ok(())
    }

    fn is_right(&mut self, (id, slot): (u32, u32), owner: (Ino, BlockIndex)) -> FsResult<bool> {
        let Some((_, owned)) = &mut self.current else {
            return Ok(true);
        };
        let twice = owned.is_live(slot);
        owned.set_live(slot);
        let Some(usage) = self.segments.uses.get(&id) else {
            return Ok(true);
        };
        if !usage.named.is_live(slot) {
            return Ok(true);
        }
        let trimmed = usage.trimmed.as_ref().is_some_and(|t| t.is_live(slot));
        Ok(!twice && (trimmed || self.place(owner)? == Some((id, slot))))
    }

    /// The slot that a file's own map gives for a block.
    fn place(&mut self, (ino, block): (Ino, BlockIndex)) -> FsResult<Option<(u32, u32)>> {
        // A block beyond the largest file would be taken for another one.
        let possible = block.0 < crate::vfs::FILE_MAX / crate::layout::BLOCK_SIZE as u64;
        let Some(map) = self.maps.map_of(ino).filter(|_| possible) else {
            return Ok(None);
        };
        let key = map.leaf_key(block.leaf());
        let entry = |leaf: &Option<Leaf>| leaf.as_ref().map(|l| l.get(block.within_leaf()));
        let entry = if let Some(leaf) = self.leaves.get(&key) {
            entry(leaf)
        } else {
            let leaf = self.scanner.get(&Key::leaf(map, block.leaf()), |row| {
                row.and_then(|r| Leaf::decode(r).ok())
            })?;
            let found = entry(&leaf);
            self.leaves.insert(key, leaf);
            found
        };
        Ok(match entry.map(|e| e.place) {
            Some(Place::Segment(s)) => Some((s.segment.0, s.index)),
            _ => None,
        })
    }

    fn end_segment(&mut self, findings: &mut Findings) {
        let Some((id, owned)) = self.current.take() else {
            return;
        };
        if let Some(usage) = self.segments.uses.get_mut(&id) {
            usage.owners_seen = true;
            let named = &usage.named;
            report_ownerless(id, (named, &owned), findings);
        }
    }

    /// All rows were taken.
    pub(super) fn end(mut self, findings: &mut Findings) {
        self.end_segment(findings);
        for (id, usage) in &self.segments.uses {
            if !usage.owners_seen {
                report_ownerless(*id, (&usage.named, &SegmentRow::default()), findings);
            }
        }
    }
}

fn report_ownerless(id: u32, (named, owned): (&SegmentRow, &SegmentRow), findings: &mut Findings) {
    let without = (0..SEGMENT_SLOTS)
        .filter(|s| named.is_live(*s) && !owned.is_live(*s))
        .count();
    if without > 0 {
        let what = format!(
            "of segment {id} {without} slots with blocks name no owner, so the segment can never \
             be cleaned"
        );
        findings.add(Kind::RunOwner, Subject::Segment(u64::from(id)), what);
    }
}
