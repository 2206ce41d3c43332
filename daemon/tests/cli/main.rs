//! The command line as scripts see it: output, exit codes, and nothing changed where it refuses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod help;
mod mounted_accounts;
mod mounts;
mod passwords;
mod reading;
mod refusals;
mod sandbox;
mod world;
