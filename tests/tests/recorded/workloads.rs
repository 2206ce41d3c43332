//! What is recorded: for each promise about crashes the programs' ways of relying on it.

use crate::recorded::act::Act;
use crate::recorded::vault::Timer;

/// Operations with a name.
pub struct Workload {
    pub name: &'static str,
    pub timer: Timer,
    /// Size of the disk beneath in MiB; as large as needed when none is given.
    pub disk: Option<u64>,
    pub acts: Vec<Act>,
}

use crate::recorded::words::{
    append, chmod, copy, create, exchange, extend, fsync, hold, let_go, link, mkdir, punch,
    remove_xattr, rename, rmdir, set_mtime, set_xattr, symlink, sync, truncate, unlink, write,
    write_held,
};

fn workload(name: &'static str, acts: Vec<Act>) -> Workload {
    Workload {
        name,
        timer: Timer::Off,
        disk: None,
        acts,
    }
}

/// Making files and directories of every kind, synced now and then.
pub fn creating() -> Workload {
    let mut acts = vec![mkdir("d"), create("d/a"), fsync("d/a"), create("b")];
    for n in 0u8..6 {
        let path = format!("d/f{n}");
        acts.push(create(&path));
        acts.push(write(&path, 0, 100 + 3000 * usize::from(n), n));
        if n % 2 == 0 {
            acts.push(fsync(&path));
        }
        acts.push(symlink(&format!("d/s{n}"), &path));
    }
    acts.extend([
        mkdir("d/e"),
        fsync("d"),
        set_xattr("d/a", "user.one", b"1"),
        chmod("d/a", 0o600),
        fsync("d/a"),
        remove_xattr("d/a", "user.one"),
        set_xattr("d/e", "user.two", &[7; 500]),
        sync(),
        rmdir("d/e"),
        unlink("d/s1"),
        create("c"),
        fsync("c"),
    ]);
    workload("creating", acts)
}

/// A log that grows by small pieces, each of them synced or not.
pub fn appending() -> Workload {
    let mut acts = vec![create("log")];
    for n in 0u8..40 {
        acts.push(append("log", 37 + 301 * usize::from(n % 7), n));
        match n % 5 {
            1 | 3 => acts.push(fsync("log")),
            4 if n % 3 == 0 => acts.push(sync()),
            _ => {}
        }
    }
    acts.push(append("log", 200_000, 99));
    acts.push(fsync("log"));
    acts.push(append("log", 1_300_000, 98));
    acts.push(append("log", 10, 97));
    acts.push(fsync("log"));
    workload("appending", acts)
}

/// A database-like file written in place, in blocks and across them.
pub fn overwriting() -> Workload {
    let mut acts = vec![create("data"), write("data", 0, 400_000, 1), fsync("data")];
    for n in 0u8..30 {
        let offset = (u64::from(n) * 52_361) % 390_000;
        acts.push(write(
            "data",
            offset,
            4096 + 700 * usize::from(n % 5),
            n + 2,
        ));
        match n % 6 {
            2 => acts.push(fsync("data")),
            5 => acts.push(sync()),
            _ => {}
        }
    }
    acts.push(write("data", 0, 400_000, 77));
    acts.push(fsync("data"));
    acts.push(write("data", 4096, 8192, 78));
    workload("overwriting", acts)
}

/// The way editors and package managers replace files.
pub fn replacing() -> Workload {
    let mut acts = vec![create("f"), write("f", 0, 9000, 1), fsync("f"), mkdir("d")];
    for n in 0u8..8 {
        acts.push(create("f.new"));
        acts.push(write("f.new", 0, 5000 + 40_000 * usize::from(n % 3), n + 2));
        if n % 2 == 0 {
            acts.push(fsync("f.new"));
        }
        acts.push(rename("f.new", "f"));
        match n % 4 {
            1 => acts.push(fsync("f")),
            2 => acts.push(fsync("")),
            3 => acts.push(append("f", 100, n)),
            _ => {}
        }
    }
    acts.extend([
        create("g"),
        write("g", 0, 20_000, 50),
        exchange("f", "g"),
        fsync("g"),
        rename("f", "d/f"),
        create("d/h"),
        write("d/h", 0, 300_000, 51),
        rename("d/h", "g"),
        fsync("d"),
        rename("d", "e"),
        sync(),
        rename("g", "e/f"),
        fsync("e"),
    ]);
    workload("replacing", acts)
}

/// Names of one file, and files without a name that are still open.
pub fn linking() -> Workload {
    let acts = vec![
        create("a"),
        write("a", 0, 6000, 1),
        link("a", "b"),
        fsync("b"),
        mkdir("d"),
        link("b", "d/c"),
        append("a", 3000, 2),
        unlink("a"),
        fsync("d/c"),
        unlink("b"),
        rename("d/c", "a"),
        hold("a"),
        unlink("a"),
        write_held("a", 0, 50_000, 3),
        create("x"),
        fsync("x"),
        write_held("a", 100_000, 50_000, 4),
        sync(),
        let_go("a"),
        create("a"),
        write("a", 0, 100_000, 5),
        sync(),
        link("a", "y"),
        hold("y"),
        unlink("y"),
        write_held("y", 0, 5000, 6),
        fsync("a"),
        let_go("y"),
        unlink("a"),
        sync(),
        unlink("x"),
        rmdir("d"),
        fsync(""),
    ];
    workload("linking", acts)
}

