//! Mails: proving an address, and inviting.

use std::str::FromStr as _;

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{ChainRoot, Time};
use keyfold_protocol::names::{Email, UserName};

use super::access::{Caller, hash_token, new_token};
use super::audit::{self, Act};
use super::login::subject;
use super::{Failure, Outcome, Work};
use crate::db::accounts::{self, Account};
use crate::db::sessions::{self, MailKind, MailToken};
use crate::db::throttle;

const DAY: u64 = 24 * 3600;
/// Seconds between two mails that prove an address.
const RESEND: u64 = 300;
/// Invitations by one account in a day.
const INVITATIONS: u64 = 50;

/// A mail to be sent once the transaction is committed.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) to: Email,
    pub(crate) subject: &'static str,
    pub(crate) text: String,
}

/// The mail that proves an account's address, where the server wants that and it is not too soon.
pub(crate) fn verification(work: &Work<'_>, account: &Account) -> Outcome<Option<Letter>> {
    let wanted = work.rules.verify_email && !account.email_verified;
    letter(work, &account.email, wanted.then_some(account.root))
}

/// The mail, if it is wanted and not too soon. The same is done and stored in either case, but that
/// a token which nobody gets is good for nothing.
fn letter(work: &Work<'_>, to: &Email, root: Option<ChainRoot>) -> Outcome<Option<Letter>> {
    let since = Time(work.now.0.saturating_sub(RESEND));
    let sent = sessions::mails_since(work.tx, MailKind::Verify, to, since)?;
    let root = root.filter(|_| sent == 0);
    let (token, hash) = new_token()?;
    let lasts = if root.is_some() { DAY } else { 0 };
    let mail = MailToken {
        token: hash,
        kind: if root.is_some() {
            MailKind::Verify
        } else {
            MailKind::Nothing
        },
        email: to.clone(),
        root,
        created: work.now,
        expires: Time(work.now.0.saturating_add(lasts)),
    };
    sessions::insert_mail_token(work.tx, &mail)?;
    if root.is_none() {
        return Ok(None);
    }
    let url = &work.rules.public_url;
    Ok(Some(Letter {
        to: to.clone(),
        subject: "Confirm your address for Keyfold",
        text: format!(
            "Somebody, hopefully you, registered with this address at {url}.\n\
             To confirm it, give this code to Keyfold within a day:\n\n{token}\n"
        ),
    }))
}

/// Proves an address by what was mailed to it.
pub(crate) fn verify_email(work: &Work<'_>, token: &str) -> Outcome<()> {
    let found = sessions::take_mail_token(work.tx, hash_token(token), MailKind::Verify, work.now)?;
    let root = found
        .and_then(|taken| taken.root)
        .ok_or(ErrorCode::Expired)?;
    accounts::verify_email(work.tx, &root)?;
    let account = accounts::by_root(work.tx, &root)?.ok_or(ErrorCode::Expired)?;
    audit::note(work, Act::VerifyEmail, Some(&account.name), "")
}

/// The mail again, if there is somebody to send it to. Nobody is told whether there is.
pub(crate) fn resend(work: &Work<'_>, user: &UserName) -> Outcome<Option<Letter>> {
    let account = accounts::by_name(work.tx, user)?;
    let account = account.filter(|account| !account.deleted);
    let nobody = || Email::from_str("nobody@invalid.invalid");
    match account {
        Some(account) => verification(work, &account),
        None => letter(work, &nobody().map_err(|_| ErrorCode::Internal)?, None),
    }
}

/// Invites an address, at most once a day, and so many in a day.
pub(crate) fn invite(work: &Work<'_>, caller: &Caller, to: &Email) -> Outcome<Option<Letter>> {
    let by_caller = subject("invite", &[&caller.root().0]);
    if throttle::count(work.tx, &by_caller, DAY, work.now)? >= INVITATIONS {
        return Err(Failure::TooOften(DAY));
    }
    throttle::note(work.tx, &by_caller, DAY, work.now)?;
    let since = Time(work.now.0.saturating_sub(DAY));
    if sessions::mails_since(work.tx, MailKind::Invite, to, since)? > 0 {
        return Ok(None);
    }
    let (token, hash) = new_token()?;
    let mail = MailToken {
        token: hash,
        kind: MailKind::Invite,
        email: to.clone(),
        root: None,
        created: work.now,
        expires: Time(work.now.0.saturating_add(14 * DAY)),
    };
    sessions::insert_mail_token(work.tx, &mail)?;
    audit::note(work, Act::Invite, Some(&caller.account.name), "")?;
    let (from, url) = (&caller.account.name, &work.rules.public_url);
    Ok(Some(Letter {
        to: to.clone(),
        subject: "You are invited to Keyfold",
        text: format!(
            "{from} wants to share files with you at {url}.\n\
             To register there, give this invitation to Keyfold within two weeks:\n\n{token}\n"
        ),
    }))
}
