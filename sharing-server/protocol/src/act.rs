//! Acts: orders to the server that destroy something and that no other signature covers.
//!
//! `[1, order, root(32), entry(32), nonce(16), time]`, where the order is `[0]` delete the account,
//! `[1, share(32)]` delete the share, `[2, share(32), seconds]` keep dropped blobs so long, or
//! `[3, share(32), [blob(32)...]]` purge dropped blobs. A server takes an act once, and only within
//! five minutes of its time.

use keyfold_crypto::SignLabel;

use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer};
use crate::ids::{BlobId, ChainRoot, EntryHash, Nonce, ShareId, Time};
use crate::limits;
use crate::signed::Statement;

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// End the signer's account.
    DeleteAccount,
    /// End a share.
    DeleteShare(ShareId),
    /// Keep a share's dropped blobs for so many seconds.
    SetRetention(ShareId, u64),
    /// End the time of these dropped blobs.
    PurgeBlobs(ShareId, Vec<BlobId>),
}

impl Encoded for Order {
    const LIMIT: usize = limits::STATEMENT_BYTES;

    fn write(&self, w: &mut Writer) {
        match self {
            Self::DeleteAccount => {
                w.array(1);
                w.uint(0);
            }
            Self::DeleteShare(share) => {
                w.array(2);
                w.uint(1);
                share.write(w);
            }
            Self::SetRetention(share, seconds) => {
                w.array(3);
                w.uint(2);
                share.write(w);
                w.uint(*seconds);
            }
            Self::PurgeBlobs(share, blobs) => {
                w.array(3);
                w.uint(3);
                share.write(w);
                w.list(blobs);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match (r.length(3)?, r.uint()?) {
            (1, 0) => Ok(Self::DeleteAccount),
            (2, 1) => Ok(Self::DeleteShare(ShareId::read(r)?)),
            (3, 2) => Ok(Self::SetRetention(ShareId::read(r)?, r.uint()?)),
            (3, 3) => Ok(Self::PurgeBlobs(
                ShareId::read(r)?,
                r.list(limits::PURGE_LIST)?,
            )),
            _ => Err(DecodeError::Malformed),
        }
    }
}

/// A signed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// What is ordered.
    pub order: Order,
    /// By whom.
    pub root: ChainRoot,
    /// The keys he signs with.
    pub entry: EntryHash,
    /// Makes it unlike any other.
    pub nonce: Nonce,
    /// When.
    pub time: Time,
}

impl Statement for Act {
    const LABEL: SignLabel = SignLabel::ACT;
}

impl Encoded for Act {
    const LIMIT: usize = limits::STATEMENT_BYTES - 128;

    fn write(&self, w: &mut Writer) {
        w.array(6);
        w.uint(1);
        self.order.write(w);
        self.root.write(w);
        self.entry.write(w);
        self.nonce.write(w);
        self.time.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(6)?;
        r.version()?;
        Ok(Self {
            order: Order::read(r)?,
            root: ChainRoot::read(r)?,
            entry: EntryHash::read(r)?,
            nonce: Nonce::read(r)?,
            time: Time::read(r)?,
        })
    }
}
