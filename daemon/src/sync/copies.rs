//! Copies of files, made durable before anything is taken for put elsewhere.

use std::sync::Arc;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::share::Lies;
use keyfold_fs::vfs::{
    Caller, FileRange, Handle, Ino, OpenMode, Place, SetAttr, SetTime, Vfs, XattrMode,
};
use keyfold_fs::volume::Volume;

const RW: OpenMode = OpenMode {
    read: true,
    write: true,
    append: false,
    truncate: false,
    sync: false,
};
const RO: OpenMode = OpenMode { write: false, ..RW };
/// Bytes copied at once.
const COPIED: usize = 1 << 20;
/// Bytes that are fetched, or not, as one.
const BLOCK: usize = keyfold_fs::layout::BLOCK_SIZE;

/// What becomes of data that is not here and that nobody can fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The copy fails.
    Refused,
    /// The copy has holes there.
    Holes,
}

/// Copies the content and attributes of a file into a new one, durably. Leaves nothing on failure.
pub(super) fn copy_file(
    volume: &Arc<Volume>,
    from: Ino,
    (caller, at): (&Caller, Place<'_>),
    missing: Missing,
) -> FsResult<Ino> {
    let perm = volume.getattr(from)?.perm & 0o777;
    let (entry, to) = volume.create(caller, at, perm, RW)?;
    let ino = entry.attr.ino;
    let handle = volume.open(from, RO);
    let copied = handle.and_then(|handle| {
        let copied = copy_bytes(volume, (from, handle), (ino, to), missing);
        volume.release(from, handle);
        copied
    });
    let copied = copied
        .and_then(|()| copy_attributes(volume, from, ino))
        .and_then(|()| volume.fsync(ino, to));
    volume.release(ino, to);
    if copied.is_err() {
        let _ = volume.unlink(at);
    }
    volume.forget(ino, 1);
    copied.map(|()| ino)
}

fn copy_bytes(
    volume: &Arc<Volume>,
    (from, source): (Ino, Handle),
    (to, target): (Ino, Handle),
    missing: Missing,
) -> FsResult<()> {
    let mut buf = vec![0; COPIED];
    let size = volume.getattr(from)?.size;
    let mut offset = 0;
    // Whoever writes to it was kept from that before, so its size stays.
    while offset < size {
        let range = |ino, handle| FileRange {
            ino,
            handle,
            offset,
        };
        let length = COPIED.min(usize::try_from(size - offset).unwrap_or(COPIED));
        let read = match volume.read(range(from, source), &mut buf[..length]) {
            Err(FsError::Unreachable) if missing == Missing::Holes => {
                copy_what_is_here(volume, (from, source), (to, target), (offset, length))?;
                offset += length as u64;
                continue;
            }
            read => read?,
        };
        if read == 0 {
            break;
        }
        volume.write(range(to, target), &buf[..read])?;
        offset += read as u64;
    }
    zeroize::Zeroize::zeroize(&mut buf);
    let whole = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    volume.setattr(to, Some(target), &whole).map(drop)
}

/// Copies the blocks of a range that lie in this vault.
fn copy_what_is_here(
    volume: &Arc<Volume>,
    (from, source): (Ino, Handle),
    (to, target): (Ino, Handle),
    (offset, length): (u64, usize),
) -> FsResult<()> {
    let first = offset / BLOCK as u64;
    let last = (offset + length as u64).div_ceil(BLOCK as u64);
    let mut here = Vec::new();
    for leaf in volume.view_content(from)?.leaves() {
        let begin = u64::from(leaf.index) * keyfold_crypto::LEAF_BLOCKS as u64;
        let blocks = leaf.blocks.iter().filter(|block| block.lies == Lies::Here);
        here.extend(blocks.map(|block| begin + u64::from(block.position)));
    }
    let mut buf = vec![0; BLOCK];
    for block in here
        .into_iter()
        .filter(|block| (first..last).contains(block))
    {
        let range = |ino, handle| FileRange {
            ino,
            handle,
            offset: block * BLOCK as u64,
        };
        let read = volume.read(range(from, source), &mut buf)?;
        volume.write(range(to, target), &buf[..read])?;
    }
    zeroize::Zeroize::zeroize(&mut buf);
    Ok(())
}

fn copy_attributes(volume: &Volume, from: Ino, to: Ino) -> FsResult<()> {
    let view = volume.view_node(from)?;
    for (name, value) in &view.xattrs {
        if name.starts_with(b"user.") {
            volume.setxattr(to, name, value, XattrMode::Set)?;
        }
    }
    let set = SetAttr {
        mtime: Some(SetTime::At(view.mtime)),
        ..SetAttr::default()
    };
    volume.setattr(to, None, &set).map(drop)
}
