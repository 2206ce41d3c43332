//! Modes, owners, ACLs, extended attributes, times and totals.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use keyfold_tests::{OrdinaryUser, Vault, shell, try_shell};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};
use rustix::io::Errno;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

/// Runs a script as the ordinary user in `dir`; returns whether it succeeded.
fn as_user(dir: &Path, script: &str) -> bool {
    let mut command = OrdinaryUser::get().command("bash");
    command
        .args(["-euc", script])
        .current_dir(dir)
        .output()
        .unwrap()
        .status
        .success()
}

/// A mount of root's that others may enter.
macro_rules! shared_mount {
    ($vault:ident, $mount:ident) => {
        let $vault = Vault::new();
        let $mount = $vault.mount_with(&["--allow-other"]);
        fs::set_permissions($mount.path(), fs::Permissions::from_mode(0o755)).unwrap();
    };
}

#[test]
fn permission_bits_are_enforced_for_another_user() {
    shared_mount!(vault, mount);
    let user = OrdinaryUser::get();
    let dir = mount.join("dir");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("secret"), "secret").unwrap();
    fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!as_user(&dir, "cat secret"));
    assert!(!as_user(&dir, "touch mine"));
    fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o604)).unwrap();
    assert!(as_user(&dir, "cat secret"));
    chown(&dir, Some(user.uid), Some(user.gid)).unwrap();
    assert!(as_user(
        &dir,
        "touch mine; chmod 700 mine; mkdir sub; rmdir sub; rm -f secret"
    ));
    let mine = fs::metadata(dir.join("mine")).unwrap();
    assert_eq!((mine.uid(), mine.gid()), (user.uid, user.gid));
    assert!(!as_user(&dir, "chown 0 mine"));
}

#[test]
fn only_the_owner_deletes_from_a_sticky_directory() {
    shared_mount!(vault, mount);
    let user = OrdinaryUser::get();
    let dir = mount.join("tmp");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(dir.join("roots"), "").unwrap();
    fs::write(dir.join("users"), "").unwrap();
    chown(dir.join("users"), Some(user.uid), Some(user.gid)).unwrap();
    assert!(!as_user(&dir, "rm -f roots"));
    assert!(!as_user(&dir, "mv roots other"));
    assert!(as_user(&dir, "rm -f users"));
}

#[test]
fn a_setgid_directory_hands_down_its_group() {
    shared_mount!(vault, mount);
    let user = OrdinaryUser::get();
    let dir = mount.join("team");
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(user.uid), Some(4321)).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o2775)).unwrap();
    assert!(as_user(&dir, "umask 022; mkdir sub; touch file"));
    let (sub, file) = (dir.join("sub"), dir.join("file"));
    assert_eq!(fs::metadata(&sub).unwrap().gid(), 4321);
    assert_eq!(fs::metadata(&file).unwrap().gid(), 4321);
    assert_eq!(mode(&sub), 0o2755, "a directory below is setgid itself");
    assert_eq!(mode(&file), 0o644);
}

#[test]
fn a_write_by_another_user_clears_setuid_and_setgid() {
    shared_mount!(vault, mount);
    for (name, script) in [
        ("written", "echo x >>written"),
        ("truncated", ": >truncated"),
        ("resized", "truncate -s 1 resized"),
    ] {
        let path = mount.join(name);
        fs::write(&path, "content").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).unwrap();
        assert_eq!(mode(&path), 0o6777);
        assert!(as_user(mount.path(), script), "{script}");
        assert_eq!(mode(&path), 0o777, "{script}");
    }
}

#[test]
fn a_change_of_owner_clears_setuid_and_setgid() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("file");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o6755)).unwrap();
    chown(&path, Some(1234), Some(1234)).unwrap();
    assert_eq!(mode(&path), 0o755);
}

