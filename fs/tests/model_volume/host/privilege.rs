//! Acting as somebody else on this thread, with the right to do anything kept.
#![allow(
    unsafe_code,
    reason = "no safe binding of capget(2) and capset(2) is at hand"
)]

use std::os::fd::OwnedFd;

use keyfold_fs::vfs::Caller;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;
/// `CAP_FSETID`: keep setuid and setgid bits through changes.
const FSETID: u32 = 4;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Makes every permitted capability of this thread effective, but for those in `without`.
fn raise(without: u32) {
    let mut header = Header {
        version: VERSION,
        pid: 0,
    };
    let mut sets = [Sets::default(); 2];
    // SAFETY: version 3 has two sets, and both structures live through the call.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) };
    assert_eq!(got, 0, "capget: {}", std::io::Error::last_os_error());
    for set in &mut sets {
        set.effective = set.permitted;
    }
    sets[0].effective &= !without;
    // SAFETY: as above.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, sets.as_ptr()) };
    assert_eq!(set, 0, "capset: {}", std::io::Error::last_os_error());
}

/// Gives this thread a umask of its own.
pub(super) fn own_umask() {
    unshare(CloneFlags::CLONE_FS).expect("the umask of a thread needs root");
}

/// Does `f` with the ids and umask of `caller`.
pub(super) fn acting_as<T>(caller: &Caller, f: impl FnOnce() -> T) -> T {
    setfsgid(Gid::from_raw(caller.gid));
    setfsuid(Uid::from_raw(caller.uid));
    raise(0);
    let old = umask(Mode::from_bits_truncate(caller.umask));
    let result = f();
    umask(old);
    setfsuid(Uid::from_raw(0));
    setfsgid(Gid::from_raw(0));
    raise(0);
    result
}

/// Does `f` as an ordinary program does, whose changes to `file` take setuid bits away. It is a
/// member of the file's group: from others Linux takes any setgid bit, which FUSE leaves open.
pub(super) fn plainly<T>(file: &OwnedFd, f: impl FnOnce() -> T) -> T {
    let group = nix::sys::stat::fstat(file).map_or(0, |stat| stat.st_gid);
    setfsgid(Gid::from_raw(group));
    raise(1 << FSETID);
    let result = f();
    raise(0);
    setfsgid(Gid::from_raw(0));
    result
}
