//! The audit log: every act that matters to security, each bound to the one before by its hash.
//!
//! ```text
//! hash = SHA-256("keyfold-server audit" || 0 || previous hash(32) || number(8, LE) || time(8, LE)
//!                || for act, user, subject: length(8, LE) || bytes)
//! signature over "keyfold-server audit head" || 0 || number(8, LE) || hash(32)
//! ```
//!
//! Who rewrites the log without the audit key cannot sign it anew; who has the key, too, is found out
//! by an auditor who kept a head. That entries are missing from the end only such a head shows.

use std::fmt;
use std::sync::Arc;

use ed25519_dalek::{Signature, Signer as _, SigningKey};
use keyfold_crypto::sha256;
use keyfold_protocol::ids::Time;
use keyfold_protocol::names::UserName;
use keyfold_protocol::wire::{AuditEntry, AuditHead, AuditReply, Base64, Key};

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
    BeginSecondFactor = "begin-second-factor",
    EndSecondFactor = "end-second-factor",
    UseRecoveryCode = "use-recovery-code",
    /// A signature that did not verify, on a statement of somebody who was logged in.
    BadSignature = "bad-signature",
}

/// The server's key for heads of its audit log.
#[derive(Clone)]
pub(crate) struct AuditKey(Arc<SigningKey>);

impl AuditKey {
    /// The key as it was stored.
    pub(crate) fn from_bytes(seed: &[u8; 32]) -> Self {
        Self(Arc::new(SigningKey::from_bytes(seed)))
    }

    /// Its public half.
    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    fn sign(&self, number: u64, hash: &[u8; 32]) -> [u8; 64] {
        self.0.sign(&head_bytes(number, hash)).to_bytes()
    }

    fn signed(&self, entry: &Entry, signature: &[u8; 64]) -> bool {
        let bytes = head_bytes(entry.number, &entry.hash);
        let signature = Signature::from_bytes(signature);
        let key = self.0.verifying_key();
        key.verify_strict(&bytes, &signature).is_ok()
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey(..)")
    }
}

fn head_bytes(number: u64, hash: &[u8; 32]) -> Vec<u8> {
    [
        &b"keyfold-server audit head\0"[..],
        &number.to_le_bytes(),
        hash,
    ]
    .concat()
}

macro_rules! alerts {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What an operator should look at: a line of the log and a metric, which name nobody.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Alert { $($(#[$doc])* $name,)* }

        impl Alert {
            pub(crate) fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

alerts! {
    /// Many logins failed.
    LoginBurst = "login-burst",
    /// A code of a second factor came again.
    ReusedCode = "reused-code",
    /// A statement's signature did not verify.
    BadSignature = "bad-signature",
    /// A member's device saw a head of a share that this server does not have.
    HeadRegression = "head-regression",
    /// One user fetches very much.
    MassDownload = "mass-download",
    /// Somebody's standing on the server changed.
    RoleChange = "role-change",
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
        signature: None,
    };
    entry.hash = hash(&previous, &entry);
    entry.signature = Some(work.rules.audit_key.sign(number, &entry.hash));
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
    let key = &work.rules.audit_key;
    let head = audit::last(work.tx)?.map(|last| AuditHead {
        number: last.number,
        hash: Key(last.hash.into()),
        signature: Base64(key.sign(last.number, &last.hash).to_vec()),
    });
    Ok(AuditReply {
        entries: entries.collect(),
        head,
        key: Base64(key.public().to_vec()),
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

/// Computes every hash again, and verifies every signature. Entries without one are taken at the
/// beginning only, where a server that signed none wrote them.
pub(crate) fn verify(tx: &Tx<'_>, key: &AuditKey) -> Result<AuditVerdict, DbError> {
    let mut number = 0;
    let mut signs = false;
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
            let follows = entry.number == number && hash(&previous, &entry) == entry.hash;
            let signed = match &entry.signature {
                Some(signature) => key.signed(&entry, signature),
                None => !signs,
            };
            signs |= entry.signature.is_some();
            if !follows || !signed {
                let time = (entry.number == number).then_some(entry.time);
                return Ok(AuditVerdict::Broken { number, time });
            }
            previous = entry.hash;
        }
    }
}
