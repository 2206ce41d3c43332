//! What is refused: a clear message, the documented exit code, and nothing changed.
//!
//! Refusals that need no mount are in the command line's own tests.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use keyfold_tests::{Outcome, Vault, keyfold, pattern, shell, try_shell};

const NOT_A_VAULT: i32 = 10;
const IN_USE: i32 = 11;
const WRONG_SECRET: i32 = 12;
const DAMAGED: i32 = 13;
const NEWER_FORMAT: i32 = 14;
const BAD_MOUNT_POINT: i32 = 20;
const READ_ONLY: i32 = 31;

/// Everything in a vault directory, as text to compare.
fn state(dir: &Path) -> String {
    // The database's log is folded in by whoever opens the vault, which changes nothing it says.
    shell(
        dir,
        "find . -type f ! -name '*-wal' ! -name lock | sort | xargs sha256sum; find . | sort",
    )
}

fn mount_at(vault: &Vault, mount_point: &Path) -> Outcome {
    keyfold([
        "mount".as_ref(),
        vault.path(),
        mount_point,
        "--password-file".as_ref(),
        vault.password_file(),
    ])
}

#[track_caller]
fn refused(done: &Outcome, code: i32, word: &str) {
    assert_eq!(done.code, Some(code), "{done}");
    assert!(done.stderr.starts_with("keyfold: "), "{done}");
    assert!(
        done.stderr.to_lowercase().contains(word),
        "no word of {word}: {done}"
    );
    assert!(!done.stderr.contains("panicked"), "{done}");
}

/// A vault with a few files, some large, not mounted.
fn filled() -> Vault {
    let vault = Vault::new();
    let mount = vault.mount();
    for n in 0..20_u64 {
        fs::write(mount.join(format!("file-{n}")), pattern(n, 100_000)).unwrap();
    }
    mount.unmount();
    vault
}

#[test]
fn a_wrong_password_is_refused() {
    let vault = Vault::new();
    let before = state(vault.path());
    let wrong = vault.sandbox().file("wrong", "not the password");
    let done = keyfold([
        "mount".as_ref(),
        vault.path(),
        vault.mount_point(),
        "--password-file".as_ref(),
        &wrong,
    ]);
    refused(&done, WRONG_SECRET, "password");
    assert_eq!(state(vault.path()), before);
}

#[test]
fn a_mount_point_that_cannot_be_used_is_refused() {
    let vault = Vault::new();
    let root = vault.sandbox().path();
    let before = state(vault.path());
    refused(
        &mount_at(&vault, &root.join("missing")),
        BAD_MOUNT_POINT,
        "missing",
    );
    let file = vault.sandbox().file("file", "content");
    refused(&mount_at(&vault, &file), BAD_MOUNT_POINT, "not a directory");
    let full = vault.sandbox().dir("full");
    fs::write(full.join("entry"), "").unwrap();
    refused(&mount_at(&vault, &full), BAD_MOUNT_POINT, "not empty");
    assert!(!root.join("missing").exists());
    assert_eq!(state(vault.path()), before);
    let covered = mount_at(&vault, vault.mount_point());
    covered.expect_success("mount at a good place");
    keyfold(["unmount".as_ref(), vault.mount_point()]).expect_success("unmount");
}

#[test]
fn a_place_where_something_is_mounted_already_is_refused() {
    let vault = Vault::new();
    let other = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), "content").unwrap();
    refused(&mount_at(&other, mount.path()), BAD_MOUNT_POINT, "mounted");
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "content");
    let tmpfs = other.sandbox().dir("tmpfs");
    shell(
        Path::new("/"),
        &format!("mount -t tmpfs none {}", tmpfs.display()),
    );
    refused(&mount_at(&other, &tmpfs), BAD_MOUNT_POINT, "mounted");
}

#[test]
fn a_vault_in_use_is_refused_to_everyone_else() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), "content").unwrap();
    let second = vault.sandbox().dir("second");
    refused(&mount_at(&vault, &second), IN_USE, "in use");
    refused(&vault.keyfold("cat", &["/file"]), IN_USE, "in use");
    refused(
        &vault.keyfold("export", &["/nonexistent/out"]),
        IN_USE,
        "in use",
    );
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "content");
    mount.unmount();
    vault
        .keyfold("cat", &["/file"])
        .expect_success("cat after the unmount");
}

