//! Snapshots: made and deleted by command, shown in the mount, and copied back from it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use keyfold_tests::{Outcome, Vault, keyfold, pattern, shell};

const LIMIT: std::time::Duration = std::time::Duration::from_mins(1);
const NO_SUCH_PATH: i32 = 40;
const DESTINATION: i32 = 41;

fn snapshot(words: &[&str], place: &Path, more: &[&str]) -> Outcome {
    let mut line: Vec<&std::ffi::OsStr> = vec!["snapshot".as_ref()];
    line.extend(words.iter().map(std::ffi::OsStr::new));
    line.push(place.as_ref());
    line.extend(more.iter().map(std::ffi::OsStr::new));
    keyfold(line)
}

fn create(place: &Path, name: &str) {
    snapshot(&["create"], place, &[name]).expect_success("snapshot create");
}

fn names(place: &Path) -> Vec<String> {
    let list = snapshot(&["list"], place, &["--json"]);
    list.expect_success("snapshot list");
    let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
    let asked = |s: &&serde_json::Value| s["kind"] == "asked";
    let name = |s: &serde_json::Value| s["name"].as_str().unwrap().to_owned();
    list.as_array()
        .unwrap()
        .iter()
        .filter(asked)
        .map(name)
        .collect()
}

fn errno(result: io::Result<impl Sized>) -> i32 {
    result.err().unwrap().raw_os_error().unwrap()
}

#[test]
fn a_snapshot_shows_the_files_as_they_were() {
    let vault = Vault::new();
    let mount = vault.mount();
    let root = mount.path();
    fs::create_dir_all(root.join("docs/old")).unwrap();
    fs::write(root.join("docs/letter"), pattern(1, 3_000_000)).unwrap();
    fs::write(root.join("docs/old/note"), "as it was").unwrap();
    shell(
        root,
        "ln -s letter docs/link; setfattr -n user.x -v y docs/letter",
    );
    let shown = root.join(".keyfold/snapshots");
    assert_eq!(fs::read_dir(&shown).unwrap().count(), 0);
    assert!(
        !shown.join("before").exists(),
        "looked up before it is made"
    );
    create(root, "before");
    let snap = shown.join("before");
    fs::write(root.join("docs/letter"), "new").unwrap();
    fs::remove_dir_all(root.join("docs/old")).unwrap();
    fs::write(root.join("added"), "").unwrap();
    shell(root, "echo sync >.keyfold/control");
    assert_eq!(shell(&shown, "ls"), "before");
    assert!(fs::read(snap.join("docs/letter")).unwrap() == pattern(1, 3_000_000));
    assert_eq!(
        fs::read_to_string(snap.join("docs/old/note")).unwrap(),
        "as it was"
    );
    assert_eq!(
        fs::read_link(snap.join("docs/link")).unwrap(),
        Path::new("letter")
    );
    assert!(!snap.join("added").exists());
    assert_eq!(
        shell(&snap, "find . | sort | tr '\\n' ' '"),
        ". ./docs ./docs/letter ./docs/link ./docs/old ./docs/old/note"
    );
    let attribute = "getfattr --only-values -n user.x docs/letter";
    assert_eq!(shell(&snap, attribute), "y");
    assert_eq!(fs::read_to_string(root.join("docs/letter")).unwrap(), "new");
    let own = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_ne!(own(&snap.join("docs")), own(&root.join("docs")));
    mount.unmount();
    vault.check();
}

#[test]
fn nothing_in_a_snapshot_can_be_changed() {
    let vault = Vault::new();
    let mount = vault.mount();
    let root = mount.path();
    fs::write(root.join("file"), "content").unwrap();
    create(root, "one");
    let snap = root.join(".keyfold/snapshots/one");
    let file = snap.join("file");
    assert_eq!(errno(fs::write(&file, "x")), libc_erofs());
    assert_eq!(errno(fs::write(snap.join("new"), "x")), libc_erofs());
    assert_eq!(errno(fs::remove_file(&file)), libc_erofs());
    assert_eq!(errno(fs::create_dir(snap.join("d"))), libc_erofs());
    assert_eq!(
        errno(fs::rename(root.join("file"), snap.join("f"))),
        libc_erofs()
    );
    assert_eq!(
        errno(fs::rename(&file, root.join("f"))),
        18,
        "as across filesystems"
    );
    assert_eq!(errno(fs::hard_link(&file, root.join("f"))), 18);
    assert!(fs::create_dir(root.join(".keyfold/snapshots/two")).is_err());
    assert!(fs::remove_dir(&snap).is_err());
    shell(root, "! chmod 600 .keyfold/snapshots/one/file 2>/dev/null");
    shell(
        root,
        "cp -a .keyfold/snapshots/one/file copy; cmp copy file",
    );
    mount.unmount();
}

