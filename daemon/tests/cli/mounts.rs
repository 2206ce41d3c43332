//! Mounting, unmounting, and every place that cannot be mounted on.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sandbox::{Outcome, Sandbox, wait_until};

const PW: [&str; 2] = ["--password-file", "pw"];

fn has_ended(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_err()
        || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| s.contains(") Z "))
}

#[test]
fn mount_returns_when_mounted_and_unmount_when_everything_is_written() {
    let sandbox = Sandbox::with_vault();
    sandbox.mount();
    assert!(sandbox.is_mounted("m"));
    let server = sandbox.server();
    fs::write(sandbox.path("m/letter"), "hello").unwrap();
    assert_eq!(
        fs::read_to_string(sandbox.path("m/letter")).unwrap(),
        "hello"
    );
    sandbox.unmount();
    assert!(!sandbox.is_mounted("m"));
    assert!(has_ended(server));
    sandbox
        .run(["unmount", "m"])
        .refused(23, "nothing is mounted");
}

#[test]
fn a_mount_keeps_nothing_of_its_caller() {
    let sandbox = Sandbox::with_vault();
    let kept = File::create(sandbox.path("kept")).unwrap();
    sandbox.mount();
    let server = sandbox.server();
    let fds = fs::read_dir(format!("/proc/{server}/fd")).unwrap();
    let open: Vec<_> = fds
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
        .collect();
    assert!(!open.contains(&sandbox.path("kept")), "{open:?}");
    drop(kept);
    assert_eq!(
        fs::read_link(format!("/proc/{server}/cwd")).unwrap(),
        "/".as_ref() as &std::path::Path
    );
    let limits = fs::read_to_string(format!("/proc/{server}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"));
    let arguments = fs::read_to_string(format!("/proc/{server}/cmdline")).unwrap();
    assert!(!arguments.contains("horse"));
    sandbox.unmount();
}

#[test]
fn a_place_that_cannot_be_mounted_on_is_refused() {
    let sandbox = Sandbox::with_vault();
    fs::write(sandbox.path("file"), "x").unwrap();
    fs::create_dir_all(sandbox.path("full/sub")).unwrap();
    fs::create_dir(sandbox.path("v/inside")).unwrap();
    symlink(sandbox.path("v/inside"), sandbox.path("link")).unwrap();
    let before = sandbox.snapshot("");
    let mount = |at: &str| sandbox.run([&["mount", "v", at], &PW[..]].concat());
    mount("missing").refused(20, "does not exist");
    mount("file").refused(20, "is not a directory");
    mount("full").refused(20, "is not empty");
    mount("v").refused(20, "inside vault");
    mount("v/inside").refused(20, "inside vault");
    mount("link").refused(20, "inside vault");
    let over = sandbox.run([&["mount", "v", ".", "-o", "nonempty"], &PW[..]].concat());
    over.refused(20, "hidden by its own mount");
    assert_eq!(sandbox.snapshot(""), before);
    // With leave, a directory may have entries; they come back afterwards.
    sandbox
        .run([&["mount", "v", "full", "-o", "nonempty"], &PW[..]].concat())
        .expect(0);
    assert!(!sandbox.path("full/sub").exists());
    sandbox.run(["unmount", "full"]).expect(0);
    assert!(sandbox.path("full/sub").exists());
}

#[test]
fn a_bind_mount_does_not_hide_that_the_place_is_in_the_vault() {
    let sandbox = Sandbox::with_vault();
    fs::create_dir(sandbox.path("v/inside")).unwrap();
    fs::create_dir(sandbox.path("bound")).unwrap();
    let none: Option<&str> = None;
    mount(
        Some(&sandbox.path("v")),
        &sandbox.path("bound"),
        none,
        MsFlags::MS_BIND,
        none,
    )
    .unwrap();
    let outcome = sandbox.run([&["mount", "v", "bound/inside"], &PW[..]].concat());
    umount2(&sandbox.path("bound"), MntFlags::MNT_DETACH).unwrap();
    outcome.refused(20, "inside vault");
}

#[test]
fn a_vault_or_a_place_in_use_is_refused() {
    let sandbox = Sandbox::with_vault();
    sandbox.run([&["init", "w"], &PW[..]].concat()).expect(0);
    fs::create_dir(sandbox.path("m2")).unwrap();
    sandbox.mount();
    let mount = |vault: &str, at: &str| sandbox.run([&["mount", vault, at], &PW[..]].concat());
    mount("v", "m").refused(20, "mounted on");
    mount("w", "m").refused(20, "mounted on");
    mount("v", "m2").refused(11, "is mounted on");
    for command in [
        &["ls", "v"][..],
        &["cat", "v", "x"],
        &["export", "v", "y"],
        &["passwd", "remove", "v", "1"],
    ] {
        sandbox
            .run([command, &PW].concat())
            .refused(11, "is mounted on");
    }
    sandbox.run(["info", "v"]).expect(0);
    sandbox.run(["header", "backup", "v", "h"]).expect(0);
    sandbox
        .run(["header", "restore", "v", "h"])
        .refused(11, "in use");
    sandbox.unmount();
}

