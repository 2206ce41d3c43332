//! A share of a single file, in which others do what they like.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_fs::error::FsError;
use keyfold_fs::share::Access;
use keyfold_fs::vfs::{Cookie, FileKind, Listing, Vfs};
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::operation::Shape;
use keyfold_protocol::tree::Tree;

use super::random::{Random, seed};
use super::site::{People, RW, Site, pattern, share};
use crate::account::Session;
use crate::remote::tests::run;
use crate::sharing::Shared;
use crate::sync::Round;

const PLAN: &str = "Plan.txt";
/// What bob calls it.
const HIS: &str = "His.txt";

/// Alice's file, and bob who has it under another name.
fn two<'s, 'a>(
    people: &'a People,
    (a, b): (&'s Session<'a>, &'s Session<'a>),
) -> (Site<'s, 'a>, Site<'s, 'a>, ShareId) {
    let id = share(a);
    let mut shared = run(Shared::open(a, id)).unwrap();
    run(shared.describe(PLAN.parse().unwrap(), Shape::File)).unwrap();
    let mut alice = Site::begin_single((&people.alice, a), id, (PLAN, Some(b"first")));
    let mut bob = Site::begin_single((&people.bob, b), id, (HIS, None));
    alice.push();
    bob.pull();
    bob.push();
    assert_eq!(bob.read(HIS), b"first");
    (alice, bob, id)
}

/// Alice's file, and bob who looks at the share as at a directory.
fn with_a_stranger<'s, 'a>(
    people: &'a People,
    (a, b): (&'s Session<'a>, &'s Session<'a>),
) -> (Site<'s, 'a>, Site<'s, 'a>) {
    let id = share(a);
    let mut alice = Site::begin_single((&people.alice, a), id, (PLAN, Some(b"first")));
    alice.push();
    let mut bob = Site::begin((&people.bob, b), id, |_, _| {});
    bob.pull();
    assert_eq!(bob.paths(), [PLAN]);
    (alice, bob)
}

/// All files of the directory that the file lies in.
fn all(site: &Site<'_, '_>) -> BTreeMap<String, Vec<u8>> {
    let handle = site.v().opendir(site.root).unwrap();
    let mut names = Vec::new();
    let listed = site.v().readdir(handle, Cookie::START, &mut |entry| {
        if entry.kind != FileKind::Directory {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        }
        Listing::Continue
    });
    listed.unwrap();
    site.v().releasedir(handle);
    let read = |name: String| {
        let data = site.read(&name);
        (name, data)
    };
    names.into_iter().map(read).collect()
}

fn names_in(tree: &Tree) -> Vec<String> {
    let root = tree.node(keyfold_protocol::ids::NodeId::ROOT).unwrap();
    let entries = root.entries().unwrap();
    entries
        .keys()
        .map(|name| name.as_str().to_owned())
        .collect()
}

/// A way to give a file another content.
type Change = fn(&Site<'_, '_>, &str, &[u8]);

/// Saves as most programs do.
fn save(site: &Site<'_, '_>, name: &str, data: &[u8]) {
    site.file("tmp", data);
    site.rename("tmp", name);
}

#[test]
fn the_file_travels_however_it_is_saved_and_under_whatever_name_it_lies() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    let travels = |alice: &mut Site<'_, '_>, bob: &mut Site<'_, '_>| {
        alice.push();
        bob.pull();
        bob.again();
        assert!(alice.read(PLAN) == bob.read(HIS));
        assert_eq!(names_in(&bob.sync.head), [PLAN]);
    };
    alice.overwrite(PLAN, 3, &pattern(500_000, 1));
    travels(&mut alice, &mut bob);
    save(&alice, PLAN, &pattern(20_000, 2));
    travels(&mut alice, &mut bob);
    alice.rename(PLAN, "Plan.txt~");
    alice.file(PLAN, b"as vim does it");
    travels(&mut alice, &mut bob);
    alice.truncate(PLAN, 2);
    alice.xattr(PLAN, "user.note", b"kept");
    alice.stamp(PLAN, 1234);
    travels(&mut alice, &mut bob);
    assert_eq!(
        bob.v().getxattr(bob.ino(HIS), b"user.note").unwrap(),
        b"kept"
    );
    assert_eq!(bob.v().getattr(bob.ino(HIS)).unwrap().mtime.secs, 1234);
    // What left is back, and was changed meanwhile.
    alice.overwrite("Plan.txt~", 0, b"changed meanwhile");
    alice.rename("Plan.txt~", PLAN);
    travels(&mut alice, &mut bob);

    bob.unlink(HIS);
    bob.push();
    alice.pull();
    assert_eq!(alice.find(PLAN), None);
    assert!(names_in(&alice.sync.head).is_empty());
    bob.file(HIS, b"made by bob");
    bob.push();
    alice.pull();
    alice.again();
    assert_eq!(alice.read(PLAN), b"made by bob");
    assert_eq!(names_in(&bob.sync.head), [PLAN], "its name stays");
    save(&bob, HIS, b"saved by bob");
    bob.push();
    alice.pull();
    assert_eq!(alice.read(PLAN), b"saved by bob");
    assert_eq!(all(&bob).len(), 1);
    assert!(alice.sync.take_told().is_empty() && bob.sync.take_told().is_empty());
}

