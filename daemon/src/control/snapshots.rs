//! Commands about snapshots.

use std::path::PathBuf;

use keyfold_fs::error::FsError;
use keyfold_fs::layout::ImageKind;
use keyfold_fs::volume::ImageInfo;
use serde::{Deserialize, Serialize};

use super::obeying::json;
use super::{ParseError, unexpected};
use crate::engine::Engine;
use crate::fuse::ControlError;

/// What to do with snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotCommand {
    /// Keep the volume as it is now, under this name or one made of the time.
    Create(Option<String>),
    /// Tell which there are.
    List,
    /// Delete the one of this name.
    Delete(String),
}

/// A snapshot, as it is told to programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Its name.
    pub(crate) name: String,
    /// Who made it.
    pub(crate) kind: Origin,
    /// When, in seconds since 1970.
    pub(crate) created: i64,
    /// The commit that it shows.
    pub(crate) commit: u64,
    /// What deleting it gives back.
    pub(crate) held_back_bytes: u64,
}

/// Why there is a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// The program made it by itself.
    Automatic,
    /// Somebody asked for it.
    Asked,
    /// A backup is being made of it.
    Backup,
}

impl From<ImageInfo> for Snapshot {
    fn from(image: ImageInfo) -> Self {
        Self {
            name: image.name,
            kind: match image.kind {
                ImageKind::Automatic => Origin::Automatic,
                ImageKind::Snapshot => Origin::Asked,
                ImageKind::Hold => Origin::Backup,
            },
            created: image.created.secs,
            commit: image.commit,
            held_back_bytes: image.held_back,
        }
    }
}

/// The command as a JSON object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotJson {
    action: Action,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Create,
    List,
    Delete,
}

impl SnapshotJson {
    pub(super) fn read(self) -> Result<SnapshotCommand, ParseError> {
        match (self.action, self.name) {
            (Action::Create, name) => Ok(SnapshotCommand::Create(name)),
            (Action::List, None) => Ok(SnapshotCommand::List),
            (Action::Delete, Some(name)) => Ok(SnapshotCommand::Delete(name)),
            (Action::List, Some(name)) => Err(unexpected("snapshot", &name)),
            (Action::Delete, None) => Err(ParseError::Missing("snapshot delete", "name")),
        }
    }
}

impl SnapshotCommand {
    pub(super) const KNOWN: &str = "snapshot create [NAME] | list | delete NAME";

    pub(super) fn parse(words: &[String]) -> Result<Self, ParseError> {
        match words {
            [what] if what == "list" => Ok(Self::List),
            [what] if what == "create" => Ok(Self::Create(None)),
            [what, name] if what == "create" => Ok(Self::Create(Some(name.clone()))),
            [what, name] if what == "delete" => Ok(Self::Delete(name.clone())),
            [what, .., word] if what == "list" || words.len() > 2 => {
                Err(unexpected("snapshot", word))
            }
            [what, ..] if what == "delete" => Err(ParseError::Missing("snapshot delete", "name")),
            [word, ..] => Err(unexpected("snapshot", word)),
            [] => Err(ParseError::Missing("snapshot", "word")),
        }
    }

    pub(super) fn line(&self) -> String {
        match self {
            Self::Create(None) => "snapshot create".to_owned(),
            Self::Create(Some(name)) => format!("snapshot create {}", quoted(name)),
            Self::List => "snapshot list".to_owned(),
            Self::Delete(name) => format!("snapshot delete {}", quoted(name)),
        }
    }

    pub(super) fn changes_nothing(&self) -> bool {
        *self == Self::List
    }

    pub(super) fn obey(&self, engine: &Engine) -> Result<String, ControlError> {
        match self {
            Self::Create(name) => {
                let made = engine.keep_snapshot(name.as_deref());
                made.map(|snapshot| json(&snapshot))
                    .map_err(|e| failed("make the snapshot", e))
            }
            Self::List => Ok(json(&engine.snapshots())),
            Self::Delete(name) => {
                let deleted = engine.delete_snapshot(name);
                deleted
                    .map(|()| String::new())
                    .map_err(|e| failed("delete the snapshot", e))
            }
        }
    }
}

/// Where a backup finds the vault held still.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The directory to copy.
    pub(crate) vault: PathBuf,
}

pub(super) fn hold(engine: &Engine) -> Result<String, ControlError> {
    match engine.hold() {
        Ok(vault) => Ok(json(&Held { vault })),
        Err(FsError::Busy) => Err(ControlError {
            errno: libc::EBUSY,
            message: "another backup is being made, or the volume is being checked".to_owned(),
        }),
        Err(FsError::NotSupported) => Err(ControlError {
            errno: libc::EOPNOTSUPP,
            message: "the disk of the vault has no hard links. Unmount the vault and copy it"
                .to_owned(),
        }),
        Err(e) => Err(failed("hold the volume", e)),
    }
}

pub(super) fn release(engine: &Engine) -> Result<String, ControlError> {
    let ended = engine.end_hold();
    ended
        .map(|()| String::new())
        .map_err(|e| failed("end the hold", e))
}

/// A word that is read back as it is.
fn quoted(word: &str) -> String {
    let mut out = String::from("\"");
    for c in word.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// What is said of a command about snapshots that failed.
pub(crate) fn failed(what: &str, error: FsError) -> ControlError {
    let why = match error {
        FsError::Exists => "there is one of this name".to_owned(),
        FsError::NotFound => "there is none of this name".to_owned(),
        FsError::InvalidArgument => {
            "a name has 1 to 64 bytes, no / and no control character, and begins with no dot"
                .to_owned()
        }
        FsError::Busy => "it is in use, or the volume is being checked".to_owned(),
        FsError::Database => "the metadata does not verify. `keyfold check` says more".to_owned(),
        other => other.to_string(),
    };
    ControlError {
        errno: crate::fuse::errno(error),
        message: format!("cannot {what}: {why}"),
    }
}
