//! Kept images of the metadata: copies of the database at a commit, beside it in `images/`.
//!
//! An image outlives the loss of the live database, and is a snapshot of all files: opened for
//! reading over the same segments, it shows them as they were. That needs the slots it names to
//! stay as they are: they are *held*, neither punched nor deleted, until the image is dropped.
//!
//! What is hard is that commits go on while an image is made. The slots are held from the moment
//! on of which the image is a copy, in memory; its rows are committed last, when the copy is whole
//! and durable. A crash in between leaves a file without a row, which the next opening removes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::commit::Scope;
use super::{Verify, Volume, VolumeOptions};
use crate::error::{FsError, FsResult};
use crate::events::EventKind;
use crate::layout::{BLOCK_SIZE, ImageId, ImageKind, ImageRow};
use crate::meta::{Key, Table};
use crate::vault::UnlockedVault;
use crate::vfs::{Ino, Timestamp};

mod held;
mod hold;
mod keep;
mod take;
mod upkeep;

pub(crate) use keep::files as image_files;
pub(crate) use take::copy_durably;

pub(super) use held::{Held, Slots};

/// The image files of a vault directory.
const DIRECTORY: &str = "images";

/// What is told of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its number.
    pub id: ImageId,
    /// Why it is kept.
    pub kind: ImageKind,
    /// Its name, which no other image has.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// The commit that it shows.
    pub commit: u64,
    /// Bytes of blocks that it alone keeps: dropping it gives them back.
    pub held_back: u64,
}

/// The images of an open volume.
#[derive(Default)]
pub(super) struct Images {
    /// One image is made at a time, and dropped while none is made. Holds the database file as
    /// it is read for copying: closing it would take `SQLite`'s lock on the file away.
    making: Mutex<Option<File>>,
    kept: RwLock<BTreeMap<ImageId, Arc<Kept>>>,
    /// The hold that a backup copies, taken before anything else here.
    holding: Mutex<Option<hold::Holding>>,
}

/// An image that is kept.
struct Kept {
    row: ImageRow,
    opened: RwLock<Opened>,
}

/// Whether an image is open for reading. It is dropped only while nobody reads in it.
enum Opened {
    Not,
    For(Arc<Volume>),
    /// It is dropped.
    Gone,
}

impl Kept {
    fn new(row: ImageRow) -> Self {
        Self {
            row,
            opened: RwLock::new(Opened::Not),
        }
    }
}

impl Images {
    fn get(&self, id: ImageId) -> Option<Arc<Kept>> {
        self.kept.read().get(&id).cloned()
    }

    fn rows(&self) -> Vec<(ImageId, ImageRow)> {
        let kept = self.kept.read();
        kept.iter().map(|(id, k)| (*id, k.row.clone())).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.kept.read().len()
    }

    /// The image has a row: others may find it.
    pub(super) fn add(&self, id: ImageId, row: ImageRow) {
        self.kept.write().insert(id, Arc::new(Kept::new(row)));
    }
}

impl Volume {
    /// The kept images, oldest first.
    pub fn images(&self) -> Vec<ImageInfo> {
        let rows = self.images.rows();
        let c = self.committer.lock();
        let info = |(id, row): (ImageId, ImageRow)| ImageInfo {
            id,
            kind: row.kind,
            name: row.name,
            created: row.created,
            commit: row.commit,
            held_back: c.held.alone(&[id], &c.segments) * BLOCK_SIZE as u64,
        };
        rows.into_iter().map(info).collect()
    }

    /// Keeps an image of the volume as it is now, under a name that no other image has; without
    /// one, under one made of the time.
    ///
    /// # Errors
    /// [`FsError::Exists`] when the name is taken, [`FsError::InvalidArgument`] when no image can
    /// have it, [`FsError::Busy`] while a check of a large volume holds an older state,
    /// [`FsError::Database`] when the database does not verify, and those of a commit.
    pub fn keep_image(&self, kind: ImageKind, name: Option<&str>) -> FsResult<ImageInfo> {
        if name.is_some_and(|name| !ImageRow::is_name(name)) {
            return Err(FsError::InvalidArgument);
        }
        self.check_may_grow()?;
        let mut making = self.images.making.lock();
        let rows = self.images.rows();
        let taken = |name: &str| rows.iter().any(|(_, row)| row.name == name);
        let name = match name {
            Some(name) if taken(name) => return Err(FsError::Exists),
            Some(name) => name.to_owned(),
            None => free_name(kind, self.now(), taken),
        };
        let id = self.free_image_id(&rows)?;
        let row = self.take_image((id, kind, name), &mut making)?;
        tracing::info!(image = id.0, commit = row.commit, "image kept");
        Ok(ImageInfo {
            id,
            kind,
            name: row.name,
            created: row.created,
            commit: row.commit,
            held_back: 0,
        })
    }

