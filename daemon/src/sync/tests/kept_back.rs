//! What is not sent is neither lost nor in the way.

use keyfold_fs::vfs::{FileKind, NewNode, Vfs};

use keyfold_protocol::roster::Role;

use super::site::{CALLER, People, Site, share};
use crate::remote::tests::run;
use crate::sharing::tests::newcomer;
use crate::sharing::{Ends, Shared};
use crate::sync::Round;

fn fifo(site: &Site<'_, '_>, path: &str) {
    let node = NewNode {
        kind: FileKind::Fifo,
        perm: 0o644,
        rdev: 0,
    };
    site.v().mknod(&CALLER, site.place(path), node).unwrap();
}

#[track_caller]
fn pushes(site: &mut Site<'_, '_>, kept_back: u64) {
    let round = run(site.sync.push()).unwrap();
    assert_eq!(round, Round::Done { kept_back });
}

#[test]
fn a_name_that_is_not_sent_moves_aside_when_others_take_it() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.mkdir("d");
    fifo(&alice, "d/pipe");
    pushes(&mut alice, 1);
    bob.pull();
    bob.file("d/pipe", b"a file");
    bob.push();
    pushes(&mut alice, 1);
    assert_eq!(alice.read("d/pipe"), b"a file");
    let paths = alice.paths();
    assert_eq!(paths.len(), 3, "{paths:?}");
    assert!(
        paths[2].starts_with("d/pipe (conflict, alice, "),
        "{paths:?}"
    );
    alice.again();
    pushes(&mut alice, 1);
    bob.pull();
    assert_eq!(bob.paths(), ["d", "d/pipe"]);
}

#[test]
fn a_directory_that_others_remove_stays_while_something_is_in_it_that_they_do_not_have() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    bob.mkdir("d");
    bob.mkdir("d/e");
    bob.file("d/e/file", b"1");
    bob.push();
    alice.pull();
    fifo(&alice, "d/e/pipe");
    bob.unlink("d/e/file");
    bob.rmdir("d/e");
    bob.rmdir("d");
    bob.push();
    pushes(&mut alice, 1);
    assert_eq!(alice.paths(), ["d", "d/e", "d/e/pipe"]);
    alice.again();
    pushes(&mut alice, 1);
    bob.pull();
    assert_eq!(bob.paths(), ["d", "d/e"]);
    alice.unlink("d/e/pipe");
    alice.rmdir("d/e");
    alice.rmdir("d");
    alice.push();
    bob.pull();
    assert!(bob.paths().is_empty());
}

#[test]
fn who_may_only_read_keeps_what_cannot_be_sent_and_has_all_that_others_do() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.mkdir("d");
    alice.push();
    bob.pull();
    fifo(&bob, "d/pipe");
    pushes(&mut bob, 1);
    let mut shared = run(Shared::open(&a, id)).unwrap();
    let root = newcomer(&a, "bob", Role::Reader).person.root();
    run(shared.set_role(root, Role::Reader, Ends::AsBefore)).unwrap();
    alice.rmdir("d");
    alice.push();
    bob.pull();
    assert_eq!(bob.paths(), ["d", "d/pipe"]);
    alice.file("d", b"a file");
    alice.push();
    for _ in 0..2 {
        bob.pull();
        assert_eq!(bob.read("d"), b"a file");
        let paths = bob.paths();
        assert_eq!(paths.len(), 3, "{paths:?}");
        assert!(paths[1].starts_with("d (conflict, bob, "), "{paths:?}");
        assert_eq!(paths[2], format!("{}/pipe", paths[1]));
        bob.again();
    }
    alice.pull();
    assert_eq!(alice.paths(), ["d"]);
}
