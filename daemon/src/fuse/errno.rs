//! The one table from a volume's errors to errno values.

use keyfold_fs::error::{FsError, LostWrite};
use nix::errno::Errno;

/// Why a request fails: the volume said so, or the front end itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The volume refused.
    Volume(FsError),
    /// The front end refused, with this errno.
    Front(Errno),
}

impl Failure {
    /// What the calling program sees.
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Volume(error) => errno(error),
            Self::Front(errno) => errno,
        }
    }

    /// The volume's error, where it tells of damage rather than of a caller's mistake.
    pub(crate) fn damage(self) -> Option<FsError> {
        match self {
            Self::Volume(
                error @ (FsError::Tampered(_)
                | FsError::Inconsistent(_)
                | FsError::MetadataTampered
                | FsError::Disk(_)
                | FsError::Database
                | FsError::WriteLost(_)),
            ) => Some(error),
            Self::Volume(_) | Self::Front(_) => None,
        }
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        Self::Volume(error)
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Front(errno)
    }
}

/// The errno for each error. Never `ENOSYS`: the kernel takes that as "not implemented at all"
/// and stops asking until the next mount.
pub(crate) fn errno(error: FsError) -> Errno {
    match error {
        FsError::NotFound => Errno::ENOENT,
        FsError::Stale(_) => Errno::ESTALE,
        FsError::Exists => Errno::EEXIST,
        FsError::NotADirectory(_) => Errno::ENOTDIR,
        FsError::IsADirectory(_) => Errno::EISDIR,
        FsError::NotEmpty(_) => Errno::ENOTEMPTY,
        FsError::NameTooLong | FsError::TargetTooLong => Errno::ENAMETOOLONG,
        FsError::InvalidArgument | FsError::WrongKind(_) => Errno::EINVAL,
        FsError::BadHandle => Errno::EBADF,
        FsError::NotPermitted => Errno::EPERM,
        FsError::AccessDenied => Errno::EACCES,
        FsError::ReadOnly => Errno::EROFS,
        FsError::NoSpace | FsError::AttributeTooLarge | FsError::WriteLost(LostWrite::NoSpace) => {
            Errno::ENOSPC
        }
        FsError::FileTooLarge => Errno::EFBIG,
        FsError::TooManyLinks(_) => Errno::EMLINK,
        FsError::NoAttribute => Errno::ENODATA,
        FsError::BeyondEnd => Errno::ENXIO,
        FsError::NotSupported => Errno::EOPNOTSUPP,
        FsError::CrossTree => Errno::EXDEV,
        FsError::Busy => Errno::EBUSY,
        FsError::Unreachable => Errno::EHOSTUNREACH,
        FsError::Tampered(_)
        | FsError::Inconsistent(_)
        | FsError::MetadataTampered
        | FsError::Disk(_)
        | FsError::Database
        | FsError::WriteLost(LostWrite::Disk) => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyfold_fs::vfs::Ino;
    use std::fmt::Write;

    const INO: Ino = Ino(7);
    const ALL: [FsError; 31] = [
        FsError::NotFound,
        FsError::Stale(INO),
        FsError::Exists,
        FsError::NotADirectory(INO),
        FsError::IsADirectory(INO),
        FsError::NotEmpty(INO),
        FsError::NameTooLong,
        FsError::TargetTooLong,
        FsError::InvalidArgument,
        FsError::WrongKind(INO),
        FsError::BadHandle,
        FsError::NotPermitted,
        FsError::AccessDenied,
        FsError::ReadOnly,
        FsError::NoSpace,
        FsError::FileTooLarge,
        FsError::TooManyLinks(INO),
        FsError::NoAttribute,
        FsError::AttributeTooLarge,
        FsError::BeyondEnd,
        FsError::NotSupported,
        FsError::CrossTree,
        FsError::Busy,
        FsError::Unreachable,
        FsError::Tampered(INO),
        FsError::Inconsistent(INO),
        FsError::MetadataTampered,
        FsError::Disk(5),
        FsError::Database,
        FsError::WriteLost(LostWrite::NoSpace),
        FsError::WriteLost(LostWrite::Disk),
    ];

    #[test]
    fn errno_of_every_error() {
        let mut table = String::new();
        for error in ALL {
            let damage = if Failure::from(error).damage().is_some() {
                " (logged)"
            } else {
                ""
            };
            writeln!(table, "{error:?} -> {:?}{damage}", errno(error)).unwrap();
        }
        insta::assert_snapshot!(table, @r"
        NotFound -> ENOENT
        Stale(Ino(7)) -> ESTALE
        Exists -> EEXIST
        NotADirectory(Ino(7)) -> ENOTDIR
        IsADirectory(Ino(7)) -> EISDIR
        NotEmpty(Ino(7)) -> ENOTEMPTY
        NameTooLong -> ENAMETOOLONG
        TargetTooLong -> ENAMETOOLONG
        InvalidArgument -> EINVAL
        WrongKind(Ino(7)) -> EINVAL
        BadHandle -> EBADF
        NotPermitted -> EPERM
        AccessDenied -> EACCES
        ReadOnly -> EROFS
        NoSpace -> ENOSPC
        FileTooLarge -> EFBIG
        TooManyLinks(Ino(7)) -> EMLINK
        NoAttribute -> ENODATA
        AttributeTooLarge -> ENOSPC
        BeyondEnd -> ENXIO
        NotSupported -> EOPNOTSUPP
        CrossTree -> EXDEV
        Busy -> EBUSY
        Unreachable -> EHOSTUNREACH
        Tampered(Ino(7)) -> EIO (logged)
        Inconsistent(Ino(7)) -> EIO (logged)
        MetadataTampered -> EIO (logged)
        Disk(5) -> EIO (logged)
        Database -> EIO (logged)
        WriteLost(NoSpace) -> ENOSPC (logged)
        WriteLost(Disk) -> EIO (logged)
        ");
    }

    #[test]
    fn no_error_disables_an_operation_for_good() {
        assert!(ALL.into_iter().all(|error| errno(error) != Errno::ENOSYS));
    }
}