fn libc_erofs() -> i32 {
    30
}

#[test]
fn commands_work_mounted_and_not() {
    let vault = Vault::new();
    let mount = vault.mount();
    let root = mount.path();
    fs::write(root.join("file"), "one").unwrap();
    create(root, "first");
    create(vault.path(), "by its vault");
    assert_eq!(names(root), ["first", "by its vault"]);
    let again = snapshot(&["create"], root, &["first"]);
    assert!(
        !again.succeeded() && again.stderr.contains("of this name"),
        "{again}"
    );
    let bad = snapshot(&["create"], root, &["a/b"]);
    assert!(!bad.succeeded() && bad.stderr.contains("64 bytes"), "{bad}");
    let none = snapshot(&["delete"], root, &["other"]);
    assert_eq!(none.code, Some(NO_SUCH_PATH), "{none}");
    mount.unmount();
    let password = vault.password_file().to_str().unwrap().to_owned();
    let unlock = ["--password-file", &password];
    snapshot(&["create"], vault.path(), &["closed", unlock[0], unlock[1]]).expect_success("create");
    snapshot(&["delete"], vault.path(), &["first", unlock[0], unlock[1]]).expect_success("delete");
    let at = ["--snapshot", "by its vault"];
    let shown = vault.keyfold("cat", &["file", at[0], at[1]]);
    assert_eq!(shown.stdout, "one", "{shown}");
    let unknown = vault.keyfold("ls", &["--snapshot", "first"]);
    assert_eq!(unknown.code, Some(NO_SUCH_PATH), "{unknown}");
    let list = snapshot(&["list"], vault.path(), &unlock);
    assert!(
        list.stdout.contains("closed") && !list.stdout.contains("first"),
        "{list}"
    );
    let mount = vault.mount();
    assert_eq!(names(mount.path()), ["by its vault", "closed"]);
    shell(
        mount.path(),
        "exec 3<>.keyfold/control; echo 'snapshot create' >&3; cat <&3 | grep -q name",
    );
    assert_eq!(names(mount.path()).len(), 3);
    mount.unmount();
    vault.check();
}

#[test]
fn a_deleted_snapshot_is_gone_from_the_mount_and_one_in_use_stays() {
    let vault = Vault::new();
    let mount = vault.mount();
    let root = mount.path();
    fs::write(root.join("file"), "content").unwrap();
    create(root, "one");
    let snap = root.join(".keyfold/snapshots/one");
    let held = File::open(snap.join("file")).unwrap();
    let busy = snapshot(&["delete"], root, &["one"]);
    assert_eq!(busy.code, Some(21), "{busy}");
    drop(held);
    keyfold_tests::until(
        "the file is closed",
        std::time::Duration::from_secs(20),
        || snapshot(&["delete"], root, &["one"]).succeeded(),
    );
    assert!(fs::read(snap.join("file")).is_err());
    assert_eq!(shell(root, "ls .keyfold/snapshots"), "");
    create(root, "one");
    fs::write(root.join("file"), "newer").unwrap();
    assert_eq!(fs::read_to_string(snap.join("file")).unwrap(), "content");
    mount.unmount();
}

