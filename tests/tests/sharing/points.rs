//! A folder of a share that one has for oneself, on several devices, is given to others by itself.

use std::fs;
use std::io::{Seek, Write};
use std::path::Path;

use keyfold_tests::{Mount, Vault, keyfold, until};
use nix::errno::Errno;

use crate::scene::{Person, SOON, World, comes, command, refused, run, same, text};

/// Alice's `own`, in which nobody else takes part any more, on her laptop and her tablet.
struct Own {
    world: World,
    alice: Person,
    bob: Person,
    tablet: Vault,
    at_alice: Mount,
    at_bob: Mount,
    at_tablet: Mount,
}

const THERE: &str = "Shared/alice/own";

impl Own {
    fn new() -> Self {
        let world = World::new();
        let (alice, bob) = world.two();
        let tablet = alice.another_device(&world);
        let (at_alice, at_tablet) = (alice.vault.mount(), tablet.mount());
        let at_bob = bob.vault.mount();
        let own = at_alice.join("own");
        fs::create_dir_all(own.join("sub/dir")).unwrap();
        fs::write(own.join("sub/file"), "1").unwrap();
        fs::write(own.join("sub/dir/deep"), "deep").unwrap();
        fs::write(own.join("beside"), "beside").unwrap();
        run(&["share", text(&own), "bob"]);
        comes(&at_bob.join(THERE).join("sub/file"), "1");
        run(&["unshare", text(&own), "bob"]);
        comes(&at_tablet.join(THERE).join("beside"), "beside");
        same("before", &own, &at_tablet.join(THERE));
        Self {
            world,
            alice,
            bob,
            tablet,
            at_alice,
            at_bob,
            at_tablet,
        }
    }

    fn end(self) {
        for mount in [self.at_alice, self.at_bob, self.at_tablet] {
            mount.unmount();
        }
        for vault in [&self.alice.vault, &self.bob.vault, &self.tablet] {
            vault.check();
        }
    }
}

#[track_caller]
fn fails(with: Errno, done: std::io::Result<()>) {
    assert_eq!(done.unwrap_err().raw_os_error(), Some(with as i32));
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[test]
fn a_folder_of_ones_own_share_is_given_by_itself_and_stays_where_it_is() {
    let own = Own::new();
    let sub = own.at_alice.join("own/sub");
    let there = own.at_tablet.join(THERE);
    // A program has a file open all the while.
    let mut open = fs::File::options()
        .write(true)
        .open(sub.join("file"))
        .unwrap();
    let before = fs::metadata(sub.join("file")).map(|m| std::os::unix::fs::MetadataExt::ino(&m));
    run(&["share", text(&sub), "bob", "--write"]);
    let bobs = own.at_bob.join("Shared/alice/sub");
    comes(&bobs.join("file"), "1");
    open.rewind().unwrap();
    open.write_all(b"22").unwrap();
    drop(open);
    let after = fs::metadata(sub.join("file")).map(|m| std::os::unix::fs::MetadataExt::ino(&m));
    assert_eq!(before.unwrap(), after.unwrap());
    comes(&bobs.join("file"), "22");
    comes(&there.join("sub/file"), "22");
    // Only there: where the tablet had it for a moment, it is not any more.
    until("it is at its place only", SOON, || {
        !is_there(&own.at_tablet.join("Shared/alice/sub"))
    });
    for (from, name) in [
        (&bobs, "bob"),
        (&sub, "laptop"),
        (&there.join("sub"), "tablet"),
    ] {
        fs::write(from.join(name), name).unwrap();
        for to in [&bobs, &sub, &there.join("sub")] {
            comes(&to.join(name), name);
        }
    }
    assert!(!is_there(&bobs.join("beside")));
    fs::write(there.join("beside"), "of the tablet").unwrap();
    comes(&own.at_alice.join("own/beside"), "of the tablet");

    fails(
        Errno::EXDEV,
        fs::rename(sub.join("file"), own.at_alice.join("own/file")),
    );
    fails(
        Errno::EXDEV,
        fs::hard_link(sub.join("file"), own.at_alice.join("own/file")),
    );
    fails(Errno::EXDEV, fs::rename(&sub, own.at_alice.join("out")));
    let outer = own.at_alice.join("own");
    refused(
        &keyfold(["share", text(&outer), "bob"]),
        21,
        "shared by itself",
    );
    let (errno, reply) = command(&own.at_alice, "share own/beside bob");
    assert_eq!(errno, Some(libc::EBUSY), "{reply}");
    // It is moved on one device, and is there on the other.
    fs::create_dir(own.at_alice.join("own/above")).unwrap();
    fs::rename(&sub, own.at_alice.join("own/above/moved")).unwrap();
    comes(&there.join("above/moved/file"), "22");
    fs::write(there.join("above/moved/file"), "333").unwrap();
    comes(&bobs.join("file"), "333");
    own.end();
}

#[test]
fn what_is_ordered_without_the_server_changes_nothing_and_a_kill_after_it_loses_nothing() {
    let mut own = Own::new();
    let sub = own.at_alice.join("own/sub");
    own.world.server.stop();
    let failed = keyfold(["share", text(&sub), "bob"]);
    assert_ne!(failed.code, Some(0), "{failed}");
    fs::write(sub.join("file"), "offline").unwrap();
    own.world.server.start();
    let there = own.at_tablet.join(THERE);
    comes(&there.join("sub/file"), "offline");
    assert!(!is_there(&own.at_bob.join("Shared/alice/sub")));

    run(&["share", text(&sub), "bob"]);
    fs::write(sub.join("file"), "unsent").unwrap();
    assert_eq!(command(&own.at_alice, "sync").0, None);
    own.at_alice.kill9();
    own.at_alice = own.alice.vault.mount();
    comes(&own.at_bob.join("Shared/alice/sub/file"), "unsent");
    comes(&there.join("sub/file"), "unsent");
    run(&[
        "wait-synced",
        text(own.at_alice.path()),
        "--timeout",
        "120s",
    ]);
    same("at last", &own.at_alice.join("own"), &there);
    own.end();
}
