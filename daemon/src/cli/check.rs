//! `check`: verifies a vault by itself, or through the program that has it mounted.

use indicatif::{ProgressBar, ProgressStyle};
use keyfold_fs::check::{CheckReport, Phase, Progress, ReadData};
use keyfold_fs::volume::Verify;

use crate::cli::args::CheckArgs;
use crate::cli::error::{CliError, Reason};
use crate::cli::exit::Exit;
use crate::cli::inside;
use crate::cli::mounting::progress_is_seen;
use crate::cli::output::{self, Form};
use crate::control::Command;
use crate::mount::client::{self, Answer};
use crate::mount::unmount::{self, UnmountError};
use crate::mount_table::MountRecord;

/// Verifies a vault.
pub(crate) fn check(args: &CheckArgs) -> Result<(), CliError> {
    let read_data = if args.read_data {
        ReadData::Yes
    } else {
        ReadData::No
    };
    let report = if let Ok(record) = unmount::find(&args.vault) {
        through_mount(&record, read_data)?
    } else {
        let engine = inside::open(&args.vault, &args.unlock, Verify::Never)?;
        let bar = Bar::start();
        let checked = engine.check(read_data, &mut |progress| bar.tell(progress));
        bar.end();
        checked?
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

/// Progress on standard error, where that is a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn start() -> Self {
        if !progress_is_seen() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{msg:10} {bar:30} {human_pos} of {human_len}");
        let bar = ProgressBar::no_length();
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    fn tell(&self, progress: Progress) {
        self.0.set_message(match progress.phase {
            Phase::Pages => "pages",
            Phase::Rows => "rows",
            Phase::Data => "blocks",
        });
        match progress.total {
            Some(total) => self.0.set_length(total),
            None => self.0.unset_length(),
        }
        self.0.set_position(progress.done);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}
