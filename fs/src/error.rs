//! What can go wrong in a volume: one variant a meaning, carrying ids and never names.
//!
//! Front ends translate exhaustively (`daemon/src/fuse/errno.rs` is the only table), so a new
//! variant does not compile until every front end has decided what it means there.

use std::fmt;

use crate::vfs::Ino;

/// Result of a file operation.
pub type FsResult<T> = Result<T, FsError>;

/// Why a file operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsError {
    /// No entry of that name (`ENOENT`).
    NotFound,
    /// The inode is gone: its last link, handle and lookup were dropped (`ESTALE`).
    Stale(Ino),
    /// The name is taken (`EEXIST`).
    Exists,
    /// A directory was needed (`ENOTDIR`).
    NotADirectory(Ino),
    /// Anything but a directory was needed (`EISDIR`).
    IsADirectory(Ino),
    /// The directory still has entries (`ENOTEMPTY`).
    NotEmpty(Ino),
    /// The name is longer than 255 bytes (`ENAMETOOLONG`).
    NameTooLong,
    /// The symbolic link's target is longer than 4095 bytes (`ENAMETOOLONG`).
    TargetTooLong,
    /// An argument makes no sense for this operation (`EINVAL`).
    InvalidArgument,
    /// The inode's kind does not have this operation (`EINVAL`).
    WrongKind(Ino),
    /// The handle is not open, or not open for this (`EBADF`).
    BadHandle,
    /// The caller may not do this (`EPERM`).
    NotPermitted,
    /// The caller has no access (`EACCES`).
    AccessDenied,
    /// The volume, or this mount of it, is read-only (`EROFS`).
    ReadOnly,
    /// No space is left beneath the vault (`ENOSPC`).
    NoSpace,
    /// The file would grow beyond 16 TiB (`EFBIG`).
    FileTooLarge,
    /// The inode has as many links as it can have (`EMLINK`).
    TooManyLinks(Ino),
    /// No such extended attribute (`ENODATA`).
    NoAttribute,
    /// The extended attribute, or all of an inode's together, would be too large (`ENOSPC`).
    AttributeTooLarge,
    /// `SEEK_DATA` or `SEEK_HOLE` beyond the end (`ENXIO`).
    BeyondEnd,
    /// The operation, mode or attribute namespace is not supported (`EOPNOTSUPP`).
    NotSupported,
    /// The two names belong to trees that cannot be renamed or linked across (`EXDEV`).
    CrossTree,
    /// The object is in use in a way that forbids this (`EBUSY`).
    Busy,
    /// The data lies on a server only, and nobody can fetch it now (`EHOSTUNREACH`).
    Unreachable,
    /// Stored data did not verify: it was altered beneath the vault (`EIO`).
    Tampered(Ino),
    /// Metadata contradicts itself: it was altered beneath the vault (`EIO`).
    Inconsistent(Ino),
    /// A page of the metadata database did not verify: it was altered beneath the vault (`EIO`).
    MetadataTampered,
    /// The disk beneath the vault failed; carries its errno (`EIO`).
    Disk(i32),
    /// The metadata database failed (`EIO`).
    Database,
    /// An earlier write to this file could not be stored (`EIO`, or `ENOSPC`).
    WriteLost(LostWrite),
}

/// Why an acknowledged write could not be stored; reported once per handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostWrite {
    /// The disk was full (`ENOSPC`).
    NoSpace,
    /// The disk failed (`EIO`).
    Disk,
}

impl fmt::Display for FsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => write!(f, "no such entry"),
            Self::Stale(i) => write!(f, "inode {i} no longer exists"),
            Self::Exists => write!(f, "the name is taken"),
            Self::NotADirectory(i) => write!(f, "inode {i} is not a directory"),
            Self::IsADirectory(i) => write!(f, "inode {i} is a directory"),
            Self::NotEmpty(i) => write!(f, "directory {i} is not empty"),
            Self::NameTooLong => write!(f, "name longer than 255 bytes"),
            Self::TargetTooLong => write!(f, "link target longer than 4095 bytes"),
            Self::InvalidArgument => write!(f, "invalid argument"),
            Self::WrongKind(i) => write!(f, "inode {i} is not of a kind that allows this"),
            Self::BadHandle => write!(f, "handle not open for this"),
            Self::NotPermitted => write!(f, "operation not permitted"),
            Self::AccessDenied => write!(f, "access denied"),
            Self::ReadOnly => write!(f, "the volume is read-only"),
            Self::NoSpace => write!(f, "no space left beneath the vault"),
            Self::FileTooLarge => write!(f, "file larger than 16 TiB"),
            Self::TooManyLinks(i) => write!(f, "inode {i} has too many links"),
            Self::NoAttribute => write!(f, "no such attribute"),
            Self::AttributeTooLarge => write!(f, "attribute too large"),
            Self::BeyondEnd => write!(f, "offset beyond the end"),
            Self::NotSupported => write!(f, "not supported"),
            Self::CrossTree => write!(f, "not within one tree"),
            Self::Busy => write!(f, "in use"),
            Self::Unreachable => write!(f, "the data lies on a server that is not reached"),
            Self::Tampered(i) => write!(f, "stored data of inode {i} does not verify"),
            Self::Inconsistent(i) => write!(f, "metadata of inode {i} contradicts itself"),
            Self::MetadataTampered => write!(f, "the metadata database does not verify"),
            Self::Disk(e) => write!(f, "the disk beneath the vault failed (errno {e})"),
            Self::Database => write!(f, "the metadata database failed"),
            Self::WriteLost(LostWrite::NoSpace) => write!(f, "an earlier write found no space"),
            Self::WriteLost(LostWrite::Disk) => write!(f, "an earlier write met a failing disk"),
        }
    }
}

impl std::error::Error for FsError {}

impl From<std::io::Error> for FsError {
    fn from(e: std::io::Error) -> Self {
        match e.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::NoSpace,
            Some(libc::EROFS) => Self::ReadOnly,
            Some(n) => Self::Disk(n),
            None => Self::Disk(libc::EIO),
        }
    }
}
