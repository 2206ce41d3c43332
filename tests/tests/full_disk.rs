//! A vault on a disk that fills up: an error at once or at fsync, never read-only, room again
//! after deleting.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use keyfold_tests::{Vault, keyfold, pattern, shell, try_shell, until};

const MIB: usize = 1 << 20;

/// Free room that the mount tells, in bytes.
fn room(root: &Path) -> u64 {
    let totals = rustix::fs::statvfs(root).unwrap();
    totals.f_bavail * totals.f_frsize
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Writes files of 4 MiB until there is no room; returns how many were confirmed by fsync.
fn fill(root: &Path) -> u64 {
    for number in 0..1000 {
        let path = root.join(format!("fill-{number}"));
        if let Err(error) = write_synced(&path, &pattern(number, 4 * MIB)) {
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
            return number;
        }
    }
    panic!("the disk does not fill up");
}

fn expect_content(root: &Path, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        let read = fs::read(root.join(format!("fill-{number}"))).unwrap();
        assert!(read == pattern(number, 4 * MIB), "content of file {number}");
    }
}

#[test]
fn a_full_disk_gives_enospc_and_deleting_gives_room_again() {
    let vault = Vault::on_small_disk(200);
    let mount = vault.mount();
    fs::write(mount.join("before"), "written before").unwrap();
    for round in 0..3 {
        until("what was deleted is free", Duration::from_mins(1), || {
            room(mount.path()) > 120 * MIB as u64
        });
        let filled = fill(mount.path());
        assert!(filled >= 20, "only {filled} files of 4 MiB fit on 200 MiB");
        expect_content(mount.path(), 0..filled);
        for number in 0..=filled {
            let removed = fs::remove_file(mount.join(format!("fill-{number}")));
            assert!(
                removed.is_ok() || number == filled,
                "round {round}: {removed:?}"
            );
        }
        until("there is room again", Duration::from_mins(1), || {
            write_synced(&mount.join("again"), &pattern(7, 60 * MIB)).is_ok()
        });
        assert!(fs::read(mount.join("again")).unwrap() == pattern(7, 60 * MIB));
        fs::remove_file(mount.join("again")).unwrap();
    }
    assert_eq!(
        fs::read_to_string(mount.join("before")).unwrap(),
        "written before"
    );
    mount.unmount();
    vault.check();
}

#[test]
fn a_full_vault_unmounts_mounts_reads_and_deletes() {
    let vault = Vault::on_small_disk(120);
    let mount = vault.mount();
    let filled = fill(mount.path());
    mount.unmount();
    let mount = vault.mount();
    expect_content(mount.path(), 0..filled);
    for number in 0..filled / 2 {
        fs::remove_file(mount.join(format!("fill-{number}"))).unwrap();
    }
    until("there is room again", Duration::from_mins(1), || {
        write_synced(&mount.join("new"), &pattern(3, 8 * MIB)).is_ok()
    });
    mount.unmount();
    let mount = vault.mount();
    expect_content(mount.path(), filled / 2..filled);
    assert!(fs::read(mount.join("new")).unwrap() == pattern(3, 8 * MIB));
    mount.unmount();
    vault.check();
}

#[test]
fn many_small_files_fill_the_disk_without_losing_one_that_was_synced() {
    let vault = Vault::on_small_disk(100);
    let mount = vault.mount();
    let mut kept = 0;
    let full = 'fill: loop {
        for _ in 0..200 {
            let number = kept;
            let path = mount.join(format!("small-{number}"));
            let write = || {
                let mut file = File::create(&path)?;
                file.write_all(&pattern(number, 20_000))?;
                if number % 50 == 0 {
                    file.sync_all()
                } else {
                    Ok(())
                }
            };
            match write() {
                Ok(()) => kept += 1,
                Err(error) => break 'fill error,
            }
        }
        assert!(kept < 20_000, "the disk does not fill up");
    };
    assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
    let synced = (kept - 1) / 50 * 50;
    for number in 0..=synced {
        let read = fs::read(mount.join(format!("small-{number}"))).unwrap();
        assert!(read == pattern(number, 20_000), "file {number} of {synced}");
    }
    shell(
        mount.path(),
        "find . -name 'small-*' -delete; test -z \"$(ls -A)\"",
    );
    until("there is room again", Duration::from_mins(1), || {
        write_synced(&mount.join("new"), &pattern(3, 8 * MIB)).is_ok()
    });
    mount.unmount();
    vault.check();
}

#[test]
fn a_disk_filled_by_others_gives_enospc_until_they_leave() {
    let vault = Vault::on_small_disk(100);
    let mount = vault.mount();
    fs::write(mount.join("file"), pattern(1, MIB)).unwrap();
    File::open(mount.join("file")).unwrap().sync_all().unwrap();
    let disk = vault.path().parent().unwrap();
    shell(disk, "cat /dev/zero >hog 2>/dev/null || true");
    let filled = fill(mount.path());
    assert!(fs::read(mount.join("file")).unwrap() == pattern(1, MIB));
    fs::remove_file(disk.join("hog")).unwrap();
    until("there is room again", Duration::from_mins(1), || {
        write_synced(&mount.join("new"), &pattern(2, 8 * MIB)).is_ok()
    });
    expect_content(mount.path(), 0..filled);
    mount.unmount();
    vault.check();
}

#[test]
fn names_on_a_disk_that_others_filled_do_not_make_the_volume_read_only() {
    let vault = Vault::on_small_disk(100);
    let mount = vault.mount();
    let disk = vault.path().parent().unwrap();
    shell(disk, "cat /dev/zero >hog 2>/dev/null || true");
    // Their rows find room in the log, and then none in the database.
    let mut made = 0;
    for number in 0..60_000 {
        match fs::create_dir(mount.join(format!("{number}"))) {
            Ok(()) => made = number + 1,
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::StorageFull, "{e}");
                break;
            }
        }
        if number % 5000 == 0 {
            // That there is no room is told, and is no failure.
            let _ = try_shell(mount.path(), "echo sync >.keyfold/control");
        }
    }
    fs::remove_file(disk.join("hog")).unwrap();
    until("there is room again", Duration::from_mins(1), || {
        fs::create_dir(mount.join("again")).is_ok()
    });
    shell(mount.path(), "echo sync >.keyfold/control");
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), made + 1);
    mount.unmount();
    vault.check();
}

#[test]
fn init_on_a_full_disk_fails_clearly_and_leaves_nothing() {
    let vault = Vault::on_small_disk(30);
    let disk = vault.path().parent().unwrap();
    shell(disk, "cat /dev/zero >hog 2>/dev/null || true; sync");
    let before = shell(disk, "find . | sort");
    let done = keyfold([
        "init".as_ref(),
        disk.join("second").as_path(),
        "--password-file".as_ref(),
        vault.password_file(),
    ]);
    assert_eq!(done.code, Some(30), "{done}");
    assert_eq!(shell(disk, "find . | sort"), before);
}
