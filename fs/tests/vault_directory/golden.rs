use std::fs;
use std::path::Path;

use data_encoding::HEXLOWER;
use keyfold_crypto::RecoveryKey;
use keyfold_fs::vault::{Access, LockedVault, Revision, Secret, SlotId, restore_header};

use super::fixture::password;

/// Written once by format version 1. Every later Keyfold has to open it.
const SUPERBLOCK: &str = include_str!("golden/superblock-1.json");
const PASSWORD: &str = "golden password";
const RECOVERY: &str = "2BYA-PD4Y-SR2A-THRC-JGK7-XQCE-6KA6-Y8HJ-AV0V-5W4Q-7PWB-0EC2-3HNT-YZW3";
const DATABASE_KEY: &str = "871fed1e83389bfaedb2ad26075d3422b1336f578ca2c6f77d4159fbfce75e10";

fn database_key(vault: &Path, secret: &Secret) -> (SlotId, String) {
    let vault = LockedVault::open(vault, Access::ReadWrite)
        .unwrap()
        .unlock(secret)
        .unwrap();
    assert!(vault.health().is_sound());
    assert_eq!(vault.superblock().revision(), Revision(1));
    assert_eq!(vault.id().to_string(), "b2d82a0b31ea29d6adf2e52eb51560ad");
    (
        vault.opened_with(),
        HEXLOWER.encode(vault.master().meta_db_key().expose()),
    )
}

#[test]
fn a_superblock_of_format_version_1_opens_by_password_and_recovery_key() {
    let vault = tempfile::tempdir().unwrap();
    fs::create_dir(vault.path().join("segments")).unwrap();
    fs::write(vault.path().join("meta.db"), b"").unwrap();
    for copy in ["superblock.json", "superblock.bak"] {
        fs::write(vault.path().join(copy), SUPERBLOCK).unwrap();
    }
    let by_password = database_key(vault.path(), &Secret::Password(password(PASSWORD)));
    assert_eq!(by_password, (SlotId(1), DATABASE_KEY.to_owned()));
    let recovery = Secret::Recovery(RecoveryKey::parse(RECOVERY).unwrap());
    assert_eq!(
        database_key(vault.path(), &recovery),
        (SlotId(2), DATABASE_KEY.to_owned())
    );
}

#[test]
fn a_superblock_is_written_as_format_version_1_writes_it() {
    let vault = tempfile::tempdir().unwrap();
    fs::create_dir(vault.path().join("segments")).unwrap();
    fs::write(vault.path().join("meta.db"), b"").unwrap();
    let header = vault.path().join("header");
    fs::write(&header, SUPERBLOCK).unwrap();
    restore_header(vault.path(), &header).unwrap();
    for copy in ["superblock.json", "superblock.bak"] {
        assert_eq!(
            fs::read_to_string(vault.path().join(copy)).unwrap(),
            SUPERBLOCK
        );
    }
}
