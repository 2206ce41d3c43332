//! The Keyfold volume engine: a vault directory on disk, seen as a filesystem.
//!
//! Synchronous; opens no socket and knows no front end.

pub mod error;
pub mod vfs;
