use std::fs;

use keyfold_crypto::RecoveryKey;
use keyfold_fs::vault::{
    Damage, Revision, SLOT_LIMIT, Secret, SlotId, SlotKind, SlotLabel, UnlockedVault, VaultError,
};

use super::fixture::{Fixture, PASSWORD, cheap, password};

fn label(text: &str) -> SlotLabel {
    SlotLabel::new(text).unwrap()
}

#[test]
fn an_added_password_opens_the_vault_beside_the_first() {
    let vault = Fixture::new();
    let id = vault
        .recover()
        .unwrap()
        .add_password(label("office"), &password("second"), cheap())
        .unwrap();
    assert_eq!(id, SlotId(3));
    assert_eq!(vault.open("second").unwrap().opened_with(), id);
    let open = vault.open(PASSWORD).unwrap();
    assert_eq!(open.opened_with(), SlotId(1));
    let slot = &open.slots()[2];
    assert_eq!((slot.id(), slot.kind()), (id, SlotKind::Password));
    assert_eq!(slot.label().as_str(), "office");
    assert_eq!(open.superblock().revision(), Revision(2));
}

#[test]
fn a_changed_password_opens_and_the_old_one_does_not() {
    let vault = Fixture::new();
    let mut open = vault.open(PASSWORD).unwrap();
    let slot = open.opened_with();
    open.change_password(slot, &password("new"), cheap())
        .unwrap();
    drop(open);
    assert_eq!(vault.open("new").unwrap().opened_with(), slot);
    let error = vault.open(PASSWORD).unwrap_err();
    assert!(matches!(error, VaultError::WrongSecret { .. }), "{error}");
    vault.recover().unwrap();
}

#[test]
fn a_changed_password_does_not_open_through_an_older_copy() {
    let vault = Fixture::new();
    let older = fs::read(vault.backup()).unwrap();
    vault
        .recover()
        .unwrap()
        .change_password(SlotId(1), &password("new"), cheap())
        .unwrap();
    for stale in [vault.backup(), vault.primary()] {
        let newer = fs::read(&stale).unwrap();
        fs::write(&stale, &older).unwrap();
        let error = vault.open(PASSWORD).unwrap_err();
        assert!(matches!(error, VaultError::WrongSecret { .. }), "{error}");
        let open = vault.open("new").unwrap();
        let health = open.health();
        assert!(
            [health.primary, health.backup].contains(&Some(Damage::Stale)),
            "{health:?}"
        );
        fs::write(&stale, newer).unwrap();
    }
}

#[test]
fn a_removed_slot_opens_nothing() {
    let vault = Fixture::new();
    vault.recover().unwrap().remove_slot(SlotId(1)).unwrap();
    assert!(matches!(
        vault.open(PASSWORD),
        Err(VaultError::WrongSecret { .. })
    ));
    assert_eq!(vault.recover().unwrap().slots().len(), 1);
}

#[test]
fn the_last_slot_is_kept() {
    let vault = Fixture::new();
    let mut open = vault.recover().unwrap();
    open.remove_slot(SlotId(1)).unwrap();
    let error = open.remove_slot(SlotId(2)).unwrap_err();
    assert!(
        matches!(error, VaultError::LastSlot { slot: SlotId(2) }),
        "{error}"
    );
    drop(open);
    vault.recover().unwrap();
}

#[test]
fn a_lost_recovery_key_is_replaced_by_a_new_one() {
    let vault = Fixture::new();
    let mut open = vault.open(PASSWORD).unwrap();
    let (id, key) = open.add_recovery(label("new sheet")).unwrap();
    open.remove_slot(SlotId(2)).unwrap();
    drop(open);
    let key = RecoveryKey::parse(&key.to_words()).unwrap();
    let open = vault
        .locked()
        .unwrap()
        .unlock(&Secret::Recovery(key))
        .unwrap();
    assert_eq!(open.opened_with(), id);
    drop(open);
    assert!(matches!(
        vault.recover(),
        Err(VaultError::WrongSecret { .. })
    ));
}

#[test]
fn slots_that_do_not_exist_are_refused() {
    let vault = Fixture::new();
    let mut open = vault.recover().unwrap();
    let missing = SlotId(9);
    assert!(matches!(
        open.remove_slot(missing),
        Err(VaultError::NoSuchSlot { .. })
    ));
    for not_a_password in [missing, SlotId(2)] {
        let error = open
            .change_password(not_a_password, &password("x"), cheap())
            .unwrap_err();
        assert!(matches!(error, VaultError::NoSuchSlot { .. }), "{error}");
    }
    assert_eq!(open.superblock().revision(), Revision(1));
}

