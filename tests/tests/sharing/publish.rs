//! What is offered, asked for and granted, between mounts and through a real server.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use keyfold_tests::{Mount, count, keyfold, until};
use rustix::fs::XattrFlags;
use serde_json::Value;

use crate::scene::{
    SOON, World, comes, command, end, on_vault, refused, run, run_in, status, text,
};

/// The value of one of the attributes of the mount.
pub(crate) fn attribute(name: &str, path: &Path) -> String {
    let name = format!("user.keyfold.{name}");
    let words = ["getfattr", "--only-values", "--absolute-names", "-n", &name];
    run_in(&[&words[..], &[text(path)]].concat())
}

/// A folder of a mount with a file in it, offered to everybody as "Plan 2027".
pub(crate) fn published(mount: &Mount) -> PathBuf {
    let folder = mount.join("Plan");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("first"), "from alice").unwrap();
    run(&[
        "publish",
        text(&folder),
        "--title",
        "Plan 2027",
        "--everyone",
    ]);
    folder
}

/// Waits until something can be asked for.
pub(crate) fn locked(path: &Path) {
    until("the stub is there", SOON, || path.is_dir());
    let errno = fs::read_dir(path).unwrap_err().raw_os_error();
    assert_eq!(errno, Some(libc::EACCES));
}

/// What is [`published`], and the locked directory of Bob's that stands for it.
pub(crate) fn offered(at_alice: &Mount, at_bob: &Mount) -> (PathBuf, PathBuf) {
    let folder = published(at_alice);
    let stub = at_bob.join("Shared/alice/Plan 2027");
    locked(&stub);
    (folder, stub)
}

