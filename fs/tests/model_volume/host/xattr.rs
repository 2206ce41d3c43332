//! Extended attributes of whatever a path names.
#![allow(
    unsafe_code,
    reason = "no safe binding of the extended attribute calls is at hand"
)]

use std::ffi::{CStr, c_void};

use nix::errno::Errno;

const ROOM: usize = 70_000;

pub(super) fn set(path: &CStr, name: &CStr, value: &[u8], flags: i32) -> Result<(), Errno> {
    let data = value.as_ptr().cast::<c_void>();
    // SAFETY: both strings end with NUL and `value` has the length given.
    let result = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), data, value.len(), flags) };
    Errno::result(result).map(drop)
}

pub(super) fn get(path: &CStr, name: &CStr) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; ROOM];
    let data = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: both strings end with NUL and `value` has the length given.
    let len = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), data, ROOM) };
    value.truncate(Errno::result(len)? as usize);
    Ok(value)
}

pub(super) fn list(path: &CStr) -> Result<Vec<u8>, Errno> {
    let mut names = vec![0; ROOM];
    // SAFETY: the path ends with NUL and `names` has the length given.
    let len = unsafe { libc::listxattr(path.as_ptr(), names.as_mut_ptr().cast(), ROOM) };
    names.truncate(Errno::result(len)? as usize);
    Ok(names)
}

pub(super) fn remove(path: &CStr, name: &CStr) -> Result<(), Errno> {
    // SAFETY: both strings end with NUL.
    let result = unsafe { libc::removexattr(path.as_ptr(), name.as_ptr()) };
    Errno::result(result).map(drop)
}
