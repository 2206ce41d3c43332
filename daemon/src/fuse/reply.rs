//! A reply, made in place: the head, then the structures or the data that the kernel expects.

#[cfg(test)]
mod tests;

use std::cell::RefCell;

use keyfold_fs::vfs::{Attr, DirEntry, Listing, NAME_MAX, Stats, Timestamp};
use nix::errno::Errno;

use super::buffer::PageBuffer;
use super::front::{Found, Opened, Outcome, Treatment};
use super::request::{DATA_MAX, Page, Unique};
use super::wire::flag::open;
use super::wire::{OUT_HEADER, RECORD_ALIGN, Record};

/// How long the kernel may believe names and attributes, in seconds. Everything that changes them
/// passes through this mount, and the kernel notices what it changes itself.
const TTL: u64 = 600;
/// Inode numbers are never reused.
const GENERATION: u64 = 0;
/// `st_blksize`: what programs take as a good size for their buffers. Larger than a block, because
/// each write of a program is a request.
const PREFERRED_IO: u32 = 64 * 1024;

/// Bytes of `fuse_attr`.
const ATTR: usize = 88;
/// Bytes of `fuse_attr_out`.
const ATTR_OUT: usize = 16 + ATTR;
/// Bytes of `fuse_entry_out`.
const ENTRY_OUT: usize = 40 + ATTR;
/// Bytes of `fuse_open_out`.
const OPEN_OUT: usize = 16;
/// Bytes of `fuse_dirent` without the name.
const DIRENT: usize = 24;
/// Bytes of `fuse_statx_out`.
const STATX_OUT: usize = 288;
/// Bytes of `fuse_statfs_out`.
const STATFS_OUT: usize = 80;

thread_local! {
    static BUFFER: RefCell<Option<PageBuffer>> = const { RefCell::new(None) };
}

/// The reply to one request.
pub(crate) struct Reply<'a> {
    bytes: &'a mut [u8],
    end: usize,
}

impl<'a> Reply<'a> {
    /// An empty reply in `bytes`, which holds the head and as much data as was asked for.
    pub(crate) fn within(bytes: &'a mut [u8]) -> Self {
        Self {
            bytes,
            end: OUT_HEADER,
        }
    }

    /// Lends an empty reply in memory of the thread.
    pub(crate) fn lent<T>(job: impl FnOnce(&mut Reply<'_>) -> T) -> T {
        // Taken out meanwhile: after a panic there is none, not a borrowed one.
        let buffer = BUFFER.take();
        let mut buffer = buffer.unwrap_or_else(|| PageBuffer::new(OUT_HEADER, DATA_MAX as usize));
        let result = job(&mut Reply::within(buffer.bytes_mut()));
        BUFFER.set(Some(buffer));
        result
    }

    /// The message to the kernel. After a failure nothing but the head is sent.
    pub(crate) fn message(&mut self, unique: Unique, result: Result<(), Errno>) -> &[u8] {
        let error = match result {
            Ok(()) => 0,
            Err(errno) => {
                self.end = OUT_HEADER;
                -(errno as i32)
            }
        };
        let message = &mut self.bytes[..self.end];
        let (head, _) = message.split_at_mut(OUT_HEADER);
        // A reply is never longer than its buffer.
        Record::new(head)
            .u32(self.end as u32)
            .u32(error.cast_unsigned())
            .u64(unique.0);
        message
    }

    fn room(&mut self, len: usize) -> Record<'_> {
        let room = &mut self.bytes[self.end..][..len];
        self.end += len;
        Record::new(room)
    }

    pub(crate) fn attr(&mut self, attr: &Attr) {
        attr_out(self.room(ATTR_OUT), attr);
    }

    pub(crate) fn entry(&mut self, attr: &Attr) {
        entry_out(self.room(ENTRY_OUT), attr);
    }

    pub(crate) fn found(&mut self, found: &Found) {
        match found {
            Found::Entry(attr) => self.entry(attr),
            // Inode 0: the kernel remembers that there is no such name.
            Found::Nothing => self.room(ENTRY_OUT).u64(0).u64(GENERATION).u64(TTL).zeros(),
        }
    }

    pub(crate) fn opened(&mut self, opened: &Opened) {
        let flags = match opened.treatment {
            Treatment::Cached => open::KEEP_CACHE,
            Treatment::CachedReadOnly => open::KEEP_CACHE | open::NOFLUSH,
            Treatment::Replaced => 0,
            Treatment::Listing => open::KEEP_CACHE | open::CACHE_DIR,
            Treatment::Direct => open::DIRECT_IO,
        };
        self.room(OPEN_OUT).u64(opened.handle.0).u32(flags).zeros();
    }

    pub(crate) fn created(&mut self, (attr, opened): &(Attr, Opened)) {
        self.entry(attr);
        self.opened(opened);
    }

    pub(crate) fn data(&mut self, data: &[u8]) {
        self.room(data.len()).bytes(data);
    }

    /// Has up to `size` bytes of data filled in by `read`, which says how many there were.
    pub(crate) fn fill(
        &mut self,
        size: u32,
        read: impl FnOnce(&mut [u8]) -> Outcome<usize>,
    ) -> Outcome<()> {
        let room = &mut self.bytes[self.end..][..size as usize];
        self.end += read(room)?;
        Ok(())
    }

