//! Sharing folders and files of a mount.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyfold_fs::error::FsError;
use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::{BeginError, LinkedOutside, ShareInfo};
use keyfold_fs::vfs::{FileKind, Ino, Name, Place};
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::{NodeId, ShareId};
use keyfold_protocol::names::{EntryName, Title};
use keyfold_protocol::operation::Shape;
use serde::Serialize;
use tokio::time::timeout;

use super::desk::Desk;
use super::error::FolderError;
use super::notice::Notice;
use super::placing;
use super::status::FolderStatus;
use super::{giving, paths, storage, taking_back, within};
use crate::account::{Account, Kept, Session, Staying};
use crate::control::{Accept, FolderCommand, RosterCommand};
use crate::remote::{Deadlines, wait};
use crate::sharing::{self, Arrival, Done, Reply, Shared, Stub};

/// Commands that wait for the server at once: they take threads that serve the mount.
const AT_ONCE: usize = 4;
/// Longest time that a command takes: a program may wait for it.
pub(super) const LONGEST: Duration = Duration::from_mins(2);

/// How many commands wait for the server.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A place among those that wait.
pub(super) struct Turn;

impl Turn {
    pub(super) fn take() -> Result<Self, FolderError> {
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
    Status(Box<FolderStatus>),
}

impl From<FolderStatus> for FolderTold {
    fn from(status: FolderStatus) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Carries out a command about a folder.
pub(crate) fn folder(desk: &Desk, command: &FolderCommand) -> Result<FolderTold, FolderError> {
    let done = match command {
        FolderCommand::Share(wanted) => {
            let done = with_server(desk, async |session| {
                giving::share(desk, session, wanted).await
            })?;
            desk.tell_with(Notice::Widening, &done);
            done
        }
        FolderCommand::Unshare(wanted) => {
            let done = taking_back::unshare(desk, wanted)?;
            desk.tell(&format!("{}: {done}", wanted.path));
            done
        }
        FolderCommand::Accept(wanted) => {
            with_server(desk, async |session| accept(desk, session, wanted).await)?
        }
        FolderCommand::Folder(of) => return status(desk, &of.path).map(FolderTold::from),
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
        desk.keep_displayed()?;
        Ok(sharing::carry_out(session, command).await?)
    });
    if let Ok(Reply::Done(Done { done })) = &told {
        match command {
            RosterCommand::Approve(_) => desk.tell_with(Notice::Widening, done),
            RosterCommand::Role(of) => {
                desk.tell_with(Notice::Widening, &format!("{}: {done}", of.share));
            }
            RosterCommand::Leave(of) => desk.tell(&format!("{}: {done}", of.share)),
            RosterCommand::Deny(of) | RosterCommand::Withdraw(of) => {
                desk.tell(&format!("request {}: {done}", of.id));
            }
            _ => desk.tell(done),
        }
    }
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
        let done = async {
            let account = Account::of(&desk.engine, Deadlines::default())?;
            work(&account.session().await?).await
        };
        let done = timeout(LONGEST, done).await;
        done.unwrap_or(Err(FolderError::TooLong))
    })
}

fn status(desk: &Desk, path: &str) -> Result<FolderStatus, FolderError> {
    let volume = desk.engine.volume();
    let failed = |error| FolderError::Volume(path.to_owned(), error);
    let share = paths::share_of(volume, path).map_err(failed)?;
    let locked = match paths::find(volume, path) {
        Ok(found) => volume.locked_share_at(found.ino).map_err(failed)?,
        // The place of a single file, with none there.
        Err(_) => None,
    };
    Ok(FolderStatus {
        path: path.to_owned(),
        share: share.map(|info| desk.status_of(&info)),
        locked: locked.and_then(|info| desk.locked(&info)),
    })
}