#[test]
fn what_is_not_a_vault_is_refused() {
    let vault = Vault::new();
    let mount = |path: &Path| {
        keyfold([
            "mount".as_ref(),
            path,
            vault.mount_point(),
            "--password-file".as_ref(),
            vault.password_file(),
        ])
    };
    refused(
        &mount(&vault.sandbox().path().join("missing")),
        NOT_A_VAULT,
        "missing",
    );
    let empty = vault.sandbox().dir("empty");
    refused(&mount(&empty), NOT_A_VAULT, "not a");
    let file = vault.sandbox().file("file", "content");
    refused(&mount(&file), NOT_A_VAULT, "file");
    let git = vault.sandbox().dir("other");
    fs::write(git.join("superblock.json"), "{\"some\": \"json\"}").unwrap();
    let done = mount(&git);
    assert!(matches!(done.code, Some(NOT_A_VAULT | DAMAGED)), "{done}");
}

#[test]
fn a_vault_is_not_mounted_inside_itself_or_over_itself() {
    let vault = filled();
    let before = state(vault.path());
    let root = vault.sandbox().path();
    let inside: PathBuf = vault.path().join("segments");
    refused(&mount_at(&vault, &inside), BAD_MOUNT_POINT, "vault");
    refused(&mount_at(&vault, vault.path()), BAD_MOUNT_POINT, "vault");
    refused(&mount_at(&vault, root), BAD_MOUNT_POINT, "vault");
    symlink(vault.path(), root.join("alias")).unwrap();
    refused(
        &mount_at(&vault, &root.join("alias/images")),
        BAD_MOUNT_POINT,
        "vault",
    );
    let bound = vault.sandbox().dir("bound");
    let bind = format!(
        "mount --bind {} {}",
        vault.path().display(),
        bound.display()
    );
    shell(Path::new("/"), &bind);
    refused(
        &mount_at(&vault, &bound.join("images")),
        BAD_MOUNT_POINT,
        "vault",
    );
    shell(Path::new("/"), &format!("umount {}", bound.display()));
    assert_eq!(state(vault.path()), before);
}

#[test]
fn a_vault_cannot_be_made_inside_a_mounted_one_and_mounted_over_it() {
    let vault = Vault::new();
    let mount = vault.mount();
    let inner = mount.join("inner");
    let password = vault.password_file();
    keyfold([
        "init".as_ref(),
        &*inner,
        "--password-file".as_ref(),
        password,
    ])
    .expect_success("init inside a mount");
    let done = keyfold([
        "mount".as_ref(),
        &*inner,
        mount.path(),
        "--password-file".as_ref(),
        password,
    ]);
    refused(&done, BAD_MOUNT_POINT, "mount");
    mount.unmount();
}

#[test]
fn a_vault_of_a_newer_format_is_refused() {
    let vault = Vault::new();
    let newer = r#"sed -i 's/"version": *1\b/"version": 2/' superblock.json superblock.bak"#;
    shell(vault.path(), newer);
    let before = state(vault.path());
    refused(
        &mount_at(&vault, vault.mount_point()),
        NEWER_FORMAT,
        "newer",
    );
    assert_eq!(state(vault.path()), before);
}

#[test]
fn a_superblock_edited_in_both_copies_is_refused_and_in_one_is_not_used() {
    let vault = filled();
    let edit = |copies: &str| {
        let script = format!("sed -i 's/\"revision\": *[0-9]*/\"revision\": 999/' {copies}");
        shell(vault.path(), &script);
    };
    shell(
        vault.path(),
        "grep -q '\"revision\"' superblock.json; cp -a . ../kept",
    );
    edit("superblock.json");
    let mount = vault.mount();
    assert_eq!(fs::read(mount.join("file-3")).unwrap(), pattern(3, 100_000));
    mount.unmount();
    edit("superblock.json superblock.bak");
    let done = mount_at(&vault, vault.mount_point());
    assert!(matches!(done.code, Some(DAMAGED | WRONG_SECRET)), "{done}");
    shell(vault.path(), "cp -a ../kept/superblock.* .");
    vault.mount().unmount();
}

