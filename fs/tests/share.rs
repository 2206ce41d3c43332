//! What a shared subtree adds to a volume: nodes, marks, views, and the changes of others.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "share/begin.rs"]
mod begin;
#[path = "share/edges.rs"]
mod edges;
#[path = "share/marks.rs"]
mod marks;
#[path = "share/site.rs"]
mod site;
