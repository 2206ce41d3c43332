//! Whatever is done to a vault's files, what is read is what was committed last, or an error, or
//! the vault does not open; and it is told.
//!
//! Each test is an attack by somebody who can write the vault directory and has no key. The
//! numbers of attacks are those of docs/threat-model.md.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "tamper/blocks.rs"]
mod blocks;
#[path = "tamper/flips.rs"]
mod flips;
#[path = "tamper/going_back.rs"]
mod going_back;
#[path = "tamper/hostile.rs"]
mod hostile;
#[path = "tamper/images.rs"]
mod images;
#[path = "tamper/pages.rs"]
mod pages;
#[path = "tamper/parts.rs"]
mod parts;
#[path = "tamper/pins.rs"]
mod pins;
#[path = "tamper/seed.rs"]
mod seed;
#[path = "tamper/site.rs"]
mod site;
#[path = "tamper/tree.rs"]
mod tree;
