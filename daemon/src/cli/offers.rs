//! Commands about what is offered and asked for: publish, unpublish, inbox, approve, deny, request,
//! withdraw.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::cli::account::ReadArgs;
use crate::cli::asking;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::folders::within;
use crate::cli::output::{self, Form};
use crate::cli::secret::UnlockArgs;
use crate::cli::sharing::{Where, carry_out, done};
use crate::control::{self, Command, Nothing, OfferCommand, RosterCommand, Sought};
use crate::sharing::{Done, InboxShown};

/// A command about what is offered and asked for.
#[derive(Debug, Subcommand)]
pub(crate) enum OffersCommand {
    /// Let others ask for a folder of a mounted vault
    ///
    /// They see its title, as the server and those who run it do, and a locked folder; what is in it,
    /// when you approve their request.
    Publish(control::Publish),
    /// Let nobody ask for a folder any more
    ///
    /// Who was given it keeps it.
    Unpublish(control::Unpublish),
    /// List what others ask for
    Inbox(ReadArgs),
    /// Grant what somebody asks for
    Approve(ApproveArgs),
    /// Refuse what somebody asks for
    Deny(DecideArgs),
    /// Ask for what somebody offers
    Request(RequestArgs),
    /// Take back what was asked for
    Withdraw(DecideArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    what: control::Approve,
    /// The vault, or where it is mounted
    vault: PathBuf,
    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    #[command(flatten)]
    what: control::Decide,
    /// The vault, or where it is mounted
    vault: PathBuf,
    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    #[command(flatten)]
    what: control::Request,
    /// The vault, or where it is mounted; not needed for a locked folder in a mount
    vault: Option<PathBuf>,
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// Carries out one of them.
pub(crate) fn carry_out_offer(command: &OffersCommand) -> Result<(), CliError> {
    match command {
        OffersCommand::Publish(wanted) => publish(wanted),
        OffersCommand::Unpublish(wanted) => unpublish(wanted),
        OffersCommand::Inbox(args) => inbox(args),
        OffersCommand::Approve(args) => {
            let at = of(&args.vault, &args.unlock);
            done(&at, RosterCommand::Approve(args.what.clone()))
        }
        OffersCommand::Deny(args) => {
            let at = of(&args.vault, &args.unlock);
            done(&at, RosterCommand::Deny(args.what.clone()))
        }
        OffersCommand::Request(args) => request(args),
        OffersCommand::Withdraw(args) => {
            let at = of(&args.vault, &args.unlock);
            done(&at, RosterCommand::Withdraw(args.what.clone()))
        }
    }
}

fn of<'a>(vault: &'a Path, unlock: &'a UnlockArgs) -> Where<'a> {
    Where { vault, unlock }
}

fn publish(wanted: &control::Publish) -> Result<(), CliError> {
    let (record, path) = within(Path::new(&wanted.path))?;
    let command = OfferCommand::Publish(control::Publish {
        path,
        ..wanted.clone()
    });
    let told: Done = asking::told_by(&record, &Command::Offer(command))?;
    output::line(&told.done)
}

fn unpublish(wanted: &control::Unpublish) -> Result<(), CliError> {
    let (record, path) = within(Path::new(&wanted.path))?;
    let command = OfferCommand::Unpublish(control::Unpublish { path });
    let told: Done = asking::told_by(&record, &Command::Offer(command))?;
    output::line(&told.done)
}

/// Asks for something: by an address for a vault, or for a locked folder where that is mounted.
fn request(args: &RequestArgs) -> Result<(), CliError> {
    if let Some(vault) = &args.vault {
        let at = of(vault, &args.unlock);
        return done(&at, RosterCommand::Request(args.what.clone()));
    }
    if let Sought::Address(address) = &args.what.what.value {
        return Err(CliError::Server {
            exit: Exit::Usage,
            message: format!(
                "say for which vault to ask {}, after the address",
                address.user
            ),
        });
    }
    let (record, path) = within(Path::new(&args.what.what.to_string()))?;
    let what = control::Request {
        // No address begins so.
        what: format!("/{path}").parse().map_err(|_| CliError::NoText)?,
        ..args.what.clone()
    };
    let command = Command::Roster(RosterCommand::Request(what));
    let told: Done = asking::told_by(&record, &command)?;
    output::line(&told.done)
}

/// Lists requests.
fn inbox(args: &ReadArgs) -> Result<(), CliError> {
    let shown: InboxShown = carry_out(&args.at(), RosterCommand::Inbox(Nothing {}))?;
    for error in &shown.refused {
        eprintln!("keyfold: a request is not shown: {error}");
    }
    if let Form::Json = Form::of(args.json) {
        return output::json(&shown.items);
    }
    let mut text = String::new();
    for item in &shown.items {
        let known = if item.verified {
            "verified"
        } else {
            "not verified"
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}  {} asks to be {} of \"{}\"\n          {} ({known})",
            item.id, item.user, item.role, item.title, item.fingerprint
        );
        for line in item.message.iter().flat_map(|message| message.lines()) {
            let _ = writeln!(text, "          > {line}");
        }
    }
    output::text(&text)
}
