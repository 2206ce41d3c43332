//! What Keyfold's clients and servers say to each other: signed records, sealed structures, wire
//! types and routes, and the rules by which a share's log is applied.
//!
//! The crate does no I/O. `docs/protocol.md` describes all of it, to the byte.

pub mod account;
pub mod act;
pub mod cbor;
pub mod chain;
pub mod error_code;
pub mod exchange;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod grant;
pub mod ids;
pub mod limits;
pub mod log;
pub mod names;
pub mod operation;
pub mod pack;
mod padding;
pub mod publication;
pub mod receipt;
pub mod record;
pub mod request;
pub mod roster;
pub mod routes;
mod schema;
pub mod signed;
pub mod snapshot;
pub mod tree;
pub mod wire;
