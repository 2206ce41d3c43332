//! An entry of a queue: memory that holds a request and then its reply, and goes to and fro between
//! the kernel and the one thread that serves it.
//!
//! Each entry has an `io_uring` of its own. The kernel delivers a request in the thread that handed
//! the entry over last, so a thread that waits for something else would hold up whatever is given to
//! another entry of its own; and of the entries of a queue the kernel takes the one that came back
//! last.
#![allow(
    unsafe_code,
    reason = "memory that the kernel writes into, and commands that name it"
)]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::Arc;

use io_uring::squeue::Entry128;
use io_uring::{IoUring, cqueue, opcode, types};
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::fuse::device::Device;
use crate::fuse::reply::Reply;
use crate::fuse::request::{DATA_MAX, Unique};
use crate::fuse::wire::{Fields, IN_HEADER, Malformed, OUT_HEADER, Record};

/// `FUSE_IO_URING_CMD_REGISTER`: a new entry, for a first request.
const REGISTER: u32 = 1;
/// `FUSE_IO_URING_CMD_COMMIT_AND_FETCH`: a reply, for the next request.
const COMMIT_AND_FETCH: u32 = 2;

/// Bytes of `fuse_uring_req_header`: the header of a request or reply, the structure of the
/// operation, and what the two sides say of the entry.
const HEADERS: usize = 288;
/// Where the operation's structure begins in it.
const OPERATION: usize = 128;
/// Most bytes of that structure.
const OPERATION_MAX: usize = 128;
/// Where `fuse_uring_ent_in_out` begins: flags, the request's number, the bytes of data.
const ABOUT: usize = 256;

/// The headers are at the start of a page, the data begins the next one. Between them there is room
/// for the head of a message whose data is where it is.
const PAGE: usize = 4096;
const SIZE: usize = PAGE + DATA_MAX as usize;
/// The most that is before the data of a request.
const HEAD_MAX: usize = IN_HEADER + OPERATION_MAX;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// The kernel does not know the entry.
    Unknown,
    /// The kernel's: it may write at any moment.
    Kernel,
    /// Ours, until the request of this number is answered.
    Ours(Unique),
    /// Nobody's any more: the kernel has let go of it.
    Released,
}

/// What came to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A request; it is to be served.
    Request,
    /// Nothing more: the kernel has closed the connection.
    Closed,
}

pub(super) struct Entry {
    ring: IoUring<Entry128>,
    memory: NonNull<u8>,
    queue: u16,
    turn: Turn,
    /// What came while the entry was registered.
    early: Option<i32>,
    /// Not registered with the ring: that would keep the connection open for a while after the
    /// process has ended, and a mount whose daemon was killed would not be known as dead.
    device: Arc<Device>,
}

