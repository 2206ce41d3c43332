//! What single operations of an open volume cost, without any front end.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark fails by panicking"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use keyfold_crypto::{Password, Rounds};
use keyfold_fs::vault::{CreateOptions, KdfCost, UnlockedVault, VaultError};
use keyfold_fs::vfs::{Caller, FileRange, Handle, Ino, Name, OpenMode, Place, Vfs};
use keyfold_fs::volume::{Volume, VolumeOptions};

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
const BLOCK: u64 = 4096;

struct Bench {
    _dir: tempfile::TempDir,
    volume: Arc<Volume>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
        let password = Password::new("bench".to_owned());
        let cost = KdfCost::Fixed(Rounds::new(600_000).unwrap());
        let options = CreateOptions { password, cost };
        let format = |v: &UnlockedVault| -> Result<(), VaultError> {
            Volume::format(v).unwrap();
            Ok(())
        };
        let (vault, _) = UnlockedVault::create(&dir.path().join("v"), &options, format).unwrap();
        let volume = Volume::open(vault, VolumeOptions::default()).unwrap();
        Self { _dir: dir, volume }
    }

    fn create(&self, name: &str) -> (Ino, Handle) {
        let at = Place {
            parent: Ino::ROOT,
            name: Name::new(name.as_bytes()).unwrap(),
        };
        let (entry, handle) = self.volume.create(&CALLER, at, 0o644, RW).unwrap();
        (entry.attr.ino, handle)
    }

    fn file_of(&self, name: &str, blocks: u64) -> (Ino, Handle) {
        let (ino, handle) = self.create(name);
        let data = vec![7; 1 << 20];
        for offset in (0..blocks * BLOCK).step_by(data.len()) {
            self.volume
                .write(
                    FileRange {
                        ino,
                        handle,
                        offset,
                    },
                    &data,
                )
                .unwrap();
        }
        self.volume.sync().unwrap();
        (ino, handle)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.volume.close().unwrap();
    }
}

/// A cheap sequence of block numbers that jumps about.
fn scattered(i: u64, blocks: u64) -> u64 {
    i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20 & (blocks - 1)
}

fn names(c: &mut Criterion) {
    let b = Bench::new();
    let mut n = 0;
    c.bench_function("create_write_release_4k", |bench| {
        bench.iter(|| {
            let (ino, handle) = b.create(&format!("f{n}"));
            b.volume
                .write(
                    FileRange {
                        ino,
                        handle,
                        offset: 0,
                    },
                    &[1; 4096],
                )
                .unwrap();
            b.volume.release(ino, handle);
            n += 1;
        });
    });
    b.volume.sync().unwrap();
    let mut i = 0;
    c.bench_function("lookup", |bench| {
        bench.iter(|| {
            i = (i + 7919) % n;
            let name = format!("f{i}");
            let at = Place {
                parent: Ino::ROOT,
                name: Name::new(name.as_bytes()).unwrap(),
            };
            b.volume.lookup(at).unwrap()
        });
    });
}

fn blocks(c: &mut Criterion) {
    const BLOCKS: u64 = 65_536;
    let b = Bench::new();
    let (ino, handle) = b.file_of("big", BLOCKS);
    let mut buf = vec![0; 1 << 20];
    let mut i = 0;
    c.bench_function("read_4k_random", |bench| {
        bench.iter(|| {
            i += 1;
            let offset = scattered(i, BLOCKS) * BLOCK;
            b.volume
                .read(
                    FileRange {
                        ino,
                        handle,
                        offset,
                    },
                    &mut buf[..4096],
                )
                .unwrap()
        });
    });
    c.bench_function("read_1m_sequential", |bench| {
        bench.iter(|| {
            i = (i + 1) % (BLOCKS / 256);
            b.volume
                .read(
                    FileRange {
                        ino,
                        handle,
                        offset: i << 20,
                    },
                    &mut buf,
                )
                .unwrap()
        });
    });
    c.bench_function("write_4k_random", |bench| {
        bench.iter(|| {
            i += 1;
            let offset = scattered(i, BLOCKS) * BLOCK;
            b.volume
                .write(
                    FileRange {
                        ino,
                        handle,
                        offset,
                    },
                    &[3; 4096],
                )
                .unwrap()
        });
    });
    c.bench_function("write_4k_fsync", |bench| {
        bench.iter_custom(|count| {
            b.volume.sync().unwrap();
            let start = Instant::now();
            for _ in 0..count {
                i += 1;
                let offset = scattered(i, 16_384) * BLOCK;
                b.volume
                    .write(
                        FileRange {
                            ino,
                            handle,
                            offset,
                        },
                        &[3; 4096],
                    )
                    .unwrap();
                b.volume.fsync(ino, handle).unwrap();
            }
            start.elapsed()
        });
    });
}

criterion_group! {
    name = volume;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3));
    targets = names, blocks
}
criterion_main!(volume);
