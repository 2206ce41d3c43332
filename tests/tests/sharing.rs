//! Folders shared between mounted vaults, through a real server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "sharing/acting.rs"]
mod acting;
#[path = "sharing/activity.rs"]
mod activity;
#[path = "sharing/apart.rs"]
mod apart;
#[path = "sharing/commands.rs"]
mod commands;
#[path = "sharing/devices.rs"]
mod devices;
#[path = "sharing/ending.rs"]
mod ending;
#[path = "sharing/folders.rs"]
mod folders;
#[path = "sharing/leaving.rs"]
mod leaving;
#[path = "sharing/members.rs"]
mod members;
#[path = "sharing/mounted.rs"]
mod mounted;
#[path = "sharing/points.rs"]
mod points;
#[path = "sharing/publish.rs"]
mod publish;
#[path = "sharing/random.rs"]
mod random;
#[path = "sharing/repack.rs"]
mod repack;
#[path = "sharing/requests.rs"]
mod requests;
#[path = "sharing/scene.rs"]
mod scene;
#[path = "sharing/single.rs"]
mod single;
#[path = "sharing/storage.rs"]
mod storage;
#[path = "sharing/symlinks.rs"]
mod symlinks;
#[path = "sharing/unsent.rs"]
mod unsent;
#[path = "sharing/whom.rs"]
mod whom;
