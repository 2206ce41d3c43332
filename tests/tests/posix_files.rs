//! Content of regular files: sizes, holes, allocation, copying, appending, direct and synchronous
//! writes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use keyfold_tests::{Vault, pattern, shell, until};
use rustix::fs::{FallocateFlags, OFlags, copy_file_range, fallocate};
use rustix::io::Errno;

const MIB: usize = 1 << 20;
const TIB: u64 = 1 << 40;

fn rw(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .unwrap()
}

fn flags(bits: OFlags) -> i32 {
    bits.bits().cast_signed()
}

fn data_at(file: &File, offset: u64) -> Option<u64> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(found) => Some(found),
        Err(Errno::NXIO) => None,
        Err(error) => panic!("SEEK_DATA at {offset}: {error}"),
    }
}

fn hole_at(file: &File, offset: u64) -> u64 {
    rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(offset)).unwrap()
}

#[test]
fn bytes_read_back_at_every_size_around_a_block_edge() {
    let vault = Vault::new();
    let mount = vault.mount();
    let sizes = [
        0,
        1,
        15,
        16,
        17,
        4095,
        4096,
        4097,
        8192,
        65_535,
        65_536,
        262_144,
        MIB,
        MIB + 1,
    ];
    for size in sizes {
        fs::write(
            mount.join(format!("size-{size}")),
            pattern(size as u64, size),
        )
        .unwrap();
    }
    for size in sizes {
        let path = mount.join(format!("size-{size}"));
        assert_eq!(fs::metadata(&path).unwrap().len(), size as u64);
        assert_eq!(
            fs::read(&path).unwrap(),
            pattern(size as u64, size),
            "{size} bytes"
        );
    }
    mount.unmount();
    let mount = vault.mount();
    for size in sizes {
        let read = fs::read(mount.join(format!("size-{size}"))).unwrap();
        assert_eq!(
            read,
            pattern(size as u64, size),
            "{size} bytes after a remount"
        );
    }
}

#[test]
fn overwriting_in_the_middle_changes_only_that_range() {
    let vault = Vault::new();
    let mount = vault.mount();
    let file = rw(&mount.join("file"));
    let mut expected = pattern(1, 3 * MIB);
    file.write_all_at(&expected, 0).unwrap();
    for (seed, offset, len) in [
        (2, 0, 1),
        (3, 4090, 12),
        (4, 1_000_001, 70_000),
        (5, 8192, 4096),
        (6, 3 * MIB - 1, 1),
    ] {
        let change = pattern(seed, len);
        file.write_all_at(&change, offset as u64).unwrap();
        expected[offset..offset + len].copy_from_slice(&change);
    }
    assert_eq!(fs::read(mount.join("file")).unwrap(), expected);
    file.sync_all().unwrap();
    shell(Path::new("/"), "echo 3 >/proc/sys/vm/drop_caches");
    assert_eq!(
        fs::read(mount.join("file")).unwrap(),
        expected,
        "read from the disk"
    );
}

