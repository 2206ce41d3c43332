//! Folders shared between mounted vaults, through a real server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyfold_tests::{Mount, Outcome, Sandbox, Seeded, Server, Vault, keyfold, pattern, until};
use serde_json::Value;

/// Longest time until a change is seen by others.
const SOON: Duration = Duration::from_secs(30);

/// A server, and people with a vault each.
struct World {
    server: Server,
    sandbox: Sandbox,
}

/// Somebody with an account and a vault.
struct Person {
    name: &'static str,
    vault: Vault,
}

impl World {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        Self {
            server: Server::new(&sandbox),
            sandbox,
        }
    }

    fn person(&self, name: &'static str) -> Person {
        let vault = Vault::new();
        let password = self.sandbox.file("account-password", "tall giraffe\n");
        let (url, email) = (self.server.url(), format!("{name}@example.org"));
        let kit = vault.sandbox().path().join("kit");
        let registered = on_vault(
            &vault,
            &[
                "account",
                "register",
                name,
                text(vault.path()),
                "--server",
                &url,
                "--email",
                &email,
                "--kit-file",
                text(&kit),
                "--new-account-password-file",
                text(&password),
            ],
        );
        registered.expect_success("keyfold account register");
        Person { name, vault }
    }

    /// Alice and Bob, who verified one another.
    fn two(&self) -> (Person, Person) {
        let (alice, bob) = (self.person("alice"), self.person("bob"));
        alice.trusts(&bob);
        bob.trusts(&alice);
        (alice, bob)
    }
}

impl Person {
    fn fingerprint(&self) -> String {
        let path = text(self.vault.path());
        let shown = on_vault(&self.vault, &["account", "show", path, "--json"]);
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        shown["fingerprint"].as_str().unwrap().to_owned()
    }

    fn trusts(&self, other: &Self) {
        let (path, fingerprint) = (text(self.vault.path()), other.fingerprint());
        let trust = ["trust", other.name, path, "--fingerprint", &fingerprint];
        on_vault(&self.vault, &trust).expect_success("keyfold trust");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn on_vault(vault: &Vault, arguments: &[&str]) -> Outcome {
    let password = ["--password-file", text(vault.password_file())];
    keyfold(arguments.iter().chain(&password))
}

fn run(arguments: &[&str]) -> String {
    let done = keyfold(arguments);
    done.expect_success(arguments.join(" "));
    done.stdout
}

/// A directory of a mount with a file in it, given to somebody.
fn shared(mount: &Mount, user: &str, role: &[&str]) -> PathBuf {
    let reports = mount.join("Reports");
    fs::create_dir(&reports).unwrap();
    fs::write(reports.join("first"), "from alice").unwrap();
    run(&[&["share", text(&reports), user], role].concat());
    reports
}

fn status(mount: &Mount) -> Value {
    let status = fs::read_to_string(mount.join(".keyfold/status")).unwrap();
    serde_json::from_str(&status).unwrap()
}

/// What is known of the one share of a mount.
fn share_status(mount: &Mount) -> Value {
    status(mount)["sharing"]["shares"][0].clone()
}

/// What the mounts know, should the test fail.
struct Told<'m>(&'m [&'m Mount]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for mount in self.0 {
                let status = fs::read_to_string(mount.join(".keyfold/status"));
                let status = serde_json::from_str::<Value>(&status.unwrap_or_default());
                let sharing = &status.unwrap_or_default()["sharing"];
                eprintln!("--- {}\n{sharing:#}", mount.path().display());
            }
        }
    }
}

#[track_caller]
fn refused(outcome: &Outcome, code: i32, said: &str) {
    assert_eq!(outcome.code, Some(code), "{outcome}");
    assert!(outcome.stderr.contains(said), "{outcome}");
}

/// Writes a line to the control file. Returns the errno that this fails with, and the reply.
fn command(mount: &Mount, line: &str) -> (Option<i32>, String) {
    let mut control = fs::File::options()
        .read(true)
        .write(true)
        .open(mount.join(".keyfold/control"))
        .unwrap();
    let written = control.write_all(line.as_bytes());
    let mut reply = String::new();
    control.read_to_string(&mut reply).unwrap();
    (written.err().and_then(|e| e.raw_os_error()), reply)
}

