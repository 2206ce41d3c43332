use std::fs;
use std::os::unix::fs::PermissionsExt;

use keyfold_fs::vault::{
    Access, LockedVault, Revision, SlotId, VaultError, backup_header, restore_header,
};

use super::fixture::{Fixture, PASSWORD, cheap, names_in, password};

#[test]
fn a_backup_brings_a_vault_back_that_lost_both_copies() {
    let vault = Fixture::new();
    let to = vault.around.path().join("header");
    let backup = backup_header(&vault.path, &to).unwrap();
    assert!(backup.copies_agree);
    assert_eq!(to.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    fs::remove_file(vault.primary()).unwrap();
    fs::remove_file(vault.backup()).unwrap();
    assert!(vault.locked().is_err());
    let restored = restore_header(&vault.path, &to).unwrap();
    assert_eq!(
        (restored.vault, restored.revision),
        (backup.vault, Revision(1))
    );
    assert!(restored.kept.is_empty());
    assert!(vault.open(PASSWORD).unwrap().health().is_sound());
}

#[test]
fn restoring_keeps_what_it_replaces_and_can_be_undone() {
    let vault = Fixture::new();
    let to = vault.around.path().join("header");
    backup_header(&vault.path, &to).unwrap();
    vault
        .recover()
        .unwrap()
        .change_password(SlotId(1), &password("new"), cheap())
        .unwrap();
    fs::write(vault.backup(), b"garbage").unwrap();

    let restored = restore_header(&vault.path, &to).unwrap();
    let kept = ["superblock.replaced-1", "superblock.replaced-2"].map(|n| vault.path.join(n));
    assert_eq!(restored.kept, kept);
    assert_eq!(fs::read(&kept[1]).unwrap(), b"garbage");
    vault.open(PASSWORD).unwrap();

    restore_header(&vault.path, &kept[0]).unwrap();
    vault.open("new").unwrap();
    assert!(matches!(
        vault.open(PASSWORD),
        Err(VaultError::WrongSecret { .. })
    ));
}

#[test]
fn odd_things_in_place_of_the_copies_are_moved_aside() {
    let vault = Fixture::new();
    let to = vault.around.path().join("header");
    backup_header(&vault.path, &to).unwrap();
    fs::remove_file(vault.primary()).unwrap();
    fs::create_dir(vault.primary()).unwrap();
    fs::remove_file(vault.backup()).unwrap();
    std::os::unix::fs::symlink("/dev/zero", vault.backup()).unwrap();
    restore_header(&vault.path, &to).unwrap();
    assert!(vault.recover().unwrap().health().is_sound());
}

#[test]
fn another_vaults_header_is_refused() {
    let (vault, other) = (Fixture::new(), Fixture::new());
    let to = other.around.path().join("header");
    backup_header(&other.path, &to).unwrap();
    let names = names_in(&vault.path);
    for damaged in [None, Some(vault.primary())] {
        if let Some(copy) = damaged {
            fs::write(copy, b"").unwrap();
        }
        let error = restore_header(&vault.path, &to).unwrap_err();
        assert!(matches!(error, VaultError::OtherVault { .. }), "{error}");
        assert_eq!(names_in(&vault.path), names);
        vault.recover().unwrap();
    }
}

#[test]
fn what_is_no_header_is_refused_and_nothing_changes() {
    let vault = Fixture::new();
    let names = names_in(&vault.path);
    let from = vault.around.path().join("header");
    let error = restore_header(&vault.path, &from).unwrap_err();
    assert!(matches!(error, VaultError::NotFound { .. }), "{error}");
    for bytes in [
        "",
        "{}",
        "not json",
        r#"{"format":"keyfold-vault","version":1}"#,
    ] {
        fs::write(&from, bytes).unwrap();
        let error = restore_header(&vault.path, &from).unwrap_err();
        assert!(
            matches!(error, VaultError::BadHeader { .. }),
            "{bytes}: {error}"
        );
    }
    fs::write(&from, r#"{"format":"keyfold-vault","version":2}"#).unwrap();
    let error = restore_header(&vault.path, &from).unwrap_err();
    assert!(
        matches!(error, VaultError::NewerFormat { found: 2, .. }),
        "{error}"
    );
    assert_eq!(names_in(&vault.path), names);
    vault.recover().unwrap();
}

#[test]
fn an_edited_header_is_found_at_the_next_unlock() {
    let vault = Fixture::new();
    let to = vault.around.path().join("header");
    backup_header(&vault.path, &to).unwrap();
    let text = fs::read_to_string(&to).unwrap();
    fs::write(&to, text.replace("recovery key", "recovery kez")).unwrap();
    restore_header(&vault.path, &to).unwrap();
    let error = vault.recover().unwrap_err();
    assert!(
        matches!(error, VaultError::SuperblockDamaged { .. }),
        "{error}"
    );
}

#[test]
fn a_vault_in_use_is_backed_up_and_not_restored() {
    let vault = Fixture::new();
    let open = vault.recover().unwrap();
    let to = vault.around.path().join("header");
    backup_header(&vault.path, &to).unwrap();
    let error = restore_header(&vault.path, &to).unwrap_err();
    assert!(matches!(error, VaultError::InUse { .. }), "{error}");
    drop(open);
    restore_header(&vault.path, &to).unwrap();
}

#[test]
fn a_backup_overwrites_nothing_and_tells_when_the_copies_differ() {
    let vault = Fixture::new();
    let to = vault.around.path().join("header");
    fs::write(&to, b"mine").unwrap();
    let error = backup_header(&vault.path, &to).unwrap_err();
    assert!(matches!(error, VaultError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&to).unwrap(), b"mine");

    fs::remove_file(&to).unwrap();
    fs::write(vault.primary(), b"").unwrap();
    assert!(!backup_header(&vault.path, &to).unwrap().copies_agree);
    let error = backup_header(vault.around.path(), &to).unwrap_err();
    assert!(matches!(error, VaultError::NotAVault { .. }), "{error}");
    LockedVault::open(&vault.path, Access::ReadOnly).unwrap();
}
