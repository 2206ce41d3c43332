//! `backup-hold`: what a backup program copies is the vault at one moment, whatever goes on in the
//! mount and whoever is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keyfold_tests::{Mount, Outcome, Vault, keyfold, keyfold_path, pattern, shell, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LIMIT: Duration = Duration::from_mins(2);
/// Files that the sequence keeps.
const KEPT: u64 = 40;

fn hold(place: &Path, script: &str, argument: &Path) -> Outcome {
    let words: [&OsStr; 8] = [
        "backup-hold".as_ref(),
        place.as_ref(),
        "--".as_ref(),
        "bash".as_ref(),
        "-euc".as_ref(),
        script.as_ref(),
        "backup".as_ref(),
        argument.as_ref(),
    ];
    keyfold(words)
}

/// The same without waiting for its end.
fn start_hold(place: &Path, script: &str, argument: &Path) -> Child {
    Command::new(keyfold_path())
        .arg("backup-hold")
        .arg(place)
        .args(["--", "bash", "-euc", script, "backup"])
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A copy of a vault: checked, and mounted for reading.
fn with_copy(vault: &Vault, copy: &Path, look: impl FnOnce(&Path)) {
    let password = vault.password_file();
    // It is older than the vault that was seen last.
    let words: [&OsStr; 6] = [
        "check".as_ref(),
        copy.as_ref(),
        "--accept-rollback".as_ref(),
        "--read-data".as_ref(),
        "--password-file".as_ref(),
        password.as_ref(),
    ];
    keyfold(words).expect_success("check of the copy");
    let point = vault.sandbox().dir("copy-mount");
    let words: [&OsStr; 6] = [
        "mount".as_ref(),
        copy.as_ref(),
        point.as_ref(),
        "--accept-rollback".as_ref(),
        "--password-file".as_ref(),
        password.as_ref(),
    ];
    keyfold(words).expect_success("mount of the copy");
    look(&point);
    keyfold(["unmount".as_ref(), point.as_os_str()]).expect_success("unmount of the copy");
}

fn file_of(n: u64) -> Vec<u8> {
    pattern(n, 1000 + (n as usize * 7919) % 20_000)
}

/// Makes file after file and keeps the last ones, until told to stop.
fn sequence(dir: &Path, done: &AtomicU64, stop: &AtomicBool) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        fs::write(dir.join(format!("{n}")), file_of(n)).unwrap();
        if n >= KEPT {
            fs::remove_file(dir.join(format!("{}", n - KEPT))).unwrap();
        }
        n += 1;
        done.store(n, Ordering::SeqCst);
    }
}

/// Writes and deletes large files, so that segments die and are punched and deleted.
fn churn(dir: &Path, rounds: &AtomicU64, stop: &AtomicBool) {
    for round in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let path = dir.join(format!("{}", round % 4));
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => panic!("{e}"),
            _ => {}
        }
        fs::write(&path, pattern(round, 20 << 20)).unwrap();
        rounds.store(round + 1, Ordering::SeqCst);
    }
}

/// Asserts that the sequence is as at one moment, and returns the number of its last file.
fn assert_moment(dir: &Path) -> u64 {
    let names = fs::read_dir(dir).unwrap();
    let mut numbers: Vec<u64> = names
        .map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .collect();
    numbers.sort_unstable();
    let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
    assert!(numbers.len() as u64 <= KEPT + 1, "{numbers:?}");
    assert_eq!(last - first + 1, numbers.len() as u64, "{numbers:?}");
    for n in &numbers {
        let content = fs::read(dir.join(format!("{n}"))).unwrap();
        // The last one may have been made and not written yet.
        assert!(content == file_of(*n) || *n == last, "file {n}");
    }
    last
}