#[test]
fn a_failure_in_the_serving_process_is_the_callers_failure() {
    let sandbox = Sandbox::with_vault();
    fs::write(sandbox.path("pw"), "guess").unwrap();
    sandbox
        .run([&["mount", "v", "m"], &PW[..]].concat())
        .refused(12, "wrong password");
    sandbox
        .run([&["mount", "-f", "v", "m"], &PW[..]].concat())
        .refused(12, "wrong password");
    assert!(!sandbox.is_mounted("m"));
}

#[test]
fn unmount_names_the_programs_that_keep_a_mount_busy() {
    let sandbox = Sandbox::with_vault();
    sandbox.mount();
    fs::write(sandbox.path("m/letter"), "hello").unwrap();
    let mut reader = Command::new("sleep")
        .arg("1000")
        .stdin(File::open(sandbox.path("m/letter")).unwrap())
        .current_dir("/")
        .spawn()
        .unwrap();
    let refused = sandbox.run(["unmount", "m"]);
    let lazy = sandbox.run(["unmount", "--lazy", "m"]);
    reader.kill().unwrap();
    reader.wait().unwrap();
    let named = format!("sleep (process {}: open file)", reader.id());
    refused.refused(21, &named);
    lazy.expect(0);
    assert!(!sandbox.is_mounted("m"));
}

#[test]
fn a_signal_ends_the_mount_cleanly() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let sandbox = Sandbox::with_vault();
        sandbox.mount();
        let server = sandbox.server();
        kill(Pid::from_raw(server), signal).unwrap();
        wait_until("the mount is gone", || !sandbox.is_mounted("m"));
        wait_until("the process has ended", || has_ended(server));
        sandbox.mount();
        sandbox.unmount();
    }
}

#[test]
fn in_front_it_serves_until_it_is_told_to_end() {
    let sandbox = Sandbox::with_vault();
    let mut server = sandbox
        .command([&["mount", "-f", "v", "m"], &PW[..]].concat())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it is mounted", || sandbox.is_mounted("m"));
    fs::write(sandbox.path("m/letter"), "hello").unwrap();
    kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGINT).unwrap();
    assert!(server.wait().unwrap().success());
    assert!(!sandbox.is_mounted("m"));
}

fn is_dead(sandbox: &Sandbox) -> bool {
    nix::sys::statfs::statfs(&sandbox.path("m")).err() == Some(nix::errno::Errno::ENOTCONN)
}

#[test]
fn a_dead_mount_is_cleared_by_the_next_one() {
    let sandbox = Sandbox::with_vault();
    sandbox.mount();
    let server = sandbox.server();
    kill(Pid::from_raw(server), Signal::SIGKILL).unwrap();
    wait_until("the mount is dead", || is_dead(&sandbox));
    sandbox.run(["status", "m"]).refused(23, "is gone");
    sandbox.mount();
    assert!(fs::read_dir(sandbox.path("m")).is_ok());
    kill(Pid::from_raw(sandbox.server()), Signal::SIGKILL).unwrap();
    wait_until("the mount is dead", || is_dead(&sandbox));
    sandbox.run(["unmount", "m"]).expect(0);
    assert!(!sandbox.is_mounted("m"));
}

#[test]
fn an_idle_mount_ends_by_itself_and_a_used_one_does_not() {
    let sandbox = Sandbox::with_vault();
    sandbox
        .run([&["mount", "v", "m", "--idle", "1s"], &PW[..]].concat())
        .expect(0);
    let server = sandbox.server();
    fs::write(sandbox.path("m/letter"), "hello").unwrap();
    let open = File::open(sandbox.path("m/letter")).unwrap();
    let held = Instant::now();
    // Open files count as use, however long nothing is asked.
    wait_until("several idle times have passed", || {
        held.elapsed() > Duration::from_secs(3)
    });
    assert!(sandbox.is_mounted("m"));
    drop(open);
    wait_until("the mount is gone", || !sandbox.is_mounted("m"));
    wait_until("the process has ended", || has_ended(server));
}

#[test]
fn the_control_file_and_the_commands_give_the_same_answers() {
    let sandbox = Sandbox::with_vault();
    sandbox.mount();
    let status = sandbox.run(["status", "m", "--json"]).expect(0).out;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["mount_point"], sandbox.path("m").to_str().unwrap());
    assert_eq!(status["vault"], sandbox.path("v").to_str().unwrap());
    assert!(
        sandbox
            .run(["status", "m"])
            .expect(0)
            .out
            .contains("vault: ")
    );
    let control = sandbox.path("m/.keyfold/control");
    fs::write(&control, "sync\n").unwrap();
    let refused = fs::write(&control, "dance\n").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(22));
    sandbox.run(["check", "m"]).expect(0);
    sandbox.run(["check", "v", "--json"]).expect(0);
    sandbox.unmount();
    sandbox
        .run(["status", "m"])
        .refused(23, "nothing is mounted");
}

