use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use keyfold_crypto::Rounds;
use keyfold_fs::vault::{
    Access, CreateOptions, KdfCost, LockedVault, SlotKind, UnlockedVault, VaultError,
};

use super::fixture::{Fixture, create_at, names_in, options, password, put_database};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_new_vault_has_its_parts_and_lets_only_its_owner_in() {
    let vault = Fixture::new();
    let names = [
        "images",
        "lock",
        "meta.db",
        "segments",
        "superblock.bak",
        "superblock.json",
    ];
    assert_eq!(names_in(&vault.path), names);
    assert_eq!(mode(&vault.path), 0o700);
    assert_eq!(mode(&vault.path.join("segments")), 0o700);
    assert_eq!(mode(&vault.primary()), 0o600);
    assert_eq!(
        fs::read(vault.primary()).unwrap(),
        fs::read(vault.backup()).unwrap()
    );
}

#[test]
fn the_superblock_is_readable_json() {
    let vault = Fixture::new();
    let text = fs::read_to_string(vault.primary()).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["format"], "keyfold-vault");
    assert_eq!(json["version"], 1);
    assert_eq!(json["block_size"], 4096);
    assert_eq!(json["segment_size"], 64 << 20);
    assert_eq!(json["kdf"], "PBKDF2-HMAC-SHA256");
    assert_eq!(json["vault_id"].as_str().unwrap().len(), 32);
    assert_eq!(json["slots"][0]["kind"], "password");
    assert_eq!(json["slots"][0]["rounds"], Rounds::FLOOR);
    assert_eq!(json["slots"][1]["kind"], "recovery");
    assert!(json["slots"][1].get("rounds").is_none());
    assert!(text.lines().count() > 20, "one field a line");
}

#[test]
fn an_empty_directory_becomes_a_vault_of_its_owner_alone() {
    let around = tempfile::tempdir().unwrap();
    let path = around.path().join("empty");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let (vault, _) = create_at(&path).unwrap();
    assert_eq!(vault.slots()[0].kind(), SlotKind::Password);
    assert_eq!(mode(&path), 0o700);
}

#[test]
fn a_directory_that_holds_anything_is_refused_and_left_alone() {
    let around = tempfile::tempdir().unwrap();
    fs::write(around.path().join("mine"), b"precious").unwrap();
    let error = create_at(around.path()).unwrap_err();
    assert!(matches!(error, VaultError::NotEmpty { .. }), "{error}");
    assert_eq!(names_in(around.path()), ["mine"]);
}

#[test]
fn a_vault_is_not_overwritten() {
    let vault = Fixture::new();
    let before = fs::read(vault.primary()).unwrap();
    let error = create_at(&vault.path).unwrap_err();
    assert!(matches!(error, VaultError::AlreadyAVault { .. }), "{error}");
    assert_eq!(fs::read(vault.primary()).unwrap(), before);
    vault.recover().unwrap();
}

#[test]
fn a_file_or_a_missing_parent_is_refused() {
    let around = tempfile::tempdir().unwrap();
    let file = around.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = create_at(&file).unwrap_err();
    assert!(matches!(error, VaultError::NotADirectory { .. }), "{error}");
    let error = create_at(&file.join("vault")).unwrap_err();
    assert!(matches!(error, VaultError::NotADirectory { .. }), "{error}");
    let error = create_at(&around.path().join("no/vault")).unwrap_err();
    assert!(matches!(error, VaultError::NotFound { .. }), "{error}");
    assert_eq!(names_in(around.path()), ["file"]);
}

#[test]
fn there_is_no_superblock_before_the_volume_is_formatted() {
    let around = tempfile::tempdir().unwrap();
    let path = around.path().join("vault");
    let look = |vault: &UnlockedVault| {
        assert_eq!(names_in(vault.dir().path()), ["images", "lock", "segments"]);
        put_database(vault)
    };
    UnlockedVault::create(&path, &options(), look).unwrap();
}

#[test]
fn failing_to_format_leaves_nothing_behind() {
    let around = tempfile::tempdir().unwrap();
    let fail = |vault: &UnlockedVault| {
        put_database(vault)?;
        fs::create_dir(vault.dir().segments().join("deeper")).unwrap();
        fs::write(vault.dir().segments().join("deeper/000001"), b"x").unwrap();
        Err(VaultError::BadLabel)
    };
    let fresh = around.path().join("fresh");
    assert!(UnlockedVault::create(&fresh, &options(), fail).is_err());
    assert!(!fresh.exists());

    let existing = around.path().join("existing");
    fs::create_dir(&existing).unwrap();
    fs::set_permissions(&existing, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(UnlockedVault::create(&existing, &options(), fail).is_err());
    assert_eq!(names_in(&existing), [""; 0]);
    assert_eq!(mode(&existing), 0o750);
}

#[test]
fn of_two_makers_of_one_directory_one_succeeds() {
    let around = tempfile::tempdir().unwrap();
    let path = around.path().join("vault");
    fs::create_dir(&path).unwrap();
    let made: Vec<_> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| create_at(&path).is_ok()))
            .collect();
        makers
            .into_iter()
            .map(|maker| maker.join().unwrap())
            .collect()
    });
    assert_eq!(made.iter().filter(|ok| **ok).count(), 1, "{made:?}");
    let open = LockedVault::open(&path, Access::ReadWrite).unwrap();
    assert!(open.unverified().is_some());
}

#[test]
fn a_calibrated_cost_is_never_below_the_floor() {
    let around = tempfile::tempdir().unwrap();
    let options = CreateOptions {
        password: password("p"),
        cost: KdfCost::Calibrated(Duration::from_millis(1)),
    };
    let path = around.path().join("vault");
    let (vault, _) = UnlockedVault::create(&path, &options, put_database).unwrap();
    assert!(vault.slots()[0].rounds().unwrap() >= Rounds::FLOOR);
}