/// Kind, mode, and bytes or target of all that is below a directory.
fn tree(root: &Path) -> std::io::Result<BTreeMap<PathBuf, (u32, Vec<u8>)>> {
    let (mut all, mut left) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let kind = path.symlink_metadata()?.file_type();
            // Of a mode, only what its owner may do travels.
            let mode = path.symlink_metadata()?.permissions().mode() & !0o77;
            let content = if kind.is_dir() {
                left.push(path.clone());
                Vec::new()
            } else if kind.is_symlink() {
                fs::read_link(&path)?.into_os_string().into_encoded_bytes()
            } else {
                fs::read(&path)?
            };
            let name = path.strip_prefix(root).unwrap().to_owned();
            all.insert(name, (mode, content));
        }
    }
    Ok(all)
}

#[track_caller]
fn same(when: &str, one: &Path, other: &Path) {
    let names = |dir| tree(dir).map(|tree| tree.into_keys().collect::<Vec<_>>());
    let mut waited = 0;
    until(&format!("both are the same {when}"), SOON, || {
        waited += 1;
        if waited == 200 {
            eprintln!("{:?}\n{:?}", names(one), names(other));
        }
        matches!((tree(one), tree(other)), (Ok(one), Ok(other)) if one == other)
    });
}

#[track_caller]
fn comes(path: &Path, content: &str) {
    let mut last = None;
    until(&format!("{} has its content", path.display()), SOON, || {
        let found = fs::read(path);
        let came = found
            .as_ref()
            .is_ok_and(|found| found == content.as_bytes());
        let found = format!("{found:?}");
        if last.as_ref() != Some(&found) {
            eprintln!("{}: {found}", path.display());
            last = Some(found);
        }
        came
    });
}

#[test]
fn a_shared_folder_appears_and_what_either_writes_comes_to_the_other() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let told = Told(&[&at_alice, &at_bob]);
    // The kernel remembers that there is none, and the listing.
    let listed = || -> Vec<_> {
        let entries = fs::read_dir(at_bob.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    assert!(!at_bob.join("Shared").exists());
    assert!(listed().is_empty());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    assert_eq!(listed(), ["Shared"]);
    fs::write(here.join("second"), "from bob").unwrap();
    comes(&reports.join("second"), "from bob");
    fs::write(reports.join("second"), "alice again").unwrap();
    comes(&here.join("second"), "alice again");
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
    alice.vault.check();
    bob.vault.check();
}

#[test]
fn all_that_is_done_in_a_shared_folder_comes_to_the_other() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let told = Told(&[&at_alice, &at_bob]);
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");

    // Longer than a pack, and not all the same.
    let large = pattern(1, 3 << 20);
    fs::write(reports.join("large"), &large).unwrap();
    fs::create_dir_all(here.join("deep/er")).unwrap();
    fs::write(here.join("deep/er/file"), "x").unwrap();
    std::os::unix::fs::symlink("first", here.join("link")).unwrap();
    same("after a large file and directories", &reports, &here);
    assert!(fs::read(here.join("large")).unwrap() == large);

    let change = |path: &Path, offset: u64, bytes: &[u8]| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    };
    change(&here.join("large"), 1 << 20, &[0xaa; 4096]);
    fs::rename(reports.join("first"), reports.join("deep/renamed")).unwrap();
    same("after one block and a rename", &reports, &here);
    fs::remove_dir_all(here.join("deep")).unwrap();
    fs::set_permissions(reports.join("large"), fs::Permissions::from_mode(0o500)).unwrap();
    same("after removing a tree", &reports, &here);
    assert!(!reports.join("deep").exists());

    drop(told);
    at_alice.unmount();
    at_bob.unmount();
    alice.vault.check();
    bob.vault.check();
}

