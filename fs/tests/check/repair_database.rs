//! A database that is lost or damaged comes back from a kept image.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use keyfold_fs::check::ReadData;
use keyfold_fs::layout::ImageKind;
use keyfold_fs::repair::{RepairError, RepairOptions};
use keyfold_fs::vault::Access;
use keyfold_fs::vfs::{Ino, Vfs};
use keyfold_fs::volume::VolumeError;

use crate::bench::{Bench, assert_intact, at, pattern};
use crate::database::change_inode;
use crate::repair::{read, repaired, try_repair};

fn keep(bench: &Bench, name: &str) {
    bench
        .v()
        .keep_image(ImageKind::Snapshot, Some(name))
        .unwrap();
}

/// `old` from before the image `kept`; `gone` deleted and `new` made since, in a segment of its
/// own and at the end of the first.
fn with_image() -> Bench {
    let mut bench = Bench::new();
    bench.file(Ino::ROOT, "old", &pattern(200 * 4096, 1));
    bench.file(Ino::ROOT, "gone", &pattern(100 * 4096, 2));
    keep(&bench, "kept");
    bench.v().unlink(at(Ino::ROOT, "gone")).unwrap();
    bench.file(Ino::ROOT, "tail", &pattern(10 * 4096, 3));
    bench.v().sync().unwrap();
    bench.remount();
    bench.file(Ino::ROOT, "new", &pattern(50 * 4096, 4));
    bench.close();
    bench
}

#[track_caller]
fn assert_restored(mut bench: Bench) {
    let report = repaired(&mut bench);
    assert_eq!(report.restored.as_ref().unwrap().name, "kept");
    assert_intact(&report.check, "restored");
    bench.open(Access::ReadWrite);
    let v = bench.v();
    assert!(read(v, "old").unwrap() == pattern(200 * 4096, 1));
    assert!(read(v, "gone").unwrap() == pattern(100 * 4096, 2));
    assert!(v.lookup(at(Ino::ROOT, "new")).is_err());
    let images = v.images();
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].name, "kept", "the image is still one");
    bench.v().unlink(at(Ino::ROOT, "gone")).unwrap();
    bench.file(Ino::ROOT, "since", &pattern(60 * 4096, 6));
    bench.v().sync().unwrap();
    bench.remount();
    let id = bench.v().images()[0].id;
    let gone = bench.v().with_image(id, |v| read(v, "gone")).unwrap();
    assert!(
        gone.unwrap() == pattern(100 * 4096, 2),
        "it still shows what it showed"
    );
    assert_intact(&bench.check(ReadData::Yes), "used after the repair");
}

#[test]
fn a_missing_database_is_restored() {
    let bench = with_image();
    fs::remove_file(bench.path("meta.db")).unwrap();
    assert_restored(bench);
}

#[test]
fn a_damaged_database_is_restored_and_kept_aside_with_all_that_only_it_knew() {
    let mut bench = with_image();
    let path = bench.path("meta.db");
    let newest = bench.path("segments/000002");
    let (segment, first) = (
        fs::read(&newest).unwrap(),
        fs::read(bench.path("segments/000001")).unwrap(),
    );
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0x55; 64], 3 * 4096 + 500).unwrap();
    let damaged = fs::read(&path).unwrap();
    match bench.try_open(Access::ReadWrite) {
        Err(VolumeError::DatabaseDamaged { images, .. }) => assert_eq!(images, ["kept"]),
        Err(e) => panic!("{e}"),
        // The page is not read by opening.
        Ok(volume) => drop(volume.close()),
    }
    let report = repaired(&mut bench);
    let aside = report.aside.clone().unwrap();
    assert!(aside.ends_with("damaged/1"), "{}", aside.display());
    assert!(fs::read(aside.join("meta.db")).unwrap() == damaged);
    assert!(fs::read(aside.join("segments/000002")).unwrap() == segment);
    let tail = fs::read(aside.join("segments/000001")).unwrap();
    assert_eq!(tail.len(), first.len());
    let kept = 300 * 4096;
    assert!(tail[..kept].iter().all(|b| *b == 0));
    assert!(
        tail[kept..] == first[kept..],
        "what came after the image is kept"
    );
    assert_restored_again(bench);
}

