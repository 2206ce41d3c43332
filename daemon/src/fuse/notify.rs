//! Telling the kernel what it caches and has to ask for again.
//!
//! The kernel takes locks of the inodes that it is told of, and a program may hold those while it
//! waits for a reply. So it is told by a thread that serves no request, holds no lock, and is waited
//! for by nobody.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use keyfold_fs::share::Outdated;
use keyfold_fs::vfs::Ino;
use parking_lot::Mutex;

use super::device::Device;
use super::wire::{OUT_HEADER, Record};
use crate::online::Caches;

/// What kind of notice a message is, in the place of an error.
const INVAL_INODE: u32 = 2;
const INVAL_ENTRY: u32 = 3;
/// Bytes of `fuse_notify_inval_inode_out` and of `fuse_notify_inval_entry_out`.
const INODE_OUT: usize = 24;
const ENTRY_OUT: usize = 16;

/// Tells the kernel what it has to ask for again. Ends with the mount.
pub(crate) struct Notifier {
    queue: Mutex<Sender<Vec<Outdated>>>,
}

impl Notifier {
    pub(super) fn start(device: Device) -> io::Result<Self> {
        let (sender, queue) = mpsc::channel();
        thread::Builder::new()
            .name("keyfold-notify".to_owned())
            .spawn(move || notify(&device, &queue))?;
        Ok(Self {
            queue: Mutex::new(sender),
        })
    }
}

impl Caches for Notifier {
    fn outdated(&self, what: Vec<Outdated>) {
        // Where nobody takes it, the mount has ended.
        let _ = self.queue.lock().send(what);
    }
}

fn notify(device: &Device, queue: &Receiver<Vec<Outdated>>) {
    for outdated in queue.iter().flat_map(in_order) {
        let message = match outdated {
            Outdated::Inode(ino) => inode(ino),
            Outdated::Entry(parent, name) => entry(parent, &name),
        };
        match device.send(&message) {
            Ok(()) => {}
            Err(error) => match error.raw_os_error() {
                // The kernel knows nothing of it, which is as good.
                Some(libc::ENOENT) => {}
                Some(libc::ENODEV | libc::EPERM | libc::ENOTCONN) => return,
                _ => tracing::warn!(%error, "the kernel was not told of a change"),
            },
        }
    }
}

/// Names first. For a name the kernel waits until whoever reads or looks something up in its directory
/// has the reply, which may be of before the change; what he was told is forgotten with the directory.
fn in_order(mut outdated: Vec<Outdated>) -> Vec<Outdated> {
    outdated.sort_by_key(|one| matches!(one, Outdated::Inode(_)));
    outdated
}

fn message(kind: u32, len: usize, fill: impl FnOnce(Record<'_>)) -> Vec<u8> {
    let mut message = vec![0; OUT_HEADER + len];
    let (head, body) = message.split_at_mut(OUT_HEADER);
    // Names are short, so the length is one of 32 bits. No request is answered by it.
    Record::new(head)
        .u32((OUT_HEADER + len) as u32)
        .u32(kind)
        .u64(0);
    fill(Record::new(body));
    message
}

/// Attributes, and content from the first byte to the end.
fn inode(ino: Ino) -> Vec<u8> {
    message(INVAL_INODE, INODE_OUT, |record| {
        record.u64(ino.0).u64(0).u64(0).zeros();
    })
}

fn entry(parent: Ino, name: &[u8]) -> Vec<u8> {
    message(INVAL_ENTRY, ENTRY_OUT + name.len() + 1, |record| {
        record
            .u64(parent.0)
            .u32(name.len() as u32)
            .u32(0)
            .bytes(name)
            .zeros();
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_forgotten_after_the_names_in_it() {
        let name = |name: &[u8]| Outdated::Entry(Ino(1), name.to_vec());
        let told = vec![
            Outdated::Inode(Ino(1)),
            name(b"a"),
            Outdated::Inode(Ino(2)),
            name(b"b"),
        ];
        let inodes = [1, 2].map(|ino| Outdated::Inode(Ino(ino)));
        let expected = [&[name(b"a"), name(b"b")], inodes.as_slice()].concat();
        assert_eq!(in_order(told), expected);
    }

    #[test]
    fn messages_are_as_the_kernel_reads_them() {
        let header = |len: u32, kind: u32| {
            let mut bytes = len.to_ne_bytes().to_vec();
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(0_u64.to_ne_bytes());
            bytes
        };
        let mut expected = header(40, 2);
        expected.extend(7_u64.to_ne_bytes());
        expected.extend([0; 16]);
        assert_eq!(inode(Ino(7)), expected);
        let mut expected = header(35, 3);
        expected.extend(9_u64.to_ne_bytes());
        expected.extend(2_u32.to_ne_bytes());
        expected.extend(0_u32.to_ne_bytes());
        expected.extend(b"ab\0");
        assert_eq!(entry(Ino(9), b"ab"), expected);
    }
}