#[test]
fn who_is_taken_out_sees_nothing_more_and_can_write_nothing_more() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let told = Told(&[&at_alice, &at_bob]);
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    let again = keyfold(["share", text(&reports), "bob"]);
    refused(&again, 21, "bob takes part already");

    run(&["unshare", text(&reports), "bob"]);
    fs::write(reports.join("first"), "later secret").unwrap();
    fs::write(reports.join("second"), "later secret").unwrap();
    run(&["wait-synced", text(&reports), "--timeout", "60s"]);
    until("bob's mount knows", SOON, || {
        share_status(&at_bob)["state"] == "removed"
    });
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );
    assert!(!here.join("second").exists());
    let write = fs::write(here.join("first"), "bob").unwrap_err();
    assert_eq!(write.raw_os_error(), Some(libc::EROFS));
    let no_member = keyfold(["unshare", text(&reports), "bob"]);
    refused(&no_member, 40, "bob is no member");
    refused(&keyfold(["unshare", text(&reports)]), 2, "required");

    // What he had stays his, also once mounted anew, and he comes back where he was.
    drop(told);
    at_bob.unmount();
    let at_bob = bob.vault.mount();
    let told = Told(&[&at_alice, &at_bob]);
    let write = fs::write(here.join("new"), "bob").unwrap_err();
    assert_eq!(write.raw_os_error(), Some(libc::EROFS));
    run(&["share", text(&reports), "bob", "--write"]);
    comes(&here.join("second"), "later secret");
    until("bob may write again", SOON, || {
        fs::write(here.join("third"), "bob again").is_ok()
    });
    comes(&reports.join("third"), "bob again");
    run(&["unshare", text(&reports), "--all"]);
    until("bob may not write", SOON, || {
        fs::write(here.join("third"), "bob once more").is_err()
    });
    let members = run(&["members", "Reports", text(at_alice.path()), "--json"]);
    let members: Value = serde_json::from_str(&members).unwrap();
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
    alice.vault.check();
    bob.vault.check();
}

#[test]
fn a_reader_sees_everything_and_changes_nothing_until_he_may() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let told = Told(&[&at_alice, &at_bob]);
    let reports = shared(&at_alice, "bob", &[]);
    fs::create_dir(reports.join("dir")).unwrap();
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    until("the directory came", SOON, || here.join("dir").is_dir());
    let first = here.join("first");
    let errno = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    let mode = fs::Permissions::from_mode(0o700);
    for (what, result) in [
        ("write", fs::write(&first, "bob")),
        (
            "append",
            fs::File::options().append(true).open(&first).map(drop),
        ),
        ("create", fs::write(here.join("new"), "bob")),
        ("mkdir", fs::create_dir(here.join("new"))),
        ("rename", fs::rename(&first, here.join("new"))),
        ("unlink", fs::remove_file(&first)),
        ("rmdir", fs::remove_dir(here.join("dir"))),
        ("chmod", fs::set_permissions(&first, mode)),
        ("link", fs::hard_link(&first, here.join("new"))),
        ("symlink", std::os::unix::fs::symlink("x", here.join("new"))),
        (
            "truncate",
            nix::unistd::truncate(&first, 3).map_err(Into::into),
        ),
    ] {
        assert_eq!(errno(result), Some(libc::EROFS), "{what}");
    }
    comes(&first, "from alice");
    assert_eq!(share_status(&at_bob)["role"], "reader");

    run(&["role", "Reports", "bob", "writer", text(at_alice.path())]);
    until("bob may write", SOON, || {
        fs::write(here.join("new"), "bob").is_ok()
    });
    comes(&reports.join("new"), "bob");
    run(&["role", "Reports", "bob", "reader", text(at_alice.path())]);
    until("bob may not write", SOON, || {
        fs::write(here.join("x"), "bob").is_err()
    });
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
}

