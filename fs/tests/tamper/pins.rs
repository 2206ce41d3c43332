//! Attacks 16 and 17: an older vault, or another one, in the place of the vault.

use std::fs;
use std::os::unix::fs::MetadataExt;

use keyfold_crypto::Password;
use keyfold_fs::check::ReadData;
use keyfold_fs::events::EventKind;
use keyfold_fs::vault::{Access, KdfCost, Secret, SlotId};
use keyfold_fs::vfs::{Ino, Vfs};
use keyfold_fs::volume::Verify;

use crate::site::{ACCEPTING, How, PASSWORD, READING, Site, WRITING, copy_tree, file};

fn secret(password: &str) -> Secret {
    Secret::Password(Password::new(password.to_owned()))
}

fn cheap() -> KdfCost {
    KdfCost::Fixed(keyfold_crypto::Rounds::new(keyfold_crypto::Rounds::FLOOR).unwrap())
}

#[test]
fn an_older_copy_of_the_whole_vault_is_refused() {
    let site = Site::with_files();
    site.keep("old");
    site.change_files();
    site.bring_back("old");
    for how in [WRITING, READING] {
        let refused = site.open(how).map(drop).unwrap_err();
        assert!(refused.is_not_as_seen(), "{refused}");
        let said = refused.to_string();
        assert!(
            said.contains("older") && said.contains("--accept-rollback"),
            "{said}"
        );
    }
    let checked = site.check(ReadData::No).map(drop).unwrap_err();
    assert!(checked.is_not_as_seen(), "{checked}");
}

#[test]
fn an_older_copy_is_served_once_it_is_accepted_and_pinned_then() {
    let site = Site::with_files();
    let old = site.tree();
    site.keep("old");
    site.change_files();
    site.keep("new");
    site.bring_back("old");
    let reading = How {
        access: Access::ReadOnly,
        ..ACCEPTING
    };
    let volume = site.open(reading).unwrap();
    assert_eq!(crate::tree::read(&volume), old);
    let events = volume.status().events;
    assert_eq!(events[0].kind, EventKind::RollbackAccepted);
    drop(volume);
    let again = site.open(WRITING).map(drop).unwrap_err();
    assert!(
        again.is_not_as_seen(),
        "reading it once changes nothing: {again}"
    );
    site.open(ACCEPTING).unwrap().close().unwrap();
    site.open(WRITING).unwrap().close().unwrap();
    assert_eq!(site.tree(), old);
}

#[test]
fn another_vault_of_the_same_age_is_refused() {
    let site = Site::with_files();
    site.keep("common");
    site.change_files();
    // The same vault, used elsewhere from the common state on, for as many commits.
    let commit = site.open(READING).unwrap().status().commit;
    let pins = site.pins();
    fs::rename(&pins, site.path("pins-here")).unwrap();
    site.bring_back("common");
    let volume = site.open(WRITING).unwrap();
    while volume.status().commit < commit {
        file(
            &volume,
            Ino::ROOT,
            &format!("x{}", volume.status().commit),
            b"x",
        );
        volume.sync().unwrap();
    }
    assert_eq!(volume.status().commit, commit);
    volume.close().unwrap();
    drop(volume);
    fs::rename(&pins, site.path("pins-elsewhere")).unwrap();
    fs::rename(site.path("pins-here"), &pins).unwrap();
    let refused = site.open(WRITING).map(drop).unwrap_err();
    assert!(refused.is_not_as_seen(), "{refused}");
    assert!(refused.to_string().contains("other content"), "{refused}");
}

#[test]
fn a_whole_other_vault_with_the_same_password_is_refused() {
    let (site, other) = (Site::with_files(), Site::with_files());
    copy_tree(&other.vault(), &site.path("other"));
    site.bring_back("other");
    let refused = site
        .unlock(&secret(PASSWORD), WRITING)
        .map(drop)
        .unwrap_err();
    assert!(refused.is_not_as_seen(), "{refused}");
    assert!(refused.to_string().contains("last seen here"), "{refused}");
    // Once accepted it is at home there.
    let volume = site.unlock(&secret(PASSWORD), ACCEPTING).unwrap();
    crate::site::open_volume(volume, Verify::BySize)
        .unwrap()
        .close()
        .unwrap();
    site.unlock(&secret(PASSWORD), WRITING).unwrap();
}