#[test]
fn control_can_be_switched_off() {
    let sandbox = Sandbox::with_vault();
    sandbox
        .run([&["mount", "v", "m", "-o", "control=read"], &PW[..]].concat())
        .expect(0);
    let refused = fs::write(sandbox.path("m/.keyfold/control"), "sync\n").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(13));
    fs::write(sandbox.path("m/.keyfold/control"), "status\n").unwrap();
    sandbox.unmount();
}

#[test]
fn unknown_mount_options_are_refused_before_anything_is_done() {
    let sandbox = Sandbox::with_vault();
    for (options, words) in [
        ("bogus", "unknown mount option \"bogus\""),
        ("uid=1000", "unknown mount option \"uid\""),
        ("idle=never", "needs a time"),
    ] {
        let outcome = sandbox.run([&["mount", "v", "m", "-o", options], &PW[..]].concat());
        outcome.refused(2, words);
    }
    assert!(!sandbox.is_mounted("m"));
}

#[test]
fn as_a_mount_helper_it_does_what_mount_asks() {
    let sandbox = Sandbox::with_vault();
    let helper = sandbox.path("mount.fuse.keyfold");
    symlink(env!("CARGO_BIN_EXE_keyfold"), &helper).unwrap();
    let options = format!(
        "rw,noexec,noauto,user,passwordfile={}",
        sandbox.path("pw").display()
    );
    let (vault, point) = (sandbox.path("v"), sandbox.path("m"));
    let run = |flags: &str| {
        Command::new(&helper)
            .args([&vault, &point])
            .args([flags, "-o", &options, "-t", "fuse.keyfold"])
            .stdin(Stdio::null())
            .status()
            .unwrap()
    };
    assert!(run("-f").success());
    assert!(!sandbox.is_mounted("m"));
    assert!(run("-sv").success());
    assert!(sandbox.is_mounted("m"));
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let line = table
        .lines()
        .find(|l| l.contains(point.to_str().unwrap()))
        .unwrap();
    assert!(line.contains("noexec"), "{line}");
    sandbox.unmount();
}

#[test]
fn a_service_manager_is_told_when_it_is_mounted_and_when_it_stops() {
    let sandbox = Sandbox::with_vault();
    let socket = std::os::unix::net::UnixDatagram::bind(sandbox.path("notify")).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut server = sandbox
        .command([&["mount", "-f", "v", "m"], &PW[..]].concat())
        .env("NOTIFY_SOCKET", sandbox.path("notify"))
        .spawn()
        .unwrap();
    let mut message = [0; 256];
    let told = socket.recv(&mut message).unwrap();
    assert!(message[..told].starts_with(b"READY=1"));
    assert!(sandbox.is_mounted("m"));
    kill(Pid::from_raw(server.id().cast_signed()), Signal::SIGTERM).unwrap();
    let told = socket.recv(&mut message).unwrap();
    assert!(message[..told].starts_with(b"STOPPING=1"));
    assert!(server.wait().unwrap().success());
}

#[test]
fn an_ordinary_user_mounts_and_unmounts_through_fusermount() {
    const USER: u32 = 65_534;
    let sandbox = Sandbox::new();
    for path in [
        sandbox.path(""),
        sandbox.path("pw"),
        sandbox.state().to_path_buf(),
    ] {
        std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
    }
    // The program itself may lie where that user cannot reach it.
    fs::copy(env!("CARGO_BIN_EXE_keyfold"), sandbox.path("keyfold")).unwrap();
    let run = |words: &str| {
        let mut command = Command::new(sandbox.path("keyfold"));
        command
            .args(words.split(' '))
            .current_dir(sandbox.path(""))
            .stdin(Stdio::null());
        command
            .env("XDG_STATE_HOME", sandbox.state())
            .uid(USER)
            .gid(USER);
        Outcome::from(&command.output().unwrap())
    };
    fs::create_dir(sandbox.path("m")).unwrap();
    run("init v --password-file pw --iter-time 1").expect(0);
    run("mount v m --password-file pw").refused(22, "cannot mount");
    std::os::unix::fs::chown(sandbox.path("m"), Some(USER), Some(USER)).unwrap();
    run("mount v m --password-file pw --allow-other").refused(22, "user_allow_other");
    run("mount v m --password-file pw").expect(0);
    assert!(sandbox.is_mounted("m"));
    let status = run("status m --json").expect(0).out;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let server = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
    run("unmount m").expect(0);
    assert!(!sandbox.is_mounted("m"));
    assert!(has_ended(server));
}

#[test]
fn a_read_only_mount_changes_nothing_in_the_vault() {
    let sandbox = Sandbox::with_vault();
    sandbox.mount();
    fs::write(sandbox.path("m/letter"), "hello").unwrap();
    sandbox.unmount();
    let before = sandbox.snapshot("v");
    sandbox
        .run([&["mount", "v", "m", "--read-only"], &PW[..]].concat())
        .expect(0);
    assert_eq!(
        fs::read_to_string(sandbox.path("m/letter")).unwrap(),
        "hello"
    );
    let refused = fs::write(sandbox.path("m/letter"), "changed").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(30));
    sandbox.unmount();
    assert_eq!(sandbox.snapshot("v"), before);
}
