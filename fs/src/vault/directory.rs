//! The vault directory on disk: its parts, the lock that keeps it to one daemon, and superblock
//! copies read and replaced as bytes.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::error::{Action, Damage, Part, VaultError};
use super::superblock::SUPERBLOCK_LIMIT;

/// Name of the metadata database.
const META_DB: &str = "meta.db";
/// Name of the directory of segments.
const SEGMENTS: &str = "segments";
/// Name of the directory of kept metadata images.
const IMAGES: &str = "images";
/// Name of the lock file.
pub(super) const LOCK: &str = "lock";

/// What a vault is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Reading and writing, alone.
    #[default]
    ReadWrite,
    /// Reading only, beside other readers; nothing in the directory is changed.
    ReadOnly,
}

/// One of the two copies of the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    Primary,
    Backup,
}

impl Copy {
    pub(super) const ALL: [Self; 2] = [Self::Primary, Self::Backup];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Primary => "superblock.json",
            Self::Backup => "superblock.bak",
        }
    }

    fn staged_name(self) -> &'static str {
        match self {
            Self::Primary => "superblock.json.new",
            Self::Backup => "superblock.bak.new",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Primary => Self::Backup,
            Self::Backup => Self::Primary,
        }
    }
}

/// An open vault directory. Holds the lock until it is dropped.
#[derive(Debug)]
pub struct VaultDir {
    path: PathBuf,
    access: Access,
    /// `None` only when reading where no lock file is, or beside the process that has it.
    lock: Option<File>,
}

impl VaultDir {
    /// Opens and locks the directory of a vault whose parts are all there.
    pub(super) fn open(path: &Path, access: Access) -> Result<Self, VaultError> {
        let path = existing_directory(path)?;
        require_parts(&path)?;
        Self::lock(path, access)
    }

    /// Opens and locks the directory of a vault that may have lost this part.
    pub(super) fn open_without(path: &Path, lost: Part) -> Result<Self, VaultError> {
        let path = existing_directory(path)?;
        match require_parts(&path) {
            Err(VaultError::MissingPart { part, .. }) if part == lost => {}
            other => other?,
        }
        Self::lock(path, Access::ReadWrite)
    }

    /// Opens the directory of a vault that another process may have locked, to read its superblock.
    pub(super) fn beside(path: &Path) -> Result<Self, VaultError> {
        let path = existing_directory(path)?;
        require_parts(&path)?;
        Ok(Self {
            path,
            access: Access::ReadOnly,
            lock: None,
        })
    }

    /// Locks `path`, which must be an absolute path of a directory.
    fn lock(path: PathBuf, access: Access) -> Result<Self, VaultError> {
        let lock = match access {
            Access::ReadWrite => Some(lock_alone(&path)?),
            Access::ReadOnly => lock_shared(&path)?,
        };
        Ok(Self { path, access, lock })
    }