#[test]
fn while_the_server_is_away_work_goes_on_and_comes_later() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    world.server.stop();
    fs::write(reports.join("offline"), "alice alone").unwrap();
    fs::write(here.join("offline too"), "bob alone").unwrap();
    until("the error is told", SOON, || {
        let sharing = &status(&at_alice)["sharing"];
        sharing["connected"] == false && sharing["error"].is_string()
    });
    assert!(share_status(&at_alice)["waiting"].as_u64() > Some(0));
    refused(
        &keyfold(["unshare", text(&reports), "bob"]),
        50,
        "cannot connect",
    );
    let waited = keyfold(["wait-synced", text(&reports), "--timeout", "1s"]);
    refused(&waited, 50, "not synced");
    // Nobody is held up by it.
    at_bob.unmount();
    let at_bob = bob.vault.mount();
    assert_eq!(
        fs::read_to_string(here.join("offline too")).unwrap(),
        "bob alone"
    );
    let told = Told(&[&at_alice, &at_bob]);
    world.server.start();
    comes(&here.join("offline"), "alice alone");
    comes(&reports.join("offline too"), "bob alone");

    // Neither is anybody by one that takes connections and says nothing.
    world.server.freeze();
    fs::write(reports.join("frozen"), "x").unwrap();
    drop(told);
    at_alice.unmount();
    world.server.thaw();
    at_bob.unmount();
    alice.vault.check();
    bob.vault.check();
}

#[test]
fn a_daemon_that_was_killed_goes_on_where_it_was() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, mut at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    for round in 0..3 {
        for file in 0..20_u8 {
            let path = here.join(format!("{round}-{file}"));
            fs::write(path, pattern(file.into(), 20_000)).unwrap();
        }
        let last = fs::File::open(here.join(format!("{round}-19"))).unwrap();
        last.sync_all().unwrap();
        drop(last);
        // Some of it is under way.
        at_bob.kill9();
        fs::write(reports.join(format!("alice {round}")), "x").unwrap();
        at_bob = bob.vault.mount();
    }
    let told = Told(&[&at_alice, &at_bob]);
    run(&["wait-synced", text(&here), "--timeout", "60s"]);
    run(&["wait-synced", text(&reports), "--timeout", "60s"]);
    same("after kills", &reports, &here);
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
    bob.vault.check();
}

