//! The kernel's offer of requests through `io_uring`.

use std::fs;

use crate::mount::Mount;

const PARAMETER: &str = "/sys/module/fuse/parameters/enable_uring";

/// The kernel offers it to whoever mounts until this is dropped. Tests that use it are in modules
/// called `ring_offered`, of which the runner runs one at a time.
#[derive(Debug)]
pub struct RingOffered {
    before: String,
}

impl RingOffered {
    /// `None` on kernels that have no ring, which is said.
    pub fn by_the_kernel() -> Option<Self> {
        let Ok(before) = fs::read_to_string(PARAMETER) else {
            eprintln!("NOT TESTED: this kernel has no FUSE over io_uring ({PARAMETER} is missing)");
            return None;
        };
        fs::write(PARAMETER, "Y").unwrap();
        Some(Self { before })
    }
}

impl Drop for RingOffered {
    fn drop(&mut self) {
        fs::write(PARAMETER, self.before.trim()).unwrap();
    }
}

/// Whether a mount's requests come through the ring.
pub fn is_through_ring(mount: &Mount) -> bool {
    let Some(pid) = mount.pid() else { return false };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    // A thread may end meanwhile.
    names
        .flatten()
        .any(|name| name.starts_with("keyfold-ring-"))
}