/// Files cut short and made longer.
pub fn truncating() -> Workload {
    let mut acts = vec![create("t"), write("t", 0, 700_000, 1), fsync("t")];
    let sizes = [
        650_001, 300_000, 299_999, 400_000, 0, 4096, 4097, 1_000_000, 262_144, 262_145, 5,
    ];
    for (n, size) in sizes.into_iter().enumerate() {
        acts.push(truncate("t", size));
        if n % 3 == 0 {
            acts.push(fsync("t"));
        }
        acts.push(write("t", size / 2, 30_000, n as u8 + 2));
        if n % 3 == 1 {
            acts.push(sync());
        }
    }
    acts.extend([
        truncate("t", 0),
        fsync("t"),
        write("t", 0, 500_000, 60),
        sync(),
        truncate("t", 0),
        write("t", 0, 500_000, 61),
        truncate("t", 100_000),
        fsync("t"),
        set_mtime("t", 12_345),
        fsync("t"),
    ]);
    workload("truncating", acts)
}

/// Holes made in files, small and large, and space given back for them.
pub fn punching() -> Workload {
    let mut acts = vec![create("p"), write("p", 0, 2_000_000, 1), sync()];
    for n in 0u64..10 {
        acts.push(punch("p", n * 190_000, 1000 + n * 12_345));
        match n % 4 {
            1 => acts.push(fsync("p")),
            3 => acts.push(sync()),
            _ => acts.push(write("p", n * 190_000 + 500, 20_000, n as u8 + 2)),
        }
    }
    acts.extend([
        extend("p", 2_500_000),
        fsync("p"),
        create("r"),
        write("r", 0, 300_000, 69),
        create("q"),
        copy("r", "q"),
        fsync("q"),
        punch("p", 0, 2_500_000),
        sync(),
        sync(),
        unlink("q"),
        sync(),
        sync(),
        write("p", 1_000_000, 300_000, 70),
        fsync("p"),
    ]);
    workload("punching", acts)
}

/// Many files, synced in all ways there are.
pub fn mixing() -> Workload {
    let mut acts = Vec::new();
    for n in 0..6 {
        acts.push(create(&format!("m{n}")));
    }
    for n in 0u8..48 {
        let path = format!("m{}", n * 5 % 6);
        acts.push(write(
            &path,
            u64::from(n) * 1777,
            900 * usize::from(n % 11) + 1,
            n,
        ));
        match n % 8 {
            1 => acts.push(fsync(&format!("m{}", n % 6))),
            4 => acts.push(fsync("")),
            6 if n > 20 => acts.push(sync()),
            7 => acts.push(fsync(&path)),
            _ => {}
        }
    }
    workload("mixing", acts)
}

/// What `SQLite` does to commit with a rollback journal, and with a log.
pub fn databases() -> Workload {
    let mut acts = vec![
        create("db"),
        write("db", 0, 40_960, 1),
        fsync("db"),
        fsync(""),
    ];
    for n in 0u8..6 {
        acts.extend([
            create("db-journal"),
            write("db-journal", 0, 512, n),
            write("db-journal", 512, 8208, n + 10),
            fsync("db-journal"),
            write("db-journal", 0, 12, n + 20),
            fsync("db-journal"),
            fsync(""),
            write("db", u64::from(n) * 4096, 4096, n + 30),
            write("db", 0, 4096, n + 40),
            fsync("db"),
            unlink("db-journal"),
        ]);
    }
    acts.extend([
        create("db-wal"),
        write("db-wal", 0, 32, 60),
        fsync("db-wal"),
    ]);
    for n in 0u8..12 {
        acts.push(append("db-wal", 24 + 4096, n + 61));
        acts.push(append("db-wal", 24 + 4096, n + 62));
        acts.push(fsync("db-wal"));
    }
    acts.extend([
        write("db", 0, 40_960, 90),
        fsync("db"),
        truncate("db-wal", 0),
        append("db-wal", 4152, 91),
        fsync("db-wal"),
    ]);
    workload("databases", acts)
}

/// So many names change between two syncs that a record of the journal has all that wait.
pub fn removing_many() -> Workload {
    let mut acts = vec![mkdir("many"), mkdir("kept")];
    for n in 0u8..220 {
        acts.push(create(&format!("many/{n}")));
        if n % 44 == 0 {
            acts.push(write(&format!("many/{n}"), 0, 500, n));
        }
    }
    acts.push(sync());
    for n in (0u8..220).filter(|n| n % 20 != 0) {
        acts.push(unlink(&format!("many/{n}")));
    }
    for n in 0u8..3 {
        let path = format!("kept/{n}");
        acts.push(create(&path));
        acts.push(write(&path, 0, 3000, n));
        acts.push(fsync(&path));
    }
    acts.push(rename("kept/0", "many/0"));
    acts.push(fsync("many"));
    workload("removing many", acts)
}

