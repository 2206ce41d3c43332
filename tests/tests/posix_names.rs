//! The namespace: names, renames, links, special files, listing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use keyfold_tests::{Seeded, Vault, pattern, shell, until};
use rustix::fs::{AtFlags, CWD, FileType, Mode, RenameFlags, makedev, mknodat, renameat_with};
use rustix::io::Errno;

fn list(dir: &Path) -> BTreeSet<OsString> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect()
}

#[test]
fn every_name_of_up_to_255_bytes_is_kept_byte_for_byte() {
    let vault = Vault::new();
    let mount = vault.mount();
    let mut random = Seeded::new();
    let mut names = BTreeSet::new();
    for byte in (1..=255_u8).filter(|byte| !b"/.".contains(byte)) {
        names.insert(OsString::from_vec(vec![byte]));
    }
    for len in [2, 3, 17, 143, 144, 175, 176, 200, 254, 255] {
        let letters = (0..len).map(|_| match random.below(255) as u8 + 1 {
            b'/' => b'_',
            byte => byte,
        });
        names.insert(OsString::from_vec(letters.collect()));
    }
    names.extend(
        [
            "a\u{e9}",
            "ae\u{301}",
            "A\u{e9}",
            " ",
            "...",
            "new\nline",
            "-rf",
        ]
        .map(Into::into),
    );
    for name in &names {
        fs::write(mount.join(name), name.as_encoded_bytes()).unwrap();
    }
    assert_eq!(list(mount.path()), names);
    mount.unmount();
    let mount = vault.mount();
    assert_eq!(list(mount.path()), names);
    for name in &names {
        assert_eq!(fs::read(mount.join(name)).unwrap(), name.as_encoded_bytes());
    }
    let error = fs::write(mount.join("x".repeat(256)), "").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidFilename);
}

#[test]
fn rename_replaces_atomically_and_keeps_open_readers_of_the_old_file() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("target"), "old").unwrap();
    let reader = File::open(mount.join("target")).unwrap();
    fs::write(mount.join("new"), "new").unwrap();
    fs::rename(mount.join("new"), mount.join("target")).unwrap();
    assert_eq!(std::io::read_to_string(reader).unwrap(), "old");
    assert_eq!(fs::read_to_string(mount.join("target")).unwrap(), "new");
    assert_eq!(list(mount.path()), BTreeSet::from(["target".into()]));
}

#[test]
fn a_replaced_name_is_never_missing_to_a_reader() {
    let vault = Vault::new();
    let mount = vault.mount();
    let target = mount.join("target");
    fs::write(&target, "0").unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..500 {
                fs::write(mount.join("next"), round.to_string()).unwrap();
                fs::rename(mount.join("next"), &target).unwrap();
            }
        });
        let mut last = 0;
        while !writer.is_finished() {
            let seen: u32 = fs::read_to_string(&target).unwrap().parse().unwrap();
            assert!(seen >= last, "went back from {last} to {seen}");
            last = seen;
        }
    });
}

#[test]
fn rename_without_replacing_leaves_both_names_as_they_were() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("a"), "a").unwrap();
    fs::write(mount.join("b"), "b").unwrap();
    let rename = |from: &str, to: &str, flags| {
        renameat_with(CWD, mount.join(from), CWD, mount.join(to), flags)
    };
    assert_eq!(rename("a", "b", RenameFlags::NOREPLACE), Err(Errno::EXIST));
    assert_eq!(fs::read_to_string(mount.join("b")).unwrap(), "b");
    rename("a", "c", RenameFlags::NOREPLACE).unwrap();
    assert_eq!(list(mount.path()), BTreeSet::from(["b".into(), "c".into()]));
}

#[test]
fn rename_exchange_swaps_a_file_with_a_directory() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::create_dir_all(mount.join("one/dir/below")).unwrap();
    fs::create_dir(mount.join("two")).unwrap();
    fs::write(mount.join("two/file"), "content").unwrap();
    let (file, dir) = (mount.join("two/file"), mount.join("one/dir"));
    renameat_with(CWD, &file, CWD, &dir, RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read_to_string(&dir).unwrap(), "content");
    assert!(file.join("below").is_dir());
    let links = |name: &str| fs::metadata(mount.join(name)).unwrap().nlink();
    assert_eq!(
        (links("one"), links("two")),
        (2, 3),
        "the subdirectory changed its parent"
    );
    let up = fs::metadata(file.join("..")).unwrap().ino();
    assert_eq!(up, fs::metadata(mount.join("two")).unwrap().ino());
    let missing = renameat_with(CWD, &file, CWD, mount.join("no"), RenameFlags::EXCHANGE);
    assert_eq!(missing, Err(Errno::NOENT));
}

