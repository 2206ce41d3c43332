use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use keyfold_fs::vault::{Access, LockedVault, VaultError};

use super::fixture::Fixture;

/// Another process that holds the vault's lock, killed at the end.
struct Holder(Child);

impl Holder {
    fn of(vault: &Fixture, how: &str) -> Self {
        let mut child = Command::new("flock")
            .arg(how)
            .arg("--no-fork")
            .arg(vault.path.join("lock"))
            .args(["sh", "-c", "echo held; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_vault_that_another_process_holds_is_in_use() {
    let vault = Fixture::new();
    let holder = Holder::of(&vault, "--exclusive");
    for access in [Access::ReadWrite, Access::ReadOnly] {
        let error = LockedVault::open(&vault.path, access).unwrap_err();
        assert!(
            matches!(error, VaultError::InUse { pid: None, .. }),
            "{error}"
        );
    }
    drop(holder);
    vault.locked().unwrap();
}

#[test]
fn the_message_names_the_process_that_holds_the_vault() {
    let vault = Fixture::new();
    let first = vault.locked().unwrap();
    let error = vault.locked().unwrap_err();
    let own = std::process::id();
    assert!(
        matches!(error, VaultError::InUse { pid: Some(pid), .. } if pid == own),
        "{error}"
    );
    assert!(error.to_string().contains(&own.to_string()));
    drop(first);
    vault.locked().unwrap();
}

#[test]
fn readers_share_a_vault_and_keep_writers_out() {
    let vault = Fixture::new();
    let reader = LockedVault::open(&vault.path, Access::ReadOnly).unwrap();
    let second = LockedVault::open(&vault.path, Access::ReadOnly).unwrap();
    let error = vault.locked().unwrap_err();
    assert!(
        matches!(error, VaultError::InUse { pid: None, .. }),
        "{error}"
    );
    drop((reader, second));
    let writer = vault.locked().unwrap();
    let error = LockedVault::open(&vault.path, Access::ReadOnly).unwrap_err();
    assert!(matches!(error, VaultError::InUse { .. }), "{error}");
    drop(writer);
}

#[test]
fn the_lock_of_a_dead_process_is_free() {
    let vault = Fixture::new();
    std::fs::write(vault.path.join("lock"), "1\n").unwrap();
    vault.locked().unwrap();
    assert!(vault.path.join("lock").exists());
}

#[test]
fn a_lost_lock_file_is_made_again() {
    let vault = Fixture::new();
    std::fs::remove_file(vault.path.join("lock")).unwrap();
    LockedVault::open(&vault.path, Access::ReadOnly).unwrap();
    assert!(!vault.path.join("lock").exists(), "reading changes nothing");
    vault.recover().unwrap();
    assert!(vault.path.join("lock").exists());
}
