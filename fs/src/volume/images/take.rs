//! Making an image: from a moment between two commits to a file that is durable and listed.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::DIRECTORY;
use crate::error::{FsError, FsResult};
use crate::layout::{ImageId, ImageKind, ImageRow};
use crate::meta::{CommitFailure, Key};
use crate::volume::commit::Scope;
use crate::volume::{Volume, VolumeOptions};

/// How long a moment is waited for in which nobody reads an older commit.
const PATIENCE: Duration = Duration::from_secs(30);
/// Room that stays on the disk beside an image.
const SPARE: u64 = 64 << 20;

/// While it lives, the database file stays as it is: commits go into the log only.
struct Still<'a>(&'a Volume);

impl Drop for Still<'_> {
    fn drop(&mut self) {
        self.0.committer.lock().still = false;
    }
}

impl Volume {
    /// Makes an image; one at a time.
    pub(super) fn take_image(
        &self,
        (id, kind, name): (ImageId, ImageKind, String),
        source: &mut Option<File>,
    ) -> FsResult<ImageRow> {
        let row = ImageRow {
            kind,
            commit: 0,
            hash: [0; 32],
            created: self.now(),
            name,
        };
        self.meta.put(Key::image(id), Some(row.encode()));
        let taken = self.take_whole((id, row), source).inspect_err(|_| {
            // What is committed of its rows goes with the next commit that succeeds.
            let _ = self.release_image(id);
            self.remove_image_files(id);
        })?;
        self.images.add(id, taken.clone());
        Ok(taken)
    }

    fn take_whole(
        &self,
        (id, row): (ImageId, ImageRow),
        source: &mut Option<File>,
    ) -> FsResult<ImageRow> {
        let (still, commit, hash) = self.hold_moment(id, row.kind)?;
        let row = ImageRow {
            commit,
            hash,
            ..row
        };
        self.copy_database(id, source)?;
        drop(still);
        self.verify_copy(id, &row)?;
        self.list_image(id, &row)?;
        Ok(row)
    }

    /// Commits everything and holds the slots of that commit, whose database file stays as it is
    /// until what is returned is dropped.
    fn hold_moment(&self, id: ImageId, kind: ImageKind) -> FsResult<(Still<'_>, u64, [u8; 32])> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.commit(&Scope::Everything)?;
            let mut c = self.committer.lock();
            let Some(writer) = &c.writer else {
                return Err(FsError::ReadOnly);
            };
            let settled = match writer.settle() {
                Err(CommitFailure::NoSpace) => return Err(FsError::NoSpace),
                settled => settled.map_err(|e| self.checkpoint_failed(e))?,
            };
            if settled {
                c.still = true;
                let mut slots = c.segments.clone();
                if kind == ImageKind::Hold {
                    // What is copied for a backup has the images there are, too.
                    for (at, row) in &mut slots {
                        *row = c.held.over(*at, row).into_owned();
                    }
                }
                c.held.add(id, slots);
                if kind == ImageKind::Hold {
                    c.held.keep_still(id);
                }
                return Ok((Still(self), c.state.commit, c.state.hash));
            }
            drop(c);
            if Instant::now() > deadline {
                return Err(FsError::Busy);
            }
        }
    }

    fn copy_database(&self, id: ImageId, source: &mut Option<File>) -> FsResult<()> {
        let from = match source {
            Some(file) => file,
            None => source.insert(File::open(self.vault.dir().meta_db())?),
        };
        let size = from.metadata()?.len();
        let disk = nix::sys::statvfs::statvfs(self.path()).map_err(io::Error::from)?;
        if disk.blocks_available() * disk.fragment_size() < size + SPARE {
            return Err(FsError::NoSpace);
        }
        let path = self.image_path(id);
        let copied = path.with_extension("db.new");
        copy_durably(from, &copied)?;
        std::fs::rename(&copied, &path)?;
        File::open(self.path().join(DIRECTORY))?.sync_all()?;
        Ok(())
    }

    /// A copy of a damaged database is no image.
    fn verify_copy(&self, id: ImageId, row: &ImageRow) -> FsResult<()> {
        let whole = self.opened_whole(id, row).is_some();
        if whole {
            return Ok(());
        }
        tracing::error!(image = id.0, "the copy of the database does not verify");
        Err(FsError::Database)
    }

    /// Whether an image is what its row says, to the last row in it.
    pub(crate) fn is_image_whole(&self, id: ImageId, row: &ImageRow) -> bool {
        self.opened_whole(id, row)
            .is_some_and(|image| image.is_verified())
    }

    /// The image, if every page of it verifies and its state is the one that the row says.
    fn opened_whole(&self, id: ImageId, row: &ImageRow) -> Option<Arc<Volume>> {
        let path = self.image_path(id);
        let image = Volume::open_image(&self.vault, &path, VolumeOptions::unverified()).ok()?;
        // A connection that reads an altered page answers nothing any more: pages come first.
        let bad = image.scanner().bad_pages().ok()?;
        let state = image.committer.lock().state;
        let same = (state.commit, state.hash) == (row.commit, row.hash);
        (bad.is_empty() && same).then_some(image)
    }

    /// Commits the rows of an image.
    fn list_image(&self, id: ImageId, row: &ImageRow) -> FsResult<()> {
        {
            let c = self.committer.lock();
            let mut txn = self.meta.txn();
            txn.put(Key::image(id), row.encode());
            for (at, slots) in c.held.of(id).into_iter().flatten() {
                if slots.live() > 0 {
                    txn.put(Key::held(id, *at), slots.encode());
                }
            }
            txn.apply();
        }
        self.commit(&Scope::Everything)
    }

    /// A number that neither an image nor a file has.
    pub(super) fn free_image_id(&self, rows: &[(ImageId, ImageRow)]) -> FsResult<ImageId> {
        let files = super::image_files(self.path())?;
        let highest = rows.iter().map(|(id, _)| *id).chain(files).max();
        let next = highest.map_or(1, |id| id.0.saturating_add(1));
        if next > ImageId::LAST {
            return Err(FsError::NoSpace);
        }
        Ok(ImageId(next))
    }
}

/// Copies a file from its beginning, readable by its owner only, and syncs the copy.
pub(crate) fn copy_durably(from: &mut File, to: &Path) -> FsResult<()> {
    from.seek(SeekFrom::Start(0))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)?;
    io::copy(from, &mut file)?;
    file.sync_all()?;
    Ok(())
}
