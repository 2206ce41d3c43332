//! `keep` and `free`: what of shares lies in a mounted vault.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::asking;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::folders::within;
use crate::cli::output;
use crate::control::{self, Command, StorageCommand};
use crate::mount_table::MountRecord;
use crate::online::HereStatus;
use crate::sharing::Done;

/// Between two looks at how much has come.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct PathArgs {
    /// A shared folder, or a file or folder in it
    path: PathBuf,
}

fn told<T: serde::de::DeserializeOwned>(
    record: &MountRecord,
    command: StorageCommand,
) -> Result<T, CliError> {
    asking::told_by(record, &Command::Storage(command))
}

/// How much of a file or folder is here.
pub(crate) fn here(path: &Path) -> Result<HereStatus, CliError> {
    let (record, path) = within(path)?;
    told(&record, StorageCommand::Here(control::Here { path }))
}

/// Keeps a file or folder, and waits until all of it is here.
pub(crate) fn keep(args: &PathArgs) -> Result<(), CliError> {
    let (record, path) = within(&args.path)?;
    let wanted = control::Keep { path: path.clone() };
    let _: Done = told(&record, StorageCommand::Keep(wanted))?;
    let look = || -> Result<HereStatus, CliError> {
        let path = path.clone();
        told(&record, StorageCommand::Here(control::Here { path }))
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
pub(crate) fn free(args: &PathArgs) -> Result<(), CliError> {
    let (record, path) = within(&args.path)?;
    let done: Done = told(&record, StorageCommand::Free(control::Free { path }))?;
    output::line(&done.done)
}