fn assert_restored_again(mut bench: Bench) {
    let report = repaired(&mut bench);
    assert_eq!(
        (report.restored, report.aside),
        (None, None),
        "nothing is left to do"
    );
    bench.open(Access::ReadWrite);
    assert!(read(bench.v(), "old").unwrap() == pattern(200 * 4096, 1));
}

#[test]
fn every_way_to_ruin_a_database_is_survived() {
    type Ruin = fn(&Bench);
    let ruins: [(&str, Ruin); 5] = [
        ("emptied", |b| fs::write(b.path("meta.db"), "").unwrap()),
        ("cut", |b| {
            let whole = fs::read(b.path("meta.db")).unwrap();
            fs::write(b.path("meta.db"), &whole[..whole.len() / 2]).unwrap();
        }),
        ("zeroed", |b| {
            let length = fs::metadata(b.path("meta.db")).unwrap().len();
            fs::write(b.path("meta.db"), vec![0; length as usize]).unwrap();
        }),
        ("of another vault", |b| {
            let mut other = Bench::new();
            other.close();
            fs::copy(other.path("meta.db"), b.path("meta.db")).unwrap();
        }),
        ("with another schema", |b| {
            b.edit(|db| db.execute_batch("DROP TABLE xattr").unwrap());
        }),
    ];
    for (what, ruin) in ruins {
        let bench = with_image();
        ruin(&bench);
        assert!(bench.try_open(Access::ReadWrite).is_err(), "{what}");
        assert_restored(bench);
    }
}

#[test]
fn a_log_of_the_lost_database_does_not_reach_the_restored_one() {
    let mut bench = with_image();
    bench.open(Access::ReadWrite);
    bench.file(Ino::ROOT, "logged", &pattern(4096, 1));
    bench.v().sync().unwrap();
    bench.v().crash();
    let log = fs::read(bench.path("meta.db-wal")).unwrap();
    assert!(log.iter().any(|b| *b != 0));
    // Letting go of the database, the process empties the log, which a crash does not.
    bench.forget();
    fs::write(bench.path("meta.db-wal"), log).unwrap();
    fs::remove_file(bench.path("meta.db")).unwrap();
    assert_restored(bench);
}

#[test]
fn without_an_image_nothing_is_changed() {
    let (mut bench, _) = Bench::with_letter();
    bench.close();
    fs::write(bench.path("meta.db"), "nonsense").unwrap();
    let error = try_repair(&mut bench, &RepairOptions::default()).unwrap_err();
    assert!(matches!(error, RepairError::NoImage { .. }), "{error}");
    assert_eq!(fs::read(bench.path("meta.db")).unwrap(), b"nonsense");
    assert!(!bench.path("damaged").exists());
}

#[test]
fn a_damaged_image_is_passed_over_for_an_older_whole_one() {
    let mut bench = with_image();
    bench.open(Access::ReadWrite);
    keep(&bench, "newer");
    bench.close();
    let file = OpenOptions::new()
        .write(true)
        .open(bench.path("images/000002.db"))
        .unwrap();
    file.write_all_at(&[1; 100], 4096 + 300).unwrap();
    fs::remove_file(bench.path("meta.db")).unwrap();
    let image = fs::read(bench.path("images/000002.db")).unwrap();
    let report = repaired(&mut bench);
    let aside = report.aside.unwrap();
    assert!(fs::read(aside.join("images/000002.db")).unwrap() == image);
    assert_eq!(report.restored.unwrap().name, "kept");
    assert_intact(&report.check, "restored from the older one");
}