#[test]
fn nothing_comes_unasked_from_who_is_not_verified() {
    let world = World::new();
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let (key, key_of_alice) = (bob.fingerprint(), alice.fingerprint());
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let told = Told(&[&at_alice, &at_bob]);
    let reports = at_alice.join("Reports");
    fs::create_dir(&reports).unwrap();
    fs::write(reports.join("first"), "from alice").unwrap();
    let unverified = keyfold(["share", text(&reports), "bob"]);
    refused(&unverified, 52, "bob is not verified yet");
    let control = at_alice.join(".keyfold/control");
    let line = fs::write(&control, "share Reports bob").unwrap_err();
    assert_eq!(line.raw_os_error(), Some(libc::EKEYREJECTED));
    assert_eq!(status(&at_alice)["sharing"]["shares"], Value::Array(vec![]));
    let with_key = format!("share Reports bob --key {key}");
    fs::write(&control, with_key).unwrap();

    until("bob is told", SOON, || {
        status(&at_bob)["sharing"]["offered"][0]["name"] == "Reports"
    });
    assert!(!at_bob.join("Shared").exists());
    let shares = run(&["shares", text(at_bob.path())]);
    assert!(shares.contains("keyfold accept alice/Reports"), "{shares}");
    let nothing = keyfold(["accept", "carol", text(at_bob.path())]);
    refused(&nothing, 40, "nothing of carol");
    run(&["accept", "alice/Reports", text(at_bob.path())]);
    comes(&at_bob.join("Shared/alice/Reports/first"), "from alice");
    let left = run(&["leave", "Shared/alice/Reports", text(at_bob.path())]);
    assert!(left.contains("Left the share"), "{left}");
    until("the share is gone", SOON, || {
        status(&at_bob)["sharing"]["shares"] == Value::Array(vec![])
    });
    fs::write(at_bob.join("Shared/alice/Reports/own"), "x").unwrap();

    // What comes next is a share of its own, whatever was there before.
    let mine = at_bob.join("Mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("first"), "from bob").unwrap();
    run(&["share", text(&mine), "alice", "--key", &key_of_alice]);
    comes(&at_alice.join("Shared/bob/Mine/first"), "from bob");
    fs::write(mine.join("second"), "from bob").unwrap();
    comes(&at_alice.join("Shared/bob/Mine/second"), "from bob");
    run(&["unshare", text(&mine), "alice"]);
    let theirs = at_alice.join("Shared/bob/Mine");
    until("alice may not write", SOON, || {
        fs::remove_file(theirs.join("first")).is_err()
    });
    assert!(fs::remove_dir_all(&theirs).is_err());
    run(&["leave", "Shared/bob/Mine", text(at_alice.path())]);
    fs::remove_dir_all(&theirs).unwrap();
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
}

#[test]
fn a_line_that_makes_no_sense_fails_with_its_errno_and_says_why() {
    let world = World::new();
    let (alice, _bob) = world.two();
    let mount = alice.vault.mount();
    let told = Told(&[&mount]);
    for directory in ["Reports/inner", "Linked", "Free"] {
        fs::create_dir_all(mount.join(directory)).unwrap();
    }
    fs::write(mount.join("file"), "x").unwrap();
    fs::write(mount.join("Linked/a"), "x").unwrap();
    fs::hard_link(mount.join("Linked/a"), mount.join("outside")).unwrap();
    run(&["share", text(&mount.join("Reports")), "bob"]);
    for (line, errno, said) in [
        ("share", libc::EINVAL, "required"),
        ("share Free", libc::EINVAL, "required"),
        ("share Free bob --all", libc::EINVAL, "--all"),
        (
            "share Free bob --write --owner",
            libc::EINVAL,
            "cannot be used",
        ),
        ("share Free BOB", libc::EINVAL, "BOB"),
        ("share Free bob --key XXXX", libc::EINVAL, "fingerprint"),
        ("share Free bob extra", libc::EINVAL, "extra"),
        ("share nowhere bob", libc::ENOENT, "there is no nowhere"),
        ("share file bob", libc::ENOENT, "no folder"),
        ("share Free/../Reports bob", libc::EINVAL, ""),
        ("share / bob", libc::EINVAL, "whole mount"),
        ("share Free nobody", libc::ENOENT, "nobody is called nobody"),
        ("share Free alice", libc::EINVAL, "your own account"),
        ("share Reports bob", libc::EBUSY, "takes part already"),
        ("share Reports/inner bob", libc::EBUSY, "lies in a share"),
        (
            "share Linked bob",
            libc::EBUSY,
            "hard links outside of it: a",
        ),
        ("unshare Free bob", libc::ENOENT, "not shared"),
        ("unshare Reports carol", libc::ENOENT, "carol is no member"),
        ("role Reports bob king", libc::EINVAL, "king"),
        ("role nothing bob writer", libc::ENOENT, "no share"),
        ("members zz", libc::ENOENT, "no share"),
        ("approve 12345678", libc::ENOENT, "no request"),
        ("accept carol", libc::ENOENT, "nothing of carol"),
        ("folder nowhere", libc::ENOENT, "there is no nowhere"),
        (r#"{"command":"share","path":"Free"}"#, libc::EINVAL, "user"),
        (
            r#"{"command":"share","path":"Free","user":"bob","x":1}"#,
            libc::EINVAL,
            "x",
        ),
        ("trust bob", libc::EINVAL, "unknown command"),
        ("account show", libc::EINVAL, "unknown command"),
    ] {
        let (failed, reply) = command(&mount, line);
        assert_eq!(failed, Some(errno), "{line}: {reply}");
        assert!(reply.contains(said), "{line}: {reply}");
    }
    let shares = status(&mount)["sharing"]["shares"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(shares, 1, "what failed left something behind");
    drop(told);
    mount.unmount();

    let mount = alice.vault.mount_with(&["-o", "control=read"]);
    let (failed, reply) = command(&mount, "share Free bob");
    assert_eq!(failed, Some(libc::EACCES), "{reply}");
    assert_eq!(command(&mount, "people").0, None);
    mount.unmount();
    alice.vault.check();
}

#[test]
fn what_was_not_read_yet_is_fetched_when_it_is_and_only_then_needs_the_server() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    let large = pattern(2, 600_000);
    for name in ["one", "two", "three"] {
        fs::write(reports.join(name), &large).unwrap();
    }
    let sizes = || -> Vec<u64> {
        let size = |name| fs::metadata(here.join(name)).map_or(0, |meta| meta.len());
        ["one", "two", "three"].map(size).to_vec()
    };
    until("names and sizes came", SOON, || sizes() == [600_000; 3]);
    assert!(fs::read(here.join("one")).unwrap() == large);
    at_bob.unmount();
    let at_bob = bob.vault.mount();
    // Nothing was asked of the server yet: whoever reads waits until it was.
    assert!(fs::read(here.join("two")).unwrap() == large);

    world.server.stop();
    assert!(fs::read(here.join("one")).unwrap() == large);
    assert_eq!(sizes(), [600_000; 3]);
    let away = fs::read(here.join("three")).unwrap_err();
    assert_eq!(away.raw_os_error(), Some(libc::EHOSTUNREACH));
    fs::write(here.join("new"), "made meanwhile").unwrap();
    let told = Told(&[&at_alice, &at_bob]);
    world.server.start();
    comes(&reports.join("new"), "made meanwhile");
    until("it can be read again", SOON, || {
        fs::read(here.join("three")).is_ok_and(|read| read == large)
    });
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
    bob.vault.check();
}

#[test]
fn a_file_in_use_is_left_alone_and_both_edits_of_one_file_are_kept() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let told = Told(&[&at_alice, &at_bob]);
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");

    let writing = fs::File::options()
        .append(true)
        .open(here.join("first"))
        .unwrap();
    fs::write(reports.join("first"), "alice changed it").unwrap();
    until("bob's mount waits", SOON, || {
        share_status(&at_bob)["state"] == "busy"
    });
    assert_eq!(
        fs::read_to_string(here.join("first")).unwrap(),
        "from alice"
    );
    drop(writing);
    comes(&here.join("first"), "alice changed it");

    // Who reads keeps what he opened.
    let mut reading = fs::File::open(here.join("first")).unwrap();
    fs::write(reports.join("first"), "and again").unwrap();
    comes(&here.join("first"), "and again");
    let mut kept = String::new();
    reading.read_to_string(&mut kept).unwrap();
    assert_eq!(kept, "alice changed it");
    drop(reading);
    drop(told);

    world.server.stop();
    fs::write(reports.join("first"), "alice offline").unwrap();
    fs::write(here.join("first"), "bob offline").unwrap();
    world.server.start();
    let told = Told(&[&at_alice, &at_bob]);
    let contents = |dir: &Path| -> Vec<String> {
        let tree = tree(dir).unwrap_or_default().into_values();
        let text = tree.map(|(_, content)| String::from_utf8_lossy(&content).into_owned());
        let mut all: Vec<String> = text.collect();
        all.sort();
        all
    };
    let both = ["alice offline", "bob offline"];
    let mut last = Vec::new();
    until("both edits are on both sides", SOON, || {
        let found = [contents(&reports), contents(&here)];
        if found.as_slice() != last.as_slice() {
            eprintln!("{found:?}");
            last = found.to_vec();
        }
        found.iter().all(|found| *found == both)
    });
    same("after the conflict", &reports, &here);
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
    alice.vault.check();
    bob.vault.check();
}

#[test]
fn unmounting_waits_for_no_transfer_and_the_rest_goes_out_later() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    let large = pattern(3, 40 << 20);
    fs::write(reports.join("large"), &large).unwrap();
    world.server.freeze();
    let begun = std::time::Instant::now();
    at_alice.unmount();
    eprintln!("unmounted after {:?}", begun.elapsed());
    world.server.thaw();
    let at_alice = alice.vault.mount();
    let told = Told(&[&at_alice, &at_bob]);
    run(&["wait-synced", text(at_alice.path()), "--timeout", "120s"]);
    run(&["wait-synced", text(&here), "--timeout", "60s"]);
    assert!(fs::read(here.join("large")).unwrap() == large);
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
}

