//! Keyfold's primitives: sealing, the key schedule, key slots, block encryption and the state hash.
//!
//! The crate does no I/O. Every derivation and every label is in one file, the private module
//! `schedule`; every key is a type of its own that is wiped when dropped and never printed.

mod account;
mod block;
mod context;
mod epoch;
mod error;
mod hashing;
mod keys;
mod locked;
mod mac;
mod merkle;
mod padding;
mod password;
mod random;
mod recovery;
mod schedule;
mod seal;
mod sha256x16;
#[cfg(test)]
mod sharing_vectors;
mod sign;
mod slot;
mod state;
#[cfg(test)]
mod vectors;
mod wrapping;
mod written;
mod xts;

pub use account::{AccountAccess, AccountKdf, AccountRounds, AccountSecret, AuthKey};
pub use block::{BLOCK_SIZE, BlockCipher, Sealed, Suite};
pub use context::Context;
pub use epoch::{EpochCommitment, EpochKey};
pub use error::{CryptoError, RandomError};
pub use hashing::{labelled_hash, sha256};
pub use keys::{
    DatabaseKey, FileId, FileKey, KeyId, MasterKey, SealKey, StateHashKey, SuperblockKey, Tag,
    Tweak,
};
pub use merkle::{LEAF_BLOCKS, LeafHash, MAX_LEAVES, content_root, leaf_hash};
pub use padding::padded_length;
pub use password::{KdfParams, Password, Rounds};
pub use random::fill_random;
pub use recovery::RecoveryKey;
pub use schedule::{HashLabel, Label, SignLabel};
pub use seal::{open, seal};
pub use sign::{IdentityKey, IdentityPublic, Signature};
pub use slot::SlotKeys;
pub use state::{RowHash, StateHash};
pub use wrapping::{KEM_PUBLIC_BYTES, KemKey, KemPublic, WRAPPED_OVERHEAD, unwrap, wrap};
pub use written::{Written, read_written, write_down};

/// The two halves of the block cipher on their own, for the benches.
#[doc(hidden)]
pub mod halves {
    pub use crate::mac::HmacKey;
    pub use crate::xts::Xts;
}
