//! Symlinks in shared folders: whose are followed where.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use keyfold_tests::{keyfold, until};

use crate::scene::{SOON, World, comes, end, on_vault, run, run_in, shared, text};

fn target(path: &Path) -> Result<String, Option<i32>> {
    let target = fs::read_link(path);
    let target = target.map(|target| target.to_str().unwrap().to_owned());
    target.map_err(|e| e.raw_os_error())
}

const DENIED: Result<String, Option<i32>> = Err(Some(libc::EACCES));

#[test]
fn symlinks_of_others_that_may_lead_out_are_listed_and_followed_only_where_that_is_asked_for() {
    let world = World::new();
    let (alice, bob) = world.two();
    let tablet = alice.another_device(&world);
    let (at_alice, at_tablet) = (alice.vault.mount(), tablet.mount());
    let at_bob = bob.vault.mount();
    let own = shared(&at_alice, "bob", &["--write"]);
    let at_bobs = at_bob.join("Shared/alice/Reports");
    let on_tablet = at_tablet.join("Shared/alice/Reports");
    for there in [&at_bobs, &on_tablet] {
        comes(&there.join("first"), "from alice");
    }
    symlink("/etc/hostname", at_bobs.join("trap")).unwrap();
    symlink("../first", at_bobs.join("up")).unwrap();
    symlink("first", at_bobs.join("inside")).unwrap();
    symlink("/etc/hostname", own.join("mine")).unwrap();
    for there in [&own, &on_tablet] {
        comes(&there.join("inside"), "from alice");
        for name in ["trap", "up"] {
            assert_eq!(target(&there.join(name)), DENIED);
        }
        let listed = run_in(&["find", text(there), "-name", "trap", "-printf", "%y%s"]);
        assert_eq!(listed, "l13");
    }
    // One's own leads where it was made to lead, on each device of the account, and there alone.
    for there in [&on_tablet, &at_bobs] {
        until("it came", SOON, || there.join("mine").is_symlink());
    }
    assert_eq!(target(&on_tablet.join("mine")).unwrap(), "/etc/hostname");
    assert_eq!(target(&own.join("mine")).unwrap(), "/etc/hostname");
    assert_eq!(target(&at_bobs.join("mine")), DENIED);
    assert_eq!(target(&at_bobs.join("trap")).unwrap(), "/etc/hostname");
    for mount in [&at_alice, &at_bob] {
        run(&["wait-synced", text(mount.path()), "--timeout", "60s"]);
    }
    at_alice.unmount();

    // Without a mount it is the same.
    let listed = on_vault(&alice.vault, &["ls", text(alice.vault.path()), "Reports"]);
    listed.expect_success("keyfold ls");
    assert!(listed.stdout.contains("trap"), "{listed}");
    let out = alice.vault.sandbox().path().join("out");
    let export = ["export", text(alice.vault.path()), text(&out)];
    let exported = on_vault(&alice.vault, &export);
    assert!(exported.stderr.contains("left out"), "{exported}");
    assert!(!out.join("Reports/trap").is_symlink());
    assert!(out.join("Reports/inside").is_symlink());

    let at_alice = alice.vault.mount_with(&["-o", "foreign-symlinks"]);
    assert_eq!(target(&own.join("trap")).unwrap(), "/etc/hostname");
    assert_eq!(target(&own.join("up")).unwrap(), "../first");
    at_alice.unmount();
    // Who leaves the share keeps what he had as it was.
    let at_alice = alice.vault.mount();
    let left = keyfold(["unshare", text(&own), "--all"]);
    left.expect_success("keyfold unshare");
    assert_eq!(target(&own.join("trap")), DENIED);
    at_tablet.unmount();
    end([(at_alice, &alice), (at_bob, &bob)]);
}
