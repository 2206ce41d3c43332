//! The body of a roster record.

use keyfold_crypto::{
    Context, CryptoError, EpochCommitment, EpochKey, Label, RandomError, open, seal,
};

use super::Role;
use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer, require};
use crate::chain::SignedEntry;
use crate::ids::{ChainRoot, Epoch, GrantHash, Nonce, RequestHash, ShareId, Time};
use crate::limits;
use crate::names::UserName;

/// 32 bytes under the sealing primitive.
const SEALED_KEY: usize = 32 + 81;

/// One change of a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Somebody takes part.
    Add {
        /// His name.
        user: UserName,
        /// His whole key chain, first entry first.
        chain: Vec<SignedEntry>,
        /// What he may do.
        role: Role,
        /// Until when.
        expires: Option<Time>,
        /// The request that this approves.
        request: Option<RequestHash>,
    },
    /// Somebody takes part no longer. Comes with a new epoch.
    Remove(ChainRoot),
    /// Somebody may do something else.
    Role(ChainRoot, Role),
    /// Somebody's time ends otherwise.
    Expiry(ChainRoot, Option<Time>),
    /// Somebody has other keys: the entries after the one the roster has.
    MemberKey(ChainRoot, Vec<SignedEntry>),
    /// The author takes part no longer.
    Leave,
}

impl Encoded for Change {
    const LIMIT: usize = limits::BODY_BYTES;

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Add {
                user,
                chain,
                role,
                expires,
                request,
            } => {
                w.array(6);
                w.uint(0);
                user.write(w);
                w.list(chain);
                role.write(w);
                w.optional(expires.as_ref(), |w, time| time.write(w));
                w.optional(request.as_ref(), |w, request| request.write(w));
            }
            Self::Remove(root) => {
                w.array(2);
                w.uint(1);
                root.write(w);
            }
            Self::Role(root, role) => {
                w.array(3);
                w.uint(2);
                root.write(w);
                role.write(w);
            }
            Self::Expiry(root, expires) => {
                w.array(3);
                w.uint(3);
                root.write(w);
                w.optional(expires.as_ref(), |w, time| time.write(w));
            }
            Self::MemberKey(root, entries) => {
                w.array(3);
                w.uint(4);
                root.write(w);
                w.list(entries);
            }
            Self::Leave => {
                w.array(1);
                w.uint(5);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let length = r.length(6)?;
        let code = r.uint()?;
        let (change, fields) = match code {
            0 => (
                Self::Add {
                    user: UserName::read(r)?,
                    chain: r.list(limits::CHAIN_ENTRIES)?,
                    role: Role::read(r)?,
                    expires: r.optional(Time::read)?,
                    request: r.optional(RequestHash::read)?,
                },
                6,
            ),
            1 => (Self::Remove(ChainRoot::read(r)?), 2),
            2 => (Self::Role(ChainRoot::read(r)?, Role::read(r)?), 3),
            3 => (
                Self::Expiry(ChainRoot::read(r)?, r.optional(Time::read)?),
                3,
            ),
            4 => (
                Self::MemberKey(ChainRoot::read(r)?, r.list(limits::CHAIN_ENTRIES)?),
                3,
            ),
            5 => (Self::Leave, 1),
            _ => return Err(DecodeError::Malformed),
        };
        require(length == fields)?;
        Ok(change)
    }
}

/// The beginning of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEpoch {
    /// To its key.
    pub commitment: EpochCommitment,
    /// The key of the epoch before, sealed under this one's; absent where newcomers are not to read
    /// what was before.
    pub previous: Option<Vec<u8>>,
}

impl NewEpoch {
    /// Begins an epoch under `key` from which nothing before can be read.
    pub fn from_now(key: &EpochKey) -> Self {
        Self {
            commitment: key.commitment(),
            previous: None,
        }
    }

    /// Begins the epoch `epoch` of a share under `key`, from which the one before can be read.
    pub fn with_history(
        key: &EpochKey,
        before: &EpochKey,
        share: ShareId,
        epoch: Epoch,
    ) -> Result<Self, RandomError> {
        let context = previous_context(share, epoch);
        let sealed = seal(&key.previous_key(), &context, before.secret().as_slice())?;
        Ok(Self {
            commitment: key.commitment(),
            previous: Some(sealed),
        })
    }

    /// The key of the epoch before, if it was sealed. Fails with [`CryptoError::Tampered`].
    pub fn open_previous(
        &self,
        key: &EpochKey,
        share: ShareId,
        epoch: Epoch,
    ) -> Option<Result<EpochKey, CryptoError>> {
        let sealed = self.previous.as_ref()?;
        let context = previous_context(share, epoch);
        let opened = open(&key.previous_key(), &context, sealed);
        Some(opened.and_then(|secret| EpochKey::from_slice(&secret)))
    }
}

/// The share and the later of the two epochs.
fn previous_context(share: ShareId, epoch: Epoch) -> Context {
    Context::new(Label::PREVIOUS_EPOCH)
        .bytes(&share.0)
        .u64(epoch.0)
}

impl Encoded for NewEpoch {
    const LIMIT: usize = 256;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        w.bytes(&self.commitment.0);
        w.optional(self.previous.as_deref(), Writer::bytes);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        let commitment = EpochCommitment(r.fixed()?);
        let previous = r.optional(|r| r.bytes(SEALED_KEY).map(<[u8]>::to_vec))?;
        require(
            previous
                .as_ref()
                .is_none_or(|sealed| sealed.len() == SEALED_KEY),
        )?;
        Ok(Self {
            commitment,
            previous,
        })
    }
}

/// What a roster record does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterBody {
    /// In the first record alone.
    pub nonce: Option<Nonce>,
    /// Applied in order.
    pub changes: Vec<Change>,
    /// A new epoch, if one begins.
    pub epoch: Option<NewEpoch>,
    /// The grants that come with it, by ascending recipient.
    pub grants: Vec<(ChainRoot, GrantHash)>,
}

impl Encoded for RosterBody {
    const LIMIT: usize = limits::BODY_BYTES;

    fn write(&self, w: &mut Writer) {
        w.array(5);
        w.uint(1);
        w.optional(self.nonce.as_ref(), |w, nonce| nonce.write(w));
        w.list(&self.changes);
        w.optional(self.epoch.as_ref(), |w, epoch| epoch.write(w));
        w.array(self.grants.len());
        for (root, hash) in &self.grants {
            w.array(2);
            root.write(w);
            hash.write(w);
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(5)?;
        r.version()?;
        let nonce = r.optional(Nonce::read)?;
        let changes = r.list(limits::CHANGES)?;
        let epoch = r.optional(NewEpoch::read)?;
        let mut grants = Vec::new();
        for _ in 0..r.length(limits::MEMBERS)? {
            r.array(2)?;
            grants.push((ChainRoot::read(r)?, GrantHash::read(r)?));
        }
        require(grants.windows(2).all(|pair| pair[0].0 < pair[1].0))?;
        Ok(Self {
            nonce,
            changes,
            epoch,
            grants,
        })
    }
}
