//! The rules of sharing, told as stories of people who share, and of those who cheat.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod accounts;
mod document;
mod forks;
mod golden;
mod kept_logs;
mod moving_rules;
mod people;
mod properties;
mod roster_rules;
mod server_lies;
mod snapshots;
mod statements;
mod tree_rules;
mod writing_rules;
