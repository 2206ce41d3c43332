//! `trust` and `people`.

use std::fmt::Write;

use keyfold_fs::vault::Access;
use keyfold_fs::volume::Verify;
use keyfold_protocol::account::{fingerprint, safety_words};
use keyfold_protocol::ids::ChainRoot;

use super::args::{ReadArgs, TrustArgs};
use super::asking;
use super::place::{Place, unlike};
use crate::account::{Account, AccountError};
use crate::calendar::moment;
use crate::cli::asking::told_by;
use crate::cli::error::CliError;
use crate::cli::inside;
use crate::cli::output::{self, Form};
use crate::control::{Command, Nothing, RosterCommand};
use crate::mount::unmount;
use crate::orders::{Order, Told};
use crate::remote::Deadlines;
use crate::sharing::{self, PersonShown};

/// Notes that somebody's keys are his.
pub(crate) fn trust(args: &TrustArgs) -> Result<(), CliError> {
    let place = Place::open(&args.vault, &args.unlock, Access::ReadWrite)?;
    let user = &args.user;
    let Told::Person { root, verified } = place.carry_out(Order::Find(user.clone()))? else {
        return Err(unlike());
    };
    if args.fingerprint.is_some_and(|given| !given.fits(root)) {
        let user = user.clone();
        return Err(AccountError::OtherFingerprint { user, root }.into());
    }
    let done = if let Some(since) = verified {
        format!("{user} is verified since {}.\n", moment(since as i64))
    } else {
        if args.fingerprint.is_none() {
            ask(user.as_str(), root)?;
        }
        place.carry_out(Order::Trust {
            user: user.clone(),
            root,
        })?;
        format!("{user} is verified from now on.\n")
    };
    place.close()?;
    output::text(&done)
}

fn ask(user: &str, root: ChainRoot) -> Result<(), CliError> {
    let words = safety_words(root);
    let (first, second) = words.split_at(words.len() / 2);
    let question = format!(
        "Safety words of {user}:\n\n    {}\n    {}\n\n    {}\n\nCompare them with {user} over \
         another way than the server. Are they the same? [yes/no] ",
        first.join(" "),
        second.join(" "),
        fingerprint(root)
    );
    match asking::line(&question, "--fingerprint")?.as_str() {
        "yes" => Ok(()),
        _ => Err(CliError::NotConfirmed),
    }
}

/// Lists whom the vault knows.
pub(crate) fn people(args: &ReadArgs) -> Result<(), CliError> {
    let all: Vec<PersonShown> = if let Ok(record) = unmount::find(&args.vault) {
        let command = RosterCommand::People(Nothing {});
        told_by(&record, &Command::Roster(command))?
    } else {
        let engine = inside::open(&args.vault, &args.unlock, Verify::default())?;
        let account = Account::of(&engine, Deadlines::default())?;
        sharing::people(*account.kept())?
    };
    match Form::of(args.json) {
        Form::Json => output::json(&all),
        Form::Text => {
            let mut text = String::new();
            for one in &all {
                let how = if one.verified { "verified" } else { "seen" };
                let since = moment(one.since as i64);
                // Writing to a string does not fail.
                let _ = writeln!(
                    text,
                    "{:<20}  {how:<8}  {since}  {}",
                    one.user, one.fingerprint
                );
            }
            output::text(&text)
        }
    }
}
