//! What goes over the wire: packs side by side, none of them twice, and no more than what changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keyfold_fs::vfs::Vfs;
use keyfold_protocol::roster::Role;

use super::site::{People, Site, assert_same, pattern, share};
use super::snapshots::{add, alone};
use crate::account::Session;
use crate::remote::tests::run;
use crate::remote::tests::script::{Answer, Seen};
use crate::sharing::Reads;

fn is_piece(seen: &Seen) -> bool {
    seen.head.starts_with("PUT") && seen.path().contains("/blobs/")
}

/// Blobs that were sent, and their bytes.
fn sent(people: &People) -> (Vec<String>, usize) {
    let seen = people.scene.script.take();
    let pieces: Vec<&Seen> = seen.iter().filter(|seen| is_piece(seen)).collect();
    let blob = |seen: &&Seen| seen.path().split('?').next().unwrap_or_default().to_owned();
    let mut blobs: Vec<String> = pieces.iter().map(blob).collect();
    blobs.sort();
    blobs.dedup();
    (blobs, pieces.iter().map(|seen| seen.body.len()).sum())
}

const LARGE: usize = 40 << 20;

#[test]
fn packs_that_arrived_before_sending_broke_off_are_not_sent_again() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("large", &pattern(LARGE, 1));
    let pieces = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&pieces);
    people.scene.meddle(move |seen, _| {
        let late = is_piece(seen) && counted.fetch_add(1, Ordering::Relaxed) >= 24;
        late.then(|| Answer::Bytes(Vec::new()))
    });
    run(alice.sync.push()).unwrap_err();
    people.scene.be_honest();
    let there = alice.sync.arrived.lock().blobs();
    assert!(!there.is_empty(), "some arrived");
    // Whatever was on its way is counted, and may be after this.
    people.scene.script.take();
    // As after the program ended.
    alice.v().sync().unwrap();
    alice.again();
    assert_eq!(alice.sync.arrived.lock().blobs(), there);
    alice.push();
    let (blobs, _) = sent(&people);
    let node = alice.v().share_member(alice.ino("large")).unwrap().unwrap();
    let node = keyfold_protocol::ids::NodeId(node.1.0);
    let base = Arc::clone(&alice.sync.base);
    let named = &base.node(node).unwrap().content().unwrap().packs;
    for blob in there {
        assert!(named.contains_key(&blob), "what arrived is used");
        let again = blobs.iter().any(|path| path.ends_with(&blob.to_string()));
        assert!(!again, "and not sent again");
    }
    assert!(alice.sync.arrived.lock().is_empty());
    bob.pull();
    alice.again();
    assert_same(&alice, &bob);
}

#[test]
fn packs_that_the_server_lost_meanwhile_are_sent_again() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("large", &pattern(10 << 20, 1));
    people.scene.meddle(|seen, _| {
        let append = seen.head.starts_with("POST") && seen.path().ends_with("/records");
        append.then(|| Answer::Reply(500, Vec::new()))
    });
    run(alice.sync.push()).unwrap_err();
    assert_eq!(alice.sync.arrived.lock().blobs().len(), 3);
    alice.sync.in_flight = None;
    // It says of what it is asked for that it does not have it.
    people.scene.meddle(|seen, _| {
        let asked = seen.path().ends_with("/blobs/missing");
        asked.then(|| Answer::Reply(200, seen.body.clone()))
    });
    people.scene.script.take();
    alice.push();
    assert_eq!(sent(&people).0.len(), 3);
    people.scene.be_honest();
    bob.pull();
    assert_same(&alice, &bob);
}

#[test]
fn several_packs_are_on_their_way_at_once_and_never_more_than_four() {
    let people = People::new();
    let (a, _) = people.sessions();
    let (mut alice, _) = alone(&people, &a);
    alice.file("large", &pattern(48 << 20, 1));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, highest) = (Arc::clone(&now), Arc::clone(&most));
    people.scene.meddle(move |seen, real| {
        if !is_piece(seen) {
            return None;
        }
        let there = counted.fetch_add(1, Ordering::SeqCst) + 1;
        highest.fetch_max(there, Ordering::SeqCst);
        // Long enough for others to come beside it.
        std::thread::sleep(Duration::from_millis(20));
        let counted = Arc::clone(&counted);
        Some(Answer::Forward(
            real,
            Box::new(move |body| {
                counted.fetch_sub(1, Ordering::SeqCst);
                body
            }),
        ))
    });
    alice.push();
    let most = most.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most), "{most}");
}

