//! Shares that somebody gave this account, as their logs tell of them.

use keyfold_protocol::ids::{ChainRoot, ShareId};
use keyfold_protocol::names::EntryName;
use keyfold_protocol::operation::Shape;
use keyfold_protocol::roster::Role;

use super::{Shared, SharingError};
use crate::account::Session;

/// A share that is not in the volume.
pub(crate) struct Arrival {
    /// Which.
    pub(crate) share: ShareId,
    /// Who made it.
    pub(crate) owner: String,
    /// What it is called, as a name in a directory.
    pub(crate) name: String,
    /// What it is.
    pub(crate) shape: Shape,
    /// Whether its maker's keys were compared, or are this account's own.
    pub(crate) is_verified: bool,
    /// Its owners: what one of them offered opens where it is.
    pub(crate) owners: Vec<ChainRoot>,
}

impl Arrival {
    /// What a share is, as its log says; none while its maker has not said.
    pub(crate) async fn of(
        session: &Session<'_>,
        share: ShareId,
    ) -> Result<Option<Self>, SharingError> {
        let mut shared = Shared::open_with_content(session, share, None).await?;
        let Some((title, shape)) = shared.take_description().await? else {
            return Ok(None);
        };
        let creator = shared.creator()?;
        let book = session.kept().book()?.book;
        let own = creator.root == session.keys().account.root;
        let members = shared.roster()?.members.iter();
        let owners = members.filter(|(_, member)| member.role == Role::Owner);
        Ok(Some(Self {
            owners: owners.map(|(root, _)| *root).collect(),
            share,
            owner: creator.user.to_string(),
            name: entry_name(title.as_str(), share),
            shape,
            is_verified: own || book.contacts.iter().any(|c| c.root == creator.root),
        }))
    }
}

/// A title as a name in a directory.
pub(crate) fn entry_name(title: &str, share: ShareId) -> String {
    let name = title.replace('/', "_");
    match name.parse::<EntryName>() {
        Ok(name) => name.as_str().to_owned(),
        Err(_) => format!("share {}", share.to_string().split_at(8).0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_a_name_that_leads_nowhere_else() {
        let share = ShareId([0xab; 32]);
        assert_eq!(entry_name("Reports", share), "Reports");
        assert_eq!(entry_name("a/b", share), "a_b");
        for title in ["..", ".", ".keyfold"] {
            assert_eq!(entry_name(title, share), "share abababab");
        }
    }
}
