//! What a check may see of an open volume. Nothing here changes anything but what a commit does.

use std::io;

use parking_lot::{MutexGuard, RwLockReadGuard};

use super::Volume;
use super::commit::Scope;
use crate::data::segment_path;
use crate::error::FsResult;
use crate::layout::{BLOCK_SIZE, SEGMENT_SLOTS, SegmentId, SegmentRow, Slot};
use crate::meta::{Scanner, Table};

impl Volume {
    /// Commits what there is to commit. Returns whether everything is committed; a volume that
    /// failed or met a full disk can be checked as it was last committed.
    pub(crate) fn commit_for_check(&self) -> bool {
        self.is_read_only() || self.commit(&Scope::Everything).is_ok()
    }

    /// The connection for going over everything that is committed.
    pub(crate) fn scanner(&self) -> MutexGuard<'_, Scanner> {
        self.meta.scanner()
    }

    /// While it is held, no slot that the database names now is given back. Commits wait for it,
    /// and readers for them: hold it for a moment only.
    pub(crate) fn hold_slots(&self) -> RwLockReadGuard<'_, ()> {
        self.readers.read()
    }

    /// Slots that a segment's file has room for; none when there is no file.
    pub(crate) fn slots_on_disk(&self, id: SegmentId) -> io::Result<Option<u32>> {
        match std::fs::metadata(segment_path(self.path(), id)) {
            Ok(m) => {
                let slots = m.len() / BLOCK_SIZE as u64;
                Ok(Some(slots.min(u64::from(SEGMENT_SLOTS)) as u32))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// What is committed of a segment now, which may be later than what a snapshot shows.
    pub(crate) fn segment_now(&self, id: SegmentId) -> FsResult<Option<SegmentRow>> {
        let key = u64::from(id.0);
        let found = self.meta.stored(Table::Segment, key..=key, 1)?;
        Ok(found
            .values()
            .next()
            .and_then(|row| SegmentRow::decode(row).ok()))
    }

    /// Reads neighbouring slots from `first` on, as they lie.
    pub(crate) fn read_slots(&self, first: Slot, buf: &mut [u8]) -> io::Result<()> {
        self.segments.read(first, buf)
    }
}