    /// Takes an empty directory for a new vault: makes the lock, then the other parts.
    ///
    /// The lock file is made exclusively, so of two that find the directory empty one fails here,
    /// before it has made anything.
    pub(super) fn claim(path: PathBuf) -> Result<Self, VaultError> {
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => VaultError::NotEmpty { path: path.clone() },
                _ => VaultError::io(Action::Create, &lock_path, e),
            })?;
        let lock = locked(&path, lock.try_lock(), lock)?;
        write_pid(&lock);
        Ok(Self {
            path,
            access: Access::ReadWrite,
            lock: Some(lock),
        })
    }

    /// Makes `segments/` and `images/`.
    pub(super) fn make_parts(&self) -> Result<(), VaultError> {
        for part in [self.segments(), self.images()] {
            make_directory(&part).map_err(|e| VaultError::io(Action::Create, &part, e))?;
        }
        Ok(())
    }

    /// Where the vault is: absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the vault was opened for.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Path of the metadata database.
    pub fn meta_db(&self) -> PathBuf {
        self.path.join(META_DB)
    }

    /// Path of the directory of segments.
    pub fn segments(&self) -> PathBuf {
        self.path.join(SEGMENTS)
    }

    /// Path of the directory of kept metadata images.
    pub fn images(&self) -> PathBuf {
        self.path.join(IMAGES)
    }

    /// Path of the preallocated space that a commit on a full disk releases.
    pub fn reserve(&self) -> PathBuf {
        self.path.join("reserve")
    }

    /// Makes the names in the vault directory durable.
    pub fn sync(&self) -> Result<(), VaultError> {
        sync_directory(&self.path)
    }

    /// Path of a superblock copy.
    pub(super) fn copy_path(&self, copy: Copy) -> PathBuf {
        self.path.join(copy.name())
    }

    /// The bytes of a superblock copy.
    pub(super) fn read_copy(&self, copy: Copy) -> Result<Vec<u8>, Damage> {
        read_bounded(&self.copy_path(copy))
    }

    /// Replaces both copies durably, `first` before the other, each by what `contents` says.
    ///
    /// All bytes are on the disk before the first name changes, so a full disk changes nothing,
    /// and one whole copy exists at every moment. After `HalfWritten` the first copy is in force.
    pub(super) fn replace_copies(&self, contents: &[u8], first: Copy) -> Result<(), VaultError> {
        if self.access == Access::ReadOnly {
            return Err(VaultError::ReadOnlyDirectory {
                path: self.path.clone(),
            });
        }
        let order = [first, first.other()];
        let staged = order
            .iter()
            .try_for_each(|copy| self.stage(*copy, contents));
        let replaced = staged.and_then(|()| self.publish(first)).inspect_err(|_| {
            for copy in order {
                // Litter at worst: the next change overwrites it.
                let _ = fs::remove_file(self.path.join(copy.staged_name()));
            }
        });
        replaced?;
        let rest = || {
            self.sync()?;
            self.publish(first.other())?;
            self.sync()
        };
        rest().map_err(|e| VaultError::HalfWritten {
            stale: self.copy_path(first.other()),
            source: match e {
                VaultError::Io { source, .. } => source,
                other => io::Error::other(other),
            },
        })
    }

    fn stage(&self, copy: Copy, contents: &[u8]) -> Result<(), VaultError> {
        let path = self.path.join(copy.staged_name());
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(VaultError::io(Action::Remove, &path, e))
            }
            _ => write_new(&path, contents),
        }
    }

    fn publish(&self, copy: Copy) -> Result<(), VaultError> {
        let path = self.copy_path(copy);
        fs::rename(self.path.join(copy.staged_name()), &path)
            .map_err(|e| VaultError::io(Action::Rename, &path, e))
    }
}

impl Drop for VaultDir {
    fn drop(&mut self) {
        if let (Some(lock), Access::ReadWrite) = (&self.lock, self.access) {
            // A number left behind only makes a later message less exact.
            let _ = lock.set_len(0);
        }
    }
}

/// `path` made absolute and free of symbolic links, if it is a directory.
pub(super) fn existing_directory(path: &Path) -> Result<PathBuf, VaultError> {
    let absolute = fs::canonicalize(path).map_err(|e| VaultError::io(Action::Open, path, e))?;
    if absolute.is_dir() {
        Ok(absolute)
    } else {
        Err(VaultError::NotADirectory {
            path: path.to_path_buf(),
        })
    }
}

/// Makes a directory that only its owner can enter.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), VaultError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| VaultError::io(Action::Sync, path, e))
}

/// Makes a file that only its owner can read, durable but for its name. Leaves nothing on failure.
pub(super) fn write_new(path: &Path, contents: &[u8]) -> Result<(), VaultError> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => VaultError::Exists {
            path: path.to_path_buf(),
        },
        _ => VaultError::io(Action::Create, path, e),
    })?;
    let written = file
        .write_all(contents)
        .map_err(|e| VaultError::io(Action::Write, path, e))
        .and_then(|()| {
            file.sync_all()
                .map_err(|e| VaultError::io(Action::Sync, path, e))
        });
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