/// Begins a share over a folder or a file: in the volume first, where it may be impossible.
async fn begin<'s, 'a>(
    desk: &Desk,
    session: &'s Session<'a>,
    folder: &Folder,
) -> Result<Shared<'s, 'a>, FolderError> {
    folder.title()?;
    let volume = desk.engine.volume();
    let mut stays = false;
    if let What::Inner(ino, parent) = folder.what {
        within::prepare(desk, session, (&folder.path, ino, parent)).await?;
        stays = storage::stays(desk, &folder.path)?;
    }
    let first = Shared::draft_first(session)?;
    let id = EngineShareId(first.record.header.hash().share().0);
    let _beginning = desk.beginning(id);
    let begun = match folder.what {
        What::Folder(ino) => volume.begin_share(id, ino, b""),
        What::Inner(ino, _) => volume.begin_share_within(id, ino, b""),
        What::File(parent) => volume.begin_single_share(id, folder.place(parent)?, b""),
    };
    let number = begun.map_err(|error| folder.not_begun(error))?;
    match Shared::create_by(session, &first).await {
        Ok(shared) => {
            let root = Staying {
                share: shared.id(),
                node: NodeId::ROOT,
            };
            if stays {
                session.kept().change_staying(|all| all.push(root))?;
            }
            Ok(shared)
        }
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
    let offered: Vec<(ShareId, Option<Stub>)> = desk.board(|board| {
        let meant = board.offered.iter().filter(|(id, offered)| {
            let by_name = offered.owner == owner && name.is_none_or(|name| offered.name == name);
            let by_id = wanted.share.len() >= 4 && id.to_string().starts_with(&wanted.share);
            by_name || by_id
        });
        meant
            .map(|(id, offered)| (*id, offered.stub.clone()))
            .collect()
    });
    let share = match offered.as_slice() {
        [] => return Err(FolderError::NoOffer(wanted.share.clone())),
        [(_, Some(stub))] => return accept_stub(desk, stub),
        [(share, None)] => *share,
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

/// Takes what may be asked for.
fn accept_stub(desk: &Desk, stub: &Stub) -> Result<String, FolderError> {
    placing::place_stub(desk, stub).map_err(FolderError::Placing)?;
    let (owner, title) = (&stub.owner, &stub.offer().title);
    Ok(format!(
        "{title} of {owner} comes into the mount, locked: `keyfold request` asks for it."
    ))
}

/// A folder or file that is shared or to be shared.
pub(super) struct Folder {
    pub(super) path: String,
    what: What,
    pub(super) share: Option<ShareInfo>,
}

/// What it is.
#[derive(Clone, Copy)]
enum What {
    /// This directory.
    Folder(Ino),
    /// This directory of that share.
    Inner(Ino, ShareId),
    /// What has its name in this directory.
    File(Ino),
}

impl Folder {
    pub(super) fn find(desk: &Desk, path: &str) -> Result<Self, FolderError> {
        let volume = desk.engine.volume();
        let failed = |error| FolderError::Volume(path.to_owned(), error);
        let of = |what, share| Self {
            path: path.to_owned(),
            what,
            share,
        };
        if let Some(info) = paths::single_at(volume, path).map_err(failed)? {
            return Ok(of(What::File(info.root), Some(info)));
        }
        let found = paths::find(volume, path).map_err(failed)?;
        let share = paths::share_at(volume, found.ino).map_err(failed)?;
        if let Some(parent) = share.as_ref().filter(|info| info.root != found.ino) {
            return match found.kind {
                FileKind::Directory => Ok(of(What::Inner(found.ino, ShareId(parent.id.0)), None)),
                _ => Err(FolderError::WithinShare(path.to_owned())),
            };
        }
        let what = match found.kind {
            FileKind::Directory => What::Folder(found.ino),
            FileKind::Regular => What::File(found.parent),
            _ => return Err(FolderError::NotShareable(path.to_owned())),
        };
        Ok(of(what, share))
    }

    /// The share of it, begun if it is not shared yet, that says what it is called.
    pub(super) async fn shared<'s, 'a>(
        &self,
        desk: &Desk,
        session: &'s Session<'a>,
    ) -> Result<Shared<'s, 'a>, FolderError> {
        let mut shared = match &self.share {
            Some(info) => Shared::open_with_content(session, ShareId(info.id.0), None).await?,
            None => begin(desk, session, self).await?,
        };
        if shared.take_description().await?.is_none() {
            let shape = match self.what {
                What::Folder(_) | What::Inner(..) => Shape::Folder,
                What::File(_) => Shape::File,
            };
            shared.describe(self.title()?, shape).await?;
        }
        Ok(shared)
    }

    /// Whether another share lies in its own, so that nobody can be added.
    pub(super) fn has_point(&self, volume: &Volume) -> Result<bool, FolderError> {
        let shares = volume.shares();
        let shares = shares.map_err(|error| FolderError::Volume(self.path.clone(), error))?;
        let own = self.share.as_ref().map(|info| info.number);
        let mut within = shares.iter().filter_map(|info| info.within);
        Ok(within.any(|within| Some(within.share) == own))
    }

    fn name(&self) -> Result<&str, FolderError> {
        let (_, name) = paths::split(&self.path).ok_or(FolderError::Root)?;
        Ok(name)
    }

    /// What others call it.
    pub(super) fn title(&self) -> Result<Title, FolderError> {
        let name = self.name()?;
        let fits = name.parse::<EntryName>().is_ok();
        let title = name.parse().ok().filter(|_| fits);
        title.ok_or_else(|| FolderError::Name(self.path.clone()))
    }

    fn place(&self, parent: Ino) -> Result<Place<'_>, FolderError> {
        let name = Name::new(self.name()?.as_bytes());
        let name = name.map_err(|error| FolderError::Volume(self.path.clone(), error))?;
        Ok(Place { parent, name })
    }

    fn not_begun(&self, error: BeginError) -> FolderError {
        let path = self.path.clone();
        match (error, self.what) {
            (BeginError::Volume(FsError::Unreachable), What::Inner(..)) => {
                FolderError::NotHere(path)
            }
            (BeginError::Volume(FsError::Busy), What::File(_)) => FolderError::WithinShare(path),
            (BeginError::Volume(FsError::Busy), _) => FolderError::HasShare(path),
            (BeginError::Volume(error), _) => FolderError::Volume(path, error),
            (BeginError::LinkedOutside(_), What::File(_)) => FolderError::Linked(path),
            (BeginError::LinkedOutside(files), _) => {
                let path = |file: &LinkedOutside| String::from_utf8_lossy(&file.path).into_owned();
                FolderError::LinkedOutside(files.iter().map(path).collect())
            }
        }
    }
}
