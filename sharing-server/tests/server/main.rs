//! The server over real HTTP, with the structures that real clients make.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod accounts;
mod auditing;
mod bad_input;
mod blobs;
mod bodies;
mod greedy;
mod http;
mod killed;
mod lives;
mod openapi;
mod operating;
#[path = "../../protocol/tests/sharing/people.rs"]
#[allow(dead_code, reason = "the protocol's own tests use all of it")]
mod people;
mod requests;
mod second_factor;
mod secrets;
mod sharing;
mod smtp;
mod world;