#[test]
fn an_older_superblock_does_not_bring_an_old_password_back() {
    let site = Site::with_files();
    site.keep("old");
    let mut vault = site.unlock(&site.recovery(), WRITING).unwrap();
    vault
        .change_password(SlotId(1), &Password::new("a new one".to_owned()), cheap())
        .unwrap();
    drop(vault);
    for copy in ["superblock.json", "superblock.bak"] {
        fs::copy(site.path("old").join(copy), site.vault().join(copy)).unwrap();
    }
    for how in [WRITING, READING] {
        let refused = site.unlock(&secret(PASSWORD), how).map(drop).unwrap_err();
        assert!(refused.is_not_as_seen(), "{refused}");
        assert!(refused.to_string().contains("key slots"), "{refused}");
    }
}

#[test]
fn a_vault_that_was_never_seen_and_one_that_moved_open() {
    let site = Site::with_files();
    fs::remove_dir_all(site.pins()).unwrap();
    site.open(WRITING).unwrap().close().unwrap();
    fs::rename(site.vault(), site.path("w")).unwrap();
    fs::create_dir(site.path("a")).unwrap();
    fs::rename(site.path("w"), site.path("a/w")).unwrap();
    std::os::unix::fs::symlink("a/w", site.vault()).unwrap();
    site.open(WRITING).unwrap().close().unwrap();
}

#[test]
fn a_damaged_pin_is_told_and_can_be_replaced() {
    let site = Site::with_files();
    let pin = fs::read_dir(site.pins())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = fs::read(&pin).unwrap();
    for at in (0..161).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(&pin, bytes).unwrap();
        let refused = site.open(WRITING).map(drop).unwrap_err();
        assert!(refused.is_not_as_seen(), "byte {at}: {refused}");
    }
    fs::write(&pin, &whole[..100]).unwrap();
    assert!(site.open(WRITING).is_err());
    site.open(ACCEPTING).unwrap().close().unwrap();
    site.open(WRITING).unwrap().close().unwrap();
}

#[test]
fn a_pin_of_another_vault_is_not_taken_for_its_own() {
    let (site, other) = (Site::with_files(), Site::with_files());
    let pin = |s: &Site| {
        fs::read_dir(s.pins())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path()
    };
    fs::copy(pin(&other), pin(&site)).unwrap();
    let refused = site.open(WRITING).map(drop).unwrap_err();
    assert!(refused.is_not_as_seen(), "{refused}");
}

#[test]
fn a_pin_never_names_what_a_crash_takes_away() {
    let site = Site::with_files();
    let volume = site.open(WRITING).unwrap();
    file(&volume, Ino::ROOT, "unsaved", b"x");
    volume.crash();
    drop(volume);
    let volume = site.open(WRITING).unwrap();
    let status = volume.status();
    assert_eq!(status.pinned_commit, Some(status.commit));
    assert_eq!(status.security_events, 0);
    volume.close().unwrap();
    drop(volume);
    assert_eq!(site.open(READING).unwrap().status().security_events, 0);
}

#[test]
fn what_is_kept_of_a_vault_says_nothing_but_its_id_and_place() {
    let site = Site::with_files();
    let file = fs::read_dir(site.pins()).unwrap().next().unwrap().unwrap();
    let bytes = fs::read(file.path()).unwrap();
    assert_eq!(
        &bytes[161..],
        site.vault()
            .canonicalize()
            .unwrap()
            .as_os_str()
            .as_encoded_bytes()
    );
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(site.pins()).unwrap().mode() & 0o777, 0o700);
    let (before, after) = (bytes, {
        site.open(WRITING).unwrap().close().unwrap();
        fs::read(file.path()).unwrap()
    });
    assert_eq!(before.len(), after.len());
}

#[test]
fn without_a_pin_to_hold_to_nothing_is_compared() {
    let site = Site::with_files();
    site.keep("old");
    site.change_files();
    site.bring_back("old");
    let locked = keyfold_fs::vault::LockedVault::open(&site.vault(), Access::ReadWrite).unwrap();
    let vault = locked.unlock(&site.recovery()).unwrap();
    let volume = crate::site::open_volume(vault, Verify::First).unwrap();
    assert_eq!(volume.status().pinned_commit, None);
    volume.close().unwrap();
}

#[test]
fn a_check_tells_of_a_superblock_copy_that_could_be_done_without() {
    let site = Site::with_files();
    let copy = site.vault().join("superblock.bak");
    let whole = fs::read(&copy).unwrap();
    for damage in [&whole[..100], b"", b"{}"] {
        fs::write(&copy, damage).unwrap();
        let report = site.check(ReadData::No).unwrap();
        assert_eq!(report.damaged(), 1, "{report}");
        assert!(report.to_string().contains("superblock.bak"), "{report}");
    }
    fs::remove_file(&copy).unwrap();
    assert_eq!(site.check(ReadData::No).unwrap().damaged(), 1);
    fs::write(&copy, &whole).unwrap();
    assert_eq!(site.check(ReadData::No).unwrap().damaged(), 0);
}
