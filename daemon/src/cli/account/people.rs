//! `trust` and `people`.

use std::fmt::Write;

use keyfold_protocol::account::{fingerprint, safety_words};
use keyfold_protocol::ids::ChainRoot;
use serde::Serialize;

use super::args::{ReadArgs, TrustArgs};
use super::{asking, look, open, session, wait};
use crate::account::{Account, Trust};
use crate::calendar::moment;
use crate::cli::error::CliError;
use crate::cli::output::{self, Form};
use crate::remote::Deadlines;

/// Notes that somebody's keys are his.
pub(crate) fn trust(args: &TrustArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let user = &args.user;
    let done = wait(async {
        let session = session(&engine).await?;
        let person = match args.fingerprint {
            Some(fingerprint) => session.person_of(user, fingerprint).await?,
            None => session.person(user).await?,
        };
        if let Trust::Verified(since) = person.trust {
            return Ok(format!(
                "{user} is verified since {}.\n",
                moment(since.0 as i64)
            ));
        }
        if args.fingerprint.is_none() {
            ask(user.as_str(), person.root())?;
        }
        session.verify_person(&person).await?;
        Ok(format!("{user} is verified from now on.\n"))
    })?;
    engine.close()?;
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

#[derive(Serialize)]
struct PersonShown {
    user: String,
    fingerprint: String,
    safety_words: String,
    verified: bool,
    since: u64,
}

/// Lists whom the vault knows.
pub(crate) fn people(args: &ReadArgs) -> Result<(), CliError> {
    let engine = look(&args.vault, &args.unlock)?;
    let account = Account::of(&engine, Deadlines::default())?;
    let kept = account.kept();
    let shown = |user: &str, root, (verified, since)| PersonShown {
        user: user.to_owned(),
        fingerprint: fingerprint(root),
        safety_words: safety_words(root).join(" "),
        verified,
        since,
    };
    let book = kept.book()?.book;
    let mut all: Vec<PersonShown> = book
        .contacts
        .iter()
        .map(|one| shown(one.user.as_str(), one.root, (true, one.since.0)))
        .collect();
    for known in kept.people()?.0 {
        let verified = book.contacts.iter().any(|one| one.user == known.user);
        if let (false, Some(first)) = (verified, known.entries.first()) {
            let root = ChainRoot(first.0);
            all.push(shown(known.user.as_str(), root, (false, known.since.0)));
        }
    }
    all.sort_by(|a, b| a.user.cmp(&b.user));
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
