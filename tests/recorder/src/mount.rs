//! A recorder at a mount point.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption};
use parking_lot::Mutex;

use crate::content::Content;
use crate::disk::{AfterFailedSync, Disk};
use crate::faults::{Fault, Hit};
use crate::log::{Node, Step};
use crate::nodes::Nodes;
use crate::passthrough::{Recording, Shared};
use crate::serve::Server;

/// Takes the mount at `$3` away when thread `$2` of process `$1` is gone. A process that ends while
/// one of its own threads waits for this mount could never end otherwise.
const GUARD: &str = r#"
while [ -d "/proc/$1/task/$2" ]; do sleep 0.2; done
if grep -qF " $3 " /proc/self/mountinfo; then
    umount -f "$3"
    umount -l "$3"
fi
"#;

/// A directory that records what is done to it. Dropping it unmounts.
pub struct Recorder {
    recording: Shared,
    base: Disk,
    session: Option<BackgroundSession>,
    mount_point: PathBuf,
}

impl Recorder {
    /// Shows the directory `beneath`, which counts as durable, at `mount_point`. Needs root.
    pub fn mount(beneath: &Path, mount_point: &Path) -> io::Result<Self> {
        let mut nodes = Nodes::new(beneath)?;
        let mut base = Disk::new(AfterFailedSync::StillWritten);
        learn(&mut nodes, &mut base, (Node::ROOT, beneath))?;
        let recording: Shared = Arc::new(Mutex::new(Recording::new(nodes)));
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("keyfold-recorder".into()),
            MountOption::DefaultPermissions,
            MountOption::NoAtime,
        ];
        let server = Server(Arc::clone(&recording));
        let session = fuser::spawn_mount(server, mount_point, &config)?;
        let recorder = Self {
            recording,
            base,
            session: Some(session),
            mount_point: mount_point.to_owned(),
        };
        std::fs::metadata(mount_point)?;
        recorder.guard(mount_point)?;
        Ok(recorder)
    }

    fn guard(&self, mount_point: &Path) -> io::Result<()> {
        let server = self.recording.lock().server.unwrap_or_default();
        Command::new("bash")
            .args(["-c", GUARD, "guard"])
            .args([std::process::id().to_string(), server.to_string()])
            .arg(mount_point)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .current_dir("/")
            .spawn()
            .map(drop)
    }

    /// How many steps there are.
    pub fn position(&self) -> usize {
        self.recording.lock().log.steps.len()
    }

    /// All steps so far.
    pub fn steps(&self) -> Vec<Step> {
        self.recording.lock().log.steps.clone()
    }

    /// Whatever had this name at some time.
    pub fn named(&self, name: &str) -> Vec<Node> {
        let recording = self.recording.lock();
        let named = recording.nodes.named.iter();
        named
            .filter(|(_, n)| n == name)
            .map(|(node, _)| *node)
            .collect()
    }

    /// The disk before the first step.
    pub fn disk(&self, after_failed_sync: AfterFailedSync) -> Disk {
        self.base.clone().with(after_failed_sync)
    }

    /// Makes a call fail; what was armed before is not any more.
    pub fn arm(&self, fault: Option<Fault>) {
        self.recording.lock().faults.arm(fault);
    }

    /// Nothing fails any more; what was hit stays known.
    pub fn disarm(&self) {
        self.recording.lock().faults.disarm();
    }

    /// The calls that failed since a fault was armed.
    pub fn hits(&self) -> Vec<Hit> {
        self.recording.lock().faults.hits().to_vec()
    }

    /// Calls of the armed kind since the fault was armed.
    pub fn calls(&self) -> u64 {
        self.recording.lock().faults.seen()
    }

    /// Lets `job` look at things while nothing fails and nothing is counted.
    pub fn unharmed<R>(&self, job: impl FnOnce() -> R) -> R {
        self.recording.lock().faults.pause();
        let result = job();
        self.recording.lock().faults.resume();
        result
    }

    /// Kills the process above when the log has `position` steps: it changes nothing any more.
    pub fn kill_at(&self, position: usize) {
        self.recording.lock().kill_at = position;
    }

    /// Whether the process above is dead.
    pub fn is_killed(&self) -> bool {
        let recording = self.recording.lock();
        recording.log.steps.len() >= recording.kill_at
    }

    /// Lets another process take the place of the killed one, of which nothing may be left.
    pub fn revive(&self) {
        let mut recording = self.recording.lock();
        recording.kill_at = usize::MAX;
        recording.life += 1;
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let ended = self.session.take().map(BackgroundSession::umount_and_join);
        if let Some(Err(e)) = ended {
            // A program that another test starts has all open files for a moment.
            let detached = Command::new("umount")
                .arg("-l")
                .arg(&self.mount_point)
                .status();
            eprintln!("unmounting the recorder failed ({e}), detached it: {detached:?}");
        }
    }
}

/// Numbers all that lies below a directory and copies it.
fn learn(nodes: &mut Nodes, disk: &mut Disk, (dir, path): (Node, &Path)) -> io::Result<()> {
    let mut names: Vec<_> = std::fs::read_dir(path)?
        .map(|entry| entry.map(|e| (e.file_name(), e.path())))
        .collect::<io::Result<_>>()?;
    names.sort();
    for (name, path) in names {
        let (node, _) = nodes.find(dir, OsStr::new(&name))?;
        if path.is_dir() {
            disk.add_dir(dir, name, node);
            learn(nodes, disk, (node, &path))?;
        } else {
            disk.add_file((dir, name), node, Content::read_from(&path)?);
        }
    }
    Ok(())
}
