//! Sharing folders of a mount.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyfold_fs::error::FsError;
use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::{BeginError, LinkedOutside, ShareInfo};
use keyfold_fs::vfs::FileKind;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::names::{EntryName, Title, UserName};
use keyfold_protocol::roster::Role;
use serde::Serialize;

use super::desk::Desk;
use super::placing::{self, PlacingError};
use super::status::FolderStatus;
use super::{giving, paths, taking_back};
use crate::account::{Account, Kept, Session};
use crate::cli::exit::Exit;
use crate::control::{Accept, FolderCommand, RosterCommand};
use crate::remote::{Deadlines, wait};
use crate::sharing::{self, Arrival, Done, Reply, Shared, SharingError};

/// Commands that wait for the server at once: they take threads that serve the mount.
const AT_ONCE: usize = 4;
/// Paths named in an error.
const NAMED: usize = 5;

/// Why a command about a folder failed.
#[derive(Debug)]
pub(crate) enum FolderError {
    /// Server, account or share.
    Sharing(SharingError),
    /// The volume, about this path.
    Volume(String, FsError),
    /// It is no directory.
    NoDirectory(String),
    /// The root of the mount.
    Root,
    /// It lies in a share.
    WithinShare(String),
    /// A share lies in it.
    HasShare(String),
    /// It is not shared.
    NotShared(String),
    /// Its name is no text that can be shown to others.
    Name(String),
    /// Files in it have names outside.
    LinkedOutside(Vec<String>),
    /// Somebody takes part already.
    Already(UserName, Role),
    /// Everybody who is meant takes part already.
    AllAlready(String),
    /// Neither somebody nor everybody is meant, or both are.
    WhoseFolder,
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
    /// Somebody is to be taken out of this folder as soon as the server answers.
    NotYetRevoked(String),
}

impl fmt::Display for FolderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sharing(error) => error.fmt(f),
            Self::Volume(path, FsError::NotFound) => write!(f, "there is no {path} in the mount"),
            Self::Volume(path, error) => write!(f, "{path}: {error}"),
            Self::NoDirectory(path) => {
                write!(f, "{path} is no folder; only folders can be shared so far")
            }
            Self::Root => write!(f, "the whole mount cannot be shared: share a folder in it"),
            Self::WithinShare(path) => write!(
                f,
                "{path} lies in a share; move it out first, or give the whole share"
            ),
            Self::HasShare(path) => write!(f, "{path} has a share in it"),
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
            Self::WhoseFolder => write!(f, "say from whom to take it, or --all"),
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
        }
    }
}

impl<E: Into<SharingError>> From<E> for FolderError {
    fn from(error: E) -> Self {
        Self::Sharing(error.into())
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
            | FolderError::Oneself => Self::Usage,
            FolderError::Volume(_, error) | FolderError::Placing(PlacingError::Volume(error)) => {
                error.into()
            }
            FolderError::NotYetRevoked(_) => Self::NotYetRevoked,
            FolderError::NoDirectory(_) | FolderError::NotShared(_) | FolderError::NoOffer(_) => {
                Self::NoSuchPath
            }
            FolderError::WithinShare(_)
            | FolderError::HasShare(_)
            | FolderError::LinkedOutside(_)
            | FolderError::Already(..)
            | FolderError::AllAlready(_)
            | FolderError::Placing(PlacingError::InTheWay(_))
            | FolderError::TooMany => Self::Busy,
        }
    }
}

/// How many commands wait for the server.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A place among those that wait.
struct Turn;

