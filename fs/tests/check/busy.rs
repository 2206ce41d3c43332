//! Random use of a volume, with remounts and crashes, after which a check finds nothing.
//!
//! `KEYFOLD_CHECK_SEED` repeats a run, `KEYFOLD_CHECK_OPS` lengthens it.

use std::time::Duration;

use keyfold_fs::check::ReadData;
use keyfold_fs::vfs::{
    Allocate, FileKind, FileRange, Handle, Ino, NewNode, RenameMode, SetAttr, Vfs, XattrMode,
};

use crate::bench::{Bench, CALLER, RW, assert_intact, at, pattern};

/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// A volume and what the run knows of it. Operations may fail as they please: names collide.
struct Run {
    bench: Bench,
    dice: Dice,
    dirs: Vec<Ino>,
    open: Vec<(Ino, Handle)>,
}

impl Run {
    fn new(seed: u64, bench: Bench) -> Self {
        Self {
            bench,
            dice: Dice(seed),
            dirs: vec![Ino::ROOT],
            open: Vec::new(),
        }
    }

    fn dir(&mut self) -> Ino {
        let n = self.dice.roll(self.dirs.len() as u64);
        self.dirs[n as usize]
    }

    fn name(&mut self) -> String {
        format!("n{}", self.dice.roll(12))
    }

    fn step(&mut self) {
        match self.dice.roll(100) {
            0..15 => self.create(),
            15..45 => self.change_file(),
            45..55 => self.rename(),
            55..63 => self.unlink(),
            63..68 => self.link(),
            68..74 => self.xattr(),
            74..80 => self.make_dir(),
            80..83 => self.rmdir(),
            83..87 => self.make_node(),
            87..94 => self.let_go(),
            94..97 => self.fsync(),
            _ => self.bench.v().sync().unwrap(),
        }
    }

    fn create(&mut self) {
        let (dir, name) = (self.dir(), self.name());
        let v = self.bench.v();
        if let Ok((entry, handle)) = v.create(&CALLER, at(dir, &name), 0o644, RW) {
            v.forget(entry.attr.ino, 1);
            self.open.push((entry.attr.ino, handle));
        } else if let Ok(entry) = v.lookup(at(dir, &name)) {
            if let Ok(handle) = v.open(entry.attr.ino, RW) {
                self.open.push((entry.attr.ino, handle));
            }
            v.forget(entry.attr.ino, 1);
        }
    }

    fn some_file(&mut self) -> Option<(Ino, Handle)> {
        if self.open.is_empty() {
            return None;
        }
        let n = self.dice.roll(self.open.len() as u64);
        Some(self.open[n as usize])
    }

    fn change_file(&mut self) {
        let Some((ino, handle)) = self.some_file() else {
            return;
        };
        let offset = match self.dice.roll(4) {
            0 => self.dice.roll(4096),
            1 => self.dice.roll(1 << 20),
            2 => self.dice.roll(64) * 4096,
            _ => self.dice.roll(1 << 32),
        };
        let len = match self.dice.roll(3) {
            0 => self.dice.roll(300),
            1 => self.dice.roll(20_000),
            _ => self.dice.roll(400_000),
        };
        let range = FileRange {
            ino,
            handle,
            offset,
        };
        let kind = self.dice.roll(10);
        let data = pattern(len as usize, self.dice.roll(256));
        let v = self.bench.v();
        match kind {
            0..6 => drop(v.write(range, &data).unwrap()),
            6 => {
                let set = SetAttr {
                    size: Some(offset),
                    ..SetAttr::default()
                };
                v.setattr(ino, Some(handle), &set).unwrap();
            }
            7 => drop(v.fallocate(range, len + 1, Allocate::PunchHole)),
            8 => drop(v.fallocate(range, len + 1, Allocate::Zero)),
            _ => {
                let set = SetAttr {
                    size: Some(0),
                    ..SetAttr::default()
                };
                v.setattr(ino, None, &set).unwrap();
            }
        }
    }

    fn rename(&mut self) {
        let (from, to) = (self.dir(), self.dir());
        let (old, new) = (self.name(), self.name());
        let mode = match self.dice.roll(4) {
            0 => RenameMode::Exchange,
            1 => RenameMode::NoReplace,
            _ => RenameMode::Replace,
        };
        let _ = self.bench.v().rename(at(from, &old), at(to, &new), mode);
    }