#[test]
fn shrinking_and_growing_again_reads_as_zeros() {
    let vault = Vault::new();
    let mount = vault.mount();
    let file = rw(&mount.join("file"));
    file.write_all_at(&pattern(1, 100_000), 0).unwrap();
    file.set_len(5001).unwrap();
    file.set_len(90_000).unwrap();
    let read = fs::read(mount.join("file")).unwrap();
    assert_eq!(read.len(), 90_000);
    assert_eq!(read[..5001], pattern(1, 100_000)[..5001]);
    assert!(read[5001..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_sparse_file_shows_its_data_and_holes_to_seek() {
    let vault = Vault::new();
    let mount = vault.mount();
    let file = rw(&mount.join("sparse"));
    file.set_len(16 * MIB as u64).unwrap();
    assert_eq!(data_at(&file, 0), None, "a file of holes has no data");
    assert_eq!(hole_at(&file, 0), 0);
    file.write_all_at(&pattern(1, 8192), 4 * MIB as u64)
        .unwrap();
    let expect_layout = |when: &str| {
        assert_eq!(data_at(&file, 0), Some(4 * MIB as u64), "{when}");
        assert_eq!(
            hole_at(&file, 4 * MIB as u64),
            4 * MIB as u64 + 8192,
            "{when}"
        );
        assert_eq!(data_at(&file, 4 * MIB as u64 + 8192), None, "{when}");
    };
    expect_layout("while the data is in memory");
    file.sync_all().unwrap();
    expect_layout("when it is on the disk");
    assert_eq!(
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(TIB)),
        Err(Errno::NXIO)
    );
    let blocks = file.metadata().unwrap().blocks();
    assert!(
        (16..=64).contains(&blocks),
        "8 KiB of data occupy {blocks} sectors"
    );
}

#[test]
fn a_sparse_file_of_16_tib_holds_its_last_byte() {
    let vault = Vault::new();
    let mount = vault.mount();
    let file = rw(&mount.join("huge"));
    // ext4 ends 4 KiB earlier, so stay below both limits.
    let last = 16 * TIB - 8192;
    file.write_all_at(b"end", last).unwrap();
    assert_eq!(file.metadata().unwrap().len(), last + 3);
    let mut read = [0; 3];
    file.read_exact_at(&mut read, last).unwrap();
    assert_eq!(&read, b"end");
    assert_eq!(data_at(&file, 0).map(|at| at / 4096), Some(last / 4096));
    let error = file.set_len(17 * TIB).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::FBIG.raw_os_error()));
}

#[test]
fn fallocate_extends_punches_and_zeroes() {
    let vault = Vault::new();
    let mount = vault.mount();
    let file = rw(&mount.join("file"));
    let mut expected = pattern(1, 256 * 1024);
    file.write_all_at(&expected, 0).unwrap();

    fallocate(&file, FallocateFlags::empty(), 200 * 1024, 100 * 1024).unwrap();
    expected.resize(300 * 1024, 0);
    assert_eq!(
        file.metadata().unwrap().len(),
        300 * 1024,
        "mode 0 extends the size"
    );

    fallocate(&file, FallocateFlags::KEEP_SIZE, 400 * 1024, 4096).unwrap();
    assert_eq!(
        file.metadata().unwrap().len(),
        300 * 1024,
        "KEEP_SIZE keeps it"
    );

    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&file, punch, 10_000, 50_000).unwrap();
    expected[10_000..60_000].fill(0);
    assert_eq!(
        hole_at(&file, 0),
        12_288,
        "whole blocks inside became a hole"
    );
    assert_eq!(data_at(&file, 12_288), Some(57_344));

    fallocate(&file, FallocateFlags::ZERO_RANGE, 100_000, 30_000).unwrap();
    expected[100_000..130_000].fill(0);
    fallocate(&file, FallocateFlags::ZERO_RANGE, 299 * 1024, 8192).unwrap();
    expected[299 * 1024..].fill(0);
    expected.resize(307 * 1024, 0);
    assert_eq!(fs::read(mount.join("file")).unwrap(), expected);
    drop(file);
    mount.unmount();
    let mount = vault.mount();
    assert_eq!(
        fs::read(mount.join("file")).unwrap(),
        expected,
        "after a remount"
    );
}

#[test]
fn fallocate_modes_that_are_not_offered_say_so_and_change_nothing() {
    let vault = Vault::new();
    let mount = vault.mount();
    let file = rw(&mount.join("file"));
    let content = pattern(1, 64 * 1024);
    file.write_all_at(&content, 0).unwrap();
    // Punching without KEEP_SIZE is refused by every Linux filesystem.
    assert_eq!(
        fallocate(&file, FallocateFlags::PUNCH_HOLE, 0, 4096),
        Err(Errno::OPNOTSUPP)
    );
    let unknown = FallocateFlags::from_bits_retain(0x4000_0000);
    assert_eq!(fallocate(&file, unknown, 0, 4096), Err(Errno::OPNOTSUPP));
    assert_eq!(fs::read(mount.join("file")).unwrap(), content);
}