#[test]
fn what_both_wrote_is_kept_beside_the_file_and_told() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    let write: Change = |site, name, data| site.overwrite(name, 0, data);
    for (n, (first, later)) in [(write, write), (write, save), (save, write), (save, save)]
        .into_iter()
        .enumerate()
    {
        let (of_alice, of_bob) = (format!("alice {n}"), format!("bob {n}"));
        first(&alice, PLAN, of_alice.as_bytes());
        later(&bob, HIS, of_bob.as_bytes());
        alice.push();
        bob.push();
        alice.pull();
        assert!(alice.read(PLAN) == bob.read(HIS));
        let files = [all(&alice), all(&bob)];
        for version in [of_alice, of_bob] {
            let mut all = files.iter().flat_map(|files| files.values());
            let kept = all.any(|data| data.starts_with(version.as_bytes()));
            assert!(kept, "{version}: {files:?}");
        }
        let told = [alice.sync.take_told(), bob.sync.take_told()].concat();
        assert!(
            told.len() == 1 && told[0].contains("(conflict, bob,"),
            "{n}: {told:?}"
        );
        let copy = files[1]
            .keys()
            .find(|name| name.contains("conflict"))
            .unwrap();
        let ino = bob.ino(copy);
        assert_eq!(bob.v().share_member(ino).unwrap(), None);
        bob.unlink(copy);
        bob.push();
        assert!(all(&alice).len() == 1 && all(&bob).len() == 1);
    }
}

#[test]
fn an_edit_beats_a_removal_on_either_side() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.unlink(PLAN);
    bob.overwrite(HIS, 0, b"EDIT");
    alice.push();
    bob.push();
    alice.pull();
    assert_eq!(
        (alice.read(PLAN), bob.read(HIS)),
        (b"EDITt".into(), b"EDITt".into())
    );
    assert_eq!(all(&bob).len(), 1);
    bob.unlink(HIS);
    alice.overwrite(PLAN, 0, b"more");
    alice.push();
    bob.push();
    alice.pull();
    bob.again();
    assert_eq!(
        (alice.read(PLAN), bob.read(HIS)),
        (b"moret".into(), b"moret".into())
    );
    // One who moved it away has both.
    bob.rename(HIS, "mine");
    alice.overwrite(PLAN, 0, b"late");
    alice.push();
    bob.push();
    assert_eq!(bob.read(HIS), b"latet");
    assert_eq!(bob.read("mine"), b"moret");
    bob.rename("mine", HIS);
    bob.push();
    alice.pull();
    assert_eq!(alice.read(PLAN), b"moret");
}

#[test]
fn a_reader_who_wrote_before_keeps_that_beside() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    bob.overwrite(HIS, 0, b"BOB");
    bob.v().set_share_access(bob.sync.share, Access::ReadOnly);
    alice.unlink(PLAN);
    alice.push();
    bob.pull();
    let files = all(&bob);
    assert!(files.values().any(|data| data == b"BOBst"), "{files:?}");
    assert_eq!(bob.sync.take_told().len(), 1);
}

#[test]
fn a_file_in_use_waits_and_others_come_when_it_is_free() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    for removed in [false, true] {
        let ino = bob.ino(HIS);
        let before = bob.read(HIS);
        let handle = bob.v().open(ino, RW).unwrap();
        if removed {
            alice.unlink(PLAN);
        } else {
            save(&alice, PLAN, b"saved by alice");
        }
        alice.push();
        assert!(matches!(run(bob.sync.push()).unwrap(), Round::Waiting(_)));
        bob.again();
        assert_eq!(bob.read(HIS), before);
        bob.v().release(ino, handle);
        bob.push();
        if removed {
            assert_eq!(bob.find(HIS), None);
        } else {
            assert_eq!(bob.read(HIS), b"saved by alice");
        }
    }
    // Who reads keeps what he opened.
    alice.file(PLAN, b"there again");
    alice.push();
    bob.pull();
    bob.read(HIS);
    let ino = bob.ino(HIS);
    let handle = bob
        .v()
        .open(ino, keyfold_fs::vfs::OpenMode { write: false, ..RW })
        .unwrap();
    alice.overwrite(PLAN, 0, b"THERE");
    alice.push();
    bob.pull();
    assert_eq!(bob.read(HIS), b"THERE again");
    assert_eq!(bob.try_read(ino).unwrap(), b"there again");
    bob.v().release(ino, handle);
}

