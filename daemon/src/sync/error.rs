//! Why a share could not be synced.

use std::fmt;

use keyfold_crypto::RandomError;
use keyfold_fs::error::FsError;
use keyfold_protocol::log::Void;

use crate::remote::RemoteError;
use crate::sharing::SharingError;

/// Why a share could not be synced. Nothing local is lost by any of these.
#[derive(Debug)]
pub(crate) enum SyncError {
    /// Log, account or server.
    Sharing(SharingError),
    /// The volume.
    Volume(FsError),
    /// There are records whose key this account was not given, and no snapshot by an owner after them.
    NoHistory,
    /// A record of our own would have no effect.
    Void(Void),
    /// A file has more changes than a record can carry.
    TooLarge,
    /// The volume changes all the time, or others write all the time.
    Busy,
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sharing(e) => e.fmt(f),
            Self::Volume(e) => e.fmt(f),
            Self::NoHistory => write!(
                f,
                "nothing of the share can be read here yet. It comes once a device of one of its \
                 owners is online"
            ),
            Self::Void(void) => write!(f, "the share's rules do not allow it ({void})"),
            Self::TooLarge => write!(f, "a file has more changes than can be sent at once"),
            Self::Busy => write!(f, "the share changes all the time. Try again"),
        }
    }
}

impl From<SharingError> for SyncError {
    fn from(e: SharingError) -> Self {
        Self::Sharing(e)
    }
}

impl From<RemoteError> for SyncError {
    fn from(e: RemoteError) -> Self {
        Self::Sharing(e.into())
    }
}

impl From<RandomError> for SyncError {
    fn from(e: RandomError) -> Self {
        Self::Sharing(e.into())
    }
}

impl From<FsError> for SyncError {
    fn from(e: FsError) -> Self {
        Self::Volume(e)
    }
}
