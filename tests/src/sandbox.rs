//! A directory of one test, with everything in it taken down when the test ends.
//!
//! A guard process waits for the end of a pipe that only the test holds. So it also cleans up
//! after a test that was killed, when no destructor runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::program::shell;

/// Aborts the FUSE connections below `$1`, detaches every mount there and removes it all.
/// `$2` keeps the files for a look.
const GUARD: &str = r#"
echo ready
cat >/dev/null
dir=$1
below() {
    awk -v dir="$dir/" 'index($5, dir) == 1 { print $3, $5 }' /proc/self/mountinfo | tac
}
# A mount that is just ending goes by itself, and its number may be that of another test's mount in the
# next moment: only one that stays is aborted.
round=0
while [ -n "$(below)" ] && [ $round -lt 10 ]; do
    sleep 0.05
    round=$((round + 1))
done
round=0
while [ -n "$(below)" ] && [ $round -lt 20 ]; do
    below | while read -r device mount; do
        abort=/sys/fs/fuse/connections/${device#*:}/abort
        below | grep -qxF "$device $mount" && [ -e "$abort" ] && echo 1 >"$abort"
        umount -l "$mount"
    done
    round=$((round + 1))
done
[ "$2" = keep ] || rm -rf --one-file-system "$dir"
"#;

/// A directory for one test. Dropping it detaches what is mounted below and removes it.
#[derive(Debug)]
pub struct Sandbox {
    path: PathBuf,
    guard: Child,
    lifeline: Option<ChildStdin>,
}

impl Sandbox {
    /// An empty sandbox under the system's directory for temporary files, open to all users.
    pub fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests mount, change users and make loop devices: run them through scripts/test"
        );
        let made = tempfile::Builder::new()
            .prefix("keyfold-test-")
            .tempdir()
            .unwrap();
        let path = fs::canonicalize(made.keep()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let keep = if std::env::var_os("KEYFOLD_TEST_KEEP").is_some() {
            "keep"
        } else {
            "remove"
        };
        let mut guard = Command::new("bash")
            .args(["-c", GUARD, "guard"])
            .arg(&path)
            .arg(keep)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .current_dir("/")
            .spawn()
            .unwrap();
        let lifeline = guard.stdin.take();
        let mut ready = String::new();
        BufReader::new(guard.stdout.take().unwrap())
            .read_line(&mut ready)
            .unwrap();
        assert_eq!(ready, "ready\n", "the guard of the sandbox did not start");
        Self {
            path,
            guard,
            lifeline,
        }
    }

    /// Where it is; canonical.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a directory in it, or finds the one made before.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file in it, readable by its owner only.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// An ext4 filesystem of its own, `mebibytes` large, mounted in it.
    pub fn small_disk(&self, mebibytes: u64) -> PathBuf {
        let disk = self.dir("disk");
        let script = format!(
            "truncate -s {mebibytes}M disk.img
             mkfs.ext4 -q -F -m 0 disk.img
             mount -o loop disk.img disk
             rmdir disk/lost+found"
        );
        shell(&self.path, &script);
        disk
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.lifeline.take();
        // A test that failed already must not end here in a second panic.
        if let Err(error) = self.guard.wait() {
            eprintln!("the guard of {} is lost: {error}", self.path.display());
        }
    }
}
