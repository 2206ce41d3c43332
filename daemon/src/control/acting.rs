//! Commands that setting an extended attribute gives.
//!
//! `tar`, `cp -a` and `mv` set attributes that they found on files of others. So what acts carries a token
//! that was read from the same file in this mount; nothing else knows it. That holds for what takes and what
//! asks as for what gives: whoever packed an archive decides nothing for who unpacks it.

use std::fmt::Write;

use keyfold_crypto::{fill_random, sha256};
use keyfold_fs::error::FsError;
use keyfold_fs::vfs::Ino;
use keyfold_fs::volume::Volume;

use super::{Command, FolderCommand, Request, RosterCommand, Share, Unshare};
use crate::fuse::ControlError;
use crate::online;

/// Bytes of a token.
const TOKEN: usize = 16;

/// Tokens of the files of one mount.
pub(super) struct Tokens(Option<[u8; 32]>);

impl Tokens {
    /// Others than those of any other mount. Without randomness there are none.
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        Self(fill_random(&mut key).is_ok().then_some(key))
    }

    /// The token of a file.
    pub(super) fn of(&self, ino: Ino) -> Option<String> {
        let hash = sha256(&[&self.0?, &ino.0.to_le_bytes()]);
        let mut token = String::with_capacity(2 * TOKEN);
        for byte in &hash[..TOKEN] {
            // Writing to a string does not fail.
            let _ = write!(token, "{byte:02x}");
        }
        Some(token)
    }
}

/// The command that setting an attribute of `ino` gives.
pub(super) fn command(
    volume: &Volume,
    tokens: &Tokens,
    (ino, name, value): (Ino, &[u8], &[u8]),
) -> Result<Command, ControlError> {
    let refused = |errno, message: &str| ControlError {
        errno,
        message: message.to_owned(),
    };
    let text = std::str::from_utf8(value).map_err(|_| refused(libc::EINVAL, "it is no text"))?;
    let (what, token) = text.rsplit_once(';').unwrap_or((text, ""));
    if tokens.of(ino).is_none_or(|own| own != token) {
        let message = "the token is not that of user.keyfold.token";
        return Err(refused(libc::EPERM, message));
    }
    let no_user = |_| refused(libc::EINVAL, "nobody can be called so");
    match name {
        b"grant" => {
            let (user, role) = what.split_once(':').unwrap_or((what, ""));
            let share = Share {
                path: path(volume, ino)?,
                user: user
                    .parse()
                    .map_err(|why: String| refused(libc::EINVAL, &why))?,
                write: writes(role)?,
                owner: false,
                expires: None,
                with_history: false,
                key: None,
            };
            Ok(Command::Folder(FolderCommand::Share(share)))
        }
        b"revoke" => Ok(Command::Folder(FolderCommand::Unshare(Unshare {
            path: path(volume, ino)?,
            user: Some(what.parse().map_err(no_user)?),
            all: false,
            end: false,
        }))),
        b"request" => {
            let sought = format!("/{}", path(volume, ino)?);
            let sought = sought.parse();
            Ok(Command::Roster(RosterCommand::Request(Request {
                what: sought.map_err(|why: String| refused(libc::EINVAL, &why))?,
                write: writes(what)?,
                message: None,
                expires: None,
            })))
        }
        _ => Err(refused(libc::EPERM, "no attribute of this name can be set")),
    }
}

/// Whether a role is one that writes.
fn writes(role: &str) -> Result<bool, ControlError> {
    match role {
        "r" => Ok(false),
        "rw" => Ok(true),
        _ => Err(ControlError {
            errno: libc::EINVAL,
            message: "the role is neither r nor rw".to_owned(),
        }),
    }
}

fn path(volume: &Volume, ino: Ino) -> Result<String, ControlError> {
    let path = online::path_of(volume, ino).map_err(|error| ControlError {
        errno: match error {
            FsError::NotADirectory(_) => libc::EOPNOTSUPP,
            error => crate::fuse::errno(error),
        },
        message: error.to_string(),
    })?;
    String::from_utf8(path).map_err(|_| ControlError {
        errno: libc::EINVAL,
        message: "the path is no text".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_file_in_one_mount() {
        let (one, other) = (Tokens::new(), Tokens::new());
        let token = one.of(Ino(7)).unwrap();
        assert_eq!(token.len(), 2 * TOKEN);
        assert_eq!(one.of(Ino(7)), Some(token.clone()));
        assert_ne!(one.of(Ino(8)), Some(token.clone()));
        assert_ne!(other.of(Ino(7)), Some(token));
    }
}
