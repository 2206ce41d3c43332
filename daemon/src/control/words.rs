//! Commands that words, JSON and the command line give alike: one definition parses all three.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use keyfold_protocol::account::{Fingerprint, read_fingerprint};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ParseError;
use crate::mount::options::parse_duration;

/// A line of words.
#[derive(Debug, Parser)]
#[command(
    no_binary_name = true,
    disable_help_flag = true,
    disable_help_subcommand = true
)]
struct Line<C: Subcommand> {
    #[command(subcommand)]
    command: C,
}

/// Parses words, if the first of them is one of the commands `C`.
pub(super) fn parse<C: Subcommand>(words: &[String]) -> Option<Result<C, ParseError>> {
    if !C::has_subcommand(words.first()?) {
        return None;
    }
    let parsed = Line::try_parse_from(words).map(|line| line.command);
    Some(parsed.map_err(|error| ParseError::Words(first_line(&error))))
}

/// Parses JSON, if its `command` is one of the commands `C`.
pub(super) fn from_json<C: Subcommand + DeserializeOwned>(
    text: &str,
) -> Option<Result<C, ParseError>> {
    #[derive(Deserialize)]
    struct Named {
        command: String,
    }
    let named: Named = serde_json::from_str(text).ok()?;
    if !C::has_subcommand(&named.command) {
        return None;
    }
    let parsed = serde_json::from_str(text);
    Some(parsed.map_err(|error| ParseError::Json(error.to_string())))
}

/// A command in one line; parses to itself.
pub(super) fn line(command: &impl Serialize) -> String {
    // Only maps with other keys than strings cannot be written, and none is.
    serde_json::to_string(command).unwrap_or_default()
}

/// What is wrong with the words, without advice that is for the command line.
fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines();
    let line = lines.next().unwrap_or_default();
    let line = line.strip_prefix("error: ").unwrap_or(line);
    match lines.next() {
        Some(next) if line.ends_with(':') => format!("{line} {}", next.trim()),
        _ => line.to_owned(),
    }
}

/// What a word says, and the word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word<T> {
    text: String,
    /// What it says.
    pub(crate) value: T,
}

/// What a word can say.
pub(crate) trait Said: Sized {
    /// Reads a word.
    fn read(text: &str) -> Result<Self, String>;
}

impl Said for Fingerprint {
    fn read(text: &str) -> Result<Self, String> {
        read_fingerprint(text)
            .map_err(|_| "not a fingerprint: it has eight groups of four characters".to_owned())
    }
}

/// How long something stands: also more days than a mount can be idle.
impl Said for Duration {
    fn read(text: &str) -> Result<Self, String> {
        const DAY: u64 = 24 * 3600;
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        let days = days.and_then(|days: u64| days.checked_mul(DAY));
        let time = days
            .map(Duration::from_secs)
            .or_else(|| parse_duration(text));
        time.filter(|time| time.as_secs() < 200 * 365 * DAY)
            .ok_or_else(|| "not a time such as 30d or 12h".to_owned())
    }
}

impl<T: Said> FromStr for Word<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self {
            value: T::read(text)?,
            text: text.to_owned(),
        })
    }
}

impl<T> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<T> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de, T: Said> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}
