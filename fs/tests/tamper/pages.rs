//! Older pages of the database put back: each verifies by itself.

use std::fs;

use keyfold_fs::check::ReadData;
use keyfold_fs::events::EventKind;
use keyfold_fs::vault::Access;
use keyfold_fs::volume::{Verification, Verify, VolumeState};

use crate::site::{How, READING, Site, WRITING, patch};
use crate::tree::{self, assert_committed_or_eio};

const PAGE: usize = 4096;

#[test]
fn any_older_page_put_back_is_noticed() {
    let site = Site::with_files();
    let old = fs::read(site.vault().join("meta.db")).unwrap();
    site.change_files();
    let committed = site.tree();
    let database = site.vault().join("meta.db");
    let new = fs::read(&database).unwrap();
    let (mut changed, mut harmless) = (0, Vec::new());
    for (number, (was, is)) in old.chunks(PAGE).zip(new.chunks(PAGE)).enumerate() {
        if was == is {
            continue;
        }
        changed += 1;
        let at = (number * PAGE) as u64;
        patch(&database, at, was);
        let found = match site.open(READING) {
            Ok(volume) => {
                let when = format!("page {number}");
                assert_committed_or_eio(&tree::read(&volume), &committed, &when);
                volume.close().unwrap();
                false
            }
            Err(refused) => {
                assert!(refused.is_damage() || refused.is_not_as_seen(), "{refused}");
                true
            }
        };
        if !found {
            harmless.push(number);
        }
        let checked = site.check(ReadData::Yes);
        let told = checked.map_or(true, |report| report.damaged() > 0);
        assert!(told, "check finds nothing wrong with page {number}");
        patch(&database, at, is);
    }
    assert!(changed > 8, "{changed} pages changed");
    assert_eq!(harmless, [0usize; 0], "pages that went unnoticed");
    assert_eq!(site.check(ReadData::Yes).unwrap().damaged(), 0);
}

#[test]
fn an_older_page_put_back_is_noticed_while_a_large_vault_is_served() {
    let site = Site::with_files();
    let database = site.vault().join("meta.db");
    let old = fs::read(&database).unwrap();
    site.change_files();
    let new = fs::read(&database).unwrap();
    let later = How {
        verify: Verify::Later,
        ..WRITING
    };
    let mut noticed = 0;
    for (number, (was, is)) in old.chunks(PAGE).zip(new.chunks(PAGE)).enumerate() {
        if was == is {
            continue;
        }
        site.keep("whole");
        patch(&database, (number * PAGE) as u64, was);
        if let Ok(volume) = site.open(later) {
            assert_eq!(volume.verified(), Verification::Damaged, "page {number}");
            let status = volume.status();
            assert_eq!(status.state, VolumeState::Failed, "page {number}");
            assert!(status.reason.unwrap().contains("not what was committed"));
            let told = status
                .events
                .iter()
                .any(|e| matches!(e.kind, EventKind::State | EventKind::DatabasePage));
            assert!(told, "page {number}: {:?}", status.events);
            let _ = volume.close();
            noticed += 1;
        }
        site.bring_back("whole");
        fs::remove_dir_all(site.path("whole")).unwrap();
    }
    assert!(noticed > 3, "{noticed} pages let the vault open at first");
}

#[test]
fn a_vault_that_is_whole_is_verified_and_says_so() {
    let site = Site::with_files();
    for verify in [Verify::First, Verify::BySize, Verify::Later] {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let how = How {
                access,
                verify,
                ..WRITING
            };
            let volume = site.open(how).unwrap();
            assert_eq!(volume.verified(), Verification::Verified, "{how:?}");
            assert_eq!(volume.status().security_events, 0);
            volume.close().unwrap();
        }
    }
}
