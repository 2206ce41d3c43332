//! Extended attributes that are answered from what is known of an inode, or act when they are set. They
//! are never listed, so that no copy of a file carries them away.

use keyfold_fs::vfs::Ino;
use nix::errno::Errno;

use super::front::Outcome;
use crate::control_dir::{ControlCaller, ControlDir};
use crate::snapshot_dir;

/// What their names begin with.
pub(super) const PREFIX: &[u8] = b"user.keyfold.";
const STATE: &[u8] = b"state";
/// The state of a file that is in no share.
const PRIVATE: &[u8] = b"private";
/// The state of a file as a snapshot shows it.
const SNAPSHOT: &[u8] = b"snapshot";

/// The value of the attribute of this name, after the prefix.
pub(super) fn value(control: &ControlDir, ino: Ino, name: &[u8]) -> Outcome<Vec<u8>> {
    if snapshot_dir::shows(ino) {
        return match name {
            STATE => Ok(SNAPSHOT.to_vec()),
            _ => Err(Errno::ENODATA.into()),
        };
    }
    match (control.attribute(ino, name), name) {
        (Some(value), _) => Ok(value.into_bytes()),
        (None, STATE) => Ok(PRIVATE.to_vec()),
        (None, _) => Err(Errno::ENODATA.into()),
    }
}

/// Does what setting an attribute of this name, after the prefix, asks for.
pub(super) fn set(
    control: &ControlDir,
    caller: ControlCaller,
    (ino, name, value): (Ino, &[u8], &[u8]),
) -> Outcome<()> {
    if snapshot_dir::shows(ino) {
        return Err(Errno::EROFS.into());
    }
    Ok(control.act(caller, ino, (name, value))?)
}
