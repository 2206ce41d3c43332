//! Keyfold's primitives: sealing, the key schedule, key slots, block encryption and the state hash.
//!
//! The crate does no I/O. Every derivation and every label is in one file, the private module
//! `schedule`; every key is a type of its own that is wiped when dropped and never printed.

mod block;
mod context;
mod error;
mod keys;
mod locked;
mod mac;
mod password;
mod random;
mod recovery;
mod schedule;
mod seal;
mod sha256x16;
mod slot;
mod state;
#[cfg(test)]
mod vectors;
mod xts;

pub use block::{BLOCK_SIZE, BlockCipher, Sealed, Suite};
pub use context::Context;
pub use error::{CryptoError, RandomError};
pub use keys::{
    DatabaseKey, FileId, FileKey, KeyId, MasterKey, SealKey, StateHashKey, SuperblockKey, Tag,
    Tweak,
};
pub use password::{KdfParams, Password, Rounds};
pub use random::fill_random;
pub use recovery::RecoveryKey;
pub use schedule::Label;
pub use seal::{open, seal};
pub use slot::SlotKeys;
pub use state::{RowHash, StateHash};

/// The two halves of the block cipher on their own, for the benches.
#[doc(hidden)]
pub mod halves {
    pub use crate::mac::HmacKey;
    pub use crate::xts::Xts;
}
