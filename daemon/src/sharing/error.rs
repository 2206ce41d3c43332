//! Why something about a share did not work.

use std::fmt;

use keyfold_crypto::RandomError;
use keyfold_protocol::account::fingerprint;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{ChainRoot, Seq};
use keyfold_protocol::log::{Stop, Void};
use keyfold_protocol::names::{Email, Slug, Title, UserName};

use crate::account::AccountError;
use crate::remote::RemoteError;

/// Why something about a share did not work.
#[derive(Debug)]
pub(crate) enum SharingError {
    /// Account or server.
    Account(AccountError),
    /// The log cannot be applied.
    Stopped(Stop),
    /// Another record stands where one was applied.
    Fork(Seq),
    /// Another device saw another record at this place.
    ForkSeen(Seq),
    /// The server has less than it had.
    LostRecords(Seq),
    /// The server has less than it had, and this record of somebody is not here as a whole.
    LostRecord(Seq, UserName),
    /// The server says that there is more, and does not give it.
    Withheld,
    /// The change may not be made.
    MayNot(Void),
    /// The share is none of ours.
    NotAMember,
    /// No share begins with that.
    NoSuchShare,
    /// More than one does.
    Ambiguous,
    /// Nobody has that name.
    NoSuchUser(UserName),
    /// There is no group of that name.
    NoSuchGroup(Title),
    /// There is one already.
    GroupThere(Title),
    /// A command about groups names none.
    WhichGroup,
    /// Somebody who is to be in a group was never verified.
    NotVerifiedYet(UserName),
    /// An address is said to be somebody's, and only the server says so.
    AddressOf(Email, UserName),
    /// Nobody of that name takes part.
    NoSuchMember(UserName),
    /// Somebody's keys were compared with nothing.
    NotVerified {
        /// Whose.
        user: UserName,
        /// Who the server says he is.
        root: ChainRoot,
    },
    /// A share lies in it that newcomers would not be in.
    HasPoint,
    /// The key of the epoch is unknown here, so it cannot be handed on.
    NoEpochKey,
    /// Others change the roster all the time.
    Busy,
    /// There is no request of that id.
    NoSuchRequest,
    /// The request was not shown by this vault yet.
    NotShown,
    /// The request or the requester's key is another than was shown.
    NotAsShown(UserName),
    /// A request that does not verify, or is for something else than the server says.
    BadRequest,
    /// A publication that does not verify, or is not what the address names.
    BadPublication,
    /// The request is over.
    Over(&'static str),
    /// The address is of another server than the account's.
    OtherServer(String),
    /// The address names no publication.
    NoSlug,
    /// Another share of this account is offered under this name.
    SlugTaken(Slug),
    /// Nothing is offered to this account under this address.
    NotOffered(String),
    /// Nothing that could be asked for is at this path.
    NoStub(String),
}

impl SharingError {
    /// What the server refused with, if it did.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Account(e) => e.code(),
            _ => None,
        }
    }
}

