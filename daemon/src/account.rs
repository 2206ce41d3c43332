//! The user's account on a sharing server, as his vault keeps it.
//!
//! A server is trusted with nothing: what it says about keys, the account's own included, is compared
//! with what the vault knows, and what does not fit is refused and told. Whatever would be lost with a
//! reply is in the vault before it is sent.

mod book;
mod devices;
mod entering;
mod error;
mod kept;
mod password;
mod people;
#[cfg(test)]
pub(crate) mod tests;
mod way_in;

use std::time::{SystemTime, UNIX_EPOCH};

use keyfold_crypto::Password;
use keyfold_protocol::account::{Address, Kit};
use keyfold_protocol::ids::{ChainRoot, Time};

use crate::engine::Engine;
use crate::remote::{Deadlines, Remote};

pub(crate) use entering::{Entry, Forget, LoggedOut, Parameters, Registration, login, register};
pub(crate) use error::AccountError;
pub(crate) use kept::{
    Happened, Invitation, Kept, Keys, Profile, Revocation, ShareHead, ShownRequest, Standing,
    Staying,
};
pub(crate) use password::{KitFate, KitNow};
pub(crate) use people::{Person, Trust};

/// What a way in is proved with.
#[derive(Debug)]
pub(crate) enum Proof {
    /// The account's password; the account secret is in the vault, or on the kit.
    Password(Password),
    /// The recovery key that is in the vault, or on the kit.
    Recovery,
}

/// The account of a vault, with a client of its server.
pub(crate) struct Account<'a> {
    kept: Kept<'a>,
    profile: Profile,
    remote: Remote,
}

/// An account with its keys and a session.
pub(crate) struct Session<'a> {
    account: Account<'a>,
    keys: Keys,
}

impl<'a> Account<'a> {
    /// The account of a vault.
    pub(crate) fn of(engine: &'a Engine, deadlines: Deadlines) -> Result<Self, AccountError> {
        let kept = Kept::in_vault(engine);
        let profile = kept.profile()?.ok_or(AccountError::NoAccount)?;
        let remote = Remote::new(&profile.server, deadlines)?;
        Ok(Self {
            kept,
            profile,
            remote,
        })
    }

    /// What is known of it without asking the server.
    pub(crate) fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Where its values are.
    pub(crate) fn kept(&self) -> &Kept<'a> {
        &self.kept
    }

    /// How others address it.
    pub(crate) fn address(&self) -> Address {
        address(&self.profile, Some(self.profile.root))
    }

    /// With keys and session. A change of keys that was under way is carried to its end.
    pub(crate) async fn session(self) -> Result<Session<'a>, AccountError> {
        let keys = self.kept.keys()?.ok_or(AccountError::NotLoggedIn)?;
        let token = self.kept.token()?.ok_or(AccountError::NotLoggedIn)?;
        let mut session = Session {
            account: self.with_token(&token),
            keys,
        };
        session.settle().await?;
        Ok(session)
    }

    fn with_token(mut self, token: &crate::remote::Token) -> Self {
        self.remote = self.remote.with_session(token);
        self
    }
}

impl<'a> Session<'a> {
    /// The account.
    pub(crate) fn account(&self) -> &Account<'a> {
        &self.account
    }

    /// Its keys.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Its server, called with the session.
    pub(crate) fn remote(&self) -> &Remote {
        &self.account.remote
    }

    /// Where its values are.
    pub(crate) fn kept(&self) -> &Kept<'a> {
        &self.account.kept
    }

    /// The sheet for the next device.
    pub(crate) fn kit(&self) -> Result<Kit, AccountError> {
        kit(&self.account.profile, &self.keys)
    }
}

/// The sheet for the next device.
pub(crate) fn kit(profile: &Profile, keys: &Keys) -> Result<Kit, AccountError> {
    Ok(Kit {
        address: address(profile, Some(profile.root)),
        secret: keys.secret.clone(),
        recovery: keys.recovery()?,
    })
}

fn address(profile: &Profile, root: Option<ChainRoot>) -> Address {
    let text = root.map(keyfold_protocol::account::fingerprint);
    Address {
        user: profile.user.clone(),
        host: profile.server.address.host(),
        slug: None,
        fingerprint: text.and_then(|t| keyfold_protocol::account::read_fingerprint(&t).ok()),
    }
}

/// This machine's clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Time(since.map_or(0, |since| since.as_secs()))
}
