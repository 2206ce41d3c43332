//! Kept images altered, or put together from several: each page of them verifies by itself.

use std::fs;

use keyfold_fs::error::FsError;
use keyfold_fs::events::EventKind;
use keyfold_fs::layout::{ImageId, ImageKind};
use keyfold_fs::vfs::Ino;
use keyfold_fs::volume::{Verification, Verify, Volume};

use crate::site::{How, Site, WRITING, file, patch};
use crate::tree::{self, Tree};

const PAGE: usize = 4096;

/// Two images of one database, with different files in them.
struct Two {
    site: Site,
    old: ImageId,
    new: ImageId,
}

impl Two {
    fn new() -> Self {
        let site = Site::with_files();
        let volume = site.open(WRITING).unwrap();
        let keep = |name| {
            let kept = volume.keep_image(ImageKind::Snapshot, Some(name));
            kept.unwrap().id
        };
        let old = keep("old");
        for number in 0..40 {
            file(&volume, Ino::ROOT, &format!("since-{number}"), b"content");
        }
        let new = keep("new");
        volume.close().unwrap();
        Self { site, old, new }
    }

    fn path(&self, id: ImageId) -> std::path::PathBuf {
        self.site.vault().join(format!("images/{:06}.db", id.0))
    }
}

fn read(volume: &Volume, id: ImageId) -> Result<Tree, FsError> {
    volume.with_image(id, tree::read)
}

fn tells_of(volume: &Volume, id: ImageId) -> bool {
    let events = volume.status().events;
    events.iter().any(|e| e.kind == EventKind::Image(id.0))
}

#[test]
fn an_older_page_put_into_an_image_is_refused_and_told() {
    let two = Two::new();
    let (old, new) = (two.path(two.old), two.path(two.new));
    let (was, is) = (fs::read(old).unwrap(), fs::read(&new).unwrap());
    let mut changed = 0;
    for (number, (was, is)) in was.chunks(PAGE).zip(is.chunks(PAGE)).enumerate() {
        if was == is {
            continue;
        }
        changed += 1;
        patch(&new, (number * PAGE) as u64, was);
        let volume = two.site.open(WRITING).unwrap();
        let shown = read(&volume, two.new);
        assert_eq!(shown.err(), Some(FsError::Database), "page {number}");
        assert!(tells_of(&volume, two.new), "page {number} is told");
        assert!(read(&volume, two.old).is_ok(), "page {number}: the other");
        volume.close().unwrap();
        patch(&new, (number * PAGE) as u64, is);
    }
    assert!(changed > 4, "{changed} pages changed");
    let volume = two.site.open(WRITING).unwrap();
    assert!(read(&volume, two.new).is_ok());
    assert_eq!(volume.status().security_events, 0);
}

#[test]
fn an_altered_image_that_is_verified_beside_is_read_no_more_once_it_is_found() {
    let two = Two::new();
    let (old, new) = (two.path(two.old), two.path(two.new));
    let (was, is) = (fs::read(old).unwrap(), fs::read(&new).unwrap());
    let later = How {
        verify: Verify::Later,
        ..WRITING
    };
    let mut shown = 0;
    for (number, (was, is)) in was.chunks(PAGE).zip(is.chunks(PAGE)).enumerate() {
        if was == is {
            continue;
        }
        patch(&new, (number * PAGE) as u64, was);
        let volume = two.site.open(later).unwrap();
        if let Ok(found) = volume.with_image(two.new, Volume::verified) {
            assert_eq!(found, Verification::Damaged, "page {number}");
            shown += 1;
        }
        assert_eq!(
            read(&volume, two.new).err(),
            Some(FsError::Database),
            "page {number}"
        );
        assert!(tells_of(&volume, two.new), "page {number} is told");
        file(&volume, Ino::ROOT, &format!("live-{number}"), b"goes on");
        volume.close().unwrap();
        patch(&new, (number * PAGE) as u64, is);
    }
    assert!(shown > 0, "no page let the image open at first");
}

#[test]
fn an_altered_byte_of_an_image_is_refused_or_an_error_and_told() {
    let two = Two::new();
    let new = two.path(two.new);
    let is = fs::read(&new).unwrap();
    for at in (0..is.len()).step_by(PAGE / 2 + 7) {
        patch(&new, at as u64, &[is[at] ^ 0x40]);
        let volume = two.site.open(WRITING).unwrap();
        let shown = read(&volume, two.new);
        assert_eq!(shown.err(), Some(FsError::Database), "byte {at}");
        assert!(tells_of(&volume, two.new), "byte {at} is told");
        volume.close().unwrap();
        patch(&new, at as u64, &is[at..=at]);
    }
}

#[test]
fn a_block_altered_beneath_a_snapshot_is_told_where_the_volume_is_asked() {
    let two = Two::new();
    let volume = two.site.open(WRITING).unwrap();
    let segment = two.site.vault().join("segments/000001");
    let is = fs::read(&segment).unwrap();
    for at in (0..is.len()).step_by(PAGE) {
        patch(&segment, at as u64, &[is[at] ^ 1]);
    }
    let shown = read(&volume, two.old);
    drop(shown);
    let events = volume.status().events;
    let blocks = |e: &keyfold_fs::events::SecurityEvent| matches!(e.kind, EventKind::Block(_));
    assert!(events.iter().any(blocks), "{events:?}");
}
