//! Why a command about shares failed: its words, and the exit status.

use std::fmt;

use keyfold_fs::error::FsError;
use keyfold_protocol::log::Void;
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::Role;

use super::placing::PlacingError;
use crate::cli::exit::Exit;
use crate::sharing::{self, SharingError};
use crate::sync::SyncError;

/// Paths named in an error.
const NAMED: usize = 5;

/// Why a command about a folder failed.
#[derive(Debug)]
pub(crate) enum FolderError {
    /// Server, account or share.
    Sharing(SharingError),
    /// The volume, about this path.
    Volume(String, FsError),
    /// It is neither a directory nor a file.
    NotShareable(String),
    /// The root of the mount.
    Root,
    /// It lies in a share.
    WithinShare(String),
    /// It lies in a share in which others take part, or are to.
    WithOthers(String),
    /// Not all of it is here.
    NotHere(String),
    /// A share lies in it.
    HasShare(String),
    /// Somebody else made the share.
    NotTheMaker(String),
    /// Programs have files of it open, so that what others changed waits.
    InUse(String),
    /// It is not shared.
    NotShared(String),
    /// Its name is no text that can be shown to others.
    Name(String),
    /// Files in it have names outside.
    LinkedOutside(Vec<String>),
    /// It is a file that has other names.
    Linked(String),
    /// Somebody takes part already.
    Already(UserName, Role),
    /// Everybody who is meant takes part already.
    AllAlready(String),
    /// Neither somebody nor everybody is meant, or both are.
    WhoseFolder,
    /// It is offered to nobody, or to everybody and some.
    ToWhom,
    /// Nobody gives himself anything.
    Oneself,
    /// Nobody gave this.
    NoOffer(String),
    /// More than one thing is meant.
    Ambiguous(String),
    /// It cannot be put into the volume.
    Placing(PlacingError),
    /// Many commands wait for the server.
    TooMany,
    /// It was given up.
    TooLong,
    /// It lies in a folder that is to stay whole.
    Stays(String),
    /// There is no such entry in what something was.
    NoVersion(u64),
    /// The server has deleted what an entry needs.
    GoneForGood(u64),
    /// What something was cannot be told.
    Past(SyncError),
    /// The server has to be asked first, and was not reached.
    NotYet,
    /// Somebody is to be taken out of this folder as soon as the server answers.
    NotYetRevoked(String),
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sharing(error) => error.fmt(f),
            Self::Volume(path, FsError::NotFound) => write!(f, "there is no {path} in the mount"),
            Self::Volume(path, error) => write!(f, "{path}: {error}"),
            Self::NotShareable(path) => write!(f, "{path} is neither a folder nor a file"),
            Self::Root => write!(f, "the whole mount cannot be shared: share what is in it"),
            Self::WithinShare(path) => write!(
                f,
                "{path} lies in a share; move it out first, or give the whole share"
            ),
            Self::WithOthers(path) => write!(
                f,
                "{path} lies in a share that others take part in, or are invited to, and would lose it; \
                 move it out first, or give the whole share"
            ),
            Self::NotHere(path) => write!(
                f,
                "not all of {path} is here. `keyfold keep` brings it; try again then"
            ),
            Self::HasShare(path) => write!(f, "{path} has a share in it"),
            Self::NotTheMaker(path) => write!(
                f,
                "only who made a share ends it. `keyfold leave` leaves {path} to the others"
            ),
            Self::InUse(path) => write!(
                f,
                "what others changed in {path} waits for files that programs have open. Close them, and \
                 try again"
            ),
            Self::NotShared(path) => write!(f, "{path} is not shared"),
            Self::Name(path) => write!(
                f,
                "the name of {path} cannot be shown to others: rename it first"
            ),
            Self::LinkedOutside(paths) => {
                write!(f, "files in it have hard links outside of it: ")?;
                write!(f, "{}", paths[..paths.len().min(NAMED)].join(", "))?;
                if paths.len() > NAMED {
                    write!(f, " and {} more", paths.len() - NAMED)?;
                }
                write!(f, ". Copy them, or move the other names into it")
            }
            Self::Linked(path) => write!(
                f,
                "{path} has other hard links: share a copy, or remove them"
            ),
            Self::Already(user, role) => write!(
                f,
                "{user} takes part already, as {}. `keyfold role` changes that",
                sharing::role_name(*role)
            ),
            Self::AllAlready(whom) => {
                write!(
                    f,
                    "there is nobody in {whom} who does not take part already"
                )
            }
            Self::WhoseFolder => write!(f, "say from whom to take it, or --all, or --end"),
            Self::ToWhom => write!(f, "say who may ask for it, with --to, or --everyone"),
            Self::Oneself => write!(f, "that is your own account"),
            Self::NoOffer(named) => write!(
                f,
                "nothing of {named} waits to be accepted. `keyfold shares` lists what does"
            ),
            Self::Ambiguous(named) => write!(f, "more than one is meant by {named}: give its id"),
            Self::Placing(error) => write!(f, "cannot put it into the mount: {error}"),
            Self::NotYetRevoked(path) => write!(
                f,
                "NOT YET REVOKED: the server is away. It is done as soon as it is back, and until then \
                 nothing that is written in {path} is sent to anybody"
            ),
            Self::TooMany => write!(f, "other commands wait for the server. Try again later"),
            Self::TooLong => write!(f, "the server takes too long. Try again later"),
            Self::Stays(path) => write!(
                f,
                "{path} lies in a folder that is kept here: free that folder, or keep less of it"
            ),
            Self::NoVersion(number) => write!(
                f,
                "there is no entry {number}. `keyfold history` lists what there is"
            ),
            Self::GoneForGood(number) => write!(
                f,
                "entry {number} cannot be had any more: the server has deleted its data"
            ),
            Self::Past(error) => write!(f, "what it was cannot be told: {error}"),
            Self::NotYet => write!(
                f,
                "the server does not answer, so it is not known what it has. Nothing more is given up"
            ),
        }
    }
}

