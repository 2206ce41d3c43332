//! Orders as they lie in the control file, and their answers.
//!
//! Only who has the vault's master key makes an order or reads its answer, so a program that writes to
//! the control file makes none, and one that stands in for the daemon learns nothing. An order is for one
//! challenge of the daemon, which is good once: what was overheard orders nothing again.

use keyfold_crypto::{Context, Label, MasterKey, RandomError, SealKey, open, seal};
use keyfold_fs::vault::VaultId;
use keyfold_protocol::ids::Nonce;
use keyfold_protocol::wire::Base64;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::{Failure, Order, Told};

/// Bytes of most orders: a buffer of this size does not grow, so no copy of a password stays behind.
const USUAL: usize = 16 << 10;

/// What seals orders to the daemon of one vault.
pub(crate) struct Seal {
    key: SealKey,
    vault: VaultId,
}

impl Seal {
    /// That of a vault.
    pub(crate) fn new(vault: VaultId, master: &MasterKey) -> Self {
        Self {
            key: master.account_key(),
            vault,
        }
    }

    fn context(&self, label: Label, challenge: Nonce) -> Context {
        let context = Context::new(label).bytes(&self.vault.0);
        context.bytes(&challenge.0)
    }

    /// An order in answer to a challenge.
    pub(crate) fn order(&self, challenge: Nonce, order: &Order) -> Result<Base64, RandomError> {
        self.seal(Label::ORDER, challenge, order)
    }

    /// The order that was given in answer to a challenge, if it is one.
    pub(super) fn open_order(&self, challenge: Nonce, sealed: &Base64) -> Option<Order> {
        self.open(Label::ORDER, challenge, sealed)
    }

    /// What came of it.
    pub(super) fn reply(
        &self,
        challenge: Nonce,
        told: &Result<Told, Failure>,
    ) -> Result<Base64, RandomError> {
        self.seal(Label::ORDER_REPLY, challenge, told)
    }

    /// What the daemon says came of it, if it is the daemon's.
    pub(crate) fn open_reply(
        &self,
        challenge: Nonce,
        sealed: &Base64,
    ) -> Option<Result<Told, Failure>> {
        self.open(Label::ORDER_REPLY, challenge, sealed)
    }

    fn seal(
        &self,
        label: Label,
        challenge: Nonce,
        value: &impl Serialize,
    ) -> Result<Base64, RandomError> {
        let mut text = Zeroizing::new(Vec::with_capacity(USUAL));
        // Only maps with other keys than strings cannot be written, and none is.
        serde_json::to_writer(&mut *text, value).map_err(|_| RandomError)?;
        seal(&self.key, &self.context(label, challenge), &text).map(Base64)
    }

    fn open<T: DeserializeOwned>(
        &self,
        label: Label,
        challenge: Nonce,
        sealed: &Base64,
    ) -> Option<T> {
        let text = open(&self.key, &self.context(label, challenge), &sealed.0).ok()?;
        serde_json::from_slice(&text).ok()
    }
}
