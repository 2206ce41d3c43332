//! What one writes, the others read.

use keyfold_fs::vfs::SetAttr;

use super::site::{People, Site, assert_same, pattern, share};

#[test]
fn files_directories_symlinks_and_attributes_travel() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    for (name, size) in [("none", 0), ("one", 1), ("some", 5000), ("many", 3 << 20)] {
        alice.file(name, &pattern(size, size as u8));
    }
    alice.mkdir("dir");
    alice.mkdir("dir/below");
    alice.file("dir/below/deep", b"deep");
    alice.link("dir/below/deep", "dir/other");
    alice.symlink("dir/link", "below/deep");
    alice.xattr("one", "user.note", b"kept");
    alice.xattr("dir", "user.colour", b"green");
    alice.stamp("some", 1_000_000_000);
    alice.set(
        "one",
        &SetAttr {
            perm: Some(0o500),
            ..SetAttr::default()
        },
    );
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
    assert_eq!(bob.ino("dir/below/deep"), bob.ino("dir/other"));
    assert_eq!(bob.read("many"), pattern(3 << 20, 0));

    bob.overwrite("some", 100, b"by bob");
    bob.overwrite("none", 0, b"not empty");
    bob.truncate("many", 100_000);
    bob.rename("dir/below", "moved");
    bob.unlink("dir/link");
    bob.stamp("one", 5);
    bob.xattr("one", "user.note", b"other");
    bob.push();
    alice.pull();
    assert_same(&alice, &bob);
    assert_eq!(alice.read("moved/deep"), b"deep");
}

#[test]
fn names_that_change_places_and_directories_that_are_removed_travel() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    for dir in ["x", "x/y", "x/y/z", "gone", "gone/too"] {
        alice.mkdir(dir);
    }
    alice.file("one", b"1");
    alice.file("two", b"2");
    alice.file("gone/too/file", b"gone");
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
    alice.exchange("one", "two");
    alice.rename("x/y", "y");
    alice.rename("x", "y/x");
    alice.unlink("gone/too/file");
    alice.rmdir("gone/too");
    alice.rmdir("gone");
    alice.file("gone", b"a file now");
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
    assert_eq!(bob.paths(), ["gone", "one", "two", "y", "y/x", "y/z"]);
    assert_eq!(bob.read("one"), b"2");
}

#[test]
fn what_was_there_when_the_share_began_is_sent() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |volume, root| {
        use keyfold_fs::vfs::{Caller, Name, Place, Vfs};
        let at = Place {
            parent: root,
            name: Name::new(b"before").unwrap(),
        };
        let caller = Caller {
            uid: 0,
            gid: 0,
            umask: 0,
        };
        volume.mkdir(&caller, at, 0o700).unwrap();
    });
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.pull();
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
    assert_eq!(bob.paths(), ["before"]);
}

#[test]
fn what_was_synced_before_the_program_ended_is_not_sent_again() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("file", &pattern(10_000, 1));
    alice.push();
    bob.pull();
    bob.push();
    alice.again();
    bob.again();
    people.scene.script.take();
    alice.push();
    bob.push();
    let paths = people.scene.script.take_paths();
    assert!(
        !paths.iter().any(|path| path.contains("/blobs/")),
        "{paths:?}"
    );
    alice.overwrite("file", 0, b"again");
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
}

#[test]
fn one_changed_block_uploads_one_block() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    alice.file("file", &pattern(3 << 20, 1));
    alice.push();
    bob.pull();
    assert_same(&alice, &bob);
    let sent = |people: &People| -> usize {
        let seen = people.scene.script.take();
        let blobs = seen
            .iter()
            .filter(|s| s.head.starts_with("PUT") && s.path().contains("/blobs/"));
        blobs.map(|s| s.body.len()).sum()
    };
    assert!(sent(&people) > 3 << 20);
    alice.overwrite("file", 1_000_000, b"one block");
    alice.push();
    let one_block = 8 + 81 + 64 + 4096;
    assert_eq!(sent(&people), one_block);
    bob.pull();
    assert_same(&alice, &bob);
    bob.overwrite("file", 2_000_000, b"another");
    sent(&people);
    bob.push();
    assert_eq!(sent(&people), one_block);
    alice.pull();
    assert_same(&alice, &bob);
}