    /// Drops an image and gives back the space that it alone held.
    ///
    /// # Errors
    /// [`FsError::NotFound`] when there is none, [`FsError::Busy`] while files in it are open, and
    /// those of a commit, after which the image is gone all the same.
    pub fn drop_image(&self, id: ImageId) -> FsResult<()> {
        self.check_writable()?;
        let _making = self.images.making.lock();
        self.drop_kept(id)
    }

    /// Drops an image unless another is being made; `None` then.
    fn try_drop_image(&self, id: ImageId) -> Option<FsResult<()>> {
        let _making = self.images.making.try_lock()?;
        Some(self.drop_kept(id))
    }

    fn drop_kept(&self, id: ImageId) -> FsResult<()> {
        let kept = self.images.get(id).ok_or(FsError::NotFound)?;
        {
            let mut opened = kept.opened.write();
            if let Opened::For(volume) = &*opened {
                if volume.handles.open_files() > 0 {
                    return Err(FsError::Busy);
                }
                volume.stop_verifying();
            }
            *opened = Opened::Gone;
        }
        self.images.kept.write().remove(&id);
        self.release_image(id)?;
        let committed = self.commit(&Scope::Everything);
        self.remove_image_files(id);
        tracing::info!(image = id.0, "image dropped");
        committed
    }

    /// Calls `f` with the volume as the image shows it, which can only be read. While it runs the
    /// image is not dropped.
    ///
    /// # Errors
    /// [`FsError::Stale`] when there is no such image any more, [`FsError::Database`] when it
    /// cannot be read, or is not the copy that was made.
    pub fn with_image<R>(&self, id: ImageId, f: impl FnOnce(&Self) -> R) -> FsResult<R> {
        let kept = self.images.get(id).ok_or(FsError::Stale(Ino::ROOT))?;
        let opened = self.opened(id, &kept)?;
        match &*opened {
            // Verified beside, and found to be another: nothing more is read of it.
            Opened::For(volume) if volume.failure().is_some() => Err(FsError::Database),
            Opened::For(volume) => Ok(f(volume)),
            Opened::Not | Opened::Gone => Err(FsError::Stale(Ino::ROOT)),
        }
    }

    /// The volume as the image shows it, for whoever opened this one for reading, so that nobody
    /// drops its images.
    ///
    /// # Errors
    /// Those of [`Volume::with_image`], and [`FsError::NotSupported`] when it may be dropped.
    pub fn image(&self, id: ImageId) -> FsResult<Arc<Self>> {
        if !self.is_read_only() {
            return Err(FsError::NotSupported);
        }
        let kept = self.images.get(id).ok_or(FsError::NotFound)?;
        match &*self.opened(id, &kept)? {
            Opened::For(volume) => Ok(Arc::clone(volume)),
            Opened::Not | Opened::Gone => Err(FsError::NotFound),
        }
    }

