//! `check --repair`: what a user sees when a vault's metadata is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use keyfold_tests::{Vault, keyfold, pattern, shell};

const DAMAGED: i32 = 13;
const IN_USE: i32 = 11;

/// A vault whose unmounting kept a snapshot.
fn with_snapshot() -> Vault {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::create_dir(mount.join("docs")).unwrap();
    fs::write(mount.join("docs/letter"), pattern(1, 700_000)).unwrap();
    fs::write(mount.join("docs/other"), pattern(2, 900_000)).unwrap();
    mount.unmount();
    vault
}

#[test]
fn a_lost_database_is_told_and_comes_back_with_one_command() {
    let vault = with_snapshot();
    fs::remove_file(vault.path().join("meta.db")).unwrap();
    let point = vault.mount_point().to_str().unwrap().to_owned();
    let refused = vault.keyfold("mount", &[&point]);
    assert_eq!(refused.code, Some(DAMAGED), "{refused}");
    assert!(
        refused.stderr.contains("keyfold check --repair"),
        "{refused}"
    );
    let repaired = vault.keyfold("check", &["--repair", "--read-data"]);
    repaired.expect_success("check --repair");
    assert!(repaired.stdout.contains("restored: "), "{repaired}");
    let mount = vault.mount();
    assert!(fs::read(mount.join("docs/letter")).unwrap() == pattern(1, 700_000));
    fs::write(mount.join("docs/new"), "new").unwrap();
    mount.unmount();
    vault.check();
}

#[test]
fn a_damaged_database_names_the_snapshots_and_is_kept_aside() {
    let vault = with_snapshot();
    let database = vault.path().join("meta.db");
    let length = fs::metadata(&database).unwrap().len();
    fs::write(&database, vec![7; length as usize]).unwrap();
    let point = vault.mount_point().to_str().unwrap().to_owned();
    let refused = vault.keyfold("mount", &[&point]);
    assert_eq!(refused.code, Some(DAMAGED), "{refused}");
    assert!(refused.stderr.contains("There is auto-"), "{refused}");
    let repaired = vault.keyfold("check", &["--repair", "--json"]);
    repaired.expect_success("check --repair");
    let report: serde_json::Value = serde_json::from_str(&repaired.stdout).unwrap();
    assert!(
        report["restored"]["name"]
            .as_str()
            .unwrap()
            .starts_with("auto-")
    );
    assert_eq!(report["check"]["state"], "intact");
    let aside = report["aside"].as_str().unwrap();
    let kept = fs::read(format!("{aside}/meta.db")).unwrap();
    assert!(kept == vec![7; length as usize]);
    vault.mount().unmount();
}

#[test]
fn files_with_damaged_content_are_listed_by_name_and_the_log_has_none() {
    let vault = with_snapshot();
    let segments = vault.path().join("segments");
    let segment = fs::read_dir(segments).unwrap().next().unwrap().unwrap();
    let file = OpenOptions::new().write(true).open(segment.path()).unwrap();
    file.write_all_at(&[1; 100], 4096).unwrap();
    let repaired = vault.keyfold("check", &["--repair", "--read-data"]);
    assert_eq!(repaired.code, Some(DAMAGED), "{repaired}");
    let named = ["/docs/letter", "/docs/other"];
    assert!(
        named.iter().any(|n| repaired.stdout.contains(n)),
        "{repaired}"
    );
    assert!(!repaired.stderr.contains("letter"), "{repaired}");
    let mount = vault.mount();
    assert_eq!(
        shell(mount.path(), "ls docs | tr '\\n' ' '"),
        "letter other"
    );
    mount.unmount();
}

#[test]
fn a_mounted_vault_is_not_repaired() {
    let vault = with_snapshot();
    let mount = vault.mount();
    for place in [mount.path(), vault.path()] {
        let refused = keyfold(["check".as_ref(), place.as_os_str(), "--repair".as_ref()]);
        assert_eq!(refused.code, Some(IN_USE), "{refused}");
    }
    mount.unmount();
    vault
        .keyfold("check", &["--repair"])
        .expect_success("nothing to repair");
    assert!(!vault.path().join("damaged").exists());
}

#[test]
fn going_back_to_a_snapshot_by_name() {
    let vault = with_snapshot();
    let mount = vault.mount();
    let root = mount.path().to_str().unwrap().to_owned();
    keyfold(["snapshot", "create", &root, "good"]).expect_success("snapshot");
    fs::remove_dir_all(mount.join("docs")).unwrap();
    mount.unmount();
    let unknown = vault.keyfold("check", &["--repair", "--from", "bad"]);
    assert_eq!(unknown.code, Some(40), "{unknown}");
    assert!(unknown.stderr.contains("good"), "{unknown}");
    vault
        .keyfold("check", &["--repair", "--from", "good"])
        .expect_success("going back");
    let mount = vault.mount();
    assert!(fs::read(mount.join("docs/other")).unwrap() == pattern(2, 900_000));
    mount.unmount();
    vault.check();
}
