//! A volume keeps what was put into it, over remounts and crashes.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfold_crypto::{Password, Rounds};
use keyfold_fs::error::FsError;
use keyfold_fs::vault::{Access, CreateOptions, KdfCost, LockedVault, Secret, UnlockedVault};
use keyfold_fs::vfs::*;
use keyfold_fs::volume::{Volume, VolumeOptions};

struct Bench {
    dir: tempfile::TempDir,
    volume: Option<Arc<Volume>>,
}

const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0o022,
};
const RW: OpenMode = OpenMode {
    read: true,
    write: true,
    append: false,
    truncate: false,
    sync: false,
};

#[derive(Debug)]
struct Failed(#[expect(dead_code, reason = "printed by unwrap")] String);
impl From<keyfold_fs::vault::VaultError> for Failed {
    fn from(e: keyfold_fs::vault::VaultError) -> Self {
        Self(e.to_string())
    }
}

/// Nothing is committed that no test asks for.
fn volume_options() -> VolumeOptions {
    VolumeOptions {
        commit_interval: Duration::from_hours(1),
        ..VolumeOptions::default()
    }
}

fn password() -> Password {
    Password::new("correct horse".to_owned())
}

impl Bench {
    fn new() -> Self {
        Self::with(volume_options())
    }

    fn with(options: VolumeOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let creating = CreateOptions {
            password: password(),
            cost: KdfCost::Fixed(Rounds::new(600_000).unwrap()),
        };
        let (vault, _) = UnlockedVault::create(&dir.path().join("v"), &creating, |v| {
            Volume::format(v).map_err(|e| Failed(e.to_string()))
        })
        .unwrap();
        let volume = Volume::open(vault, options).unwrap();
        Self {
            dir,
            volume: Some(volume),
        }
    }

    fn v(&self) -> &Volume {
        self.volume.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.volume.take();
        let vault = LockedVault::open(&self.dir.path().join("v"), Access::ReadWrite)
            .unwrap()
            .unlock(&Secret::Password(password()))
            .unwrap();
        self.volume = Some(Volume::open(vault, volume_options()).unwrap());
    }

    fn remount(&mut self) {
        self.v().close().unwrap();
        self.reopen();
    }

    fn crash(&mut self) {
        self.v().crash();
        self.reopen();
    }

    fn create(&self, name: &str) -> (Ino, Handle) {
        let at = Place {
            parent: Ino::ROOT,
            name: Name::new(name.as_bytes()).unwrap(),
        };
        let (e, h) = self.v().create(&CALLER, at, 0o644, RW).unwrap();
        (e.attr.ino, h)
    }

    fn open(&self, name: &str) -> (Ino, Handle) {
        let at = Place {
            parent: Ino::ROOT,
            name: Name::new(name.as_bytes()).unwrap(),
        };
        let ino = self.v().lookup(at).unwrap().attr.ino;
        (ino, self.v().open(ino, RW).unwrap())
    }

    fn read_all(&self, name: &str) -> Vec<u8> {
        let (ino, handle) = self.open(name);
        let size = self.v().getattr(ino).unwrap().size as usize;
        let mut buf = vec![0; size];
        let n = self
            .v()
            .read(
                FileRange {
                    ino,
                    handle,
                    offset: 0,
                },
                &mut buf,
            )
            .unwrap();
        assert_eq!(n, size);
        self.v().release(ino, handle);
        buf
    }
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u64 * 31 + (i as u64 >> 8) * 7) as u8 ^ seed)
        .collect()
}

#[test]
fn content_survives_a_remount() {
    let mut b = Bench::new();
    let files = [
        ("empty", 0),
        ("small", 100),
        ("edge", 4096),
        ("big", 3_000_001),
    ];
    for (name, len) in files {
        let (ino, handle) = b.create(name);
        let data = pattern(len, 1);
        for (i, part) in data.chunks(100_000).enumerate() {
            let offset = i as u64 * 100_000;
            b.v()
                .write(
                    FileRange {
                        ino,
                        handle,
                        offset,
                    },
                    part,
                )
                .unwrap();
        }
        b.v().release(ino, handle);
    }
    for round in 0..3 {
        for (name, len) in files {
            assert_eq!(b.read_all(name), pattern(len, 1), "{name} in round {round}");
        }
        b.remount();
    }
}

