//! Packs that are for the most part dead: what is needed of them lies in new ones, and is what it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyfold_fs::vfs::{FileRange, Vfs};
use keyfold_protocol::ids::{BlobId, NodeId, ShareId};
use keyfold_protocol::roster::Role;

use super::site::{People, RW, Site, assert_same, pattern, share};
use super::snapshots::{add, alone};
use crate::account::Session;
use crate::remote::tests::run;
use crate::remote::tests::script::{Answer, Seen};
use crate::sharing::tests::newcomer;
use crate::sharing::{Reads, Shared};
use crate::sync::repack::Gathered;
use crate::sync::{Past, There};

const SIZE: usize = 4 << 20;
const BLOCK: usize = 4096;

/// Whether a block is among the three of each five that are written over.
fn dies(block: usize) -> bool {
    block % 5 < 3
}

/// Writes over most blocks of a file, each by itself.
fn overwrite_most(site: &Site<'_, '_>, path: &str, seed: u8) {
    let ino = site.ino(path);
    let handle = site.v().open(ino, RW).unwrap();
    for block in (0..SIZE / BLOCK).filter(|block| dies(*block)) {
        let offset = (block * BLOCK) as u64;
        let range = FileRange {
            ino,
            handle,
            offset,
        };
        let data = pattern(BLOCK, seed ^ block as u8);
        assert_eq!(site.v().write(range, &data).unwrap(), BLOCK);
    }
    site.v().release(ino, handle);
}

/// What a file of [`SIZE`] is after that.
fn overwritten(before: u8, seed: u8) -> Vec<u8> {
    let mut data = pattern(SIZE, before);
    for block in (0..SIZE / BLOCK).filter(|block| dies(*block)) {
        let new = pattern(BLOCK, seed ^ block as u8);
        data[block * BLOCK..(block + 1) * BLOCK].copy_from_slice(&new);
    }
    data
}

/// Packs anew until nothing is left to do.
#[track_caller]
fn pack_anew(site: &mut Site<'_, '_>) {
    for _ in 0..10 {
        let gathered = run(site.sync.gather()).unwrap();
        let done = matches!(gathered, Gathered::Nothing);
        run(site.sync.repack(gathered)).unwrap();
        if done {
            return;
        }
    }
    panic!("it does not end");
}

fn needed(site: &Site<'_, '_>) -> BTreeSet<BlobId> {
    site.sync.head.needed_blobs().collect()
}

/// Blocks that the server has to keep, and those among them that files need.
fn stored(site: &Site<'_, '_>) -> (u32, u32) {
    let blobs = needed(site).into_iter();
    let all = blobs.map(|blob| run(site.sync.packs.blocks_of(blob)).ok().unwrap());
    let nodes = site.sync.head.nodes();
    let contents = nodes.filter_map(|(_, node)| node.content());
    let leaves = contents.flat_map(|content| content.leaves.values());
    let pieces = leaves.flat_map(|leaf| &leaf.pieces);
    (all.sum(), pieces.map(|piece| piece.live.count_ones()).sum())
}

/// Records of the log.
fn records(site: &Site<'_, '_>) -> u64 {
    site.sync.shared.log().next_seq().0
}

/// Gives up what the server has of a file.
fn free(site: &Site<'_, '_>, path: &str) {
    let info = site.v().shares().unwrap().remove(0);
    let ino = site.ino(path);
    let freed = site
        .fetcher
        .free((site.v(), &info), ino, &mut BTreeSet::new());
    assert!(freed.unwrap() > 0);
    let presence = site.v().presence(ino).unwrap();
    assert_eq!(presence.blocks, presence.remote);
}

/// Alice has a file whose first packs are for the most part dead, of which Bob has read nothing.
fn sparse<'s, 'a>(
    people: &'a People,
    (a, b): (&'s Session<'a>, &'s Session<'a>),
) -> (Site<'s, 'a>, Site<'s, 'a>, ShareId) {
    let id = share(a);
    let mut alice = Site::begin((&people.alice, a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, b), id, |_, _| {});
    alice.file("large", &pattern(SIZE, 1));
    alice.file("small", b"beside");
    alice.push();
    overwrite_most(&alice, "large", 2);
    alice.push();
    bob.pull();
    bob.push();
    alice.pull();
    (alice, bob, id)
}

