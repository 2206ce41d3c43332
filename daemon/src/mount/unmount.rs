//! Ending a mount so that nothing is lost: commit, detach, and wait for the last write.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::cli::error::Reason;
use crate::cli::exit::Exit;
use crate::mount::busy::{self, User};
use crate::mount::client::{self, Answer};
use crate::mount::detach::{Detach, DetachError, detach};
use crate::mount_table::{self, MountRecord};

/// How long the serving process may take to end after the mount is gone.
const ENDING: Duration = Duration::from_mins(2);
/// How often the user is told that we wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much is risked to end a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Only when nothing uses it and everything is safe on disk.
    Careful,
    /// It disappears at once; what uses it goes on until it is closed.
    Lazy,
    /// Also when the last writes cannot be made durable.
    Forced,
}

/// Why a mount was not ended, or a mounted volume gave no answer.
#[derive(Debug)]
pub(crate) enum UnmountError {
    /// Nothing is mounted there.
    NotMounted(PathBuf),
    /// What is mounted there is not ours.
    NotKeyfold {
        /// The place.
        point: PathBuf,
        /// Type of what is mounted.
        fs_type: String,
    },
    /// Programs use it.
    Busy {
        /// The place.
        point: PathBuf,
        /// The programs that could be found.
        users: Vec<User>,
    },
    /// The last writes could not be made durable; it is still mounted.
    NotDurable {
        /// The place.
        point: PathBuf,
        /// The exit code.
        exit: Exit,
        /// Why.
        why: String,
    },
    /// The mount is another user's.
    Denied(PathBuf),
    /// The program that served the mount is gone.
    Dead(PathBuf),
    /// The mount is gone, its process still writes.
    StillRunning {
        /// Its process id.
        pid: u32,
    },
    /// A command was refused or failed.
    Command {
        /// The place.
        point: PathBuf,
        /// The exit code.
        exit: Exit,
        /// Why.
        why: String,
    },
    /// The system failed.
    Failed {
        /// The place.
        point: PathBuf,
        /// Why.
        why: String,
    },
}

/// The mount of ours at `target`, which may also name a mounted vault.
pub(crate) fn find(target: &Path) -> Result<MountRecord, UnmountError> {
    let failed = |e: io::Error| UnmountError::Failed {
        point: target.to_path_buf(),
        why: Reason(&e).to_string(),
    };
    let absent = || UnmountError::NotMounted(target.to_path_buf());
    let place = mount_table::locate(target).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => absent(),
        _ => failed(e),
    })?;
    let mounts = mount_table::mounts().map_err(failed)?;
    match mounts.iter().rev().find(|m| m.point == place) {
        Some(record) if record.is_keyfold() => Ok(record.clone()),
        Some(record) => Err(UnmountError::NotKeyfold {
            point: place,
            fs_type: record.fs_type.clone(),
        }),
        None => mounts
            .into_iter()
            .rev()
            .find(|m| m.is_keyfold() && m.source == place)
            .ok_or_else(absent),
    }
}

/// Ends the mount at `target`.
pub(crate) fn unmount(target: &Path, manner: Manner) -> Result<(), UnmountError> {
    let record = find(target)?;
    let point = &record.point;
    let server = match commit(&record, manner)? {
        Server::Gone => None,
        Server::Alive(pid) => pid,
    };
    // Opened before the mount goes away, so that the number cannot mean another process by then.
    let server = server.and_then(|pid| Some((pid, watch(pid)?)));
    let how = if manner == Manner::Lazy || server.is_none() && mount_table::is_dead(point) {
        Detach::Lazily
    } else {
        Detach::WhenIdle
    };
    // Our own working directory may be in there.
    let _ = std::env::set_current_dir("/");
    detach(point, how).map_err(|e| match e {
        DetachError::Busy => UnmountError::Busy {
            point: point.clone(),
            users: busy::users_of(&record),
        },
        DetachError::Denied => UnmountError::Denied(point.clone()),
        DetachError::NotMounted => UnmountError::NotMounted(point.clone()),
        DetachError::NoFusermount | DetachError::Failed(_) => UnmountError::Failed {
            point: point.clone(),
            why: e.to_string(),
        },
    })?;
    match server {
        Some((pid, process)) if manner != Manner::Lazy => wait_for_end(pid, &process),
        _ => Ok(()),
    }
}

