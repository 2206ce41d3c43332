//! Times, owners, attributes, ACLs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, makedev, mknod, utimensat};
use nix::sys::statvfs::statvfs;
use nix::sys::time::TimeSpec;

use super::{NOBODY, Stage, assert_refused, printed, run};

#[test]
fn times_are_kept_to_the_nanosecond_before_1970_and_after_2038() {
    let stage = Stage::new();
    let path = stage.path("a");
    File::create(&path).unwrap();
    let times = [
        (-1, 500_000_000),
        (-1, 0),
        (-2, 1),
        (-2_208_988_800, 999_999_999),
        (i64::from(i32::MIN) - 1, 250_000_000),
        (0, 1),
        (i64::from(u32::MAX) + 7, 123_456_789),
        (i64::MIN, 0),
        (i64::MAX, 0),
    ];
    for (secs, nanos) in times {
        let time = TimeSpec::new(secs, nanos);
        let flags = UtimensatFlags::NoFollowSymlink;
        utimensat(AT_FDCWD, &path, &TimeSpec::UTIME_OMIT, &time, flags).unwrap();
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (secs, nanos));
    }
    assert!(fs::metadata(&path).unwrap().atime() > 1_600_000_000);
    stage.end();
}

#[test]
fn the_time_of_birth_can_be_asked_for_and_stays() {
    let stage = Stage::new();
    let path = stage.path("a");
    File::create(&path).unwrap();
    let meta = fs::metadata(&path).unwrap();
    let born = meta.created().unwrap();
    assert_eq!(born, meta.modified().unwrap());
    let later = TimeSpec::new(4_000_000_000, 1);
    let flags = UtimensatFlags::NoFollowSymlink;
    utimensat(AT_FDCWD, &path, &later, &later, flags).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (4_000_000_000, 1));
    assert_eq!(meta.created().unwrap(), born);
    let node = stage.path("null");
    let everyone = Mode::from_bits_truncate(0o666);
    mknod(&node, SFlag::S_IFCHR, everyone, makedev(259, 70_000)).unwrap();
    let meta = fs::metadata(&node).unwrap();
    assert_eq!(meta.rdev(), makedev(259, 70_000));
    assert!(meta.created().unwrap() >= born);
    stage.end();
}

#[test]
fn owners_and_modes_change_and_a_write_by_a_user_clears_setuid() {
    let stage = Stage::shared();
    let path = stage.path("a");
    fs::write(&path, b"x").unwrap();
    chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!(
        (meta.uid(), meta.gid(), meta.mode() & 0o7777),
        (NOBODY, NOBODY, 0o6777)
    );
    let shell = Command::new("sh")
        .args([
            OsStr::new("-c"),
            OsStr::new("echo y >> \"$0\""),
            path.as_os_str(),
        ])
        .uid(NOBODY)
        .output()
        .unwrap();
    printed(&shell);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
    stage.end();
}

#[test]
fn attributes_are_set_listed_read_and_removed() {
    let stage = Stage::new();
    let path = stage.path("a");
    fs::write(&path, b"x").unwrap();
    let file = path.as_os_str();
    let set = |name: &str, value: &str| {
        run([
            OsStr::new("setfattr"),
            OsStr::new("-n"),
            OsStr::new(name),
            OsStr::new("-v"),
            OsStr::new(value),
            file,
        ])
    };
    printed(&set("user.colour", "blue"));
    printed(&set("trusted.x", "y"));
    let all = run([OsStr::new("getfattr"), OsStr::new("-dm-"), file]);
    let all = printed(&all);
    assert!(
        all.contains("user.colour=\"blue\"") && all.contains("trusted.x=\"y\""),
        "{all}"
    );
    let remove = [
        OsStr::new("setfattr"),
        OsStr::new("-x"),
        OsStr::new("user.colour"),
        file,
    ];
    printed(&run(remove));
    assert_refused(&run(remove), "No such attribute");
    stage.end();
}