#[test]
fn what_fsync_confirmed_survives_a_crash() {
    let mut b = Bench::new();
    let (ino, handle) = b.create("f");
    for i in 0..50u64 {
        b.v()
            .write(
                FileRange {
                    ino,
                    handle,
                    offset: i * 5000,
                },
                &pattern(5000, i as u8),
            )
            .unwrap();
        b.v().fsync(ino, handle).unwrap();
    }
    b.v()
        .write(
            FileRange {
                ino,
                handle,
                offset: 0,
            },
            &[9; 100],
        )
        .unwrap();
    b.crash();
    let data = b.read_all("f");
    assert_eq!(data.len(), 250_000);
    for i in 0..50usize {
        assert_eq!(data[i * 5000..(i + 1) * 5000], pattern(5000, i as u8));
    }
}

#[test]
fn commits_that_are_hurried_begin_no_image() {
    let b = Bench::with(VolumeOptions {
        rows_limit: 1 << 20,
        image_interval: Some(Duration::from_hours(1)),
        ..volume_options()
    });
    let before = b.v().status().commit;
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut made = 0;
    while b.v().status().commit < before + 5 {
        assert!(Instant::now() < deadline, "commits were not hurried");
        let (ino, handle) = b.create(&format!("file {made}"));
        b.v().release(ino, handle);
        made += 1;
    }
    assert!(b.v().images().is_empty());
}

/// As after `rm -rf`: what one program syncs does not wait until the database has all of it.
#[test]
fn the_journal_takes_many_changes_of_names_at_once() {
    let mut b = Bench::new();
    let name = |i: usize| format!("file {i}");
    for i in 0..3000 {
        let (ino, handle) = b.create(&name(i));
        let start = FileRange {
            ino,
            handle,
            offset: 0,
        };
        b.v().write(start, &pattern(100, i as u8)).unwrap();
        b.v().release(ino, handle);
    }
    b.v().sync().unwrap();
    let commit = b.v().status().commit;
    for i in (0..3000).filter(|i| i % 10 != 0) {
        let name = name(i);
        b.v()
            .unlink(Place {
                parent: Ino::ROOT,
                name: Name::new(name.as_bytes()).unwrap(),
            })
            .unwrap();
    }
    for new in ["first", "second"] {
        let (ino, handle) = b.create(new);
        let start = FileRange {
            ino,
            handle,
            offset: 0,
        };
        b.v().write(start, new.as_bytes()).unwrap();
        b.v().fsync(ino, handle).unwrap();
    }
    assert_eq!(b.v().status().commit, commit, "the database was not asked");
    b.crash();
    for i in 0..3000 {
        let name = name(i);
        let at = Place {
            parent: Ino::ROOT,
            name: Name::new(name.as_bytes()).unwrap(),
        };
        if i % 10 == 0 {
            assert_eq!(b.read_all(&name), pattern(100, i as u8));
        } else {
            assert_eq!(b.v().lookup(at).unwrap_err(), FsError::NotFound, "{name}");
        }
    }
    for new in ["first", "second"] {
        assert_eq!(b.read_all(new), new.as_bytes());
    }
    b.remount();
    assert_eq!(b.read_all("second"), b"second");
}

#[test]
fn blocks_that_the_journal_kept_are_moved_to_a_segment() {
    let mut b = Bench::new();
    for name in ["kept", "changed", "removed"] {
        let (ino, handle) = b.create(name);
        let start = FileRange {
            ino,
            handle,
            offset: 0,
        };
        b.v().write(start, &pattern(40_960, 1)).unwrap();
        b.v().fsync(ino, handle).unwrap();
        b.v().release(ino, handle);
    }
    b.crash();
    let status = b.v().status();
    assert_eq!((status.live_bytes, status.data_bytes), (0, 3 * 40_960));
    let (ino, handle) = b.open("changed");
    let start = FileRange {
        ino,
        handle,
        offset: 0,
    };
    b.v().write(start, &pattern(4096, 2)).unwrap();
    b.v().release(ino, handle);
    b.v()
        .unlink(Place {
            parent: Ino::ROOT,
            name: Name::new(b"removed").unwrap(),
        })
        .unwrap();
    b.v().sync().unwrap();
    let status = b.v().status();
    assert_eq!(
        (status.live_bytes, status.data_bytes),
        (2 * 40_960, 2 * 40_960)
    );
    let commit = status.commit;
    b.v().sync().unwrap();
    assert_eq!(b.v().status().commit, commit, "nothing was left to move");
    b.crash();
    assert_eq!(b.read_all("kept"), pattern(40_960, 1));
    let changed = b.read_all("changed");
    assert_eq!(changed[..4096], pattern(4096, 2));
    assert_eq!(changed[4096..], pattern(40_960, 1)[4096..]);
}

