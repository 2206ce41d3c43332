//! What a volume keeps of a share, and what that costs.

use std::time::Instant;

use keyfold_fs::share::Kept;

use super::site::{People, Site, assert_same};
use super::snapshots::both;
use crate::remote::tests::run;
use crate::remote::tests::script::Answer;
use crate::sharing::Shared;

#[test]
fn what_was_brought_here_is_there_again_without_the_server() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = both(&people, (&a, &b));
    bob.unlink("dir/file");
    bob.rmdir("dir");
    bob.file("of bob", b"local");
    people.scene.meddle(|_, _| Some(Answer::Bytes(Vec::new())));
    bob.again();
    assert_eq!(bob.sync.base, alice.sync.base);
    people.scene.be_honest();
    alice.overwrite("dir/file", 0, b"edited");
    alice.push();
    // What was removed here comes back, as others wrote to it meanwhile.
    for _ in 0..2 {
        bob.push();
        bob.again();
    }
    alice.pull();
    alice.again();
    assert_same(&alice, &bob);
    assert_eq!(bob.paths(), ["dir", "dir/file", "of bob"]);
}

#[test]
fn what_was_kept_and_is_none_is_learned_anew_and_loses_nothing() {
    let people = People::new();
    let (a, b) = people.sessions();
    let (mut alice, mut bob, _) = both(&people, (&a, &b));
    bob.file("new", b"of bob");
    // What was never read here cannot be compared, and would be kept twice.
    bob.read("dir/file");
    let kept = Kept {
        share: Some(Box::from(*b"what is this")),
        ..Kept::default()
    };
    bob.v().keep_of_share(bob.sync.share, &kept).unwrap();
    bob.sync.rows_fit = false;
    bob.again();
    bob.push();
    alice.pull();
    bob.again();
    assert_same(&alice, &bob);
    assert_eq!(alice.paths(), ["dir", "dir/file", "new"]);
}

/// Bytes that are kept with the share and with its nodes, by node.
fn kept(site: &Site<'_, '_>) -> (usize, Vec<Box<[u8]>>) {
    let share = site.v().shares().unwrap().remove(0);
    let nodes = site.v().share_nodes(share.number).unwrap();
    let nodes = nodes.into_iter().map(|info| info.data);
    (share.data.len(), nodes.collect())
}

/// One changed file of so many, and what of the rows is written for it.
fn costs_what_it_changes(files: usize) {
    let people = People::new();
    let (a, _) = people.sessions();
    let id = run(Shared::create(&a)).unwrap().id();
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    for n in 0..files {
        if n % 1000 == 0 {
            alice.mkdir(&format!("{}", n / 1000));
        }
        alice.file(&format!("{}/{n}", n / 1000), b"");
    }
    let told = |what: &str, began: Instant| {
        println!("{files} files: {what} {} ms", began.elapsed().as_millis());
    };
    let began = Instant::now();
    alice.push();
    told("first push", began);
    alice.overwrite("0/7", 0, b"changed");
    alice.push();
    let (_, before) = kept(&alice);
    let began = Instant::now();
    alice.overwrite("0/7", 0, b"again");
    alice.push();
    told("push of one change", began);
    let (share, after) = kept(&alice);
    let other = before
        .iter()
        .zip(&after)
        .filter(|(one, other)| one != other);
    assert_eq!((other.count(), before.len()), (1, after.len()));
    let bytes: usize = after.iter().map(|data| data.len()).sum();
    println!("{files} files: {share} bytes with the share, {bytes} with its nodes");
    // Ids of operations of the last 256 records are there, too.
    assert!(share < 20_000 + 20 * files, "{share}");
    let began = Instant::now();
    alice.again();
    told("opening", began);
    let began = Instant::now();
    run(alice.sync.make_snapshot()).unwrap();
    told("snapshot", began);
}

#[test]
fn a_record_costs_what_it_changes() {
    costs_what_it_changes(300);
}

#[test]
#[ignore = "long"]
fn a_record_of_a_large_share_costs_what_it_changes() {
    costs_what_it_changes(100_000);
}