#[test]
fn going_back_by_name_keeps_the_newer_images() {
    let mut bench = with_image();
    bench.open(Access::ReadWrite);
    keep(&bench, "newer");
    bench.file(Ino::ROOT, "last", b"x");
    bench.close();
    let missing = RepairOptions {
        from: Some("never".to_owned()),
        ..RepairOptions::default()
    };
    let error = try_repair(&mut bench, &missing).unwrap_err();
    let named = matches!(&error, RepairError::NotThisImage { whole, .. } if whole.len() == 2);
    assert!(named, "{error}");
    let options = RepairOptions {
        from: Some("kept".to_owned()),
        read_data: ReadData::Yes,
        ..RepairOptions::default()
    };
    let report = try_repair(&mut bench, &options).unwrap();
    assert_eq!(report.restored.unwrap().name, "kept");
    assert_intact(&report.check, "gone back");
    bench.open(Access::ReadWrite);
    assert!(read(bench.v(), "gone").unwrap() == pattern(100 * 4096, 2));
    for round in 0..2 {
        let images = bench.v().images();
        let names: Vec<&str> = images.iter().map(|i| &*i.name).collect();
        assert_eq!(names, ["kept", "newer"]);
        let new = bench.v().with_image(images[1].id, |v| read(v, "new"));
        assert!(
            new.unwrap().unwrap() == pattern(50 * 4096, 4),
            "round {round}"
        );
        bench.file(Ino::ROOT, &format!("{round}"), &pattern(90 * 4096, round));
        bench.remount();
        assert_intact(&bench.check(ReadData::Yes), "used after going back");
    }
    let options = RepairOptions {
        from: Some("newer".to_owned()),
        ..RepairOptions::default()
    };
    let report = try_repair(&mut bench, &options).unwrap();
    assert_intact(&report.check, "and forth");
    bench.open(Access::ReadWrite);
    assert!(read(bench.v(), "new").unwrap() == pattern(50 * 4096, 4));
}

#[test]
fn an_altered_database_names_the_images_to_go_back_to() {
    let mut bench = with_image();
    bench.edit(|db| change_inode(db, Ino::ROOT, |row| row.perm = 0o777));
    let error = try_repair(&mut bench, &RepairOptions::default()).unwrap_err();
    let named = matches!(&error, RepairError::Altered { whole } if *whole == ["kept"]);
    assert!(named, "{error}");
    let options = RepairOptions {
        from: Some("kept".to_owned()),
        ..RepairOptions::default()
    };
    try_repair(&mut bench, &options).unwrap();
    bench.open(Access::ReadOnly);
    assert_intact(&bench.check(ReadData::Yes), "gone back");
}

#[test]
fn an_image_that_is_damaged_is_forgotten_and_kept_aside() {
    let mut bench = with_image();
    let path = bench.path("images/000001.db");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[1; 100], 4096 + 300).unwrap();
    let report = repaired(&mut bench);
    assert_intact(&report.check, "repaired");
    assert!(report.restored.is_none());
    assert!(!path.exists());
    assert!(report.aside.unwrap().join("images/000001.db").exists());
    bench.open(Access::ReadWrite);
    assert_eq!(bench.v().images(), []);
    assert_eq!(bench.v().status().held_back_bytes, 0);
    assert!(read(bench.v(), "new").unwrap() == pattern(50 * 4096, 4));
}

/// Bytes all over the database, one after the other: what is read afterwards is what was there at
/// the last commit or at the image, and nothing else.
#[test]
fn a_flipped_byte_anywhere_ends_in_the_last_commit_or_the_image() {
    let mut random = Random::seeded("KEYFOLD_REPAIR_SEED");
    let rounds: u32 = std::env::var("KEYFOLD_REPAIR_ROUNDS").map_or(6, |n| n.parse().unwrap());
    for _ in 0..rounds {
        let mut bench = with_image();
        let path = bench.path("meta.db");
        let length = fs::metadata(&path).unwrap().len();
        let at = random.below(length);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0] ^= 1 << random.below(8);
        file.write_all_at(&byte, at).unwrap();
        let report = repaired(&mut bench);
        assert_intact(&report.check, &format!("byte {at}"));
        bench.open(Access::ReadWrite);
        assert!(
            read(bench.v(), "old").unwrap() == pattern(200 * 4096, 1),
            "byte {at}"
        );
        let (gone, new) = (read(bench.v(), "gone"), read(bench.v(), "new"));
        match report.restored {
            Some(_) => assert!(gone.unwrap() == pattern(100 * 4096, 2) && new.is_err()),
            None => assert!(new.unwrap() == pattern(50 * 4096, 4) && gone.is_err()),
        }
        bench.remount();
        assert_intact(
            &bench.check(ReadData::Yes),
            &format!("used after byte {at}"),
        );
    }
}

/// Numbers that a seed repeats (`SplitMix64`).
struct Random(u64);

impl Random {
    fn seeded(variable: &str) -> Self {
        let seed = std::env::var(variable).ok().and_then(|s| s.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            let now = std::time::SystemTime::now();
            now.duration_since(std::time::UNIX_EPOCH)
                .unwrap()
                .as_nanos() as u64
        });
        println!("{variable}={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}
