//! The control directory on a mount.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::{NOBODY, Stage, assert_refused, errno, printed, run};

#[test]
fn the_directory_is_there_but_not_listed() {
    let stage = Stage::new();
    assert_eq!(fs::read_dir(stage.path("")).unwrap().count(), 0);
    let mut listed: Vec<_> = fs::read_dir(stage.path(".keyfold"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    listed.sort();
    assert_eq!(listed, ["activity", "control", "inbox", "status"]);
    let meta = fs::metadata(stage.path(".keyfold/control")).unwrap();
    assert_eq!((meta.mode() & 0o777, meta.uid()), (0o600, 0));
    assert_eq!(
        errno(fs::metadata(stage.path(".keyfold/other"))),
        libc::ENOENT
    );
    fs::create_dir(stage.path("d")).unwrap();
    fs::create_dir(stage.path("d/.keyfold")).unwrap();
    stage.end();
}

#[test]
fn its_name_is_taken_and_it_cannot_be_changed() {
    let stage = Stage::new();
    fs::create_dir(stage.path("d")).unwrap();
    fs::write(stage.path("f"), b"").unwrap();
    let (it, inside) = (stage.path(".keyfold"), stage.path(".keyfold/new"));
    assert_eq!(errno(fs::create_dir(&it)), libc::EEXIST);
    assert_eq!(errno(fs::write(&it, b"")), libc::EISDIR);
    assert_eq!(errno(symlink("x", &it)), libc::EEXIST);
    assert_eq!(errno(fs::rename(stage.path("d"), &it)), libc::EPERM);
    assert_eq!(errno(fs::rename(&it, stage.path("e"))), libc::EPERM);
    assert_eq!(errno(fs::remove_dir(&it)), libc::EPERM);
    assert_eq!(
        errno(fs::remove_file(stage.path(".keyfold/status"))),
        libc::EPERM
    );
    assert_eq!(errno(fs::write(&inside, b"")), libc::EPERM);
    assert_eq!(errno(fs::create_dir(&inside)), libc::EPERM);
    assert_eq!(errno(fs::hard_link(stage.path("f"), &inside)), libc::EPERM);
    assert_eq!(
        errno(fs::hard_link(
            stage.path(".keyfold/status"),
            stage.path("s")
        )),
        libc::EPERM
    );
    let opened = OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(stage.path(".keyfold/control"));
    drop(opened.unwrap());
    stage.end();
}

#[test]
fn status_can_be_read_by_any_program() {
    let stage = Stage::new();
    assert_eq!(
        fs::read(stage.path(".keyfold/status")).unwrap(),
        b"{\"state\":\"fine\"}\n"
    );
    let status = stage.path(".keyfold/status");
    assert_eq!(
        printed(&run([OsStr::new("cat"), status.as_os_str()])),
        "{\"state\":\"fine\"}\n"
    );
    let copy = stage.path("copy");
    printed(&run([
        OsStr::new("cp"),
        status.as_os_str(),
        copy.as_os_str(),
    ]));
    assert_eq!(fs::read(copy).unwrap(), b"{\"state\":\"fine\"}\n");
    stage.end();
}

#[test]
fn a_command_is_written_and_its_reply_read_from_the_same_handle() {
    let stage = Stage::new();
    let open = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(stage.path(".keyfold/control"))
    };
    let mut control = open().unwrap();
    control.write_all(b"say hello\n").unwrap();
    let mut reply = String::new();
    control.read_to_string(&mut reply).unwrap();
    assert_eq!(reply, "say hello for 0\n");
    assert_eq!(errno(control.write(b"again\n")), libc::EBUSY);
    drop(control);

    let mut control = open().unwrap();
    assert_eq!(errno(control.write(b"fail\n")), libc::EHOSTUNREACH);
    let mut reason = String::new();
    control.read_to_string(&mut reason).unwrap();
    assert_eq!(reason, "nobody there\n");
    drop(control);
    stage.end();
}

#[test]
fn a_shell_can_speak_to_it() {
    let stage = Stage::new();
    let shell = |script: &str| {
        let path = stage.path(".keyfold/control");
        Command::new("sh")
            .args(["-c", script])
            .arg(path)
            .env("LC_ALL", "C")
            .output()
            .unwrap()
    };
    assert_eq!(printed(&shell("echo sync > \"$0\"")), "");
    assert_eq!(
        printed(&shell("exec 3<>\"$0\"; echo sync >&3; cat <&3")),
        "sync for 0\n"
    );
    assert_refused(&shell("exec env echo fail > \"$0\""), "No route to host");
    stage.end();
}

#[test]
fn what_is_no_command_is_refused() {
    let stage = Stage::new();
    let long = [b'x'; 5000];
    let refused: [&[u8]; 5] = [b"\n", b"a\0b", b"a\nb", b"\xff", &long];
    for text in refused {
        let control = OpenOptions::new()
            .write(true)
            .open(stage.path(".keyfold/control"));
        assert_eq!(errno(control.unwrap().write(text)), libc::EINVAL);
    }
    stage.end();
}

#[test]
fn other_users_and_other_namespaces_are_refused() {
    let stage = Stage::shared();
    for name in [".keyfold/status", ".keyfold/control"] {
        let path = stage.path(name);
        let user = Command::new("cat").arg(&path).uid(NOBODY).output().unwrap();
        assert_refused(&user, "Permission denied");
        for namespace in ["-m", "-Ur"] {
            let unshare = [
                OsStr::new("unshare"),
                OsStr::new(namespace),
                OsStr::new("cat"),
            ];
            let other = run([unshare[0], unshare[1], unshare[2], path.as_os_str()]);
            assert_refused(&other, "Permission denied");
        }
        drop(File::open(path).unwrap());
    }
    stage.end();
}
