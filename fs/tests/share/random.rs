//! Random changes here and there, sent to the other each time: the trees are the same after.

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::{
    Allocate, FileKind, FileRange, Handle, Ino, SetAttr, SetTime, Timestamp, Vfs, XattrMode,
};

use crate::apply::pair;
use crate::site::{CALLER, RO, RW, Site, at, pattern};
use crate::trees::assert_same;

/// xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed}");
        Self(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        (!of.is_empty()).then(|| of[self.below(of.len() as u64) as usize])
    }
}

/// Directory, name, inode, and what it is.
type Entry = (Ino, String, Ino, FileKind);

/// What a site has: directories, and all entries.
fn inventory(site: &Site) -> (Vec<Ino>, Vec<Entry>) {
    let (mut dirs, mut entries) = (vec![site.root], Vec::new());
    let mut next = 0;
    while next < dirs.len() {
        let dir = dirs[next];
        for entry in site.v().view_entries(dir).unwrap() {
            let name = String::from_utf8(entry.name).unwrap();
            entries.push((dir, name, entry.ino, entry.kind));
            if entry.kind == FileKind::Directory {
                dirs.push(entry.ino);
            }
        }
        next += 1;
    }
    (dirs, entries)
}

/// One random change of what travels: what does not would stand in the others' way. Whatever is not possible fails and changes nothing.
fn step(site: &Site, random: &mut Random) {
    let (dirs, entries) = inventory(site);
    let dir = random.pick(&dirs).unwrap();
    let name = format!("n{}", random.below(8));
    let entry =
        (!entries.is_empty()).then(|| &entries[random.below(entries.len() as u64) as usize]);
    let files: Vec<Ino> = entries
        .iter()
        .filter(|e| e.3 == FileKind::Regular)
        .map(|e| e.2)
        .collect();
    let v = site.v();
    let done: Result<(), FsError> = match random.below(12) {
        0 => v.mkdir(&CALLER, at(dir, &name), 0o755).map(drop),
        1 => v
            .symlink(&CALLER, at(dir, &name), name.as_bytes())
            .map(drop),
        2..=4 => v.create(&CALLER, at(dir, &name), 0o644, RW).map(|(e, h)| {
            site.write(e.attr.ino, h, 0, name.as_bytes()).unwrap();
            site.close(e.attr.ino, h);
        }),
        5 => random
            .pick(&files)
            .map_or(Ok(()), |file| v.link(file, at(dir, &name)).map(drop)),
        6 => entry.map_or(Ok(()), |(d, n, _, kind)| match kind {
            FileKind::Directory => v.rmdir(at(*d, n)),
            _ => v.unlink(at(*d, n)),
        }),
        7 => entry.map_or(Ok(()), |(d, n, ..)| site.rename((*d, n), (dir, &name))),
        8 => entry.map_or(Ok(()), |(d, n, ..)| site.exchange((*d, n), (dir, &name))),
        9 => random
            .pick(&files)
            .map_or(Ok(()), |file| change(site, file, random)),
        10 => entry.map_or(Ok(()), |(.., ino, kind)| {
            let stamp = Timestamp {
                secs: random.below(1 << 30) as i64,
                nanos: 5,
            };
            let set = SetAttr {
                perm: (*kind != FileKind::Symlink).then_some(0o600 | random.below(64) as u16),
                mtime: Some(SetTime::At(stamp)),
                ..SetAttr::default()
            };
            v.setattr(*ino, None, &set).map(drop)
        }),
        _ => entry.map_or(Ok(()), |(.., ino, _)| {
            let attribute = format!("user.a{}", random.below(3));
            if random.below(3) == 0 {
                v.removexattr(*ino, attribute.as_bytes())
            } else {
                v.setxattr(*ino, attribute.as_bytes(), name.as_bytes(), XattrMode::Set)
            }
        }),
    };
    if let Err(error) = done {
        assert!(
            matches!(
                error,
                FsError::Exists
                    | FsError::NotFound
                    | FsError::NotEmpty(_)
                    | FsError::NotADirectory(_)
                    | FsError::IsADirectory(_)
                    | FsError::InvalidArgument
                    | FsError::NoAttribute
            ),
            "{error:?}"
        );
    }
}

fn change(site: &Site, file: Ino, random: &mut Random) -> Result<(), FsError> {
    let (offset, length) = (random.below(600_000), random.below(50_000) + 1);
    match random.below(4) {
        0 => site.truncate(file, offset),
        1 => {
            let handle = site.open(file, RW);
            let range = FileRange {
                ino: file,
                handle,
                offset,
            };
            let punched = site.v().fallocate(range, length, Allocate::PunchHole);
            site.close(file, handle);
            punched
        }
        _ => {
            let data = pattern(length as usize, random.next() as u8);
            site.overwrite(file, offset, &data);
            Ok(())
        }
    }
}

/// Somebody reads some of the files.
fn open_some(site: &Site, random: &mut Random) -> Vec<(Ino, Handle)> {
    let (_, entries) = inventory(site);
    let files = entries.iter().filter(|e| e.3 == FileKind::Regular);
    let some: Vec<Ino> = files
        .map(|e| e.2)
        .filter(|_| random.below(3) == 0)
        .collect();
    some.into_iter()
        .map(|ino| (ino, site.open(ino, RO)))
        .collect()
}

/// Rounds of changes at one of two, each sent to the other.
fn run(seed: u64, rounds: u64) {
    let mut random = Random::new(seed);
    let (mut a, mut b, mut partner) = pair();
    b.v().sync().unwrap();
    for round in 0..rounds {
        partner.tell_tags = random.below(2) == 0;
        for _ in 0..=random.below(25) {
            step(&a, &mut random);
        }
        let applied = (round % 200) as u8 + 1;
        let sent = partner.push(&a);
        let readers = open_some(&b, &mut random);
        sent.apply_now(&b, applied);
        for (ino, handle) in readers {
            b.close(ino, handle);
        }
        partner.confirm(&a, &sent, applied);
        match random.below(4) {
            0 => {
                b.v().sync().unwrap();
                b.crash();
            }
            1 => {
                // Lost with what was kept of it, so it is applied again.
                b.crash();
                let kept = b.v().shares().unwrap()[0].data.first().copied();
                if kept != Some(applied) {
                    sent.apply_now(&b, applied);
                }
            }
            2 => b.remount(),
            _ => {}
        }
        b.v().set_fetch(Some(partner.store.clone()));
        a.v().sync().unwrap();
        b.v().sync().unwrap();
        if random.below(3) == 0 {
            assert_same(&a, &b);
        }
        std::mem::swap(&mut a, &mut b);
    }
    for site in [&a, &b] {
        site.check();
        assert!(site.marks().is_empty(), "nothing waits to be sent");
    }
    assert_same(&a, &b);
}

#[test]
fn random_changes_come_out_the_same_on_both_sides() {
    for seed in [1, 2, 3] {
        run(seed, 12);
    }
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn many_random_changes_come_out_the_same_on_both_sides() {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    for n in 0..40 {
        run(since.as_nanos() as u64 ^ (n << 40), 60);
    }
}