#[test]
fn removed_content_gives_its_space_back() {
    let mut b = Bench::new();
    let (ino, handle) = b.create("f");
    b.v()
        .write(
            FileRange {
                ino,
                handle,
                offset: 0,
            },
            &pattern(20 << 20, 3),
        )
        .unwrap();
    b.v().release(ino, handle);
    b.v().forget(ino, 1);
    b.v().sync().unwrap();
    assert_eq!(b.v().status().live_bytes, 20 << 20);
    b.v()
        .unlink(Place {
            parent: Ino::ROOT,
            name: Name::new(b"f").unwrap(),
        })
        .unwrap();
    b.remount();
    b.v().sync().unwrap();
    let status = b.v().status();
    assert_eq!(
        (status.live_bytes, status.inodes, status.data_bytes),
        (0, 1, 0)
    );
    b.remount();
    assert_eq!(b.v().status().segments, 0);
}

#[test]
fn the_log_of_the_database_stays_bounded_under_fsync_alone() {
    let b = Bench::new();
    let (ino, handle) = b.create("f");
    let log = b.dir.path().join("v/meta.db-wal");
    for round in 0..60 {
        for part in 0..20 {
            let (filler, open) = b.create(&format!("{round}-{part}"));
            let value = pattern(60_000, part);
            let mode = XattrMode::Set;
            b.v()
                .setxattr(filler, b"user.filler", &value, mode)
                .unwrap();
            b.v().release(filler, open);
        }
        b.v().fsync(ino, handle).unwrap();
        let length = std::fs::metadata(&log).unwrap().len();
        assert!(length < 32 << 20, "{length} bytes in round {round}");
    }
}

/// Blocks of which each has a map leaf of its own, as long as a leaf is.
#[test]
fn what_waits_for_a_commit_stays_bounded_under_random_writes_into_a_sparse_file() {
    const LIMIT: usize = 4 << 20;
    const LEAF: usize = 64 * 60;
    const BLOCKS: usize = 6000;
    let b = Bench::with(VolumeOptions {
        rows_limit: LIMIT,
        ..volume_options()
    });
    let (ino, handle) = b.create("sparse");
    let at = |number: usize| FileRange {
        ino,
        handle,
        offset: (number as u64 * 64 + 63) * 4096,
    };
    let log = b.dir.path().join("v/meta.db-wal");
    let before = b.v().status().commit;
    b.v().write(at(BLOCKS), &[1]).unwrap();
    for number in 0..BLOCKS {
        let block = [number as u8; 4096];
        b.v().write(at(number), &block).unwrap();
        let length = std::fs::metadata(&log).unwrap().len();
        let bound = (8 << 20) + 3 * LIMIT as u64;
        assert!(length < bound, "{length} bytes at block {number}");
    }
    let commits = b.v().status().commit - before;
    assert!(
        commits as usize >= BLOCKS * LEAF / LIMIT,
        "nobody asked for one of the {commits} commits"
    );
    for number in 0..BLOCKS {
        let mut read = [0; 4096];
        assert_eq!(b.v().read(at(number), &mut read).unwrap(), 4096);
        assert!(read == [number as u8; 4096], "block {number}");
    }
}

#[test]
fn allocating_what_is_there_marks_a_file_as_changed() {
    let bench = Bench::new();
    let (ino, handle) = bench.create("f");
    let at = |offset| FileRange {
        ino,
        handle,
        offset,
    };
    bench.v().write(at(0), &[1; 10_000]).unwrap();
    let long_ago = SetAttr {
        mtime: Some(SetTime::At(Timestamp { secs: 1, nanos: 0 })),
        ..SetAttr::default()
    };
    let modes = [
        (0, Allocate::Extend),
        (0, Allocate::KeepSize),
        (20_000, Allocate::PunchHole),
    ];
    for (offset, mode) in modes {
        bench.v().setattr(ino, None, &long_ago).unwrap();
        bench.v().fallocate(at(offset), 5000, mode).unwrap();
        let attr = bench.v().getattr(ino).unwrap();
        assert!(attr.mtime.secs > 1, "{mode:?}");
        assert_eq!(attr.size, 10_000, "{mode:?}");
    }
}