/// The id of the one request that waits for an answer.
pub(crate) fn asked(mount: &Mount) -> String {
    until("a request is told", SOON, || {
        status(mount)["sharing"]["requests"] == 1
    });
    let inbox = run(&["inbox", text(mount.path()), "--json"]);
    let inbox: Value = serde_json::from_str(&inbox).unwrap();
    inbox[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_published_is_locked_until_it_is_granted_and_then_opens_where_it_is() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (folder, stub) = offered(&at_alice, &at_bob);
    let before = fs::symlink_metadata(&stub).unwrap();
    assert_eq!(before.mode() & 0o7777, 0o600);
    assert_eq!(attribute("state", &stub), "locked");
    assert_eq!(attribute("owner", &stub), "alice");
    let link = attribute("link", &stub);
    assert!(link.starts_with("alice@127.0.0.1:"), "{link}");
    assert!(link.contains("/plan-2027#"), "{link}");
    assert!(link.ends_with(&attribute("fingerprint", &stub)), "{link}");

    run(&[
        "request",
        text(&stub),
        "--write",
        "--message",
        "for the audit",
    ]);
    assert_eq!(attribute("state", &stub), "requested");
    let id = asked(&at_alice);
    run(&["approve", &id, text(at_alice.path())]);
    comes(&stub.join("first"), "from alice");
    let after = fs::symlink_metadata(&stub).unwrap();
    assert_eq!(after.ino(), before.ino(), "it is another directory");
    assert_ne!(after.mode() & 0o100, 0);
    fs::write(stub.join("second"), "from bob").unwrap();
    comes(&folder.join("second"), "from bob");
    until("the stub is told as a share", SOON, || {
        let sharing = &status(&at_bob)["sharing"];
        sharing["locked"] == Value::Array(vec![]) && sharing["shares"][0]["role"] == "writer"
    });
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_stub_can_be_neither_entered_nor_changed_nor_moved_into_a_share() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (_, stub) = offered(&at_alice, &at_bob);
    let own = at_bob.join("Own");
    fs::create_dir(&own).unwrap();
    run(&["share", text(&own), "alice"]);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    let errno = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    for (what, result, expected) in [
        ("read", fs::read(&stub).map(drop), libc::EACCES),
        (
            "look up",
            fs::metadata(stub.join("x")).map(drop),
            libc::EACCES,
        ),
        ("create", fs::write(stub.join("x"), "x"), libc::EACCES),
        ("mkdir", fs::create_dir(stub.join("x")), libc::EACCES),
        ("chmod", fs::set_permissions(&stub, mode), libc::EACCES),
        ("rmdir", fs::remove_dir(&stub), libc::EPERM),
        ("move", fs::rename(&stub, own.join("x")), libc::EXDEV),
        (
            "move over",
            fs::rename(at_bob.join("Shared/alice"), &stub),
            libc::EINVAL,
        ),
    ] {
        assert_eq!(errno(result), Some(expected), "{what}");
    }
    let share = keyfold(["share", text(&stub), "alice"]);
    assert!(!share.succeeded(), "{share}");
    // Who is logged in nowhere is offered nothing.
    at_bob.unmount();
    let logout = on_vault(&bob.vault, &["account", "logout", text(bob.vault.path())]);
    logout.expect_success("account logout");
    let at_bob = bob.vault.mount();
    until("the stub goes with the login", SOON, || !stub.exists());
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn what_is_offered_by_who_is_not_verified_waits_to_be_accepted() {
    let world = World::new();
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let folder = published(&at_alice);
    until("bob is told", SOON, || {
        status(&at_bob)["sharing"]["offered"][0]["name"] == "Plan 2027"
    });
    assert!(!at_bob.join("Shared").exists());
    run(&["accept", "alice", text(at_bob.path())]);
    let stub = at_bob.join("Shared/alice/Plan 2027");
    locked(&stub);
    // Who she is, the server alone said: asking her verifies nothing.
    let link = attribute("link", &stub);
    assert!(link.ends_with("/plan-2027"), "{link}");
    run(&["request", text(&stub)]);
    let people = run(&["people", text(at_bob.path()), "--json"]);
    let people: Value = serde_json::from_str(&people).unwrap();
    assert_eq!(people[0]["user"], "alice");
    assert_eq!(people[0]["verified"], false);
    run(&["unpublish", text(&folder)]);
    until("the stub goes with the offer", SOON, || !stub.exists());
    let gone = keyfold(["request", text(&stub)]);
    assert!(!gone.succeeded(), "{gone}");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_stub_is_there_without_a_server_and_after_another_mount() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (folder, stub) = offered(&at_alice, &at_bob);
    world.server.stop();
    at_bob.unmount();
    let at_bob = bob.vault.mount();
    locked(&stub);
    assert_eq!(attribute("state", &stub), "locked");
    let unreached = keyfold(["request", text(&stub)]);
    refused(&unreached, 50, "");
    let read = format!("r;{}", attribute("token", &stub));
    let none = XattrFlags::empty();
    let asking = rustix::fs::setxattr(&stub, "user.keyfold.request", read.as_bytes(), none);
    assert_eq!(asking.unwrap_err().raw_os_error(), libc::EHOSTUNREACH);
    world.server.start();
    until("alice can unpublish", SOON, || {
        keyfold(["unpublish", text(&folder)]).succeeded()
    });
    until("the stub goes with the offer", SOON, || !stub.exists());
    end([(at_alice, &alice), (at_bob, &bob)]);
}

/// Rounds that are measured.
const ROUNDS: u64 = 40;

#[test]
#[ignore = "measures: from the approval to the readable file"]
fn how_soon_what_is_approved_can_be_read() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let mut times = Vec::new();
    for round in 0..count("KEYFOLD_ROUNDS", ROUNDS) {
        let folder = at_alice.join(format!("{round}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("first"), "from alice").unwrap();
        let title = format!("Round {round}");
        run(&["publish", text(&folder), "--title", &title, "--to", "bob"]);
        let stub = at_bob.join("Shared/alice").join(&title);
        locked(&stub);
        run(&["request", text(&stub)]);
        let approve = format!("approve {}", asked(&at_alice));
        let began = Instant::now();
        assert_eq!(command(&at_alice, &approve).0, None);
        while fs::read(stub.join("first")).is_err() {
            assert!(began.elapsed() < SOON, "round {round}: it does not open");
            std::thread::sleep(Duration::from_millis(1));
        }
        times.push((began.elapsed(), round));
        until("nothing waits any more", SOON, || {
            status(&at_alice)["sharing"]["requests"] == 0
        });
    }
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    eprintln!(
        "{} rounds: p50 {:?}, p99 {:?}; the longest with their rounds {:?}",
        times.len(),
        at(50).0,
        at(99).0,
        &times[times.len().saturating_sub(4)..]
    );
    end([(at_alice, &alice), (at_bob, &bob)]);
}
