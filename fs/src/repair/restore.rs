//! Putting a kept image in the place of the database.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RepairError;
use super::aside::Aside;
use crate::check::{self, CheckOptions, Progress};
use crate::error::FsError;
use crate::layout::{BLOCK_SIZE, ImageId, ImageKind, ImageRow, SegmentId, SegmentRow, StateRow};
use crate::meta::{Key, RowMap, Table, Writer};
use crate::vault::UnlockedVault;
use crate::vfs::Timestamp;
use crate::volume::{Volume, VolumeOptions, copy_durably, image_files, image_path};

const DATABASE: &str = "meta.db";
const LOG: &str = "meta.db-wal";
const JOURNAL: &str = "journal";

/// An image that is whole.
pub(super) struct Image {
    pub(super) id: ImageId,
    pub(super) row: ImageRow,
    state: StateRow,
    segments: BTreeMap<SegmentId, SegmentRow>,
    /// Rows that it has of images and what they hold.
    known: Vec<Key>,
}

/// The names of images.
pub(super) fn names(images: &[Image]) -> Vec<String> {
    images.iter().map(|i| i.row.name.clone()).collect()
}

/// The images that are whole, newest first.
pub(super) fn find(
    vault: &Arc<UnlockedVault>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Image>, RepairError> {
    let mut found = Vec::new();
    for id in image_files(vault.dir().path())? {
        found.extend(open(vault, id, progress));
    }
    found.sort_by_key(|image| std::cmp::Reverse((image.state.commit, image.id)));
    Ok(found)
}

/// Reads an image; `None` if it is not whole.
fn open(
    vault: &Arc<UnlockedVault>,
    id: ImageId,
    progress: &mut dyn FnMut(Progress),
) -> Option<Image> {
    let path = image_path(vault.dir().path(), id);
    let volume = Volume::open_image(vault, &path, VolumeOptions::unverified()).ok()?;
    let report = check::check(&volume, &CheckOptions::default(), progress).ok()?;
    if report.unusable().is_some() {
        return None;
    }
    let scanner = volume.scanner();
    let state = scanner.state().ok()??;
    let mut segments = BTreeMap::new();
    let mut known = Vec::new();
    let mut own = None;
    scanner
        .each(Table::Segment, &mut |row| {
            if let (Ok(at), Ok(row)) = (u32::try_from(row.key.a), SegmentRow::decode(row.value)) {
                segments.insert(SegmentId(at), row);
            }
        })
        .ok()?;
    scanner
        .each(Table::Image, &mut |row| {
            known.push(row.key.clone());
            if row.key.a == u64::from(id.0) {
                own = ImageRow::decode(row.value).ok();
            }
        })
        .ok()?;
    scanner
        .each(Table::Held, &mut |row| known.push(row.key.clone()))
        .ok()?;
    let row = own.unwrap_or_else(|| nameless(&path, id));
    let row = ImageRow {
        commit: state.commit,
        hash: state.hash,
        // What was held for a backup may be gone back to like any other.
        kind: if row.kind == ImageKind::Automatic {
            ImageKind::Automatic
        } else {
            ImageKind::Snapshot
        },
        ..row
    };
    Some(Image {
        id,
        row,
        state,
        segments,
        known,
    })
}

/// What is known of an image that does not know itself.
fn nameless(path: &Path, id: ImageId) -> ImageRow {
    use std::os::unix::fs::MetadataExt;
    let secs = fs::metadata(path).map_or(0, |m| m.mtime());
    ImageRow {
        kind: ImageKind::Snapshot,
        commit: 0,
        hash: [0; 32],
        created: Timestamp { secs, nanos: 0 },
        name: format!("image-{id}"),
    }
}

/// Makes the chosen image the database. What is there now goes aside; other images stay.
pub(super) fn put_back(
    vault: &UnlockedVault,
    (images, chosen): (&[Image], usize),
    aside: &mut Aside,
) -> Result<(), RepairError> {
    let at = vault.dir().path();
    let image = &images[chosen];
    let lengths = lengths(images);
    // What needs room is done before anything is moved.
    let fresh = at.join("meta.db.new");
    copy_ahead(at, (image.id, &fresh), (&lengths, aside))
        .inspect_err(|_| drop(fs::remove_file(&fresh)))?;
    for part in unknown(at, &lengths)? {
        aside.take(at, &part)?;
    }
    for id in image_files(at)? {
        if images.iter().all(|image| image.id != id) {
            let path = image_path(Path::new(""), id);
            aside.take(at, &path)?;
            aside.take(at, &path.with_extension("db.new"))?;
        }
    }
    // A log is applied to whatever database lies beside it: it goes first.
    aside.take(at, Path::new(LOG))?;
    // Its records follow a later commit than any image shows.
    aside.take(at, Path::new(JOURNAL))?;
    aside.take(at, Path::new(DATABASE))?;
    fs::rename(&fresh, at.join(DATABASE))?;
    fs::File::open(at)?.sync_all()?;
    adopt(vault, (images, chosen), &lengths)
}

/// Makes the copies that a repair needs, so that a full disk ends it before it has begun.
fn copy_ahead(
    at: &Path,
    (image, fresh): (ImageId, &Path),
    (lengths, aside): (&BTreeMap<SegmentId, u32>, &mut Aside),
) -> Result<(), RepairError> {
    let mut source = fs::File::open(image_path(at, image))?;
    copy_durably(&mut source, fresh)?;
    for (part, length) in longer(at, lengths)? {
        aside.copy_tail(at, &part, length)?;
    }
    Ok(())
}

/// Slots that images have of each segment.
fn lengths(images: &[Image]) -> BTreeMap<SegmentId, u32> {
    let mut lengths = BTreeMap::new();
    for (at, row) in images.iter().flat_map(|i| &i.segments) {
        let length = lengths.entry(*at).or_insert(0);
        *length = row.committed.max(*length);
    }
    lengths
}

fn segment_files(vault: &Path) -> io::Result<Vec<(SegmentId, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(vault.join("segments"))? {
        let name = entry?.file_name();
        if let Some(id) = name.to_str().and_then(|n| n.parse().ok()) {
            files.push((SegmentId(id), Path::new("segments").join(name)));
        }
    }
    Ok(files)
}

/// Segments with more in them than any image knows, and how much those know.
fn longer(vault: &Path, lengths: &BTreeMap<SegmentId, u32>) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for (id, part) in segment_files(vault)? {
        let Some(slots) = lengths.get(&id) else {
            continue;
        };
        let length = u64::from(*slots) * BLOCK_SIZE as u64;
        if fs::metadata(vault.join(&part))?.len() > length {
            found.push((part, length));
        }
    }
    Ok(found)
}

