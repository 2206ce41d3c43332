//! What was there before an unmount is there after the next mount.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use keyfold_tests::{Backend, Seeded, Vault, keyfold, pattern, shell};

#[test]
fn random_changes_survive_many_remounts() {
    let vault = Vault::new();
    let mut random = Seeded::new();
    let mut expected: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for _round in 0..8 {
        let mount = vault.mount();
        expect_files(mount.path(), &expected);
        for _ in 0..60 {
            change(mount.path(), &mut expected, &mut random);
        }
        mount.unmount();
    }
    let mount = vault.mount();
    expect_files(mount.path(), &expected);
    mount.unmount();
    vault.check();
}

fn change(root: &Path, expected: &mut BTreeMap<String, Vec<u8>>, random: &mut Seeded) {
    let name = format!("file-{}", random.below(25));
    let path = root.join(&name);
    match (random.below(5), expected.get_mut(&name)) {
        (0, Some(_)) => {
            fs::remove_file(&path).unwrap();
            expected.remove(&name);
        }
        (1, Some(content)) => {
            let len = random.below(300_000) as usize;
            OpenOptions::new()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(len as u64)
                .unwrap();
            content.resize(len, 0);
        }
        (2 | 3, Some(content)) => {
            let offset = random.below(200_000) as usize;
            let data = pattern(random.next_u64(), random.below(50_000) as usize + 1);
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(&data, offset as u64).unwrap();
            content.resize(content.len().max(offset + data.len()), 0);
            content[offset..offset + data.len()].copy_from_slice(&data);
        }
        (4, Some(_)) => {
            let other = format!("file-{}", random.below(25));
            fs::rename(&path, root.join(&other)).unwrap();
            let content = expected.remove(&name).unwrap();
            expected.insert(other, content);
        }
        (_, _) => {
            let content = pattern(random.next_u64(), random.below(100_000) as usize);
            fs::write(&path, &content).unwrap();
            expected.insert(name, content);
        }
    }
}

fn expect_files(root: &Path, expected: &BTreeMap<String, Vec<u8>>) {
    let entries = fs::read_dir(root).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.iter().eq(expected.keys()), "{names:?}");
    for (name, content) in expected {
        assert!(
            fs::read(root.join(name)).unwrap() == *content,
            "content of {name}"
        );
    }
}

#[test]
fn inode_numbers_and_times_stay_and_are_never_used_again() {
    let vault = Vault::new();
    let mount = vault.mount();
    shell(
        mount.path(),
        "mkdir -p a/b; touch a/1 a/b/2; ln -s x a/3; mkfifo a/4",
    );
    let stat = |root: &Path| shell(root, "find . -mindepth 1 -printf '%P %i %T@ %C@\\n' | sort");
    let before = stat(mount.path());
    fs::write(mount.join("short-lived"), "").unwrap();
    let used = fs::metadata(mount.join("short-lived")).unwrap().ino();
    fs::remove_file(mount.join("short-lived")).unwrap();
    let before_dir = stat(mount.path());
    assert_eq!(before, before_dir);
    mount.unmount();
    let mount = vault.mount();
    assert_eq!(stat(mount.path()), before);
    fs::write(mount.join("new"), "").unwrap();
    if Backend::chosen() == Backend::Keyfold {
        let new = fs::metadata(mount.join("new")).unwrap().ino();
        assert!(new > used, "inode {used} was given to a new file as {new}");
    }
}

#[test]
fn many_small_files_and_one_large_survive() {
    let vault = Vault::new();
    let mount = vault.mount();
    let large = pattern(1, 40 << 20);
    for n in 0..1500_u64 {
        let dir = mount.join(format!("dir-{}", n % 13));
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join(format!("{n}")),
            pattern(n, (n * 7 % 9000) as usize),
        )
        .unwrap();
    }
    fs::write(mount.join("large"), &large).unwrap();
    mount.unmount();
    let mount = vault.mount();
    for n in 0..1500_u64 {
        let read = fs::read(mount.join(format!("dir-{}/{n}", n % 13))).unwrap();
        assert_eq!(read, pattern(n, (n * 7 % 9000) as usize), "file {n}");
    }
    assert!(fs::read(mount.join("large")).unwrap() == large);
    mount.unmount();
    vault.check();
}

#[test]
fn an_open_unlinked_file_leaves_nothing_behind_after_the_mount() {
    let vault = Vault::new();
    let mount = vault.mount();
    let file = File::create(mount.join("temporary")).unwrap();
    file.write_all_at(&pattern(1, 1 << 20), 0).unwrap();
    fs::remove_file(mount.join("temporary")).unwrap();
    file.sync_all().unwrap();
    mount.kill9();
    drop(file);
    let mount = vault.mount();
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
    mount.unmount();
    vault.check();
}

#[test]
fn no_name_and_no_content_can_be_read_in_the_vault_directory() {
    let vault = Vault::new();
    let mount = vault.mount();
    let content = "the treasure lies beneath the third oak ".repeat(500);
    fs::create_dir(mount.join("directory-with-a-telling-name")).unwrap();
    fs::write(
        mount.join("directory-with-a-telling-name/treasure-map"),
        &content,
    )
    .unwrap();
    fs::write(mount.join("tiny"), "treasure").unwrap();
    shell(
        mount.path(),
        "setfattr -n user.treasure -v treasure tiny; ln -s treasure link",
    );
    let search = |when: &str| {
        let command = "grep -raliE 'treasure|telling|the third oak' . || true";
        assert_eq!(shell(vault.path(), command), "", "found {when}");
    };
    search("while mounted");
    mount.unmount();
    search("after the unmount");
}

#[test]
fn export_without_mounting_gives_the_same_tree() {
    let vault = Vault::new();
    let mount = vault.mount();
    let script = "
        mkdir -p a/b/c; for n in $(seq 30); do head -c $((n * 3001)) /dev/urandom >a/b/$n; done
        ln a/b/1 a/hard; ln -s b a/soft; truncate -s 5M a/sparse; echo x >>a/sparse
        setfattr -n user.note -v text a/b/2; chmod 600 a/b/3; touch -d 2001-02-03T04:05:06.7Z a/b/4
        cp -a a ../plain
    ";
    shell(mount.path(), script);
    mount.unmount();
    let out: PathBuf = vault.sandbox().path().join("out");
    vault
        .keyfold("export", &[out.to_str().unwrap()])
        .expect_success("keyfold export");
    let verify = "test -z \"$(rsync -aHXcni --delete --omit-dir-times plain/ out/a/)\"";
    shell(vault.sandbox().path(), verify);
    let list = vault.keyfold("ls", &["/a/b"]);
    assert!(
        list.succeeded() && list.stdout.lines().count() == 31,
        "{list}"
    );
    let cat = keyfold([
        "cat".as_ref(),
        vault.path(),
        "/a/b/7".as_ref(),
        "--password-file".as_ref(),
        vault.password_file(),
    ]);
    cat.expect_success("keyfold cat");
    shell(vault.sandbox().path(), "cmp plain/b/7 out/a/b/7");
}
