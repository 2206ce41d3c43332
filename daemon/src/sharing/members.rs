//! Who takes part, and at which record each was last seen.

use std::collections::BTreeMap;

use keyfold_protocol::ids::{ChainRoot, Seq, Time};
use keyfold_protocol::log::ReceiptVerdict;
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::Role;

use super::Shared;
use super::error::SharingError;
use crate::account::now;

/// Somebody who takes part.
#[derive(Debug, Clone)]
pub(crate) struct MemberShown {
    /// His name.
    pub(crate) user: UserName,
    /// Who he is.
    pub(crate) root: ChainRoot,
    /// What he may do.
    pub(crate) role: Role,
    /// Until when.
    pub(crate) expires: Option<Time>,
    /// Whether his time has passed: only the server keeps him out until the next epoch.
    pub(crate) expired: bool,
    /// Whether this vault compared his safety words.
    pub(crate) verified: bool,
    /// The latest record that one of his devices confirmed, and when.
    pub(crate) confirmed: Option<(Seq, Time)>,
}

impl Shared<'_, '_> {
    /// Everybody, by name.
    pub(crate) fn members(&self) -> Result<Vec<MemberShown>, SharingError> {
        let book = self.session.kept().book()?.book;
        let own = self.session.keys().account.root;
        let confirmed = self.confirmed();
        let roster = self.roster()?;
        let mut members: Vec<MemberShown> = roster
            .members
            .iter()
            .map(|(root, member)| MemberShown {
                user: member.key.user.clone(),
                root: *root,
                role: member.role,
                expires: member.expires,
                expired: member.expired(now()),
                verified: *root == own || book.contacts.iter().any(|c| c.root == *root),
                confirmed: confirmed.get(root).copied(),
            })
            .collect();
        members.sort_by(|a, b| a.user.cmp(&b.user));
        Ok(members)
    }

    /// The latest receipt of each member that is on our chain.
    fn confirmed(&self) -> BTreeMap<ChainRoot, (Seq, Time)> {
        let mut latest = BTreeMap::new();
        for signed in &self.receipts {
            if self.log.check_receipt(signed) != ReceiptVerdict::Confirms {
                continue;
            }
            let receipt = signed.unverified();
            let seen = (receipt.seq, receipt.time);
            let known = latest.entry(receipt.root).or_insert(seen);
            *known = (*known).max(seen);
        }
        latest
    }
}