#[test]
fn a_directory_cannot_move_into_itself_or_over_a_full_one() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::create_dir_all(mount.join("a/b/c")).unwrap();
    fs::create_dir_all(mount.join("full/entry")).unwrap();
    fs::create_dir(mount.join("empty")).unwrap();
    let code = |from: &str, to: &str| {
        fs::rename(mount.join(from), mount.join(to)).map_err(|error| error.kind())
    };
    assert_eq!(code("a", "a/b/c/a"), Err(ErrorKind::InvalidInput));
    assert_eq!(code("a", "full"), Err(ErrorKind::DirectoryNotEmpty));
    assert_eq!(code("a", "empty"), Ok(()));
    assert!(mount.join("empty/b/c").is_dir());
}

#[test]
fn hard_links_share_one_inode_across_directories() {
    let vault = Vault::new();
    let mount = vault.mount();
    for dir in ["one", "two/deep"] {
        fs::create_dir_all(mount.join(dir)).unwrap();
    }
    let (first, second) = (mount.join("one/first"), mount.join("two/deep/second"));
    fs::write(&first, "through the first").unwrap();
    fs::hard_link(&first, &second).unwrap();
    fs::write(&second, "through the second").unwrap();
    assert_eq!(fs::read_to_string(&first).unwrap(), "through the second");
    let (a, b) = (
        fs::metadata(&first).unwrap(),
        fs::metadata(&second).unwrap(),
    );
    assert_eq!((a.ino(), a.nlink()), (b.ino(), b.nlink()));
    assert_eq!(a.nlink(), 2);
    fs::rename(&first, &second).unwrap();
    assert!(
        first.exists() && second.exists(),
        "rename between links of one file does nothing"
    );
    fs::remove_file(&first).unwrap();
    assert_eq!(fs::metadata(&second).unwrap().nlink(), 1);
    mount.unmount();
    let mount = vault.mount();
    assert_eq!(
        fs::read_to_string(mount.join("two/deep/second")).unwrap(),
        "through the second"
    );
    let error = fs::hard_link(mount.join("one"), mount.join("dirlink")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
}

#[test]
fn symlinks_keep_any_target_of_up_to_4095_bytes() {
    let vault = Vault::new();
    let mount = vault.mount();
    let long = format!("/{}", "t".repeat(4094));
    for (name, target) in [
        ("rel", "some/where"),
        ("dangling", "/no/such"),
        ("long", &long),
    ] {
        symlink(target, mount.join(name)).unwrap();
        assert_eq!(fs::read_link(mount.join(name)).unwrap().as_os_str(), target);
        assert_eq!(
            fs::symlink_metadata(mount.join(name)).unwrap().len(),
            target.len() as u64
        );
    }
    fs::write(mount.join("file"), "content").unwrap();
    symlink("file", mount.join("link")).unwrap();
    assert_eq!(fs::read_to_string(mount.join("link")).unwrap(), "content");
    fs::remove_file(mount.join("link")).unwrap();
    assert!(mount.join("file").exists());
}

#[test]
fn fifos_sockets_and_device_nodes_work_and_are_kept() {
    let vault = Vault::new();
    let mount = vault.mount();
    let node = |name: &str, kind, device| {
        mknodat(
            CWD,
            mount.join(name),
            kind,
            Mode::from_raw_mode(0o640),
            device,
        )
        .unwrap();
    };
    node("fifo", FileType::Fifo, 0);
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("loop", FileType::BlockDevice, makedev(7, 200));
    node("plain", FileType::RegularFile, 0);
    shell(
        mount.path(),
        "timeout 20 bash -c 'cat fifo >out & echo through >fifo; wait'",
    );
    assert_eq!(fs::read_to_string(mount.join("out")).unwrap(), "through\n");
    {
        // Bound by a short name: an address holds at most 107 bytes.
        let listener = UnixListener::bind(mount.join("socket")).unwrap();
        UnixStream::connect(mount.join("socket")).unwrap();
        listener.accept().unwrap();
    }
    mount.unmount();
    let mount = vault.mount();
    let meta = |name: &str| fs::symlink_metadata(mount.join(name)).unwrap();
    assert!(meta("fifo").file_type().is_fifo());
    assert!(meta("socket").file_type().is_socket());
    assert!(meta("null").file_type().is_char_device());
    assert_eq!(meta("null").rdev(), makedev(1, 3));
    assert!(meta("loop").file_type().is_block_device());
    assert_eq!(meta("loop").rdev(), makedev(7, 200));
    assert_eq!(meta("plain").permissions().mode() & 0o7777, 0o640);
}

#[test]
fn a_listing_shows_every_entry_once_while_others_come_and_go() {
    let vault = Vault::new();
    let mount = vault.mount();
    let stays: BTreeSet<OsString> = (0..2000).map(|n| format!("stays-{n}").into()).collect();
    for name in &stays {
        File::create(mount.join(name)).unwrap();
    }
    std::thread::scope(|scope| {
        let churn = scope.spawn(|| {
            for round in 0..3000 {
                File::create(mount.join(format!("goes-{round}"))).unwrap();
                if round >= 50 {
                    fs::remove_file(mount.join(format!("goes-{}", round - 50))).unwrap();
                }
            }
        });
        let mut rounds = 0;
        while !churn.is_finished() || rounds == 0 {
            let entries = fs::read_dir(mount.path())
                .unwrap()
                .map(|e| e.unwrap().file_name());
            let listed: Vec<_> = entries.collect();
            let unique: BTreeSet<_> = listed.iter().cloned().collect();
            assert_eq!(unique.len(), listed.len(), "an entry was listed twice");
            assert!(unique.is_superset(&stays), "an entry was not listed");
            rounds += 1;
        }
    });
}

#[test]
fn what_was_made_between_opening_and_listing_a_directory_is_in_every_later_listing() {
    let vault = Vault::new();
    let mount = vault.mount();
    let dir = mount.join("dir");
    fs::create_dir(&dir).unwrap();
    for n in 0..20 {
        let early = fs::read_dir(&dir).unwrap();
        fs::write(dir.join(format!("{n}")), "").unwrap();
        // What this lists is kept by the kernel for whoever comes later.
        assert!(early.count() >= n);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), n + 1);
    }
}

