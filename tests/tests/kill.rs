//! The daemon killed with SIGKILL under load: what fsync confirmed is there afterwards, each file
//! is as at one moment, and the next mount needs no help.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keyfold_tests::{Seeded, Vault, count, until};

/// One write, so one moment: below the largest request the kernel makes.
const WHOLE: usize = 64 * 1024;
const LINE: usize = 16;

/// How far one writer has come: what it tried last, and what fsync confirmed.
#[derive(Default)]
struct Progress {
    tried: AtomicU64,
    confirmed: AtomicU64,
}

impl Progress {
    fn range(&self) -> std::ops::RangeInclusive<u64> {
        self.confirmed.load(Ordering::SeqCst)..=self.tried.load(Ordering::SeqCst)
    }

    /// Runs `step` with the next number until it fails, as it does once the daemon is gone.
    fn advance(&self, total: &AtomicU64, mut step: impl FnMut(u64) -> io::Result<()>) {
        loop {
            let number = self.tried.load(Ordering::SeqCst) + 1;
            self.tried.store(number, Ordering::SeqCst);
            if step(number).is_err() {
                return;
            }
            self.confirmed.store(number, Ordering::SeqCst);
            total.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn whole(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(WHOLE / 8)
}

/// The number a file is filled with; panics when it is a mixture of two.
fn number_in(path: &Path, len: usize) -> u64 {
    let content = fs::read(path).unwrap();
    assert_eq!(content.len(), len, "{} has another length", path.display());
    let number = u64::from_le_bytes(content[..8].try_into().unwrap());
    let same = content.chunks(8).all(|word| word == number.to_le_bytes());
    assert!(same, "{} is a mixture of two moments", path.display());
    number
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Overwrites one file in place, one write and one fsync at a time.
fn overwrite(dir: &Path, number: u64) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .open(dir.join("overwritten"))?;
    file.write_all_at(&whole(number), 0)?;
    file.sync_data()
}

/// Replaces a file through a temporary one, as editors do.
fn replace(dir: &Path, number: u64) -> io::Result<()> {
    let mut file = File::create(dir.join("replaced.tmp"))?;
    file.write_all(&whole(number))?;
    file.sync_all()?;
    fs::rename(dir.join("replaced.tmp"), dir.join("replaced"))?;
    sync_dir(dir)
}

/// Appends a line and syncs it.
fn append(dir: &Path, number: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(dir.join("log"))?;
    file.write_all(format!("{number:15}\n").as_bytes())?;
    file.sync_data()
}

/// Makes file `number`, removes the one ten before, and syncs the directory.
fn turn_over(dir: &Path, number: u64) -> io::Result<()> {
    let files = dir.join("files");
    let file = File::create(files.join(number.to_string()))?;
    file.write_all_at(&number.to_le_bytes(), 0)?;
    file.sync_all()?;
    if number > 10 {
        fs::remove_file(files.join((number - 10).to_string()))?;
    }
    sync_dir(&files)
}

#[derive(Default)]
struct Writers {
    overwriter: Progress,
    replacer: Progress,
    appender: Progress,
    turner: Progress,
    total: AtomicU64,
}

impl Writers {
    fn prepare(dir: &Path) {
        fs::create_dir(dir.join("files")).unwrap();
        for name in ["overwritten", "replaced"] {
            fs::write(dir.join(name), whole(0)).unwrap();
            File::open(dir.join(name)).unwrap().sync_all().unwrap();
        }
        File::create(dir.join("log")).unwrap().sync_all().unwrap();
        sync_dir(dir).unwrap();
    }

    /// Lets all of them work, and `kill` the daemon once they confirmed `steps` more steps.
    fn work_until_killed(&self, dir: &Path, steps: u64, kill: impl FnOnce()) {
        let end = self.total.load(Ordering::SeqCst) + steps;
        std::thread::scope(|scope| {
            scope.spawn(|| self.overwriter.advance(&self.total, |n| overwrite(dir, n)));
            scope.spawn(|| self.replacer.advance(&self.total, |n| replace(dir, n)));
            scope.spawn(|| self.appender.advance(&self.total, |n| append(dir, n)));
            scope.spawn(|| self.turner.advance(&self.total, |n| turn_over(dir, n)));
            until("the writers make progress", Duration::from_mins(1), || {
                self.total.load(Ordering::SeqCst) >= end
            });
            kill();
        });
    }

    /// Everything confirmed is there, nothing never tried is, and all goes on from what was found.
    fn expect_all_confirmed(&self, dir: &Path) {
        for (name, progress) in [
            ("overwritten", &self.overwriter),
            ("replaced", &self.replacer),
        ] {
            let found = number_in(&dir.join(name), WHOLE);
            assert!(
                progress.range().contains(&found),
                "{name}: {found}, {:?}",
                progress.range()
            );
        }
        let log = fs::read_to_string(dir.join("log")).unwrap();
        assert_eq!(log.len() % LINE, 0, "a line is torn");
        let lines: Vec<u64> = log
            .lines()
            .map(|line| line.trim().parse().unwrap())
            .collect();
        assert!(lines.is_sorted(), "lines changed their order");
        let confirmed = *self.appender.range().start();
        assert!(
            lines.last().copied().unwrap_or(0) >= confirmed,
            "line {confirmed} is lost"
        );
        self.expect_files(&dir.join("files"));
    }

    fn expect_files(&self, files: &Path) {
        let (confirmed, tried) = self.turner.range().into_inner();
        let entries = fs::read_dir(files).unwrap();
        let found: Vec<u64> = entries
            .map(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        for number in (confirmed.max(10) - 9)..=confirmed {
            // The step after may have begun to remove the oldest.
            let leaving = number + 10 == tried;
            assert!(
                found.contains(&number) || leaving,
                "file {number} is lost of {found:?}"
            );
        }
        for number in found {
            assert!(
                number <= tried && number + 10 > confirmed,
                "file {number} came back"
            );
            let content = fs::read(files.join(number.to_string())).unwrap();
            let whole = content == number.to_le_bytes();
            assert!(
                whole || number > confirmed,
                "file {number} holds {content:?}"
            );
        }
    }

    /// An attempt that was not confirmed may have left any state: start from what is known.
    fn settle(&self, dir: &Path) {
        for progress in [
            &self.overwriter,
            &self.replacer,
            &self.appender,
            &self.turner,
        ] {
            let tried = progress.tried.load(Ordering::SeqCst);
            progress.confirmed.store(tried, Ordering::SeqCst);
        }
        let put = |name: &str, number| {
            let path: PathBuf = dir.join(name);
            fs::write(&path, whole(number)).unwrap();
            File::open(&path).unwrap().sync_all().unwrap();
        };
        put("overwritten", *self.overwriter.range().start());
        put("replaced", *self.replacer.range().start());
        append(dir, *self.appender.range().start()).unwrap();
        let last = *self.turner.range().start();
        let files = dir.join("files");
        fs::remove_dir_all(&files).unwrap();
        fs::create_dir(&files).unwrap();
        for number in (last.max(10) - 9)..=last {
            let file = File::create(files.join(number.to_string())).unwrap();
            file.write_all_at(&number.to_le_bytes(), 0).unwrap();
            file.sync_all().unwrap();
        }
        sync_dir(&files).unwrap();
        sync_dir(dir).unwrap();
    }
}

fn kills(rounds: u64) {
    let vault = Vault::new();
    let mut random = Seeded::new();
    let writers = Writers::default();
    let mount = vault.mount();
    Writers::prepare(mount.path());
    mount.unmount();
    for round in 0..rounds {
        let mount = vault.mount();
        let steps = 1 + random.below(150);
        let dir = mount.path().to_owned();
        writers.work_until_killed(&dir, steps, || mount.kill9());
        // No detaching by hand: the next mount finds the dead one and takes its place.
        let mount = vault.mount();
        writers.expect_all_confirmed(mount.path());
        writers.settle(mount.path());
        mount.unmount();
        if round % 10 == 0 {
            vault.check();
        }
    }
    vault.check();
    println!(
        "{rounds} kills, {} confirmed steps",
        writers.total.load(Ordering::SeqCst)
    );
}

#[test]
fn what_fsync_confirmed_is_there_after_a_kill() {
    kills(count("KEYFOLD_KILLS", 6));
}

#[test]
#[ignore = "slow: run by scripts/test --all"]
fn what_fsync_confirmed_is_there_after_hundreds_of_kills() {
    kills(count("KEYFOLD_KILLS", 300));
}

#[test]
fn a_kill_while_nothing_was_synced_leaves_whole_files_or_none() {
    let vault = Vault::new();
    for round in 1..=3_u64 {
        let mount = vault.mount();
        for n in 0..200_u64 {
            let path = mount.join(format!("{n}"));
            let mut file = File::create(mount.join("tmp")).unwrap();
            file.write_all(&whole(round * 1000 + n)).unwrap();
            drop(file);
            fs::rename(mount.join("tmp"), path).unwrap();
        }
        mount.kill9();
        let mount = vault.mount();
        for entry in fs::read_dir(mount.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if name == "tmp" {
                continue;
            }
            let found = number_in(&path, WHOLE);
            assert_eq!(
                found % 1000,
                name.parse::<u64>().unwrap(),
                "another file's content"
            );
            assert!(found / 1000 <= round && found >= 1000);
        }
        mount.unmount();
    }
    vault.check();
}

/// The same while requests come through `io_uring`.
mod ring_offered {
    use keyfold_tests::{RingOffered, is_through_ring};
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn a_kill_through_the_ring_leaves_what_fsync_confirmed() {
        let Some(_offered) = RingOffered::by_the_kernel() else {
            return;
        };
        let vault = Vault::new();
        let mount = vault.mount();
        assert!(is_through_ring(&mount));
        mount.unmount();
        kills(count("KEYFOLD_KILLS", 4));
    }

    #[test]
    fn being_told_to_end_under_load_through_the_ring_commits_and_ends() {
        let Some(_offered) = RingOffered::by_the_kernel() else {
            return;
        };
        let vault = Vault::new();
        let writers = Writers::default();
        let mut mount = vault.mount();
        assert!(is_through_ring(&mount));
        // Beneath the mount there is no such directory, so the writers end with it.
        let dir = mount.join("work");
        fs::create_dir(&dir).unwrap();
        Writers::prepare(&dir);
        writers.work_until_killed(&dir, 50, || {
            mount.signal(Signal::SIGTERM);
            assert!(mount.wait().success());
        });
        drop(mount);
        let mount = vault.mount();
        writers.expect_all_confirmed(&mount.join("work"));
        mount.unmount();
        vault.check();
    }
}
