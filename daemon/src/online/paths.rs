//! Folders and files of a mount by their paths.

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::share::ShareInfo;
use keyfold_fs::vfs::{FileKind, Ino, Name, Place, Vfs};
use keyfold_fs::volume::Volume;

/// What a path names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) ino: Ino,
    /// The directory that it lies in.
    pub(super) parent: Ino,
    pub(super) kind: FileKind,
}

/// Finds a path that counts from the root, whether it starts with `/` or not. It leads through no
/// symlink: those belong to the mounted tree.
pub(super) fn find(volume: &Volume, path: &str) -> FsResult<Found> {
    let mut found = Found {
        ino: Ino::ROOT,
        parent: Ino::ROOT,
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
            parent: at.parent,
            kind: attr.kind,
        };
    }
    Ok(found)
}

/// The share that a path is or lies within. The file of a share of a single file need not be there.
pub(super) fn share_of(volume: &Volume, path: &str) -> FsResult<Option<ShareInfo>> {
    match single_at(volume, path)? {
        Some(info) => Ok(Some(info)),
        None => share_at(volume, find(volume, path)?.ino),
    }
}

/// The share of a single file whose place a path is.
pub(super) fn single_at(volume: &Volume, path: &str) -> FsResult<Option<ShareInfo>> {
    let mut shares = volume.shares()?;
    shares.retain(|info| info.name.is_some());
    let Some((dir, name)) = split(path).filter(|_| !shares.is_empty()) else {
        return Ok(None);
    };
    let dir = find(volume, dir)?.ino;
    let name = Some(name.as_bytes());
    let is = |info: &ShareInfo| info.root == dir && info.name.as_deref() == name;
    Ok(shares.into_iter().find(is))
}

/// The share of which an inode is the root or lies within.
pub(super) fn share_at(volume: &Volume, ino: Ino) -> FsResult<Option<ShareInfo>> {
    let Some((number, _)) = volume.share_member(ino)? else {
        return Ok(None);
    };
    let shares = volume.shares()?;
    Ok(shares.into_iter().find(|info| info.number == number))
}

/// Where a directory is, or a file that is shared by itself.
///
/// # Errors
/// [`FsError::NotADirectory`] for any other file: it may have several names, and keeps none.
pub(crate) fn path_of(volume: &Volume, ino: Ino) -> FsResult<Vec<u8>> {
    match share_at(volume, ino)? {
        Some(info) if info.name.is_some() => volume.path_of_share(&info),
        _ => volume.path_of_directory(ino),
    }
}

/// The last name of a path, and what is before it.
pub(super) fn split(path: &str) -> Option<(&str, &str)> {
    let mut path = path.trim_end_matches('/');
    while let Some(shorter) = path.strip_suffix("/.") {
        path = shorter.trim_end_matches('/');
    }
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    (!matches!(name, "" | ".")).then_some((dir, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_a_last_name_unless_it_is_the_root() {
        for (path, found) in [
            ("Plan.pdf", Some(("", "Plan.pdf"))),
            ("/Plan.pdf", Some(("", "Plan.pdf"))),
            ("a/b/Plan.pdf", Some(("a/b", "Plan.pdf"))),
            ("a//b//./", Some(("a/", "b"))),
            ("a/.", Some(("", "a"))),
            ("./a", Some((".", "a"))),
            ("", None),
            ("/", None),
            (".", None),
            ("/./.", None),
        ] {
            assert_eq!(split(path), found, "{path:?}");
        }
    }
}
