//! Folders shared between mounted vaults, through a real server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "sharing/apart.rs"]
mod apart;
#[path = "sharing/commands.rs"]
mod commands;
#[path = "sharing/folders.rs"]
mod folders;
#[path = "sharing/members.rs"]
mod members;
#[path = "sharing/random.rs"]
mod random;
#[path = "sharing/scene.rs"]
mod scene;
#[path = "sharing/storage.rs"]
mod storage;
