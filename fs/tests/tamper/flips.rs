//! Every byte of a small vault flipped, one at a time.

use std::fs;
use std::path::{Path, PathBuf};

use keyfold_fs::check::ReadData;
use keyfold_fs::vfs::{Ino, Vfs};

use crate::seed::Seeded;
use crate::site::{How, READING, Site, WRITING, at, file, patch, write};
use crate::tree::{self, Tree, assert_committed_or_eio};

/// How a flipped byte showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The vault did not open.
    Refused,
    /// Something could not be read, and there was a security event.
    Events,
    /// Everything was read as it was committed.
    Nothing,
}

/// Vaults of one making that share the bytes to be flipped.
const PARTS: usize = 4;

/// All bytes of the vault's files but the reserve's, which hold nothing.
fn bytes_of(vault: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for dir in [vault.to_owned(), vault.join("segments")] {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() && entry.file_name() != "reserve" {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    let all = |file: PathBuf| {
        let length = fs::metadata(&file).unwrap().len();
        (0..length).map(move |at| (file.clone(), at))
    };
    files.into_iter().flat_map(all).collect()
}

fn open_and_compare(site: &Site, how: How, committed: &Tree, when: &str) -> Outcome {
    let volume = match site.open(how) {
        Ok(volume) => volume,
        Err(refused) => {
            assert!(refused.is_damage(), "{when}: {refused}");
            return Outcome::Refused;
        }
    };
    let failed = assert_committed_or_eio(&tree::read(&volume), committed, when);
    let events = volume.status().security_events;
    let _ = volume.close();
    assert!(
        failed == 0 || events > 0,
        "{when}: an error without an event"
    );
    if events > 0 {
        Outcome::Events
    } else {
        Outcome::Nothing
    }
}

fn flip(path: &Path, at: u64, mask: u8) -> u8 {
    let byte = fs::read(path).unwrap()[at as usize];
    patch(path, at, &[byte ^ mask]);
    byte
}

/// Flips each of these bytes, and compares what is read and what a check says.
fn sweep(site: &Site, bytes: Vec<(PathBuf, u64)>, random: &mut Seeded) {
    let committed = site.tree();
    let (mut refused, mut events, mut nothing) = (0, 0, 0);
    let total = bytes.len();
    for (path, at) in bytes {
        let mask = random.below(255) as u8 + 1;
        let when = format!("{} byte {at} xor {mask:#04x}", path.display());
        let byte = flip(&path, at, mask);
        let outcome = open_and_compare(site, READING, &committed, &when);
        match outcome {
            Outcome::Refused => refused += 1,
            Outcome::Events => events += 1,
            Outcome::Nothing => nothing += 1,
        }
        // What was read without a word is not in use; a check reads no more than is in use.
        let told = site.check(ReadData::Yes).map_or(true, |r| r.damaged() > 0);
        assert!(
            told || outcome == Outcome::Nothing,
            "{when}: check finds nothing"
        );
        assert!(
            told || !path.ends_with("meta.db"),
            "{when}: check finds nothing"
        );
        patch(&path, at, &[byte]);
    }
    println!("{total} bytes: {refused} refused, {events} with events, {nothing} read as committed");
    assert_eq!(site.tree(), committed);
    assert_eq!(site.check(ReadData::Yes).unwrap().damaged(), 0);
}

#[test]
fn a_flipped_byte_is_noticed_or_changes_nothing() {
    let site = Site::with_files();
    let mut random = Seeded::new();
    let bytes = random.sample(bytes_of(&site.vault()), 300);
    sweep(&site, bytes, &mut random);
}

#[test]
#[ignore = "slow: every byte of a small vault; scripts/test --all"]
fn every_flipped_byte_is_noticed_or_changes_nothing() {
    std::thread::scope(|scope| {
        for part in 0..PARTS {
            scope.spawn(move || {
                let site = Site::with_files();
                let all = bytes_of(&site.vault()).into_iter().skip(part);
                sweep(&site, all.step_by(PARTS).collect(), &mut Seeded::new());
            });
        }
    });
}

#[test]
fn a_flipped_byte_is_noticed_or_changes_nothing_when_writing_too() {
    let site = Site::with_files();
    let committed = site.tree();
    let mut random = Seeded::new();
    site.keep("whole");
    site.keep_pins("pins-whole");
    for (path, at) in random.sample(bytes_of(&site.vault()), 40) {
        let mask = random.below(255) as u8 + 1;
        let when = format!("{} byte {at} xor {mask:#04x}", path.display());
        flip(&path, at, mask);
        open_and_compare(&site, WRITING, &committed, &when);
        // What opening made good is not worse than before.
        open_and_compare(&site, WRITING, &committed, &format!("again, {when}"));
        site.bring_back("whole");
        site.bring_back_pins("pins-whole");
    }
}

/// A vault as a crash left it: synced changes in the journal and in the log of the database.
/// Returns every state it was in since it was pinned last.
fn unclean() -> (Site, Vec<Tree>) {
    let site = Site::with_files();
    let volume = site.open(WRITING).unwrap();
    let mut states = vec![tree::read(&volume)];
    let docs = volume.lookup(at(Ino::ROOT, "docs")).unwrap().attr.ino;
    let note = volume.lookup(at(docs, "note")).unwrap().attr.ino;
    file(&volume, docs, "logged", &[7; 6000]);
    states.push(tree::read(&volume));
    volume.sync().unwrap();
    for n in 0..4 {
        write(&volume, note, format!("journaled {n}").as_bytes());
        states.push(tree::read(&volume));
        let handle = volume.open(note, crate::site::RW).unwrap();
        volume.fsync(note, handle).unwrap();
        volume.release(note, handle);
    }
    // As it lies there: closing the database in any way tidies up.
    site.keep("unclean");
    volume.crash();
    drop(volume);
    site.bring_back("unclean");
    (site, states)
}

#[test]
fn a_flipped_byte_after_a_crash_gives_a_state_that_was() {
    let (site, states) = unclean();
    assert_eq!(&site.tree(), states.last().unwrap());
    let mut random = Seeded::new();
    let vault = site.vault();
    let journal = (0..8 * 512).map(|at| (vault.join("journal"), at));
    let log = fs::metadata(vault.join("meta.db-wal")).unwrap().len();
    assert!(log > 4096, "nothing is in the log");
    let log = (0..16 * 4096.min(log)).map(|at| (vault.join("meta.db-wal"), at));
    let mut bytes = random.sample(journal.collect(), 60);
    bytes.extend(random.sample(log.collect(), 60));
    let mut fewer = 0;
    for (path, at) in bytes {
        let byte = flip(&path, at, 0x10);
        let when = format!("{} byte {at}", path.display());
        match site.open(READING) {
            Ok(volume) => {
                let found = tree::read(&volume);
                assert!(states.contains(&found), "{when}: a state that never was");
                fewer += usize::from(Some(&found) != states.last());
            }
            Err(refused) => assert!(refused.is_damage(), "{when}: {refused}"),
        }
        patch(&path, at, &[byte]);
    }
    assert!(fewer > 0, "no flip met a record");
}
