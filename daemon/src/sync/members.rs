//! What a share's roster says of this account, for whoever syncs it.

use keyfold_protocol::ids::{ChainRoot, Time};
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::Role;

use super::copies::Missing;
use super::{ShareSync, SyncError};
use crate::sharing::SharingError;

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

    /// When somebody's time passes, so that there is something to do then.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.shared.next_expiry()
    }

    /// Brings the newest keys of this account into the roster, where this vault made them: nothing that
    /// they sign counts before.
    pub(super) async fn renew_own_key(&mut self) -> Result<(), SyncError> {
        if self.shared.own_key_is_due() {
            self.shared.renew_own_key().await?;
            self.absorb().await?;
        }
        Ok(())
    }

    /// Begins another key where somebody left and this account can.
    pub(crate) async fn tend_roster(&mut self) -> Result<(), SyncError> {
        if self.role() == Some(Role::Owner) && self.shared.rotation_due() {
            self.shared.rotate().await?;
        }
        Ok(())
    }

    /// Learns what is in the log, and whether anything may be sent. What may not any more is put
    /// elsewhere.
    pub(super) async fn take_in(&mut self) -> Result<(), SyncError> {
        let pulled = self.shared.pull().await;
        let removed = match &pulled {
            Ok(()) => self.role().is_none(),
            Err(error) => matches!(error, SharingError::NotAMember),
        };
        if removed {
            // What the server never came to know is no share.
            let id = self.shared.id();
            let known = self.shared.session().kept().head(id);
            if known.map_err(SharingError::from)?.is_some() {
                self.save_unsent(Missing::Holes)?;
            }
            return Err(SharingError::NotAMember.into());
        }
        self.tell_given_back();
        pulled?;
        self.absorb().await?;
        self.renew_own_key().await?;
        if !self.may_send() {
            self.save_unsent(Missing::Refused)?;
        }
        self.revive_needed().await
    }

    /// Whether this account may write to the share, as the log says.
    pub(super) fn may_send(&self) -> bool {
        self.role() >= Some(Role::Writer)
    }
}
