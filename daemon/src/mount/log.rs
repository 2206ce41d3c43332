//! Where a serving process writes what happens to it: standard error in front, a file behind.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Mutex;

use etcetera::{BaseStrategy, base_strategy::Xdg};
use tracing_subscriber::EnvFilter;

/// Size beyond which the log of earlier mounts is put aside, in bytes.
const KEEP: u64 = 1 << 20;
/// The environment variable that sets what is logged, in the words of `EnvFilter`.
const FILTER: &str = "KEYFOLD_LOG";

/// Sends messages to standard error.
pub(crate) fn to_stderr() {
    install(
        tracing_subscriber::fmt()
            .with_env_filter(filter("warn"))
            .with_ansi(false)
            .with_writer(io::stderr)
            .finish(),
    );
}

/// Appends messages to `NAME.log` in the user's state directory.
pub(crate) fn to_file(name: &str) -> io::Result<()> {
    let file = open(name)?;
    install(
        tracing_subscriber::fmt()
            .with_env_filter(filter("info"))
            .with_ansi(false)
            .with_writer(Mutex::new(file))
            .finish(),
    );
    Ok(())
}

/// Takes the messages of this program only. Libraries tell theirs through the crate `log`, which is
/// not connected: the one that speaks to the kernel would write file names, at whatever level.
fn install(subscriber: impl tracing::Subscriber + Send + Sync) {
    // Only the first call in a process takes effect, and there is only one.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

fn filter(otherwise: &str) -> EnvFilter {
    EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new(otherwise))
}

fn open(name: &str) -> io::Result<File> {
    let dir = directory();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&dir)?;
    let path = dir.join(name).with_extension("log");
    if fs::metadata(&path).is_ok_and(|m| m.len() > KEEP) {
        fs::rename(&path, path.with_extension("log.old"))?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

/// `$XDG_STATE_HOME/keyfold`, or `/var/log/keyfold` for a process without a home.
pub(crate) fn directory() -> PathBuf {
    Xdg::new()
        .ok()
        .and_then(|dirs| dirs.state_dir())
        .map_or_else(
            || PathBuf::from("/var/log/keyfold"),
            |state| state.join("keyfold"),
        )
}
