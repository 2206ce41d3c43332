//! Why a volume could not be made, opened or closed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::FsError;
use crate::meta::OpenFailure;
use crate::vault::VaultError;

/// Why a volume could not be made, opened or closed.
#[derive(Debug)]
pub enum VolumeError {
    /// The metadata database is missing.
    DatabaseMissing(PathBuf),
    /// The metadata database does not belong to this vault, or was altered.
    DatabaseDamaged {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
        /// Names of kept images that it may be restored from, newest first.
        images: Vec<String>,
    },
    /// The metadata database could not be read or written.
    DatabaseFailed {
        /// Its file.
        path: PathBuf,
        /// What the database said.
        why: String,
    },
    /// A segment is missing.
    SegmentMissing(PathBuf),
    /// A segment is shorter than what was committed to it.
    SegmentShort {
        /// Its file.
        path: PathBuf,
        /// Bytes it must have at least.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The vault is not what was last seen of it.
    NotAsSeen(VaultError),
    /// The disk is full.
    NoSpace(PathBuf),
    /// The operating system refused.
    Io(io::Error),
    /// What was written last could not be made durable.
    NotCommitted(FsError),
}

impl VolumeError {
    /// Whether the database is not there, or is not what was stored.
    pub(in crate::volume) fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::DatabaseMissing(_) | Self::DatabaseDamaged { .. }
        )
    }
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatabaseMissing(p) => {
                write!(
                    f,
                    "the metadata database {} is missing; `keyfold check --repair` restores it \
                     from a snapshot if there is one, else restore the vault from a backup",
                    p.display()
                )
            }
            Self::DatabaseDamaged { path, why, images } => {
                write!(
                    f,
                    "the metadata database {} is damaged or not this vault's: {why}; ",
                    path.display()
                )?;
                if images.is_empty() {
                    return write!(f, "restore the vault from a backup");
                }
                write!(
                    f,
                    "`keyfold check --repair` restores it from a snapshot. There is {}",
                    images.join(", ")
                )
            }
            Self::DatabaseFailed { path, why } => {
                write!(f, "the metadata database {} failed: {why}", path.display())
            }
            Self::SegmentMissing(p) => write!(
                f,
                "the segment {} is missing; put it back, or mount with --read-only to save the \
                 files that do not need it",
                p.display()
            ),
            Self::SegmentShort {
                path,
                expected,
                found,
            } => write!(
                f,
                "the segment {} has {found} bytes of {expected}; put it back from a backup, or \
                 mount with --read-only to save the files that do not need it",
                path.display()
            ),
            Self::NotAsSeen(e) => e.fmt(f),
            Self::NoSpace(p) => write!(f, "no space left on the disk of {}", p.display()),
            Self::Io(e) => write!(f, "{e}"),
            Self::NotCommitted(e) => write!(f, "the last changes could not be stored: {e}"),
        }
    }
}

impl VolumeError {
    pub(in crate::volume) fn damaged(path: &Path, why: &'static str) -> Self {
        Self::DatabaseDamaged {
            path: path.to_owned(),
            why,
            images: Vec::new(),
        }
    }
}

impl std::error::Error for VolumeError {}

impl From<io::Error> for VolumeError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

pub(super) fn open_failure(path: &Path, failure: OpenFailure) -> VolumeError {
    let path = path.to_owned();
    match failure {
        OpenFailure::Missing => VolumeError::DatabaseMissing(path),
        OpenFailure::Damaged(why) => VolumeError::damaged(&path, why),
        OpenFailure::NoSpace => VolumeError::NoSpace(path),
        OpenFailure::Refused(e) => VolumeError::Io(e),
        OpenFailure::Failed(e) => VolumeError::DatabaseFailed {
            path,
            why: e.to_string(),
        },
    }
}
