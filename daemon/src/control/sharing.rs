//! Commands about sharing. Words, JSON and the command line are parsed by one definition.

use std::fmt;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use keyfold_protocol::account::{Fingerprint, read_fingerprint};
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::Role;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ParseError;

/// What to do with shares.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub(crate) enum SharingCommand {
    /// Give somebody a folder.
    Share(Share),
    /// Take a folder back.
    Unshare(Unshare),
    /// Take what somebody gives.
    Accept(Accept),
}

/// Give somebody a folder.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    /// The folder
    pub(crate) path: String,
    /// To whom
    pub(crate) user: UserName,
    /// Let him write, too
    #[arg(long)]
    #[serde(default)]
    pub(crate) write: bool,
    /// Let him also decide who takes part
    #[arg(long, conflicts_with = "write")]
    #[serde(default)]
    pub(crate) owner: bool,
    /// Let him also read what was there before
    #[arg(long)]
    #[serde(default)]
    pub(crate) with_history: bool,
    /// His fingerprint, as he gave it
    #[arg(long, value_name = "K7QD-...")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Key>,
}

impl Share {
    /// What he may do.
    pub(crate) fn role(&self) -> Role {
        match (self.owner, self.write) {
            (true, _) => Role::Owner,
            (false, true) => Role::Writer,
            (false, false) => Role::Reader,
        }
    }
}

/// Take a folder back.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unshare {
    /// The folder
    pub(crate) path: String,
    /// From whom
    pub(crate) user: UserName,
}

/// Take what somebody gives.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accept {
    /// Which: OWNER, OWNER/NAME, or the id of the share or the beginning of it
    #[arg(value_name = "OWNER[/NAME]")]
    pub(crate) share: String,
}

/// A fingerprint as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    text: String,
    /// What it says.
    pub(crate) fingerprint: Fingerprint,
}

impl FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fingerprint = read_fingerprint(text)
            .map_err(|_| "not a fingerprint: it has eight groups of four characters".to_owned())?;
        Ok(Self {
            text: text.to_owned(),
            fingerprint,
        })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// A line of words.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_help_flag = true,
    disable_help_subcommand = true
)]
struct Line {
    #[command(subcommand)]
    command: SharingCommand,
}

impl SharingCommand {
    pub(super) const KNOWN: &str =
        "share PATH USER [--write | --owner], unshare PATH USER, accept OWNER[/NAME]";

    /// Parses words, if the first of them is one of these commands.
    pub(super) fn parse(words: &[String]) -> Option<Result<Self, ParseError>> {
        let name = words.first()?;
        if !Self::has_subcommand(name) {
            return None;
        }
        let parsed = Line::try_parse_from(words).map(|line| line.command);
        Some(parsed.map_err(|error| ParseError::Words(first_line(&error))))
    }

    /// Parses the JSON of one, if it is that.
    pub(super) fn from_json(text: &str) -> Option<Result<Self, ParseError>> {
        #[derive(Deserialize)]
        struct Named {
            command: String,
        }
        let named: Named = serde_json::from_str(text).ok()?;
        if !Self::has_subcommand(&named.command) {
            return None;
        }
        let parsed = serde_json::from_str(text);
        Some(parsed.map_err(|error| ParseError::Json(error.to_string())))
    }

    /// The command in one line; parses to itself.
    pub(crate) fn line(&self) -> String {
        // Only maps with other keys than strings cannot be written, and none is.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether it only looks.
    pub(super) fn changes_nothing(&self) -> bool {
        match self {
            Self::Share(_) | Self::Unshare(_) | Self::Accept(_) => false,
        }
    }
}

/// What is wrong with the words, without advice that is for the command line.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
