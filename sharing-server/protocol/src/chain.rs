//! An account's key chain: which keys somebody has, from the first on. Its root is who he is.
//!
//! ```text
//! entry  = [1, seq, previous(32), user, identity(32), kem(1216), time]
//! signed = [entry bytes, signature by its own key(64), signature by the key before(64) or empty]
//! ```
//!
//! The first entry has seq 0, a previous hash of zeros and no second signature.

use keyfold_crypto::{
    CryptoError, HashLabel, IdentityKey, IdentityPublic, KEM_PUBLIC_BYTES, KemPublic, SignLabel,
    Signature, labelled_hash,
};

use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer, require};
use crate::ids::{ChainRoot, EntryHash, Time};
use crate::limits;
use crate::names::UserName;

/// The public keys that somebody has from an entry on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainEntry {
    /// Its place, from 0.
    pub seq: u64,
    /// Hash of the entry before; zeros in the first.
    pub previous: EntryHash,
    /// The account's name, the same in all entries.
    pub user: UserName,
    /// What signatures are verified with.
    pub identity: IdentityPublic,
    /// What keys are wrapped for.
    pub kem: KemPublic,
    /// When it was made.
    pub time: Time,
}

impl ChainEntry {
    /// Hash of the entry.
    pub fn hash(&self) -> EntryHash {
        EntryHash(labelled_hash(HashLabel::CHAIN_ENTRY, &self.encode()))
    }
}

impl Encoded for ChainEntry {
    const LIMIT: usize = limits::CHAIN_ENTRY_BYTES - 160;

    fn write(&self, w: &mut Writer) {
        w.array(7);
        w.uint(1);
        w.uint(self.seq);
        self.previous.write(w);
        self.user.write(w);
        w.bytes(&self.identity.0);
        w.bytes(self.kem.as_bytes());
        self.time.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(7)?;
        r.version()?;
        Ok(Self {
            seq: r.uint_up_to(limits::CHAIN_ENTRIES as u64 - 1)?,
            previous: EntryHash::read(r)?,
            user: UserName::read(r)?,
            identity: IdentityPublic(r.fixed()?),
            kem: KemPublic::from_slice(r.bytes(KEM_PUBLIC_BYTES)?)
                .map_err(|_| DecodeError::Malformed)?,
            time: Time::read(r)?,
        })
    }
}

/// An entry with its signatures, which may not be verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEntry {
    entry: ChainEntry,
    own: Signature,
    before: Option<Signature>,
}

impl SignedEntry {
    /// Signs the first entry of a chain.
    pub fn first(entry: ChainEntry, key: &IdentityKey) -> Self {
        let own = key.sign(SignLabel::CHAIN_ENTRY, &entry.encode());
        Self {
            entry,
            own,
            before: None,
        }
    }

    /// Signs an entry that takes over from the key `before`.
    pub fn next(entry: ChainEntry, key: &IdentityKey, before: &IdentityKey) -> Self {
        let bytes = entry.encode();
        Self {
            entry,
            own: key.sign(SignLabel::CHAIN_ENTRY, &bytes),
            before: Some(before.sign(SignLabel::CHAIN_ENTRY, &bytes)),
        }
    }

    /// The entry, whoever signed it.
    pub fn unverified(&self) -> &ChainEntry {
        &self.entry
    }
}

impl Encoded for SignedEntry {
    const LIMIT: usize = limits::CHAIN_ENTRY_BYTES;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        w.bytes(&self.entry.encode());
        w.bytes(&self.own.0);
        w.optional(self.before, |w, before| w.bytes(&before.0));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        let signed = Self {
            entry: ChainEntry::decode(r.bytes(ChainEntry::LIMIT)?)?,
            own: Signature(r.fixed()?),
            before: r.optional(|r| r.fixed().map(Signature))?,
        };
        require(signed.before.is_none() == (signed.entry.seq == 0))?;
        Ok(signed)
    }
}

/// Why entries are no chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BadChain {
    /// None, or too many.
    Length,
    /// A signature does not verify.
    Signature,
    /// An entry does not follow the one before, or begins at another root.
    Link,
}

impl From<CryptoError> for BadChain {
    fn from(_: CryptoError) -> Self {
        Self::Signature
    }
}

/// A verified key chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChain {
    root: ChainRoot,
    entries: Vec<ChainEntry>,
}

impl KeyChain {
    /// Verifies entries from the first on.
    pub fn verify(entries: &[SignedEntry]) -> Result<Self, BadChain> {
        let (first, rest) = entries.split_first().ok_or(BadChain::Length)?;
        let entry = &first.entry;
        let begins = entry.seq == 0 && entry.previous.0 == [0; 32] && first.before.is_none();
        if !begins {
            return Err(BadChain::Link);
        }
        let bytes = entry.encode();
        entry
            .identity
            .verify(SignLabel::CHAIN_ENTRY, &bytes, &first.own)?;
        let mut chain = Self {
            root: ChainRoot(entry.hash().0),
            entries: vec![entry.clone()],
        };
        for next in rest {
            chain.append(next)?;
        }
        Ok(chain)
    }

    /// Verifies one more entry and takes it.
    pub fn append(&mut self, next: &SignedEntry) -> Result<(), BadChain> {
        if self.entries.len() >= limits::CHAIN_ENTRIES {
            return Err(BadChain::Length);
        }
        let key = KeyEntry::of(self.root, self.head()).follow(next)?;
        debug_assert_eq!(key.entry, next.entry.hash(), "follows by its own hash");
        self.entries.push(next.entry.clone());
        Ok(())
    }

    /// Who this is.
    pub fn root(&self) -> ChainRoot {
        self.root
    }

    /// The entry in force.
    pub fn head(&self) -> &ChainEntry {
        // A chain is made with its first entry and never loses one.
        &self.entries[self.entries.len() - 1]
    }

    /// All entries, first entry first.
    pub fn entries(&self) -> &[ChainEntry] {
        &self.entries
    }

    /// The keys in force.
    pub fn key(&self) -> KeyEntry {
        KeyEntry::of(self.root, self.head())
    }
}

/// The keys of one verified entry, with where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// Whose.
    pub root: ChainRoot,
    /// The account's name.
    pub user: UserName,
    /// Hash of the entry.
    pub entry: EntryHash,
    /// The entry's place in its chain.
    pub seq: u64,
    /// What signatures are verified with.
    pub identity: IdentityPublic,
    /// What keys are wrapped for.
    pub kem: KemPublic,
}

impl KeyEntry {
    fn of(root: ChainRoot, entry: &ChainEntry) -> Self {
        Self {
            root,
            user: entry.user.clone(),
            entry: entry.hash(),
            seq: entry.seq,
            identity: entry.identity,
            kem: entry.kem.clone(),
        }
    }

    /// The keys of the entry after this one: signed by the new key and by this.
    pub fn follow(&self, next: &SignedEntry) -> Result<Self, BadChain> {
        let entry = &next.entry;
        let follows =
            entry.seq == self.seq + 1 && entry.previous == self.entry && entry.user == self.user;
        if !follows {
            return Err(BadChain::Link);
        }
        let before = next.before.as_ref().ok_or(BadChain::Signature)?;
        let bytes = entry.encode();
        entry
            .identity
            .verify(SignLabel::CHAIN_ENTRY, &bytes, &next.own)?;
        self.identity
            .verify(SignLabel::CHAIN_ENTRY, &bytes, before)?;
        Ok(Self::of(self.root, entry))
    }
}
