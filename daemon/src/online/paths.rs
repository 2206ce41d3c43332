//! Folders of a mount by their paths.

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::share::ShareInfo;
use keyfold_fs::vfs::{FileKind, Ino, Name, Place, Vfs};
use keyfold_fs::volume::Volume;

/// What a path names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) ino: Ino,
    pub(super) kind: FileKind,
}

/// Finds a path that counts from the root, whether it starts with `/` or not. It leads through no
/// symlink: those belong to the mounted tree.
pub(super) fn find(volume: &Volume, path: &str) -> FsResult<Found> {
    let mut found = Found {
        ino: Ino::ROOT,
        kind: FileKind::Directory,
    };
    for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
        if name == ".." {
            return Err(FsError::InvalidArgument);
        }
        let at = Place {
            parent: found.ino,
            name: Name::new(name.as_bytes())?,
        };
        let attr = volume.lookup(at)?.attr;
        volume.forget(attr.ino, 1);
        found = Found {
            ino: attr.ino,
            kind: attr.kind,
        };
    }
    Ok(found)
}

/// The share of which a path is the root or lies within.
pub(super) fn share_at(volume: &Volume, ino: Ino) -> FsResult<Option<ShareInfo>> {
    let Some((number, _)) = volume.share_member(ino)? else {
        return Ok(None);
    };
    let shares = volume.shares()?;
    Ok(shares.into_iter().find(|info| info.number == number))
}

/// The last name of a path.
pub(super) fn last_name(path: &str) -> Option<&str> {
    let mut names = path.split('/').filter(|name| !matches!(*name, "" | "."));
    names.next_back()
}
