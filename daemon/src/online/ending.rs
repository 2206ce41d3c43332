//! Ending a share that this account made: nothing of it is at the server any more, and all of it is here.

use std::time::Duration;

use keyfold_fs::error::FsError;
use keyfold_fs::share::ShareInfo;
use keyfold_fs::vfs::Vfs;
use keyfold_protocol::act::Order;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::ShareId;
use tokio::time::{Instant, sleep};

use super::desk::{Desk, State};
use super::error::FolderError;
use super::folders::with_server;
use super::{paths, within};
use crate::account::Session;
use crate::sharing::{self, Shared};

/// Time between two looks at how far syncing is.
const LOOK: Duration = Duration::from_millis(50);
/// Longest time to wait for it, and for files that are in use.
const CAUGHT_UP: Duration = Duration::from_mins(1);
const CLOSED: Duration = Duration::from_secs(5);

/// Ends a share. The order matters: nobody else may write before what there is was taken in, all of it is in
/// this vault before the server forgets it, and the folder is an ordinary one last. Where this is
/// interrupted before that, the share is one that the account is no member of, which may be left.
pub(super) fn end(desk: &Desk, (path, info): (&str, &ShareInfo)) -> Result<String, FolderError> {
    let id = ShareId(info.id.0);
    let failed = |error| FolderError::Volume(path.to_owned(), error);
    with_server(desk, async |session| {
        let creator = Shared::open(session, id).await?.creator()?.root;
        if creator != session.keys().account.root {
            return Err(FolderError::NotTheMaker(path.to_owned()));
        }
        sharing::revoke(session, id, None).await?;
        caught_up(desk, (path, info)).await?;
        let volume = desk.engine.volume();
        match paths::find(volume, path) {
            Ok(found) => within::fetch_all(volume, path, (found.ino, found.kind))?,
            // The place of a single file that was removed.
            Err(FsError::NotFound) => {}
            Err(error) => return Err(failed(error)),
        }
        volume.sync().map_err(failed)?;
        forget(session, id).await?;
        let kept = session.kept();
        Ok(kept.change_staying(|all| all.retain(|one| one.share != id))?)
    })?;
    match desk.engine.volume().end_share(info.number) {
        // Whoever syncs it came first.
        Ok(()) | Err(FsError::NotFound) => {}
        Err(error) => return Err(failed(error)),
    }
    desk.look_now();
    Ok(format!(
        "{path} is not shared any more, and nothing of it is at the server. All of it is here, as an \
         ordinary folder or file."
    ))
}

/// Waits until all that the log has is in the volume.
async fn caught_up(desk: &Desk, (path, info): (&str, &ShareInfo)) -> Result<(), FolderError> {
    let begun = Instant::now();
    let before = desk.status_of(info);
    // A round that runs already may have begun before what is waited for.
    let due = before.rounds + 1 + u64::from(before.running);
    desk.look_now();
    loop {
        let now = desk.status_of(info);
        match now.state {
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
