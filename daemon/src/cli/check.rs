//! `check`: verifies a vault by itself, or through the program that has it mounted.

use crate::cli::args::CheckArgs;
use crate::cli::error::{CliError, Reason};
use crate::cli::exit::Exit;
use crate::cli::inside;
use crate::cli::output::{self, Form};
use crate::control::Command;
use crate::engine::{CheckReport, ReadData, Surroundings};
use crate::mount::client::{self, Answer};
use crate::mount::table::MountRecord;
use crate::mount::unmount::{self, UnmountError};

/// Verifies a vault.
pub(crate) fn check(args: &CheckArgs) -> Result<(), CliError> {
    let read_data = if args.read_data {
        ReadData::Yes
    } else {
        ReadData::No
    };
    let report = match unmount::find(&args.vault) {
        Ok(record) => through_mount(&record, read_data)?,
        Err(_) => inside::open(&args.vault, &args.unlock)?.check(read_data, Surroundings::Still)?,
    };
    match Form::of(args.json) {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&report.to_string())?,
    }
    match report.damaged() {
        0 => Ok(()),
        findings => Err(CliError::DamageFound { findings }),
    }
}

fn through_mount(record: &MountRecord, read_data: ReadData) -> Result<CheckReport, CliError> {
    let point = record.point.clone();
    let refused = |exit, why| UnmountError::Command {
        point: point.clone(),
        exit,
        why,
    };
    let answer = client::ask(&record.point, Command::Check(read_data).line());
    match answer {
        Ok(Answer::Done(reply)) => serde_json::from_str(&reply)
            .map_err(|e| refused(Exit::General, format!("with no report ({e})")).into()),
        Ok(Answer::Failed(e, said)) => {
            let why = if said.is_empty() {
                Reason(&e).to_string()
            } else {
                said
            };
            Err(refused(Exit::from_io(&e, Exit::General), why).into())
        }
        Err(e) => Err(match e.raw_os_error() {
            Some(libc::ENOTCONN) => UnmountError::Dead(point.clone()),
            Some(libc::EACCES) => UnmountError::Denied(point.clone()),
            _ => refused(Exit::from_io(&e, Exit::General), Reason(&e).to_string()),
        }
        .into()),
    }
}