    fn opened<'a>(&self, id: ImageId, kept: &'a Kept) -> FsResult<RwLockReadGuard<'a, Opened>> {
        let opened = kept.opened.read();
        if !matches!(*opened, Opened::Not) {
            return Ok(opened);
        }
        drop(opened);
        let mut opened = kept.opened.write();
        if matches!(*opened, Opened::Not) {
            *opened = Opened::For(self.open_kept(id, &kept.row)?);
        }
        Ok(RwLockWriteGuard::downgrade(opened))
    }

    fn open_kept(&self, id: ImageId, row: &ImageRow) -> FsResult<Arc<Self>> {
        let options = VolumeOptions {
            clock: Arc::clone(&self.options.clock),
            barred_symlinks: self.options.barred_symlinks,
            verify: match self.options.verify {
                // Whoever checks the volume looks at the image when its row is passed.
                Verify::Never => Verify::BySize,
                asked => asked,
            },
            ..VolumeOptions::default()
        };
        let opened = self.open_image_of((id, &self.image_path(id)), options);
        let volume = opened.map_err(|error| {
            tracing::error!(image = id.0, %error, "image cannot be opened");
            if error.is_damage() {
                self.events.note(EventKind::Image(id.0));
            }
            FsError::Database
        })?;
        let state = volume.committer.lock().state;
        if (state.commit, state.hash) != (row.commit, row.hash) {
            tracing::error!(image = id.0, "image is of another state");
            self.events.note(EventKind::Image(id.0));
            return Err(FsError::Database);
        }
        Ok(volume)
    }

    /// Closes images that were opened, with the volume itself.
    pub(super) fn close_images(&self) {
        let kept: Vec<_> = self.images.kept.read().values().cloned().collect();
        for image in kept {
            let mut opened = image.opened.write();
            if let Opened::For(volume) = &*opened {
                volume.stop_verifying();
                *opened = Opened::Not;
            }
        }
    }

    /// Lets go of an image's slots; the next commit gives back those that nothing else names.
    fn release_image(&self, id: ImageId) -> FsResult<()> {
        let mut c = self.committer.lock();
        let mut txn = self.meta.txn();
        txn.delete(Key::image(id));
        for key in self.meta.range(Table::Held, u64::from(id.0))?.into_keys() {
            txn.delete(key);
        }
        txn.apply();
        let c = &mut *c;
        let freed = c.held.remove(id, &c.segments);
        c.reclaim.note_freed(freed);
        c.reclaim.note_left_over();
        Ok(())
    }

    pub(super) fn image_path(&self, id: ImageId) -> PathBuf {
        image_path(self.path(), id)
    }

    fn remove_image_files(&self, id: ImageId) {
        let path = self.image_path(id);
        for path in [path.with_extension("db.new"), path] {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    let errno = e.raw_os_error();
                    tracing::warn!(image = id.0, errno, "cannot delete image");
                }
                _ => {}
            }
        }
    }
}

/// The file of an image within a vault directory.
pub(crate) fn image_path(vault: &Path, id: ImageId) -> PathBuf {
    vault.join(DIRECTORY).join(format!("{:06}.db", id.0))
}

/// The names of images that can be opened, newest first.
pub(super) fn image_names(vault: &Arc<UnlockedVault>) -> Vec<String> {
    let at = vault.dir().path();
    let mut ids = image_files(at).unwrap_or_default();
    ids.reverse();
    let named = ids.into_iter().filter_map(|id| {
        let path = image_path(at, id);
        let volume = Volume::open_image(vault, &path, VolumeOptions::unverified()).ok()?;
        let row = volume.meta.get(&Key::image(id), ImageRow::decode).ok()??;
        Some(row.name)
    });
    named.collect()
}

/// A name made of the time, in UTC.
fn free_name(kind: ImageKind, now: Timestamp, taken: impl Fn(&str) -> bool) -> String {
    /// The last second of the year 9999: later ones have no usual form.
    const LAST: u64 = 253_402_300_799;
    let prefix = match kind {
        ImageKind::Automatic => "auto-",
        ImageKind::Snapshot => "",
        ImageKind::Hold => "backup-",
    };
    let since = Duration::from_secs(u64::try_from(now.secs).unwrap_or(0).min(LAST));
    let moment = humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    let moment = moment.replace('T', "-").replace([':', 'Z'], "");
    let name = format!("{prefix}{moment}");
    let mut names = std::iter::once(name.clone()).chain((2..).map(|n| format!("{name}-{n}")));
    names.find(|name| !taken(name)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_made_of_the_time_is_free_and_allowed_at_any_time() {
        let at = |secs| Timestamp { secs, nanos: 0 };
        let name = free_name(ImageKind::Snapshot, at(1_795_271_702), |_| false);
        assert_eq!(name, "2026-11-21-143502");
        let next = free_name(ImageKind::Automatic, at(1_795_271_702), |n| {
            n == "auto-2026-11-21-143502"
        });
        assert_eq!(next, "auto-2026-11-21-143502-2");
        for secs in [i64::MIN, -1, 0, i64::MAX] {
            assert!(ImageRow::is_name(&free_name(
                ImageKind::Hold,
                at(secs),
                |_| false
            )));
        }
    }
}
