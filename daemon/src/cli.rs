//! The command line: parsing, carrying out, and telling how it ended.
//!
//! Data goes to standard output, messages to standard error. Every failure has a documented exit
//! code ([`exit::Exit`]).

mod account;
pub(crate) mod args;
mod asking;
mod backup;
mod check;
mod docs;
pub(crate) mod error;
pub(crate) mod exit;
mod extract;
mod folders;
mod inside;
pub(crate) mod listing;
mod mounting;
mod offers;
mod output;
mod restore;
pub(crate) mod secret;
mod sharing;
mod slots;
mod snapshots;
mod storage;
mod vaults;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::FromArgMatches;

use self::args::{Command, CommandLine};
use self::error::CliError;
use self::exit::Exit;
use crate::mount::{background, external};

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    let mut words: Vec<OsString> = env::args_os().collect();
    if words
        .first()
        .is_some_and(|program| external::is_helper(program))
    {
        match external::translate(words.drain(1..)) {
            Some(line) => words = line,
            None => return ExitCode::SUCCESS,
        }
    }
    if let [_, command, _, vault, point] = words.as_slice()
        && command == background::COMMAND
    {
        // The process that started this one speaks for it.
        let served = background::run(vault.into(), point.into());
        return served.map_or_else(|e| e.exit(), |()| Exit::Success).into();
    }
    let parsed = args::command_line()
        .try_get_matches_from(words)
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    let command = match parsed {
        Ok(line) => line.command,
        Err(e) => {
            // Help that cannot be printed has nowhere to be complained about.
            let _ = e.print();
            return if e.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            }
            .into();
        }
    };
    match run(command) {
        Ok(()) => Exit::Success.into(),
        Err(e) => {
            if let CliError::Ended { code } = e {
                return code.into();
            }
            if !e.is_broken_pipe() {
                eprintln!("keyfold: {e}");
            }
            e.exit().into()
        }
    }
}

fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Init(args) => vaults::init(&args),
        Command::Mount(args) => mounting::mount(&args),
        Command::Unmount(args) => mounting::unmount(&args),
        Command::Passwd { command } => slots::passwd(&command),
        Command::Info { vault, json } => vaults::info(&vault, output::Form::of(json)),
        Command::Check(args) => check::check(&args),
        Command::BackupHold { vault, command } => backup::hold(&vault, &command),
        Command::Snapshot { command } => snapshots::snapshot(&command),
        Command::Ls(args) => listing::ls(&args),
        Command::Cat { vault, path, look } => extract::cat(&vault, &path, &look),
        Command::Get {
            vault,
            path,
            dest,
            look,
            json,
        } => {
            let place = extract::Wanted {
                vault: &vault,
                path: &path,
                dest: &dest,
            };
            extract::get(&place, &look, output::Form::of(json))
        }
        Command::Export {
            vault,
            dest,
            look,
            json,
        } => extract::export(&vault, &dest, &look, output::Form::of(json)),
        Command::Header { command } => vaults::header(&command),
        Command::Status { mount, json } => mounting::status(&mount, output::Form::of(json)),
        Command::Account { command } => account::account(&command),
        Command::Trust(args) => account::trust(&args),
        Command::People(args) => account::people(&args),
        Command::Share(wanted) => folders::share(&wanted),
        Command::Unshare(wanted) => folders::unshare(&wanted),
        Command::WaitSynced(args) => folders::wait_synced(&args),
        Command::Storage(command) => storage::storage(&command),
        Command::Accept(args) => folders::accept(&args),
        Command::Shares(args) => sharing::shares(&args),
        Command::Members(args) => sharing::members(&args),
        Command::Role(args) => sharing::role(&args),
        Command::Group(args) => sharing::group(&args),
        Command::Leave(args) => sharing::leave(&args),
        Command::Offers(command) => offers::carry_out_offer(&command),
        Command::Completions { shell } => docs::completions(shell),
        Command::Man { dir } => docs::manual(&dir),
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
