//! `shares`, `members`, `role` and `leave`: who takes part; and what is asked for, in [`asking`].

mod args;
mod asking;

use std::fmt::Write;

use keyfold_protocol::account::fingerprint;
use keyfold_protocol::ids::Seq;
use keyfold_protocol::roster::Role;
use serde::Serialize;

use crate::calendar::moment;
use crate::cli::account::{ReadArgs, open, session, wait};
use crate::cli::error::CliError;
use crate::cli::output::{self, Form};
use crate::sharing::{self, Shared, SharingError, role_name};

pub(crate) use args::{ApproveArgs, DecideArgs, LeaveArgs, MembersArgs, RequestArgs, RoleArgs};
pub(crate) use asking::{approve, deny, inbox, request, withdraw};

use self::args::RoleOrNone;

#[derive(Serialize)]
struct ShareShown {
    share: String,
    role: &'static str,
    records: u64,
    rotation_due: bool,
}

/// Lists shares.
pub(crate) fn shares(args: &ReadArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let found = wait(async {
        let session = session(&engine).await?;
        Ok(session.remote().shares().await?.shares)
    })?;
    engine.close()?;
    let shown: Vec<ShareShown> = found
        .iter()
        .map(|item| ShareShown {
            share: item.share.to_string(),
            role: role_name(item.role),
            records: item.head.seq.0 + 1,
            rotation_due: item.rotation_due,
        })
        .collect();
    match Form::of(args.json) {
        Form::Json => output::json(&shown),
        Form::Text => {
            let lines = shown
                .iter()
                .map(|one| format!("{}  {:<6}  {} records\n", one.share, one.role, one.records));
            output::text(&lines.collect::<String>())
        }
    }
}

#[derive(Serialize)]
struct MembersShown {
    share: String,
    records: u64,
    rotation_due: bool,
    /// What the account was not given, and other trouble that no server alone could make.
    trouble: Vec<String>,
    members: Vec<MemberLine>,
}

#[derive(Serialize)]
struct MemberLine {
    user: String,
    role: &'static str,
    fingerprint: String,
    verified: bool,
    expires: Option<u64>,
    expired: bool,
    confirmed_record: Option<u64>,
    confirmed_at: Option<u64>,
}

/// Lists members.
pub(crate) fn members(args: &MembersArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let shown = wait(async {
        let session = session(&engine).await?;
        let share = sharing::find(&session, &args.share).await?;
        let shared = Shared::open(&session, share).await?;
        Ok(members_shown(&shared)?)
    })?;
    engine.close()?;
    match Form::of(args.json) {
        Form::Json => output::json(&shown),
        Form::Text => output::text(&members_text(&shown)),
    }
}

fn members_shown(shared: &Shared<'_, '_>) -> Result<MembersShown, SharingError> {
    let members = shared.members()?;
    let lines = members.into_iter().map(|member| MemberLine {
        user: member.user.to_string(),
        role: role_name(member.role),
        fingerprint: fingerprint(member.root),
        verified: member.verified,
        expires: member.expires.map(|time| time.0),
        expired: member.expired,
        confirmed_record: member.confirmed.map(|(seq, _)| seq.0),
        confirmed_at: member.confirmed.map(|(_, time)| time.0),
    });
    let trouble = shared.events().iter();
    let voids = shared
        .log()
        .voids()
        .map(|(seq, void)| (seq, format!("{void:?}")));
    let trouble = trouble.map(|(seq, event)| (*seq, format!("{event:?}")));
    Ok(MembersShown {
        share: shared.id().to_string(),
        records: shared.log().head().map_or(0, |(seq, _)| seq.0 + 1),
        rotation_due: shared.rotation_due(),
        trouble: trouble
            .chain(voids)
            .map(|(Seq(seq), what)| format!("record {seq}: {what}"))
            .collect(),
        members: lines.collect(),
    })
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
        if member.expired {
            text.push_str("  expired: kept out by the server alone until the next key");
        }
        text.push('\n');
    }
    if shown.rotation_due {
        text.push_str("A new key is due: somebody left. The next owner who acts makes it.\n");
    }
    for line in &shown.trouble {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// Changes somebody's role.
pub(crate) fn role(args: &RoleArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    wait(async {
        let session = session(&engine).await?;
        let share = sharing::find(&session, &args.share).await?;
        let mut shared = Shared::open(&session, share).await?;
        let root = shared.member(&args.user)?.key.root;
        match args.role {
            RoleOrNone::Reader => shared.set_role(root, Role::Reader).await?,
            RoleOrNone::Writer => shared.set_role(root, Role::Writer).await?,
            RoleOrNone::Owner => shared.set_role(root, Role::Owner).await?,
            RoleOrNone::None => shared.remove(root).await?,
        }
        if shared.rotation_due() {
            shared.rotate().await?;
        }
        Ok(())
    })?;
    engine.close()?;
    output::text(&match args.role {
        RoleOrNone::None => sharing::removed(&args.user),
        role => format!("{} is {} now.\n", args.user, role.name()),
    })
}

/// Leaves a share.
pub(crate) fn leave(args: &LeaveArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    wait(async {
        let session = session(&engine).await?;
        let share = sharing::find(&session, &args.share).await?;
        Ok(Shared::open(&session, share).await?.leave().await?)
    })?;
    engine.close()?;
    output::text("Left the share.\n")
}