/// The process that serves a mount.
enum Server {
    Alive(Option<u32>),
    Gone,
}

/// Has everything made durable while the mount still stands, where it can be asked.
fn commit(record: &MountRecord, manner: Manner) -> Result<Server, UnmountError> {
    let point = &record.point;
    if manner == Manner::Lazy {
        return Ok(Server::Alive(None));
    }
    match client::ask(point, "sync") {
        Ok(Answer::Failed(e, said)) if manner != Manner::Forced && !is_refusal(&e) => {
            return Err(UnmountError::NotDurable {
                point: point.clone(),
                exit: Exit::from_io(&e, Exit::General),
                why: if said.is_empty() {
                    Reason(&e).to_string()
                } else {
                    said
                },
            });
        }
        Err(e) if mount_table::is_gone(&e) => return Ok(Server::Gone),
        // Another user's mount cannot be asked, not even by root. Its process commits by itself
        // when it finds the mount gone.
        Ok(_) | Err(_) => {}
    }
    Ok(Server::Alive(server_of(record)))
}

/// Whether commands are switched off for this mount; unmounting commits by itself.
fn is_refusal(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

/// Process id of what serves `record`: as it says itself, else as the vault's lock says.
fn server_of(record: &MountRecord) -> Option<u32> {
    let said = client::status(&record.point)
        .ok()
        .and_then(|status| serde_json::from_slice::<serde_json::Value>(&status).ok())
        .and_then(|status| status.get("pid")?.as_u64())
        .and_then(|pid| u32::try_from(pid).ok());
    said.or_else(|| {
        fs::read_to_string(record.source.join("lock"))
            .ok()?
            .trim()
            .parse()
            .ok()
    })
}

fn watch(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

fn wait_for_end(pid: u32, process: &OwnedFd) -> Result<(), UnmountError> {
    let deadline = Instant::now() + ENDING;
    let mut told = false;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(UnmountError::StillRunning { pid });
        }
        let slice = left.min(PATIENCE);
        let timeout = Timespec {
            tv_sec: slice.as_secs() as i64,
            tv_nsec: i64::from(slice.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if !told => {
                told = true;
                eprintln!("keyfold: waiting for the last writes to reach the disk");
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return Ok(()),
        }
    }
}

impl fmt::Display for UnmountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMounted(point) => {
                write!(f, "nothing is mounted on {}", point.display())
            }
            Self::NotKeyfold { point, fs_type } => write!(
                f,
                "what is mounted on {} is not a vault (it is of type {fs_type}). Use umount",
                point.display()
            ),
            Self::Busy { point, users } => {
                write!(f, "{} is in use", point.display())?;
                if users.is_empty() {
                    return write!(
                        f,
                        ", by programs that this user cannot see. Close them, or give --lazy"
                    );
                }
                writeln!(f, " by:")?;
                for user in users {
                    writeln!(f, "  {user}")?;
                }
                write!(f, "Close them and try again, or give --lazy")
            }
            Self::NotDurable { point, why, .. } => write!(
                f,
                "the last changes in {} cannot be made durable: {why}. It stays mounted; free \
                 space or copy them away, or give --force to unmount all the same",
                point.display()
            ),
            Self::Denied(point) => write!(
                f,
                "{} is another user's mount; only that user or root may unmount it",
                point.display()
            ),
            Self::Dead(point) => write!(
                f,
                "the program that served {} is gone. `keyfold unmount` clears the place",
                point.display()
            ),
            Self::StillRunning { pid } => write!(
                f,
                "it is unmounted, but process {pid} still writes after {} seconds. The vault \
                 can be mounted again when it has ended",
                ENDING.as_secs()
            ),
            Self::Command { point, why, .. } => {
                write!(
                    f,
                    "the volume mounted on {} answers: {why}",
                    point.display()
                )
            }
            Self::Failed { point, why } => {
                write!(f, "cannot unmount {}: {why}", point.display())
            }
        }
    }
}
