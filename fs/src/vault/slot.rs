//! Key slots: each seals the master key under one password or under the recovery key.

use std::fmt;

use keyfold_crypto::{
    Context, KdfParams, Label, MasterKey, Password, RecoveryKey, Rounds, SlotKeys,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::error::{Damage, VaultError};
use super::superblock::VaultId;
use super::wire::{Canonical, Hex, HexBytes, Timestamp, present};

/// The most slots a vault can have.
pub const SLOT_LIMIT: usize = 16;

/// Longest slot label, in bytes.
const LABEL_LIMIT: usize = 64;
/// More than any sealed master key takes, in bytes.
const SEALED_LIMIT: usize = 1024;

/// What opens a vault.
pub enum Secret {
    /// A password, tried against each password slot in turn.
    Password(Password),
    /// The recovery key.
    Recovery(RecoveryKey),
}

/// Number of a key slot, unique within its vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotId(pub u32);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a slot opens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotKind {
    /// A password.
    Password,
    /// The recovery key.
    Recovery,
}

impl SlotKind {
    /// The kind as it is written in the superblock.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Recovery => "recovery",
        }
    }
}

/// What the user calls a slot: 1 to 64 bytes without control characters, so that it can be
/// printed on a terminal as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SlotLabel(String);

impl SlotLabel {
    /// Fails with [`VaultError::BadLabel`].
    pub fn new(label: &str) -> Result<Self, VaultError> {
        let fits = (1..=LABEL_LIMIT).contains(&label.len());
        if fits && !label.chars().any(char::is_control) {
            Ok(Self(label.to_owned()))
        } else {
            Err(VaultError::BadLabel)
        }
    }

    /// The label.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SlotLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SlotLabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(D::Error::custom)
    }
}

/// One key slot as the superblock holds it. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    id: SlotId,
    kind: SlotKind,
    label: SlotLabel,
    created: Timestamp,
    salt: Hex<32>,
    /// Of passwords only: a recovery key is not stretched, it has 256 random bits.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    rounds: Option<u32>,
    params_mac: Hex<32>,
    sealed_master: HexBytes,
}

/// What became of trying a secret on a slot.
pub(super) enum Attempt {
    /// The secret is right and the slot intact.
    Opened(MasterKey),
    /// The secret is right and the sealed key was altered.
    Altered,
    /// The secret is wrong, or the KDF parameters were altered; nobody can tell which.
    Refused,
}

/// Who a new slot is for.
pub(super) struct SlotOwner {
    pub(super) vault: VaultId,
    pub(super) id: SlotId,
    pub(super) label: SlotLabel,
}

impl Slot {
    /// The slot's number.
    pub fn id(&self) -> SlotId {
        self.id
    }

    /// What the slot opens with.
    pub fn kind(&self) -> SlotKind {
        self.kind
    }

    /// What the user calls it.
    pub fn label(&self) -> &SlotLabel {
        &self.label
    }

    /// When its present secret was set.
    pub fn created(&self) -> &Timestamp {
        &self.created
    }

    /// PBKDF2 rounds of a password slot.
    pub fn rounds(&self) -> Option<u32> {
        self.rounds
    }

    /// A new slot that seals `master` under `password`.
    pub(super) fn for_password(
        owner: SlotOwner,
        password: &Password,
        rounds: Rounds,
        master: &MasterKey,
    ) -> Result<Self, VaultError> {
        let salt = fresh_salt()?;
        let slot = Self::blank(owner.id, SlotKind::Password, owner.label, salt);
        let slot = Self {
            rounds: Some(rounds.get()),
            ..slot
        };
        let keys = SlotKeys::derive_password(password, &KdfParams { salt, rounds });
        slot.filled(&owner.vault, &keys, master)
    }

    /// A new slot that seals `master` under the recovery key.
    pub(super) fn for_recovery(
        owner: SlotOwner,
        recovery: &RecoveryKey,
        master: &MasterKey,
    ) -> Result<Self, VaultError> {
        let salt = fresh_salt()?;
        let slot = Self::blank(owner.id, SlotKind::Recovery, owner.label, salt);
        slot.filled(
            &owner.vault,
            &SlotKeys::derive_recovery(recovery, &salt),
            master,
        )
    }