#[test]
fn what_is_needed_of_packs_lies_in_new_ones_and_the_old_are_dropped() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, id) = sparse(&people, (&a, &b));
    let (before, (all, alive)) = (needed(&alice), stored(&alice));
    assert!(all > alive + alive / 2, "{all} and {alive}");
    pack_anew(&mut alice);
    let (all, now) = stored(&alice);
    assert_eq!(now, alive);
    assert_eq!(all, alive);
    let dropped = run(a.remote().dropped_blobs(id)).unwrap().blobs;
    let dropped: BTreeSet<BlobId> = dropped.iter().map(|one| one.blob).collect();
    let gone: BTreeSet<BlobId> = before.difference(&needed(&alice)).copied().collect();
    assert!(!gone.is_empty() && gone.is_subset(&dropped));
    assert!(alice.v().take_marks(alice.sync.share).unwrap().is_empty());
    // The next look finds nothing, and says nothing.
    let count = records(&alice);
    pack_anew(&mut alice);
    assert_eq!(records(&alice), count);

    let expected = overwritten(1, 2);
    bob.pull();
    assert!(bob.read("large") == expected);
    bob.again();
    assert_same(&alice, &bob);
    // Who has it from a snapshot has the same.
    run(alice.sync.make_snapshot()).unwrap();
    bob.pull();
    assert_eq!(bob.told(), []);
    // And of what lies elsewhere nothing is asked for where it was.
    free(&alice, "large");
    alice.again();
    assert!(alice.read("large") == expected);
}

#[test]
fn who_has_nothing_of_it_here_packs_anew_too() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = sparse(&people, (&a, &b));
    pack_anew(&mut bob);
    let (all, alive) = stored(&bob);
    assert_eq!(all, alive);
    let presence = bob.v().presence(bob.ino("large")).unwrap();
    assert_eq!(presence.remote, presence.blocks);
    assert!(bob.read("large") == overwritten(1, 2));
    // What lies here stays here.
    alice.pull();
    assert_eq!(alice.v().presence(alice.ino("large")).unwrap().remote, 0);
    free(&alice, "large");
    assert!(alice.read("large") == overwritten(1, 2));
}

#[test]
fn who_is_given_the_share_afterwards_begins_from_a_snapshot_and_reads_all() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, id) = alone(&people, &a);
    alice.file("large", &pattern(SIZE, 1));
    alice.push();
    overwrite_most(&alice, "large", 2);
    alice.push();
    add(&a, id, "bob", (Role::Writer, Reads::FromNow));
    // Another key is in force, and what is moved is under the one before.
    alice.pull();
    pack_anew(&mut alice);
    alice.push();
    assert!(alice.sync.newest.is_some());
    let mut bob = Site::try_begin((&people.bob, &b), id).unwrap();
    bob.pull();
    assert!(bob.read("large") == overwritten(1, 2));
    overwrite_most(&bob, "large", 3);
    bob.push();
    pack_anew(&mut bob);
    alice.pull();
    free(&alice, "large");
    assert_same(&alice, &bob);
}

#[test]
fn after_somebody_was_taken_out_what_is_under_the_old_key_moves_as_it_is() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, bob, id) = sparse(&people, (&a, &b));
    drop(bob);
    let root = newcomer(&a, "bob", Role::Writer).person.root();
    run(run(Shared::open(&a, id)).unwrap().remove(root)).unwrap();
    // From its next sending on the file has a key of this epoch.
    alice.overwrite("large", 0, b"a");
    alice.push();
    overwrite_most(&alice, "large", 4);
    alice.push();
    pack_anew(&mut alice);
    let (all, alive) = stored(&alice);
    assert_eq!(all, alive);
    free(&alice, "large");
    alice.again();
    assert!(alice.read("large") == overwritten(1, 4));
}

#[test]
fn who_edits_a_file_meanwhile_is_in_no_conflict() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = sparse(&people, (&a, &b));
    bob.overwrite("large", 3 * BLOCK as u64 + 7, b"by bob");
    let (at, handle) = (
        bob.ino("large"),
        bob.v().open(bob.ino("large"), RW).unwrap(),
    );
    pack_anew(&mut alice);
    // Nobody waits for what is open, either.
    run(bob.sync.pull()).unwrap();
    assert!(bob.sync.waits.is_empty());
    bob.v().release(at, handle);
    bob.push();
    alice.pull();
    assert_eq!(alice.paths(), ["large", "small"]);
    let mut expected = overwritten(1, 2);
    expected[3 * BLOCK + 7..3 * BLOCK + 13].copy_from_slice(b"by bob");
    assert!(alice.read("large") == expected);
    bob.again();
    assert_same(&alice, &bob);
}

