//! Changing the password, and what both ways in are sealed with.

use keyfold_crypto::{AccountSecret, Password, RecoveryKey};
use keyfold_protocol::chain::KeyChain;
use keyfold_protocol::wire::{Key, SetPassword};
use serde::{Deserialize, Serialize};

use super::error::{AccountError, Lie};
use super::kept::{Changes, Keys, Next, Profile, Slot};
use super::way_in::{self, Ways};
use super::{Proof, Session};
use crate::remote::RemoteError;

/// Whether account secret and recovery key stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KitFate {
    /// The kit stays valid, if this vault has all of it.
    Keep,
    /// A new kit takes its place: whoever has the old one gets in no more.
    Renew,
}

/// Whether the kit on paper is still valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KitNow {
    /// It is.
    Valid,
    /// It is not: there is another.
    Replaced,
}

impl Session<'_> {
    /// Sets another password. The recovery key is part of what is replaced with it, so a vault that
    /// does not have it makes another.
    pub(crate) async fn set_password(
        &mut self,
        current: &Proof,
        new: &Password,
        fate: KitFate,
    ) -> Result<KitNow, AccountError> {
        let current_auth = self.current_auth(current).await?;
        let user = self.account.profile.user.clone();
        let known = self.keys.recovery()?;
        let replaced = fate == KitFate::Renew || known.is_none();
        let recovery = match known {
            Some(known) if fate == KitFate::Keep => known,
            _ => RecoveryKey::generate()?,
        };
        let secret = match fate {
            KitFate::Keep => self.keys.secret.clone(),
            KitFate::Renew => AccountSecret::generate()?,
        };
        let ways = Ways::make(&user, new, (&secret, &recovery))?;
        let next = Next {
            profile: Profile {
                pinned: ways.pinned,
                ..self.account.profile.clone()
            },
            keys: Keys {
                secret,
                recovery: Some(recovery.to_words()),
                ..self.keys.clone()
            },
        };
        let body = SetPassword {
            current_auth,
            kdf: ways.parameters(),
            auth: ways.auth(),
            recovery_auth: ways.recovery_auth(),
            roots: ways.seal(&self.keys.account)?,
        };
        self.intend(&next)?;
        let sent = self.remote().set_password(&body).await;
        self.conclude(next, sent).await?;
        Ok(if replaced {
            KitNow::Replaced
        } else {
            KitNow::Valid
        })
    }

    /// What proves the account now. Nothing is sent before the server's parameters are the known ones.
    async fn current_auth(&self, current: &Proof) -> Result<Key, AccountError> {
        let profile = &self.account.profile;
        let offered = self.remote().login_parameters(&profile.user).await?;
        let pinned = way_in::judge(&offered, Some(&profile.pinned))?;
        let access = match current {
            Proof::Password(password) => {
                way_in::by_password(&profile.user, password, &self.keys.secret, &pinned)?
            }
            Proof::Recovery => {
                let key = self.keys.recovery()?.ok_or(AccountError::NoRecoveryKey)?;
                way_in::by_recovery(&key, &pinned)
            }
        };
        Ok(way_in::wire(access.auth_key()))
    }

    /// Keeps what is about to be sent.
    pub(super) fn intend(&self, next: &Next) -> Result<(), AccountError> {
        self.kept()
            .change(&Changes::default().put(Slot::Next, next))
    }

    /// Takes over what was sent, or forgets it; where nobody knows, the server is asked.
    pub(super) async fn conclude(
        &mut self,
        next: Next,
        sent: Result<(), RemoteError>,
    ) -> Result<(), AccountError> {
        let Err(error) = sent else {
            return self.take_over(next);
        };
        if !error.may_have_arrived() {
            self.discard()?;
            return Err(error.into());
        }
        match self.settle().await {
            // Taken over, although the reply did not come.
            Ok(())
                if self.keys.account.entry == next.keys.account.entry
                    && self.account.profile.pinned == next.profile.pinned =>
            {
                Ok(())
            }
            _ => Err(error.into()),
        }
    }

    /// Finds out what became of keys that were sent and not answered.
    pub(super) async fn settle(&mut self) -> Result<(), AccountError> {
        let Some(next) = self.kept().next()? else {
            return Ok(());
        };
        let user = self.account.profile.user.clone();
        let offered = self.remote().login_parameters(&user).await?;
        let entries = self.remote().chain(&user).await?;
        let chain = KeyChain::verify(&entries).map_err(|_| Lie::Chain(user.clone()))?;
        if chain.root() != self.account.profile.root {
            return Err(Lie::OwnRoot.into());
        }
        let is_there = |profile: &Profile, keys: &Keys| {
            *offered.salt.0 == profile.pinned.kdf.salt && chain.key().entry == keys.account.entry
        };
        if is_there(&next.profile, &next.keys) {
            self.take_over(next)
        } else if is_there(&self.account.profile, &self.keys) {
            self.discard()
        } else {
            Err(AccountError::OlderKeys)
        }
    }

    fn take_over(&mut self, next: Next) -> Result<(), AccountError> {
        let changes = Changes::default()
            .put(Slot::Profile, &next.profile)
            .put(Slot::Keys, &next.keys)
            .delete(Slot::Next);
        self.kept().change(&changes)?;
        self.account.profile = next.profile;
        self.keys = next.keys;
        Ok(())
    }

    fn discard(&self) -> Result<(), AccountError> {
        self.kept().change(&Changes::default().delete(Slot::Next))
    }
}
