//! What Keyfold's clients and servers say to each other: signed records, sealed structures, wire
//! types and routes, and the rules by which a share's log is applied.
//!
//! The crate does no I/O. `docs/protocol.md` describes all of it, to the byte.

pub mod cbor;
pub mod error_code;
pub mod ids;
pub mod limits;
pub mod names;
pub mod roster;
pub mod routes;
pub mod wire;
