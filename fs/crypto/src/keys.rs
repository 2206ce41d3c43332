//! A type for every key and id. Keys are wiped when dropped and print as their name only.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::locked::Locked;
use crate::mac::HmacKey;
use crate::random::{random_id, random_secret};
use crate::{BlockCipher, CryptoError, RandomError, schedule};

/// Prints `Name(..)` for a type that holds a secret.
macro_rules! redacted_debug {
    ($($name:ident),* $(,)?) => {$(
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
pub(crate) use redacted_debug;

/// Key of the sealing primitive.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// Takes 32 secret bytes with full entropy. Wipe the original.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A fresh random key.
    pub fn generate() -> Result<Self, RandomError> {
        random_secret().map(|bytes| Self(*bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The vault's root key: 256 random bits that only feed the key schedule.
pub struct MasterKey(Locked);

impl MasterKey {
    /// A fresh random key.
    pub fn generate() -> Result<Self, RandomError> {
        let mut key = Locked::zeroed();
        crate::fill_random(key.bytes_mut())?;
        Ok(Self(key))
    }

    /// Fails with [`CryptoError::Malformed`] unless there are 32 bytes.
    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        let mut key = Locked::zeroed();
        if bytes.len() != key.bytes().len() {
            return Err(CryptoError::Malformed);
        }
        key.bytes_mut().copy_from_slice(bytes);
        Ok(Self(key))
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.bytes()
    }

    /// Raw key of the metadata database.
    pub fn meta_db_key(&self) -> DatabaseKey {
        DatabaseKey(*schedule::meta_db(self))
    }

    /// Key that authenticates the superblock.
    pub fn superblock_mac_key(&self) -> SuperblockKey {
        SuperblockKey(HmacKey::new(schedule::superblock_mac(self).as_slice()))
    }

    /// Keys of the state hash.
    pub fn state_hash_key(&self) -> StateHashKey {
        let keys = schedule::state_hash(self);
        let (rows, pin) = keys.split_at(32);
        StateHashKey {
            rows: HmacKey::new(rows),
            pin: HmacKey::new(pin),
        }
    }

    /// Key that seals the records of the vault's journal.
    pub fn journal_key(&self) -> SealKey {
        SealKey(*schedule::journal(self))
    }

    /// Key that seals what is kept outside the vault to recognise its newest state.
    pub fn pin_key(&self) -> SealKey {
        SealKey(*schedule::pin(self))
    }

    /// Key that seals the account's secrets on this machine.
    pub fn account_key(&self) -> SealKey {
        SealKey(*schedule::account(self))
    }
}

/// Raw key of the metadata database, 32 bytes.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct DatabaseKey([u8; 32]);

impl DatabaseKey {
    /// The bytes, for the database library. Wipe every copy made of them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Key that authenticates the superblock (HMAC-SHA-256).
pub struct SuperblockKey(HmacKey);

impl SuperblockKey {
    /// Authentication code of the superblock's canonical bytes.
    pub fn mac(&self, bytes: &[u8]) -> [u8; 32] {
        self.0.mac(&[bytes])
    }

    /// Compares in constant time; fails with [`CryptoError::Tampered`].
    pub fn verify(&self, bytes: &[u8], mac: &[u8; 32]) -> Result<(), CryptoError> {
        if self.mac(bytes).ct_eq(mac).into() {
            Ok(())
        } else {
            Err(CryptoError::Tampered)
        }
    }
}

/// Keys of the state hash: one for rows, one for what leaves the vault.
pub struct StateHashKey {
    pub(crate) rows: HmacKey,
    pub(crate) pin: HmacKey,
}

/// Identity of a file: made with it, the same on every machine it is shared to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub [u8; 16]);

impl FileId {
    /// A fresh random id.
    pub fn generate() -> Result<Self, RandomError> {
        random_id().map(Self)
    }
}

/// Name of a file key. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 16]);

/// The random tweak of one write of one block. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tweak(pub [u8; 16]);

/// Authentication tag of one sealed block. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag(pub [u8; 32]);

/// A key of a file's content, with the random id that names it.
#[derive(Clone)]
pub struct FileKey {
    id: KeyId,
    secret: Zeroizing<[u8; 32]>,
}

impl FileKey {
    /// A fresh random key under a fresh random id.
    pub fn generate() -> Result<Self, RandomError> {
        Ok(Self {
            id: KeyId(random_id()?),
            secret: random_secret()?,
        })
    }

    /// The key as it was stored. Wipe the original of `secret`.
    pub fn from_parts(id: KeyId, secret: [u8; 32]) -> Self {
        Self {
            id,
            secret: Zeroizing::new(secret),
        }
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The secret bytes, for storing in the encrypted database only.
    pub fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// Expands the key for sealing and opening blocks: some microseconds of work.
    pub fn cipher(&self) -> BlockCipher {
        BlockCipher::new(self)
    }
}

redacted_debug!(SealKey, MasterKey, DatabaseKey, SuperblockKey, StateHashKey);

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
