//! Why a call did not succeed.

use std::fmt;

use keyfold_protocol::error_code::{ErrorCode, ErrorReply};

/// Why a call did not succeed.
#[derive(Debug)]
pub(crate) enum RemoteError {
    /// The address is none that is called.
    Address(String),
    /// The file with certificates of authorities is none.
    Authority(String),
    /// The client could not be set up.
    Setup(String),
    /// There is no connection; nothing was sent.
    Unreachable {
        /// Which server.
        server: String,
        /// Why.
        why: String,
    },
    /// The connection broke; the call may have arrived.
    Broken {
        /// Which server.
        server: String,
        /// Why.
        why: String,
    },
    /// It took too long; the call may have arrived.
    TimedOut {
        /// Which server.
        server: String,
        /// What was called.
        route: &'static str,
    },
    /// The reply is longer than any.
    TooLarge {
        /// Which server.
        server: String,
        /// What was called.
        route: &'static str,
    },
    /// The reply is not of the form that it has.
    Malformed {
        /// Which server.
        server: String,
        /// What was called.
        route: &'static str,
    },
    /// The server said no, and why.
    Refused {
        /// Which server.
        server: String,
        /// What it said.
        reply: Box<ErrorReply>,
        /// Seconds after which it can be asked again.
        retry_after: Option<u64>,
    },
    /// The server said no without a code that is known.
    Status {
        /// Which server.
        server: String,
        /// The status of HTTP.
        status: u16,
        /// Seconds after which it can be asked again.
        retry_after: Option<u64>,
    },
}

impl RemoteError {
    /// What the server refused with, if it did.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { reply, .. } => Some(reply.code),
            _ => None,
        }
    }

    /// Whether the server did not answer, or not to the end.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Broken { .. }
        )
    }

    /// Whether the call may have been carried out although it failed.
    pub(crate) fn may_have_arrived(&self) -> bool {
        match self {
            Self::Address(_) | Self::Authority(_) | Self::Setup(_) | Self::Unreachable { .. } => {
                false
            }
            Self::Broken { .. }
            | Self::TimedOut { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. } => true,
            Self::Refused { reply, .. } => reply.code.status() >= 500,
            Self::Status { status, .. } => *status >= 500,
        }
    }
}

/// The innermost reason, which is the one that people understand. It names no path and no token.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(next) = last.source() {
        last = next;
    }
    let text = last.to_string();
    let text = text
        .split_once(" (os error")
        .map_or(text.as_str(), |(reason, _)| reason);
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(200)
        .collect()
}

/// What to do about a refusal.
fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::Unauthenticated => "the session has ended. Log in with `keyfold account login`",
        ErrorCode::WrongCredentials => "wrong user name, password, account secret or recovery key",
        ErrorCode::SecondFactor => "a code of the second factor is needed",
        ErrorCode::EmailUnverified => {
            "the e-mail address is not proved yet. Answer the mail that was sent, then log in"
        }
        ErrorCode::AccountDisabled => {
            "the account was switched off. Ask who runs the server to switch it on"
        }
        ErrorCode::Forbidden => "not allowed for this account",
        ErrorCode::NotFound => "there is no such thing, or it may not be known to this account",
        ErrorCode::UserTaken => "the user name belongs to somebody else. Choose another",
        ErrorCode::HeadMoved | ErrorCode::Conflict => "something newer is there already. Try again",
        ErrorCode::Ended => "it was decided, withdrawn or replaced already",
        ErrorCode::Expired => "it has expired",
        ErrorCode::RateLimited => "too many attempts. Wait, and try again",
        ErrorCode::QuotaExceeded => "the account's storage is used up",
        ErrorCode::Internal => "the server failed. Who runs it finds the reason in its log",
        ErrorCode::Unavailable => "the server is starting, ending or overloaded. Try again",
        ErrorCode::UnknownVersion => "the server is older than this Keyfold",
        ErrorCode::Malformed
        | ErrorCode::BadSignature
        | ErrorCode::NotApplicable
        | ErrorCode::BlobMismatch
        | ErrorCode::MethodNotAllowed
        | ErrorCode::BlobMissing
        | ErrorCode::WrongOffset
        | ErrorCode::TooLarge
        | ErrorCode::BadRange
        | ErrorCode::WrongContentType => "server and program do not understand each other",
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(why) => write!(
                f,
                "not a server's address: {why}. Write it like https://files.example.org"
            ),
            Self::Authority(why) => write!(f, "cannot use the file of --server-ca: {why}"),
            Self::Setup(why) => write!(f, "cannot set up the connection: {why}"),
            Self::Unreachable { server, why } => write!(
                f,
                "cannot connect to {server}: {why}. Check the address, and whether the server runs"
            ),
            Self::Broken { server, why } => {
                write!(f, "the connection to {server} broke: {why}. Try again")
            }
            Self::TimedOut { server, route } => write!(
                f,
                "{server} did not answer in time ({route}). Try again later"
            ),
            Self::TooLarge { server, route } => write!(
                f,
                "{server} answered with more than any Keyfold server does ({route}); nothing of \
                 it was used"
            ),
            Self::Malformed { server, route } => write!(
                f,
                "{server} did not answer as a Keyfold server does ({route}). Check the address"
            ),
            Self::Refused {
                server,
                reply,
                retry_after,
            } => {
                write!(
                    f,
                    "{server} refused ({}): {}",
                    reply.code,
                    advice(reply.code)
                )?;
                match retry_after {
                    Some(seconds) => write!(f, " (in {seconds} s)"),
                    None => Ok(()),
                }
            }
            Self::Status { server, status, .. } => write!(
                f,
                "{server} answered with status {status}. Check the address, and try again"
            ),
        }
    }
}
