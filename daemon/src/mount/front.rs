//! Starting the FUSE front: what can be missing on a system is told before the vault is opened.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::cli::error::Reason;
use crate::fuse::MountError;
use crate::mount::detach;
use crate::mount::options::Audience;

/// The device through which the kernel hands requests to filesystem programs.
const DEVICE: &str = "/dev/fuse";
/// Where an administrator allows ordinary users to open a mount to others.
const FUSE_CONF: &str = "/etc/fuse.conf";

/// Why a mount could not be made or ended badly.
#[derive(Debug)]
pub(crate) enum FrontError {
    /// The kernel has no FUSE.
    NoModule,
    /// This user may not open the FUSE device.
    DeviceDenied,
    /// An ordinary user needs fusermount3, which is not installed.
    NoFusermount,
    /// An ordinary user may not open a mount to others here.
    AllowOtherDenied,
    /// The mount was not made.
    Mount {
        /// The place.
        point: PathBuf,
        /// Why.
        error: MountError,
    },
    /// The process could not be set up to serve.
    Setup {
        /// What failed.
        what: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// Serving requests failed while mounted.
    Session(io::Error),
}

/// Checks that this process can mount for `audience`.
pub(crate) fn check_available(audience: Audience) -> Result<(), FrontError> {
    if let Err(e) = OpenOptions::new().read(true).write(true).open(DEVICE) {
        return Err(match e.kind() {
            io::ErrorKind::PermissionDenied => FrontError::DeviceDenied,
            _ => FrontError::NoModule,
        });
    }
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    if detach::fusermount().is_none() {
        return Err(FrontError::NoFusermount);
    }
    if audience == Audience::Everyone && !others_allowed(Path::new(FUSE_CONF)) {
        return Err(FrontError::AllowOtherDenied);
    }
    Ok(())
}

fn others_allowed(conf: &Path) -> bool {
    // A file that cannot be read is left to fusermount3, which can.
    fs::read_to_string(conf).map_or_else(
        |e| e.kind() != io::ErrorKind::NotFound,
        |text| text.lines().any(|line| line.trim() == "user_allow_other"),
    )
}

impl fmt::Display for FrontError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoModule => write!(
                f,
                "cannot mount: the kernel offers no FUSE ({DEVICE}). Try `modprobe fuse` as root"
            ),
            Self::DeviceDenied => write!(
                f,
                "cannot mount: access to {DEVICE} is denied. Its permissions should be rw for all"
            ),
            Self::NoFusermount => write!(
                f,
                "cannot mount: fusermount3 is not installed, which ordinary users need. Install \
                 the package fuse3, or mount as root"
            ),
            Self::AllowOtherDenied => write!(
                f,
                "cannot mount with allow_other: {FUSE_CONF} does not say user_allow_other. Ask \
                 the administrator, or mount without it"
            ),
            Self::Mount { point, error } => {
                write!(f, "cannot mount on {}: {error}", point.display())
            }
            Self::Setup { what, source } => {
                write!(f, "cannot start serving: {what}: {}", Reason(source))
            }
            Self::Session(source) => {
                write!(f, "serving the mount failed: {}", Reason(source))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commented_permission_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let conf = dir.path().join("fuse.conf");
        assert!(!others_allowed(&conf));
        fs::write(&conf, "# user_allow_other\nmount_max = 5\n").unwrap();
        assert!(!others_allowed(&conf));
        fs::write(&conf, "mount_max = 5\nuser_allow_other\n").unwrap();
        assert!(others_allowed(&conf));
    }
}