    fn unlink(&mut self) {
        let (dir, name) = (self.dir(), self.name());
        let _ = self.bench.v().unlink(at(dir, &name));
    }

    fn link(&mut self) {
        let (dir, name) = (self.dir(), self.name());
        if let Some((ino, _)) = self.some_file()
            && self.bench.v().link(ino, at(dir, &name)).is_ok()
        {
            self.bench.v().forget(ino, 1);
        }
    }

    fn xattr(&mut self) {
        let name = format!("user.{}", self.dice.roll(3));
        let value = pattern(self.dice.roll(2000) as usize, 5);
        let ino = match self.some_file() {
            Some((ino, _)) if self.dice.roll(2) == 0 => ino,
            _ => self.dir(),
        };
        let v = self.bench.v();
        if value.len().is_multiple_of(3) {
            let _ = v.removexattr(ino, name.as_bytes());
        } else {
            let _ = v.setxattr(ino, name.as_bytes(), &value, XattrMode::Set);
        }
    }

    fn make_dir(&mut self) {
        let (dir, name) = (self.dir(), self.name());
        if let Ok(entry) = self.bench.v().mkdir(&CALLER, at(dir, &name), 0o755) {
            self.dirs.push(entry.attr.ino);
        }
    }

    /// The directory stays known, so that a removed one is used on.
    fn rmdir(&mut self) {
        let (dir, name) = (self.dir(), self.name());
        let _ = self.bench.v().rmdir(at(dir, &name));
    }

    fn make_node(&mut self) {
        let (dir, name) = (self.dir(), self.name());
        let v = self.bench.v();
        let made = if self.dice.roll(2) == 0 {
            v.symlink(&CALLER, at(dir, &name), b"some/target")
        } else {
            let node = NewNode {
                kind: FileKind::Fifo,
                perm: 0o600,
                rdev: 0,
            };
            v.mknod(&CALLER, at(dir, &name), node)
        };
        if let Ok(entry) = made {
            v.forget(entry.attr.ino, 1);
        }
    }

    fn let_go(&mut self) {
        if self.open.len() > 4 {
            let n = self.dice.roll(self.open.len() as u64) as usize;
            let (ino, handle) = self.open.swap_remove(n);
            self.bench.v().release(ino, handle);
        }
    }

    fn fsync(&mut self) {
        if let Some((ino, handle)) = self.some_file() {
            self.bench.v().fsync(ino, handle).unwrap();
        }
    }

    /// Everything was let go of.
    fn forget_all(&mut self) {
        self.open.clear();
        let v = self.bench.v();
        self.dirs.retain(|d| v.getattr(*d).is_ok());
    }

    fn remount(&mut self) {
        for (ino, handle) in std::mem::take(&mut self.open) {
            self.bench.v().release(ino, handle);
        }
        self.bench.remount();
        self.forget_all();
    }

    fn crash(&mut self) {
        self.bench.crash();
        self.forget_all();
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn a_busy_volume_is_intact_after_remounts_and_crashes() {
    use_randomly(Bench::new());
}

/// With enough operations segments fill and are cleaned.
#[test]
fn a_busy_volume_that_commits_by_itself_is_intact() {
    use_randomly(Bench::committing_every(Duration::from_millis(10)));
}

fn use_randomly(bench: Bench) {
    let seed = number("KEYFOLD_CHECK_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64)
    });
    let ops = number("KEYFOLD_CHECK_OPS").unwrap_or(1500);
    println!("KEYFOLD_CHECK_SEED={seed}");
    let mut run = Run::new(seed, bench);
    for n in 1..=ops {
        run.step();
        let when = |what: &str| format!("seed {seed}, operation {n}, {what}");
        match run.dice.roll(150) {
            0 => {
                run.remount();
                assert_intact(&run.bench.check(ReadData::Yes), &when("mounted again"));
            }
            1 => {
                run.crash();
                assert_intact(&run.bench.check(ReadData::Yes), &when("after a crash"));
            }
            2 | 3 => assert_intact(&run.bench.check(ReadData::No), &when("in use")),
            _ => {}
        }
    }
    run.remount();
    let report = run.bench.check(ReadData::Yes);
    assert_intact(&report, "in the end");
    assert!(report.counts.inodes > 10, "{report}");
}
