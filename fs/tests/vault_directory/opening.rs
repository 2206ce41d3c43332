use std::fs;

use keyfold_fs::vault::{Access, LockedVault, Part, Revision, Secret, SlotId, VaultError};

use super::fixture::{Fixture, PASSWORD, SmallDisk, create_at, names_in, password};

#[test]
fn the_password_opens_the_vault() {
    let vault = Fixture::new();
    let open = vault.open(PASSWORD).unwrap();
    assert_eq!(open.opened_with(), SlotId(1));
    assert_eq!(open.superblock().revision(), Revision(1));
    assert!(open.health().is_sound());
    assert_eq!(open.dir().path(), vault.path.canonicalize().unwrap());
}

#[test]
fn the_recovery_key_opens_the_vault() {
    let vault = Fixture::new();
    assert_eq!(vault.recover().unwrap().opened_with(), SlotId(2));
}

#[test]
fn both_secrets_give_the_same_keys() {
    let vault = Fixture::new();
    let by_password = *vault
        .open(PASSWORD)
        .unwrap()
        .master()
        .meta_db_key()
        .expose();
    let by_recovery = *vault.recover().unwrap().master().meta_db_key().expose();
    assert_eq!(by_password, by_recovery);
}

#[test]
fn a_wrong_password_opens_nothing() {
    let vault = Fixture::new();
    for wrong in ["", "correct hors", "correct horse ", "Correct horse"] {
        let error = vault.open(wrong).unwrap_err();
        assert!(
            matches!(error, VaultError::WrongSecret { .. }),
            "{wrong:?}: {error}"
        );
    }
}

#[test]
fn another_vaults_recovery_key_opens_nothing() {
    let (vault, other) = (Fixture::new(), Fixture::new());
    let key = keyfold_crypto::RecoveryKey::parse(&other.words).unwrap();
    let error = vault
        .locked()
        .unwrap()
        .unlock(&Secret::Recovery(key))
        .unwrap_err();
    assert!(matches!(error, VaultError::WrongSecret { .. }), "{error}");
}

#[test]
fn opening_changes_no_file_but_the_lock() {
    let vault = Fixture::new();
    let before = (names_in(&vault.path), fs::read(vault.primary()).unwrap());
    let _ = vault.open("wrong");
    vault.recover().unwrap();
    assert_eq!(
        (names_in(&vault.path), fs::read(vault.primary()).unwrap()),
        before
    );
}

#[test]
fn what_is_no_vault_is_named_for_what_it_is() {
    let around = tempfile::tempdir().unwrap();
    let open = |name: &str| LockedVault::open(&around.path().join(name), Access::ReadWrite);
    fs::create_dir(around.path().join("empty")).unwrap();
    fs::write(around.path().join("file"), b"").unwrap();
    let error = open("missing").unwrap_err();
    assert!(matches!(error, VaultError::NotFound { .. }), "{error}");
    let error = open("file").unwrap_err();
    assert!(matches!(error, VaultError::NotADirectory { .. }), "{error}");
    let error = open("empty").unwrap_err();
    assert!(matches!(error, VaultError::NotAVault { .. }), "{error}");
    assert_eq!(
        names_in(&around.path().join("empty")),
        [""; 0],
        "not even a lock file"
    );
}

#[test]
fn a_missing_part_is_named() {
    let missing = |remove: &dyn Fn(&Fixture)| {
        let vault = Fixture::new();
        remove(&vault);
        match vault.locked().unwrap_err() {
            VaultError::MissingPart { part, .. } => part,
            other => panic!("{other}"),
        }
    };
    let database = |v: &Fixture| fs::remove_file(v.path.join("meta.db")).unwrap();
    let segments = |v: &Fixture| fs::remove_dir(v.path.join("segments")).unwrap();
    let superblock = |v: &Fixture| {
        fs::remove_file(v.primary()).unwrap();
        fs::remove_file(v.backup()).unwrap();
    };
    assert_eq!(missing(&database), Part::Database);
    assert_eq!(missing(&segments), Part::Segments);
    assert_eq!(missing(&superblock), Part::Superblock);
}

#[test]
fn an_images_directory_dropped_by_a_copying_program_comes_back() {
    let vault = Fixture::new();
    fs::remove_dir(vault.path.join("images")).unwrap();
    vault.recover().unwrap();
    assert!(vault.path.join("images").is_dir());
}

#[test]
fn a_newer_format_is_refused_by_its_version() {
    let vault = Fixture::new();
    let text = fs::read_to_string(vault.primary()).unwrap();
    let newer = text
        .replace("\"version\": 1", "\"version\": 7")
        .replace("\"revision\": 1", "\"revision\": 2, \"unheard_of\": [true]");
    vault.write_both(newer.as_bytes());
    let error = vault.locked().unwrap_err();
    assert!(
        matches!(error, VaultError::NewerFormat { found: 7, .. }),
        "{error}"
    );

    // An upgrade that was interrupted between the copies counts as upgraded.
    fs::write(vault.backup(), &text).unwrap();
    let error = vault.locked().unwrap_err();
    assert!(
        matches!(error, VaultError::NewerFormat { found: 7, .. }),
        "{error}"
    );
}

#[test]
fn a_read_only_medium_opens_for_reading_only() {
    let disk = SmallDisk::new("size=1m");
    let path = disk.root.join("vault");
    create_at(&path).unwrap();
    disk.make_read_only();
    let error = LockedVault::open(&path, Access::ReadWrite).unwrap_err();
    assert!(
        matches!(error, VaultError::ReadOnlyDirectory { .. }),
        "{error}"
    );
    let open = |_| {
        LockedVault::open(&path, Access::ReadOnly)
            .unwrap()
            .unlock(&Secret::Password(password(PASSWORD)))
            .unwrap()
    };
    let (mut one, _two) = (open(1), open(2));
    let error = one.remove_slot(SlotId(1)).unwrap_err();
    assert!(
        matches!(error, VaultError::ReadOnlyDirectory { .. }),
        "{error}"
    );
}

#[test]
fn a_vault_opened_for_reading_is_not_changed() {
    let vault = Fixture::new();
    fs::remove_file(vault.backup()).unwrap();
    let before = names_in(&vault.path);
    let mut open = LockedVault::open(&vault.path, Access::ReadOnly)
        .unwrap()
        .unlock(&Secret::Password(password(PASSWORD)))
        .unwrap();
    assert!(!open.health().is_sound());
    let error = open.heal().unwrap_err();
    assert!(
        matches!(error, VaultError::ReadOnlyDirectory { .. }),
        "{error}"
    );
    drop(open);
    assert_eq!(names_in(&vault.path), before);
}