fn is_append(seen: &Seen) -> bool {
    seen.head.starts_with("POST") && seen.path().ends_with("/records")
}

/// Packs that were sent.
fn sent(people: &People) -> BTreeSet<String> {
    let seen = people.scene.script.take();
    let puts = seen.iter().filter(|seen| seen.head.starts_with("PUT"));
    let blobs = puts.filter(|seen| seen.path().contains("/blobs/"));
    let blob = |seen: &Seen| seen.path().split('?').next().unwrap_or_default().to_owned();
    blobs.map(blob).collect()
}

#[test]
fn who_is_second_looks_anew_and_sends_no_pack_twice() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = sparse(&people, (&a, &b));
    let [gathered, stale] = [(); 2].map(|()| run(alice.sync.gather()).unwrap());
    assert!(matches!(gathered, Gathered::Moves(..)));
    bob.overwrite("small", 0, b"first!");
    bob.push();
    let count = records(&bob);
    run(alice.sync.repack(gathered)).unwrap();
    assert_eq!(records(&alice), count, "nothing was appended");
    // What was gathered before somebody else wrote is of no use.
    alice.push();
    run(alice.sync.repack(stale)).unwrap();
    assert_eq!(records(&alice), count);
    people.scene.script.take();
    pack_anew(&mut alice);
    assert_eq!(sent(&people), BTreeSet::new());
    bob.pull();
    assert!(bob.read("large") == overwritten(1, 2));
    assert_same(&alice, &bob);
}

/// Alice's record of what moves is not answered as it should be. What is then sent again by her push
/// brings her to what everybody has.
fn broken_off(answer: fn(&Seen, std::net::SocketAddr) -> Answer) {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = sparse(&people, (&a, &b));
    free(&alice, "large");
    let count = records(&alice);
    let gathered = run(alice.sync.gather()).unwrap();
    people
        .scene
        .meddle(move |seen, real| is_append(seen).then(|| answer(seen, real)));
    let _ = run(alice.sync.repack(gathered));
    people.scene.be_honest();
    alice.v().sync().unwrap();
    alice.again();
    alice.mkdir("after");
    alice.push();
    assert_eq!(records(&alice), count + 2);
    let (all, alive) = stored(&alice);
    assert_eq!(all, alive);
    alice.again();
    assert!(alice.sync.in_flight.is_none());
    assert!(alice.read("large") == overwritten(1, 2));
    bob.pull();
    assert_same(&alice, &bob);
}

#[test]
fn a_record_of_moved_blocks_whose_reply_was_lost_is_there_once() {
    broken_off(|_, real| Answer::Forward(real, Box::new(|_| Vec::new())));
}

#[test]
fn a_record_of_moved_blocks_that_did_not_arrive_is_sent_again() {
    broken_off(|_, _| Answer::Reply(500, Vec::new()));
}

#[test]
fn a_pack_of_which_half_or_little_is_dead_stays() {
    let people = People::new();
    let (a, _) = people.sessions();
    let (mut alice, _) = alone(&people, &a);
    alice.file("half", &pattern(100 * BLOCK, 1));
    alice.push();
    alice.file("short", &pattern(20 * BLOCK, 2));
    alice.push();
    let before = needed(&alice);
    alice.overwrite("half", 0, &pattern(50 * BLOCK, 3));
    alice.overwrite("short", 0, &pattern(15 * BLOCK, 4));
    alice.push();
    let count = records(&alice);
    pack_anew(&mut alice);
    assert_eq!(records(&alice), count);
    assert!(before.is_subset(&needed(&alice)));
    // One block more of each.
    alice.overwrite("half", 50 * BLOCK as u64, &pattern(BLOCK, 5));
    alice.overwrite("short", 15 * BLOCK as u64, &pattern(BLOCK, 5));
    alice.push();
    pack_anew(&mut alice);
    assert_eq!(before.difference(&needed(&alice)).count(), 2);
}

