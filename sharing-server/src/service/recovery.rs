//! Mails: proving an address, and inviting.

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::Time;
use keyfold_protocol::names::{Email, UserName};

use super::access::{Caller, hash_token, new_token};
use super::audit::{self, Act};
use super::{Outcome, Work};
use crate::db::accounts::{self, Account};
use crate::db::sessions::{self, MailKind, MailToken};

const DAY: u64 = 24 * 3600;
/// Seconds between two mails that prove an address.
const RESEND: u64 = 300;

/// A mail to be sent once the transaction is committed.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) to: Email,
    pub(crate) subject: &'static str,
    pub(crate) text: String,
}

/// The mail that proves an account's address, where the server wants that and it is not too soon.
pub(crate) fn verification(work: &Work<'_>, account: &Account) -> Outcome<Option<Letter>> {
    let since = Time(work.now.0.saturating_sub(RESEND));
    let sent = sessions::mails_since(work.tx, MailKind::Verify, &account.email, since)?;
    if !work.rules.verify_email || account.email_verified || sent > 0 {
        return Ok(None);
    }
    let (token, hash) = new_token()?;
    let mail = MailToken {
        token: hash,
        kind: MailKind::Verify,
        email: account.email.clone(),
        root: Some(account.root),
        created: work.now,
        expires: Time(work.now.0.saturating_add(DAY)),
    };
    sessions::insert_mail_token(work.tx, &mail)?;
    let url = &work.rules.public_url;
    Ok(Some(Letter {
        to: account.email.clone(),
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
    match account.filter(|account| !account.deleted) {
        Some(account) => verification(work, &account),
        None => Ok(None),
    }
}

/// Invites an address, at most once a day.
pub(crate) fn invite(work: &Work<'_>, caller: &Caller, to: &Email) -> Outcome<Option<Letter>> {
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
