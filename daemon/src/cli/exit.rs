//! The documented exit codes, and the one table from errors to them.

use std::io;

use keyfold_fs::error::{FsError, LostWrite};
use keyfold_fs::export::ExportError;
use keyfold_fs::vault::VaultError;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::log::Stop;

use crate::account::AccountError;
use crate::fuse::MountError;
use crate::mount::front::FrontError;
use crate::mount::point::PointError;
use crate::mount::unmount::UnmountError;
use crate::remote::RemoteError;
use crate::sharing::SharingError;

/// How the program ended, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Success = 0,
    General = 1,
    Usage = 2,
    NotAVault = 10,
    InUse = 11,
    WrongSecret = 12,
    Damaged = 13,
    NewerFormat = 14,
    NotEmpty = 15,
    NoSecret = 16,
    BadSlot = 17,
    OlderThanSeen = 18,
    BadMountPoint = 20,
    Busy = 21,
    FuseUnavailable = 22,
    NotMounted = 23,
    NoSpace = 30,
    ReadOnly = 31,
    Disk = 32,
    NoPermission = 33,
    NoSuchPath = 40,
    Destination = 41,
    Incomplete = 42,
    Unreachable = 50,
    Refused = 51,
    Untrusted = 52,
    NoAccount = 53,
    NotYetRevoked = 54,
}

impl Exit {
    /// Every code, in ascending order.
    pub(crate) const ALL: [Self; 28] = [
        Self::Success,
        Self::General,
        Self::Usage,
        Self::NotAVault,
        Self::InUse,
        Self::WrongSecret,
        Self::Damaged,
        Self::NewerFormat,
        Self::NotEmpty,
        Self::NoSecret,
        Self::BadSlot,
        Self::OlderThanSeen,
        Self::BadMountPoint,
        Self::Busy,
        Self::FuseUnavailable,
        Self::NotMounted,
        Self::NoSpace,
        Self::ReadOnly,
        Self::Disk,
        Self::NoPermission,
        Self::NoSuchPath,
        Self::Destination,
        Self::Incomplete,
        Self::Unreachable,
        Self::Refused,
        Self::Untrusted,
        Self::NoAccount,
        Self::NotYetRevoked,
    ];

    /// The number the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The code with this number; unknown numbers count as [`Exit::General`].
    pub(crate) fn from_code(code: u8) -> Self {
        Self::ALL
            .into_iter()
            .find(|e| e.code() == code)
            .unwrap_or(Self::General)
    }

    /// The code for a failure of the operating system, `other` where it has none of its own.
    pub(crate) fn from_io(error: &io::Error, other: Self) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::NoSpace,
            Some(libc::EROFS) => Self::ReadOnly,
            Some(libc::EIO) => Self::Disk,
            Some(libc::EACCES | libc::EPERM) => Self::NoPermission,
            _ => other,
        }
    }

    /// One line for the manual.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Success => "done",
            Self::General => "failed for a reason that has no code of its own",
            Self::Usage => "the command line makes no sense",
            Self::NotAVault => "the vault is missing, or the directory is not a vault",
            Self::InUse => "the vault is in use by another process",
            Self::WrongSecret => "wrong password or recovery key",
            Self::Damaged => "the vault is damaged or was tampered with",
            Self::NewerFormat => "the vault was made by a newer Keyfold",
            Self::NotEmpty => "a new vault needs a new or empty directory",
            Self::NoSecret => "no password could be had, or it cannot be used",
            Self::BadSlot => "no such key slot, the last one, or no room for another",
            Self::OlderThanSeen => "the vault is older than, or another than, when last seen",
            Self::BadMountPoint => "the mount point cannot be used",
            Self::Busy => "the mount is busy",
            Self::FuseUnavailable => "FUSE is not available or refused the mount",
            Self::NotMounted => "nothing of Keyfold is mounted there",
            Self::NoSpace => "no space left on the disk",
            Self::ReadOnly => "the vault or its disk is read-only",
            Self::Disk => "reading or writing the disk failed",
            Self::NoPermission => "no permission",
            Self::NoSuchPath => "no such file or directory in the vault, or of the wrong kind",
            Self::Destination => "the destination cannot be written",
            Self::Incomplete => "finished, but something had to be left out",
            Self::Unreachable => "the sharing server cannot be reached, or is silent",
            Self::Refused => "the sharing server refused, or is none",
            Self::Untrusted => "keys are not those that are known: the server may be lying",
            Self::NotYetRevoked => {
                "NOT YET REVOKED: the server is away; done when it is back, and nothing is sent before"
            }
            Self::NoAccount => "the vault has no account, another one, or nobody is logged in",
        }
    }

    /// The table for `--help` and the manual page.
    pub(crate) fn table() -> String {
        use std::fmt::Write;
        let mut text = String::from("Exit status:\n");
        for exit in Self::ALL {
            let _ = writeln!(text, "  {:>2}  {}", exit.code(), exit.meaning());
        }
        text
    }
}

