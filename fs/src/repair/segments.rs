//! Segment files that are missing or short: zeros take the place of what is lost, so that the
//! volume can be written again. Blocks that were there do not verify and are not read as anything.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use super::RepairError;
use super::mend::Mend;
use crate::check::{FindingKind as Kind, Subject};
use crate::data::segment_path;
use crate::layout::{BLOCK_SIZE, SegmentId, SegmentRow};
use crate::meta::Table;
use crate::vault::UnlockedVault;

impl Mend<'_> {
    /// Gives every segment that opening asks for a file of the length it asks for.
    pub(super) fn segment_files(&mut self, vault: &UnlockedVault) -> Result<(), RepairError> {
        let mut rows = BTreeMap::new();
        self.scanner.each(Table::Segment, &mut |row| {
            if let Ok(segment) = SegmentRow::decode(row.value) {
                rows.insert(SegmentId(row.key.a as u32), segment);
            }
        })?;
        for (id, row) in rows.into_iter().filter(|(_, row)| row.live() > 0) {
            let path = segment_path(vault.dir().path(), id);
            let length = u64::from(row.committed) * BLOCK_SIZE as u64;
            let found = std::fs::metadata(&path).map_or(0, |m| m.len());
            if found >= length {
                continue;
            }
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            file.set_len(length)?;
            file.sync_all()?;
            let what = format!(
                "segment {} has zeros from byte {found} on; put its file back if you find it",
                id.0
            );
            let kind = if found == 0 {
                Kind::SegmentMissing
            } else {
                Kind::SegmentShort
            };
            self.note(kind, Subject::Segment(u64::from(id.0)), what);
        }
        std::fs::File::open(vault.dir().segments())?.sync_all()?;
        Ok(())
    }
}