#[test]
fn another_device_of_the_owner_has_the_folder_too() {
    let world = World::new();
    let (alice, bob) = world.two();
    let tablet = Vault::new();
    let (kit, url) = (alice.vault.sandbox().path().join("kit"), world.server.url());
    let password = world.sandbox.file("account-password", "tall giraffe\n");
    let login = [
        "account",
        "login",
        "alice",
        text(tablet.path()),
        "--server",
        &url,
        "--kit",
        text(&kit),
        "--account-password-file",
        text(&password),
    ];
    on_vault(&tablet, &login).expect_success("keyfold account login");
    let (at_alice, at_tablet) = (alice.vault.mount(), tablet.mount());
    let told = Told(&[&at_alice, &at_tablet]);
    let reports = shared(&at_alice, bob.name, &[]);
    let here = at_tablet.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    fs::write(here.join("second"), "from the tablet").unwrap();
    comes(&reports.join("second"), "from the tablet");
    drop(told);
    at_alice.unmount();
    at_tablet.unmount();
}

#[test]
fn the_server_learns_neither_names_nor_contents_and_no_log_has_them() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let told = Told(&[&at_alice, &at_bob]);
    let folder = at_alice.join("Planted-folder");
    fs::create_dir(&folder).unwrap();
    fs::write(
        folder.join("planted-file"),
        "planted content ".repeat(10_000),
    )
    .unwrap();
    run(&["share", text(&folder), "bob"]);
    let here = at_bob.join("Shared/alice/Planted-folder");
    until("it came", SOON, || {
        fs::read(here.join("planted-file")).is_ok_and(|read| read.len() == 160_000)
    });
    drop(told);
    at_alice.unmount();
    at_bob.unmount();
    let mut searched = 0;
    let places = [
        world.sandbox.path(),
        alice.vault.sandbox().path(),
        bob.vault.sandbox().path(),
    ];
    for place in places {
        for (path, (_, content)) in tree(place).unwrap() {
            let text = String::from_utf8_lossy(&content).to_lowercase();
            assert!(!text.contains("planted"), "{} has it", path.display());
            searched += content.len();
        }
    }
    assert!(searched > 1_000_000, "nothing was searched");
}

