//! Giving a command to a mounted volume.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::cli::error::{CliError, Reason};
use crate::cli::exit::Exit;
use crate::control::{Command, exit_of};
use crate::mount::client::{self, Answer};
use crate::mount::unmount::UnmountError;
use crate::mount_table::{self, MountRecord};

/// The reply to a command, in words.
pub(crate) fn reply(record: &MountRecord, line: &str) -> Result<String, CliError> {
    told(record, client::ask(&record.point, line))
}

fn told(record: &MountRecord, answer: io::Result<Answer>) -> Result<String, CliError> {
    let point = &record.point;
    match answer {
        Ok(Answer::Done(reply)) => Ok(reply),
        Ok(Answer::Failed(e, said)) => {
            let why = if said.is_empty() {
                Reason(&e).to_string()
            } else {
                said
            };
            let other = match e.raw_os_error() {
                Some(libc::ENOENT) => Exit::NoSuchPath,
                Some(libc::EBUSY) => Exit::Busy,
                _ => Exit::General,
            };
            Err(refused(point, Exit::from_io(&e, other), why))
        }
        Err(e) if mount_table::is_gone(&e) => Err(UnmountError::Dead(point.clone()).into()),
        Err(e) => Err(match e.raw_os_error() {
            Some(libc::EACCES) => UnmountError::Denied(point.clone()).into(),
            _ => refused(
                point,
                Exit::from_io(&e, Exit::General),
                Reason(&e).to_string(),
            ),
        }),
    }
}

/// What a command about shares tells, which fails as it does where nothing is mounted.
pub(crate) fn told_by<T: DeserializeOwned>(
    record: &MountRecord,
    command: &Command,
) -> Result<T, CliError> {
    let reply = match client::ask(&record.point, &command.line()) {
        Ok(Answer::Failed(e, said)) if !said.is_empty() => {
            let exit = e.raw_os_error().and_then(exit_of);
            return Err(CliError::Server {
                exit: exit.unwrap_or(Exit::General),
                message: said,
            });
        }
        answer => told(record, answer)?,
    };
    read(record, &reply)
}

/// The reply to a command that answers in JSON.
pub(crate) fn answer<T: DeserializeOwned>(record: &MountRecord, line: &str) -> Result<T, CliError> {
    read(record, &reply(record, line)?)
}

fn read<T: DeserializeOwned>(record: &MountRecord, reply: &str) -> Result<T, CliError> {
    serde_json::from_str(reply).map_err(|e| {
        refused(
            &record.point,
            Exit::General,
            format!("with something else ({e})"),
        )
    })
}

fn refused(point: &Path, exit: Exit, why: String) -> CliError {
    UnmountError::Command {
        point: point.to_path_buf(),
        exit,
        why,
    }
    .into()
}
