//! `keep` and `free`: what of shares lies in a mounted vault.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::calendar::moment;
use crate::cli::asking;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::folders::within;
use crate::cli::output::{self, Form};
use crate::control::{self, Command};
use crate::mount_table::MountRecord;
use crate::online::{HereStatus, HistoryShown};
use crate::sharing::Done;

/// Between two looks at how much has come.
const LOOK: Duration = Duration::from_millis(100);

/// What to do with what of shares lies here or at the server.
#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Bring all of a shared file or folder here, and keep it here
    ///
    /// Returns when all of it is here. What others add to it later comes by itself.
    Keep(PathArgs),
    /// Give up what of a shared file or folder the server has, to make room
    ///
    /// What was not sent yet stays. What is read later is fetched again.
    Free(PathArgs),
    /// List what a shared file was and what was removed from a shared folder, or bring it back
    ///
    /// The server keeps what was overwritten or removed for 30 days, unless an owner says otherwise with
    /// --retention.
    History(HistoryArgs),
    /// Delete earlier versions of a shared file, and what was removed from a shared folder, for good
    Purge(PathArgs),
}

/// Does it.
pub(crate) fn storage(command: &StorageCommand) -> Result<(), CliError> {
    match command {
        StorageCommand::Keep(args) => keep(args),
        StorageCommand::Free(args) => free(args),
        StorageCommand::History(args) => history(args),
        StorageCommand::Purge(args) => purge(args),
    }
}

#[derive(Debug, Args)]
pub(crate) struct PathArgs {
    /// A shared folder, or a file or folder in it
    path: PathBuf,
}

fn told<T: serde::de::DeserializeOwned>(
    record: &MountRecord,
    command: control::StorageCommand,
) -> Result<T, CliError> {
    asking::told_by(record, &Command::Storage(command))
}

/// How much of a file or folder is here.
pub(crate) fn here(path: &Path) -> Result<HereStatus, CliError> {
    let (record, path) = within(path)?;
    told(
        &record,
        control::StorageCommand::Here(control::Here { path }),
    )
}

/// Keeps a file or folder, and waits until all of it is here.
fn keep(args: &PathArgs) -> Result<(), CliError> {
    let (record, path) = within(&args.path)?;
    let wanted = control::Keep { path: path.clone() };
    let _: Done = told(&record, control::StorageCommand::Keep(wanted))?;
    let look = || -> Result<HereStatus, CliError> {
        let path = path.clone();
        told(
            &record,
            control::StorageCommand::Here(control::Here { path }),
        )
    };
    let first = look()?;
    let bar = ProgressBar::new(first.bytes).with_style(style());
    loop {
        let status = look()?;
        bar.set_length(status.bytes);
        bar.set_position(status.bytes_here);
        if status.bytes_here >= status.bytes {
            bar.finish_and_clear();
            return output::line(&format!(
                "{} files, {} bytes: all of it is here, and stays.",
                status.files, status.bytes
            ));
        }
        if let Some(error) = status.error {
            bar.finish_and_clear();
            return Err(CliError::Server {
                exit: Exit::Unreachable,
                message: format!(
                    "{} of {} bytes are here ({error}). The rest comes when the server answers",
                    status.bytes_here, status.bytes
                ),
            });
        }
        thread::sleep(LOOK);
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{bytes}/{total_bytes} {bar:30} {eta}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Gives up what of a file or folder the server has.
fn free(args: &PathArgs) -> Result<(), CliError> {
    let (record, path) = within(&args.path)?;
    let done: Done = told(
        &record,
        control::StorageCommand::Free(control::Free { path }),
    )?;
    output::line(&done.done)
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    what: control::History,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows what a file or folder was, or brings it back.
fn history(args: &HistoryArgs) -> Result<(), CliError> {
    let (record, path) = within(Path::new(&args.what.path))?;
    let to = args.what.to.as_deref().map(within_new).transpose()?;
    let command = control::StorageCommand::History(control::History {
        path,
        to,
        ..args.what.clone()
    });
    if args.what.acts() {
        let done: Done = told(&record, command)?;
        return output::line(&done.done);
    }
    let shown: HistoryShown = told(&record, command)?;
    match Form::of(args.json) {
        Form::Json => output::json(&shown),
        Form::Text => output::text(&history_text(&shown)),
    }
}

/// The path in its mount of a file that is not there yet.
fn within_new(path: &str) -> Result<String, CliError> {
    let path = Path::new(path);
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or(CliError::NoText)?;
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let (_, parent) = within(parent.unwrap_or(Path::new(".")))?;
    Ok(format!("{parent}/{name}"))
}

fn history_text(shown: &HistoryShown) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for entry in &shown.entries {
        let there = match (entry.available, entry.until) {
            (false, _) => "cannot be had any more".to_owned(),
            (true, None) => String::new(),
            (true, Some(until)) => format!("until {}", moment(until as i64)),
        };
        let path = entry.path.as_deref().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:>4}  {}  {:<20}  {:>12}  {there}  {path}",
            entry.number,
            moment(entry.time as i64),
            entry.user,
            entry.size,
        );
    }
    if shown.entries.is_empty() {
        text.push_str("nothing is known of what it was\n");
    }
    if let Some(record) = shown.known_from_record {
        let _ = writeln!(
            text,
            "What was before record {record} cannot be read by this account."
        );
    }
    text
}

/// Ends that what something was can be had.
fn purge(args: &PathArgs) -> Result<(), CliError> {
    let (record, path) = within(&args.path)?;
    let done: Done = told(
        &record,
        control::StorageCommand::Purge(control::Purge { path }),
    )?;
    output::line(&done.done)
}