#[test]
fn what_was_deleted_is_restored_with_all_that_belongs_to_it() {
    let vault = Vault::new();
    let mount = vault.mount();
    let root = mount.path();
    shell(
        root,
        "mkdir -p tree/sub
         echo content >tree/file; ln tree/file tree/sub/same; ln -s nowhere tree/link
         mkfifo tree/pipe; truncate -s 5M tree/sparse; echo end >>tree/sparse
         chown 12:34 tree/file; chmod 4711 tree/file; chmod 700 tree/sub
         setfattr -n user.a -v b tree/sub; setfacl -m u:77:r tree/sub/same
         touch -d @1000000000 tree/file tree/sub tree",
    );
    let tell = "cd tree && find . -printf '%P %y %m %U %G %n %s %T@ %l\\n' | sort; \
                getfattr -h -R -d -m - . | sort ; md5sum file sparse; getfacl -R -P . | sort";
    let before = shell(root, tell);
    create(root, "kept");
    fs::remove_dir_all(root.join("tree")).unwrap();
    let restore = |path: &str, more: &[&str]| {
        let path = root.join(path);
        snapshot(&["restore"], &path, more)
    };
    restore("tree", &[]).expect_success("restore");
    assert_eq!(shell(root, tell), before);
    let blocks = fs::metadata(root.join("tree/sparse")).unwrap().blocks();
    assert!(blocks < 64, "holes stay holes: {blocks}");
    let in_the_way = restore("tree", &[]);
    assert_eq!(in_the_way.code, Some(DESTINATION), "{in_the_way}");
    restore("tree/file", &["--to", root.join("copy").to_str().unwrap()]).expect_success("--to");
    assert_eq!(fs::read_to_string(root.join("copy")).unwrap(), "content\n");
    fs::remove_file(root.join("copy")).unwrap();
    restore(
        ".keyfold/snapshots/kept/tree/link",
        &["--to", root.join("copy").to_str().unwrap()],
    )
    .expect_success("from where the snapshot shows it");
    assert_eq!(
        fs::read_link(root.join("copy")).unwrap(),
        Path::new("nowhere")
    );
    let unknown = restore("never", &[]);
    assert_eq!(unknown.code, Some(NO_SUCH_PATH), "{unknown}");
    assert_eq!(shell(root, "ls -A | tr '\\n' ' '"), "copy tree");
    mount.unmount();
    vault.check();
}

#[test]
fn the_newest_snapshot_that_has_it_is_taken_unless_another_is_named() {
    let vault = Vault::new();
    let mount = vault.mount();
    let root = mount.path();
    let file = root.join("file");
    for name in ["first", "second"] {
        fs::write(&file, name).unwrap();
        create(root, name);
    }
    fs::remove_file(&file).unwrap();
    create(root, "without");
    snapshot(&["restore"], &file, &[]).expect_success("restore");
    assert_eq!(fs::read_to_string(&file).unwrap(), "second");
    fs::remove_file(&file).unwrap();
    snapshot(&["restore"], &file, &["--from", "first"]).expect_success("restore");
    assert_eq!(fs::read_to_string(&file).unwrap(), "first");
    fs::remove_file(&file).unwrap();
    let not_there = snapshot(&["restore"], &file, &["--from", "without"]);
    assert_eq!(not_there.code, Some(NO_SUCH_PATH), "{not_there}");
    mount.unmount();
}

#[test]
fn a_snapshot_survives_a_killed_daemon() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.path().join("file"), pattern(4, 2_000_000)).unwrap();
    create(mount.path(), "one");
    fs::remove_file(mount.path().join("file")).unwrap();
    shell(mount.path(), "echo sync >.keyfold/control");
    mount.kill9();
    let mount = vault.mount();
    let old = mount.path().join(".keyfold/snapshots/one/file");
    assert!(fs::read(old).unwrap() == pattern(4, 2_000_000));
    mount.unmount();
    vault.check();
}

/// Whether the mount has an automatic snapshot.
fn has_automatic(mount: &Path) -> bool {
    let list = snapshot(&["list"], mount, &["--json"]);
    list.expect_success("snapshot list");
    list.stdout.contains("\"automatic\"")
}

#[test]
fn automatic_snapshots_never_stand_in_the_way_of_writing() {
    let vault = Vault::on_small_disk(400);
    let mount = vault.mount_with(&["-o", "snapshots=1s"]);
    let root = mount.path();
    for round in 0..4 {
        fs::write(root.join("file"), pattern(round, 150 << 20)).unwrap();
        shell(root, "echo sync >.keyfold/control");
        keyfold_tests::until("a snapshot was made", LIMIT, || {
            has_automatic(root) || round > 1
        });
        fs::remove_file(root.join("file")).unwrap();
    }
    mount.unmount();
    vault.check();
}

