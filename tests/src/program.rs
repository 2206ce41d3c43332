//! Running programs, each under a time limit.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::sandbox::Sandbox;

/// Longest time a program may take, in seconds.
const LIMIT: &str = "240";

/// How a program ended and what it said.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Exit code; `None` when it was killed by a signal.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Outcome {
    /// True for exit code 0.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// Panics with all that was said unless the program succeeded.
    #[track_caller]
    pub fn expect_success(&self, what: impl fmt::Display) {
        assert!(self.succeeded(), "{what} failed: {self}");
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => write!(f, "exit code {code}")?,
            None => write!(f, "killed by a signal")?,
        }
        write!(
            f,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout, self.stderr
        )
    }
}

/// A command for `name` that is ended after `LIMIT` with all its children (exit code 124).
///
/// timeout(1) enforces it, so it holds even where the test itself was killed meanwhile.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=5", LIMIT])
        .arg(name)
        .stdin(Stdio::null());
    command
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("XDG_STATE_HOME", state_home());
    command
}

/// Where the programs of this process keep their state; removed when the process ends.
pub fn state_home() -> PathBuf {
    static HOME: OnceLock<Sandbox> = OnceLock::new();
    HOME.get_or_init(Sandbox::new).dir("state")
}

pub(crate) fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a bash script in `dir`; the first command that fails ends it.
pub fn try_shell(dir: &Path, script: &str) -> Outcome {
    outcome(
        program("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(dir),
    )
}

/// Runs a bash script in `dir` and returns its trimmed output; panics when it fails.
#[track_caller]
pub fn shell(dir: &Path, script: &str) -> String {
    let done = try_shell(dir, script);
    done.expect_success(format_args!("`{script}`"));
    done.stdout.trim_end().to_owned()
}

/// Runs `keyfold` with these arguments.
pub fn keyfold<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Outcome {
    outcome(program(keyfold_path()).args(arguments).current_dir("/"))
}

/// The `keyfold` program under test: `KEYFOLD_BIN`, or the one built beside this test.
pub fn keyfold_path() -> PathBuf {
    if let Some(path) = std::env::var_os("KEYFOLD_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().unwrap();
    let found = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("keyfold"));
    found.into_iter().find(|path| path.is_file()).expect(
        "no keyfold program beside this test: build it with `cargo build -p keyfold`, \
         run scripts/test, or set KEYFOLD_BIN",
    )
}

/// A test program that `scripts/install-deps --tests` installs.
pub fn tool(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let kept = std::env::var_os("KEYFOLD_TOOLS").map(PathBuf::from);
    let kept = kept.or_else(|| cache.map(|cache| cache.join("keyfold/tools")));
    let path = kept.expect("a home directory").join("bin").join(name);
    assert!(
        path.is_file(),
        "{name} is not installed: run scripts/install-deps --tests"
    );
    path
}

/// How often a suite repeats: `variable` of the environment, else `usual`.
pub fn count(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is not a number")),
        Err(_) => usual,
    }
}
