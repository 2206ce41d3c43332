//! Many programs in one mount at the same time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

use keyfold_tests::{Seeded, Vault, pattern, shell};

#[test]
fn parallel_writers_of_one_file_each_keep_their_own_region() {
    const REGION: usize = 777_777;
    let vault = Vault::new();
    let mount = vault.mount();
    let file = File::create(mount.join("shared")).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..6_usize {
            let file = &file;
            scope.spawn(move || {
                let content = pattern(writer as u64, REGION);
                for (piece, data) in content.chunks(10_007).enumerate() {
                    file.write_all_at(data, (writer * REGION + piece * 10_007) as u64)
                        .unwrap();
                }
            });
        }
    });
    let expect = |content: Vec<u8>| {
        assert_eq!(content.len(), 6 * REGION);
        for (writer, region) in content.chunks(REGION).enumerate() {
            assert!(
                region == pattern(writer as u64, REGION),
                "region of writer {writer}"
            );
        }
    };
    expect(fs::read(mount.join("shared")).unwrap());
    drop(file);
    mount.unmount();
    let mount = vault.mount();
    expect(fs::read(mount.join("shared")).unwrap());
}

#[test]
fn a_reader_sees_each_small_write_whole_or_not_at_all() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("record");
    fs::write(&path, [0; 4096]).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            for number in 0..4000_u32 {
                file.write_all_at(&[number as u8; 4096], 0).unwrap();
            }
            done.store(true, Ordering::SeqCst);
        });
        for _ in 0..2 {
            scope.spawn(|| {
                // O_DIRECT asks the daemon each time; its buffer is one block of a big allocation.
                let dd = "dd if=record of=/dev/stdout bs=4k count=1 iflag=direct status=none";
                while !done.load(Ordering::SeqCst) {
                    let distinct = format!("{dd} | od -An -v -tx1 -w1 | sort -u | wc -l");
                    assert_eq!(
                        shell(mount.path(), &distinct),
                        "1",
                        "a mixture of two writes"
                    );
                }
            });
        }
    });
}

#[test]
fn parallel_processes_build_and_remove_trees_side_by_side() {
    let vault = Vault::new();
    let mount = vault.mount();
    let script = "
        work() {
            for round in 1 2 3; do
                mkdir -p w$1/a/b; for n in $(seq 60); do
                    head -c $((n * 97)) /dev/zero >w$1/a/b/$n; ln w$1/a/b/$n w$1/l$n
                    mv w$1/a/b/$n w$1/a/m$n
                done
                test $(find w$1 -type f | wc -l) = 120; rm -r w$1
            done
            echo done >result$1
        }
        for w in 1 2 3 4 5 6; do work $w & done; wait
        cat result* | wc -l
    ";
    assert_eq!(shell(mount.path(), script), "6");
    mount.unmount();
    vault.check();
}

#[test]
fn syncing_does_not_disturb_writers_or_lose_their_data() {
    let vault = Vault::new();
    let mount = vault.mount();
    let mut random = Seeded::new();
    let seeds: Vec<u64> = (0..4).map(|_| random.next_u64()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = seeds
            .iter()
            .enumerate()
            .map(|(writer, seed)| {
                let path = mount.join(format!("file-{writer}"));
                scope.spawn(move || {
                    let content = pattern(*seed, 6_000_000);
                    let file = File::create(path).unwrap();
                    for (piece, data) in content.chunks(50_000).enumerate() {
                        file.write_all_at(data, piece as u64 * 50_000).unwrap();
                        if piece % 17 == 0 {
                            file.sync_data().unwrap();
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                File::open(mount.path()).unwrap().sync_all().unwrap();
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::SeqCst);
    });
    for (writer, seed) in seeds.iter().enumerate() {
        let read = fs::read(mount.join(format!("file-{writer}"))).unwrap();
        assert!(read == pattern(*seed, 6_000_000), "file {writer}");
    }
    mount.unmount();
    vault.check();
}

#[test]
fn of_many_creators_of_one_name_exactly_one_wins() {
    let vault = Vault::new();
    let mount = vault.mount();
    for round in 0..40 {
        let path = mount.join(format!("name-{round}"));
        let winners = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| OpenOptions::new().write(true).create_new(true).open(&path))
                })
                .collect();
            tries
                .into_iter()
                .filter_map(|creator| creator.join().unwrap().ok())
                .count()
        });
        assert_eq!(winners, 1, "round {round}");
    }
}
