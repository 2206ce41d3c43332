//! Taking a mount away: directly as root, through `fusermount3` as an ordinary user.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

use crate::cli::error::Reason;

/// Whether open files keep a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detach {
    /// Fails while it is in use.
    WhenIdle,
    /// It disappears at once and ends when its last user does.
    Lazily,
}

/// Why a mount could not be taken away.
#[derive(Debug)]
pub(crate) enum DetachError {
    /// It is in use.
    Busy,
    /// This user may not.
    Denied,
    /// Nothing is mounted there.
    NotMounted,
    /// `fusermount3` is not installed.
    NoFusermount,
    /// Anything else; carries the reason.
    Failed(String),
}

/// Detaches the uppermost mount at `point`.
pub(crate) fn detach(point: &Path, how: Detach) -> Result<(), DetachError> {
    let mut flags = MntFlags::UMOUNT_NOFOLLOW;
    if how == Detach::Lazily {
        flags |= MntFlags::MNT_DETACH;
    }
    match umount2(point, flags) {
        Ok(()) => Ok(()),
        Err(Errno::EBUSY) => Err(DetachError::Busy),
        Err(Errno::EPERM) => through_fusermount(point, how),
        Err(Errno::EINVAL | Errno::ENOENT) => Err(DetachError::NotMounted),
        Err(e) => Err(DetachError::Failed(Reason(&io::Error::from(e)).to_string())),
    }
}

fn through_fusermount(point: &Path, how: Detach) -> Result<(), DetachError> {
    let program = fusermount().ok_or(DetachError::NoFusermount)?;
    let flags = match how {
        Detach::WhenIdle => "-u",
        Detach::Lazily => "-uz",
    };
    let output = Command::new(program)
        .arg(flags)
        .arg("--")
        .arg(point)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| DetachError::Failed(Reason(&e).to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    // The program tells its reasons in English words only.
    Err(if said.contains("busy") {
        DetachError::Busy
    } else if said.contains("not permitted") || said.contains("ermission denied") {
        DetachError::Denied
    } else if said.contains("not found") || said.contains("not mounted") {
        DetachError::NotMounted
    } else {
        DetachError::Failed(said.to_owned())
    })
}

/// Where `fusermount3`, or its predecessor, is installed.
pub(crate) fn fusermount() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["fusermount3", "fusermount"].into_iter().find_map(|name| {
        std::env::split_paths(&path)
            .chain([PathBuf::from("/usr/bin"), PathBuf::from("/bin")])
            .map(|dir| dir.join(name))
            .find(|candidate| candidate.is_file())
    })
}

impl fmt::Display for DetachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => write!(f, "it is in use"),
            Self::Denied => write!(f, "only its owner or root may do that"),
            Self::NotMounted => write!(f, "nothing is mounted there"),
            Self::NoFusermount => write!(f, "fusermount3 is not installed. Install fuse3"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}
