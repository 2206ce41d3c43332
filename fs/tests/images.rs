//! Kept images show the files as they were, whatever becomes of them, and cost nothing afterwards.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "images/automatic.rs"]
mod automatic;
#[path = "check/bench.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod bench;
#[path = "images/keeping.rs"]
mod keeping;
#[path = "images/random.rs"]
mod random;
#[path = "check/sound.rs"]
mod sound;
