//! The superblock: what is known of a vault before its master key is, as readable JSON.
//!
//! A superblock as parsed is a claim. Only [`Superblock::verify`], which needs the master key that
//! one of its own slots gave, makes it a fact; so whatever is used before is bounded first.

use std::fmt;

use data_encoding::HEXLOWER;
use keyfold_crypto::{BLOCK_SIZE, MasterKey};
use serde::{Deserialize, Serialize};

use super::error::{Damage, VaultError};
use super::slot::{SLOT_LIMIT, Slot, SlotId};
use super::wire::{Canonical, Hex, Timestamp};

/// The format version this Keyfold writes, and the newest it reads.
pub const FORMAT_VERSION: u64 = 1;
/// Size of a full segment, in bytes.
pub const SEGMENT_SIZE: u64 = 64 << 20;
/// How blocks are sealed.
pub const CIPHER_SUITE: &str = "AES-256-XTS+HMAC-SHA-256";
/// How a password becomes a key (RFC 8018).
pub const KDF: &str = "PBKDF2-HMAC-SHA256";

/// What the file says it is.
const FORMAT: &str = "keyfold-vault";
/// The largest file that is looked at, in bytes.
pub(super) const SUPERBLOCK_LIMIT: u64 = 1 << 20;

/// Identity of a vault: 128 random bits, made with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VaultId(pub [u8; 16]);

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How often the superblock has been changed, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// A parsed superblock of [`FORMAT_VERSION`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Superblock {
    format: String,
    version: u64,
    vault_id: Hex<16>,
    created: Timestamp,
    cipher_suite: String,
    block_size: u64,
    segment_size: u64,
    kdf: String,
    revision: Revision,
    slots: Vec<Slot>,
    mac: Hex<32>,
}

/// The fields every version has; all others may differ in a newer one.
#[derive(Deserialize)]
struct Claim {
    format: Option<String>,
    version: Option<u64>,
    revision: Option<Revision>,
}

/// What the bytes of one copy turned out to be.
pub(super) enum Parsed {
    /// A superblock of this version, within bounds, not authenticated.
    Usable(Box<Superblock>),
    /// A superblock of a newer version.
    Newer {
        version: u64,
        revision: Option<Revision>,
    },
    /// Nothing that can be used.
    Damaged(Damage),
}

impl Superblock {
    /// A superblock without slots and without authentication code, not yet fit to be written.
    pub(super) fn blank(vault: VaultId) -> Self {
        Self {
            format: FORMAT.to_owned(),
            version: FORMAT_VERSION,
            vault_id: Hex(vault.0),
            created: Timestamp::now(),
            cipher_suite: CIPHER_SUITE.to_owned(),
            block_size: BLOCK_SIZE as u64,
            segment_size: SEGMENT_SIZE,
            kdf: KDF.to_owned(),
            revision: Revision(0),
            slots: Vec::new(),
            mac: Hex([0; 32]),
        }
    }

    /// Identity of the vault.
    pub fn vault_id(&self) -> VaultId {
        VaultId(self.vault_id.0)
    }

    /// When the vault was made.
    pub fn created(&self) -> &Timestamp {
        &self.created
    }

    /// The format version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How blocks are sealed.
    pub fn cipher_suite(&self) -> &str {
        &self.cipher_suite
    }

    /// How passwords become keys.
    pub fn kdf(&self) -> &str {
        &self.kdf
    }

    /// How often the superblock was changed.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Its authentication code.
    pub(super) fn code(&self) -> &[u8; 32] {
        &self.mac.0
    }

    /// The key slots, in the order they were made.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether two copies say the same.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        self == other
    }

    /// Reads what may be a superblock. Never fails otherwise than by saying what it found.
    pub(super) fn parse(bytes: &[u8]) -> Parsed {
        let claim: Claim = match serde_json::from_slice(bytes) {
            Ok(claim) => claim,
            Err(e) => return Parsed::Damaged(malformed(&e)),
        };
        if claim.format.as_deref() != Some(FORMAT) {
            return Parsed::Damaged(Damage::NotASuperblock);
        }
        match claim.version {
            Some(FORMAT_VERSION) => {}
            Some(version) if version > FORMAT_VERSION => {
                return Parsed::Newer {
                    version,
                    revision: claim.revision,
                };
            }
            _ => return Parsed::Damaged(Damage::OutOfBounds("version")),
        }
        match serde_json::from_slice::<Self>(bytes) {
            Ok(superblock) => match superblock.check_bounds() {
                Ok(()) => Parsed::Usable(Box::new(superblock)),
                Err(damage) => Parsed::Damaged(damage),
            },
            Err(e) => Parsed::Damaged(malformed(&e)),
        }
    }

    fn check_bounds(&self) -> Result<(), Damage> {
        let fixed = [
            ("cipher_suite", self.cipher_suite == CIPHER_SUITE),
            ("block_size", self.block_size == BLOCK_SIZE as u64),
            ("segment_size", self.segment_size == SEGMENT_SIZE),
            ("kdf", self.kdf == KDF),
            ("revision", self.revision.0 > 0),
            ("slots", (1..=SLOT_LIMIT).contains(&self.slots.len())),
        ];
        if let Some((field, _)) = fixed.iter().find(|(_, fits)| !fits) {
            return Err(Damage::OutOfBounds(field));
        }
        for (n, slot) in self.slots.iter().enumerate() {
            slot.check_bounds()?;
            if self.slots[..n]
                .iter()
                .any(|earlier| earlier.id() == slot.id())
            {
                return Err(Damage::OutOfBounds("id"));
            }
        }
        Ok(())
    }

    /// The text to write. Ends with a newline.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and lists of them always serialise.
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Whether the authentication code is right under the master key a slot gave.
    pub(super) fn verify(&self, master: &MasterKey) -> Result<(), Damage> {
        master
            .superblock_mac_key()
            .verify(&self.encode(), &self.mac.0)
            .map_err(|_| Damage::NotAuthentic)
    }

    /// The next revision, with other slots, authenticated.
    pub(super) fn successor(
        &self,
        slots: Vec<Slot>,
        master: &MasterKey,
    ) -> Result<Self, VaultError> {
        if slots.len() > SLOT_LIMIT {
            return Err(VaultError::TooManySlots { limit: SLOT_LIMIT });
        }
        // Saturates after 2^64 changes, which no vault sees.
        let revision = Revision(self.revision.0.saturating_add(1));
        let mut next = Self {
            revision,
            slots,
            ..self.clone()
        };
        next.mac = Hex(master.superblock_mac_key().mac(&next.encode()));
        Ok(next)
    }

    /// A slot number above every present one.
    pub(super) fn free_slot_id(&self) -> SlotId {
        let highest = self.slots.iter().map(|slot| slot.id().0).max().unwrap_or(0);
        SlotId(highest.saturating_add(1))
    }

    /// Every field but the authentication code, in the order of the file.
    pub(super) fn encode(&self) -> Vec<u8> {
        let fields = Canonical::default()
            .bytes(self.format.as_bytes())
            .number(self.version)
            .bytes(&self.vault_id.0)
            .bytes(self.created.as_str().as_bytes())
            .bytes(self.cipher_suite.as_bytes())
            .number(self.block_size)
            .number(self.segment_size)
            .bytes(self.kdf.as_bytes())
            .number(self.revision.0)
            .number(self.slots.len() as u64);
        self.slots
            .iter()
            .fold(fields, |fields, slot| slot.encode(fields))
            .finish()
    }
}

fn malformed(e: &serde_json::Error) -> Damage {
    Damage::Malformed {
        line: e.line(),
        column: e.column(),
    }
}
