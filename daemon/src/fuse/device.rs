//! The kernel's end of a mount: one message out of it is a request, one into it a reply.
#![allow(unsafe_code, reason = "the request that clones a connection")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;

pub(crate) const PATH: &str = "/dev/fuse";

mod request {
    // FUSE_DEV_IOC_CLONE
    nix::ioctl_read!(clone, 229, 0, u32);
}

/// Whether receiving waits for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    Always,
    Never,
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// A request of this length.
    Request(usize),
    /// Nothing is there, and the device does not wait.
    Nothing,
    /// Nothing more: the kernel has closed the connection.
    Closed,
}

/// An open connection to the kernel.
#[derive(Debug)]
pub(crate) struct Device(OwnedFd);

impl AsRawFd for Device {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Device {
    pub(crate) fn new(connection: OwnedFd) -> Self {
        Self(connection)
    }

    /// A second descriptor of the same connection, for a thread of its own: the requests it received
    /// are kept apart from those of the others, so answering them waits for nobody.
    pub(crate) fn another(&self, waiting: Waiting) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true);
        if waiting == Waiting::Never {
            options.custom_flags(libc::O_NONBLOCK);
        }
        let device = options.open(PATH)?;
        let mut ours = self.0.as_raw_fd().cast_unsigned();
        // SAFETY: the kernel reads a descriptor's number from `ours`, which outlives the call.
        unsafe { request::clone(device.as_raw_fd(), &raw mut ours) }?;
        Ok(Self(device.into()))
    }

    /// A descriptor of the same, which receives nothing of its own.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Puts a request at the start of `buffer`.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            match nix::unistd::read(&self.0, buffer) {
                Ok(len) => return Ok(Received::Request(len)),
                Err(Errno::ENODEV) => return Ok(Received::Closed),
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                // Nothing was received: a signal came, or the request was taken back meanwhile.
                Err(Errno::EINTR | Errno::ENOENT) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    /// Sends a reply. The kernel takes one whole, or refuses it because nobody waits for it any more.
    pub(crate) fn send(&self, reply: &[u8]) -> io::Result<()> {
        nix::unistd::write(&self.0, reply)?;
        Ok(())
    }
}
