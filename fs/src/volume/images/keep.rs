//! What an opening finds of images: rows without a file, and files without a row.

use std::path::Path;

use super::DIRECTORY;
use crate::error::FsResult;
use crate::layout::{ImageId, ImageKind, ImageRow, SegmentId, SegmentRow};
use crate::meta::Table;
use crate::volume::{Volume, VolumeError};

/// The numbers of the image files in a vault directory, halves of images included.
pub(crate) fn files(vault: &Path) -> FsResult<Vec<ImageId>> {
    let entries = match std::fs::read_dir(vault.join(DIRECTORY)) {
        Ok(entries) => entries,
        // A copying program dropped it for being empty.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name
            .to_str()
            .and_then(|n| n.strip_suffix(".db.new").or_else(|| n.strip_suffix(".db")))
            .and_then(|n| n.parse().ok());
        found.extend(number.map(ImageId));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

impl Volume {
    /// Reads which images are kept and what they hold.
    pub(in crate::volume) fn load_images(&self) -> FsResult<()> {
        let all = |table| {
            self.meta
                .stored(table, 0..=u64::from(u32::MAX), usize::MAX >> 1)
        };
        let damaged = || crate::error::FsError::Database;
        let mut c = self.committer.lock();
        for (key, row) in all(Table::Image)? {
            let row = ImageRow::decode(&row).map_err(|_| damaged())?;
            if !row.is_whole() {
                continue;
            }
            let id = ImageId(key.a as u32);
            c.held.add(id, super::held::Slots::new());
            if row.kind == ImageKind::Hold {
                c.held.keep_still(id);
            }
            self.images.add(id, row);
        }
        for (key, row) in all(Table::Held)? {
            let at = u32::try_from(key.number()).map_err(|_| damaged())?;
            let row = SegmentRow::decode(&row).map_err(|_| damaged())?;
            c.held
                .add_segment(ImageId(key.a as u32), SegmentId(at), row);
        }
        Ok(())
    }

    /// Deletes the rows of images that were being made.
    fn forget_halves(&self) -> FsResult<()> {
        let all = 0..=i64::MAX as u64;
        for (key, row) in self.meta.stored(Table::Image, all, usize::MAX >> 1)? {
            if ImageRow::decode(&row).is_ok_and(|row| !row.is_whole()) {
                self.meta.put(key, None);
            }
        }
        Ok(())
    }

    /// Drops images whose file is gone, and files of which no row knows: halves that a crash left.
    pub(in crate::volume) fn settle_images(&self) -> Result<(), VolumeError> {
        let files = files(self.path()).map_err(VolumeError::NotCommitted)?;
        self.settle_hold()?;
        self.forget_halves().map_err(VolumeError::NotCommitted)?;
        let mut rows = self.images.rows();
        let held = self.is_held();
        let is_lost = |id, row: &ImageRow| {
            !self.image_path(id).is_file() || row.kind == ImageKind::Hold && !held
        };
        for (id, row) in &rows {
            if is_lost(*id, row) {
                tracing::info!(image = id.0, "image is no longer kept");
                self.images.kept.write().remove(id);
                self.release_image(*id).map_err(VolumeError::NotCommitted)?;
            }
        }
        rows.retain(|(id, row)| !is_lost(*id, row));
        let mut left_over = false;
        for id in files {
            if !rows.iter().any(|(known, _)| *known == id) {
                self.remove_image_files(id);
                left_over = true;
            }
        }
        if left_over {
            // What died while such an image was made was held back and is not listed anywhere.
            let mut c = self.committer.lock();
            let all = c.segments.keys().copied().collect();
            c.reclaim.note_freed(all);
        }
        Ok(())
    }
}