#[test]
fn a_loop_that_renames_what_it_reads_ends() {
    let vault = Vault::new();
    let mount = vault.mount();
    for n in 0..1500 {
        File::create(mount.join(format!("{n}"))).unwrap();
    }
    let mut seen = 0;
    for entry in fs::read_dir(mount.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut name = path.file_name().unwrap().to_owned();
        name.push("x");
        fs::rename(&path, path.with_file_name(name)).unwrap();
        seen += 1;
        assert!(seen <= 3000, "the listing does not end");
    }
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 1500);
}

#[test]
fn rm_of_a_large_tree_leaves_nothing() {
    let vault = Vault::new();
    let mount = vault.mount();
    let script = "
        mkdir tree; cd tree
        for d in 1 2 3 4 5 6 7 8; do mkdir $d; (cd $d; seq -f 'file-%g' 400 | xargs touch); done
        test $(find . -type f | wc -l) = 3200
        cd ..; rm -rf tree; test -z \"$(ls -A)\"
    ";
    shell(mount.path(), script);
    assert_eq!(fs::metadata(mount.path()).unwrap().nlink(), 2);
}

fn large_directory(entries: u64) {
    let vault = Vault::new();
    let mount = vault.mount();
    let dir = mount.join("large");
    fs::create_dir(&dir).unwrap();
    for n in 0..entries {
        File::create(dir.join(format!("entry-{n}"))).unwrap();
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count() as u64, entries);
    mount.unmount();
    let mount = vault.mount();
    let dir = mount.join("large");
    let listed: BTreeSet<_> = list(&dir);
    assert_eq!(listed.len() as u64, entries);
    for n in [0, entries / 3, entries - 1] {
        assert!(dir.join(format!("entry-{n}")).exists());
    }
    assert!(!dir.join(format!("entry-{entries}")).exists());
    for n in (0..entries).step_by(2) {
        fs::remove_file(dir.join(format!("entry-{n}"))).unwrap();
    }
    assert_eq!(fs::read_dir(&dir).unwrap().count() as u64, entries / 2);
}

#[test]
fn a_directory_of_twenty_thousand_entries_is_listed_whole() {
    large_directory(20_000);
}

#[test]
#[ignore = "slow: run by scripts/test --all"]
fn a_directory_of_a_million_entries_is_listed_whole() {
    large_directory(1_000_000);
}

#[test]
fn deep_trees_can_be_made_moved_and_removed() {
    let vault = Vault::new();
    let mount = vault.mount();
    let script = "
        for n in $(seq 300); do mkdir d; cd d; done
        echo deep >file; cd \"$OLDPWD\"
    ";
    shell(mount.path(), script);
    fs::rename(mount.join("d/d/d"), mount.join("moved")).unwrap();
    assert_eq!(
        shell(mount.path(), "find moved -name file | xargs cat"),
        "deep"
    );
    shell(mount.path(), "rm -r d moved; test -z \"$(ls -A)\"");
}

#[test]
fn a_removed_directory_that_is_still_open_is_empty_and_closed_to_new_names() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::create_dir(mount.join("gone")).unwrap();
    let dir = File::open(mount.join("gone")).unwrap();
    fs::remove_dir(mount.join("gone")).unwrap();
    let made = rustix::fs::mkdirat(&dir, "child", Mode::RWXU);
    assert_eq!(made, Err(Errno::NOENT));
    let up = rustix::fs::statat(&dir, "", AtFlags::EMPTY_PATH).unwrap();
    assert_eq!(up.st_nlink, 0);
}

#[test]
fn names_made_by_one_process_are_seen_by_another_at_once() {
    let vault = Vault::new();
    let mount = vault.mount();
    assert!(
        !mount.join("later").exists(),
        "now the absence may be cached"
    );
    shell(mount.path(), "echo here >later");
    until("the new name is visible", Duration::from_millis(50), || {
        mount.join("later").exists()
    });
    fs::write(mount.join("later"), pattern(1, 5000)).unwrap();
    assert_eq!(shell(mount.path(), "stat -c %s later"), "5000");
}
