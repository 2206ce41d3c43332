//! The kernel's side of a connection, played by the test: what no kernel at hand sends.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use keyfold_fs::model::ModelFs;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use std::os::fd::AsRawFd;

use super::Parrot;
use crate::control_dir::{ControlDir, Owner};
use crate::fuse::adapter::Adapter;
use crate::fuse::device::Device;
use crate::fuse::front::Front;
use crate::fuse::idling::Idling;
use crate::fuse::init::{self, Transport};
use crate::fuse::listeners::Listeners;
use crate::fuse::receivers::{Pool, Receivers};
use crate::fuse::request::Header;
use crate::fuse::wire::{flag, opcode};

/// The kernel. Messages keep their bounds, as on the device.
struct Kernel(OwnedFd);

impl Kernel {
    fn connected() -> (Self, Arc<Device>) {
        let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let (kernel, device) = socketpair(AddressFamily::Unix, kind, None, flags).unwrap();
        (Self(kernel), Arc::new(Device::new(device)))
    }

    fn send(&self, message: &[u8]) {
        send(self.0.as_raw_fd(), message, MsgFlags::empty()).unwrap();
    }

    /// The errno and the body of the reply to request 77; `None` where there is none.
    fn reply(&self) -> Option<(i32, Vec<u8>)> {
        let mut buffer = vec![0; 8192];
        let len = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).ok()?;
        let word = |at: usize| i32::from_ne_bytes(buffer[at..at + 4].try_into().unwrap());
        assert_eq!((word(0), word(8)), (len as i32, 77));
        Some((-word(4), buffer[16..len].to_vec()))
    }
}

/// A request for the root, by root.
fn message(opcode: u32, body: &[u8]) -> Vec<u8> {
    let head = [
        &(40 + body.len() as u32).to_ne_bytes()[..],
        &opcode.to_ne_bytes(),
        &77_u64.to_ne_bytes(),
        &1_u64.to_ne_bytes(),
        &[0; 16],
        body,
    ];
    head.concat()
}

fn init_in(major: u32, flags: u64) -> Vec<u8> {
    let words = [major, 44, 131_072, flags as u32, (flags >> 32) as u32];
    let body: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
    message(opcode::INIT, &[body, vec![0; 44]].concat())
}

fn adapter() -> Adapter {
    let owner = Owner { uid: 0, gid: 0 };
    let control = ControlDir::new(Arc::new(Parrot), owner);
    let front = Arc::new(Front::new(Arc::new(ModelFs::default()), control));
    let idling = Arc::new(Idling::leave_alone());
    let listeners = Arc::new(Listeners::new(2, Arc::clone(&idling)));
    let receivers = Receivers::new(2, idling);
    let pool = Arc::new(Pool::start().unwrap());
    Adapter::new(front, receivers, listeners, pool)
}

#[test]
fn what_cannot_be_read_or_is_not_known_is_answered_and_the_next_request_is_served() {
    let (kernel, device) = Kernel::connected();
    let adapter = adapter();
    let answer = |message: &[u8]| {
        adapter.serve(&device, message, Header::of(message).unwrap());
        kernel.reply()
    };
    let root = message(opcode::GETATTR, &[0; 16]);
    for (request, errno) in [
        (message(opcode::GETATTR, &[0; 15]), libc::EIO),
        (message(opcode::LOOKUP, b"endless"), libc::EIO),
        (message(opcode::LOOKUP, b"\0"), libc::EINVAL),
        (message(opcode::WRITE, &[255; 40]), libc::EIO),
        (message(opcode::IOCTL, &[0; 32]), libc::ENOTTY),
        (message(opcode::INTERRUPT, &[0; 8]), libc::ENOSYS),
        (message(4711, b""), libc::ENOSYS),
        (init_in(7, u64::MAX), libc::ENOSYS),
        (message(opcode::DESTROY, b""), 0),
        (message(opcode::SYNCFS, &[0; 8]), 0),
    ] {
        assert_eq!(answer(&request), Some((errno, Vec::new())));
        let (errno, attr) = answer(&root).unwrap();
        assert_eq!((errno, attr.len()), (0, 104));
    }
    assert_eq!(answer(&message(opcode::FORGET, &1_u64.to_ne_bytes())), None);
}

#[test]
fn a_kernel_of_a_newer_major_version_is_told_ours_and_asks_again() {
    let (kernel, device) = Kernel::connected();
    kernel.send(&init_in(8, 0));
    kernel.send(&init_in(7, u64::MAX));
    init::negotiate(&device, || Transport::Device).unwrap();
    let (errno, first) = kernel.reply().unwrap();
    assert_eq!((errno, first.len(), first[0]), (0, 64, 7));
    assert_eq!(first[8..], [0; 56]);
    let (errno, second) = kernel.reply().unwrap();
    assert_eq!((errno, second.len(), second[0]), (0, 64, 7));
    assert_ne!(second[8..], [0; 56]);
}

#[test]
fn a_kernel_that_lacks_what_is_needed_and_one_that_does_not_begin_are_refused() {
    let (kernel, device) = Kernel::connected();
    kernel.send(&init_in(7, !flag::init::POSIX_ACL));
    let refused = init::negotiate(&device, || Transport::Device).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EPROTO));
    assert_eq!(kernel.reply(), Some((libc::EPROTO, Vec::new())));
    for start in [message(opcode::STATFS, &[0; 64]), vec![0; 3]] {
        kernel.send(&start);
        let refused = init::negotiate(&device, || Transport::Device).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidData);
    }
}
