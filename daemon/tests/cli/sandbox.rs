//! A directory to run the program in, cleaned of mounts and files also when a test fails.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, umount2};

/// The password of vaults made here.
pub(crate) const PASSWORD: &str = "correct horse";
/// Longest wait for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A directory of one test.
pub(crate) struct Sandbox {
    dir: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Sandbox {
    /// An empty one, but for a file with the password.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("pw"), format!("{PASSWORD}\n")).unwrap();
        Self {
            dir,
            state: tempfile::tempdir().unwrap(),
        }
    }

    /// One with a vault `v` and an empty directory `m`.
    pub(crate) fn with_vault() -> Self {
        let sandbox = Self::new();
        sandbox
            .run(["init", "v", "--password-file", "pw", "--iter-time", "1"])
            .expect(0);
        fs::create_dir(sandbox.path("m")).unwrap();
        sandbox
    }

    /// A path in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    /// The directory for the state of the program.
    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// The program, to be run in it.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyfold"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("XDG_STATE_HOME", self.state.path())
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Outcome {
        Outcome::from(&self.command(args).output().unwrap())
    }

    /// Runs the program with `input` on its standard input.
    pub(crate) fn run_with_input<S: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
        input: &str,
    ) -> Outcome {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        Outcome::from(&child.wait_with_output().unwrap())
    }

    /// Mounts `v` on `m`.
    pub(crate) fn mount(&self) {
        self.run(["mount", "v", "m", "--password-file", "pw"])
            .expect(0);
    }

    /// Unmounts `m`.
    pub(crate) fn unmount(&self) {
        self.run(["unmount", "m"]).expect(0);
    }

    /// Whether something is mounted on `name`.
    pub(crate) fn is_mounted(&self, name: &str) -> bool {
        mounted_beneath(&self.path(name)).contains(&self.path(name))
    }

    /// Process id of what serves the mount `m`.
    pub(crate) fn server(&self) -> i32 {
        let status = fs::read(self.path("m/.keyfold/status")).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        i32::try_from(status["pid"].as_i64().unwrap()).unwrap()
    }

    /// Every file beneath `name` with a hash of its content, but for the lock, which has none.
    pub(crate) fn snapshot(&self, name: &str) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut left = vec![self.path(name)];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
                found.push((path, 0));
            } else if path.file_name() != Some(OsStr::new("lock")) {
                let mut hash = DefaultHasher::new();
                fs::read(&path).unwrap().hash(&mut hash);
                found.push((path, hash.finish()));
            }
        }
        found.sort();
        found
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for mount in mounted_beneath(&self.path("")).into_iter().rev() {
            let _ = umount2(&mount, MntFlags::MNT_DETACH);
        }
    }
}

fn mounted_beneath(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(dir))
        .collect()
}

impl From<&Output> for Outcome {
    fn from(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        self
    }

    /// Fails the test unless it was refused with `code` and a message that contains `words`.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &str) {
        let this = self.expect(code);
        assert!(this.err.starts_with("keyfold: "), "{}", this.err);
        assert!(this.err.contains(words), "{}", this.err);
        assert_eq!(this.out, "");
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
