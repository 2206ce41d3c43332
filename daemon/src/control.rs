//! The commands a mounted volume obeys: one parser for the command line and the control file.

use std::fmt;

use keyfold_fs::check::ReadData;
use keyfold_protocol::ids::Nonce;
use keyfold_protocol::wire::Base64;
use serde::Deserialize;

mod acting;
mod errno;
mod folders;
mod obeying;
mod offers;
mod roster;
mod snapshots;
mod storage;
mod whom;
mod words;

pub(crate) use errno::{errno_of, exit_of};
pub(crate) use folders::{Accept, Folder, FolderCommand, Look, Share, Unshare};
pub(crate) use obeying::{About, VolumeControl};
pub(crate) use offers::{OfferCommand, Publish, Unpublish};
pub(crate) use roster::{
    Approve, Decide, GroupAction, GroupOf, Leave, Members, Nothing, Request, RoleOf, RosterCommand,
    Sought,
};
use snapshots::SnapshotJson;
pub(crate) use snapshots::{Held, Origin, Snapshot, SnapshotCommand, failed as snapshot_failed};
pub(crate) use storage::{Free, Here, History, Keep, Purge, StorageCommand};
pub(crate) use whom::{Until, Whom};

/// Most words in a command.
const MAX_WORDS: usize = 64;

/// A command to a mounted volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Tell the state, in JSON.
    Status,
    /// Make everything written so far durable.
    Sync,
    /// Verify the volume; the findings come back in JSON.
    Check(ReadData),
    /// Keep, list or delete snapshots.
    Snapshot(SnapshotCommand),
    /// Make a directory that a backup can copy; answers with where it is.
    Hold,
    /// The backup is done.
    Release,
    /// Say what the next order is to answer.
    Challenge,
    /// An order, in answer to a challenge.
    Sealed(Nonce, Base64),
    /// Something about a folder that is shared or to be shared.
    Folder(FolderCommand),
    /// Something about who takes part in shares.
    Roster(RosterCommand),
    /// Something about what is offered to others.
    Offer(OfferCommand),
    /// Something about what of shares lies where.
    Storage(StorageCommand),
}

/// Why a line is not a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ParseError {
    /// Nothing is in it.
    Empty,
    /// A quote is not closed, or a backslash ends the line.
    Unfinished,
    /// It has more words than any command.
    TooManyWords,
    /// No such command.
    Unknown(String),
    /// The command takes no such word.
    Unexpected {
        /// The command.
        command: &'static str,
        /// The word.
        word: String,
    },
    /// The command needs one more word.
    Missing(&'static str, &'static str),
    /// Its words make no sense.
    Words(String),
    /// It is not the JSON of a command.
    Json(String),
}

impl Command {
    /// Parses a line of words, or one JSON object such as `{"command": "check", "read_data": true}`.
    pub(crate) fn parse(line: &str) -> Result<Self, ParseError> {
        if line.trim_start().starts_with('{') {
            return Self::from_json(line);
        }
        let words = split_words(line)?;
        let (name, arguments) = words.split_first().ok_or(ParseError::Empty)?;
        match name.as_str() {
            "status" => without_arguments("status", arguments, Self::Status),
            "sync" => without_arguments("sync", arguments, Self::Sync),
            "check" => match arguments {
                [] => Ok(Self::Check(ReadData::No)),
                [flag] if flag == "--read-data" => Ok(Self::Check(ReadData::Yes)),
                [flag, other, ..] if flag == "--read-data" => Err(unexpected("check", other)),
                [other, ..] => Err(unexpected("check", other)),
            },
            "hold" => without_arguments("hold", arguments, Self::Hold),
            "release" => without_arguments("release", arguments, Self::Release),
            "challenge" => without_arguments("challenge", arguments, Self::Challenge),
            "snapshot" => SnapshotCommand::parse(arguments).map(Self::Snapshot),
            _ => {
                let folder = || words::parse(&words).map(|c| c.map(Self::Folder));
                let roster = || words::parse(&words).map(|c| c.map(Self::Roster));
                let offer = || words::parse(&words).map(|c| c.map(Self::Offer));
                let storage = || words::parse(&words).map(|c| c.map(Self::Storage));
                let unknown = || Err(ParseError::Unknown(name.clone()));
                let about = folder().or_else(roster).or_else(offer).or_else(storage);
                about.unwrap_or_else(unknown)
            }
        }
    }