#[test]
fn copy_file_range_copies_between_and_within_files() {
    let vault = Vault::new();
    let mount = vault.mount();
    let content = pattern(1, 5 * MIB + 123);
    fs::write(mount.join("from"), &content).unwrap();
    let from = rw(&mount.join("from"));
    let to = rw(&mount.join("to"));
    let (mut at, mut end) = (777, 4096);
    while at < content.len() as u64 {
        let copied = copy_file_range(&from, Some(&mut at), &to, Some(&mut end), 64 * MIB).unwrap();
        assert_ne!(copied, 0, "stopped at {at}");
    }
    let read = fs::read(mount.join("to")).unwrap();
    assert!(read[..4096].iter().all(|byte| *byte == 0));
    assert_eq!(read[4096..], content[777..]);

    let (mut at, mut end) = (0, 3 * MIB as u64);
    let copied = copy_file_range(&from, Some(&mut at), &from, Some(&mut end), MIB).unwrap();
    assert_eq!(copied, MIB);
    assert_eq!(
        fs::read(mount.join("from")).unwrap()[3 * MIB..4 * MIB],
        content[..MIB]
    );
    let (mut at, mut end) = (0, 4096);
    let overlap = copy_file_range(&from, Some(&mut at), &from, Some(&mut end), 8192);
    assert_eq!(overlap, Err(Errno::INVAL));
}

#[test]
fn appending_writers_never_overwrite_each_other() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("log");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                let mut log = OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(path)
                    .unwrap();
                for line in 0..250 {
                    log.write_all(format!("{writer} {line:04}\n").as_bytes())
                        .unwrap();
                }
            });
        }
    });
    let log = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 1000);
    for writer in 0..4 {
        let prefix = format!("{writer} ");
        let own = lines.iter().filter(|line| line.starts_with(&prefix));
        assert!(own.is_sorted(), "lines of one writer keep their order");
    }
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 1000, "no line twice");
}

#[test]
fn direct_writes_and_reads_agree_with_cached_ones() {
    let vault = Vault::new();
    let mount = vault.mount();
    let script = "
        head -c 8388608 /dev/urandom >../source
        dd if=../source of=direct bs=1M oflag=direct status=none
        cmp ../source direct
        dd if=direct bs=256k iflag=direct status=none | cmp - ../source
        dd if=../source of=direct bs=4k count=3 seek=100 oflag=direct conv=notrunc status=none
        dd if=direct bs=4k skip=100 count=3 status=none | cmp - <(head -c 12288 ../source)
    ";
    let source = mount.path().parent().unwrap().join("source");
    shell(mount.path(), script);
    fs::remove_file(source).unwrap();
}

#[test]
fn direct_and_cached_handles_of_one_file_see_each_other() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("file");
    let cached = rw(&path);
    cached.write_all_at(&pattern(1, 65_536), 0).unwrap();
    let mut cached_before = vec![0; 65_536];
    cached.read_exact_at(&mut cached_before, 0).unwrap();
    let direct =
        "dd if=/dev/zero of=file bs=4k count=2 seek=1 oflag=direct conv=notrunc status=none";
    shell(mount.path(), direct);
    let mut expected = pattern(1, 65_536);
    expected[4096..12_288].fill(0);
    let mut cached_after = vec![0; 65_536];
    cached.read_exact_at(&mut cached_after, 0).unwrap();
    assert_eq!(cached_after, expected);
}