#[test]
fn what_else_a_member_puts_into_the_share_does_no_harm_and_is_told() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob) = with_a_stranger(&people, (&a, &b));
    let same = |alice: &mut Site<'_, '_>, bob: &mut Site<'_, '_>, content: &[u8]| {
        bob.push();
        alice.push();
        let told = alice.sync.take_told();
        alice.again();
        assert_eq!(
            all(alice),
            BTreeMap::from([(PLAN.to_owned(), content.to_vec())])
        );
        assert!(alice.v().listxattr(alice.root).unwrap().is_empty());
        bob.pull();
        told
    };
    bob.mkdir("Zdir");
    bob.file("Zdir/file", b"hidden");
    bob.symlink("Zlink", "../../etc/passwd");
    bob.file("Zfile", b"more");
    bob.xattr("", "user.of.bob", b"x");
    let told = same(&mut alice, &mut bob, b"first");
    assert!(
        told.iter().any(|told| told.contains("not shown")),
        "{told:?}"
    );
    bob.link(PLAN, "Zother");
    same(&mut alice, &mut bob, b"first");
    // The name that the others have for it never matters here.
    bob.rename(PLAN, "Renamed");
    bob.unlink("Zother");
    same(&mut alice, &mut bob, b"first");
    alice.overwrite(PLAN, 0, b"FIRST");
    alice.push();
    bob.pull();
    assert_eq!(bob.read("Renamed"), b"FIRST");
    save(&alice, PLAN, b"second");
    alice.push();
    bob.pull();
    assert_eq!(bob.read("Renamed"), b"second");
    // What is not beside the others is not the file: the next one is.
    bob.rename("Renamed", "Zdir/away");
    same(&mut alice, &mut bob, b"more");
    bob.rename("Zdir/away", "Back");
    same(&mut alice, &mut bob, b"second");
    bob.unlink("Back");
    bob.unlink("Zfile");
    bob.push();
    alice.push();
    assert!(all(&alice).is_empty());
    alice.file(PLAN, b"anew");
    same(&mut alice, &mut bob, b"anew");
    bob.unlink(PLAN);
    bob.mkdir(PLAN);
    bob.push();
    alice.push();
    assert!(all(&alice).is_empty());
    alice.file(PLAN, b"beside a directory");
    same(&mut alice, &mut bob, b"beside a directory");
}

#[test]
fn a_file_that_was_not_read_is_copied_away_and_not_moved() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = two(&people, (&a, &b));
    alice.overwrite(PLAN, 0, &pattern(300_000, 4));
    alice.push();
    bob.pull();
    assert_eq!(bob.try_rename(HIS, "away"), Err(FsError::CrossTree));
    assert!(bob.read(HIS) == pattern(300_000, 4));
    bob.rename(HIS, "away");
    bob.push();
    alice.pull();
    assert_eq!(alice.find(PLAN), None);
    assert!(bob.read("away") == pattern(300_000, 4));
}

type Written = BTreeSet<Vec<u8>>;

fn step(
    site: &Site<'_, '_>,
    name: &str,
    random: &mut Random,
    (written, count): (&mut Written, u64),
) {
    let data = format!("version {count}").into_bytes();
    let there = site.find(name).is_some();
    let aside = format!("aside {count}");
    match random.below(6) {
        0 if there => {
            written.remove(&site.read(name));
            site.truncate(name, 0);
            site.overwrite(name, 0, &data);
        }
        1 | 2 => {
            if there {
                written.remove(&site.read(name));
            }
            save(site, name, &data);
        }
        3 => {
            if there {
                // Only what is all here leaves.
                site.read(name);
                site.rename(name, &aside);
            }
            site.file(name, &data);
        }
        4 if there => {
            written.remove(&site.read(name));
            return site.unlink(name);
        }
        _ => return,
    }
    written.insert(data);
}

fn converge(seed: u64, steps: u64) {
    println!("KEYFOLD_SEED={seed}");
    let people = People::new();
    let (a, b) = people.sessions();
    let (alice, bob, _) = two(&people, (&a, &b));
    let mut sites = [(alice, PLAN), (bob, HIS)];
    let mut random = Random(seed | 1);
    let mut written = Written::new();
    for count in 0..steps {
        let (site, name) = &mut sites[random.below(2)];
        match random.below(10) {
            0 | 1 => drop(run(site.sync.push()).unwrap()),
            2 => drop(run(site.sync.pull()).unwrap()),
            3 if random.below(2) == 0 => site.again(),
            _ => step(site, name, &mut random, (&mut written, count)),
        }
    }
    for who in [0, 1, 0, 1] {
        sites[who].0.push();
    }
    let of = |(site, name): &(Site<'_, '_>, &str)| site.find(name).map(|_| site.read(name));
    assert_eq!(of(&sites[0]), of(&sites[1]));
    let all: Written = sites
        .iter()
        .flat_map(|(site, _)| all(site).into_values())
        .collect();
    let lost: Vec<_> = written.difference(&all).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(names_in(&sites[0].0.sync.head).len() <= 1);
}

#[test]
fn random_saving_by_two_comes_out_the_same_and_no_version_is_lost() {
    converge(seed(), 60);
}

#[test]
#[ignore = "long"]
fn much_random_saving_by_two_comes_out_the_same_and_no_version_is_lost() {
    let seed = seed();
    for n in 0..20 {
        converge(seed.wrapping_add(n), 150);
    }
}
