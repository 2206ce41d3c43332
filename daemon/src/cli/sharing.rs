//! Commands about who takes part in shares: carried out here, or by the daemon of a mounted vault.

mod args;

use std::fmt::Write;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::calendar::moment;
use crate::cli::account::{ReadArgs, open, session};
use crate::cli::asking;
use crate::cli::error::CliError;
use crate::cli::output::{self, Form};
use crate::cli::secret::UnlockArgs;
use crate::control::{Command, GroupAction, Nothing, RosterCommand};
use crate::mount::unmount;
use crate::remote::wait;
use crate::sharing::{self, Done, GroupShown, MembersShown, ShareShown};

pub(crate) use args::{GroupArgs, LeaveArgs, MembersArgs, RoleArgs};

/// A vault, and what unlocks it where it is not mounted.
pub(crate) struct Where<'a> {
    pub(crate) vault: &'a Path,
    pub(crate) unlock: &'a UnlockArgs,
}

/// Carries out a command: by the daemon where the vault is mounted, here where it is not.
pub(crate) fn carry_out<T: DeserializeOwned>(
    at: &Where<'_>,
    command: RosterCommand,
) -> Result<T, CliError> {
    if let Ok(record) = unmount::find(at.vault) {
        return asking::told_by(&record, &Command::Roster(command));
    }
    let engine = open(at.vault, at.unlock)?;
    let told = wait(async {
        let session = session(&engine).await?;
        Ok::<_, CliError>(sharing::carry_out(&session, &command).await?)
    })?;
    engine.close()?;
    // Whatever is told has the form of what the daemon sends, and is read as that.
    let told = serde_json::to_value(told).and_then(serde_json::from_value);
    told.map_err(|e| CliError::Output(std::io::Error::other(e)))
}

pub(crate) fn done(at: &Where<'_>, command: RosterCommand) -> Result<(), CliError> {
    let told: Done = carry_out(at, command)?;
    output::line(&told.done)
}

/// Lists shares.
pub(crate) fn shares(args: &ReadArgs) -> Result<(), CliError> {
    let shown: Vec<ShareShown> = carry_out(&args.at(), RosterCommand::Shares(Nothing {}))?;
    if let Form::Json = Form::of(args.json) {
        return output::json(&shown);
    }
    let mut text = String::new();
    for one in &shown {
        let place = match (&one.path, &one.owner, &one.name) {
            (Some(path), ..) => path.clone(),
            (None, Some(owner), Some(name)) => {
                format!("not here yet: `keyfold accept {owner}/{name}` takes it in")
            }
            _ => String::new(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}  {:<6}  {} records  {place}",
            one.share, one.role, one.records
        );
    }
    output::text(&text)
}

/// Lists members.
pub(crate) fn members(args: &MembersArgs) -> Result<(), CliError> {
    let command = RosterCommand::Members(args.what.clone());
    let shown: MembersShown = carry_out(&args.at(), command)?;
    match Form::of(args.json) {
        Form::Json => output::json(&shown),
        Form::Text => output::text(&members_text(&shown)),
    }
}

fn members_text(shown: &MembersShown) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    for member in &shown.members {
        let known = if member.verified {
            "verified"
        } else {
            "not verified"
        };
        let _ = write!(text, "{:<20}  {:<6}  {known:<12}", member.user, member.role);
        match (member.confirmed_record, member.confirmed_at) {
            (Some(record), Some(at)) => {
                let at = moment(at as i64);
                let _ = write!(text, "  saw record {record} on {at}");
            }
            _ => text.push_str("  not seen yet"),
        }
        match member.expires {
            Some(_) if member.expired => {
                text.push_str("  expired: kept out by the server alone until the next key");
            }
            Some(at) => {
                let _ = write!(text, "  until {}", moment(at as i64));
            }
            None => {}
        }
        text.push('\n');
    }
    if shown.rotation_due {
        text.push_str("Rotation due: somebody left, or his access ended. The first owner online makes a new key.\n");
    }
    for line in &shown.trouble {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Changes somebody's role.
pub(crate) fn role(args: &RoleArgs) -> Result<(), CliError> {
    done(&args.at(), RosterCommand::Role(args.what.clone()))
}

/// Keeps groups.
pub(crate) fn group(args: &GroupArgs) -> Result<(), CliError> {
    let command = RosterCommand::Group(args.what.clone());
    if args.what.action != GroupAction::List {
        return done(&args.at(), command);
    }
    let shown: Vec<GroupShown> = carry_out(&args.at(), command)?;
    if let Form::Json = Form::of(args.json) {
        return output::json(&shown);
    }
    let lines = shown.iter();
    let lines = lines.map(|one| format!("@{}  {}\n", one.group, one.users.join(" ")));
    output::text(&lines.collect::<String>())
}

/// Leaves a share.
pub(crate) fn leave(args: &LeaveArgs) -> Result<(), CliError> {
    done(&args.at(), RosterCommand::Leave(args.what.clone()))
}
