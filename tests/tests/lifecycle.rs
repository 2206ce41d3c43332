//! How a mount begins and ends.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use keyfold_tests::{Vault, alive, keyfold, mounted, pattern, program, shell, until};
use nix::sys::signal::Signal;

const BUSY: i32 = 21;
const NOT_MOUNTED: i32 = 23;

fn mount_in_background(vault: &Vault, options: &[&str]) -> keyfold_tests::Outcome {
    let mut line: Vec<&std::ffi::OsStr> = vec![
        "mount".as_ref(),
        vault.path().as_ref(),
        vault.mount_point().as_ref(),
        "--password-file".as_ref(),
        vault.password_file().as_ref(),
    ];
    line.extend(options.iter().map(std::ffi::OsStr::new));
    keyfold(line)
}

fn unmount(path: &Path) -> keyfold_tests::Outcome {
    keyfold(["unmount".as_ref(), path])
}

#[test]
fn mount_returns_when_the_folder_is_usable_and_unmount_when_all_is_kept() {
    let vault = Vault::new();
    for round in 0..3_u64 {
        mount_in_background(&vault, &[]).expect_success("mount");
        let root = vault.mount_point();
        assert!(mounted(root));
        fs::write(root.join(format!("{round}")), pattern(round, 3_000_000)).unwrap();
        for earlier in 0..=round {
            let read = fs::read(root.join(format!("{earlier}"))).unwrap();
            assert!(read == pattern(earlier, 3_000_000), "file {earlier}");
        }
        unmount(root).expect_success("unmount");
        assert!(!mounted(root));
        // The vault is free at once: the daemon has finished when unmount returns.
        vault.keyfold("ls", &[]).expect_success("ls");
    }
    assert_eq!(unmount(vault.mount_point()).code, Some(NOT_MOUNTED));
}

#[test]
fn unmounting_a_busy_mount_names_the_program_and_changes_nothing() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), "content").unwrap();
    let mut program = program("bash");
    let mut busy = program
        .args(["-c", "exec 9<file; echo ready; read -r line"])
        .current_dir(mount.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    busy.stdout.take().unwrap().read_exact(&mut ready).unwrap();
    let done = mount.try_unmount();
    assert_eq!(done.code, Some(BUSY), "{done}");
    assert!(
        done.stderr.contains("bash"),
        "the program is not named: {done}"
    );
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "content");
    drop(busy.stdin.take());
    busy.wait().unwrap();
    mount.unmount();
}

fn signal_ends_cleanly(signal: Signal) {
    let vault = Vault::new();
    let mut mount = vault.mount();
    fs::write(mount.join("file"), pattern(1, 5_000_000)).unwrap();
    mount.signal(signal);
    let status = mount.wait();
    assert!(status.success(), "{signal} ended the daemon with {status}");
    assert!(!mounted(mount.path()));
    drop(mount);
    let mount = vault.mount();
    assert!(fs::read(mount.join("file")).unwrap() == pattern(1, 5_000_000));
    mount.unmount();
    vault.check();
}

#[test]
fn sigterm_keeps_everything_and_unmounts() {
    signal_ends_cleanly(Signal::SIGTERM);
}

#[test]
fn sigint_keeps_everything_and_unmounts() {
    signal_ends_cleanly(Signal::SIGINT);
}

#[test]
fn a_dead_mount_is_taken_over_by_the_next_one() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), "content").unwrap();
    File::open(mount.join("file")).unwrap().sync_all().unwrap();
    mount.kill9();
    assert!(
        mounted(vault.mount_point()) && !alive(vault.mount_point()),
        "the mount is dead"
    );
    mount_in_background(&vault, &[]).expect_success("mount over a dead mount");
    assert_eq!(
        fs::read_to_string(vault.mount_point().join("file")).unwrap(),
        "content"
    );
    unmount(vault.mount_point()).expect_success("unmount");
    assert!(!mounted(vault.mount_point()), "the dead mount lies below");
}

#[test]
fn a_dead_mount_can_be_unmounted() {
    let vault = Vault::new();
    vault.mount().kill9();
    let done = unmount(vault.mount_point());
    assert!(!mounted(vault.mount_point()), "still there: {done}");
}

#[test]
fn control_sync_makes_everything_durable() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), pattern(1, 2_000_000)).unwrap();
    fs::create_dir(mount.join("dir")).unwrap();
    shell(mount.path(), "echo sync >.keyfold/control");
    mount.kill9();
    let mount = vault.mount();
    assert!(fs::read(mount.join("file")).unwrap() == pattern(1, 2_000_000));
    assert!(mount.join("dir").is_dir());
}

