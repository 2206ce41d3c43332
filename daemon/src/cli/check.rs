//! `check`: verifies a vault by itself, or through the program that has it mounted.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressStyle};
use keyfold_fs::check::{CheckReport, Phase, Progress, ReadData};
use keyfold_fs::repair::{Altered, RepairOptions, RepairReport};
use keyfold_fs::volume::Verify;

use crate::calendar::moment;
use crate::cli::args::CheckArgs;
use crate::cli::asking;
use crate::cli::error::CliError;
use crate::cli::inside;
use crate::cli::mounting::progress_is_seen;
use crate::cli::output::{self, Form};
use crate::control::Command;
use crate::engine::Engine;
use crate::mount::unmount;

/// Verifies a vault.
pub(crate) fn check(args: &CheckArgs) -> Result<(), CliError> {
    let read_data = if args.read_data {
        ReadData::Yes
    } else {
        ReadData::No
    };
    if args.repair {
        return repair(args, read_data);
    }
    let report: CheckReport = if let Ok(record) = unmount::find(&args.vault) {
        asking::answer(&record, &Command::Check(read_data).line())?
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
    verdict(&report)
}

fn verdict(report: &CheckReport) -> Result<(), CliError> {
    match report.damaged() {
        0 => Ok(()),
        findings => Err(CliError::DamageFound { findings }),
    }
}

/// Repairs a vault that is not mounted, and tells what was done and what is wrong still.
fn repair(args: &CheckArgs, read_data: ReadData) -> Result<(), CliError> {
    if let Ok(record) = unmount::find(&args.vault) {
        return Err(CliError::Mounted {
            vault: record.source,
            point: record.point,
        });
    }
    let options = RepairOptions {
        from: args.from.clone(),
        altered: if args.accept_altered {
            Altered::Accept
        } else {
            Altered::Refuse
        },
        read_data,
    };
    let vault = inside::unlock_for_repair(&args.vault, &args.unlock)?;
    let bar = Bar::start();
    let repaired = Engine::repair(vault, &options, &mut |progress| bar.tell(progress));
    bar.end();
    let report = repaired?;
    match Form::of(args.json) {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&told(&report))?,
    }
    verdict(&report.check)
}

fn told(report: &RepairReport) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    if let Some(restored) = &report.restored {
        let _ = writeln!(
            text,
            "restored: the metadata is that of snapshot {} of {}; what was changed since is lost",
            restored.name,
            moment(restored.created)
        );
    }
    for finding in &report.mended {
        let _ = writeln!(text, "mended: {finding}");
    }
    if report.more > 0 {
        let _ = writeln!(text, "mended: and {} more", report.more);
    }
    if let Some(aside) = &report.aside {
        let _ = writeln!(text, "what was damaged is kept in {}", aside.display());
    }
    let _ = write!(text, "{}", report.check);
    text
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
