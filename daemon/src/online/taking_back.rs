//! Taking a folder back from somebody, at once or as soon as the server is there.

use keyfold_fs::share::ShareInfo;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::log::Void;
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::Role;

use super::desk::Desk;
use super::ending;
use super::error::FolderError;
use super::folders::{Folder, with_server};
use crate::account::{Revocation, Session};
use crate::cli::exit::Exit;
use crate::control::Unshare;
use crate::sharing::{self, SharingError};
use crate::sync::as_it_was;

/// Takes a folder back. Where the server is away that is kept, and nothing is sent of the share before.
pub(super) fn unshare(desk: &Desk, wanted: &Unshare) -> Result<String, FolderError> {
    let folder = Folder::find(desk, &wanted.path)?;
    let info = folder.share.as_ref();
    let info = info.ok_or_else(|| FolderError::NotShared(folder.path.clone()))?;
    let orders = [wanted.user.is_some(), wanted.all, wanted.end];
    if orders.into_iter().filter(|is_given| *is_given).count() != 1 {
        return Err(FolderError::WhoseFolder);
    }
    if wanted.end {
        return ending::end(desk, (&wanted.path, info));
    }
    let revocation = Revocation {
        share: ShareId(info.id.0),
        user: wanted.user.clone(),
    };
    with_server(desk, async |session| {
        let user = revocation.user.as_ref();
        match sharing::revoke(session, revocation.share, user).await {
            Ok(()) => Ok(session.kept().end_revocation(&revocation)?),
            Err(error) if Exit::from(&error) == Exit::Unreachable => {
                may_be_revoked(session, info, user)?;
                session.kept().add_revocation(&revocation)?;
                desk.look_now();
                Err(FolderError::NotYetRevoked(folder.path.clone()))
            }
            Err(error) => Err(error.into()),
        }
    })?;
    desk.look_now();
    Ok(match &wanted.user {
        Some(user) => sharing::removed(user),
        None => format!("Nobody but you takes part in {} now.", wanted.path),
    })
}

/// Whether this account takes people out of the share, and this one is in it, as far as is known here.
fn may_be_revoked(
    session: &Session<'_>,
    info: &ShareInfo,
    user: Option<&UserName>,
) -> Result<(), SharingError> {
    let Some(shared) = as_it_was(session, info) else {
        return Ok(());
    };
    if shared.log().role() != Some(Role::Owner) {
        return Err(SharingError::MayNot(Void::RoleMayNot));
    }
    user.map_or(Ok(()), |user| shared.member(user).map(drop))
}

/// Carries out what was ordered while the server was away. Returns what cannot be done any more.
pub(super) async fn revoke_queued(
    session: &Session<'_>,
    share: ShareId,
) -> Result<Vec<String>, SharingError> {
    let mut impossible = Vec::new();
    for one in session.kept().revocations()? {
        if one.share != share {
            continue;
        }
        match sharing::revoke(session, share, one.user.as_ref()).await {
            Ok(()) => {}
            Err(
                error @ (SharingError::NoSuchMember(_)
                | SharingError::NotAMember
                | SharingError::MayNot(_)),
            ) => impossible.push(error.to_string()),
            Err(error) => return Err(error),
        }
        session.kept().end_revocation(&one)?;
    }
    Ok(impossible)
}