#[test]
fn more_slots_than_the_limit_are_refused() {
    let vault = Fixture::new();
    let mut open = vault.recover().unwrap();
    while open.slots().len() < SLOT_LIMIT {
        open.add_recovery(label("more")).unwrap();
    }
    let error = open.add_recovery(label("more")).unwrap_err();
    assert!(matches!(error, VaultError::TooManySlots { .. }), "{error}");
    drop(open);
    assert_eq!(vault.recover().unwrap().slots().len(), SLOT_LIMIT);
}

#[test]
fn labels_that_could_upset_a_terminal_are_refused() {
    for bad in ["", "two\nlines", "\u{1b}[2J", "\u{9b}31m", &"x".repeat(65)] {
        assert!(
            matches!(SlotLabel::new(bad), Err(VaultError::BadLabel)),
            "{bad:?}"
        );
    }
    for good in ["x", "Büro ☕", &"x".repeat(64)] {
        assert_eq!(label(good).as_str(), good);
    }
}

#[test]
fn a_lost_or_damaged_copy_is_told_and_healed_by_the_next_change() {
    let heal = |open: &mut UnlockedVault| open.heal().unwrap();
    let change = |open: &mut UnlockedVault| {
        open.add_recovery(label("x")).unwrap();
    };
    for write in [&heal as &dyn Fn(&mut UnlockedVault), &change] {
        let vault = Fixture::new();
        for copy in [vault.primary(), vault.backup()] {
            fs::remove_file(&copy).unwrap();
            let mut open = vault.recover().unwrap();
            let health = *open.health();
            assert!(
                [health.primary, health.backup].contains(&Some(Damage::Absent)),
                "{health:?}"
            );
            write(&mut open);
            assert!(open.health().is_sound());
            drop(open);
            assert_eq!(
                fs::read(vault.primary()).unwrap(),
                fs::read(vault.backup()).unwrap()
            );
            assert!(vault.recover().unwrap().health().is_sound());
        }
    }
}

#[test]
fn leftovers_of_an_interrupted_change_do_not_hinder() {
    let vault = Fixture::new();
    fs::write(vault.path.join("superblock.json.new"), b"torn").unwrap();
    fs::write(vault.path.join("superblock.bak.new"), b"").unwrap();
    let mut open = vault.recover().unwrap();
    assert!(open.health().is_sound());
    open.add_recovery(label("x")).unwrap();
    assert!(!vault.path.join("superblock.json.new").exists());
    assert!(!vault.path.join("superblock.bak.new").exists());
}

#[test]
fn a_change_of_which_one_copy_was_written_is_in_force() {
    let vault = Fixture::new();
    // A directory cannot be replaced by renaming a file over it.
    fs::remove_file(vault.backup()).unwrap();
    fs::create_dir(vault.backup()).unwrap();
    let mut open = vault.recover().unwrap();
    assert_eq!(open.health().backup, Some(Damage::NotAFile));
    // The worse copy goes first and fails, so nothing changes.
    let error = open.remove_slot(SlotId(1)).unwrap_err();
    assert!(matches!(error, VaultError::Io { .. }), "{error}");
    assert_eq!(open.slots().len(), 2);
    drop(open);
    let open = vault.open(PASSWORD).unwrap();
    drop(open);

    // Here the copy becomes irreplaceable after the vault was opened.
    fs::remove_dir(vault.backup()).unwrap();
    vault.recover().unwrap().heal().unwrap();
    let mut open = vault.recover().unwrap();
    fs::remove_file(vault.backup()).unwrap();
    fs::create_dir(vault.backup()).unwrap();
    let error = open.remove_slot(SlotId(1)).unwrap_err();
    assert!(matches!(error, VaultError::HalfWritten { .. }), "{error}");
    assert_eq!(open.slots().len(), 1);
    assert_eq!(open.health().backup, Some(Damage::Stale));
    drop(open);
    assert!(matches!(
        vault.open(PASSWORD),
        Err(VaultError::WrongSecret { .. })
    ));
}

#[test]
fn a_copy_is_replaced_whole_and_never_written_over() {
    let vault = Fixture::new();
    let before = fs::read_to_string(vault.primary()).unwrap();
    let held = [vault.primary(), vault.backup()].map(|copy| fs::File::open(copy).unwrap());
    vault.recover().unwrap().add_recovery(label("x")).unwrap();
    assert_ne!(fs::read_to_string(vault.primary()).unwrap(), before);
    for file in held {
        assert_eq!(std::io::read_to_string(file).unwrap(), before);
    }
}
