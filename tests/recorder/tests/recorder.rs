//! A directory behind a recorder is a directory like any other, and its log says how it came to be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use keyfold_recorder::{AfterFailedSync, Call, Fault, How, Lasting, Loss, Recorder, Step};
use tempfile::TempDir;

struct Place {
    recorder: Option<Recorder>,
    beneath: PathBuf,
    mount: PathBuf,
    around: TempDir,
}

impl Place {
    fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        let [beneath, mount] = ["beneath", "mount"].map(|name| around.path().join(name));
        fs::create_dir(&beneath).unwrap();
        fs::create_dir(&mount).unwrap();
        fs::create_dir(beneath.join("dir")).unwrap();
        fs::write(beneath.join("dir/old"), "old").unwrap();
        let recorder = Some(Recorder::mount(&beneath, &mount).unwrap());
        Self {
            recorder,
            beneath,
            mount,
            around,
        }
    }

    fn recorder(&self) -> &Recorder {
        self.recorder.as_ref().unwrap()
    }

    /// The tree that a crash leaves after so many steps.
    fn rebuilt(&self, steps: usize, loss: Loss) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut disk = self.recorder().disk(AfterFailedSync::StillWritten);
        for step in &self.recorder().steps()[..steps] {
            disk.apply(step);
        }
        let path = self.around.path().join("rebuilt");
        disk.image(loss).write_to(&path).unwrap();
        let tree = tree(&path);
        fs::remove_dir_all(path).unwrap();
        tree
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Before the directory around it goes.
        self.recorder = None;
    }
}

fn tree(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![path.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                left.push(entry);
            } else {
                let name = entry.strip_prefix(path).unwrap().to_owned();
                found.insert(name, fs::read(entry).unwrap());
            }
        }
    }
    found
}

fn change_a_lot(mount: &Path) {
    fs::create_dir(mount.join("made")).unwrap();
    let mut file = File::create_new(mount.join("made/file")).unwrap();
    file.write_all(&vec![1; 300_000]).unwrap();
    file.sync_all().unwrap();
    file.write_all_at(&[2; 5000], 100_001).unwrap();
    file.set_len(250_000).unwrap();
    let punch = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, 8192, 40_960).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 400_000).unwrap();
    fs::write(mount.join("made/new"), "new").unwrap();
    fs::rename(mount.join("made/new"), mount.join("made/file2")).unwrap();
    fs::write(mount.join("dir/gone"), "gone").unwrap();
    fs::remove_file(mount.join("dir/gone")).unwrap();
    let mut old = OpenOptions::new()
        .append(true)
        .open(mount.join("dir/old"))
        .unwrap();
    old.write_all(b" and new").unwrap();
    fs::create_dir(mount.join("empty")).unwrap();
    fs::remove_dir(mount.join("empty")).unwrap();
    File::open(mount.join("made")).unwrap().sync_all().unwrap();
}

#[test]
fn what_was_done_through_it_is_beneath_and_is_rebuilt() {
    let place = Place::new();
    let before = tree(&place.beneath);
    change_a_lot(&place.mount);
    let after = tree(&place.beneath);
    assert_eq!(after, tree(&place.mount));
    assert_eq!(after[Path::new("dir/old")], b"old and new");
    let end = place.recorder().position();
    assert_eq!(place.rebuilt(0, Loss::Nothing), before);
    assert_eq!(place.rebuilt(end, Loss::Nothing), after);
}

#[test]
fn each_step_of_the_log_leads_to_what_was_there_then() {
    let place = Place::new();
    let mut moments = vec![(0, tree(&place.beneath))];
    for n in 0..20u8 {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(n % 7 == 0)
            .open(place.mount.join(format!("f{}", n % 3)))
            .unwrap();
        file.write_all_at(&[n; 700], u64::from(n) * 333).unwrap();
        moments.push((place.recorder().position(), tree(&place.beneath)));
    }
    for (position, seen) in moments {
        assert!(
            place.rebuilt(position, Loss::Nothing) == seen,
            "after {position} steps"
        );
    }
}

fn fault(call: Call, nth: u64, how: How, lasting: Lasting) -> Fault {
    Fault {
        call,
        of: None,
        nth,
        how,
        lasting,
    }
}

#[test]
fn the_call_that_was_asked_for_fails_and_no_other() {
    let place = Place::new();
    let file = File::create(place.mount.join("f")).unwrap();
    let eio = How::Errno(libc::EIO);
    place
        .recorder()
        .arm(Some(fault(Call::Write, 2, eio, Lasting::Once)));
    let done: Vec<bool> = (0..5).map(|n| file.write_at(b"x", n).is_ok()).collect();
    assert_eq!(done, [true, true, false, true, true]);
    place
        .recorder()
        .arm(Some(fault(Call::Sync, 1, eio, Lasting::Onwards)));
    let done: Vec<bool> = (0..4).map(|_| file.sync_data().is_ok()).collect();
    assert_eq!(done, [true, false, false, false]);
    assert_eq!(place.recorder().hits().len(), 3);
    let last = place.recorder().steps().pop().unwrap();
    assert!(matches!(last, Step::SyncFailed { .. }), "{last:?}");
}

#[test]
fn a_short_call_does_half_of_what_it_was_asked() {
    let place = Place::new();
    let path = place.mount.join("f");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .unwrap();
    place
        .recorder()
        .arm(Some(fault(Call::Write, 0, How::Short, Lasting::Once)));
    assert_eq!(file.write(&[1; 100]).unwrap(), 50);
    assert_eq!(file.write(&[1; 100]).unwrap(), 100);
    place
        .recorder()
        .arm(Some(fault(Call::Read, 0, How::Short, Lasting::Once)));
    let mut buffer = [0; 100];
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 50);
    assert_eq!(file.read(&mut buffer).unwrap(), 0, "at the end");
}

#[test]
fn who_was_killed_changes_nothing_any_more() {
    let place = Place::new();
    let file = File::create(place.mount.join("f")).unwrap();
    place.recorder().kill_at(place.recorder().position() + 1);
    file.write_all_at(b"one", 0).unwrap();
    assert!(place.recorder().is_killed());
    let refused = file.write_all_at(b"two", 0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EIO));
    assert!(fs::remove_file(place.mount.join("f")).is_err());
    place.recorder().revive();
    let refused = file.write_all_at(b"two", 0).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EIO), "the dead write on");
    let other = OpenOptions::new()
        .write(true)
        .open(place.mount.join("f"))
        .unwrap();
    other.write_all_at(b"six", 0).unwrap();
    assert_eq!(fs::read(place.beneath.join("f")).unwrap(), b"six");
    let missing = File::open(place.mount.join("missing")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}
