//! Taking out of a share whom its owner, or the end of his account, wants out.

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{ChainRoot, ShareId};
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::Role;

use super::{Shared, SharingError};
use crate::account::Session;

/// Takes somebody out of a share, or everybody else. Returns whom, of whom there was anybody.
pub(crate) async fn revoke(
    session: &Session<'_>,
    share: ShareId,
    user: Option<&UserName>,
) -> Result<(), SharingError> {
    let mut shared = Shared::open(session, share).await?;
    let roots: Vec<ChainRoot> = if let Some(user) = user {
        vec![shared.member(user)?.key.root]
    } else {
        let own = session.keys().account.root;
        let members = shared.members()?.into_iter().map(|member| member.root);
        members.filter(|root| *root != own).collect()
    };
    shared.remove_all(&roots).await
}

/// Takes people out whose accounts have ended, where this account is an owner.
///
/// That an account has ended the server alone says. A lie takes somebody out whom it could as well have
/// kept out, and who can be given the share again.
pub(crate) async fn remove_deleted(
    session: &Session<'_>,
    share: ShareId,
) -> Result<(), SharingError> {
    let mut shared = Shared::open(session, share).await?;
    if shared.log().role() != Some(Role::Owner) || shared.rotation_due() {
        // Who tends the share does what the log asks for.
        return Ok(());
    }
    let own = session.keys().account.root;
    let mut gone = Vec::new();
    for member in shared.members()?.iter().filter(|one| one.root != own) {
        match session.remote().chain(&member.user).await {
            Ok(_) => {}
            Err(error) if error.code() == Some(ErrorCode::NotFound) => gone.push(member.root),
            Err(error) => return Err(error.into()),
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    shared.remove_all(&gone).await
}
