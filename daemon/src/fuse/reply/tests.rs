//! Replies laid out as `linux/fuse.h` says.

use keyfold_fs::vfs::{Attr, Cookie, DirEntry, FileKind, Handle, Ino, Listing, Stats, Timestamp};
use nix::errno::Errno;

use super::{Reply, device_number};
use crate::fuse::errno::Failure;
use crate::fuse::front::{Found, Opened, Treatment};
use crate::fuse::request::{Page, Unique};

fn stamp(secs: i64, nanos: u32) -> Timestamp {
    Timestamp { secs, nanos }
}

fn attr() -> Attr {
    Attr {
        ino: Ino(42),
        kind: FileKind::Regular,
        perm: 0o4751,
        nlink: 3,
        uid: 1000,
        gid: 1001,
        rdev: 0x1234_5678,
        size: 1 << 33,
        blocks: 17,
        atime: stamp(-1, 500_000_000),
        mtime: stamp(i64::MIN, 0),
        ctime: stamp(i64::MAX, 999_999_999),
        btime: stamp(-2_208_988_800, 1),
    }
}

/// The message made by `job`, without the head, of which all is checked here.
fn sent(job: impl FnOnce(&mut Reply<'_>)) -> Vec<u8> {
    Reply::lent(|reply| {
        job(reply);
        let message = reply.message(Unique(77), Ok(()));
        assert_eq!(u32_at(message, 0) as usize, message.len());
        assert_eq!((u32_at(message, 4), u64_at(message, 8)), (0, 77));
        message[16..].to_vec()
    })
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    u64_at(bytes, at).cast_signed()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Checks `fuse_attr`.
#[track_caller]
fn assert_attr(bytes: &[u8]) {
    assert_eq!(bytes.len(), 88);
    assert_eq!((u64_at(bytes, 0), u64_at(bytes, 8)), (42, 1 << 33));
    assert_eq!(u64_at(bytes, 16), 17);
    assert_eq!((i64_at(bytes, 24), u32_at(bytes, 48)), (-1, 500_000_000));
    assert_eq!((i64_at(bytes, 32), u32_at(bytes, 52)), (i64::MIN, 0));
    let ctime = (i64_at(bytes, 40), u32_at(bytes, 56));
    assert_eq!(ctime, (i64::MAX, 999_999_999));
    assert_eq!((u32_at(bytes, 60), u32_at(bytes, 64)), (0o10_4751, 3));
    assert_eq!((u32_at(bytes, 68), u32_at(bytes, 72)), (1000, 1001));
    assert_eq!(
        (u32_at(bytes, 76), u32_at(bytes, 80)),
        (0x1234_5678, 65_536)
    );
    assert_eq!(u32_at(bytes, 84), 0);
}

/// Checks `fuse_entry_out`.
#[track_caller]
fn assert_entry(bytes: &[u8]) {
    assert_eq!(bytes.len(), 128);
    assert_eq!((u64_at(bytes, 0), u64_at(bytes, 8)), (42, 0));
    assert_eq!((u64_at(bytes, 16), u64_at(bytes, 24)), (600, 600));
    assert_eq!(u64_at(bytes, 32), 0);
    assert_attr(&bytes[40..]);
}

/// Checks `fuse_open_out`.
#[track_caller]
fn assert_opened(bytes: &[u8], flags: u32) {
    assert_eq!(bytes.len(), 16);
    assert_eq!((u64_at(bytes, 0), u32_at(bytes, 8)), (5, flags));
    assert_eq!(u32_at(bytes, 12), 0);
}

fn opened(treatment: Treatment) -> Opened {
    Opened {
        handle: Handle(5),
        treatment,
    }
}

#[test]
fn attributes_and_entries() {
    let out = sent(|reply| reply.attr(&attr()));
    assert_eq!((u64_at(&out, 0), u64_at(&out, 8)), (600, 0));
    assert_attr(&out[16..]);
    assert_entry(&sent(|reply| reply.entry(&attr())));
    assert_entry(&sent(|reply| reply.found(&Found::Entry(attr()))));
    let nothing = sent(|reply| reply.found(&Found::Nothing));
    assert_eq!(nothing.len(), 128);
    assert_eq!((u64_at(&nothing, 0), u64_at(&nothing, 16)), (0, 600));
    assert!(nothing[24..].iter().all(|byte| *byte == 0));
}

#[test]
fn opened_files_and_how_to_treat_them() {
    for (treatment, flags) in [
        (Treatment::Cached, 0b10),
        (Treatment::CachedReadOnly, 0b10_0010),
        (Treatment::Replaced, 0),
        (Treatment::Listing, 0b1010),
        (Treatment::Direct, 0b1),
    ] {
        assert_opened(&sent(|reply| reply.opened(&opened(treatment))), flags);
    }
    let created = sent(|reply| reply.created(&(attr(), opened(Treatment::Cached))));
    assert_entry(&created[..128]);
    assert_opened(&created[128..], 0b10);
}

#[test]
fn extended_attributes_with_the_time_of_birth() {
    let out = sent(|reply| reply.statx(&attr()));
    assert_eq!(out.len(), 288);
    assert_eq!((u64_at(&out, 0), u32_at(&out, 8)), (600, 0));
    assert_eq!((u32_at(&out, 32), u32_at(&out, 36)), (0xfff, 65_536));
    assert_eq!((u32_at(&out, 48), u32_at(&out, 52)), (3, 1000));
    assert_eq!((u32_at(&out, 56), u32_at(&out, 60)), (1001, 0o10_4751));
    assert_eq!((u64_at(&out, 64), u64_at(&out, 72)), (42, 1 << 33));
    assert_eq!(u64_at(&out, 80), 17);
    let time = |at| (i64_at(&out, at), u32_at(&out, at + 8));
    assert_eq!(time(96), (-1, 500_000_000));
    assert_eq!(time(112), (-2_208_988_800, 1));
    assert_eq!(time(128), (i64::MAX, 999_999_999));
    assert_eq!(time(144), (i64::MIN, 0));
    assert_eq!((u32_at(&out, 160), u32_at(&out, 164)), (0x456, 0x12378));
    assert!(out[168..].iter().all(|byte| *byte == 0));
}

#[test]
fn device_numbers_have_twelve_bits_of_major_and_twenty_of_minor() {
    assert_eq!(device_number(0x103), (1, 3));
    assert_eq!(device_number(u32::MAX), (0xfff, 0xf_ffff));
}

#[test]
fn totals_of_the_volume() {
    let stats = Stats {
        block_size: 4096,
        blocks: 100,
        free: 60,
        available: 50,
        files: 7,
        files_free: 8,
    };
    let out = sent(|reply| reply.statfs(&stats));
    assert_eq!(out.len(), 80);
    let words: Vec<u64> = (0..5).map(|n| u64_at(&out, n * 8)).collect();
    assert_eq!(words, [100, 60, 50, 15, 8]);
    let words: Vec<u32> = (10..14).map(|n| u32_at(&out, n * 4)).collect();
    assert_eq!(words, [4096, 255, 4096, 0]);
    assert_eq!(out[56..], [0; 24]);
}

#[test]
fn counts_and_positions() {
    let written = sent(|reply| reply.written(4096));
    assert_eq!((u32_at(&written, 0), u32_at(&written, 4)), (4096, 0));
    let offset = sent(|reply| reply.offset(1 << 40));
    assert_eq!((u64_at(&offset, 0), offset.len()), (1 << 40, 8));
}

#[test]
fn data_is_as_much_as_was_read() {
    let read = |buffer: &mut [u8]| {
        assert_eq!(buffer.len(), 10);
        buffer[..3].copy_from_slice(b"abc");
        Ok(3)
    };
    assert_eq!(sent(|reply| reply.fill(10, read).unwrap()), b"abc");
    assert_eq!(sent(|reply| reply.data(b"target")), b"target");
    assert_eq!(sent(|_| {}), b"");
}

#[test]
fn values_fit_or_are_refused() {
    let size = sent(|reply| reply.value(b"value", 0).unwrap());
    assert_eq!((u32_at(&size, 0), size.len()), (5, 8));
    assert_eq!(sent(|reply| reply.value(b"value", 5).unwrap()), b"value");
    let refused = Reply::lent(|reply| reply.value(b"value", 4));
    assert_eq!(refused, Err(Failure::Front(Errno::ERANGE)));
}

#[test]
fn a_failure_sends_nothing_else() {
    Reply::lent(|reply| {
        reply.attr(&attr());
        let message = reply.message(Unique(77), Err(Errno::ENOENT));
        assert_eq!(message.len(), 16);
        assert_eq!((u32_at(message, 0), u64_at(message, 8)), (16, 77));
        assert_eq!(u32_at(message, 4).cast_signed(), -libc::ENOENT);
    });
    assert_eq!(sent(|_| {}), b"");
}

#[test]
fn a_listing_has_records_of_eight_bytes_and_ends_when_it_is_full() {
    let entry = |name| DirEntry {
        name,
        ino: Ino(42),
        kind: FileKind::Regular,
        cookie: Cookie(9),
    };
    let page = |size| Page {
        handle: Handle(5),
        from: Cookie::START,
        size,
    };
    let out = sent(|reply| {
        let page = page(63);
        assert_eq!(reply.listed(&page, &entry(b"five5")), Listing::Continue);
        assert_eq!(reply.listed(&page, &entry(b"x")), Listing::Full);
    });
    assert_eq!(out.len(), 32);
    assert_eq!((u64_at(&out, 0), u64_at(&out, 8)), (42, 9));
    assert_eq!((u32_at(&out, 16), u32_at(&out, 20)), (5, 8));
    assert_eq!(&out[24..], b"five5\0\0\0");
    let out = sent(|reply| {
        let page = page(2 * 160 + 1);
        let name = b"eight888";
        for listing in [Listing::Continue, Listing::Continue, Listing::Full] {
            assert_eq!(reply.listed_plus(&page, &entry(name), &attr()), listing);
        }
    });
    assert_eq!(out.len(), 2 * 160);
    for record in out.chunks(160) {
        assert_entry(&record[..128]);
        assert_eq!((u64_at(record, 128), u64_at(record, 136)), (42, 9));
        assert_eq!((u32_at(record, 144), u32_at(record, 148)), (8, 8));
        assert_eq!(&record[152..], b"eight888");
    }
}
