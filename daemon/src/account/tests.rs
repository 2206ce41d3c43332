//! Accounts against a server that lies: the real client, a real server, and somebody in between.

mod hostile;
mod layouts;
pub(crate) mod scene;
