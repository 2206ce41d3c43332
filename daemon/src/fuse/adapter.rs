//! What serves fuser's requests: which thread a request runs on, and what becomes of its result.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use fuser::{INodeNo, InitFlags, KernelConfig, ReplyData, ReplyWrite};
use keyfold_fs::vfs::{FileRange, Ino};

use super::front::{Asker, Front, Outcome};
use super::receivers::{Pool, Receivers, Turn};
use super::reply::{Answer, with_buffer};

/// Largest write request, in bytes.
const MAX_WRITE: u32 = 1 << 20;
/// Most background requests (read-ahead, direct I/O) at a time.
const MAX_BACKGROUND: u16 = 64;
/// A read of more than this waits for the disk long enough to be worth a thread of its own.
const LARGE_READ: u32 = 256 << 10;

/// What is asked of the kernel; what it does not offer is done without.
///
/// Deliberately absent: `WRITEBACK_CACHE` (the kernel would own sizes and times, and hide a full
/// disk), `SETXATTR_EXT` (fuser misreads it), `POSIX_LOCKS` and `FLOCK_LOCKS` (fuser cannot tell
/// them apart; the kernel handles both by itself), `ATOMIC_O_TRUNC` (a running program opened with
/// `O_RDONLY | O_TRUNC` would be emptied before the kernel refuses).
const WANTED: [InitFlags; 11] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_POSIX_ACL,
];

/// What the volume's semantics rest on.
const NEEDED: InitFlags = InitFlags::FUSE_DONT_MASK.union(InitFlags::FUSE_POSIX_ACL);

/// Agrees with the kernel on how to talk. `None` where it lacks what the volume's semantics rest on.
pub(crate) fn negotiate(config: &mut KernelConfig) -> Option<()> {
    for flag in WANTED {
        if config.add_capabilities(flag).is_err() {
            tracing::debug!(?flag, "the kernel does not offer this");
        }
    }
    // None of these values is out of bounds; fuser would answer with the nearest one.
    let _ = config.set_max_write(MAX_WRITE);
    let _ = config.set_max_background(MAX_BACKGROUND);
    let _ = config.set_congestion_threshold(MAX_BACKGROUND / 4 * 3);
    let _ = config.set_time_granularity(Duration::from_nanos(1));
    config.capabilities().contains(NEEDED).then_some(())
}

/// The filesystem fuser serves.
pub(crate) struct Adapter {
    front: Arc<Front>,
    receivers: Receivers,
    pool: Arc<Pool>,
}

/// A request: what is asked for, for the log, and of which inode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) what: &'static str,
    pub(crate) ino: Ino,
}

impl Call {
    pub(crate) fn new(what: &'static str, ino: INodeNo) -> Self {
        Self {
            what,
            ino: Ino(ino.0),
        }
    }
}

impl Adapter {
    pub(crate) fn new(front: Arc<Front>, receivers: Receivers, pool: Arc<Pool>) -> Self {
        Self {
            front,
            receivers,
            pool,
        }
    }

    /// Replies with the outcome of `job`, here and now.
    pub(crate) fn reply<T, R: Answer<T>>(
        &self,
        call: Call,
        reply: R,
        job: impl FnOnce(&Front) -> Outcome<T>,
    ) {
        self.serve(call, |front| reply.answer(call, job(front)));
    }

    /// Replies with the outcome of `job`, which may wait: here or in the pool.
    pub(crate) fn reply_waiting<T, R: Answer<T> + Send + 'static>(
        &self,
        call: Call,
        reply: R,
        job: impl FnOnce(&Front) -> Outcome<T> + Send + 'static,
    ) {
        self.serve_waiting(call, move |front| reply.answer(call, job(front)));
    }

    /// Serves a request here and now.
    pub(crate) fn serve(&self, call: Call, job: impl FnOnce(&Front)) {
        self.receivers.received();
        self.front.touch();
        guarded(call, || job(&self.front));
    }

    /// Serves a request that is no sign of the mount being used.
    pub(crate) fn serve_unnoticed(&self, call: Call, job: impl FnOnce(&Front)) {
        guarded(call, || job(&self.front));
    }

    fn serve_waiting(&self, call: Call, job: impl FnOnce(&Front) + Send + 'static) {
        self.front.touch();
        match self.receivers.turn() {
            Turn::Here(_stay) => guarded(call, || job(&self.front)),
            Turn::HandOver => self.hand_over(call, job),
        }
    }

    fn hand_over(&self, call: Call, job: impl FnOnce(&Front) + Send + 'static) {
        let front = Arc::clone(&self.front);
        self.pool
            .hand_over(Box::new(move || guarded(call, || job(&front))));
    }

    /// Reads up to `size` bytes.
    pub(crate) fn read(&self, call: Call, at: FileRange, size: u32, reply: ReplyData) {
        let job = move |front: &Front| {
            with_buffer(|buffer| match front.read(at, buffer, size) {
                Ok(()) => reply.data(buffer),
                Err(failure) => reply.answer(call, Err(failure)),
            });
        };
        if size > LARGE_READ {
            self.serve_waiting(call, job);
        } else {
            self.serve(call, job);
        }
    }

    /// Writes, which waits where too much is not on disk yet. Handed over, the data is copied: that
    /// is what a free receiving thread costs.
    pub(crate) fn write(
        &self,
        call: Call,
        asker: Asker,
        (at, data): (FileRange, &[u8]),
        reply: ReplyWrite,
    ) {
        self.front.touch();
        let job = move |front: &Front, data: &[u8]| {
            reply.answer(call, front.write(asker, at, data).map(|bytes| bytes as u64));
        };
        match self.receivers.turn() {
            Turn::Here(_stay) => guarded(call, || job(&self.front, data)),
            Turn::HandOver => {
                let data = data.to_vec();
                self.hand_over(call, move |front| job(front, &data));
            }
        }
    }
}

/// Does a request's work. A panic answers `EIO`, as the reply is dropped, and the mount lives on.
fn guarded(call: Call, job: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        let Call { what, ino } = call;
        tracing::error!(
            what,
            ino = ino.0,
            "a request panicked; it was answered with EIO"
        );
    }
}
