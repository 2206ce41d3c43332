//! Who takes part, as what, and who does no more.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keyfold_tests::{keyfold, until};
use serde_json::Value;

use crate::scene::{
    SOON, World, comes, end, given, members, refused, run, run_in, share_status, shared, status,
    text, tree,
};

#[test]
fn who_is_taken_out_sees_nothing_more_and_can_write_nothing_more() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let (reports, here) = given(&at_alice, &at_bob, &["--write"]);
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
    at_bob.unmount();
    let at_bob = bob.vault.mount();
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
    let members = members("Reports", &at_alice);
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_reader_sees_everything_and_changes_nothing_until_he_may() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
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
    let attribute = |name: &str, path: &Path| {
        let name = format!("user.keyfold.{name}");
        run_in(&[
            "getfattr",
            "--only-values",
            "--absolute-names",
            "-n",
            &name,
            text(path),
        ])
    };
    assert_eq!(attribute("role", &first), "reader");
    assert_eq!(
        attribute("share", &first),
        share_status(&at_bob)["id"].as_str().unwrap()
    );
    until("the state is told", SOON, || {
        attribute("state", &here) == "synced"
    });
    assert_eq!(attribute("state", &at_bob.join("Shared")), "private");

    run(&["role", "Reports", "bob", "writer", text(at_alice.path())]);
    until("bob may write", SOON, || {
        fs::write(here.join("new"), "bob").is_ok()
    });
    comes(&reports.join("new"), "bob");
    run(&["role", "Reports", "bob", "reader", text(at_alice.path())]);
    until("bob may not write", SOON, || {
        fs::write(here.join("x"), "bob").is_err()
    });
    at_alice.unmount();
    at_bob.unmount();
}

#[test]
fn nothing_comes_unasked_from_who_is_not_verified() {
    let world = World::new();
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let (key, key_of_alice) = (bob.fingerprint(), alice.fingerprint());
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
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
    at_alice.unmount();
    at_bob.unmount();
}

#[test]
fn the_server_learns_neither_names_nor_contents_and_no_log_has_them() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
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

#[test]
fn an_owner_gives_on_what_he_was_given_and_shares_do_not_mix() {
    let world = World::new();
    let (alice, bob) = world.two();
    let carol = world.person("carol");
    bob.trusts(&carol);
    carol.trusts(&alice);
    carol.trusts(&bob);
    let mounts = [alice.vault.mount(), bob.vault.mount(), carol.vault.mount()];
    let [at_alice, at_bob, at_carol] = &mounts;
    let (reports, at_bobs) = given(at_alice, at_bob, &["--owner"]);
    run(&["share", text(&at_bobs), "carol", "--write"]);
    // A folder of the same name, of somebody else.
    let other = at_bob.join("Reports");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("first"), "from bob").unwrap();
    run(&["share", text(&other), "carol"]);
    comes(&at_carol.join("Shared/alice/Reports/first"), "from alice");
    comes(&at_carol.join("Shared/bob/Reports/first"), "from bob");
    fs::write(at_carol.join("Shared/alice/Reports/third"), "from carol").unwrap();
    comes(&reports.join("third"), "from carol");
    comes(&at_bobs.join("third"), "from carol");
    assert!(!other.join("third").exists());
    let across = fs::rename(at_bobs.join("third"), other.join("third"));
    assert_eq!(across.unwrap_err().raw_os_error(), Some(libc::EXDEV));
    run(&["unshare", text(&reports), "carol"]);
    until("carol may not write there", SOON, || {
        fs::write(at_carol.join("Shared/alice/Reports/x"), "x").is_err()
    });
    fs::write(other.join("second"), "still for carol").unwrap();
    comes(
        &at_carol.join("Shared/bob/Reports/second"),
        "still for carol",
    );
    for mount in mounts {
        mount.unmount();
    }
    carol.vault.check();
}