#[test]
fn a_synchronous_write_is_there_after_a_kill() {
    let vault = Vault::new();
    let mount = vault.mount();
    let sync = |name: &str, bits| {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(flags(bits))
            .open(mount.join(name))
            .unwrap();
        file.write_all(&pattern(1, 10_000)).unwrap();
        file.write_all(&pattern(2, 10_000)).unwrap();
        file
    };
    let _open = [sync("sync", OFlags::SYNC), sync("dsync", OFlags::DSYNC)];
    // A new name is durable only once its directory is.
    File::open(mount.path()).unwrap().sync_all().unwrap();
    let expected = [pattern(1, 10_000), pattern(2, 10_000)].concat();
    mount.kill9();
    vault.detach();
    let mount = vault.mount();
    assert_eq!(fs::read(mount.join("sync")).unwrap(), expected);
    assert_eq!(fs::read(mount.join("dsync")).unwrap(), expected);
}

#[test]
fn an_unlinked_file_lives_until_its_last_handle_is_closed() {
    let vault = Vault::new();
    let mount = vault.mount();
    let mut file = rw(&mount.join("file"));
    file.write_all(&pattern(1, 100_000)).unwrap();
    fs::remove_file(mount.join("file")).unwrap();
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.write_all(&pattern(2, 100_000)).unwrap();
    file.sync_all().unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut read = Vec::new();
    file.read_to_end(&mut read).unwrap();
    assert_eq!(read, [pattern(1, 100_000), pattern(2, 100_000)].concat());
    drop(file);
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
}

#[test]
fn space_of_a_deleted_file_comes_back_to_the_vault() {
    let vault = Vault::new();
    let mount = vault.mount();
    let used = || {
        let out = shell(
            Path::new("/"),
            &format!("du -sk {}", vault.path().display()),
        );
        out.split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let before = used();
    let file = rw(&mount.join("big"));
    file.write_all_at(&pattern(1, 160 * MIB), 0).unwrap();
    file.sync_all().unwrap();
    assert!(
        used() > before + 150 * 1024,
        "160 MiB take room in the vault"
    );
    drop(file);
    fs::remove_file(mount.join("big")).unwrap();
    until(
        "the room of the deleted file is free",
        Duration::from_mins(1),
        || used() < before + 80 * 1024,
    );
}

#[test]
fn times_of_a_file_follow_what_was_done_to_it() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("file");
    let file = rw(&path);
    let stamp = |file: &File| {
        let m = file.metadata().unwrap();
        ((m.mtime(), m.mtime_nsec()), (m.ctime(), m.ctime_nsec()))
    };
    let changed = |what: &str, before, wanted: fn((i64, i64), (i64, i64)) -> bool| {
        let after = stamp(&file);
        let _: ((i64, i64), (i64, i64)) = before;
        assert!(
            wanted(before.0, after.0),
            "{what}: mtime {:?} -> {:?}",
            before.0,
            after.0
        );
        assert!(
            before.1 < after.1,
            "{what}: ctime {:?} -> {:?}",
            before.1,
            after.1
        );
    };
    let tick = || {
        // A kernel stamps with the time of its last tick: wait for one that is later.
        let probe = vault.sandbox().path().join("tick");
        let now = |path: &Path| {
            fs::write(path, "").unwrap();
            let m = fs::metadata(path).unwrap();
            (m.mtime(), m.mtime_nsec())
        };
        let start = now(&probe);
        until("the clock goes on", Duration::from_secs(5), || {
            now(&probe) > start
        });
    };
    tick();
    let before = stamp(&file);
    tick();
    file.write_all_at(b"x", 0).unwrap();
    changed("write", before, |a, b| a < b);
    let before = stamp(&file);
    tick();
    file.set_len(0).unwrap();
    changed("truncate", before, |a, b| a < b);
    let before = stamp(&file);
    tick();
    shell(mount.path(), "chmod 600 file");
    changed("chmod", before, |a, b| a == b);
    let before = stamp(&file);
    tick();
    fs::hard_link(&path, mount.join("other")).unwrap();
    changed("link", before, |a, b| a == b);
    let before = stamp(&file);
    tick();
    fs::remove_file(mount.join("other")).unwrap();
    changed("unlink", before, |a, b| a == b);
}
