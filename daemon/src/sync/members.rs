//! What a share's roster says of this account, for whoever syncs it.

use keyfold_protocol::ids::ChainRoot;
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::Role;

use super::{ShareSync, SyncError};

impl ShareSync<'_, '_> {
    /// What this account may do, as the log says.
    pub(crate) fn role(&self) -> Option<Role> {
        self.shared.log().role()
    }

    /// Who made the share.
    pub(crate) fn creator(&self) -> Option<(UserName, ChainRoot)> {
        let creator = self.shared.creator().ok()?;
        Some((creator.user.clone(), creator.root))
    }

    /// Who takes part, by name.
    pub(crate) fn taking_part(&self) -> Vec<(UserName, Role)> {
        let roster = self.shared.log().roster();
        let members = roster
            .into_iter()
            .flat_map(|roster| roster.members.values());
        let mut members: Vec<_> = members
            .map(|member| (member.key.user.clone(), member.role))
            .collect();
        members.sort();
        members
    }

    /// Begins another key where somebody left and this account can.
    pub(crate) async fn tend_roster(&mut self) -> Result<(), SyncError> {
        if self.role() == Some(Role::Owner) && self.shared.rotation_due() {
            self.shared.rotate().await?;
        }
        Ok(())
    }
}