/// Reads a regular file of at most a superblock's size. Neither follows a symbolic link nor waits
/// for the other end of a FIFO: the directory may have been prepared by someone else.
pub(super) fn read_bounded(path: &Path) -> Result<Vec<u8>, Damage> {
    let unreadable = |e: io::Error| match e.raw_os_error() {
        Some(libc::ENOENT) => Damage::Absent,
        Some(libc::ELOOP | libc::ENXIO) => Damage::NotAFile,
        errno => Damage::Unreadable(errno.unwrap_or(libc::EIO)),
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Damage::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(SUPERBLOCK_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > SUPERBLOCK_LIMIT {
        return Err(Damage::TooLarge);
    }
    Ok(bytes)
}

/// Whether anything at this path belongs to a vault.
pub(super) fn looks_like_a_vault(path: &Path) -> bool {
    let present = |name: &str| path.join(name).symlink_metadata().is_ok();
    Copy::ALL.iter().any(|copy| present(copy.name())) || present(META_DB) && present(SEGMENTS)
}

fn require_parts(path: &Path) -> Result<(), VaultError> {
    if !looks_like_a_vault(path) {
        // Distinguishes a directory that cannot be searched from one that holds no vault.
        fs::read_dir(path).map_err(|e| VaultError::io(Action::Read, path, e))?;
        return Err(VaultError::NotAVault {
            path: path.to_path_buf(),
        });
    }
    let superblock = Copy::ALL
        .iter()
        .any(|copy| path.join(copy.name()).symlink_metadata().is_ok());
    let parts = [
        (Part::Superblock, superblock),
        (Part::Database, path.join(META_DB).is_file()),
        (Part::Segments, path.join(SEGMENTS).is_dir()),
    ];
    // A missing superblock is told last: it can be restored, and only into a vault that is whole.
    match parts.iter().rev().find(|(_, present)| !present) {
        Some((part, _)) => Err(VaultError::MissingPart {
            path: path.to_path_buf(),
            part: *part,
        }),
        None => Ok(()),
    }
}

fn lock_alone(path: &Path) -> Result<File, VaultError> {
    let read_only = || VaultError::ReadOnlyDirectory {
        path: path.to_path_buf(),
    };
    let flags = AccessFlags::W_OK | AccessFlags::X_OK;
    faccessat(AT_FDCWD, path, flags, AtFlags::AT_EACCESS).map_err(|_| read_only())?;
    let lock_path = path.join(LOCK);
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(&lock_path)
        .map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied => read_only(),
            _ => VaultError::io(Action::Open, &lock_path, e),
        })?;
    let lock = locked(path, lock.try_lock(), lock)?;
    write_pid(&lock);
    Ok(lock)
}

fn lock_shared(path: &Path) -> Result<Option<File>, VaultError> {
    let lock = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path.join(LOCK));
    let lock = match lock {
        Ok(lock) => lock,
        // A daemon that writes here has made the file; and on a read-only medium none can be made.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(VaultError::io(Action::Lock, &path.join(LOCK), e)),
    };
    match locked(path, lock.try_lock_shared(), lock) {
        Ok(lock) => Ok(Some(lock)),
        Err(VaultError::UnsupportedFilesystem { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

fn locked(path: &Path, result: Result<(), TryLockError>, lock: File) -> Result<File, VaultError> {
    match result {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(VaultError::InUse {
            path: path.to_path_buf(),
            pid: living_holder(&lock),
        }),
        Err(TryLockError::Error(e)) => Err(VaultError::io(Action::Lock, path, e)),
    }
}

/// Best effort: a vault on a full disk must still open, if only to free space.
fn write_pid(mut lock: &File) {
    let _ = lock
        .set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()));
}

fn living_holder(lock: &File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    let pid: u32 = text.trim().parse().ok()?;
    Path::new("/proc")
        .join(pid.to_string())
        .exists()
        .then_some(pid)
}