#[test]
fn a_copy_made_under_load_is_the_vault_at_the_moment_of_the_hold() {
    let vault = Vault::new();
    let mount = vault.mount();
    let root = mount.path();
    for dir in ["sequence", "churn", "still"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    fs::write(root.join("still/file"), pattern(9, 30 << 20)).unwrap();
    let copy = vault.sandbox().path().join("copy");
    let (started, go) = (copy.with_extension("started"), copy.with_extension("go"));
    let (done, rounds, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let (before, after) = std::thread::scope(|threads| {
        threads.spawn(|| sequence(&root.join("sequence"), &done, &stop));
        threads.spawn(|| churn(&root.join("churn"), &rounds, &stop));
        until("the load is on", LIMIT, || {
            done.load(Ordering::SeqCst) > 2 * KEPT && rounds.load(Ordering::SeqCst) > 6
        });
        let before = done.load(Ordering::SeqCst);
        let script = r#"
            sums() { (cd "$KEYFOLD_VAULT"; find . -type f -print0 | sort -z | xargs -0 md5sum); }
            sums >"$1.before"
            touch "$1.started"
            while [ ! -e "$1.go" ]; do sleep 0.1; done
            rsync -a "$KEYFOLD_VAULT/" "$1/"
            sums | diff "$1.before" - >&2
        "#;
        let mut backup = start_hold(root, script, &copy);
        until("the copying may begin", LIMIT, || started.exists());
        let after = done.load(Ordering::SeqCst);
        // All that was there is dead by the time it is copied, but for what does not change.
        fs::write(root.join("still/file"), "other").unwrap();
        let first = rounds.load(Ordering::SeqCst);
        until("much has changed", LIMIT, || {
            shell(root, "echo sync >.keyfold/control");
            rounds.load(Ordering::SeqCst) > first + 8 && done.load(Ordering::SeqCst) > after + 50
        });
        fs::write(&go, "").unwrap();
        let ended = backup.wait().unwrap();
        stop.store(true, Ordering::SeqCst);
        assert!(ended.success(), "{ended}");
        (before, after)
    });
    assert!(!vault.path().join("hold").exists(), "the hold is over");
    mount.unmount();
    vault.check();
    with_copy(&vault, &copy, |seen| {
        let last = assert_moment(&seen.join("sequence"));
        let moment = before.saturating_sub(1)..=after;
        assert!(moment.contains(&last), "{last} is not in {moment:?}");
        assert!(fs::read(seen.join("still/file")).unwrap() == pattern(9, 30 << 20));
        for file in fs::read_dir(seen.join("churn")).unwrap() {
            fs::read(file.unwrap().path()).unwrap();
        }
    });
}

#[test]
fn a_copy_has_the_snapshots_too() {
    let vault = Vault::new();
    let mount = vault.mount();
    let root = mount.path();
    fs::write(root.join("file"), pattern(1, 5 << 20)).unwrap();
    keyfold(["snapshot", "create", root.to_str().unwrap(), "old"]).expect_success("snapshot");
    fs::write(root.join("file"), "new").unwrap();
    let copy = vault.sandbox().path().join("copy");
    hold(root, r#"cp -a "$KEYFOLD_VAULT" "$1""#, &copy).expect_success("backup-hold");
    mount.unmount();
    with_copy(&vault, &copy, |seen| {
        assert_eq!(fs::read_to_string(seen.join("file")).unwrap(), "new");
        let old = fs::read(seen.join(".keyfold/snapshots/old/file")).unwrap();
        assert!(old == pattern(1, 5 << 20));
    });
}

#[test]
fn the_status_is_the_programs_own() {
    let vault = Vault::new();
    let run = |place: &Path, script| hold(place, script, Path::new("-")).code;
    let mount = vault.mount();
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        assert_eq!(run(mount.path(), script), Some(code), "{script}");
    }
    let words = [
        "backup-hold",
        mount.path().to_str().unwrap(),
        "--",
        "/no/such/program",
    ];
    let missing = keyfold(words);
    assert!(
        !missing.succeeded() && missing.stderr.contains("/no/such/program"),
        "{missing}"
    );
    assert!(!vault.path().join("hold").exists());
    let inside = hold(
        mount.path(),
        r#"keyfold=$1; ! "$keyfold" backup-hold "$MOUNT" -- true 2>/dev/null; test -d "$KEYFOLD_VAULT/segments""#
            .replace("$MOUNT", mount.path().to_str().unwrap())
            .as_str(),
        &keyfold_path(),
    );
    inside.expect_success("a second hold is refused, and the first one stays");
    mount.unmount();
    assert_eq!(run(vault.path(), "exit 7"), Some(7), "not mounted");
    let same = format!(r#"test "$KEYFOLD_VAULT" = {}"#, vault.path().display());
    hold(vault.path(), &same, Path::new("-")).expect_success("the vault itself");
}

/// Waits until the backup has begun, and returns the hold.
fn begun(vault: &Vault, marker: &Path) -> PathBuf {
    until("the backup has begun", LIMIT, || marker.exists());
    let held = vault.path().join("hold");
    assert!(held.join("meta.db").exists());
    held
}

fn mounted_with_file() -> (Vault, Mount) {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), pattern(3, 30 << 20)).unwrap();
    (vault, mount)
}

const WAITING: &str = r#"
    touch "$1.started"
    while [ ! -e "$1.go" ]; do sleep 0.1; done
    cp -a "$KEYFOLD_VAULT" "$1"
    touch "$1.done"
"#;

#[test]
fn a_hold_lasts_as_long_as_the_program_and_no_longer() {
    let (vault, mount) = mounted_with_file();
    let copy = vault.sandbox().path().join("copy");
    let mut backup = start_hold(mount.path(), WAITING, &copy);
    let held = begun(&vault, &copy.with_extension("started"));
    kill(Pid::from_raw(backup.id().cast_signed()), Signal::SIGKILL).unwrap();
    backup.wait().unwrap();
    fs::remove_file(mount.join("file")).unwrap();
    for n in 0..4 {
        fs::write(mount.join(format!("{n}")), "").unwrap();
        shell(mount.path(), "echo sync >.keyfold/control");
    }
    // Nothing asks for the hold any more but the program that goes on.
    fs::write(copy.with_extension("go"), "").unwrap();
    until("the program has copied", LIMIT, || {
        copy.with_extension("done").exists()
    });
    until("the hold is over", LIMIT, || !held.exists());
    mount.unmount();
    vault.check();
    with_copy(&vault, &copy, |seen| {
        assert!(fs::read(seen.join("file")).unwrap() == pattern(3, 30 << 20));
    });
}

#[test]
fn a_hold_outlives_the_daemon() {
    let (vault, mount) = mounted_with_file();
    let copy = vault.sandbox().path().join("copy");
    let mut backup = start_hold(mount.path(), WAITING, &copy);
    let held = begun(&vault, &copy.with_extension("started"));
    fs::remove_file(mount.join("file")).unwrap();
    shell(mount.path(), "echo sync >.keyfold/control");
    mount.kill9();
    let mount = vault.mount();
    for n in 0..4 {
        fs::write(mount.join(format!("{n}")), "").unwrap();
        shell(mount.path(), "echo sync >.keyfold/control");
    }
    fs::write(copy.with_extension("go"), "").unwrap();
    assert!(backup.wait().unwrap().success());
    until("the hold is over", LIMIT, || !held.exists());
    mount.unmount();
    vault.check();
    with_copy(&vault, &copy, |seen| {
        assert!(fs::read(seen.join("file")).unwrap() == pattern(3, 30 << 20));
    });
}

#[test]
fn what_a_dead_daemon_and_a_dead_backup_left_is_cleared_by_the_next_mount() {
    let (vault, mount) = mounted_with_file();
    let copy = vault.sandbox().path().join("copy");
    let mut backup = start_hold(mount.path(), "touch \"$1.started\"; exec sleep 1000", &copy);
    let held = begun(&vault, &copy.with_extension("started"));
    mount.kill9();
    shell(Path::new("/"), &format!("pkill -KILL -P {}", backup.id()));
    backup.wait().unwrap();
    let mount = vault.mount_with(&["-o", "snapshots=off"]);
    assert!(!held.exists());
    mount.unmount();
    assert_eq!(
        fs::read_dir(vault.path().join("images")).unwrap().count(),
        0
    );
    vault.check();
}