#[test]
fn a_large_tree_goes_out_in_records_of_which_each_stays_sent() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, id) = alone(&people, &a);
    add(&a, id, "bob", (Role::Writer, Reads::ThisEpoch));
    let mut bob = Site::try_begin((&people.bob, &b), id).unwrap();
    for n in 0..5 {
        alice.mkdir(&format!("dir {n}"));
        alice.file(&format!("dir {n}/file"), &pattern(24 << 20, n));
    }
    let appends = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&appends);
    people.scene.meddle(move |seen, _| {
        let append = seen.head.starts_with("POST") && seen.path().ends_with("/records");
        let late = append && counted.fetch_add(1, Ordering::Relaxed) >= 1;
        late.then(|| Answer::Reply(500, Vec::new()))
    });
    run(alice.sync.push()).unwrap_err();
    people.scene.be_honest();
    people.scene.script.take();
    bob.pull();
    let came = bob
        .paths()
        .iter()
        .filter(|path| path.ends_with("/file"))
        .count();
    assert!((1..5).contains(&came), "{came} files are there already");
    alice.again();
    alice.push();
    assert_eq!(sent(&people), (Vec::new(), 0), "all packs had arrived");
    bob.pull();
    assert_same(&alice, &bob);
    alice.again();
    assert!(alice.v().take_marks(alice.sync.share).unwrap().is_empty());
}

#[test]
fn a_file_that_takes_the_place_of_another_comes_when_that_goes() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, id) = alone(&people, &a);
    add(&a, id, "bob", (Role::Writer, Reads::ThisEpoch));
    let mut bob = Site::try_begin((&people.bob, &b), id).unwrap();
    alice.file("saved", b"old");
    alice.push();
    bob.pull();
    alice.file("a large one", &pattern(70 << 20, 1));
    alice.file("saved.tmp", b"new");
    alice.rename("saved.tmp", "saved");
    people.scene.meddle(|seen, _| {
        let append = seen.head.starts_with("POST") && seen.path().ends_with("/records");
        append.then(|| Answer::Reply(500, Vec::new()))
    });
    run(alice.sync.push()).unwrap_err();
    people.scene.be_honest();
    bob.pull();
    assert_eq!(bob.read("saved"), b"old", "never missing");
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
}

/// One block of a file of so many MiB is changed.
fn sends_one_block(mib: usize) {
    let people = People::new();
    let (a, _) = people.sessions();
    let (mut alice, _) = alone(&people, &a);
    alice.file("large", &pattern(mib << 20, 1));
    alice.push();
    let (packs, bytes) = sent(&people);
    println!("{mib} MiB: {} packs, {bytes} bytes", packs.len());
    let before = alice.v().blocks_viewed();
    alice.overwrite("large", 30 << 20, &[7; 4096]);
    alice.push();
    assert_eq!(alice.v().blocks_viewed() - before, 1, "blocks read");
    let calls = people.scene.script.seen().len();
    let (blobs, bytes) = sent(&people);
    assert_eq!((blobs.len(), bytes), (1, 8 + 81 + 64 + 4096));
    // Records, receipt, piece, descriptors of the leaf that changed.
    assert!(calls <= 12, "{calls} calls");
}

#[test]
fn one_changed_block_of_a_large_file_is_all_that_is_read_and_sent() {
    sends_one_block(64);
}

#[test]
#[ignore = "long"]
fn one_changed_block_of_a_gibibyte_is_all_that_is_read_and_sent() {
    sends_one_block(1024);
}

/// Bytes of blobs that were asked for, and calls for them.
fn asked(people: &People) -> (usize, usize) {
    let seen = people.scene.script.take();
    let gets = seen.iter().filter(|seen| {
        let path = seen.path();
        seen.head.starts_with("GET") && path.contains("/blobs/") && !path.ends_with("/state")
    });
    let bytes = |seen: &Seen| -> usize {
        let head = seen.head.to_ascii_lowercase();
        let range = head
            .lines()
            .find_map(|line| line.strip_prefix("range: bytes="));
        let (first, last) = range.unwrap().trim().split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        last + 1 - first
    };
    let all: Vec<usize> = gets.map(bytes).collect();
    (all.iter().sum(), all.len())
}

