//! The audit log: every act that matters to security, each bound to the one before by its hash.
//!
//! ```text
//! hash = SHA-256("keyfold-server audit" || 0 || previous hash(32) || number(8, LE) || time(8, LE)
//!                || for act, user, subject: length(8, LE) || bytes)
//! ```

use keyfold_crypto::sha256;
use keyfold_protocol::ids::Time;
use keyfold_protocol::names::UserName;
use keyfold_protocol::wire::{AuditEntry, AuditReply, Key};

use super::{Outcome, Work};
use crate::db::audit::{self, Entry};
use crate::db::{DbError, Tx};

/// Entries in one answer.
const PAGE: u64 = 1000;

macro_rules! acts {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What is written down.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Act { $($(#[$doc])* $name,)* }

        impl Act {
            fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

acts! {
    Register = "register",
    VerifyEmail = "verify-email",
    Login = "login",
    FailedLogin = "failed-login",
    Logout = "logout",
    SetPassword = "set-password",
    AppendChain = "append-chain",
    RemoveDevice = "remove-device",
    DeleteAccount = "delete-account",
    Invite = "invite",
    CreateShare = "create-share",
    ChangeRoster = "change-roster",
    DeleteShare = "delete-share",
    SetRetention = "set-retention",
    PurgeBlobs = "purge-blobs",
    Publish = "publish",
    Request = "request",
    Decide = "decide",
    SetUser = "set-user",
    /// A signature that did not verify, on a statement of somebody who was logged in.
    BadSignature = "bad-signature",
}

/// Writes an entry.
pub(crate) fn note(
    work: &Work<'_>,
    act: Act,
    user: Option<&UserName>,
    subject: &str,
) -> Outcome<()> {
    let last = audit::last(work.tx)?;
    let (number, previous) = last.map_or((1, [0; 32]), |last| (last.number + 1, last.hash));
    let mut entry = Entry {
        number,
        time: work.now,
        act: act.word().to_owned(),
        user: user.map(ToString::to_string),
        subject: subject.to_owned(),
        hash: [0; 32],
    };
    entry.hash = hash(&previous, &entry);
    Ok(audit::insert(work.tx, &entry)?)
}

fn hash(previous: &[u8; 32], entry: &Entry) -> [u8; 32] {
    let user = entry.user.as_deref().unwrap_or_default();
    let length = |text: &str| (text.len() as u64).to_le_bytes();
    sha256(&[
        b"keyfold-server audit\0",
        previous,
        &entry.number.to_le_bytes(),
        &entry.time.0.to_le_bytes(),
        &length(&entry.act),
        entry.act.as_bytes(),
        &length(user),
        user.as_bytes(),
        &length(&entry.subject),
        entry.subject.as_bytes(),
    ])
}

/// Entries from a place on.
pub(crate) fn page(work: &Work<'_>, from: u64) -> Outcome<AuditReply> {
    let entries = audit::from(work.tx, from, PAGE)?;
    let entries = entries.into_iter().map(|entry| AuditEntry {
        number: entry.number,
        time: entry.time,
        act: entry.act,
        user: entry.user.and_then(|user| user.parse().ok()),
        subject: entry.subject,
        hash: Key(entry.hash.into()),
    });
    Ok(AuditReply {
        entries: entries.collect(),
    })
}

/// What verifying the log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditVerdict {
    /// Entries follow each other from the first to the last, which is named with its hash.
    Whole {
        /// How many there are.
        entries: u64,
        /// Hash of the last; zeros if there is none.
        head: [u8; 32],
    },
    /// The entry with this number is missing, or is not what was written.
    Broken {
        /// Which.
        number: u64,
        /// When it says it was written.
        time: Option<Time>,
    },
}

/// Computes every hash again.
pub(crate) fn verify(tx: &Tx<'_>) -> Result<AuditVerdict, DbError> {
    let mut number = 0;
    let mut previous = [0; 32];
    loop {
        let entries = audit::from(tx, number + 1, PAGE)?;
        if entries.is_empty() {
            return Ok(AuditVerdict::Whole {
                entries: number,
                head: previous,
            });
        }
        for entry in entries {
            number += 1;
            if entry.number != number || hash(&previous, &entry) != entry.hash {
                let time = (entry.number == number).then_some(entry.time);
                return Ok(AuditVerdict::Broken { number, time });
            }
            previous = entry.hash;
        }
    }
}