/// A tree of small files unpacked and removed, hardly ever synced.
pub fn many_small_files() -> Workload {
    let mut acts = Vec::new();
    for d in 0u8..5 {
        acts.push(mkdir(&format!("t{d}")));
        for f in 0u8..16 {
            let path = format!("t{d}/f{f}");
            acts.push(create(&path));
            acts.push(write(&path, 0, 30 + 700 * usize::from(f), d * 16 + f));
            acts.push(chmod(&path, 0o640));
        }
        if d % 2 == 0 {
            acts.push(fsync(&format!("t{d}/f3")));
        }
    }
    acts.push(sync());
    for f in 0..16 {
        acts.push(unlink(&format!("t1/f{f}")));
        acts.push(rename(&format!("t2/f{f}"), &format!("t1/g{f}")));
    }
    acts.push(rmdir("t2"));
    acts.push(fsync("t1"));
    acts.push(sync());
    workload("many small files", acts)
}

/// The mix with commits going on all the time, so that cuts fall anywhere.
pub fn committing_all_the_time() -> Workload {
    let mut acts = Vec::new();
    for (part, mut workload) in [mixing(), replacing(), punching()].into_iter().enumerate() {
        let dir = format!("w{part}");
        acts.push(mkdir(&dir));
        for act in workload.acts.drain(..) {
            acts.push(act.beneath(&dir));
        }
    }
    Workload {
        timer: Timer::Busy,
        ..workload("committing all the time", acts)
    }
}

/// A disk that fills up, is emptied in part, and fills up again.
pub fn filling_the_disk() -> Workload {
    let mut acts = vec![create("keep"), write("keep", 0, 50_000, 1), fsync("keep")];
    for round in 0u8..2 {
        for n in 0u8..20 {
            let path = format!("big{n}");
            acts.push(create(&path));
            acts.push(write(&path, 0, 290_000, round * 40 + n));
            match n % 5 {
                2 => acts.push(fsync(&path)),
                4 => acts.push(sync()),
                _ => {}
            }
        }
        acts.push(append("keep", 5000, round + 100));
        acts.push(fsync("keep"));
        for n in 0u8..20 {
            acts.push(unlink(&format!("big{n}")));
            if n % 7 == 3 {
                acts.push(sync());
            }
        }
        acts.push(sync());
        acts.push(sync());
    }
    Workload {
        disk: Some(44),
        ..workload("filling the disk", acts)
    }
}

/// A little of everything, so that each way to the disk is gone once or twice.
pub fn everything_a_little() -> Workload {
    let acts = vec![
        create("a"),
        write("a", 0, 3000, 1),
        fsync("a"),
        write("a", 1000, 300_000, 2),
        fsync("a"),
        mkdir("d"),
        create("d/b"),
        write("d/b", 0, 20_000, 3),
        sync(),
        append("a", 100, 4),
        fsync("a"),
        create("n"),
        write("n", 0, 150_000, 5),
        rename("n", "d/b"),
        fsync("d"),
        hold("d/b"),
        unlink("d/b"),
        write_held("d/b", 0, 9000, 6),
        truncate("a", 200_000),
        fsync("a"),
        let_go("d/b"),
        write("a", 0, 1_200_000, 7),
        sync(),
        punch("a", 0, 600_000),
        sync(),
        truncate("a", 0),
        set_xattr("a", "user.x", b"1"),
        sync(),
        sync(),
        create("e"),
        write("e", 0, 1_100_000, 8),
        write("e", 500, 5000, 9),
        fsync("e"),
    ];
    workload("everything a little", acts)
}

/// What leaves an opening the most to do: a journal to apply, space to give back, a file
/// without a name, maps to trim.
pub fn left_undone() -> Workload {
    let acts = vec![
        create("a"),
        write("a", 0, 1_500_000, 1),
        create("b"),
        write("b", 0, 400_000, 2),
        create("c"),
        write("c", 0, 30_000, 3),
        sync(),
        punch("a", 0, 1_000_000),
        sync(),
        truncate("b", 0),
        hold("c"),
        unlink("c"),
        sync(),
        write("b", 0, 3000, 4),
        fsync("b"),
        create("d"),
        write("d", 0, 20_000, 5),
        fsync("d"),
        write("b", 1000, 5000, 6),
    ];
    workload("left undone", acts)
}

/// The same with commits going on meanwhile, of which nobody waits for the outcome.
pub fn everything_amid_commits() -> Workload {
    Workload {
        name: "everything amid commits",
        timer: Timer::Busy,
        ..everything_a_little()
    }
}

/// All that need no small disk.
pub fn on_any_disk() -> Vec<Workload> {
    vec![
        creating(),
        appending(),
        overwriting(),
        replacing(),
        linking(),
        truncating(),
        punching(),
        mixing(),
        databases(),
        many_small_files(),
        committing_all_the_time(),
    ]
}
