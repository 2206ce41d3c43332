//! Grants: the key of an epoch, wrapped for one member.
//!
//! `[1, recipient root(32), wrapped]`, where `wrapped` is 1168 bytes of HPKE over the 32 bytes of
//! the key. The roster record lists the hashes of its grants, so they need no signature.

use keyfold_crypto::{
    Context, CryptoError, EpochCommitment, EpochKey, HashLabel, KemKey, KemPublic, Label,
    RandomError, WRAPPED_OVERHEAD, labelled_hash, unwrap, wrap,
};

use crate::cbor::{Decoded, Encoded, Reader, Writer, require};
use crate::ids::{ChainRoot, EntryHash, Epoch, GrantHash, RosterHash, RosterVersion, ShareId};
use crate::limits;
use crate::roster::Role;

const WRAPPED: usize = 32 + WRAPPED_OVERHEAD;

/// What a grant is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantContext {
    /// The share; zeros in its first record.
    pub share: ShareId,
    /// Of the roster that the grant comes with.
    pub version: RosterVersion,
    /// Hash of that roster.
    pub roster: RosterHash,
    /// Whose key it is.
    pub epoch: Epoch,
    /// Who gets it.
    pub recipient: ChainRoot,
    /// The keys he has in that roster.
    pub entry: EntryHash,
    /// His role in it.
    pub role: Role,
    /// Who gives it.
    pub granter: ChainRoot,
    /// The keys the granter signs with.
    pub granter_entry: EntryHash,
}

impl GrantContext {
    fn context(&self) -> Context {
        Context::new(Label::GRANT)
            .bytes(&self.share.0)
            .u64(self.version.0)
            .bytes(&self.roster.0)
            .u64(self.epoch.0)
            .bytes(&self.recipient.0)
            .bytes(&self.entry.0)
            .u64(self.role.number())
            .bytes(&self.granter.0)
            .bytes(&self.granter_entry.0)
    }
}

/// A wrapped key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Who can unwrap it.
    pub recipient: ChainRoot,
    wrapped: Vec<u8>,
}

impl Grant {
    /// Wraps `key` for the holder of `to`.
    pub fn wrap(to: &KemPublic, bound: &GrantContext, key: &EpochKey) -> Result<Self, RandomError> {
        Ok(Self {
            recipient: bound.recipient,
            wrapped: wrap(to, &bound.context(), key.secret().as_slice())?,
        })
    }

    /// The key, if it is the one that the roster commits to. Fails with [`CryptoError::Tampered`]
    /// for a grant of another place or person, and with [`CryptoError::WrongKey`] for another key.
    pub fn unwrap(
        &self,
        key: &KemKey,
        bound: &GrantContext,
        commitment: &EpochCommitment,
    ) -> Result<EpochKey, CryptoError> {
        let secret = unwrap(key, &bound.context(), &self.wrapped)?;
        let epoch = EpochKey::from_slice(&secret)?;
        epoch.verify(commitment)?;
        Ok(epoch)
    }

    /// Hash of the grant.
    pub fn hash(&self) -> GrantHash {
        GrantHash(labelled_hash(HashLabel::GRANT, &self.encode()))
    }
}

impl Encoded for Grant {
    const LIMIT: usize = limits::GRANT_BYTES;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        w.uint(1);
        self.recipient.write(w);
        w.bytes(&self.wrapped);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        r.version()?;
        let recipient = ChainRoot::read(r)?;
        let wrapped = r.bytes(WRAPPED)?;
        require(wrapped.len() == WRAPPED)?;
        Ok(Self {
            recipient,
            wrapped: wrapped.to_vec(),
        })
    }
}
