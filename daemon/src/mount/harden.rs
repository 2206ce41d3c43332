//! What the serving process does to itself before it holds a key.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd;

/// Makes sure that keys and plaintext never reach a core file or another process of the user.
pub(crate) fn forbid_core_dumps() -> nix::Result<()> {
    nix::sys::prctl::set_dumpable(false)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// Prepares to serve for a long time: holds no directory of the user's busy, can open all the
/// segments it needs, and, where allowed, is never asked by the kernel to write to the mount it
/// serves in order to free memory.
pub(crate) fn settle() -> nix::Result<()> {
    unistd::chdir("/")?;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    // Needs CAP_SYS_RESOURCE; serving works without.
    let _ = rustix::process::configure_io_flusher_behavior(true);
    Ok(())
}

/// Closes every descriptor but the standard three, so that what the caller had open (a lock, the
/// end of a pipe) does not stay open as long as the mount.
pub(crate) fn close_inherited() -> std::io::Result<()> {
    let inherited: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&fd| fd > 2)
        .collect();
    for fd in inherited {
        // The descriptor that listed the directory is among them, closed by now.
        let _ = unistd::close(fd);
    }
    Ok(())
}
