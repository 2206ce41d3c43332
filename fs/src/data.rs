//! Ciphertext on disk: segments, written once and append-only.

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod journal;
mod leaf_cache;
mod readahead;
mod segments;

pub(crate) use journal::{Appended, Journal, JournalKey, journal_path};
pub(crate) use leaf_cache::LeafCache;
pub(crate) use readahead::ReadAhead;
pub(crate) use segments::{Run, Segments, segment_path};
