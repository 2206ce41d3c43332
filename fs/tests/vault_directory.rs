//! The vault directory, as a daemon and a user meet it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "vault_directory/fixture.rs"]
mod fixture;

#[path = "vault_directory/creating.rs"]
mod creating;
#[path = "vault_directory/full_disk.rs"]
mod full_disk;
#[path = "vault_directory/golden.rs"]
mod golden;
#[path = "vault_directory/header.rs"]
mod header;
#[path = "vault_directory/locking.rs"]
mod locking;
#[path = "vault_directory/opening.rs"]
mod opening;
#[path = "vault_directory/slots.rs"]
mod slots;
#[path = "vault_directory/tampering.rs"]
mod tampering;