impl Turn {
    fn take() -> Result<Self, FolderError> {
        let turn = Self;
        if WAITING.fetch_add(1, Ordering::Relaxed) >= AT_ONCE {
            return Err(FolderError::TooMany);
        }
        Ok(turn)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a command tells.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum FolderTold {
    /// What was done.
    Done(Done),
    /// Where a folder stands.
    Status(FolderStatus),
}

/// Carries out a command about a folder.
pub(crate) fn folder(desk: &Desk, command: &FolderCommand) -> Result<FolderTold, FolderError> {
    let done = match command {
        FolderCommand::Share(wanted) => with_server(desk, async |session| {
            giving::share(desk, session, wanted).await
        })?,
        FolderCommand::Unshare(wanted) => taking_back::unshare(desk, wanted)?,
        FolderCommand::Accept(wanted) => {
            with_server(desk, async |session| accept(desk, session, wanted).await)?
        }
        FolderCommand::Folder(of) => return status(desk, &of.path).map(FolderTold::Status),
        FolderCommand::Look(_) => {
            desk.look_now();
            String::new()
        }
    };
    Ok(FolderTold::Done(Done { done }))
}

/// Carries out a command about who takes part.
pub(crate) fn roster(desk: &Desk, command: &RosterCommand) -> Result<Reply, FolderError> {
    if let RosterCommand::People(_) = command {
        let people = sharing::people(Kept::in_vault(&desk.engine))?;
        return Ok(Reply::People(people));
    }
    let told = with_server(desk, async |session| {
        Ok(sharing::carry_out(session, command).await?)
    });
    desk.look_now();
    told
}

/// Does something that waits for the server, on the thread that asks for it.
pub(super) fn with_server<T>(
    desk: &Desk,
    work: impl AsyncFnOnce(&Session<'_>) -> Result<T, FolderError>,
) -> Result<T, FolderError> {
    let _turn = Turn::take()?;
    let _shared = desk.account.read();
    wait(async {
        let account = Account::of(&desk.engine, Deadlines::default())?;
        work(&account.session().await?).await
    })
}

fn status(desk: &Desk, path: &str) -> Result<FolderStatus, FolderError> {
    let volume = desk.engine.volume();
    let failed = |error| FolderError::Volume(path.to_owned(), error);
    let found = paths::find(volume, path).map_err(failed)?;
    let share = paths::share_at(volume, found.ino).map_err(failed)?;
    Ok(FolderStatus {
        path: path.to_owned(),
        share: share.map(|info| desk.status_of(&info)),
    })
}

/// Begins a share over a folder: in the volume first, where it may be impossible.
pub(super) async fn begin<'s, 'a>(
    desk: &Desk,
    session: &'s Session<'a>,
    folder: &Folder,
) -> Result<Shared<'s, 'a>, FolderError> {
    folder.title()?;
    let volume = desk.engine.volume();
    let first = Shared::draft_first(session)?;
    let id = EngineShareId(first.record.header.hash().share().0);
    let _beginning = desk.beginning(id);
    let begun = volume.begin_share(id, folder.ino, b"");
    let number = begun.map_err(|error| folder.not_begun(error))?;
    match Shared::create_by(session, &first).await {
        Ok(shared) => Ok(shared),
        Err(error) => {
            // Should the server have it all the same, it is a share of nobody else and of nothing.
            volume
                .end_share(number)
                .map_err(|error| FolderError::Volume(folder.path.clone(), error))?;
            Err(error.into())
        }
    }
}

async fn accept(
    desk: &Desk,
    session: &Session<'_>,
    wanted: &Accept,
) -> Result<String, FolderError> {
    let (owner, name) = match wanted.share.split_once('/') {
        Some((owner, name)) => (owner, Some(name)),
        None => (wanted.share.as_str(), None),
    };
    let offered: Vec<ShareId> = desk.board(|board| {
        let meant = board.offered.iter().filter(|(id, offered)| {
            let by_name = offered.owner == owner && name.is_none_or(|name| offered.name == name);
            let by_id = wanted.share.len() >= 4 && id.to_string().starts_with(&wanted.share);
            by_name || by_id
        });
        meant.map(|(id, _)| *id).collect()
    });
    let share = match offered.as_slice() {
        [] => return Err(FolderError::NoOffer(wanted.share.clone())),
        [share] => *share,
        _ => return Err(FolderError::Ambiguous(wanted.share.clone())),
    };
    let arrival = Arrival::of(session, share).await?;
    let arrival = arrival.ok_or_else(|| FolderError::NoOffer(wanted.share.clone()))?;
    placing::place(desk, &arrival).map_err(FolderError::Placing)?;
    desk.look_now();
    Ok(format!(
        "{} of {} comes into the mount.",
        arrival.name, arrival.owner
    ))
}

/// A folder that is shared or to be shared.
pub(super) struct Folder {
    pub(super) path: String,
    ino: keyfold_fs::vfs::Ino,
    pub(super) share: Option<ShareInfo>,
}

impl Folder {
    pub(super) fn find(desk: &Desk, path: &str) -> Result<Self, FolderError> {
        let volume = desk.engine.volume();
        let failed = |error| FolderError::Volume(path.to_owned(), error);
        let found = paths::find(volume, path).map_err(failed)?;
        if found.kind != FileKind::Directory {
            return Err(FolderError::NoDirectory(path.to_owned()));
        }
        let share = paths::share_at(volume, found.ino).map_err(failed)?;
        if share.as_ref().is_some_and(|info| info.root != found.ino) {
            return Err(FolderError::WithinShare(path.to_owned()));
        }
        Ok(Self {
            path: path.to_owned(),
            ino: found.ino,
            share,
        })
    }

    /// What others call it.
    pub(super) fn title(&self) -> Result<Title, FolderError> {
        let name = paths::last_name(&self.path).ok_or(FolderError::Root)?;
        let fits = name.parse::<EntryName>().is_ok();
        let title = name.parse().ok().filter(|_| fits);
        title.ok_or_else(|| FolderError::Name(self.path.clone()))
    }

    fn not_begun(&self, error: BeginError) -> FolderError {
        match error {
            BeginError::Volume(FsError::Busy) => FolderError::HasShare(self.path.clone()),
            BeginError::Volume(error) => FolderError::Volume(self.path.clone(), error),
            BeginError::LinkedOutside(files) => {
                let path = |file: &LinkedOutside| String::from_utf8_lossy(&file.path).into_owned();
                FolderError::LinkedOutside(files.iter().map(path).collect())
            }
        }
    }
}
