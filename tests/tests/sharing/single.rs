//! A file that is shared by itself, where it lies.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use keyfold_tests::{Mount, keyfold, pattern, shell, until};

use crate::scene::{SOON, World, comes, end, refused, run, run_in, share_status, status, text};

/// A file of a mount, given to somebody.
fn plan(mount: &Mount, user: &str, role: &[&str]) -> PathBuf {
    let dir = mount.join("Work");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("private"), "of alice alone").unwrap();
    let plan = dir.join("Plan.txt");
    fs::write(&plan, "from alice").unwrap();
    run(&[&["share", text(&plan), user], role].concat());
    plan
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn attribute(path: &Path, name: &str) -> String {
    let name = format!("user.keyfold.{name}");
    let get = ["getfattr", "--only-values", "--absolute-names", "-n"];
    run_in(&[&get[..], &[&name, text(path)]].concat())
}

#[test]
fn a_shared_file_appears_as_a_file_and_both_edit_it_with_ordinary_programs() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let plan = plan(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Plan.txt");
    comes(&here, "from alice");
    assert_eq!(names(&at_bob.join("Shared/alice")), ["Plan.txt"]);
    assert_eq!(names(plan.parent().unwrap()), ["Plan.txt", "private"]);
    assert_eq!(share_status(&at_alice)["path"], "Work/Plan.txt");
    assert_eq!(share_status(&at_bob)["path"], "Shared/alice/Plan.txt");

    // In place, and longer than a pack.
    fs::write(&here, "from bob").unwrap();
    comes(&plan, "from bob");
    let large = pattern(1, 3 << 20);
    fs::write(&plan, &large).unwrap();
    until("the large file comes", SOON, || {
        fs::read(&here).is_ok_and(|found| found == large)
    });
    let file = fs::File::options().write(true).open(&here).unwrap();
    file.write_all_at(b"one block", 1 << 20).unwrap();
    drop(file);
    until("one block comes", SOON, || {
        fs::read(&plan).is_ok_and(|found| found.get(1 << 20..(1 << 20) + 9) == Some(b"one block"))
    });
    nix::unistd::truncate(&here, 9).unwrap();
    until("the truncation comes", SOON, || {
        fs::read(&plan).is_ok_and(|found| found == large[..9])
    });

    // Beside it and renamed over it, as most programs save.
    let temporary = plan.with_extension("tmp");
    fs::write(&temporary, "renamed over by alice").unwrap();
    fs::rename(&temporary, &plan).unwrap();
    comes(&here, "renamed over by alice");
    run_in(&["sed", "-i", "s/alice/bob/", text(&here)]);
    comes(&plan, "renamed over by bob");

    // Renamed away and made anew, as vim does it.
    for (path, other, who) in [(&plan, &here, "vim"), (&here, &plan, "vi")] {
        let dir = path.parent().unwrap();
        shell(
            dir,
            &format!(
                "vim -Nu NONE -es -c 'set backup backupskip= backupcopy=no' -c '%s/$/ {who}/' -c wq \
                 Plan.txt"
            ),
        );
        assert!(dir.join("Plan.txt~").exists());
        comes(other, &fs::read_to_string(path).unwrap());
    }
    assert_eq!(
        fs::read_to_string(&plan).unwrap(),
        "renamed over by bob vim vi\n"
    );

    // Removed, and there again.
    fs::remove_file(&here).unwrap();
    until("it is gone", SOON, || !plan.exists());
    run(&["wait-synced", text(&here), "--timeout", "60s"]);
    fs::write(&plan, "there again").unwrap();
    comes(&here, "there again");
    assert!(names(&at_bob.join("Shared/alice")).contains(&"Plan.txt~".to_owned()));
    assert_eq!(attribute(&here, "role"), "writer");
    assert_eq!(attribute(&plan, "share"), share_status(&at_alice)["id"]);
    assert_eq!(
        attribute(&plan.with_file_name("private"), "state"),
        "private"
    );
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn both_versions_of_a_shared_file_are_kept_when_both_write_it() {
    let mut world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let plan = plan(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Plan.txt");
    comes(&here, "from alice");
    world.server.stop();
    fs::write(&plan, "alice offline").unwrap();
    // Another file than the one that alice writes to.
    fs::write(here.with_extension("tmp"), "bob offline").unwrap();
    fs::rename(here.with_extension("tmp"), &here).unwrap();
    world.server.start();
    until("both are the same and nothing is lost", SOON, || {
        let (one, other) = (fs::read_to_string(&plan), fs::read_to_string(&here));
        let dirs = [plan.parent().unwrap(), here.parent().unwrap()];
        let all = dirs.iter().flat_map(|dir| {
            let entries = fs::read_dir(dir).unwrap().flatten();
            entries.filter_map(|entry| fs::read_to_string(entry.path()).ok())
        });
        let contents: Vec<String> = all.collect();
        let has = |what: &str| contents.iter().any(|content| content == what);
        matches!((one, other), (Ok(one), Ok(other)) if one == other)
            && has("alice offline")
            && has("bob offline")
    });
    until("whoever was later is told what lies beside", SOON, || {
        [(&at_alice, &plan), (&at_bob, &here)]
            .iter()
            .any(|(mount, path)| {
                let mut beside = names(path.parent().unwrap());
                beside.retain(|name| name.starts_with("Plan (conflict,"));
                let trouble = share_status(mount)["trouble"].to_string();
                beside.len() == 1 && trouble.contains(&beside[0])
            })
    });
    fs::write(&plan, "after it").unwrap();
    comes(&here, "after it");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn who_may_read_a_file_or_was_taken_out_changes_nothing_at_its_name() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    let plan = plan(&at_alice, "bob", &[]);
    let here = at_bob.join("Shared/alice/Plan.txt");
    comes(&here, "from alice");
    until("bob's mount knows that he reads", SOON, || {
        share_status(&at_bob)["role"] == "reader"
    });
    let own = at_bob.join("own");
    fs::write(&own, "of bob").unwrap();
    let refuses = || {
        for (what, result) in [
            ("write", fs::write(&here, "bob")),
            ("over", fs::rename(&own, &here)),
            ("away", fs::rename(&here, at_bob.join("away"))),
            ("unlink", fs::remove_file(&here)),
            (
                "truncate",
                nix::unistd::truncate(&here, 1).map_err(Into::into),
            ),
        ] {
            let errno = result.unwrap_err().raw_os_error();
            assert_eq!(errno, Some(libc::EROFS), "{what}");
        }
    };
    refuses();
    fs::remove_file(&plan).unwrap();
    until("it is gone", SOON, || !here.exists());
    let made = fs::write(&here, "bob").unwrap_err();
    assert_eq!(made.raw_os_error(), Some(libc::EROFS));
    let over = fs::rename(&own, &here).unwrap_err();
    assert_eq!(over.raw_os_error(), Some(libc::EROFS));
    fs::write(&plan, "again").unwrap();
    comes(&here, "again");

    run(&["unshare", text(&plan), "bob"]);
    fs::write(&plan, "later secret").unwrap();
    until("bob's mount knows", SOON, || {
        share_status(&at_bob)["state"] == "removed"
    });
    assert_eq!(fs::read_to_string(&here).unwrap(), "again");
    refuses();
    let members = run(&["members", "Work/Plan.txt", text(at_alice.path()), "--json"]);
    assert!(!members.contains("bob"), "{members}");

    // He leaves, and what he has is his.
    run(&["leave", "Shared/alice/Plan.txt", text(at_bob.path())]);
    fs::write(&here, "mine").unwrap();
    fs::rename(&here, at_bob.join("moved")).unwrap();
    fs::remove_dir(at_bob.join("Shared/alice")).unwrap();
    assert!(
        status(&at_bob)["sharing"]["shares"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert_eq!(fs::read_to_string(&plan).unwrap(), "later secret");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn what_cannot_be_at_the_name_of_a_shared_file_says_so() {
    let world = World::new();
    let (alice, bob) = world.two();
    let at_alice = alice.vault.mount();
    let plan = plan(&at_alice, "bob", &["--write"]);
    let errno = |result: std::io::Result<()>| result.unwrap_err().raw_os_error();
    let linked = fs::hard_link(&plan, at_alice.join("again"));
    assert_eq!(errno(linked), Some(libc::EXDEV));
    fs::remove_file(&plan).unwrap();
    fs::remove_file(plan.with_file_name("private")).unwrap();
    assert_eq!(errno(fs::create_dir(&plan)), Some(libc::EBUSY));
    let link = std::os::unix::fs::symlink("x", &plan);
    assert_eq!(errno(link), Some(libc::EBUSY));
    let work = plan.parent().unwrap();
    assert_eq!(errno(fs::remove_dir(work)), Some(libc::EBUSY));
    let again = keyfold(["share", text(&plan), "bob"]);
    refused(&again, 21, "takes part already");
    refused(
        &keyfold(["share", text(work), "bob"]),
        21,
        "has a share in it",
    );
    run(&["status", text(&plan)]);
    run(&["unshare", text(&plan), "--all"]);
    assert_eq!(errno(fs::remove_dir(work)), Some(libc::EBUSY));
    fs::write(&plan, "of alice").unwrap();
    run(&["wait-synced", text(&plan), "--timeout", "60s"]);
    at_alice.unmount();
    alice.vault.check();
    drop(bob);
}

#[test]
fn a_shared_file_outlives_daemons_that_are_killed_and_its_directory_moves() {
    let world = World::new();
    let (alice, bob) = world.two();
    let (mut at_alice, mut at_bob) = (alice.vault.mount(), bob.vault.mount());
    let plan = plan(&at_alice, "bob", &["--write"]);
    let here = at_bob.join("Shared/alice/Plan.txt");
    comes(&here, "from alice");
    for round in 0..2 {
        let said = format!("alice {round}");
        let mut file = fs::File::create(plan.with_extension("new")).unwrap();
        file.write_all(said.as_bytes()).unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::rename(plan.with_extension("new"), &plan).unwrap();
        fs::File::open(plan.parent().unwrap())
            .unwrap()
            .sync_all()
            .unwrap();
        at_alice.kill9();
        at_bob.kill9();
        (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
        comes(&here, &said);
    }
    fs::rename(at_bob.join("Shared/alice"), at_bob.join("Moved")).unwrap();
    fs::write(at_bob.join("Moved/Plan.txt"), "from where it moved").unwrap();
    comes(&plan, "from where it moved");
    assert_eq!(share_status(&at_bob)["path"], "Moved/Plan.txt");
    // Another of the same name has a place of its own.
    let other = at_alice.join("Plan.txt");
    fs::write(&other, "another plan").unwrap();
    fs::create_dir_all(at_bob.join("Shared/alice")).unwrap();
    fs::write(at_bob.join("Shared/alice/Plan.txt"), "in the way").unwrap();
    run(&["share", text(&other), "bob"]);
    comes(&at_bob.join("Shared/alice/Plan (2).txt"), "another plan");
    end([(at_alice, &alice), (at_bob, &bob)]);
}

#[test]
fn a_file_from_somebody_who_is_not_verified_waits_to_be_accepted() {
    let world = World::new();
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    alice.trusts(&bob);
    let (at_alice, at_bob) = (alice.vault.mount(), bob.vault.mount());
    plan(&at_alice, "bob", &["--write"]);
    until("it is offered", SOON, || {
        status(&at_bob)["sharing"]["offered"][0]["name"] == "Plan.txt"
    });
    assert!(!at_bob.join("Shared").exists());
    run(&["accept", "alice/Plan.txt", text(at_bob.path())]);
    comes(&at_bob.join("Shared/alice/Plan.txt"), "from alice");
    end([(at_alice, &alice), (at_bob, &bob)]);
}
