//! Going back to a snapshot by repairing is a commit like any other: what was last seen of the
//! vault follows, so that the next mount opens it and a copy from before the repair is refused.

use std::fs;

use keyfold_fs::layout::ImageKind;
use keyfold_fs::repair::{RepairError, RepairOptions, RepairReport, repair};
use keyfold_fs::vault::{LockedVault, Rollback};
use keyfold_fs::vfs::{Ino, Vfs};

use crate::site::{Refusal, Site, WRITING, file, pattern};
use crate::tree::Tree;

/// A vault with a snapshot `kept`, which shows `Tree`, and files made and changed since.
fn site() -> (Site, Tree) {
    let site = Site::with_files();
    let shown = site.tree();
    let volume = site.open(WRITING).unwrap();
    volume
        .keep_image(ImageKind::Snapshot, Some("kept"))
        .unwrap();
    file(&volume, Ino::ROOT, "since", &pattern(9000, 7));
    for number in 0..20 {
        volume.sync().unwrap();
        file(&volume, Ino::ROOT, &format!("{number}"), b"later");
    }
    volume.close().unwrap();
    drop(volume);
    site.change_files();
    (site, shown)
}

fn repaired(
    site: &Site,
    from: Option<&str>,
    rollback: Rollback,
) -> Result<RepairReport, RepairError> {
    let locked = LockedVault::open_for_repair(&site.vault()).unwrap();
    let mut vault = locked.unlock(&site.recovery()).unwrap();
    vault.hold_to_pin(&site.pins(), rollback).unwrap();
    let options = RepairOptions {
        from: from.map(str::to_owned),
        ..RepairOptions::default()
    };
    repair(vault, &options, &mut |_| {})
}

fn refused_as_older(site: &Site) -> bool {
    site.open(WRITING)
        .err()
        .is_some_and(|why: Refusal| why.is_not_as_seen())
}

fn assert_goes_on_from(site: &Site, shown: &Tree) {
    assert!(site.tree() == *shown, "it holds what the snapshot showed");
    let volume = site.open(WRITING).unwrap();
    assert_eq!(volume.status().security_events, 0);
    file(&volume, Ino::ROOT, "afterwards", b"goes on");
    volume.close().unwrap();
    drop(volume);
    assert!(site.open(WRITING).is_ok());
}

#[test]
fn a_vault_restored_from_a_snapshot_mounts_and_one_from_before_the_repair_does_not() {
    let (site, shown) = site();
    site.keep("before");
    fs::remove_file(site.vault().join("meta.db")).unwrap();
    let report = repaired(&site, None, Rollback::Refuse).unwrap();
    assert_eq!(report.restored.unwrap().name, "kept");
    site.keep("after");
    site.bring_back("before");
    assert!(refused_as_older(&site), "the lost database put back");
    site.bring_back("after");
    assert_goes_on_from(&site, &shown);
}

#[test]
fn a_vault_gone_back_to_a_snapshot_mounts_and_one_from_before_does_not() {
    let (site, shown) = site();
    site.keep("before");
    let report = repaired(&site, Some("kept"), Rollback::Refuse).unwrap();
    assert_eq!(report.restored.unwrap().name, "kept");
    site.keep("after");
    site.bring_back("before");
    assert!(refused_as_older(&site), "the state gone back from");
    site.bring_back("after");
    assert_goes_on_from(&site, &shown);
}

#[test]
fn an_older_copy_is_repaired_only_when_it_is_accepted() {
    let (site, _) = site();
    site.keep("old");
    site.change_files_again();
    let newest = site.tree();
    site.keep("new");
    site.bring_back("old");
    let refused = repaired(&site, None, Rollback::Refuse);
    assert!(
        matches!(refused, Err(RepairError::Volume(_))),
        "{refused:?}"
    );
    site.bring_back("new");
    assert!(site.tree() == newest, "the refusal has changed nothing");
    site.bring_back("old");
    repaired(&site, None, Rollback::Accept).unwrap();
    assert!(
        site.open(WRITING).is_ok(),
        "accepted for writing, it is what was last seen from then on"
    );
    site.bring_back("new");
    assert!(
        site.open(WRITING).is_ok(),
        "the newer one is none the worse"
    );
}