    fn blank(id: SlotId, kind: SlotKind, label: SlotLabel, salt: [u8; 32]) -> Self {
        Self {
            id,
            kind,
            label,
            created: Timestamp::now(),
            salt: Hex(salt),
            rounds: None,
            params_mac: Hex([0; 32]),
            sealed_master: HexBytes(Vec::new()),
        }
    }

    fn filled(
        mut self,
        vault: &VaultId,
        keys: &SlotKeys,
        master: &MasterKey,
    ) -> Result<Self, VaultError> {
        let params = self.params(vault);
        self.params_mac = Hex(keys.params_mac(&params));
        self.sealed_master = HexBytes(keys.wrap(&seal_context(&params), master)?);
        Ok(self)
    }

    /// The keys that `secret` gives under this slot's parameters, or `None` when the slot is for
    /// a secret of the other kind.
    pub(super) fn keys(&self, secret: &Secret) -> Option<SlotKeys> {
        match (secret, self.kind, self.rounds) {
            (Secret::Password(password), SlotKind::Password, Some(rounds)) => {
                let rounds = Rounds::new(rounds).ok()?;
                let params = KdfParams {
                    salt: self.salt.0,
                    rounds,
                };
                Some(SlotKeys::derive_password(password, &params))
            }
            (Secret::Recovery(key), SlotKind::Recovery, None) => {
                Some(SlotKeys::derive_recovery(key, &self.salt.0))
            }
            _ => None,
        }
    }

    /// Whether the other slot derives the same keys from the same secret.
    pub(super) fn shares_keys_with(&self, other: &Self) -> bool {
        (self.kind, self.salt, self.rounds) == (other.kind, other.salt, other.rounds)
    }

    /// Opens the slot with keys that [`Slot::keys`] gave. The parameters' authentication code is
    /// checked before the sealed key is touched.
    pub(super) fn attempt(&self, vault: &VaultId, keys: &SlotKeys) -> Attempt {
        let params = self.params(vault);
        if keys.verify_params(&params, &self.params_mac.0).is_err() {
            return Attempt::Refused;
        }
        match keys.unwrap(&seal_context(&params), &self.sealed_master.0) {
            Ok(master) => Attempt::Opened(master),
            Err(_) => Attempt::Altered,
        }
    }

    /// What the slot's own keys bind: which slot of which vault this is, and how its keys are
    /// derived. So neither parameters nor sealed keys can be moved to another slot or vault.
    fn params(&self, vault: &VaultId) -> Vec<u8> {
        Canonical::default()
            .bytes(&vault.0)
            .number(u64::from(self.id.0))
            .bytes(self.kind.name().as_bytes())
            .bytes(super::superblock::KDF.as_bytes())
            .bytes(&self.salt.0)
            .number(u64::from(self.rounds.unwrap_or(0)))
            .finish()
    }

    /// Appends every field to what the superblock's authentication code covers.
    pub(super) fn encode(&self, to: Canonical) -> Canonical {
        to.number(u64::from(self.id.0))
            .bytes(self.kind.name().as_bytes())
            .bytes(self.label.0.as_bytes())
            .bytes(self.created.as_str().as_bytes())
            .bytes(&self.salt.0)
            .number(u64::from(self.rounds.unwrap_or(0)))
            .bytes(&self.params_mac.0)
            .bytes(&self.sealed_master.0)
    }

    /// Checks what must hold before any work is done with the slot.
    pub(super) fn check_bounds(&self) -> Result<(), Damage> {
        let rounds_fit = match (self.kind, self.rounds) {
            (SlotKind::Password, Some(rounds)) => Rounds::new(rounds).is_ok(),
            (SlotKind::Recovery, None) => true,
            (SlotKind::Password, None) | (SlotKind::Recovery, Some(_)) => false,
        };
        if !rounds_fit {
            return Err(Damage::OutOfBounds("rounds"));
        }
        if self.sealed_master.0.len() > SEALED_LIMIT {
            return Err(Damage::OutOfBounds("sealed_master"));
        }
        Ok(())
    }
}

fn fresh_salt() -> Result<[u8; 32], VaultError> {
    let mut salt = [0; 32];
    keyfold_crypto::fill_random(&mut salt)?;
    Ok(salt)
}

/// What the sealed master key is bound to, beside the slot's own key.
fn seal_context(params: &[u8]) -> Context {
    Context::new(Label::SLOT).bytes(params)
}