/// Segments that no image knows.
fn unknown(vault: &Path, lengths: &BTreeMap<SegmentId, u32>) -> io::Result<Vec<PathBuf>> {
    let files = segment_files(vault)?.into_iter();
    Ok(files
        .filter(|(id, _)| !lengths.contains_key(id))
        .map(|(_, part)| part)
        .collect())
}

/// Lists in the new database the images there are and what they hold, and raises its counters
/// above all that was given out.
fn adopt(
    vault: &UnlockedVault,
    (images, chosen): (&[Image], usize),
    lengths: &BTreeMap<SegmentId, u32>,
) -> Result<(), RepairError> {
    let image = &images[chosen];
    let mut rows = RowMap::default();
    for key in &image.known {
        rows.put(key.clone(), None);
    }
    for other in images {
        rows.put(Key::image(other.id), Some(other.row.encode()));
        for (at, slots) in other.segments.iter().filter(|(_, slots)| slots.live() > 0) {
            rows.put(Key::held(other.id, *at), Some(slots.encode()));
        }
    }
    for (at, slots) in lengths {
        let mut row = image.segments.get(at).cloned().unwrap_or_default();
        row.committed = row.committed.max(*slots);
        rows.put(Key::segment(*at), Some(row.encode()));
    }
    let master = vault.master();
    let path = vault.dir().meta_db();
    let mut writer = Writer::open(&path, &master.meta_db_key(), master.state_hash_key())
        .map_err(|_| FsError::Database)?;
    let mut state = image.state;
    let highest = |of: fn(&StateRow) -> u64| images.iter().map(|i| of(&i.state)).max();
    // A number above all that were ever seen: going back is a commit like any other.
    state.commit = highest(|s| s.commit)
        .max(vault.last_seen_commit())
        .unwrap_or(state.commit);
    state.next_ino = highest(|s| s.next_ino).unwrap_or(state.next_ino);
    state.next_map = highest(|s| s.next_map).unwrap_or(state.next_map);
    state.next_block = highest(|s| s.next_block).unwrap_or(state.next_block);
    state.next_segment = highest(|s| s.next_segment).unwrap_or(state.next_segment);
    writer
        .commit(rows.iter(), &mut state)
        .and_then(|()| writer.checkpoint_all())
        .map_err(|_| RepairError::Rows(FsError::Database))
}
