//! Copying a range between open files.
#![allow(
    unsafe_code,
    reason = "no safe binding of copy_file_range(2) is at hand"
)]

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// A place in an open file.
pub(super) struct Spot<'a, Fd> {
    pub(super) file: &'a Fd,
    pub(super) offset: u64,
}

pub(super) fn range<Fd: AsFd>(
    from: &Spot<'_, Fd>,
    to: &Spot<'_, Fd>,
    len: u64,
) -> Result<u64, Errno> {
    let [source, target] = [from, to].map(|spot| spot.file.as_fd().as_raw_fd());
    let (mut start, mut end) = (from.offset as i64, to.offset as i64);
    // SAFETY: both descriptors are open and both offsets live through the call.
    let copied = unsafe {
        libc::copy_file_range(
            source,
            &raw mut start,
            target,
            &raw mut end,
            len as usize,
            0,
        )
    };
    Errno::result(copied).map(|n| n as u64)
}
