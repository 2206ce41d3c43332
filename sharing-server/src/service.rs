//! The rules: what the server does for whom. Nothing here knows HTTP or SQL.
//!
//! Every rule runs inside one transaction, and asks again there for what lets the caller act: who
//! was a member when the request came may be none when it is carried out.

pub(crate) mod access;
pub(crate) mod accounts;
pub(crate) mod administration;
pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod housekeeping;
pub(crate) mod log;
pub(crate) mod login;
pub(crate) mod offers;
pub(crate) mod recovery;
pub(crate) mod second_factor;
pub(crate) mod shares;

use std::cell::{Cell, RefCell};
use std::fmt;

use keyfold_crypto::{CryptoError, RandomError};
use keyfold_protocol::cbor::{DecodeError, Encoded};
use keyfold_protocol::error_code::{ErrorCode, ErrorReply};
use keyfold_protocol::ids::{ChainRoot, RequestHash, ShareId, Time};
use keyfold_protocol::wire::{Event, EventKind};
use zeroize::Zeroizing;

use audit::{Alert, AuditKey};

use crate::db::{self, DbError, Tx};

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The caller is told why.
    Refused(Box<ErrorReply>),
    /// The caller is to come again after so many seconds.
    TooOften(u64),
    /// The log is told why, and the caller only that.
    Internal(String),
    /// The server is busy, starting or ending.
    Unavailable,
}

/// What comes of a rule.
pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A refusal with details, which `fill` adds.
    pub(crate) fn with(code: ErrorCode, fill: impl FnOnce(&mut ErrorReply)) -> Self {
        let mut reply = ErrorReply::new(code, explain(code));
        fill(&mut reply);
        Self::Refused(Box::new(reply))
    }
}

impl From<ErrorCode> for Failure {
    fn from(code: ErrorCode) -> Self {
        Self::with(code, |_| {})
    }
}

impl From<DbError> for Failure {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Busy => Self::Unavailable,
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed => ErrorCode::Malformed.into(),
            DecodeError::UnknownVersion => ErrorCode::UnknownVersion.into(),
        }
    }
}

impl From<CryptoError> for Failure {
    fn from(_: CryptoError) -> Self {
        ErrorCode::BadSignature.into()
    }
}

impl From<RandomError> for Failure {
    fn from(error: RandomError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reply) => f.write_str(reply.code.text()),
            Self::TooOften(_) => f.write_str(ErrorCode::RateLimited.text()),
            Self::Internal(why) => f.write_str(why),
            Self::Unavailable => f.write_str(ErrorCode::Unavailable.text()),
        }
    }
}

/// The code's meaning for people.
pub(crate) fn explain(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Malformed => "the request is not what this route takes",
        ErrorCode::UnknownVersion => "this needs a newer server",
        ErrorCode::BadSignature => "a signature does not verify or is not by your key",
        ErrorCode::NotApplicable => "the record may not stand at this place",
        ErrorCode::BlobMismatch => "the bytes are not those of the blob; send it again",
        ErrorCode::Unauthenticated => "log in first",
        ErrorCode::WrongCredentials => "user, password, account secret or recovery key are wrong",
        ErrorCode::SecondFactor => "a code of the second factor is needed",
        ErrorCode::EmailUnverified => "answer the mail that was sent to you first",
        ErrorCode::Forbidden => "you may not do this",
        ErrorCode::AccountDisabled => "an administrator switched the account off",
        ErrorCode::NotFound => "there is no such thing",
        ErrorCode::MethodNotAllowed => "the route is not called this way",
        ErrorCode::HeadMoved => "the share has another head by now",
        ErrorCode::BlobMissing => "blobs are missing; send them first",
        ErrorCode::UserTaken => "the user name is taken",
        ErrorCode::Conflict => "something newer is there",
        ErrorCode::Ended => "the request or publication has ended",
        ErrorCode::Expired => "the time for this has passed",
        ErrorCode::WrongOffset => "the blob goes on elsewhere",
        ErrorCode::TooLarge => "this is too large",
        ErrorCode::BadRange => "the range lies outside the blob",
        ErrorCode::WrongContentType => "the route takes another content type",
        ErrorCode::RateLimited => "too often; wait a while",
        ErrorCode::Internal => "something went wrong on the server",
        ErrorCode::QuotaExceeded => "your storage is used up",
        ErrorCode::Unavailable => "the server is not available now; try again",
    }
}

/// What the operator decides, and secrets that are not in the database.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) pepper: Pepper,
    pub(crate) open_registration: bool,
    pub(crate) verify_email: bool,
    /// Bytes that a new account may store.
    pub(crate) quota: u64,
    /// Registrations from one address in an hour.
    pub(crate) registrations: u64,
    /// Failed logins of one name from one address in a quarter of an hour.
    pub(crate) failed_logins: u64,
    /// What mails name as the server's address.
    pub(crate) public_url: String,
    pub(crate) audit_key: AuditKey,
}

/// The server's secret, kept outside the database.
#[derive(Clone)]
pub(crate) struct Pepper(pub(crate) Zeroizing<[u8; 32]>);

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(..)")
    }
}

/// A transaction, and what a rule needs beside it.
pub(crate) struct Work<'a> {
    pub(crate) tx: &'a Tx<'a>,
    pub(crate) now: Time,
    pub(crate) rules: &'a Rules,
    rang: Cell<bool>,
    alerts: RefCell<Vec<Alert>>,
}

impl<'a> Work<'a> {
    pub(crate) fn new(tx: &'a Tx<'a>, now: Time, rules: &'a Rules) -> Self {
        Self {
            tx,
            now,
            rules,
            rang: Cell::new(false),
            alerts: RefCell::default(),
        }
    }

    /// Whether there are events that nobody was woken for yet.
    pub(crate) fn rang(&self) -> bool {
        self.rang.get()
    }

    /// What to alert to once the transaction is committed.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        self.alerts.take()
    }

    /// Alerts the operator, once the transaction is committed.
    pub(crate) fn alert(&self, alert: Alert) {
        self.alerts.borrow_mut().push(alert);
    }

    /// Tells accounts that something happened.
    pub(crate) fn tell(
        &self,
        whom: impl IntoIterator<Item = ChainRoot>,
        event: Event,
    ) -> Outcome<()> {
        for root in whom {
            db::events::note(self.tx, &root, &event)?;
        }
        self.rang.set(true);
        Ok(())
    }
}

/// An event about a share.
pub(crate) fn of_share(kind: EventKind, share: ShareId) -> Event {
    Event {
        kind,
        share: Some(share),
        request: None,
    }
}

/// An event about a request.
pub(crate) fn of_request(share: ShareId, request: RequestHash) -> Event {
    Event {
        kind: EventKind::Request,
        share: Some(share),
        request: Some(request),
    }
}

/// An event about the account itself.
pub(crate) const OF_ACCOUNT: Event = Event {
    kind: EventKind::Account,
    share: None,
    request: None,
};

/// A structure from a body.
pub(crate) fn decode<T: Encoded>(bytes: &[u8]) -> Outcome<T> {
    Ok(T::decode(bytes)?)
}

/// Fails with `code` unless `holds`.
pub(crate) fn require(holds: bool, code: ErrorCode) -> Outcome<()> {
    if holds { Ok(()) } else { Err(code.into()) }
}
