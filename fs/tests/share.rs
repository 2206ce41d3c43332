//! What a shared subtree adds to a volume: nodes, marks, views, and the changes of others.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "share/access.rs"]
mod access;
#[path = "share/apply.rs"]
mod apply;
#[path = "share/begin.rs"]
mod begin;
#[path = "share/edges.rs"]
mod edges;
#[path = "share/locked.rs"]
mod locked;
#[path = "share/marks.rs"]
mod marks;
#[path = "share/partner.rs"]
mod partner;
#[path = "share/points.rs"]
mod points;
#[path = "share/random.rs"]
mod random;
#[path = "share/remote.rs"]
mod remote;
#[path = "share/single.rs"]
mod single;
#[path = "share/site.rs"]
mod site;
#[path = "share/spare.rs"]
mod spare;
#[path = "share/symlinks.rs"]
mod symlinks;
#[path = "share/trees.rs"]
mod trees;
#[path = "share/view.rs"]
mod view;