impl Entry {
    /// An entry for `queue`, which the kernel does not know yet. Only the calling thread can use it.
    pub(super) fn new(device: &Arc<Device>, queue: u16) -> io::Result<Self> {
        let ring = IoUring::<Entry128, cqueue::Entry>::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(1)?;
        let size = NonZeroUsize::MIN.saturating_add(SIZE - 1);
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses where, so nothing else is there.
        let memory = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_PRIVATE) }?;
        Ok(Self {
            ring,
            memory: memory.cast(),
            queue,
            turn: Turn::Unknown,
            early: None,
            device: Arc::clone(device),
        })
    }

    /// Gives the entry to the kernel, which refuses it at once or keeps it.
    pub(super) fn register(&mut self) -> io::Result<()> {
        self.push_register()?;
        self.ring.submit()?;
        match self.arrived() {
            Some(refused) if refused < 0 => {
                self.turn = Turn::Unknown;
                Err(io::Error::from_raw_os_error(-refused))
            }
            early => {
                self.early = early;
                Ok(())
            }
        }
    }

    /// Has the kernel refuse an entry, upon which it does without the ring if that is not ready.
    pub(super) fn be_refused(&mut self) -> io::Result<()> {
        let (queue, turn) = (self.queue, self.turn);
        self.queue = u16::MAX;
        let refused = self.register();
        self.queue = queue;
        // The kernel goes on knowing an entry that it took before.
        self.turn = turn;
        match refused {
            Ok(()) => Err(io::ErrorKind::Other.into()),
            Err(_) => Ok(()),
        }
    }

    /// Sends the reply to the last request, and waits for the next one.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        match self.turn {
            Turn::Unknown => self.push_register()?,
            Turn::Ours(unique) => self.push(&self.command(COMMIT_AND_FETCH, unique).build())?,
            Turn::Kernel => {}
            Turn::Released => return Ok(Next::Closed),
        }
        let result = loop {
            if let Some(result) = self.early.take().or_else(|| self.arrived()) {
                break result;
            }
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        };
        if result >= 0 {
            self.turn = Turn::Ours(
                self.about()
                    .map_err(|Malformed| io::ErrorKind::InvalidData)?
                    .0,
            );
            return Ok(Next::Request);
        }
        match Errno::from_raw(-result) {
            Errno::ENOTCONN | Errno::ECONNABORTED | Errno::ECANCELED | Errno::ENODEV => {
                self.turn = Turn::Released;
                Ok(Next::Closed)
            }
            // The kernel does not have the entry, or will not touch it again.
            errno => {
                self.turn = Turn::Unknown;
                Err(errno.into())
            }
        }
    }

    fn arrived(&mut self) -> Option<i32> {
        let arrived = self.ring.completion().next();
        arrived.map(|completion| completion.result())
    }

    fn push_register(&mut self) -> io::Result<()> {
        let part = |start: usize, len: usize| libc::iovec {
            // In bounds: both parts are.
            iov_base: self.memory.as_ptr().wrapping_add(start).cast(),
            iov_len: len,
        };
        let parts = [part(0, HEADERS), part(PAGE, SIZE - PAGE)];
        let command = self.command(REGISTER, Unique(0));
        let mut command = command
            .addr(Some(parts.as_ptr().expose_provenance() as u64))
            .build();
        // SAFETY: the crate has no way to say how many parts there are; the number is 4 bytes at 24
        // in the kernel's `io_uring_sqe`, which `Entry128` is to the bit.
        unsafe {
            let parts = (&raw mut command).cast::<u8>().add(24);
            parts.cast::<[u8; 4]>().write(2_u32.to_ne_bytes());
        }
        self.push(&command)?;
        // The kernel reads `parts` while it takes the command.
        self.ring.submit()?;
        Ok(())
    }

    fn command(&self, what: u32, unique: Unique) -> opcode::UringCmd80 {
        let mut words = [0; 80];
        // `fuse_uring_cmd_req`
        Record::new(&mut words)
            .u64(0)
            .u64(unique.0)
            .u16(self.queue)
            .zeros();
        opcode::UringCmd80::new(types::Fd(self.device.as_raw_fd()), what).cmd(words)
    }

    fn push(&mut self, command: &Entry128) -> io::Result<()> {
        // SAFETY: the memory that a registered entry names stays until the kernel has let go of it.
        let pushed = unsafe { self.ring.submission().push(command) };
        pushed.map_err(io::Error::other)?;
        self.turn = Turn::Kernel;
        Ok(())
    }

    /// What the kernel says of the entry: the request's number, and the bytes of its data.
    fn about(&self) -> Result<(Unique, usize), Malformed> {
        // SAFETY: within the memory, to which the kernel does not write now.
        let bytes = unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(ABOUT), 32) };
        let mut fields = Fields::new(bytes);
        fields.skip(8)?;
        let unique = Unique(fields.u64()?);
        let data = fields.u32()? as usize;
        Ok((unique, data))
    }

    /// Has the request that came served by `job`, which gets the message as it comes from the device
    /// and leaves the outcome in the reply. Does nothing if there is no request.
    pub(super) fn serve(&mut self, job: impl FnOnce(&[u8], &mut Reply<'_>) -> Result<(), Errno>) {
        let (Turn::Ours(unique), Ok((_, data))) = (self.turn, self.about()) else {
            return;
        };
        // SAFETY: the memory is this entry's alone, which is borrowed mutably, and not the kernel's
        // turn.
        let memory = unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), SIZE) };
        let (headers, rest) = memory.split_at_mut(HEADERS);
        // What follows the headers, as offsets in `rest`.
        let at_data = PAGE - HEADERS;
        let head_len = head_len(headers, data);
        let mut head = [0; HEAD_MAX];
        let operation = head_len - IN_HEADER;
        head[..IN_HEADER].copy_from_slice(&headers[..IN_HEADER]);
        head[IN_HEADER..head_len].copy_from_slice(&headers[OPERATION..][..operation]);
        let head = &head[..head_len];
        let len = if data == 0 {
            let mut reply = Reply::within(&mut rest[at_data - OUT_HEADER..]);
            let result = job(head, &mut reply);
            put_head(headers, reply.message(unique, result))
        } else {
            // The data is where the reply's would be.
            let data = data.min(DATA_MAX as usize);
            let start = at_data - head_len;
            rest[start..at_data].copy_from_slice(head);
            Reply::lent(|reply| {
                let result = job(&rest[start..at_data + data], reply);
                let message = reply.message(unique, result);
                let body = &message[OUT_HEADER..];
                rest[at_data..][..body.len()].copy_from_slice(body);
                put_head(headers, message)
            })
        };
        Record::new(&mut headers[ABOUT..])
            .u64(0)
            .u64(unique.0)
            // No longer than the data.
            .u32((len - OUT_HEADER) as u32)
            .zeros();
    }
}

/// The length of what precedes `data` bytes of a request's data. What the headers say of it is
/// checked when the message is decoded; here it is made to fit.
fn head_len(headers: &[u8], data: usize) -> usize {
    let len = Fields::new(headers).u32().unwrap_or(0) as usize;
    len.saturating_sub(data).clamp(IN_HEADER, HEAD_MAX)
}

/// Puts the head of a reply where the kernel looks for it. The length of the reply.
fn put_head(headers: &mut [u8], message: &[u8]) -> usize {
    headers[..OUT_HEADER].copy_from_slice(&message[..OUT_HEADER]);
    message.len()
}

impl Drop for Entry {
    fn drop(&mut self) {
        // The kernel may write into memory that it was given at any time until it has let go.
        if matches!(self.turn, Turn::Unknown | Turn::Released) {
            // SAFETY: mapped by us with this size, and nothing refers to it any more.
            let unmapped = unsafe { munmap(self.memory.cast(), SIZE) };
            debug_assert!(unmapped.is_ok());
        }
    }
}
