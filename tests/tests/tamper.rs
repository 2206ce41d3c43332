//! What is done to a vault beneath a mount, or between two mounts, is told: by the exit code, in
//! `status`, and in the log; and it is never read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use keyfold_tests::{Mount, Outcome, PASSWORD, Vault, keyfold, pattern, shell, until};
use serde_json::Value;

const DAMAGED: i32 = 13;
const OLDER_THAN_SEEN: i32 = 18;
const LIMIT: Duration = Duration::from_mins(1);

fn try_mount(vault: &Vault, options: &[&str]) -> Outcome {
    let mut options = options.to_vec();
    let point = vault.mount_point().to_str().unwrap();
    options.insert(0, point);
    vault.keyfold("mount", &options)
}

fn status(mount: &Mount) -> Value {
    let text = fs::read(mount.join(".keyfold/status")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["volume"].take()
}

/// Log of mounts in the background.
fn log_of(vault: &Vault) -> String {
    let id = fs::read(vault.path().join("superblock.json")).unwrap();
    let id: Value = serde_json::from_slice(&id).unwrap();
    let name = format!("keyfold/{}.log", id["vault_id"].as_str().unwrap());
    fs::read_to_string(keyfold_tests::state_home().join(name)).unwrap()
}

fn keep(vault: &Vault, name: &str) {
    let copy = format!("cp -a --sparse=always {} {name}", vault.path().display());
    shell(vault.sandbox().path(), &copy);
}

fn bring_back(vault: &Vault, name: &str) {
    let path = vault.path().display();
    let swap = format!("rm -rf {path} && cp -a --sparse=always {name} {path}");
    shell(vault.sandbox().path(), &swap);
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], at).unwrap();
}

#[test]
fn a_vault_rolled_back_is_refused_until_that_is_accepted() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), "first").unwrap();
    mount.unmount();
    keep(&vault, "old");
    let mount = vault.mount();
    fs::write(mount.join("file"), "second").unwrap();
    mount.unmount();
    bring_back(&vault, "old");

    let refused = try_mount(&vault, &[]);
    assert_eq!(refused.code, Some(OLDER_THAN_SEEN), "{refused}");
    assert!(
        refused.stderr.contains("older than when it was last seen"),
        "{refused}"
    );
    assert!(refused.stderr.contains("--accept-rollback"), "{refused}");
    assert!(
        log_of(&vault).contains("security event"),
        "{}",
        log_of(&vault)
    );
    for command in ["check", "ls"] {
        let refused = vault.keyfold(command, &[]);
        assert_eq!(refused.code, Some(OLDER_THAN_SEEN), "{refused}");
    }
    vault
        .keyfold("check", &["--accept-rollback"])
        .expect_success("check of a backup");
    assert_eq!(try_mount(&vault, &[]).code, Some(OLDER_THAN_SEEN));

    let mount = vault.mount_with(&["--accept-rollback"]);
    assert_eq!(fs::read_to_string(mount.join("file")).unwrap(), "first");
    let told = status(&mount);
    assert_eq!(told["events"][0]["kind"], "rollback-accepted", "{told}");
    mount.unmount();
    let mount = vault.mount();
    assert_eq!(status(&mount)["security_events"], 0);
    mount.unmount();
}

#[test]
fn an_old_password_does_not_come_back_with_an_old_superblock() {
    let vault = Vault::new();
    keep(&vault, "old");
    let new = vault.sandbox().file("new-password", "another password");
    let change = ["change", vault.path().to_str().unwrap()];
    let from = ["--password-file", vault.password_file().to_str().unwrap()];
    let to = [
        "--new-password-file",
        new.to_str().unwrap(),
        "--iter-time",
        "1",
    ];
    keyfold(["passwd"].iter().chain(&change).chain(&from).chain(&to)).expect_success("passwd");
    for name in ["superblock.json", "superblock.bak"] {
        let old = vault.sandbox().path().join("old").join(name);
        fs::copy(old, vault.path().join(name)).unwrap();
    }
    assert_eq!(fs::read_to_string(vault.password_file()).unwrap(), PASSWORD);
    let refused = try_mount(&vault, &[]);
    assert_eq!(refused.code, Some(OLDER_THAN_SEEN), "{refused}");
    assert!(refused.stderr.contains("key slots"), "{refused}");
    let refused = keyfold(["passwd"].iter().chain(&change).chain(&from).chain(&to));
    assert_eq!(refused.code, Some(OLDER_THAN_SEEN), "{refused}");
}

#[test]
fn a_block_altered_beneath_a_mount_is_a_security_event_and_never_read() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::write(mount.join("file"), pattern(1, 100_000)).unwrap();
    mount.unmount();
    let mount = vault.mount();
    flip(&vault.path().join("segments/000001"), 3 * 4096 + 5);
    let error = fs::read(mount.join("file")).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EIO));
    let told = status(&mount);
    assert_eq!(told["events"][0]["kind"], "block", "{told}");
    assert_eq!(told["verification"], "verified", "{told}");
    let text = keyfold(["status".as_ref(), mount.path().as_os_str()]);
    assert!(text.stdout.contains("security events: "), "{text}");
    mount.unmount();
}

#[test]
fn an_older_database_put_back_is_refused_or_stops_the_mount() {
    let vault = Vault::new();
    let mount = vault.mount();
    for n in 0..50 {
        fs::write(mount.join(format!("file-{n}")), pattern(n, 3000)).unwrap();
    }
    mount.unmount();
    let database = vault.path().join("meta.db");
    let old = fs::read(&database).unwrap();
    let mount = vault.mount();
    for n in 0..50 {
        fs::write(mount.join(format!("file-{n}")), pattern(n + 100, 3000)).unwrap();
    }
    mount.unmount();
    let new = fs::read(&database).unwrap();
    // The last page that differs, and is not the one that holds the number of the commit.
    let pages = old.chunks(4096).zip(new.chunks(4096));
    let differing: Vec<u64> = (0..)
        .zip(pages)
        .filter(|(_, (o, n))| o != n)
        .map(|(i, _)| i)
        .collect();
    let page = differing[differing.len() / 2];
    let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    let from = page as usize * 4096;
    file.write_all_at(&old[from..from + 4096], page * 4096)
        .unwrap();

    let refused = try_mount(&vault, &["--verify=first"]);
    assert_eq!(refused.code, Some(DAMAGED), "{refused}");
    assert!(refused.stderr.contains("last commit"), "{refused}");
    assert!(log_of(&vault).contains("security event"));
    let found = vault.keyfold("check", &[]);
    assert_eq!(found.code, Some(DAMAGED), "{found}");

    let mount = vault.mount_with(&["--verify=later"]);
    until("the scan has come to its end", LIMIT, || {
        status(&mount)["verification"] != "verifying"
    });
    let told = status(&mount);
    assert_eq!(told["verification"], "damaged", "{told}");
    assert_eq!(told["state"], "failed", "{told}");
    assert_eq!(told["events"][0]["kind"], "state", "{told}");
    let error = fs::write(mount.join("more"), "x").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EROFS));

    drop(mount);
    let out = vault.sandbox().path().join("out");
    let saved = vault.keyfold("export", &[out.to_str().unwrap()]);
    assert_eq!(saved.code, Some(DAMAGED), "{saved}");
    assert!(fs::read_dir(&out).unwrap().count() > 0, "{saved}");
}
