//! The number a program sees for each error: two filesystems agree when it does.

use keyfold_fs::error::{FsError, LostWrite};
use keyfold_fs::vfs::Ino;

/// The errno of `error`.
pub(crate) fn of(error: FsError) -> i32 {
    match error {
        FsError::NotFound => libc::ENOENT,
        FsError::Stale(_) => libc::ESTALE,
        FsError::Exists => libc::EEXIST,
        FsError::NotADirectory(_) => libc::ENOTDIR,
        FsError::IsADirectory(_) => libc::EISDIR,
        FsError::NotEmpty(_) => libc::ENOTEMPTY,
        FsError::NameTooLong | FsError::TargetTooLong => libc::ENAMETOOLONG,
        FsError::InvalidArgument | FsError::WrongKind(_) => libc::EINVAL,
        FsError::BadHandle => libc::EBADF,
        FsError::NotPermitted => libc::EPERM,
        FsError::AccessDenied => libc::EACCES,
        FsError::ReadOnly => libc::EROFS,
        FsError::NoSpace | FsError::AttributeTooLarge | FsError::WriteLost(LostWrite::NoSpace) => {
            libc::ENOSPC
        }
        FsError::FileTooLarge => libc::EFBIG,
        FsError::TooManyLinks(_) => libc::EMLINK,
        FsError::NoAttribute => libc::ENODATA,
        FsError::BeyondEnd => libc::ENXIO,
        FsError::NotSupported => libc::EOPNOTSUPP,
        FsError::CrossTree => libc::EXDEV,
        FsError::Busy => libc::EBUSY,
        FsError::Unreachable => libc::EHOSTUNREACH,
        _ => libc::EIO,
    }
}

/// An error with that errno; inode numbers in it mean nothing.
pub(crate) fn error(errno: i32) -> FsError {
    let ino = Ino(0);
    let all = [
        FsError::NotFound,
        FsError::Stale(ino),
        FsError::Exists,
        FsError::NotADirectory(ino),
        FsError::IsADirectory(ino),
        FsError::NotEmpty(ino),
        FsError::NameTooLong,
        FsError::InvalidArgument,
        FsError::BadHandle,
        FsError::NotPermitted,
        FsError::AccessDenied,
        FsError::ReadOnly,
        FsError::NoSpace,
        FsError::FileTooLarge,
        FsError::TooManyLinks(ino),
        FsError::NoAttribute,
        FsError::BeyondEnd,
        FsError::NotSupported,
        FsError::CrossTree,
        FsError::Busy,
        FsError::Unreachable,
    ];
    all.into_iter()
        .find(|e| of(*e) == errno)
        .unwrap_or(FsError::Disk(errno))
}