/// Reads parts of a file, each by itself.
fn read_parts(site: &Site<'_, '_>, path: &str, offsets: impl Iterator<Item = u64>, len: usize) {
    use keyfold_fs::vfs::{FileRange, OpenMode};
    let ino = site.ino(path);
    let mode = OpenMode {
        write: false,
        ..super::site::RW
    };
    let handle = site.v().open(ino, mode).unwrap();
    for offset in offsets {
        let range = FileRange {
            ino,
            handle,
            offset,
        };
        let mut data = vec![0; len];
        assert_eq!(site.v().read(range, &mut data).unwrap(), len);
        let expected = &pattern(offset as usize + len, 1)[offset as usize..];
        assert!(data == expected, "at {offset}");
    }
    site.v().release(ino, handle);
}

#[test]
fn who_reads_from_end_to_end_has_large_pieces_asked_for_ahead_and_none_twice() {
    reads_from_end_to_end(|part| part);
}

#[test]
fn what_the_kernel_asks_for_in_parts_that_overtake_each_other_is_asked_for_ahead_as_well() {
    // The last of each four first.
    reads_from_end_to_end(|part| part ^ 3);
}

/// Reads all of a file, each part once.
fn reads_from_end_to_end(nth: impl Fn(u64) -> u64) {
    const SIZE: usize = 12 << 20;
    const PART: usize = 128 << 10;
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("large", &pattern(SIZE, 1));
    alice.push();
    bob.pull();
    people.scene.script.take();
    let all = (0..(SIZE / PART) as u64).map(|n| nth(n) * PART as u64);
    read_parts(&bob, "large", all, PART);
    let (bytes, calls) = asked(&people);
    assert!(calls < SIZE / PART / 2, "{calls} calls");
    assert!(bytes < SIZE + SIZE / 20, "{bytes} bytes");
}

#[test]
fn who_reads_here_and_there_gets_what_he_reads() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("large", &pattern(32 << 20, 1));
    alice.push();
    bob.pull();
    people.scene.script.take();
    read_parts(
        &bob,
        "large",
        [5_u64, 1, 3, 7, 2].into_iter().map(|n| n << 22),
        4096,
    );
    let (bytes, _) = asked(&people);
    // Each lies in a pack of its own.
    let descriptors = 5 * (8 + 81 + 64 * 1008);
    assert!(bytes <= 5 * 4096 + descriptors, "{bytes} bytes");
}

/// Names of a directory, in the order of a listing.
fn listed(site: &Site<'_, '_>, dir: &str) -> Vec<String> {
    let entries = site.v().view_entries(site.ino(dir)).unwrap();
    let name = |name| format!("{dir}/{}", String::from_utf8(name).unwrap());
    entries.into_iter().map(|entry| name(entry.name)).collect()
}

/// Alice has directories of small files, of which Bob has read nothing.
fn small_files<'s, 'a>(
    people: &'a People,
    (a, b): (&'s Session<'a>, &'s Session<'a>),
) -> (Site<'s, 'a>, Site<'s, 'a>) {
    let id = share(a);
    let mut alice = Site::begin((&people.alice, a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, b), id, |_, _| {});
    for n in 0..600 {
        if n % 200 == 0 {
            alice.mkdir(&format!("dir {}", n / 200));
        }
        let size = if n == 300 { 20 * 4096 } else { 100 + n * 10 };
        alice.file(&format!("dir {}/{n}", n / 200), &pattern(size, n as u8));
    }
    alice.push();
    bob.pull();
    people.scene.script.take();
    (alice, bob)
}

#[test]
fn small_files_that_are_read_one_after_the_other_come_in_few_calls() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (_alice, bob) = small_files(&people, (&a, &b));
    for dir in ["dir 2", "dir 0", "dir 1"] {
        for path in listed(&bob, dir) {
            let n: usize = path.rsplit_once('/').unwrap().1.parse().unwrap();
            let size = if n == 300 { 20 * 4096 } else { 100 + n * 10 };
            assert_eq!(bob.read(&path), pattern(size, n as u8), "{path}");
        }
    }
    let (bytes, calls) = asked(&people);
    println!("{calls} calls, {bytes} bytes");
    assert!(calls <= 600 / 10, "{calls} calls");
    // At the end of each directory something is asked for beyond it.
    let all = 600 * (8192 + 64);
    assert!(bytes <= all * 5 / 4, "{bytes} bytes");
}

#[test]
fn who_reads_small_files_or_parts_of_one_here_and_there_gets_what_he_reads() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (_alice, bob) = small_files(&people, (&a, &b));
    for path in [
        "dir 0/150",
        "dir 2/420",
        "dir 0/20",
        "dir 1/390",
        "dir 2/590",
    ] {
        bob.read(path);
    }
    // A database has blocks of one file read here and there.
    let path = "dir 1/300";
    for block in [7_u64, 8, 3, 19, 0, 1] {
        let expected = &pattern(20 * 4096, 300_usize as u8)[block as usize * 4096..][..4096];
        assert_eq!(bob.read_at(path, block * 4096, 4096), expected);
    }
    let (bytes, _) = asked(&people);
    let descriptors = 2 * (8 + 81 + 64 * 1008);
    assert!(bytes <= (5 * 2 + 6) * 4096 + descriptors, "{bytes} bytes");
}

