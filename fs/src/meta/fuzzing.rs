//! The records of the journal, for fuzzing.

use super::record::Record;

/// A record that was accepted is written as the same bytes.
pub(crate) fn record(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        assert!(
            *record.encode() == *bytes,
            "accepted, and written otherwise"
        );
    }
}