impl fmt::Display for SharingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const BROKEN: &str = "This is what a server does that was broken into";
        match self {
            Self::Account(e) => e.fmt(f),
            Self::Stopped(Stop::UnknownVersion) => {
                write!(f, "the share was changed by a newer Keyfold")
            }
            Self::Stopped(stop) => write!(
                f,
                "the share's log does not verify ({stop}). Nothing after that is used. {BROKEN}"
            ),
            Self::Fork(seq) => write!(
                f,
                "the server shows another record {} of the share than before. {BROKEN}",
                seq.0
            ),
            Self::ForkSeen(seq) => write!(
                f,
                "the server shows another record {} of the share to another member's device. \
                 {BROKEN}",
                seq.0
            ),
            Self::LostRecords(seq) => write!(
                f,
                "the server lost records of the share after {}: it was restored from a backup. A \
                 member who has them can send them again",
                seq.0
            ),
            Self::LostRecord(seq, author) => write!(
                f,
                "the server lost records of the share: it was restored from a backup. Record {} is \
                 needed first. It comes back from the device with which {author} made it",
                seq.0
            ),
            Self::Withheld => write!(f, "the server keeps records of the share back. {BROKEN}"),
            Self::MayNot(void) => write!(f, "that may not be done: {}", reason(*void)),
            Self::NotAMember => write!(f, "this account is no member of the share"),
            Self::NoSuchShare => write!(
                f,
                "no share of this account has that path or begins with that. `keyfold shares` \
                 lists them"
            ),
            Self::Ambiguous => write!(f, "more than one begins with that: give more of it"),
            Self::NoSuchUser(user) => write!(f, "nobody is called {user} on this server"),
            Self::NoSuchGroup(name) => {
                write!(
                    f,
                    "there is no group @{name}. `keyfold group list` lists them"
                )
            }
            Self::GroupThere(name) => write!(f, "there is a group @{name} already"),
            Self::WhichGroup => write!(f, "say which group"),
            Self::NotVerifiedYet(user) => write!(
                f,
                "{user} is not verified yet, and a group has only who is: `keyfold trust {user}`"
            ),
            Self::AddressOf(email, user) => write!(
                f,
                "the server says that {email} is the address of {user}. If that is whom you mean, \
                 give it to {user}, or give the fingerprint with --key"
            ),
            Self::NoSuchMember(user) => write!(f, "{user} is no member of the share"),
            Self::NotVerified { user, root } => write!(
                f,
                "{user} is not verified yet. Compare the fingerprint {} with {user} over another \
                 way than the server: `keyfold trust {user}`, or give it with --key",
                fingerprint(*root)
            ),
            Self::HasPoint => write!(
                f,
                "a folder in it is shared by itself, and who takes part in this one would not be in \
                 that. Give the folders in it instead"
            ),
            Self::NoEpochKey => write!(
                f,
                "this account was not given the share's key, and cannot hand it on. Another owner \
                 has to do it"
            ),
            Self::Busy => write!(f, "others change the share all the time. Try again"),
            Self::NoSuchRequest => write!(
                f,
                "there is no request of that id. `keyfold inbox` lists them"
            ),
            Self::NotShown => write!(
                f,
                "that request was not shown here yet. Look at it with `keyfold inbox` first"
            ),
            Self::NotAsShown(user) => write!(
                f,
                "the request or the keys of {user} are not what was shown here. Nothing was given. \
                 Look again with `keyfold inbox`, and compare the fingerprint"
            ),
            Self::BadRequest => write!(
                f,
                "the server shows a request that does not verify, or for something else. {BROKEN}"
            ),
            Self::BadPublication => write!(
                f,
                "what the server shows under this address is not its owner's. {BROKEN}"
            ),
            Self::Over(how) => write!(f, "the request is over: it was {how}"),
            Self::OtherServer(host) => write!(
                f,
                "the address is on {host}, and this account is on another server"
            ),
            Self::NoSlug => write!(f, "the address does not say what is asked for"),
            Self::SlugTaken(slug) => write!(
                f,
                "something else of yours is offered as {slug}: give another name with --slug"
            ),
            Self::NotOffered(address) => {
                write!(f, "nothing is offered to this account under {address}")
            }
            Self::NoStub(path) => write!(
                f,
                "nothing that could be asked for is at {path}: neither a locked folder, nor an \
                 address such as alice@files.example.org/plan-2027#K7QD-..."
            ),
        }
    }
}

fn reason(void: Void) -> &'static str {
    match void {
        Void::RoleMayNot => "only owners change who takes part",
        Void::OnlyTheCreator => "only who made the share removes or lowers owners",
        Void::CreatorStays => {
            "who made the share stays its owner. `keyfold unshare PATH --end` ends it for everybody"
        }
        Void::OwnersDoNotExpire => "the access of an owner does not end by itself",
        Void::AlreadyAMember => "there is a member of that name already",
        Void::UnknownMember => "there is no such member",
        Void::TooMany => "the share has as many members as it can have",
        Void::Expired => "the access of this account has ended",
        Void::NotAMember => "this account is no member of the share",
        Void::KeySuperseded => {
            "the share does not have this account's newest keys yet. The device that made them, or \
             another owner, has to bring them in"
        }
        Void::BadKeyChain => "the keys do not follow those that the share has",
        _ => "the share's rules do not allow it",
    }
}

impl From<AccountError> for SharingError {
    fn from(e: AccountError) -> Self {
        Self::Account(e)
    }
}

impl From<RemoteError> for SharingError {
    fn from(e: RemoteError) -> Self {
        Self::Account(e.into())
    }
}

impl From<RandomError> for SharingError {
    fn from(e: RandomError) -> Self {
        Self::Account(e.into())
    }
}

impl From<Void> for SharingError {
    fn from(void: Void) -> Self {
        Self::MayNot(void)
    }
}