impl From<&PointError> for Exit {
    fn from(error: &PointError) -> Self {
        match error {
            PointError::Missing(_)
            | PointError::NotADirectory(_)
            | PointError::NotEmpty(_)
            | PointError::AlreadyMounted { .. }
            | PointError::InsideVault { .. }
            | PointError::HoldsVault { .. }
            | PointError::DeadMount { .. }
            | PointError::Unreadable { .. } => Self::BadMountPoint,
        }
    }
}

impl From<&FsError> for Exit {
    fn from(error: &FsError) -> Self {
        match error {
            FsError::NotFound
            | FsError::Stale(_)
            | FsError::NotADirectory(_)
            | FsError::IsADirectory(_)
            | FsError::WrongKind(_)
            | FsError::NameTooLong
            | FsError::NoAttribute => Self::NoSuchPath,
            FsError::Tampered(_) | FsError::Inconsistent(_) | FsError::MetadataTampered => {
                Self::Damaged
            }
            FsError::NoSpace | FsError::WriteLost(LostWrite::NoSpace) => Self::NoSpace,
            FsError::ReadOnly => Self::ReadOnly,
            FsError::Disk(_) | FsError::Database | FsError::WriteLost(LostWrite::Disk) => {
                Self::Disk
            }
            FsError::NotPermitted | FsError::AccessDenied => Self::NoPermission,
            FsError::Busy => Self::Busy,
            FsError::Exists
            | FsError::NotEmpty(_)
            | FsError::TargetTooLong
            | FsError::InvalidArgument
            | FsError::BadHandle
            | FsError::FileTooLarge
            | FsError::TooManyLinks(_)
            | FsError::AttributeTooLarge
            | FsError::BeyondEnd
            | FsError::NotSupported
            | FsError::CrossTree
            | FsError::Unreachable => Self::General,
        }
    }
}

impl From<&VaultError> for Exit {
    fn from(error: &VaultError) -> Self {
        match error {
            VaultError::NotFound { .. }
            | VaultError::NotADirectory { .. }
            | VaultError::NotAVault { .. } => Self::NotAVault,
            VaultError::AlreadyAVault { .. } | VaultError::NotEmpty { .. } => Self::NotEmpty,
            VaultError::InUse { .. } => Self::InUse,
            VaultError::WrongSecret { .. } => Self::WrongSecret,
            VaultError::NewerFormat { .. } => Self::NewerFormat,
            VaultError::SuperblockDamaged { .. }
            | VaultError::MissingPart { .. }
            | VaultError::BadHeader { .. }
            | VaultError::OtherVault { .. } => Self::Damaged,
            VaultError::ReadOnlyDirectory { .. } => Self::ReadOnly,
            VaultError::AccessDenied { .. } => Self::NoPermission,
            VaultError::NoSpace { .. } => Self::NoSpace,
            VaultError::LastSlot { .. }
            | VaultError::NoSuchSlot { .. }
            | VaultError::TooManySlots { .. }
            | VaultError::BadLabel => Self::BadSlot,
            VaultError::NotAsSeen { .. } => Self::OlderThanSeen,
            VaultError::Exists { .. } => Self::Destination,
            VaultError::HalfWritten { source, .. } | VaultError::Io { source, .. } => {
                Self::from_io(source, Self::Disk)
            }
            VaultError::UnsupportedFilesystem { .. } | VaultError::Random(_) => Self::General,
        }
    }
}

impl From<&FrontError> for Exit {
    fn from(error: &FrontError) -> Self {
        match error {
            FrontError::NoModule
            | FrontError::DeviceDenied
            | FrontError::NoFusermount
            | FrontError::AllowOtherDenied
            | FrontError::Mount {
                error: MountError::Unavailable(_),
                ..
            }
            | FrontError::Mount {
                error: MountError::Refused(_),
                ..
            }
            | FrontError::Mount {
                error: MountError::Start(_),
                ..
            } => Self::FuseUnavailable,
            FrontError::Mount {
                error: MountError::MountPoint(_),
                ..
            } => Self::BadMountPoint,
            FrontError::Mount {
                error: MountError::UnknownOption(_),
                ..
            } => Self::Usage,
            FrontError::Session(_) | FrontError::Setup { .. } => Self::General,
        }
    }
}