    fn from_json(text: &str) -> Result<Self, ParseError> {
        #[derive(Deserialize)]
        #[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
        enum Json {
            Status {},
            Sync {},
            Check {
                #[serde(default)]
                read_data: bool,
            },
            Snapshot(SnapshotJson),
            Hold {},
            Release {},
            Challenge {},
            Sealed {
                challenge: Nonce,
                order: Base64,
            },
        }
        let folder = || words::from_json(text).map(|c| c.map(Self::Folder));
        let roster = || words::from_json(text).map(|c| c.map(Self::Roster));
        let offer = || words::from_json(text).map(|c| c.map(Self::Offer));
        let storage = || words::from_json(text).map(|c| c.map(Self::Storage));
        let about = folder().or_else(roster).or_else(offer).or_else(storage);
        if let Some(parsed) = about {
            return parsed;
        }
        match serde_json::from_str(text) {
            Ok(Json::Status {}) => Ok(Self::Status),
            Ok(Json::Sync {}) => Ok(Self::Sync),
            Ok(Json::Check { read_data: true }) => Ok(Self::Check(ReadData::Yes)),
            Ok(Json::Check { read_data: false }) => Ok(Self::Check(ReadData::No)),
            Ok(Json::Hold {}) => Ok(Self::Hold),
            Ok(Json::Release {}) => Ok(Self::Release),
            Ok(Json::Challenge {}) => Ok(Self::Challenge),
            Ok(Json::Sealed { challenge, order }) => Ok(Self::Sealed(challenge, order)),
            Ok(Json::Snapshot(command)) => command.read().map(Self::Snapshot),
            Err(e) => Err(ParseError::Json(e.to_string())),
        }
    }

    /// The command as a line of words; parses to itself.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Status => "status".to_owned(),
            Self::Sync => "sync".to_owned(),
            Self::Check(ReadData::No) => "check".to_owned(),
            Self::Check(ReadData::Yes) => "check --read-data".to_owned(),
            Self::Hold => "hold".to_owned(),
            Self::Release => "release".to_owned(),
            Self::Challenge => "challenge".to_owned(),
            Self::Sealed(challenge, order) => {
                serde_json::json!({ "command": "sealed", "challenge": challenge, "order": order })
                    .to_string()
            }
            Self::Snapshot(command) => command.line(),
            Self::Folder(command) => words::line(command),
            Self::Roster(command) => words::line(command),
            Self::Offer(command) => words::line(command),
            Self::Storage(command) => words::line(command),
        }
    }

    /// Whether it only looks.
    fn changes_nothing(&self) -> bool {
        match self {
            Self::Status | Self::Check(_) => true,
            Self::Sync
            | Self::Hold
            | Self::Release
            | Self::Challenge
            | Self::Sealed(..)
            | Self::Offer(_) => false,
            Self::Snapshot(command) => command.changes_nothing(),
            Self::Folder(command) => command.changes_nothing(),
            Self::Roster(command) => command.changes_nothing(),
            Self::Storage(command) => command.changes_nothing(),
        }
    }
}

fn without_arguments(
    name: &'static str,
    arguments: &[String],
    command: Command,
) -> Result<Command, ParseError> {
    arguments
        .first()
        .map_or(Ok(command), |word| Err(unexpected(name, word)))
}

fn unexpected(command: &'static str, word: &str) -> ParseError {
    ParseError::Unexpected {
        command,
        word: word.to_owned(),
    }
}

/// Splits a line at blanks. Single quotes keep everything; double quotes keep blanks; a backslash
/// outside single quotes keeps the next character.
fn split_words(line: &str) -> Result<Vec<String>, ParseError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or(ParseError::Unfinished)?;
                word.get_or_insert_default().push(next);
            }
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
        if words.len() > MAX_WORDS {
            return Err(ParseError::TooManyWords);
        }
    }
    if quote.is_some() {
        return Err(ParseError::Unfinished);
    }
    words.extend(word);
    Ok(words)
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KNOWN: &str = "There are: status, sync, hold, release, check [--read-data]";
        let known = format!(
            "{KNOWN}, {}, {}, {}, {}, {}",
            SnapshotCommand::KNOWN,
            FolderCommand::KNOWN,
            RosterCommand::KNOWN,
            OfferCommand::KNOWN,
            StorageCommand::KNOWN
        );
        match self {
            Self::Empty => write!(f, "the command is empty. {known}"),
            Self::Unfinished => {
                write!(f, "the command ends within a quote or after a backslash")
            }
            Self::TooManyWords => write!(f, "the command has more than {MAX_WORDS} words"),
            Self::Unknown(name) => write!(f, "unknown command {name:?}. {known}"),
            Self::Unexpected { command, word } => {
                write!(f, "command {command:?} takes no {word:?}. {known}")
            }
            Self::Missing(command, what) => {
                write!(f, "command {command:?} needs a {what}. {known}")
            }
            Self::Words(why) => write!(f, "{why}. {known}"),
            Self::Json(why) => write!(f, "not a command in JSON: {why}"),
        }
    }
}

#[cfg(test)]
mod tests;
