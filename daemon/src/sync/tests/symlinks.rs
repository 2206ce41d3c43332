//! Symlinks of others are there, and lead nowhere but into their share.

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::Vfs;

use super::site::{People, Site, share};
use crate::remote::tests::run;
use crate::sync::Round;

const LEADING_OUT: [(&str, &str); 6] = [
    ("absolute", "/etc/passwd"),
    ("up", "../private"),
    ("dir/up", "../../private"),
    // Whether these lead out depends on where they are moved, and on what `first` is by then.
    ("dir/beside", "../first"),
    ("through", "dir/../../private"),
    ("only", ".."),
];

#[test]
fn a_symlink_of_another_that_may_lead_out_of_the_share_is_not_followed() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    bob.mkdir("dir");
    bob.file("first", b"1");
    for (name, target) in LEADING_OUT {
        bob.symlink(name, target);
    }
    bob.symlink("inside", "dir/beside");
    bob.symlink("..dots", "first..");
    bob.push();
    alice.pull();
    for round in 0..2 {
        for (name, target) in LEADING_OUT {
            let refused = alice.v().readlink(alice.ino(name));
            assert_eq!(refused, Err(FsError::AccessDenied), "{name} {round}");
            // To him who made it, it is like any other.
            assert_eq!(bob.v().readlink(bob.ino(name)).unwrap(), target.as_bytes());
        }
        for (name, target) in [("inside", "dir/beside"), ("..dots", "first..")] {
            let found = alice.v().readlink(alice.ino(name)).unwrap();
            assert_eq!(found, target.as_bytes());
        }
        alice.again();
        bob.again();
        alice.push();
        bob.push();
    }
    // What the other sees of them is what was made, whoever moves them.
    alice.rename("absolute", "dir/moved");
    alice.push();
    bob.pull();
    let moved = bob.v().readlink(bob.ino("dir/moved")).unwrap();
    assert_eq!(moved, b"/etc/passwd");
}

#[test]
fn a_symlink_of_another_is_not_sent_as_ones_own_after_he_has_removed_it() {
    let people = People::new();
    let (a, b) = people.sessions();
    let id = share(&a);
    let mut alice = Site::begin((&people.alice, &a), id, |_, _| {});
    let mut bob = Site::begin((&people.bob, &b), id, |_, _| {});
    bob.symlink("trap", "/etc/passwd");
    bob.push();
    alice.pull();
    bob.unlink("trap");
    bob.push();
    alice.rename("trap", "mine");
    let round = run(alice.sync.push()).unwrap();
    assert_eq!(round, Round::Done { kept_back: 1 });
    assert!(alice.find("mine").is_some(), "an edit beats a removal");
    bob.pull();
    assert!(bob.paths().is_empty());
    alice.unlink("mine");
    alice.push();
}
