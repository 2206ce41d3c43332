//! The operations, one file per family.

mod allocate;
mod attr;
mod dir;
mod edit;
mod file;
mod names;
mod purge;
mod rename;
mod xattr;

/// Cookie of the first entry of a directory after `.` (1) and `..` (2).
pub(super) const FIRST_COOKIE: u64 = 3;