#[test]
fn a_files_state_can_be_read_is_not_listed_and_cannot_be_set() {
    let stage = Stage::new();
    let path = stage.path("a");
    fs::write(&path, b"x").unwrap();
    let file = path.as_os_str();
    let get = |name| {
        run([
            OsStr::new("getfattr"),
            OsStr::new("--only-values"),
            OsStr::new("-n"),
            OsStr::new(name),
            file,
        ])
    };
    assert_eq!(printed(&get("user.keyfold.state")), "private");
    assert_refused(&get("user.keyfold.other"), "No such attribute");
    assert_eq!(
        printed(&run([OsStr::new("getfattr"), OsStr::new("-dm-"), file])),
        ""
    );
    for change in ["-x", "-n"] {
        let words = [
            OsStr::new("setfattr"),
            OsStr::new(change),
            OsStr::new("user.keyfold.state"),
        ];
        assert_refused(
            &run([words[0], words[1], words[2], file]),
            "Operation not permitted",
        );
    }
    stage.end();
}

#[test]
fn acls_grant_and_show_in_the_mode() {
    let stage = Stage::shared();
    let path = stage.path("a");
    fs::write(&path, b"secret").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let read = || Command::new("cat").arg(&path).uid(NOBODY).output().unwrap();
    assert_refused(&read(), "Permission denied");
    let grant = [
        OsStr::new("setfacl"),
        OsStr::new("-m"),
        OsStr::new("u:65534:r"),
    ];
    printed(&run([grant[0], grant[1], grant[2], path.as_os_str()]));
    assert_eq!(printed(&read()), "secret");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    let revoke = [OsStr::new("setfacl"), OsStr::new("-b"), path.as_os_str()];
    printed(&run(revoke));
    assert_refused(&read(), "Permission denied");
    stage.end();
}

#[test]
fn default_acls_replace_the_umask() {
    let stage = Stage::new();
    let directory = stage.path("d");
    fs::create_dir(&directory).unwrap();
    let words = [
        OsStr::new("setfacl"),
        OsStr::new("-dm"),
        OsStr::new("u::rwx,g::rwx,o::rwx"),
    ];
    let touch = |name: &str| {
        let path = directory.join(name);
        let script = [
            OsStr::new("-c"),
            OsStr::new("umask 077; : > \"$0\""),
            path.as_os_str(),
        ];
        printed(&Command::new("sh").args(script).output().unwrap());
        fs::metadata(path).unwrap().mode() & 0o777
    };
    assert_eq!(touch("before"), 0o600);
    printed(&run([words[0], words[1], words[2], directory.as_os_str()]));
    assert_eq!(touch("after"), 0o666);
    stage.end();
}

#[test]
fn an_acl_set_by_a_stranger_to_the_group_clears_setgid() {
    let stage = Stage::shared();
    let path = stage.path("a");
    fs::write(&path, b"x").unwrap();
    let set_acl = |groups: &[&str]| {
        chown(&path, Some(NOBODY), Some(4711)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o2755)).unwrap();
        let id = NOBODY.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id]).args(groups);
        printed(
            &command
                .args(["setfacl", "-m", "u:1:r"])
                .arg(&path)
                .output()
                .unwrap(),
        );
        fs::metadata(&path).unwrap().mode() & 0o2000
    };
    assert_eq!(set_acl(&["--clear-groups"]), 0);
    assert_eq!(set_acl(&["--groups", "4711"]), 0o2000);
    stage.end();
}

#[test]
fn the_volume_has_room_and_long_names() {
    let stage = Stage::new();
    let stats = statvfs(stage.path("").as_path()).unwrap();
    assert_eq!(stats.name_max(), 255);
    assert!(stats.blocks_available() > 0 && stats.blocks() >= stats.blocks_free());
    assert!(stats.files() >= stats.files_free());
    stage.end();
}

#[test]
fn names_are_bytes() {
    let stage = Stage::new();
    let name = OsStr::from_bytes(b"\xff\xfe\x01 \n*");
    fs::write(stage.path(name), b"x").unwrap();
    let listed: Vec<_> = fs::read_dir(stage.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(listed, [name]);
    stage.end();
}
