//! What is read ahead is what was written, or an error.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

#[path = "check/bench.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod bench;
#[path = "check/sound.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod sound;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::{FileRange, Ino, Vfs};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use bench::{Bench, RW, pattern};

const MIB: usize = 1 << 20;
/// A request of the kernel for a program that reads from end to end.
const REQUEST: usize = 256 << 10;

/// The kernel keeps nothing of the segments.
fn forget_cached(bench: &Bench) {
    bench.v().sync().unwrap();
    for segment in std::fs::read_dir(bench.path("segments")).unwrap() {
        let file = File::open(segment.unwrap().path()).unwrap();
        file.sync_all().unwrap();
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    }
}

/// Reads a file from end to end, up to the first error.
fn read(bench: &Bench, ino: Ino) -> (Vec<u8>, Option<FsError>) {
    let handle = bench.v().open(ino, RW).unwrap();
    let mut data = Vec::new();
    let mut buf = vec![0; REQUEST];
    let error = loop {
        let range = FileRange {
            ino,
            handle,
            offset: data.len() as u64,
        };
        match bench.v().read(range, &mut buf) {
            Ok(0) => break None,
            Ok(count) => data.extend_from_slice(&buf[..count]),
            Err(error) => break Some(error),
        }
    };
    bench.v().release(ino, handle);
    (data, error)
}

/// Whether threads of this process read ahead.
fn reads_ahead() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut names = tasks.filter_map(|t| std::fs::read(t.unwrap().path().join("comm")).ok());
    names.any(|name| name.starts_with(b"kf-ahead"))
}

#[test]
fn a_file_read_from_end_to_end_is_what_was_written() {
    let bench = Bench::new();
    let content = pattern(70 * MIB + 1234, 1);
    let ino = bench.file(Ino::ROOT, "long", &content);
    for way in ["from the disk", "once more"] {
        forget_cached(&bench);
        let (found, error) = read(&bench, ino);
        assert_eq!(error, None, "{way}");
        assert!(found == content, "{way}: other bytes");
    }
    assert!(reads_ahead());
    assert!(read(&bench, ino).0 == content, "from the page cache");
}

#[test]
fn what_was_read_ahead_before_it_was_written_is_read_anew() {
    let bench = Bench::new();
    // Ends amid what is read at once; what comes next is written behind it.
    let first = bench.file(Ino::ROOT, "first", &pattern(3 * MIB, 1));
    forget_cached(&bench);
    assert!(read(&bench, first).0 == pattern(3 * MIB, 1));
    let second = bench.file(Ino::ROOT, "second", &pattern(5 * MIB, 2));
    forget_cached(&bench);
    let (found, error) = read(&bench, second);
    assert_eq!(error, None);
    assert!(found == pattern(5 * MIB, 2), "other bytes");
    assert_eq!(bench.v().status().security_events, 0);
    assert!(reads_ahead());
}

#[test]
fn a_block_altered_on_disk_is_refused_although_it_was_read_ahead() {
    let mut bench = Bench::new();
    let content = pattern(8 * MIB, 1);
    let ino = bench.file(Ino::ROOT, "long", &content);
    forget_cached(&bench);
    let path = bench.segment();
    let segment = OpenOptions::new().read(true).write(true).open(path);
    let segment = segment.unwrap();
    let mut ahead = 0;
    // Where in the file a block of the segment lies is up to those who stored it.
    for at in (0..8).map(|n| (n * MIB + 17) as u64) {
        let mut byte = [0];
        segment.read_exact_at(&mut byte, at).unwrap();
        segment.write_all_at(&[byte[0] ^ 1], at).unwrap();
        bench.remount();
        forget_cached(&bench);
        let (found, error) = read(&bench, ino);
        assert_eq!(error, Some(FsError::Tampered(ino)));
        assert_eq!(bench.v().status().security_events, 1);
        assert!(reads_ahead());
        assert!(found == content[..found.len()], "other bytes");
        ahead += usize::from(found.len() > REQUEST);
        segment.write_all_at(&byte, at).unwrap();
    }
    assert!(ahead > 0, "none was met on the way");
}
