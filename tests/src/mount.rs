//! A mounted vault and its daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{Outcome, keyfold};
use crate::wait::until;

/// Longest time a mount, an unmount or the end of a daemon may take.
const LIMIT: Duration = Duration::from_mins(1);

/// A mounted vault. Dropping it kills the daemon and detaches the mount.
#[derive(Debug)]
pub struct Mount {
    path: PathBuf,
    daemon: Option<Daemon>,
}

#[derive(Debug)]
struct Daemon {
    process: Child,
    log: PathBuf,
}

impl Mount {
    /// A plain directory in the place of a mount.
    pub(crate) fn plain(path: PathBuf) -> Self {
        Self { path, daemon: None }
    }

    /// A mount that something else serves, and takes down.
    pub fn found_at(path: &Path) -> Self {
        Self::plain(path.to_owned())
    }

    /// Waits until `process`, whose messages go to `log`, has mounted at `path`.
    pub(crate) fn served_by(process: Child, path: PathBuf, log: PathBuf) -> Self {
        let mut mount = Self {
            path,
            daemon: Some(Daemon { process, log }),
        };
        let path = mount.path.clone();
        let daemon = mount.daemon.as_mut().unwrap();
        until("the vault is mounted", LIMIT, || {
            if let Some(status) = daemon.process.try_wait().unwrap() {
                panic!("the daemon ended with {status}: {}", read(&daemon.log));
            }
            // A dead mount that is being replaced is in the table and then, for a moment, nothing
            // is: only what is in the table after the place has answered is the new one.
            alive(&path) && mounted(&path) && alive(&path)
        });
        mount
    }

    /// The mount point.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in the mount.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// The daemon's process id; `None` where a plain directory takes its place.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(|daemon| daemon.process.id())
    }

    /// Unmounts with `keyfold unmount`; panics unless that succeeds and the daemon ends well.
    #[track_caller]
    pub fn unmount(mut self) {
        if self.daemon.is_some() {
            self.try_unmount().expect_success("keyfold unmount");
            let log = self.daemon.as_ref().map(|daemon| read(&daemon.log));
            let status = self.wait();
            assert!(
                status.success(),
                "the daemon ended with {status}: {}",
                log.unwrap()
            );
            assert!(!mounted(&self.path), "still mounted after keyfold unmount");
            self.daemon = None;
        }
    }

    /// Runs `keyfold unmount` and says how it went.
    pub fn try_unmount(&self) -> Outcome {
        keyfold([Path::new("unmount"), &self.path])
    }

    /// Kills the daemon with SIGKILL and leaves the dead mount as it is.
    pub fn kill9(mut self) {
        self.signal(Signal::SIGKILL);
        if self.daemon.is_some() {
            self.wait();
        }
        self.daemon = None;
    }

    /// Sends a signal to the daemon.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
        }
    }

    /// Waits for the end of the daemon.
    pub fn wait(&mut self) -> ExitStatus {
        let daemon = self.daemon.as_mut().expect("a daemon");
        let mut ended = None;
        until("the daemon ends", LIMIT, || {
            ended = daemon.process.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let Some(mut daemon) = self.daemon.take() else {
            return;
        };
        if std::thread::panicking() {
            tell_sharing(&self.path);
        }
        // Best effort: the sandbox's guard takes down what is left.
        if daemon
            .process
            .kill()
            .and_then(|()| daemon.process.wait())
            .is_err()
        {
            eprintln!("the daemon {} cannot be killed", daemon.process.id());
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon said\n{}", read(&daemon.log));
        }
        detach(&self.path);
    }
}

/// Prints what a mount knows of its shares, if it answers.
fn tell_sharing(path: &Path) {
    let status = path.join(".keyfold/status");
    let read = Command::new("timeout")
        .args(["-s", "KILL", "5", "cat"])
        .arg(status)
        .output();
    let status = read.map(|read| serde_json::from_slice(&read.stdout).unwrap_or_default());
    let status: serde_json::Value = status.unwrap_or_default();
    if !status["sharing"].is_null() {
        eprintln!("--- {}\n{:#}", path.display(), status["sharing"]);
    }
}

/// True when something is mounted at `path` itself (a canonical path); asks the kernel's table
/// and never the mount, which may hang.
pub fn mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.into_iter().any(|point| Path::new(point) == path)
}

/// True when whoever serves `path` answers; asks for totals, which the kernel never caches.
pub fn alive(path: &Path) -> bool {
    nix::sys::statvfs::statvfs(path).is_ok()
}

pub(crate) fn detach(path: &Path) {
    while mounted(path) {
        if nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH).is_err() {
            return;
        }
    }
}

fn read(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}
