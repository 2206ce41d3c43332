//! Why something about an account did not work.

use std::fmt;

use keyfold_crypto::RandomError;
use keyfold_fs::error::FsError;
use keyfold_protocol::account::fingerprint;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::ChainRoot;
use keyfold_protocol::names::UserName;

use crate::remote::RemoteError;

/// Why something about an account did not work.
#[derive(Debug)]
pub(crate) enum AccountError {
    /// The server was not reached, or refused.
    Remote(RemoteError),
    /// What the vault keeps cannot be read or written.
    Kept(FsError),
    /// What the vault keeps was written by a newer Keyfold.
    Newer,
    /// The system gave no random bytes.
    Random,
    /// The vault has no account.
    NoAccount,
    /// The vault has an account, but nobody is logged in.
    NotLoggedIn,
    /// Somebody is logged in already.
    LoggedIn(UserName),
    /// The vault has the account of somebody else, or on another server.
    OtherAccount {
        /// Whose.
        user: UserName,
        /// Where.
        server: String,
    },
    /// A device that the vault has no keys on yet needs the kit.
    KitNeeded,
    /// The kit is of another account or another server.
    OtherKit,
    /// The kit has no recovery key.
    NoRecoveryKey,
    /// The password or the account secret is wrong, or the server edited the parameters.
    WrongPassword,
    /// A registration that was begun was begun with another password.
    OtherPassword,
    /// The server says what cannot be true.
    Lie(Lie),
    /// There is no such device.
    NoSuchDevice,
    /// This device was named where another is needed.
    OwnDevice,
    /// The keys were changed on another device.
    OlderKeys,
    /// Somebody's fingerprint is not the one that was given.
    OtherFingerprint {
        /// Whose.
        user: UserName,
        /// Who the server says he is.
        root: ChainRoot,
    },
    /// The user's own name was given where somebody else's is needed.
    Oneself,
    /// The book changed again and again while it was being changed.
    BookBusy,
}

/// What a server said that cannot be true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Rounds outside the bounds.
    Rounds(u32),
    /// Other parameters than those first seen.
    Parameters,
    /// An account root that was not sealed for this account and way in.
    Root,
    /// Private keys that do not match the public ones, or are older than these.
    Keys,
    /// The account is registered as somebody else.
    OwnRoot,
    /// A chain that does not verify.
    Chain(UserName),
    /// A chain of another name.
    Name(UserName),
    /// Somebody is another person now.
    OtherPerson {
        /// His name.
        user: UserName,
        /// Who he was.
        known: ChainRoot,
        /// Who the server says he is.
        said: ChainRoot,
        /// Whether his safety words had been compared.
        verified: Verified,
    },
    /// Two entries of one place in somebody's chain.
    TwoEntries {
        /// Whose.
        user: UserName,
        /// The place.
        seq: u64,
    },
    /// A chain shorter than it was.
    Shorter(UserName),
    /// An older book than was seen, or none where there was one.
    OlderBook,
    /// A session that cannot be used.
    Token,
}

