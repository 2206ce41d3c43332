//! What a mount takes does not grow with how long it is used: memory, descriptors, threads and
//! logs, and space on disk under overwriting.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyfold_tests::{Mount, Seeded, Vault, pattern, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Longest time a mount may take to come to rest.
const LIMIT: Duration = Duration::from_mins(2);

/// What a mount takes.
#[derive(Debug, Clone, Copy)]
struct Footprint {
    resident: u64,
    descriptors: u64,
    threads: u64,
    log: u64,
    journal: u64,
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} KiB resident, {} descriptors, {} threads, log {} KiB, journal {} KiB",
            self.resident / KIB,
            self.descriptors,
            self.threads,
            self.log / KIB,
            self.journal / KIB
        )
    }
}

fn status(mount: &Mount) -> Value {
    let text = fs::read(mount.join(".keyfold/status")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["volume"].take()
}

fn sync(mount: &Mount) {
    fs::write(mount.join(".keyfold/control"), "sync\n").unwrap();
}

/// Waits until nothing waits for a commit and no file is in memory that no program has open.
fn wait_for_rest(mount: &Mount) {
    sync(mount);
    until("the mount is at rest", LIMIT, || {
        let status = status(mount);
        status["uncommitted"] == false
            && status["dirty_bytes"] == 0
            && status["verification"] != "verifying"
            && status["files_in_memory"] == status["open_files"]
    });
}

fn resident(mount: &Mount) -> u64 {
    let status = fs::read_to_string(process(mount).join("status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * KIB
}

fn process(mount: &Mount) -> PathBuf {
    Path::new("/proc").join(mount.pid().unwrap().to_string())
}

fn entries(directory: &Path) -> u64 {
    fs::read_dir(directory).unwrap().count() as u64
}

fn footprint(vault: &Vault, mount: &Mount) -> Footprint {
    let length = |name| fs::metadata(vault.path().join(name)).unwrap().len();
    Footprint {
        resident: resident(mount),
        descriptors: entries(&process(mount).join("fd")),
        threads: entries(&process(mount).join("task")),
        log: length("meta.db-wal"),
        journal: length("journal"),
    }
}

/// Disk space of the vault directory, in bytes.
fn allocated(path: &Path) -> u64 {
    let own = fs::symlink_metadata(path).map_or(0, |m| m.blocks() * 512);
    let Ok(entries) = fs::read_dir(path) else {
        return own;
    };
    own + entries.map(|e| allocated(&e.unwrap().path())).sum::<u64>()
}

/// One worker's directory and the files it may have: a bounded number, so that what is stored
/// does not grow either.
struct Worker {
    dir: PathBuf,
    random: Seeded,
}

impl Worker {
    const NAMES: u64 = 150;
    const LARGEST: u64 = 96 * KIB;

    fn new(root: &Path, number: u64) -> Self {
        let dir = root.join(format!("worker-{number}"));
        fs::create_dir(&dir).unwrap();
        Self {
            dir,
            random: Seeded::from_seed(number + 1),
        }
    }

    fn name(&mut self) -> PathBuf {
        let number = self.random.below(Self::NAMES);
        self.dir.join(format!("file-{number}"))
    }

    fn content(&mut self) -> Vec<u8> {
        let len = self.random.below(Self::LARGEST) as usize;
        pattern(self.random.next_u64(), len)
    }

    fn run(&mut self, operations: u64) {
        for _ in 0..operations {
            match self.random.below(12) {
                0..=2 => self.replace(),
                3 | 4 => self.overwrite(),
                5 => self.overwrite_synced(),
                6 => self.rename_over(),
                7 => self.truncate(),
                8 => drop(fs::remove_file(self.name())),
                9 => drop(fs::read(self.name())),
                10 => self.links(),
                _ => self.directories(),
            }
        }
    }

    fn replace(&mut self) {
        let content = self.content();
        fs::write(self.name(), content).unwrap();
    }

    fn open(&mut self) -> File {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        options.open(self.name()).unwrap()
    }

    fn overwrite(&mut self) {
        let file = self.open();
        let content = self.content();
        let at = self.random.below(Self::LARGEST);
        file.write_all_at(&content[..content.len() / 8], at)
            .unwrap();
    }

    fn overwrite_synced(&mut self) {
        let file = self.open();
        let at = self.random.below(Self::LARGEST);
        file.write_all_at(&pattern(at, 3000), at).unwrap();
        file.sync_all().unwrap();
    }

    fn rename_over(&mut self) {
        let new = self.dir.join("new");
        let content = self.content();
        fs::write(&new, content).unwrap();
        fs::rename(new, self.name()).unwrap();
    }

    fn truncate(&mut self) {
        let size = self.random.below(Self::LARGEST);
        self.open().set_len(size).unwrap();
    }

    fn links(&mut self) {
        let (link, symbolic) = (self.dir.join("link"), self.dir.join("symbolic"));
        drop(self.open());
        symlink("somewhere", &symbolic).unwrap();
        let target = self.name();
        if fs::hard_link(&target, &link).is_ok() {
            fs::remove_file(link).unwrap();
        }
        assert_eq!(fs::read_link(&symbolic).unwrap(), Path::new("somewhere"));
        fs::remove_file(symbolic).unwrap();
    }

    fn directories(&mut self) {
        let inner = self.dir.join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("one"), "1").unwrap();
        assert_eq!(entries(&inner), 1);
        assert!(entries(&self.dir) > 0);
        fs::remove_dir_all(inner).unwrap();
    }
}

fn run_load(workers: &mut [Worker], operations: u64) {
    std::thread::scope(|scope| {
        for worker in workers {
            scope.spawn(move || worker.run(operations));
        }
    });
}

/// Rounds of a mixed load by three programs. After each the mount comes to rest; compared are the
/// footprints after the warm-up and after the last round.
fn mixed_load(warm_up: u64, rounds: u64, operations: u64) {
    let vault = Vault::new();
    let mount = vault.mount();
    let mut workers: Vec<Worker> = (0..3).map(|n| Worker::new(mount.path(), n)).collect();
    for _ in 0..warm_up {
        run_load(&mut workers, operations);
        wait_for_rest(&mount);
        println!("warm-up: {}", footprint(&vault, &mount));
    }
    let first = footprint(&vault, &mount);
    for round in 0..rounds {
        run_load(&mut workers, operations);
        wait_for_rest(&mount);
        let now = footprint(&vault, &mount);
        println!("round {round}: {now}");
        assert!(now.log <= MOST_LOG, "the log is bounded: {now}");
        assert_eq!(now.journal, first.journal, "the journal keeps its size");
    }
    until("memory is as after the warm-up", LIMIT, || {
        resident(&mount) <= MOST_AT_REST.min(first.resident + MOST_GROWTH)
    });
    let last = footprint(&vault, &mount);
    assert!(last.threads <= first.threads, "from {first} to {last}");
    assert!(
        last.descriptors <= first.descriptors + MOST_SEGMENTS,
        "from {first} to {last}"
    );
    mount.unmount();
    vault.check();
}

/// Growth of resident memory from the warm-up to the end that is no growth: the caches of rows and
/// of database pages, 70 MiB if all are full, go on filling after it.
const MOST_GROWTH: u64 = 32 * MIB;
/// Memory that a mount may take at rest, whatever was done before.
const MOST_AT_REST: u64 = 150 * MIB;
/// Segments that may be open at the end and were not after the warm-up.
const MOST_SEGMENTS: u64 = 8;
/// The log goes back to its start from 8 MiB on; the commit that passes this is in it whole.
const MOST_LOG: u64 = 24 * MIB;

#[test]
fn memory_descriptors_threads_and_logs_do_not_grow_under_a_mixed_load() {
    mixed_load(2, 4, 500);
}

#[test]
#[ignore = "takes many minutes"]
fn memory_descriptors_threads_and_logs_do_not_grow_under_a_long_mixed_load() {
    mixed_load(4, 40, 5000);
}

/// Share of live blocks below which a segment is cleaned, as `100 / percent`.
const CLEANED_BELOW: u64 = 30;
/// Segments that are filled while others are cleaned, and what is no segment: database, log,
/// journal, reserve and room beyond them.
const BESIDE: u64 = 192 * MIB;

/// Overwrites a file of `size` bytes, `times` over, at random in pieces of 16 KiB.
fn random_overwrites(size: u64, times: u64) {
    const PIECE: u64 = 16 * KIB;
    let vault = Vault::new();
    let mount = vault.mount();
    let mut random = Seeded::new();
    let path = mount.join("file");
    let mut file = File::create(&path).unwrap();
    for number in 0..size / MIB {
        file.write_all(&pattern(number, MIB as usize)).unwrap();
    }
    let content = pattern(random.next_u64(), 2 * PIECE as usize);
    for _ in 0..times * size / PIECE {
        let from = random.below(PIECE) as usize;
        let at = random.below(size / PIECE) * PIECE;
        file.write_all_at(&content[from..from + PIECE as usize], at)
            .unwrap();
    }
    drop(file);
    wait_for_rest(&mount);
    assert_eq!(status(&mount)["live_bytes"].as_u64().unwrap(), size);
    let bound = size * 100 / CLEANED_BELOW + BESIDE;
    assert!(
        bound < (times + 1) * size,
        "without cleaning the bound would be passed"
    );
    let mut space = 0;
    until("dead space is given back", LIMIT, || {
        space = allocated(vault.path());
        space <= bound
    });
    println!(
        "{} MiB live, {} MiB written over it, {} MiB on disk, bound {} MiB",
        size / MIB,
        times * size / MIB,
        space / MIB,
        bound / MIB
    );
    mount.unmount();
    vault.check();
}

#[test]
fn random_overwrites_take_a_bounded_multiple_of_the_live_data() {
    random_overwrites(96 * MIB, 6);
}

#[test]
#[ignore = "writes 8 GiB"]
fn many_random_overwrites_take_a_bounded_multiple_of_the_live_data() {
    random_overwrites(512 * MIB, 16);
}

/// Memory at its most while map leaves are written, far below what leaves without bound took.
const MOST_WITH_LEAVES: u64 = 320 * MIB;
/// The largest log that a commit of as many leaves as may wait leaves behind.
const MOST_LOG_OF_LEAVES: u64 = 160 * MIB;

fn peak(mount: &Mount) -> u64 {
    let status = fs::read_to_string(process(mount).join("status")).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() * KIB
}

/// Writes `size` bytes into a file of 100 GiB that is holes, a block at a time at random: each
/// block touches a map leaf of its own.
fn random_writes_into_holes(size: u64) {
    const BLOCK: u64 = 4 * KIB;
    const FILE: u64 = 100 << 30;
    let vault = Vault::new();
    let mount = vault.mount();
    let mut random = Seeded::new();
    let file = File::create(mount.join("sparse")).unwrap();
    file.set_len(FILE).unwrap();
    let mut log = 0;
    let mut last = 0;
    for number in 0..size / BLOCK {
        last = random.below(FILE / BLOCK) * BLOCK;
        file.write_all_at(&pattern(number, BLOCK as usize), last)
            .unwrap();
        if number % 1000 == 0 {
            log = log.max(footprint(&vault, &mount).log);
        }
    }
    sync(&mount);
    log = log.max(footprint(&vault, &mount).log);
    let peak = peak(&mount);
    println!(
        "{} MiB written: {} MiB resident at most, log {} MiB",
        size / MIB,
        peak / MIB,
        log / MIB
    );
    assert!(peak <= MOST_WITH_LEAVES, "{peak} bytes resident");
    assert!(log <= MOST_LOG_OF_LEAVES, "the log has {log} bytes");
    let mut read = vec![0; BLOCK as usize];
    let mut again = File::open(mount.join("sparse")).unwrap();
    again.read_exact_at(&mut read, last).unwrap();
    assert!(read == pattern(size / BLOCK - 1, BLOCK as usize));
    assert_eq!(again.seek(std::io::SeekFrom::End(0)).unwrap(), FILE);
    drop((file, again));
    mount.unmount();
    vault.check();
}

#[test]
fn memory_and_log_are_bounded_under_random_writes_into_a_large_sparse_file() {
    random_writes_into_holes(240 * MIB);
}

#[test]
#[ignore = "writes 2 GiB at random"]
fn memory_and_log_are_bounded_under_many_random_writes_into_a_large_sparse_file() {
    random_writes_into_holes(2048 * MIB);
}

/// Memory that the daemon may take for each open file, in bytes.
const OPEN_FILE: u64 = 8 * KIB;

#[test]
fn ten_thousand_files_are_open_at_once() {
    const FILES: u64 = 10_000;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        most > FILES + 100,
        "the limit of open files is {most}: too low"
    );
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let vault = Vault::new();
    let mount = vault.mount();
    wait_for_rest(&mount);
    let first = footprint(&vault, &mount);
    let open = |number: u64| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = options.open(mount.join(number.to_string())).unwrap();
        file.write_all_at(&pattern(number, 100), 0).unwrap();
        file
    };
    let files: Vec<File> = (0..FILES).map(open).collect();
    wait_for_rest(&mount);
    assert_eq!(status(&mount)["open_files"], FILES);
    println!("{} at first, {}", first, footprint(&vault, &mount));
    until("memory is bounded", LIMIT, || {
        resident(&mount) <= first.resident + FILES * OPEN_FILE + 64 * MIB
    });
    let now = footprint(&vault, &mount);
    assert!(
        now.descriptors <= first.descriptors + MOST_SEGMENTS,
        "an open file takes no descriptor of the daemon: {now}"
    );
    assert_eq!(now.threads, first.threads);
    for (number, file) in files.iter().enumerate() {
        let mut read = [0; 100];
        file.read_exact_at(&mut read, 0).unwrap();
        assert!(read[..] == pattern(number as u64, 100), "file {number}");
    }
    drop(files);
    until("closed files are forgotten", LIMIT, || {
        let status = status(&mount);
        status["open_files"] == 0 && status["files_in_memory"] == 0
    });
    mount.unmount();
    vault.check();
}