    /// How many bytes were written or copied: no request is for more than a 32-bit length.
    pub(crate) fn written(&mut self, bytes: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.room(8).u32(bytes).zeros();
    }

    pub(crate) fn offset(&mut self, offset: u64) {
        self.room(8).u64(offset);
    }

    /// A value, for a caller who has `size` bytes for it; none asks how many it takes.
    pub(crate) fn value(&mut self, value: &[u8], size: u32) -> Outcome<()> {
        match u32::try_from(value.len()) {
            Ok(len) if size == 0 => self.room(8).u32(len).zeros(),
            Ok(len) if len <= size => self.data(value),
            _ => return Err(Errno::ERANGE.into()),
        }
        Ok(())
    }

    pub(crate) fn statfs(&mut self, stats: &Stats) {
        self.room(STATFS_OUT)
            .u64(stats.blocks)
            .u64(stats.free)
            .u64(stats.available)
            .u64(stats.files.saturating_add(stats.files_free))
            .u64(stats.files_free)
            .u32(stats.block_size)
            .u32(NAME_MAX as u32)
            .u32(stats.block_size)
            .zeros();
    }

    pub(crate) fn statx(&mut self, attr: &Attr) {
        statx_out(self.room(STATX_OUT), attr);
    }

    /// Takes an entry into the listing `page`, if there is room for it.
    pub(crate) fn listed(&mut self, page: &Page, entry: &DirEntry<'_>) -> Listing {
        match self.room_in(page, DIRENT + entry.name.len()) {
            Some(room) => {
                dirent(room, entry);
                Listing::Continue
            }
            None => Listing::Full,
        }
    }

    /// Takes an entry with its attributes into the listing `page`, if there is room for it.
    pub(crate) fn listed_plus(
        &mut self,
        page: &Page,
        entry: &DirEntry<'_>,
        attr: &Attr,
    ) -> Listing {
        match self.room_in(page, ENTRY_OUT + DIRENT + entry.name.len()) {
            Some(room) => {
                dirent(entry_out(room, attr), entry);
                Listing::Continue
            }
            None => Listing::Full,
        }
    }

    fn room_in(&mut self, page: &Page, len: usize) -> Option<Record<'_>> {
        let len = len.next_multiple_of(RECORD_ALIGN);
        let used = self.end - OUT_HEADER;
        (used + len <= page.size as usize).then(|| self.room(len))
    }
}

/// `fuse_attr_out`.
fn attr_out(out: Record<'_>, attr: &Attr) {
    put_attr(out.u64(TTL).u64(0), attr);
}

/// `fuse_entry_out`.
fn entry_out<'a>(out: Record<'a>, attr: &Attr) -> Record<'a> {
    let out = out.u64(attr.ino.0).u64(GENERATION);
    put_attr(out.u64(TTL).u64(TTL).u64(0), attr)
}

/// `fuse_attr`.
fn put_attr<'a>(out: Record<'a>, attr: &Attr) -> Record<'a> {
    out.u64(attr.ino.0)
        .u64(attr.size)
        .u64(attr.blocks)
        .u64(attr.atime.secs.cast_unsigned())
        .u64(attr.mtime.secs.cast_unsigned())
        .u64(attr.ctime.secs.cast_unsigned())
        .u32(attr.atime.nanos)
        .u32(attr.mtime.nanos)
        .u32(attr.ctime.nanos)
        .u32(mode(attr))
        .u32(attr.nlink)
        .u32(attr.uid)
        .u32(attr.gid)
        .u32(attr.rdev)
        .u32(PREFERRED_IO)
        .u32(0)
}

fn mode(attr: &Attr) -> u32 {
    attr.kind.mode_bits() | u32::from(attr.perm)
}

/// `fuse_dirent`, padded to the end of its room.
fn dirent(out: Record<'_>, entry: &DirEntry<'_>) {
    out.u64(entry.ino.0)
        .u64(entry.cookie.0)
        // A name has at most 255 bytes.
        .u32(entry.name.len() as u32)
        .u32(entry.kind.mode_bits() >> 12)
        .bytes(entry.name)
        .zeros();
}

/// `fuse_statx_out`.
fn statx_out(out: Record<'_>, attr: &Attr) {
    let out = out.u64(TTL).u64(0).u64(0).u64(0);
    let out = out
        .u32(libc::STATX_BASIC_STATS | libc::STATX_BTIME)
        .u32(PREFERRED_IO)
        .u64(0)
        .u32(attr.nlink)
        .u32(attr.uid)
        .u32(attr.gid)
        .u16(mode(attr) as u16)
        .u16(0)
        .u64(attr.ino.0)
        .u64(attr.size)
        .u64(attr.blocks)
        .u64(0);
    let out = [attr.atime, attr.btime, attr.ctime, attr.mtime]
        .into_iter()
        .fold(out, statx_time);
    let (major, minor) = device_number(attr.rdev);
    out.u32(major).u32(minor).zeros();
}

/// `fuse_sx_time`.
fn statx_time(out: Record<'_>, at: Timestamp) -> Record<'_> {
    out.u64(at.secs.cast_unsigned()).u32(at.nanos).u32(0)
}

/// Major and minor number out of the kernel's 32-bit encoding.
fn device_number(encoded: u32) -> (u32, u32) {
    let major = (encoded >> 8) & 0xfff;
    let minor = (encoded & 0xff) | ((encoded >> 12) & 0xf_ff00);
    (major, minor)
}
