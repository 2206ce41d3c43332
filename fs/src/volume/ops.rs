//! The operations, one file per family.

mod allocate;
mod attr;
mod dir;
mod edit;
mod file;
mod names;
mod purge;
mod read;
mod rename;
mod xattr;

pub(super) use attr::{change_access_acl, clear_privileges};
pub(super) use names::{enter, entry_mark, leave, live_dir};
pub(super) use read::Located;
pub(super) use rename::{MAX_DEPTH, check_not_within};
pub(super) use xattr::{put_xattr, remove_xattr};

/// Cookie of the first entry of a directory after `.` (1) and `..` (2).
pub(super) const FIRST_COOKIE: u64 = 3;
