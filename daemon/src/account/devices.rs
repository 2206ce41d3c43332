//! The account's devices, and what is done when one is lost: new keys, and a new kit.

use keyfold_crypto::{IdentityKey, KemKey, Password};
use keyfold_protocol::account::AccountRoot;
use keyfold_protocol::act::{Act, Order};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::{ChainEntry, SignedEntry};
use keyfold_protocol::ids::{DeviceId, Nonce};
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{AppendChain, Base64, Device};

use super::error::AccountError;
use super::kept::{Keys, Next};
use super::password::KitFate;
use super::way_in::Ways;
use super::{Proof, Session, now};

/// What removing a device came to.
#[derive(Debug)]
pub(crate) struct Renewed {
    /// The device.
    pub(crate) device: Device,
}

impl Session<'_> {
    /// All devices with a session.
    pub(crate) async fn devices(&self) -> Result<Vec<Device>, AccountError> {
        Ok(self.remote().devices().await?.devices)
    }

    /// Ends a device's sessions and makes everything it had useless for what comes: account secret,
    /// recovery key, identity and wrapping keys are new. The kit first, so that nobody logs in with the
    /// old one while the rest is done.
    pub(crate) async fn remove_device(
        &mut self,
        named: &str,
        password: Password,
    ) -> Result<Renewed, AccountError> {
        let device = self.find_device(named).await?;
        let proof = Proof::Password(password);
        let Proof::Password(password) = &proof else {
            return Err(AccountError::WrongPassword);
        };
        self.set_password(&proof, password, KitFate::Renew).await?;
        self.renew_keys(password, vec![device.device]).await?;
        self.reseal_book().await?;
        Ok(Renewed { device })
    }

    /// The device that is meant by its id, or the beginning of it.
    async fn find_device(&self, named: &str) -> Result<Device, AccountError> {
        let devices = self.devices().await?;
        let mut meant = devices
            .into_iter()
            .filter(|device| device.device.to_string().starts_with(named));
        match (meant.next(), meant.next()) {
            (Some(one), None) if one.device == self.account.profile.device => {
                Err(AccountError::OwnDevice)
            }
            (Some(one), None) if !named.is_empty() => Ok(one),
            _ => Err(AccountError::NoSuchDevice),
        }
    }

    /// Appends new keys to the chain, and ends the sessions of devices with it.
    pub(crate) async fn renew_keys(
        &mut self,
        password: &Password,
        remove_devices: Vec<DeviceId>,
    ) -> Result<(), AccountError> {
        let (account, entry) = next_keys(&self.keys)?;
        let mut chain = self.keys.chain.clone();
        chain.push(entry.clone());
        let profile = self.account.profile.clone();
        let recovery = self.keys.recovery()?.ok_or(AccountError::NoRecoveryKey)?;
        let secrets = (&self.keys.secret, &recovery);
        let ways = Ways::again(&profile.user, password, secrets, &profile.pinned)?;
        let body = AppendChain {
            entry: Base64(entry.encode()),
            roots: ways.seal(&account)?,
            remove_devices,
        };
        let old = &self.keys.account;
        let mut earlier = self.keys.earlier.clone();
        earlier.push((old.entry, old.identity.clone()));
        let keys = Keys {
            account,
            chain,
            earlier,
            ..self.keys.clone()
        };
        let next = Next { profile, keys };
        self.intend(&next)?;
        let sent = self.remote().append_chain(&body).await;
        self.conclude(next, sent).await
    }

    /// A signed order to the server.
    pub(crate) fn act(&self, order: Order) -> Result<Signed<Act>, AccountError> {
        let account = &self.keys.account;
        let act = Act {
            order,
            root: account.root,
            entry: account.entry,
            nonce: Nonce::generate()?,
            time: now(),
        };
        Ok(Signed::sign(act, &account.identity))
    }
}

/// Fresh keys that take over from the present ones.
fn next_keys(keys: &Keys) -> Result<(AccountRoot, SignedEntry), AccountError> {
    let last = keys.chain.last().ok_or(AccountError::NoAccount)?;
    let last = last.unverified();
    let (identity, kem) = (IdentityKey::generate()?, KemKey::generate()?);
    let entry = ChainEntry {
        seq: last.seq + 1,
        previous: last.hash(),
        user: last.user.clone(),
        identity: identity.public(),
        kem: kem.public(),
        time: now(),
    };
    let old = &keys.account;
    let mut earlier = old.earlier.clone();
    earlier.push((old.entry, old.kem.clone()));
    let account = AccountRoot {
        user: old.user.clone(),
        root: old.root,
        entry: entry.hash(),
        identity: identity.clone(),
        kem,
        earlier,
    };
    let signed = SignedEntry::next(entry, &identity, &old.identity);
    Ok((account, signed))
}
