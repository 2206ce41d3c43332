//! What a share's roster says of this account, for whoever syncs it.

use keyfold_protocol::roster::Role;

use super::{ShareSync, SyncError};

impl ShareSync<'_, '_> {
    /// What this account may do, as the log says.
    pub(crate) fn role(&self) -> Option<Role> {
        self.shared.log().role()
    }

    /// Begins another key where somebody left and this account can.
    pub(crate) async fn tend_roster(&mut self) -> Result<(), SyncError> {
        if self.role() == Some(Role::Owner) && self.shared.rotation_due() {
            self.shared.rotate().await?;
        }
        Ok(())
    }
}
