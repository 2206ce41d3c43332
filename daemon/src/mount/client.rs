//! Asking a mounted volume through its control directory.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// Longest reply that is read, in bytes.
const MAX_REPLY: u64 = 16 << 20;

/// What a control file answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The command was carried out; carries the reply.
    Done(String),
    /// The command failed; carries the errno and what was said about it.
    Failed(io::Error, String),
}

/// Gives one command to the volume mounted at `mount`.
///
/// # Errors
/// When the control file cannot be reached: `ENOTCONN` when the program that served the mount is
/// gone, `EACCES` when it is another user's.
pub(crate) fn ask(mount: &Path, command: &str) -> io::Result<Answer> {
    let mut control = OpenOptions::new()
        .read(true)
        .write(true)
        .open(mount.join(".keyfold/control"))?;
    let written = control.write_all(format!("{command}\n").as_bytes());
    let mut reply = Vec::new();
    let read = Read::by_ref(&mut control)
        .take(MAX_REPLY)
        .read_to_end(&mut reply);
    let reply = String::from_utf8_lossy(&reply).trim_end().to_owned();
    match (written, read) {
        (Ok(()), Ok(_)) => Ok(Answer::Done(reply)),
        (Err(e), _) => Ok(Answer::Failed(e, reply)),
        (Ok(()), Err(e)) => Err(e),
    }
}

/// The state of the volume mounted at `mount`, in JSON.
pub(crate) fn status(mount: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    fs::File::open(mount.join(".keyfold/status"))?
        .take(MAX_REPLY)
        .read_to_end(&mut text)?;
    Ok(text)
}
