//! Sharing a folder that lies in a share of this account alone: by itself, so that others take part in the
//! folder and not in the rest.

use std::time::Instant;

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::{FileKind, Ino};
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::ShareId;

use super::desk::Desk;
use super::error::FolderError;
use super::folders::LONGEST;
use super::storage::files_below;
use crate::account::Session;
use crate::sharing::Shared;

/// Makes sure that nobody else takes part in the parent, or is to, and brings all of the folder here: its
/// data lies in the parent's blobs otherwise, which are not the folder's.
pub(super) async fn prepare(
    desk: &Desk,
    session: &Session<'_>,
    (path, folder, parent): (&str, Ino, ShareId),
) -> Result<(), FolderError> {
    let shared = Shared::open(session, parent).await?;
    let promised = session.kept().invitations()?;
    let is_promised = promised.iter().any(|one| one.share == parent);
    if shared.members()?.len() > 1 || is_promised {
        return Err(FolderError::WithOthers(path.to_owned()));
    }
    fetch_all(desk.engine.volume(), path, (folder, FileKind::Directory))
}

/// Brings all of a file or folder here.
pub(super) fn fetch_all(
    volume: &Volume,
    path: &str,
    (ino, kind): (Ino, FileKind),
) -> Result<(), FolderError> {
    let over = Instant::now() + LONGEST;
    let fetched = files_below(volume, (ino, kind)).and_then(|files| {
        let fetch = |ino: Ino| volume.fetch_file(ino, &mut |_| Instant::now() < over);
        files.into_iter().try_for_each(|ino| match fetch(ino) {
            // It was removed meanwhile.
            Err(FsError::Stale(_)) => Ok(()),
            fetched => fetched,
        })
    });
    fetched.map_err(|error| match error {
        FsError::Unreachable => FolderError::NotHere(path.to_owned()),
        error => FolderError::Volume(path.to_owned(), error),
    })
}
