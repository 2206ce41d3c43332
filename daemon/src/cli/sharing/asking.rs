//! `inbox`, `approve`, `deny`, `request` and `withdraw`.

use std::fmt::Write;
use std::time::Duration;

use keyfold_protocol::account::fingerprint;
use keyfold_protocol::ids::Time;
use serde::Serialize;

use super::args::{ApproveArgs, DecideArgs, RequestArgs};
use crate::account::now;
use crate::cli::account::{ReadArgs, open, session, wait};
use crate::cli::error::CliError;
use crate::cli::output::{self, Form};
use crate::sharing::{self, InboxItem, Reads, Terms, Wish, role_name};

fn after(time: Duration) -> Time {
    Time(now().0.saturating_add(time.as_secs()))
}

#[derive(Serialize)]
struct ItemShown {
    id: String,
    request: String,
    share: String,
    title: String,
    user: String,
    fingerprint: String,
    verified: bool,
    role: &'static str,
    expires: u64,
    message: Option<String>,
}

impl From<&InboxItem> for ItemShown {
    fn from(item: &InboxItem) -> Self {
        Self {
            id: item.short_id(),
            request: item.request.to_string(),
            share: item.share.to_string(),
            title: item.title.to_string(),
            user: item.user().to_string(),
            fingerprint: fingerprint(item.person.root()),
            verified: item.person.is_verified(),
            role: role_name(item.role),
            expires: item.expires.0,
            message: item.message.as_ref().map(ToString::to_string),
        }
    }
}

/// Lists requests.
pub(crate) fn inbox(args: &ReadArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let items = wait(async {
        let session = session(&engine).await?;
        Ok(sharing::inbox(&session).await?)
    })?;
    engine.close()?;
    for error in &items.refused {
        eprintln!("keyfold: a request is not shown: {error}");
    }
    let shown: Vec<ItemShown> = items.items.iter().map(ItemShown::from).collect();
    match Form::of(args.json) {
        Form::Json => output::json(&shown),
        Form::Text => {
            let mut text = String::new();
            for item in &shown {
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
    }
}

/// Grants a request.
pub(crate) fn approve(args: &ApproveArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let terms = Terms {
        role: args.role.map(Into::into),
        expires: args.expires.map(after),
        reads: if args.with_history {
            Reads::Before
        } else {
            Reads::usual()
        },
        key: args.key,
    };
    let item = wait(async {
        let session = session(&engine).await?;
        Ok(sharing::approve(&session, &args.id, &terms).await?)
    })?;
    engine.close()?;
    output::text(&format!(
        "{} is {} of \"{}\" now.\n",
        item.user(),
        role_name(terms.role.unwrap_or(item.role)),
        item.title
    ))
}

/// Refuses a request.
pub(crate) fn deny(args: &DecideArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    wait(async {
        let session = session(&engine).await?;
        Ok(sharing::deny(&session, &args.id).await?)
    })?;
    engine.close()?;
    output::text("Refused.\n")
}

/// Asks for something.
pub(crate) fn request(args: &RequestArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let wish = Wish {
        address: args.address.clone(),
        role: args.role.into(),
        expires: after(args.expires),
        message: args.message.clone(),
    };
    let request = wait(async {
        let session = session(&engine).await?;
        Ok(sharing::request(&session, &wish).await?)
    })?;
    engine.close()?;
    let id: String = request.to_string().chars().take(8).collect();
    output::text(&format!(
        "Asked {}. It is request {id}, which `keyfold withdraw` takes back.\n",
        wish.address.user
    ))
}

/// Takes a request back.
pub(crate) fn withdraw(args: &DecideArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    wait(async {
        let session = session(&engine).await?;
        Ok(sharing::withdraw(&session, &args.id).await?)
    })?;
    engine.close()?;
    output::text("Taken back.\n")
}
