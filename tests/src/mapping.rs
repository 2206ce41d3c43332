//! A file mapped into memory.

#![allow(
    unsafe_code,
    reason = "mapping a file is unsafe in every binding; the one place that does it"
)]

use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, msync, munmap};

/// Whether writes to a mapping reach the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// They do (`MAP_SHARED`).
    Shared,
    /// They stay in this process (`MAP_PRIVATE`).
    Private,
}

/// A mapping of the first bytes of a file, readable and writable.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<std::ffi::c_void>,
    len: usize,
}

impl Mapping {
    /// Maps `len` bytes of `file`.
    pub fn new(file: &File, len: usize, sharing: Sharing) -> Self {
        let flags = match sharing {
            Sharing::Shared => MapFlags::MAP_SHARED,
            Sharing::Private => MapFlags::MAP_PRIVATE,
        };
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let size = NonZeroUsize::new(len).expect("a mapping is not empty");
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let start = unsafe { mmap(None, size, protection, flags, file, 0) }.unwrap();
        Self { start, len }
    }

    /// Copies `data` into the mapping at `offset`.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        assert!(offset + data.len() <= self.len, "outside the mapping");
        for (place, byte) in (offset..).zip(data) {
            // SAFETY: inside the mapping, which lives until drop. Volatile, because the file may
            // be read or written through other ways at the same time.
            unsafe { self.start.cast::<u8>().add(place).write_volatile(*byte) };
        }
    }

    /// Copies `len` bytes at `offset` out of the mapping.
    pub fn read(&self, offset: usize, len: usize) -> Vec<u8> {
        assert!(offset + len <= self.len, "outside the mapping");
        // SAFETY: as in `write`.
        let byte = |place| unsafe { self.start.cast::<u8>().add(place).read_volatile() };
        (offset..offset + len).map(byte).collect()
    }

    /// Waits until what was written is in the file (`msync`, `MS_SYNC`).
    pub fn sync(&self) {
        // SAFETY: the whole of a living mapping.
        unsafe { msync(self.start, self.len, MsFlags::MS_SYNC) }.unwrap();
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, unmapped only here, and no reference into it was handed out.
        unsafe { munmap(self.start, self.len) }.unwrap();
    }
}