impl From<&RemoteError> for Exit {
    fn from(error: &RemoteError) -> Self {
        match error {
            RemoteError::Address(_) => Self::Usage,
            RemoteError::Authority(_) | RemoteError::Setup(_) => Self::General,
            RemoteError::Unreachable { .. }
            | RemoteError::Broken { .. }
            | RemoteError::TimedOut { .. } => Self::Unreachable,
            RemoteError::Refused { reply, .. } => match reply.code {
                ErrorCode::WrongCredentials | ErrorCode::SecondFactor => Self::WrongSecret,
                ErrorCode::Unauthenticated => Self::NoAccount,
                _ => Self::Refused,
            },
            RemoteError::TooLarge { .. }
            | RemoteError::Malformed { .. }
            | RemoteError::Status { .. } => Self::Refused,
        }
    }
}

impl From<&AccountError> for Exit {
    fn from(error: &AccountError) -> Self {
        match error {
            AccountError::Remote(e) => e.into(),
            AccountError::Kept(e) => e.into(),
            AccountError::Newer => Self::NewerFormat,
            AccountError::Random
            | AccountError::NoSuchDevice
            | AccountError::OwnDevice
            | AccountError::Oneself
            | AccountError::BookBusy => Self::General,
            AccountError::NoAccount
            | AccountError::NotLoggedIn
            | AccountError::LoggedIn(_)
            | AccountError::OtherAccount { .. }
            | AccountError::KitNeeded
            | AccountError::OlderKeys => Self::NoAccount,
            AccountError::OtherKit
            | AccountError::NoRecoveryKey
            | AccountError::WrongPassword
            | AccountError::OtherPassword => Self::WrongSecret,
            AccountError::Lie(_) | AccountError::OtherFingerprint { .. } => Self::Untrusted,
        }
    }
}

impl From<&SharingError> for Exit {
    fn from(error: &SharingError) -> Self {
        match error {
            SharingError::Account(e) => e.into(),
            SharingError::Stopped(Stop::UnknownVersion) => Self::NewerFormat,
            SharingError::Stopped(_)
            | SharingError::Fork(_)
            | SharingError::ForkSeen(_)
            | SharingError::LostRecords(_)
            | SharingError::LostRecord(..)
            | SharingError::Withheld
            | SharingError::NotVerified { .. }
            | SharingError::NotShown
            | SharingError::NotAsShown(_)
            | SharingError::BadRequest
            | SharingError::BadPublication
            | SharingError::NotVerifiedYet(_)
            | SharingError::AddressOf(..) => Self::Untrusted,
            SharingError::MayNot(_) | SharingError::NoEpochKey => Self::NoPermission,
            SharingError::NotAMember
            | SharingError::NoSuchShare
            | SharingError::Ambiguous
            | SharingError::NoSuchUser(_)
            | SharingError::NoSuchMember(_)
            | SharingError::NotOffered(_)
            | SharingError::NoStub(_)
            | SharingError::NoSuchGroup(_)
            | SharingError::NoSuchRequest => Self::NoSuchPath,
            SharingError::Busy | SharingError::Over(_) => Self::Refused,
            SharingError::GroupThere(_) | SharingError::HasPoint => Self::Busy,
            SharingError::OtherServer(_)
            | SharingError::NoSlug
            | SharingError::SlugTaken(_)
            | SharingError::WhichGroup => Self::Usage,
        }
    }
}

impl From<&UnmountError> for Exit {
    fn from(error: &UnmountError) -> Self {
        match error {
            UnmountError::NotMounted(_)
            | UnmountError::NotKeyfold { .. }
            | UnmountError::Dead(_) => Self::NotMounted,
            UnmountError::Busy { .. } => Self::Busy,
            UnmountError::NotDurable { exit, .. } | UnmountError::Command { exit, .. } => *exit,
            UnmountError::Denied(_) => Self::NoPermission,
            UnmountError::StillRunning { .. } | UnmountError::Failed { .. } => Self::General,
        }
    }
}

impl From<&ExportError> for Exit {
    fn from(error: &ExportError) -> Self {
        match error {
            ExportError::Source { error, .. } => error.into(),
            ExportError::Destination { source, .. } => Self::from_io(source, Self::Destination),
            ExportError::InTheWay(_) => Self::Destination,
        }
    }
}
