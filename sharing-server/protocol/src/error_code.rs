//! The errors a server answers with: a stable code each, and the status it comes with.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{BlobId, RecordHash, Seq};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)*) => {
        /// What went wrong. The text of a code never changes its meaning; a client takes one that it
        /// does not know for its status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ErrorCode {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The code's text.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The HTTP status that it comes with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

codes! {
    /// Not what the route takes: syntax, missing or unknown fields, values out of range.
    Malformed = "malformed", 400;
    /// A structure of a version that this server does not know.
    UnknownVersion = "unknown-version", 400;
    /// A signature that does not verify, or by a key that is not the caller's.
    BadSignature = "bad-signature", 400;
    /// A record that may not stand at this place: chain, roster, role, epoch or grants.
    NotApplicable = "not-applicable", 400;
    /// Bytes whose hash is not the blob's id.
    BlobMismatch = "blob-mismatch", 400;
    /// No session, or one that ended.
    Unauthenticated = "unauthenticated", 401;
    /// Wrong user name, password, account secret or recovery key: nobody is told which.
    WrongCredentials = "wrong-credentials", 401;
    /// Right so far; a code of the second factor is needed, or was wrong.
    SecondFactor = "second-factor", 401;
    /// The account's e-mail address is not proved yet.
    EmailUnverified = "email-unverified", 403;
    /// The caller may not do this.
    Forbidden = "forbidden", 403;
    /// The account was switched off by an administrator.
    AccountDisabled = "account-disabled", 403;
    /// There is no such thing, or the caller may not know of it.
    NotFound = "not-found", 404;
    /// The route exists and is not called this way.
    MethodNotAllowed = "method-not-allowed", 405;
    /// The head is another than the record follows; it comes with the error.
    HeadMoved = "head-moved", 409;
    /// Blobs that the record adds are not complete; they come with the error.
    BlobMissing = "blob-missing", 409;
    /// The user name belongs, or once belonged, to somebody.
    UserTaken = "user-taken", 409;
    /// Something else stands where this would: a share, book or chain entry that is newer.
    Conflict = "conflict", 409;
    /// The request was decided, withdrawn or used, or the publication is another now.
    Ended = "ended", 410;
    /// What was given has expired: a token, a request.
    Expired = "expired", 410;
    /// The piece of a blob does not begin where the last ended; how much is there comes with it.
    WrongOffset = "wrong-offset", 409;
    /// Longer than the route takes.
    TooLarge = "too-large", 413;
    /// The range lies outside the blob.
    BadRange = "bad-range", 416;
    /// Not the content type that the route takes.
    WrongContentType = "wrong-content-type", 415;
    /// Too often; `Retry-After` says when again.
    RateLimited = "rate-limited", 429;
    /// Something went wrong on the server, which logged it.
    Internal = "internal", 500;
    /// The caller's storage is used up.
    QuotaExceeded = "quota-exceeded", 507;
    /// The server is starting, ending or overloaded; `Retry-After` says when again.
    Unavailable = "unavailable", 503;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// The body of every answer that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorReply {
    /// What went wrong.
    pub code: ErrorCode,
    /// The same for people. Says nothing that the code does not.
    pub message: String,
    /// With `head-moved`: the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadReply>,
    /// With `blob-missing`: the blobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<BlobId>,
    /// With `wrong-offset`: bytes that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
}

impl ErrorReply {
    /// A reply without details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            head: None,
            blobs: Vec::new(),
            received: None,
        }
    }
}

/// A share's last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct HeadReply {
    /// Its place.
    pub seq: Seq,
    /// Its hash.
    pub record: RecordHash,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_text_of_its_own_and_a_status_of_an_error() {
        let texts: BTreeSet<_> = ErrorCode::ALL.iter().map(|code| code.text()).collect();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        for code in ErrorCode::ALL {
            assert!((400..600).contains(&code.status()));
            let json = serde_json::to_string(code).unwrap();
            assert_eq!(json, format!("\"{code}\""));
        }
    }
}
