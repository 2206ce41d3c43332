//! What is told of repositories and databases that two machines change.

use super::site::{People, Site, share};

fn told(site: &mut Site<'_, '_>) -> Vec<String> {
    let told = site.sync.take_told().into_iter();
    told.map(|line| line.split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn repositories_and_databases_that_both_change_are_told_once_and_nothing_else_is() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("first", b"1");
    alice.push();
    bob.pull();
    for dir in ["p", "p/.git", "p/.git/refs", "q", "q/.git"] {
        alice.mkdir(dir);
    }
    alice.file("p/.git/HEAD", b"1");
    alice.file("q/.git/HEAD", b"1");
    alice.file("p/notes.txt", b"1");
    alice.file("p/Mail.SQLite", b"1");
    alice.push();
    bob.pull();
    assert_eq!(told(&mut alice), [""; 0]);
    assert_eq!(told(&mut bob), [""; 0]);

    bob.file("p/.git/refs/main", b"2");
    bob.overwrite("p/notes.txt", 0, b"2");
    bob.push();
    alice.pull();
    assert_eq!(told(&mut bob), ["p/.git"], "alice made it");
    assert_eq!(told(&mut alice), ["p/.git"]);

    bob.overwrite("p/.git/HEAD", 0, b"3");
    bob.overwrite("p/Mail.SQLite", 0, b"2");
    bob.push();
    alice.pull();
    assert_eq!(told(&mut bob), ["p/Mail.SQLite"]);
    assert_eq!(told(&mut alice), ["p/Mail.SQLite"]);
}

#[test]
fn a_repository_that_was_there_when_the_share_began_is_told_when_both_change_it() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    alice.mkdir(".git");
    alice.file(".git/HEAD", b"1");
    alice.push();
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    bob.pull();
    bob.overwrite(".git/HEAD", 0, b"2");
    bob.push();
    alice.pull();
    assert_eq!(told(&mut alice), [""; 0], "it was there");
    alice.overwrite(".git/HEAD", 0, b"3");
    alice.push();
    bob.pull();
    assert_eq!(told(&mut alice), [".git"]);
    assert_eq!(told(&mut bob), [".git"]);
}
