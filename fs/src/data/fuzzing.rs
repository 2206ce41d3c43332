//! The journal's framing, for fuzzing.

use keyfold_crypto::SealKey;

use super::journal::{JournalKey, records_in};

/// Nothing is read from a journal that was not written under its key.
pub(crate) fn journal(bytes: &[u8]) {
    let key = JournalKey {
        key: SealKey::from_bytes([7; 32]),
        vault: [9; 16],
    };
    assert!(records_in(bytes, &key, 5).is_empty());
}
