//! The Keyfold volume engine: a vault directory on disk, seen as a filesystem.
//!
//! Synchronous; opens no socket and knows no front end.

pub mod check;
pub mod clock;
mod data;
pub mod error;
pub mod events;
pub mod export;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod layout;
mod meta;
#[cfg(feature = "model")]
pub mod model;
pub mod repair;
pub mod share;
pub mod vault;
pub mod vfs;
pub mod volume;
