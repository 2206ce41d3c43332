//! Images under random use: whatever is written, deleted, remounted and dropped, every image shows
//! what was there when it was made, and nothing is kept for images that are gone.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use keyfold_fs::check::ReadData;
use keyfold_fs::error::FsError;
use keyfold_fs::layout::{ImageId, ImageKind};
use keyfold_fs::vfs::{Ino, OpenMode, RenameMode, SetAttr, Vfs};

use crate::bench::{Bench, assert_intact, at, pattern};
use crate::keeping::content;

const NAMES: u64 = 12;
const STEPS: u32 = 120;
const WRITE: OpenMode = OpenMode {
    read: true,
    write: true,
    append: false,
    truncate: false,
    sync: false,
};

/// What every file holds.
type Files = BTreeMap<String, Vec<u8>>;

/// Numbers that a seed repeats (`SplitMix64`).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn name(&mut self) -> String {
        format!("f{}", self.below(NAMES))
    }
}

struct Play {
    bench: Bench,
    files: Files,
    images: BTreeMap<ImageId, Files>,
    random: Random,
}

impl Play {
    fn new(seed: u64) -> Self {
        Self {
            bench: Bench::new(),
            files: Files::new(),
            images: BTreeMap::new(),
            random: Random(seed),
        }
    }

    fn ino(&self, name: &str) -> Ino {
        let found = self.bench.v().lookup(at(Ino::ROOT, name)).unwrap();
        self.bench.v().forget(found.attr.ino, 1);
        found.attr.ino
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=6 => self.write(),
            7 | 8 => self.truncate(),
            9..=11 => self.unlink(),
            12 => self.rename(),
            13 | 14 => self.bench.v().sync().unwrap(),
            15 => self.bench.remount(),
            16 => {
                self.bench.v().sync().unwrap();
                self.bench.crash();
            }
            17 | 18 => self.keep(),
            _ => self.drop_one(),
        }
    }

    fn write(&mut self) {
        let name = self.random.name();
        if !self.files.contains_key(&name) {
            self.bench.file(Ino::ROOT, &name, b"");
        }
        let offset = self.random.below(300_000);
        let length = 1 + self.random.below(400_000) as usize;
        let data = pattern(length, self.random.below(250));
        let ino = self.ino(&name);
        let handle = self.bench.v().open(ino, WRITE).unwrap();
        self.bench.write((ino, handle), offset, &data);
        if self.random.below(4) == 0 {
            self.bench.v().fsync(ino, handle).unwrap();
        }
        self.bench.v().release(ino, handle);
        let file = self.files.entry(name).or_default();
        let end = offset as usize + length;
        if file.len() < end {
            file.resize(end, 0);
        }
        file[offset as usize..end].copy_from_slice(&data);
    }

    fn truncate(&mut self) {
        let name = self.random.name();
        let size = self.random.below(500_000);
        let Some(file) = self.files.get_mut(&name) else {
            return;
        };
        file.resize(size as usize, 0);
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        let ino = self.ino(&name);
        self.bench.v().setattr(ino, None, &set).unwrap();
    }

    fn unlink(&mut self) {
        let name = self.random.name();
        if self.files.remove(&name).is_some() {
            self.bench.v().unlink(at(Ino::ROOT, &name)).unwrap();
        }
    }

    fn rename(&mut self) {
        let (from, to) = (self.random.name(), self.random.name());
        if from != to
            && let Some(file) = self.files.remove(&from)
        {
            let places = (at(Ino::ROOT, &from), at(Ino::ROOT, &to));
            let renamed = self
                .bench
                .v()
                .rename(places.0, places.1, RenameMode::Replace);
            renamed.unwrap();
            self.files.insert(to, file);
        }
    }

    fn keep(&mut self) {
        if self.images.len() < 5 {
            let made = self
                .bench
                .v()
                .keep_image(ImageKind::Snapshot, None)
                .unwrap();
            self.images.insert(made.id, self.files.clone());
        }
    }

    fn drop_one(&mut self) {
        let some = self.random.below(5) as usize;
        let Some(id) = self.images.keys().nth(some).copied() else {
            return;
        };
        self.images.remove(&id);
        self.bench.v().drop_image(id).unwrap();
    }

    fn verify(&self, when: &str) {
        let kept: Vec<_> = self.bench.v().images().iter().map(|i| i.id).collect();
        let known: Vec<_> = self.images.keys().copied().collect();
        assert_eq!(kept, known, "{when}");
        for (id, files) in &self.images {
            self.bench
                .v()
                .with_image(*id, |v| {
                    for n in 0..NAMES {
                        let name = format!("f{n}");
                        let found = content(v, &name);
                        assert!(found.as_ref() == files.get(&name), "{when}: {name} in {id}");
                    }
                })
                .unwrap();
        }
        for n in 0..NAMES {
            let name = format!("f{n}");
            let found = content(self.bench.v(), &name);
            assert!(found.as_ref() == self.files.get(&name), "{when}: {name}");
        }
        assert_intact(&self.bench.check(ReadData::Yes), when);
    }

    fn end(mut self) {
        self.verify("at the end");
        for id in self.images.keys() {
            self.bench.v().drop_image(*id).unwrap();
        }
        self.images.clear();
        for name in std::mem::take(&mut self.files).into_keys() {
            self.bench.v().unlink(at(Ino::ROOT, &name)).unwrap();
        }
        self.bench.remount();
        self.bench.mkdir(Ino::ROOT, "last");
        self.bench.remount();
        let status = self.bench.v().status();
        assert_eq!((status.live_bytes, status.held_back_bytes), (0, 0));
        assert_eq!(status.segments, 0, "segments that nothing names");
        let files = std::fs::read_dir(self.bench.path("segments")).unwrap();
        assert_eq!(files.count(), 0, "files of segments that nothing names");
        assert_eq!(
            self.bench.v().with_image(ImageId(1), |_| ()),
            Err(FsError::Stale(Ino::ROOT))
        );
    }
}

fn play(rounds: u32) {
    let seed = std::env::var("KEYFOLD_IMAGES_SEED");
    let seed = seed.map_or_else(
        |_| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_nanos() as u64
        },
        |text| text.parse().unwrap(),
    );
    for round in 0..rounds {
        let seed = seed.wrapping_add(u64::from(round));
        println!("KEYFOLD_IMAGES_SEED={seed}");
        let mut play = Play::new(seed);
        for step in 1..=STEPS {
            play.step();
            if step % 40 == 0 {
                play.verify(&format!("after step {step}"));
            }
        }
        play.end();
    }
}

#[test]
fn images_show_what_they_showed_whatever_is_done() {
    play(2);
}

#[test]
#[ignore = "takes minutes"]
fn images_show_what_they_showed_whatever_is_done_for_long() {
    play(60);
}