#[test]
fn a_silent_server_is_asked_once_and_again_when_it_is_back() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("file", &pattern(100_000, 1));
    alice.push();
    bob.pull();
    people
        .scene
        .meddle(|seen, _| seen.path().contains("/blobs/").then_some(Answer::Silence));
    people.scene.script.take();
    let ino = bob.ino("file");
    assert!(bob.try_read(ino).is_err());
    assert_eq!(people.scene.script.take().len(), 1);
    for _ in 0..10 {
        let fetched = bob.v().fetch_file(ino, &mut |_| true);
        assert_eq!(fetched, Err(keyfold_fs::error::FsError::Unreachable));
    }
    assert!(people.scene.script.take().is_empty(), "nobody waits for it");
    people.scene.be_honest();
    assert_eq!(bob.read("file"), pattern(100_000, 1));
}

/// So many small files: calls, and what one change costs then.
fn costs_few_calls(files: usize) {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    for n in 0..files {
        if n % 500 == 0 {
            alice.mkdir(&format!("{}", n / 500));
        }
        alice.file(&format!("{}/{n}", n / 500), &pattern(3000, n as u8));
    }
    people.scene.script.take();
    let began = std::time::Instant::now();
    alice.push();
    let first = began.elapsed();
    let seen = people.scene.script.take();
    let append = |seen: &&Seen| seen.head.starts_with("POST") && seen.path().ends_with("/records");
    let records = seen.iter().filter(append).count();
    let pieces = seen.iter().filter(|seen| is_piece(seen)).count();
    println!(
        "{files} files: {} calls, {pieces} pieces, {records} records, {} ms",
        seen.len(),
        first.as_millis()
    );
    assert!(records <= files / 1000 + 1, "{records} records");
    let packs = files.div_ceil(1000) + records;
    assert!(pieces <= packs * 4, "{pieces} pieces");
    assert!(
        seen.len() <= pieces + records * 4 + 6,
        "{} calls",
        seen.len()
    );
    bob.pull();
    let viewed = alice.v().blocks_viewed();
    let began = std::time::Instant::now();
    alice.overwrite("0/7", 0, b"changed");
    alice.push();
    println!(
        "{files} files: one change {} ms",
        began.elapsed().as_millis()
    );
    assert_eq!(alice.v().blocks_viewed() - viewed, 1);
    assert_eq!(sent(&people).0.len(), 1);
    let began = std::time::Instant::now();
    bob.pull();
    println!("{files} files: its pull {} ms", began.elapsed().as_millis());
    assert_eq!(bob.read("0/7")[..7], *b"changed");
}

#[test]
fn small_files_go_out_in_few_calls() {
    costs_few_calls(1500);
}

#[test]
#[ignore = "long"]
fn fifteen_thousand_small_files_go_out_in_few_calls() {
    costs_few_calls(15_000);
}

#[test]
fn a_file_with_more_changes_than_one_write_takes_goes_out_in_several() {
    const LEAF: u64 = 256 << 10;
    const LEAVES: u64 = 8192 + 300;
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("sparse", b"");
    alice.file("beside", b"comes, too");
    alice.write_leaves("sparse", 0..LEAVES, 1);
    alice.push();
    bob.pull();
    let same = |alice: &Site<'_, '_>, bob: &Site<'_, '_>| {
        let size = |site: &Site<'_, '_>| site.v().getattr(site.ino("sparse")).unwrap().size;
        assert_eq!(size(alice), size(bob));
        for at in [0, 1, 8190, 8191, 8192, LEAVES - 1] {
            if at * LEAF < size(alice) {
                let [one, other] = [alice, bob].map(|s| s.read_at("sparse", at * LEAF, 4096));
                assert!(one == other, "leaf {at}");
            }
        }
    };
    same(&alice, &bob);
    assert_eq!(bob.read("beside"), b"comes, too");
    alice.again();
    // The same again, over what others know, with less at the end.
    alice.write_leaves("sparse", 0..LEAVES, 9);
    alice.truncate("sparse", (LEAVES - 50) * LEAF);
    alice.push();
    bob.pull();
    same(&alice, &bob);
}
