//! What opening makes good: segments are compared, and what the last use left is finished.

use std::io;

use super::VolumeError;
use crate::data::segment_path;
use crate::events::EventKind;
use crate::layout::{BLOCK_SIZE, SegmentId, Slot, decode_u64};
use crate::meta::Table;
use crate::volume::Volume;

impl Volume {
    /// Compares every segment with what was committed to it. A volume opened for reading is
    /// opened all the same: reading says what is missing.
    pub(super) fn check_segments(&self) -> Result<(), VolumeError> {
        let vault = self.path().to_owned();
        for (id, row) in &self.committer.lock().segments {
            if row.live() == 0 {
                continue;
            }
            let path = segment_path(&vault, *id);
            let expected = u64::from(row.committed) * BLOCK_SIZE as u64;
            let problem = match std::fs::metadata(&path) {
                Ok(m) if m.len() >= expected => continue,
                Ok(m) => VolumeError::SegmentShort {
                    path,
                    expected,
                    found: m.len(),
                },
                Err(e) if e.kind() == io::ErrorKind::NotFound => VolumeError::SegmentMissing(path),
                Err(e) => VolumeError::Io(e),
            };
            if !self.is_read_only() {
                return Err(problem);
            }
            self.events.note(EventKind::Segment(id.0));
        }
        Ok(())
    }

    /// Finishes what the last use left undone. All of it may be done again after a crash.
    pub(super) fn recover(&self) -> Result<(), VolumeError> {
        // SQLite syncs the directory for the name of its log, and does not look whether it could.
        std::fs::File::open(self.path())?.sync_all()?;
        self.open_journal();
        self.space.restore_reserve();
        self.delete_unknown_segments()?;
        self.shorten_segments()?;
        self.settle_images()?;
        let mut c = self.committer.lock();
        if c.segments.values().any(|s| s.live() == 0) {
            c.reclaim.note_left_over();
        }
        drop(c);
        let freed = self
            .meta
            .stored(Table::Freed, 0..=i64::MAX as u64, usize::MAX >> 1)
            .map_err(VolumeError::NotCommitted)?;
        {
            let mut c = self.committer.lock();
            for (key, row) in freed {
                if c.held.is_still(SegmentId(key.a as u32)) {
                    continue;
                }
                let count = decode_u64(&row).unwrap_or(0) as u32;
                let first = Slot {
                    segment: SegmentId(key.a as u32),
                    index: key.number() as u32,
                };
                let dead = c.segments.get(&first.segment).is_some_and(|s| {
                    let s = c.held.over(first.segment, s);
                    (first.index..first.index.saturating_add(count))
                        .all(|slot| slot < s.committed && !s.is_live(slot))
                });
                if dead {
                    self.punch(&mut c, first, count);
                } else {
                    self.meta.put(key, None);
                }
            }
        }
        let orphans = std::mem::take(&mut *self.orphans.lock());
        for ino in orphans {
            self.purge_orphan(ino).map_err(VolumeError::NotCommitted)?;
        }
        Ok(())
    }

    /// Deletes segment files that nothing committed lies in: leftovers of a crash.
    fn delete_unknown_segments(&self) -> Result<(), VolumeError> {
        let c = self.committer.lock();
        for entry in std::fs::read_dir(self.path().join("segments"))? {
            let entry = entry?;
            let id = entry
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<u32>().ok());
            if let Some(id) = id
                && !c.segments.contains_key(&SegmentId(id))
            {
                self.segments.delete(SegmentId(id))?;
            }
        }
        Ok(())
    }

    /// Gives back what was allocated ahead and not used before a crash.
    fn shorten_segments(&self) -> Result<(), VolumeError> {
        for (id, row) in &self.committer.lock().segments {
            let path = segment_path(self.path(), *id);
            let committed = u64::from(row.committed) * BLOCK_SIZE as u64;
            if std::fs::metadata(&path).is_ok_and(|m| m.len() > committed) {
                std::fs::OpenOptions::new()
                    .write(true)
                    .open(&path)?
                    .set_len(committed)?;
            }
        }
        Ok(())
    }
}
