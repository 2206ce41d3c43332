//! A server that lies, members that lie, and input that makes no sense, against the real programs.
//!
//! What a mount answers is always one of: the bytes that a member may write and wrote, or an error. What
//! is wrong is told by `keyfold status`, and nothing that was here is lost by it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "hostile/bytes.rs"]
mod bytes;
#[path = "hostile/canaries.rs"]
mod canaries;
#[path = "hostile/heads.rs"]
mod heads;
#[path = "hostile/input.rs"]
mod input;
#[path = "hostile/insider.rs"]
mod insider;
#[path = "hostile/keys.rs"]
mod keys;
#[path = "hostile/members.rs"]
mod members;
#[path = "hostile/replies.rs"]
mod replies;
#[path = "hostile/requests.rs"]
mod requests;
#[path = "hostile/restored.rs"]
mod restored;
#[path = "sharing/scene.rs"]
#[allow(dead_code, reason = "other suites use more of it")]
mod scene;
#[path = "hostile/stage.rs"]
mod stage;