impl<E: Into<SharingError>> From<E> for FolderError {
    fn from(error: E) -> Self {
        Self::Sharing(error.into())
    }
}

impl FolderError {
    /// Why what something was cannot be told.
    pub(super) fn from_sync(error: SyncError) -> Self {
        match error {
            SyncError::Sharing(error) => Self::Sharing(error),
            error => Self::Past(error),
        }
    }
}

impl From<&FolderError> for Exit {
    fn from(error: &FolderError) -> Self {
        match error {
            FolderError::Sharing(error) => error.into(),
            FolderError::Volume(_, FsError::InvalidArgument)
            | FolderError::Root
            | FolderError::Name(_)
            | FolderError::Ambiguous(_)
            | FolderError::WhoseFolder
            | FolderError::ToWhom
            | FolderError::Oneself => Self::Usage,
            FolderError::Volume(_, error) | FolderError::Placing(PlacingError::Volume(error)) => {
                error.into()
            }
            FolderError::NotYetRevoked(_) => Self::NotYetRevoked,
            FolderError::NotShareable(_) | FolderError::NotShared(_) | FolderError::NoOffer(_) => {
                Self::NoSuchPath
            }
            FolderError::WithinShare(_)
            | FolderError::WithOthers(_)
            | FolderError::HasShare(_)
            | FolderError::LinkedOutside(_)
            | FolderError::Linked(_)
            | FolderError::Already(..)
            | FolderError::AllAlready(_)
            | FolderError::Placing(PlacingError::InTheWay(_))
            | FolderError::Stays(_)
            | FolderError::InUse(_)
            | FolderError::TooMany => Self::Busy,
            FolderError::NotTheMaker(_) => (&SharingError::MayNot(Void::OnlyTheCreator)).into(),
            FolderError::TooLong | FolderError::NotYet | FolderError::NotHere(_) => {
                Self::Unreachable
            }
            FolderError::NoVersion(_) | FolderError::GoneForGood(_) => Self::NoSuchPath,
            FolderError::Past(_) => Self::General,
        }
    }
}
