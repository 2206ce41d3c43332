use std::fs;

use keyfold_fs::vault::{Access, LockedVault, Secret, SlotLabel, VaultError};

use super::fixture::{PASSWORD, SmallDisk, cheap, create_at, names_in, password};

/// Tries ever larger disks until making a vault succeeds, and checks each failure.
fn fails_cleanly_until_it_fits(limits: impl Fn(u32) -> String) -> u32 {
    for n in 1..100 {
        let disk = SmallDisk::new(&limits(n));
        let path = disk.root.join("vault");
        match create_at(&path) {
            Ok(_) => return n,
            Err(error) => {
                assert!(matches!(error, VaultError::NoSpace { .. }), "{n}: {error}");
                assert_eq!(names_in(&disk.root), [""; 0], "{n}");
            }
        }
    }
    panic!("never fitted");
}

#[test]
fn making_a_vault_on_a_full_disk_leaves_nothing_behind() {
    let needed = fails_cleanly_until_it_fits(|n| format!("size={}k", 4 * n));
    assert!(
        needed > 2,
        "the disk was never full: {needed} pages were enough"
    );
}

#[test]
fn making_a_vault_without_free_inodes_leaves_nothing_behind() {
    // The vault, its six entries and the two temporary files.
    let needed = fails_cleanly_until_it_fits(|n| format!("size=1m,nr_inodes={n}"));
    assert!(needed > 6, "inodes never ran out: {needed} were enough");
}

#[test]
fn a_vault_on_a_full_disk_opens_and_a_change_that_does_not_fit_changes_nothing() {
    let disk = SmallDisk::new("size=256k");
    let path = disk.root.join("vault");
    let slots = {
        let (vault, _) = create_at(&path).unwrap();
        vault.slots().to_vec()
    };
    let filler = disk.fill();
    let names = names_in(&path);
    let open = || {
        LockedVault::open(&path, Access::ReadWrite)
            .unwrap()
            .unlock(&Secret::Password(password(PASSWORD)))
            .unwrap()
    };
    let mut vault = open();
    let label = || SlotLabel::new("second").unwrap();
    let error = vault
        .add_password(label(), &password("second"), cheap())
        .unwrap_err();
    assert!(matches!(error, VaultError::NoSpace { .. }), "{error}");
    assert_eq!(vault.slots(), slots, "in memory");
    drop(vault);
    assert_eq!(names_in(&path), names, "no temporary file stays");
    let vault = open();
    assert_eq!(vault.slots(), slots, "on disk");
    assert!(vault.health().is_sound());
    drop(vault);

    fs::remove_file(filler).unwrap();
    open()
        .add_password(label(), &password("second"), cheap())
        .unwrap();
    assert_eq!(open().slots().len(), 3);
}