#[test]
fn acls_are_enforced_kept_and_tied_to_the_mode() {
    shared_mount!(vault, mount);
    let user = OrdinaryUser::get();
    let root = mount.path();
    fs::write(mount.join("file"), "content").unwrap();
    shell(root, "chmod 600 file");
    assert!(!as_user(root, "cat file"));
    shell(root, &format!("setfacl -m u:{}:r file", user.name()));
    assert!(as_user(root, "cat file"), "the ACL lets the user read");
    assert!(!as_user(root, "echo x >>file"), "and no more");
    assert_eq!(
        mode(&mount.join("file")),
        0o640,
        "the group bits show the mask"
    );
    shell(root, "chmod g-r file");
    assert!(!as_user(root, "cat file"), "chmod changes the mask");
    shell(root, "chmod g+r file");
    assert!(as_user(root, "cat file"));
    let before = shell(root, "getfacl -n file");
    assert!(
        before.contains(&format!("user:{}:r--", user.uid)),
        "{before}"
    );
    mount.unmount();
    let mount = vault.mount_with(&["--allow-other"]);
    assert_eq!(shell(mount.path(), "getfacl -n file"), before);
    shell(mount.path(), "setfacl -b file");
    assert!(!as_user(mount.path(), "cat file"));
}

#[test]
fn a_default_acl_is_inherited_in_place_of_the_umask() {
    let vault = Vault::new();
    let mount = vault.mount();
    let script = "
        umask 077
        mkdir dir; setfacl -d -m u::rwx,g::rwx,o::rx,u:4321:rw,m::rwx dir
        touch dir/file; mkdir dir/sub; mkfifo dir/fifo
        getfacl -cn dir/file | grep -qx 'user:4321:rw-'
        getfacl -cn dir/sub | grep -qx 'default:user:4321:rw-'
        test $(stat -c %a dir/file) = 664
        test $(stat -c %a dir/sub) = 775
        test $(stat -c %a dir/fifo) = 664
        touch plain; test $(stat -c %a plain) = 600
        touch dir/sub/deep; getfacl -cn dir/sub/deep | grep -qx 'user:4321:rw-'
    ";
    shell(mount.path(), script);
}

#[test]
fn extended_attributes_are_set_listed_and_removed() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("file");
    fs::write(&path, "").unwrap();
    let set = |name: &str, value: &[u8], flags| rustix::fs::setxattr(&path, name, value, flags);
    let get = |name: &str| {
        let mut buffer = vec![0; 65_536];
        rustix::fs::getxattr(&path, name, &mut buffer[..]).map(|len| buffer[..len].to_vec())
    };
    let plain = XattrFlags::empty();
    for name in [
        "user.text",
        "trusted.note",
        "security.note",
        "user.\u{e9}\u{1f511}",
    ] {
        set(name, name.as_bytes(), plain).unwrap();
    }
    set("user.empty", b"", plain).unwrap();
    let binary: Vec<u8> = (0..=255).collect();
    set("user.binary", &binary, plain).unwrap();
    assert_eq!(get("user.binary").unwrap(), binary);
    assert_eq!(get("user.empty").unwrap(), b"");
    assert_eq!(get("trusted.note").unwrap(), b"trusted.note");
    assert_eq!(
        set("user.text", b"x", XattrFlags::CREATE),
        Err(Errno::EXIST)
    );
    assert_eq!(
        set("user.none", b"x", XattrFlags::REPLACE),
        Err(Errno::NODATA)
    );
    assert_eq!(get("user.none"), Err(Errno::NODATA));
    assert_eq!(set("nonsense.name", b"x", plain), Err(Errno::OPNOTSUPP));
    assert_eq!(
        rustix::fs::getxattr(&path, "user.binary", &mut [0; 10][..]),
        Err(Errno::RANGE)
    );
    rustix::fs::removexattr(&path, "user.text").unwrap();
    assert_eq!(
        rustix::fs::removexattr(&path, "user.text"),
        Err(Errno::NODATA)
    );
    let mut listed = vec![0; 4096];
    let len = rustix::fs::listxattr(&path, &mut listed[..]).unwrap();
    let mut names: Vec<_> = listed[..len].split(|byte| *byte == 0).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    let expected: [&[u8]; 5] = [
        b"security.note",
        b"trusted.note",
        b"user.binary",
        b"user.empty",
        "user.\u{e9}\u{1f511}".as_bytes(),
    ];
    assert_eq!(names, expected);
    mount.unmount();
    let mount = vault.mount();
    let dump = shell(
        mount.path(),
        "getfattr -d -m - -e hex --absolute-names file | wc -l",
    );
    assert_eq!(dump, "7", "five attributes, a heading and an empty line");
}

