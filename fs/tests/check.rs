//! A check finds nothing wrong with what the volume wrote, and everything that was changed beneath.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "check/account.rs"]
mod account;
#[path = "check/bench.rs"]
mod bench;
#[path = "check/busy.rs"]
mod busy;
#[path = "check/database.rs"]
mod database;
#[path = "check/live.rs"]
mod live;
#[path = "check/repair.rs"]
mod repair;
#[path = "check/repair_database.rs"]
mod repair_database;
#[path = "check/shares.rs"]
mod shares;
#[path = "check/sound.rs"]
mod sound;
#[path = "check/stored.rs"]
mod stored;