#[test]
fn a_snapshot_that_was_asked_for_keeps_its_space_until_it_is_deleted() {
    let vault = Vault::on_small_disk(400);
    let mount = vault.mount_with(&["-o", "snapshots=off"]);
    let root = mount.path();
    fs::write(root.join("file"), pattern(1, 150 << 20)).unwrap();
    create(root, "kept");
    fs::remove_file(root.join("file")).unwrap();
    shell(root, "echo sync >.keyfold/control");
    let full = fs::write(root.join("other"), pattern(2, 250 << 20));
    assert_eq!(errno(full), 28);
    let kept = fs::read(root.join(".keyfold/snapshots/kept/file")).unwrap();
    assert!(kept == pattern(1, 150 << 20));
    snapshot(&["delete"], root, &["kept"]).expect_success("delete on a full disk");
    keyfold_tests::until("there is room again", LIMIT, || {
        fs::write(root.join("other"), pattern(2, 250 << 20)).is_ok()
    });
    mount.unmount();
    vault.check();
}

#[test]
fn a_snapshot_that_finds_no_room_leaves_nothing_behind() {
    let vault = Vault::on_small_disk(300);
    let mount = vault.mount_with(&["-o", "snapshots=off"]);
    let root = mount.path();
    fs::write(root.join("file"), pattern(1, 150 << 20)).unwrap();
    shell(root, "echo sync >.keyfold/control");
    let full = snapshot(&["create"], root, &["none"]);
    assert_eq!(full.code, Some(30), "{full}");
    assert_eq!(names(root), [""; 0]);
    assert_eq!(
        fs::read_dir(vault.path().join("images")).unwrap().count(),
        0
    );
    fs::remove_file(root.join("file")).unwrap();
    keyfold_tests::until("there is room again", LIMIT, || {
        snapshot(&["create"], root, &["one"]).succeeded()
    });
    mount.unmount();
    vault.check();
}

#[test]
fn a_kill_at_any_moment_keeps_whole_snapshots_and_nothing_of_halves() {
    let vault = Vault::new();
    let rounds = keyfold_tests::count("KEYFOLD_SNAPSHOT_KILLS", 6);
    let mut confirmed: Vec<(String, u64)> = Vec::new();
    for round in 0..rounds {
        let mount = vault.mount_with(&["-o", "snapshots=off"]);
        let root = mount.path().to_owned();
        let there = names(&root);
        for (name, content) in &confirmed {
            assert!(there.contains(name), "{name} is gone in round {round}");
            let shown = root.join(".keyfold/snapshots").join(name).join("file");
            assert!(
                fs::read(shown).unwrap() == pattern(*content, 9 << 20),
                "{name}"
            );
        }
        let images = fs::read_dir(vault.path().join("images")).unwrap().count();
        assert_eq!(images, there.len(), "files of halves");
        fs::write(root.join("file"), pattern(round, 9 << 20)).unwrap();
        let (sent, received) = std::sync::mpsc::channel();
        let worker = std::thread::spawn(move || {
            for n in 0.. {
                let name = format!("{round}-{n}");
                if !snapshot(&["create"], &root, &[&name]).succeeded() {
                    return;
                }
                sent.send(name).unwrap();
                if n > 0 {
                    let old = format!("{round}-{}", n - 1);
                    if !snapshot(&["delete"], &root, &[&old]).succeeded() {
                        return;
                    }
                }
            }
        });
        // A kill falls into whatever is being done by then.
        let first = received.recv_timeout(LIMIT).unwrap();
        let mut last = first.clone();
        for _ in 0..round % 3 {
            last = received.recv_timeout(LIMIT).unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(17 * round));
        mount.kill9();
        worker.join().unwrap();
        while let Ok(name) = received.try_recv() {
            last = name;
        }
        // The one before it may have been deleted or not.
        confirmed.push((last, round));
        confirmed.drain(..confirmed.len().saturating_sub(3));
        vault.detach();
    }
    vault.check();
}