#[test]
fn a_large_extended_attribute_is_kept_and_a_larger_one_refused() {
    let vault = Vault::new();
    let mount = vault.mount();
    let path = mount.join("file");
    fs::write(&path, "").unwrap();
    // ext4 keeps no more than one block; 64 KiB is Linux's own limit.
    let len = if keyfold_tests::Backend::chosen() == keyfold_tests::Backend::Keyfold {
        65_536
    } else {
        3000
    };
    let value = keyfold_tests::pattern(1, len);
    rustix::fs::setxattr(&path, "user.large", &value, XattrFlags::empty()).unwrap();
    let mut read = vec![0; len];
    assert_eq!(
        rustix::fs::getxattr(&path, "user.large", &mut read[..]),
        Ok(len)
    );
    assert_eq!(read, value);
    let larger = vec![0; 65_537];
    let refused = rustix::fs::setxattr(&path, "user.large", &larger, XattrFlags::empty());
    assert_eq!(refused, Err(Errno::TOOBIG));
    let long = format!("user.{}", "n".repeat(251));
    let refused = rustix::fs::setxattr(&path, &*long, b"", XattrFlags::empty());
    assert_eq!(refused, Err(Errno::RANGE));
}

#[test]
fn a_trusted_attribute_is_hidden_from_an_ordinary_user() {
    shared_mount!(vault, mount);
    fs::write(mount.join("file"), "").unwrap();
    shell(
        mount.path(),
        "chmod 666 file; setfattr -n trusted.note -v x file",
    );
    assert!(!as_user(mount.path(), "getfattr -n trusted.note file"));
    assert!(!as_user(mount.path(), "setfattr -n trusted.note -v y file"));
    assert!(as_user(mount.path(), "setfattr -n user.note -v y file"));
}

#[test]
fn times_before_1970_and_after_2038_keep_their_nanoseconds() {
    let vault = Vault::new();
    let mount = vault.mount();
    let stamps = [
        (-1, 0),
        (-1, 999_999_999),
        (-2_000_000_000, 123_456_789),
        (0, 0),
        (0, 1),
        (i64::from(i32::MAX) + 1, 5),
        (4_294_967_296, 987_654_321),
        (15_032_385_534, 999_999_999),
    ];
    let stamp = |name: &str, seconds: i64, nanoseconds: i64| {
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        utimensat(CWD, mount.join(name), &times, AtFlags::empty()).unwrap();
    };
    for (index, (seconds, nanoseconds)) in stamps.into_iter().enumerate() {
        let name = format!("file-{index}");
        File::create(mount.join(&name)).unwrap();
        stamp(&name, seconds, nanoseconds);
    }
    let expect = |root: &Path| {
        for (index, expected) in stamps.into_iter().enumerate() {
            let meta = fs::metadata(root.join(format!("file-{index}"))).unwrap();
            assert_eq!((meta.mtime(), meta.mtime_nsec()), expected, "mtime");
            assert_eq!((meta.atime(), meta.atime_nsec()), expected, "atime");
        }
    };
    expect(mount.path());
    mount.unmount();
    let mount = vault.mount();
    expect(mount.path());
}

#[test]
fn statfs_tells_totals_that_follow_use() {
    let vault = Vault::new();
    let mount = vault.mount();
    let before = rustix::fs::statvfs(mount.path()).unwrap();
    assert_eq!(before.f_namemax, 255);
    assert!(before.f_bsize >= 512 && before.f_blocks > 0);
    assert!(before.f_bavail <= before.f_bfree && before.f_bfree <= before.f_blocks);
    let free = |s: &rustix::fs::StatVfs| s.f_bfree * s.f_frsize;
    assert!(free(&before) > 1 << 20, "df shows the room beneath");
    shell(mount.path(), "df . && stat -f .");
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), "content").unwrap();
    mount.unmount();
    let mount = vault.mount_with(&["--read-only"]);
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "content");
    for change in [
        "echo x >>file",
        "touch new",
        "mkdir dir",
        "rm -f file",
        "mv file other",
        "chmod 600 file",
        "ln file link",
        "setfattr -n user.x -v y file",
        "truncate -s 0 file",
    ] {
        let done = try_shell(mount.path(), change);
        assert!(!done.succeeded(), "{change} succeeded");
        assert!(done.stderr.contains("Read-only"), "{change}: {done}");
    }
    mount.unmount();
    let mount = vault.mount();
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "content");
}