#[test]
fn who_may_only_read_packs_nothing_anew() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (alice, _) = alone(&people, &a);
    let id = alice.sync.shared.id();
    add(&a, id, "bob", (Role::Reader, Reads::ThisEpoch));
    let mut bob = Site::try_begin((&people.bob, &b), id).unwrap();
    bob.pull();
    assert!(bob.sync.repacks_after().is_none());
    assert!(matches!(run(bob.sync.gather()), Ok(Gathered::NotAll)));
}

#[test]
fn only_who_wrote_last_looks_and_only_until_nothing_is_left() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = sparse(&people, (&a, &b));
    assert!(alice.sync.repacks_after().is_some() && bob.sync.repacks_after().is_none());
    bob.file("by bob", b"content");
    bob.push();
    alice.pull();
    assert!(alice.sync.repacks_after().is_none() && bob.sync.repacks_after().is_some());
    pack_anew(&mut bob);
    assert!(bob.sync.repacks_after().is_none());
}

#[test]
fn bytes_that_are_not_what_the_log_says_are_carried_nowhere() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (alice, mut bob, _) = sparse(&people, (&a, &b));
    let before = needed(&alice);
    let altered = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&altered);
    people.scene.meddle(move |seen, real| {
        let head = seen.head.to_ascii_lowercase();
        let is_front = head.contains("range: bytes=0-7\r");
        let blob = seen.head.starts_with("GET") && seen.path().contains("/blobs/");
        let counted = Arc::clone(&counted);
        let alter = move |mut body: Vec<u8>| {
            // Of blocks, and not of descriptors, which have no such length.
            if body.len().is_multiple_of(BLOCK) && !body.is_empty() {
                counted.fetch_add(1, Ordering::Relaxed);
                body[9] ^= 1;
            }
            body
        };
        (blob && !is_front).then(|| Answer::Forward(real, Box::new(alter)))
    });
    let count = records(&bob);
    pack_anew(&mut bob);
    assert!(altered.load(Ordering::Relaxed) > 0);
    assert_eq!((records(&bob), needed(&bob)), (count, before));
    people.scene.be_honest();
    assert!(bob.read("large") == overwritten(1, 2));
}

#[test]
fn a_server_that_makes_packs_larger_than_they_are_has_nothing_sent() {
    let people = People::new();
    let (a, _) = people.sessions();
    let (mut alice, _) = alone(&people, &a);
    alice.file("whole", &pattern(30 * BLOCK, 1));
    alice.push();
    alice.again();
    people.scene.meddle(|seen, real| {
        let enlarge = |mut body: Vec<u8>| {
            if body.len() == 8 {
                body[4..].copy_from_slice(&1008_u32.to_le_bytes());
            }
            body
        };
        let blob = seen.head.starts_with("GET") && seen.path().contains("/blobs/");
        blob.then(|| Answer::Forward(real, Box::new(enlarge)))
    });
    let count = records(&alice);
    people.scene.script.take();
    pack_anew(&mut alice);
    assert_eq!(records(&alice), count);
    assert_eq!(sent(&people), BTreeSet::new());
}

#[test]
fn history_has_no_other_versions_and_knows_all_that_is_to_be_purged() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, _bob, id) = sparse(&people, (&a, &b));
    let node = alice.v().share_member(alice.ino("large")).unwrap().unwrap();
    let node = NodeId(node.1.0);
    let before = needed(&alice);
    pack_anew(&mut alice);
    let past = run(Past::of(&a, id)).unwrap();
    let versions = past.versions(node);
    assert_eq!(versions.len(), 2);
    assert!(matches!(past.there(&versions[0]), There::Until(_)));
    assert_eq!(past.there(&versions[1]), There::Always);
    let gone: Vec<BlobId> = before.difference(&needed(&alice)).copied().collect();
    assert_eq!(past.only_past(&BTreeSet::from([node])), gone);
    // A file that is removed after it was moved leaves nothing behind.
    let mut left = before;
    left.append(&mut needed(&alice));
    alice.unlink("large");
    alice.push();
    left.retain(|blob| !needed(&alice).contains(blob));
    let past = run(Past::of(&a, id)).unwrap();
    let purged = past.only_past(&BTreeSet::from([node]));
    assert!(left.len() > 2);
    assert_eq!(purged.into_iter().collect::<BTreeSet<_>>(), left);
}