/// The mount either refuses, or serves everything but the damaged data; wrong bytes never come.
fn expect_damage_noticed(vault: &Vault) {
    let done = mount_at(vault, vault.mount_point());
    if done.succeeded() {
        let root = vault.mount_point();
        let mut lost = 0;
        for n in 0..20_u64 {
            match fs::read(root.join(format!("file-{n}"))) {
                Ok(content) => assert!(content == pattern(n, 100_000), "wrong bytes in file {n}"),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(5), "EIO, not {error}");
                    lost += 1;
                }
            }
        }
        assert!(lost > 0, "no file is damaged");
        keyfold(["unmount".as_ref(), root]).expect_success("unmount");
    } else {
        refused(&done, DAMAGED, "segment");
    }
    let check = vault.keyfold("check", &["--read-data"]);
    assert_eq!(
        check.code,
        Some(DAMAGED),
        "check must find the damage: {check}"
    );
}

#[test]
fn a_missing_segment_is_noticed_and_never_read_as_something_else() {
    let vault = filled();
    shell(vault.path(), "rm \"segments/$(ls -S segments | head -1)\"");
    expect_damage_noticed(&vault);
}

#[test]
fn a_shortened_segment_is_noticed_and_never_read_as_something_else() {
    let vault = filled();
    shell(
        vault.path(),
        "truncate -s 40960 \"segments/$(ls -S segments | head -1)\"",
    );
    expect_damage_noticed(&vault);
}

#[test]
fn a_flipped_byte_in_a_segment_is_noticed_and_never_read() {
    let vault = filled();
    let script = "
        s=segments/$(ls -S segments | head -1)
        for at in 0 5000 123456 700000; do
            b=$(od -An -tu1 -j$at -N1 $s)
            printf \"\\\\$(printf %o $((b ^ 1)))\" | dd of=$s bs=1 seek=$at conv=notrunc status=none
        done";
    shell(vault.path(), script);
    expect_damage_noticed(&vault);
}

#[test]
fn a_database_of_another_vault_is_refused() {
    let vault = filled();
    let other = filled();
    let copy = format!(
        "rm -f meta.db*; cp -a {}/meta.db* .",
        other.path().display()
    );
    shell(vault.path(), &copy);
    refused(&mount_at(&vault, vault.mount_point()), DAMAGED, "database");
}

#[test]
fn an_edited_database_is_noticed() {
    let vault = filled();
    let script = "
        size=$(stat -c %s meta.db)
        for at in $(seq 2000 4096 $size); do
            printf xxxx | dd of=meta.db bs=1 seek=$at conv=notrunc status=none
        done";
    shell(vault.path(), script);
    refused(&mount_at(&vault, vault.mount_point()), DAMAGED, "database");
}

#[test]
fn a_missing_database_is_refused_and_not_made_anew() {
    let vault = filled();
    shell(vault.path(), "rm -f meta.db*");
    let done = mount_at(&vault, vault.mount_point());
    assert_eq!(done.code, Some(DAMAGED), "{done}");
    assert!(
        try_shell(vault.path(), "test ! -e meta.db").succeeded(),
        "an empty one was made"
    );
}

#[test]
fn a_vault_on_a_read_only_disk_mounts_read_only_and_is_not_changed() {
    let vault = Vault::on_small_disk(100);
    let disk = vault.path().parent().unwrap();
    let mount = vault.mount();
    fs::write(mount.join("file"), pattern(1, 100_000)).unwrap();
    mount.unmount();
    let before = state(vault.path());
    shell(disk, "mount -o remount,ro .");
    let done = mount_at(&vault, vault.mount_point());
    refused(&done, READ_ONLY, "read-only");
    let mount = vault.mount_with(&["--read-only"]);
    assert_eq!(fs::read(mount.join("file")).unwrap(), pattern(1, 100_000));
    assert!(fs::write(mount.join("new"), "").is_err());
    mount.unmount();
    shell(disk, "mount -o remount,rw .");
    assert_eq!(state(vault.path()), before);
}

#[test]
fn a_control_line_that_makes_no_sense_is_refused_and_the_mount_lives_on() {
    let vault = Vault::new();
    let mount = vault.mount();
    let long = "x".repeat(5000);
    for line in [
        "",
        "nonsense",
        "sync extra",
        "\u{0}\u{1}",
        "{\"command\":",
        "{}",
        &*long,
    ] {
        let error = fs::write(mount.join(".keyfold/control"), line);
        // Writing nothing is no write at all.
        assert!(error.is_err() || line.is_empty(), "{line:?} was taken");
    }
    fs::write(mount.join(".keyfold/control"), "sync\n").unwrap();
    let status = fs::read_to_string(mount.join(".keyfold/status")).unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status.is_object(), "{status}");
    mount.unmount();
}
