//! Ending a share that this account made: nothing of it is at the server any more, and all of it is here.

use std::time::Duration;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::share::ShareInfo;
use keyfold_fs::vfs::{Entry, FileKind, Ino, Name, Place, Vfs};
use keyfold_fs::volume::Volume;
use keyfold_protocol::act::Order;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::ShareId;
use tokio::time::{Instant, sleep};

use super::desk::{Desk, State};
use super::error::FolderError;
use super::folders::with_server;
use super::within;
use crate::account::Session;
use crate::sharing::{self, Shared};

/// Time between two looks at how far syncing is.
const LOOK: Duration = Duration::from_millis(50);
/// Longest time to wait for it, and for files that are in use.
const CAUGHT_UP: Duration = Duration::from_mins(1);
const CLOSED: Duration = Duration::from_secs(5);

/// Ends a share. The order matters: nobody else may write before what there is was taken in, and the server
/// forgets the share last, when all of it is in this vault, where nothing can give it up any more. Where this
/// is interrupted before that, the share comes into the mount again, beside the folder, and may be ended there.
pub(super) fn end(desk: &Desk, (path, info): (&str, &ShareInfo)) -> Result<String, FolderError> {
    let id = ShareId(info.id.0);
    let failed = |error| FolderError::Volume(path.to_owned(), error);
    // So that it does not come again meanwhile.
    let _ending = desk.beginning(info.id);
    with_server(desk, async |session| {
        let creator = Shared::open(session, id).await?.creator()?.root;
        if creator != session.keys().account.root {
            return Err(FolderError::NotTheMaker(path.to_owned()));
        }
        sharing::revoke(session, id, None).await?;
        caught_up(desk, (path, info)).await?;
        let volume = desk.engine.volume();
        if let Some(found) = content(volume, info).map_err(failed)? {
            within::fetch_all(volume, path, found)?;
        }
        match volume.end_share_that_is_here(info.number) {
            // Some of it was given up again.
            Err(FsError::Unreachable) => return Err(FolderError::NotHere(path.to_owned())),
            ended => ended.map_err(failed)?,
        }
        volume.sync().map_err(failed)?;
        forget(session, id).await?;
        let kept = session.kept();
        Ok(kept.change_staying(|all| all.retain(|one| one.share != id))?)
    })?;
    desk.look_now();
    Ok(format!(
        "{path} is not shared any more, and nothing of it is at the server. All of it is here, as an \
         ordinary folder or file."
    ))
}

/// What a share has, wherever it was moved: none of a single file that was removed.
fn content(volume: &Volume, info: &ShareInfo) -> FsResult<Option<(Ino, FileKind)>> {
    let Some(name) = &info.name else {
        return Ok(Some((info.root, FileKind::Directory)));
    };
    let at = Place {
        parent: info.root,
        name: Name::new(name)?,
    };
    match volume.lookup(at) {
        Ok(Entry { attr }) => {
            volume.forget(attr.ino, 1);
            Ok(Some((attr.ino, attr.kind)))
        }
        Err(FsError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until all that the log has is in the volume.
async fn caught_up(desk: &Desk, (path, info): (&str, &ShareInfo)) -> Result<(), FolderError> {
    let begun = Instant::now();
    let due = desk.status_of(info).next_round();
    desk.look_now();
    loop {
        let now = desk.known(info);
        match now.state_now() {
            State::Synced if now.rounds >= due => return Ok(()),
            State::Removed => return Err(FolderError::NotShared(path.to_owned())),
            State::Busy if now.rounds >= due && begun.elapsed() > CLOSED => {
                return Err(FolderError::InUse(path.to_owned()));
            }
            _ if begun.elapsed() > CAUGHT_UP => return Err(FolderError::TooLong),
            _ => sleep(LOOK).await,
        }
    }
}

/// Has the server forget a share.
async fn forget(session: &Session<'_>, id: ShareId) -> Result<(), FolderError> {
    let act = session.act(Order::DeleteShare(id))?;
    match session.remote().delete_share(id, &act).await {
        // It did, and the answer was lost.
        Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(()),
        done => Ok(done?),
    }
}
