//! Printing results: text for people, JSON for programs, and an error instead of a panic when
//! nobody takes them.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::cli::error::CliError;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Form {
    /// The form that a `--json` flag asks for.
    pub(crate) fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// Prints `text` as it is.
pub(crate) fn text(text: &str) -> Result<(), CliError> {
    bytes(text.as_bytes())
}

/// Prints `data` as it is.
pub(crate) fn bytes(data: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    out.write_all(data)
        .and_then(|()| out.flush())
        .map_err(CliError::Output)
}

/// Prints a line of text.
pub(crate) fn line(text: &str) -> Result<(), CliError> {
    self::text(&format!("{text}\n"))
}

/// Prints `value` as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let mut line =
        serde_json::to_vec_pretty(value).map_err(|e| CliError::Output(io::Error::other(e)))?;
    line.push(b'\n');
    bytes(&line)
}

/// A name as it can be shown: on a terminal without characters that would steer it.
pub(crate) fn shown(name: &[u8]) -> Vec<u8> {
    if !io::stdout().is_terminal() {
        return name.to_vec();
    }
    let text = String::from_utf8_lossy(name);
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect::<String>()
        .into_bytes()
}
