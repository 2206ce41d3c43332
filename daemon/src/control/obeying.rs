//! Obeying commands: what a mounted volume does for each.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use keyfold_fs::error::{FsError, LostWrite};
use keyfold_fs::vfs::Ino;
use serde::Serialize;

use super::acting::{self, Tokens};
use super::{Command, errno_of, snapshots};
use crate::engine::Engine;
use crate::fuse::{ControlCaller, ControlError, ControlService};
use crate::mount::options::ControlAccess;
use crate::mount::swap::Swap;
use crate::online::{self, Desk, FolderError, Online, SharingStatus};
use crate::orders::{Counter, Refused, Seal};
/// What `status` tells beside the volume's own state.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The vault's directory.
    pub(crate) vault: PathBuf,
    /// Identity of the vault, in hexadecimal.
    pub(crate) vault_id: String,
    /// The mount point.
    pub(crate) point: PathBuf,
    /// When it was mounted.
    pub(crate) since: SystemTime,
    /// What commands may do.
    pub(crate) access: ControlAccess,
}

/// Obeys commands for one mounted volume.
pub(crate) struct VolumeControl {
    engine: Arc<Engine>,
    about: About,
    desk: Arc<Desk>,
    tokens: Tokens,
    counter: Counter,
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    pid: u32,
    vault: String,
    vault_id: String,
    mount_point: String,
    mounted_since: u64,
    /// Where the daemon's memory may be written to.
    swap: Swap,
    volume: serde_json::Value,
    sharing: Option<SharingStatus>,
}

impl VolumeControl {
    /// Obeys commands for `engine`, whose shares are kept online by `online`, and orders that are sealed
    /// by `seal`.
    pub(crate) fn new(engine: Arc<Engine>, about: About, online: &Arc<Online>, seal: Seal) -> Self {
        Self {
            engine,
            about,
            desk: Arc::clone(online.desk()),
            tokens: Tokens::new(),
            counter: Counter::new(Arc::clone(online), seal),
        }
    }

    fn permitted(&self, command: &Command) -> bool {
        match self.about.access {
            ControlAccess::Full => true,
            ControlAccess::Read => command.changes_nothing(),
            ControlAccess::Off => false,
        }
    }

    fn obey_if_permitted(&self, command: &Command) -> Result<String, ControlError> {
        if self.permitted(command) {
            self.obey(command)
        } else {
            Err(forbidden())
        }
    }

    /// Whether what happens about shares may be read.
    fn may_look(&self) -> Result<(), ControlError> {
        match self.about.access {
            ControlAccess::Full | ControlAccess::Read => Ok(()),
            ControlAccess::Off => Err(forbidden()),
        }
    }

    fn status(&self) -> Status {
        let since = self.about.since.duration_since(SystemTime::UNIX_EPOCH);
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            vault: self.about.vault.display().to_string(),
            vault_id: self.about.vault_id.clone(),
            mount_point: self.about.point.display().to_string(),
            mounted_since: since.map_or(0, |d| d.as_secs()),
            swap: Swap::now(),
            volume: self.engine.status(),
            sharing: self.desk.status(),
        }
    }

    fn obey(&self, command: &Command) -> Result<String, ControlError> {
        match command {
            Command::Status => Ok(json(&self.status())),
            Command::Sync => self
                .engine
                .vfs()
                .sync()
                .map(|()| String::new())
                .map_err(|e| ControlError {
                    errno: errno(&e),
                    message: format!("cannot sync: {e}"),
                }),
            Command::Check(read_data) => self
                .engine
                .check(*read_data, &mut |_| {})
                .map(|report| json(&report))
                .map_err(|e| ControlError {
                    errno: libc::EIO,
                    message: e.to_string(),
                }),
            Command::Snapshot(command) => command.obey(&self.engine),
            Command::Hold => snapshots::hold(&self.engine),
            Command::Release => snapshots::release(&self.engine),
            Command::Challenge => self.counter.challenge().map(|c| json(&c)).map_err(no_order),
            Command::Sealed(challenge, order) => {
                let reply = self.counter.obey(*challenge, order);
                reply.map(|reply| json(&reply)).map_err(no_order)
            }
            Command::Folder(command) => told(online::folder(&self.desk, command)),
            Command::Roster(command) => told(online::roster(&self.desk, command)),
            Command::Offer(command) => told(online::offer(&self.desk, command)),
            Command::Storage(command) => told(online::storage(&self.desk, command)),
        }
    }
}

impl ControlService for VolumeControl {
    fn status_json(&self) -> Vec<u8> {
        json(&self.status()).into_bytes()
    }

    fn inbox(&self) -> Result<Vec<u8>, ControlError> {
        self.may_look()?;
        Ok(self.desk.inbox().into_bytes())
    }

    fn activity(&self) -> Result<Vec<u8>, ControlError> {
        self.may_look()?;
        let activity = self.desk.activity().map_err(|error| ControlError {
            errno: libc::EIO,
            message: error.to_string(),
        })?;
        Ok(activity.into_bytes())
    }

    fn attribute(&self, ino: Ino, name: &[u8]) -> Option<String> {
        match name {
            b"token" => self.tokens.of(ino),
            name => self.desk.attribute(ino, name),
        }
    }

    fn act(&self, ino: Ino, name: &[u8], value: &[u8]) -> Result<(), ControlError> {
        let asked = (ino, name, value);
        let command = acting::command(self.engine.volume(), &self.tokens, asked)?;
        self.obey_if_permitted(&command).map(drop)
    }

    fn run(&self, line: &str, _caller: ControlCaller) -> Result<String, ControlError> {
        let command = Command::parse(line).map_err(|e| ControlError {
            errno: libc::EINVAL,
            message: e.to_string(),
        })?;
        self.obey_if_permitted(&command)
    }
}

fn forbidden() -> ControlError {
    ControlError {
        errno: libc::EACCES,
        message: "this mount's control option does not allow the command".to_owned(),
    }
}

fn no_order(refused: Refused) -> ControlError {
    let message = match refused {
        Refused::NoChallenge => "the order answers no challenge that waits for one. Try again",
        Refused::NotSealed => "the order was not made with the vault's key",
        Refused::Random => "the system gave no random bytes",
    };
    ControlError {
        errno: match refused {
            Refused::NoChallenge => libc::EAGAIN,
            Refused::NotSealed => libc::EACCES,
            Refused::Random => libc::EIO,
        },
        message: message.to_owned(),
    }
}

fn told(done: Result<impl Serialize, FolderError>) -> Result<String, ControlError> {
    done.map(|told| json(&told)).map_err(|e| ControlError {
        errno: errno_of((&e).into()),
        message: e.to_string(),
    })
}

pub(super) fn json(value: &impl Serialize) -> String {
    // Only maps with other keys than strings cannot be written, and none is.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// What the write of a failed `sync` fails with.
fn errno(error: &FsError) -> i32 {
    match error {
        FsError::NoSpace | FsError::WriteLost(LostWrite::NoSpace) => libc::ENOSPC,
        FsError::ReadOnly => libc::EROFS,
        _ => libc::EIO,
    }
}
