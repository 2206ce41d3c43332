//! Holding a vault still for a backup: a directory beside its parts that is a whole vault by
//! itself, as the volume was at one moment, and that nothing changes.
//!
//! Segments are only ever appended to, so the directory has links to them; those that may still be
//! appended to are copied. The database is a kept image, which also keeps what is dead from being
//! punched in the segments that both share. Whoever copies holds a shared lock on the directory's
//! `lock`; when nobody does any more, the hold is over.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::DIRECTORY;
use crate::data::segment_path;
use crate::error::{FsError, FsResult};
use crate::layout::{BLOCK_SIZE, ImageId, ImageKind, SegmentId};
use crate::volume::Volume;

/// The directory that is copied, in the vault directory.
const HOLD: &str = "hold";
/// Parts that are replaced whole when they change.
const PARTS: [&str; 2] = ["superblock.json", "superblock.bak"];
/// How long whoever asked for a hold has to take its lock.
const GRACE: Duration = Duration::from_secs(15);

/// A hold that lasts.
pub(in crate::volume) struct Holding {
    since: Instant,
    /// Somebody had its lock.
    used: bool,
}

impl Holding {
    pub(in crate::volume) fn new() -> Self {
        Self {
            since: Instant::now(),
            used: false,
        }
    }
}

/// Whether somebody has the lock of a hold.
fn is_locked(hold: &Path) -> bool {
    let lock = File::open(hold.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

impl Volume {
    /// Makes a directory that is this vault as it is now, to be copied, and keeps it until
    /// [`Volume::end_hold`], or until nobody has a lock on the file `lock` in it.
    ///
    /// # Errors
    /// [`FsError::Busy`] while there is one, [`FsError::NotSupported`] when the disk has no hard
    /// links, and those of [`Volume::keep_image`].
    pub fn hold(&self) -> FsResult<PathBuf> {
        let mut holding = self.images.holding.lock();
        if holding.is_some() {
            return Err(FsError::Busy);
        }
        let path = self.path().join(HOLD);
        let image = self.keep_image(ImageKind::Hold, None)?;
        if let Err(e) = self.fill_hold(&path, image.id) {
            let _ = fs::remove_dir_all(&path);
            let _ = self.drop_image(image.id);
            return Err(match e.kind() {
                ErrorKind::PermissionDenied | ErrorKind::Unsupported => FsError::NotSupported,
                _ => e.into(),
            });
        }
        *holding = Some(Holding::new());
        tracing::info!(image = image.id.0, "held for a backup");
        Ok(path)
    }

    /// Ends the hold, if there is one.
    ///
    /// # Errors
    /// Those of [`Volume::drop_image`].
    pub fn end_hold(&self) -> FsResult<()> {
        let mut holding = self.images.holding.lock();
        *holding = None;
        fs::remove_dir_all(self.path().join(HOLD)).or_else(absent)?;
        for (id, row) in self.images.rows() {
            if row.kind == ImageKind::Hold {
                self.drop_image(id)?;
            }
        }
        Ok(())
    }

    /// Ends a hold whose user is gone.
    pub(in crate::volume) fn end_abandoned_hold(&self) {
        {
            let Some(mut holding) = self.images.holding.try_lock() else {
                return;
            };
            let Some(holding) = &mut *holding else { return };
            if is_locked(&self.path().join(HOLD)) {
                holding.used = true;
                return;
            }
            if !holding.used && holding.since.elapsed() < GRACE {
                return;
            }
        }
        if let Err(error) = self.end_hold() {
            tracing::warn!(%error, "an abandoned hold cannot be ended");
        }
    }

    /// A hold outlives the program that made it, if what copies it does.
    pub(super) fn settle_hold(&self) -> io::Result<()> {
        let path = self.path().join(HOLD);
        if is_locked(&path) {
            *self.images.holding.lock() = Some(Holding::new());
            return Ok(());
        }
        fs::remove_dir_all(&path).or_else(absent)
    }

    /// Whether a hold lasts.
    pub(super) fn is_held(&self) -> bool {
        self.images.holding.lock().is_some()
    }

    fn fill_hold(&self, hold: &Path, image: ImageId) -> io::Result<()> {
        fs::remove_dir_all(hold).or_else(absent)?;
        let private = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        private(hold)?;
        for part in PARTS {
            // One copy of the superblock may be missing.
            fs::hard_link(self.path().join(part), hold.join(part)).or_else(absent)?;
        }
        fs::hard_link(self.image_path(image), hold.join("meta.db"))?;
        private(&hold.join(DIRECTORY))?;
        for (id, _) in self.images.rows() {
            if id != image {
                let path = self.image_path(id);
                let name = path.file_name().unwrap_or_default();
                fs::hard_link(&path, hold.join(DIRECTORY).join(name))?;
            }
        }
        private(&hold.join("segments"))?;
        for (id, slots) in self.held_segments(image) {
            self.hold_segment(hold, (id, slots))?;
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(hold.join("lock"))?;
        Ok(())
    }

    /// The segments that an image needs, with their length in slots.
    fn held_segments(&self, image: ImageId) -> Vec<(SegmentId, u32)> {
        let c = self.committer.lock();
        let slots = c.held.of(image).into_iter().flatten();
        slots
            .filter(|(_, row)| row.live() > 0)
            .map(|(id, row)| (*id, row.committed))
            .collect()
    }

    fn hold_segment(&self, hold: &Path, (id, slots): (SegmentId, u32)) -> io::Result<()> {
        let (from, to) = (segment_path(self.path(), id), segment_path(hold, id));
        let length = u64::from(slots) * BLOCK_SIZE as u64;
        // Where there is room for more than was committed, more may be on its way there.
        if fs::metadata(&from)?.len() == length {
            return fs::hard_link(from, to);
        }
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)?;
        let copied = io::copy(&mut File::open(from)?.take(length), &mut copy)?;
        if copied == length {
            Ok(())
        } else {
            Err(ErrorKind::UnexpectedEof.into())
        }
    }
}

/// What is not there need not be removed.
fn absent(e: io::Error) -> io::Result<()> {
    match e.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(e),
    }
}
