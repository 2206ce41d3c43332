//! A folder as it is seen: all that travels.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What is seen under a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Kind, and what the owner may do.
    mode: u32,
    /// Of all but directories' own: seconds and nanoseconds.
    stamp: (i64, i64),
    xattrs: BTreeMap<String, Vec<u8>>,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    File(Vec<u8>),
    Symlink(PathBuf),
    Directory,
}

impl Seen {
    /// The content, of a file.
    pub(crate) fn content(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::File(content) => Some(content),
            Kind::Symlink(_) | Kind::Directory => None,
        }
    }
}

/// A folder by paths.
pub(crate) type Picture = BTreeMap<PathBuf, Seen>;

/// Looks at a folder.
pub(crate) fn picture(root: &Path) -> io::Result<Picture> {
    let (mut all, mut left) = (Picture::new(), vec![root.to_owned()]);
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let seen = look(&path)?;
            if seen.kind == Kind::Directory {
                left.push(path.clone());
            }
            all.insert(path.strip_prefix(root).unwrap().to_owned(), seen);
        }
    }
    Ok(all)
}

fn look(path: &Path) -> io::Result<Seen> {
    let meta = path.symlink_metadata()?;
    let kind = if meta.is_dir() {
        Kind::Directory
    } else if meta.is_symlink() {
        Kind::Symlink(fs::read_link(path)?)
    } else {
        Kind::File(fs::read(path)?)
    };
    Ok(Seen {
        mode: meta.mode() & !0o77,
        stamp: (meta.mtime(), meta.mtime_nsec()),
        xattrs: if meta.is_symlink() {
            BTreeMap::new()
        } else {
            xattrs(path)?
        },
        kind,
    })
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::listxattr(path, &mut names)?;
    let names = names[..length].split(|byte| *byte == 0);
    let names = names.filter(|name| name.starts_with(b"user.") && !is_own(name));
    let mut all = BTreeMap::new();
    for name in names {
        let name = String::from_utf8(name.to_vec()).unwrap();
        let mut value = vec![0; 256];
        let length = rustix::fs::getxattr(path, &name, &mut value)?;
        value.truncate(length);
        all.insert(name, value);
    }
    Ok(all)
}

/// Attributes that the mount itself tells things by.
fn is_own(name: &[u8]) -> bool {
    name.starts_with(b"user.keyfold.")
}

/// What two folders do not have in common.
pub(crate) fn difference(one: &Picture, other: &Picture) -> Vec<String> {
    let paths = one.keys().chain(other.keys());
    let mut paths: Vec<_> = paths
        .filter(|path| one.get(*path) != other.get(*path))
        .collect();
    paths.sort();
    paths.dedup();
    let shown = |picture: &Picture, path: &PathBuf| match picture.get(path) {
        None => "nothing".to_owned(),
        Some(Seen {
            mode,
            stamp,
            xattrs,
            kind,
        }) => {
            let kind = match kind {
                Kind::File(content) => {
                    format!("{:?}", crate::cells::tokens(content, "a file"))
                }
                other => format!("{other:?}"),
            };
            format!("{mode:o} {stamp:?} {xattrs:?} {kind}")
        }
    };
    let line = |path: &PathBuf| {
        let (one, other) = (shown(one, path), shown(other, path));
        format!("{}: {one} | {other}", path.display())
    };
    paths.into_iter().map(line).collect()
}