#[test]
fn the_control_directory_is_there_but_not_listed() {
    let vault = Vault::new();
    let mount = vault.mount();
    assert_eq!(shell(mount.path(), "ls -A"), "");
    assert_eq!(
        shell(mount.path(), "ls -A .keyfold"),
        "activity\ncontrol\ninbox\nsnapshots\nstatus"
    );
    assert!(
        fs::create_dir(mount.join(".keyfold")).is_err(),
        "the name is reserved"
    );
    fs::write(mount.join("file"), "").unwrap();
    assert!(fs::rename(mount.join("file"), mount.join(".keyfold")).is_err());
    let status = keyfold(["status".as_ref(), mount.path(), "--json".as_ref()]);
    status.expect_success("keyfold status");
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    assert!(status.is_object());
    assert_eq!(
        shell(
            mount.path(),
            "getfattr --only-values -n user.keyfold.state file"
        ),
        "private"
    );
    assert_eq!(shell(mount.path(), "getfattr -d -m - file"), "");
}

#[test]
fn an_idle_mount_ends_by_itself_and_a_busy_one_does_not() {
    let vault = Vault::new();
    let mut mount = vault.mount_with(&["--idle", "2s"]);
    fs::write(mount.join("file"), "content").unwrap();
    let held = File::open(mount.join("file")).unwrap();
    let start = std::time::Instant::now();
    until("the idle time is over", Duration::from_secs(20), || {
        start.elapsed() > Duration::from_secs(5)
    });
    assert!(mounted(mount.path()), "ended while a file was open");
    drop(held);
    assert!(mount.wait().success());
    assert!(!mounted(mount.path()));
    drop(mount);
    let mount = vault.mount();
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "content");
}

#[test]
fn mount_8_mounts_with_the_options_of_fstab() {
    let vault = Vault::new();
    // mount(8) runs /sbin/mount.fuse.keyfold like this for a line in /etc/fstab.
    let helper = vault.sandbox().path().join("mount.fuse.keyfold");
    let program = keyfold_program();
    symlink(program, &helper).unwrap();
    let options = format!(
        "rw,nosuid,nodev,relatime,noauto,x-systemd.automount,passwordfile={}",
        vault.password_file().display()
    );
    let line = format!(
        "{} {} {} -o {options}",
        helper.display(),
        vault.path().display(),
        vault.mount_point().display()
    );
    shell(Path::new("/"), &line);
    assert!(mounted(vault.mount_point()));
    fs::write(vault.mount_point().join("file"), "content").unwrap();
    let table = shell(Path::new("/"), "cat /proc/self/mounts");
    let mount_point = vault.mount_point().to_str().unwrap();
    let own = table
        .lines()
        .find(|line| line.contains(mount_point))
        .unwrap();
    assert!(
        own.contains("fuse.keyfold") && own.contains("nosuid") && own.contains("nodev"),
        "{own}"
    );
    unmount(vault.mount_point()).expect_success("unmount");
    shell(Path::new("/"), &format!("{line},ro"));
    assert!(
        fs::write(vault.mount_point().join("new"), "").is_err(),
        "ro"
    );
    unmount(vault.mount_point()).expect_success("unmount");
}

fn keyfold_program() -> std::path::PathBuf {
    let path = keyfold_tests::keyfold_path();
    fs::canonicalize(path).unwrap()
}

#[test]
fn umount_of_the_system_loses_nothing() {
    let vault = Vault::new();
    let mut mount = vault.mount();
    fs::write(mount.join("file"), pattern(1, 3_000_000)).unwrap();
    shell(
        Path::new("/"),
        &format!("umount {}", mount.path().display()),
    );
    assert!(mount.wait().success());
    drop(mount);
    let mount = vault.mount();
    assert!(fs::read(mount.join("file")).unwrap() == pattern(1, 3_000_000));
    mount.unmount();
    vault.check();
}

#[test]
fn a_mount_stays_below_its_memory_bound_while_a_large_file_is_written() {
    let vault = Vault::new();
    let mount = vault.mount();
    let status = format!("/proc/{}/status", mount.pid().unwrap());
    shell(
        mount.path(),
        "dd if=/dev/zero of=large bs=1M count=600 status=none; sync large",
    );
    let text = fs::read_to_string(status).unwrap();
    let peak = text
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    println!("peak resident memory: {} MiB", kib / 1024);
    assert!(kib < 400 * 1024, "{kib} KiB resident while writing");
}