/// Whether safety words had been compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verified {
    Yes,
    No,
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rounds(rounds) => write!(
                f,
                "the server wants the password stretched {rounds} times, which is out of bounds. \
                 Nothing was sent"
            ),
            Self::Parameters => write!(
                f,
                "the server stretches the password otherwise than when this vault first saw it. \
                 Nothing was sent. If the password was changed on another device, give \
                 --password-changed"
            ),
            Self::Root => write!(f, "the account's sealed keys are not those of this account"),
            Self::Keys => write!(
                f,
                "the account's private keys do not match its public ones, or are older"
            ),
            Self::OwnRoot => write!(
                f,
                "the server has another account by this name than this vault knows"
            ),
            Self::Chain(user) => write!(f, "the keys that the server has of {user} do not verify"),
            Self::Name(user) => {
                write!(
                    f,
                    "the keys that the server has of {user} are somebody else's"
                )
            }
            Self::OtherPerson {
                user,
                known,
                said,
                verified,
            } => {
                let how = match verified {
                    Verified::Yes => "verified",
                    Verified::No => "seen",
                };
                write!(
                    f,
                    "the server shows other keys for {user} than those {how} here: {} instead of \
                     {}. Nothing was given to them. Ask {user} over another way",
                    fingerprint(*said),
                    fingerprint(*known)
                )
            }
            Self::TwoEntries { user, seq } => write!(
                f,
                "the server shows another key change {seq} of {user} than it did before. One of \
                 them is false; nothing was given to either"
            ),
            Self::Shorter(user) => write!(
                f,
                "the server has forgotten, or hides, the last key change of {user}"
            ),
            Self::OlderBook => write!(
                f,
                "the server shows an older list of verified people than it did before, or one \
                 that is not this account's"
            ),
            Self::Token => write!(f, "the server began a session that cannot be used"),
        }
    }
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(e) => e.fmt(f),
            Self::Kept(e) => write!(
                f,
                "cannot read or write what the vault keeps of the account: {e}"
            ),
            Self::Newer => write!(f, "the account in the vault was written by a newer Keyfold"),
            Self::Random => write!(f, "the system gave no random bytes"),
            Self::NoAccount => write!(
                f,
                "the vault has no account. Make one with `keyfold account register`, or use one \
                 with `keyfold account login`"
            ),
            Self::NotLoggedIn => write!(f, "nobody is logged in. Use `keyfold account login`"),
            Self::LoggedIn(user) => write!(
                f,
                "{user} is logged in already. `keyfold account logout` ends that"
            ),
            Self::OtherAccount { user, server } => write!(
                f,
                "the vault has the account of {user} on {server}, and one vault has one account. \
                 `keyfold account logout --forget` removes it from the vault"
            ),
            Self::KitNeeded => write!(
                f,
                "this vault has no keys of the account yet: give the kit with --kit FILE"
            ),
            Self::OtherKit => write!(
                f,
                "the kit is of another account, or of another server, than was named"
            ),
            Self::NoRecoveryKey => write!(
                f,
                "the kit has no recovery key. Use the password, or a kit with the key"
            ),
            Self::WrongPassword => write!(
                f,
                "wrong account password, or a kit that is not valid any more. Nothing was sent"
            ),
            Self::OtherPassword => write!(
                f,
                "the registration was begun with another password. Give that one, or begin anew \
                 after `keyfold account logout --forget`"
            ),
            Self::Lie(lie) => write!(
                f,
                "{lie}. This is what a server does that was broken into, or restored from a backup"
            ),
            Self::NoSuchDevice => write!(
                f,
                "no device of the account begins with that. `keyfold account devices` lists them"
            ),
            Self::OwnDevice => write!(
                f,
                "that is this device. `keyfold account logout` ends its session"
            ),
            Self::OlderKeys => write!(
                f,
                "the account's keys were changed on another device. Log in again with the new \
                 kit: `keyfold account logout`, then `keyfold account login --kit FILE`"
            ),
            Self::OtherFingerprint { user, root } => write!(
                f,
                "the fingerprint of {user} is {}, and not the one that was given. Nothing was \
                 changed",
                fingerprint(*root)
            ),
            Self::Oneself => write!(f, "that is this account itself"),
            Self::BookBusy => write!(
                f,
                "another device changes the list of verified people all the time. Try again"
            ),
        }
    }
}

impl AccountError {
    /// What the server refused with, if it did.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Remote(e) => e.code(),
            _ => None,
        }
    }
}

impl From<RemoteError> for AccountError {
    fn from(e: RemoteError) -> Self {
        Self::Remote(e)
    }
}

impl From<FsError> for AccountError {
    fn from(e: FsError) -> Self {
        Self::Kept(e)
    }
}

impl From<RandomError> for AccountError {
    fn from(_: RandomError) -> Self {
        Self::Random
    }
}

impl From<Lie> for AccountError {
    fn from(lie: Lie) -> Self {
        Self::Lie(lie)
    }
}