/// Does something at random below a directory. Fails as programs fail, which is as good.
fn stir(random: &mut Seeded, dir: &Path) -> std::io::Result<()> {
    let name = |random: &mut Seeded| {
        let within = ["", "a/", "b/", "a/c/"][random.below(4) as usize];
        dir.join(format!("{within}{}", random.below(6)))
    };
    let (one, other) = (name(random), name(random));
    let length = random.below(20_000) as usize;
    match random.below(10) {
        0..3 => fs::write(one, pattern(random.next_u64(), length)),
        3 => {
            let mut file = fs::File::options().append(true).open(one)?;
            file.write_all(&pattern(random.next_u64(), length / 4))
        }
        4 => {
            let file = fs::File::options().write(true).open(one)?;
            file.write_all_at(b"in place", random.below(20_000))
        }
        5 => fs::rename(one, other),
        6 => fs::remove_file(one),
        7 => fs::create_dir_all(dir.join(["a", "b", "a/c"][random.below(3) as usize])),
        8 => fs::remove_dir(dir.join(["a", "b", "a/c"][random.below(3) as usize])),
        _ => nix::unistd::truncate(&one, length as i64).map_err(Into::into),
    }
}

fn random_changes(rounds: u64, steps: u64) {
    let mut random = Seeded::new();
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (mut at_alice, mut at_bob) = (alice.vault.mount(), bob.vault.mount());
    let reports = shared(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Reports");
    comes(&here.join("first"), "from alice");
    for round in 0..rounds {
        let accident = random.below(4);
        if accident == 0 {
            world.server.stop();
        }
        for _ in 0..steps {
            let dir = if random.below(2) == 0 {
                &reports
            } else {
                &here
            };
            let _ = stir(&mut random, dir);
        }
        match accident {
            0 => world.server.start(),
            1 => {
                at_bob.kill9();
                at_bob = bob.vault.mount();
            }
            2 => {
                at_alice.kill9();
                at_alice = alice.vault.mount();
            }
            _ => {}
        }
        let told = Told(&[&at_alice, &at_bob]);
        same(&format!("after round {round}"), &reports, &here);
        drop(told);
    }
    at_alice.unmount();
    at_bob.unmount();
    alice.vault.check();
    bob.vault.check();
}

#[test]
fn random_changes_on_both_sides_end_the_same() {
    random_changes(4, 40);
}

#[test]
#[ignore = "long: run by scripts/test --all"]
fn many_random_changes_on_both_sides_end_the_same() {
    random_changes(60, 80);
}
