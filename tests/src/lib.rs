//! Harness of the end-to-end tests: a vault in a sandbox, mounted by the real program.
//!
//! Hard because a test may end in any way, killed by its time limit included, and must leave no
//! mount, loop device or daemon behind: see [`Sandbox`].
//!
//! With `KEYFOLD_TEST_BACKEND=dir` a plain directory takes the place of the mounted vault, to try
//! the tests themselves: what then fails in the `posix_*`, `programs`, `concurrency` and
//! `full_disk` suites is a wrong test, or a difference between Linux filesystems. The other suites
//! are about the program and fail without it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bytes;
mod mapping;
mod mount;
mod program;
mod relay;
mod ring;
mod sandbox;
mod server;
mod user;
mod vault;
mod wait;

pub use bytes::{Seeded, pattern};
pub use mapping::{Mapping, Sharing};
pub use mount::{Mount, alive, mounted};
pub use program::{
    Outcome, count, keyfold, keyfold_path, program, shell, state_home, tool, try_shell,
};
pub use relay::{Answer, Relay, Reply, Request};
pub use ring::{RingOffered, is_through_ring};
pub use sandbox::Sandbox;
pub use server::Server;
pub use user::OrdinaryUser;
pub use vault::{Backend, PASSWORD, Vault};
pub use wait::until;
