//! A whole volume as it is read, to be compared with what was committed.

use std::collections::BTreeMap;
use std::fmt::Write;

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::{
    Attr, Cookie, FileKind, FileRange, Ino, Listing, Name, OpenMode, Place, Vfs,
};
use keyfold_fs::volume::Volume;

/// An object: what is known of it, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    attributes: String,
    data: Vec<u8>,
}

/// What is read of a volume, by path.
pub(crate) type Tree = BTreeMap<String, Result<Object, FsError>>;

/// Reads everything.
pub(crate) fn read(volume: &Volume) -> Tree {
    let mut tree = Tree::new();
    let root = volume.getattr(Ino::ROOT);
    visit(volume, (String::from("/"), root), &mut tree);
    tree
}

fn visit(v: &Volume, (path, found): (String, Result<Attr, FsError>), tree: &mut Tree) {
    let object = found.and_then(|attr| {
        let data = match attr.kind {
            FileKind::Regular => content(v, &attr)?,
            FileKind::Directory => list(v, (&path, attr.ino), tree)?,
            FileKind::Symlink => v.readlink(attr.ino)?,
            _ => Vec::new(),
        };
        let mut attributes = format!(
            "{:?} {:o} {}:{} links {} size {} mtime {:?} ",
            attr.kind, attr.perm, attr.uid, attr.gid, attr.nlink, attr.size, attr.mtime
        );
        let names = v.listxattr(attr.ino)?;
        for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
            let value = v.getxattr(attr.ino, name)?;
            write!(attributes, "{name:?}={value:?} ").unwrap();
        }
        Ok(Object { attributes, data })
    });
    tree.insert(path, object);
}

fn content(v: &Volume, attr: &Attr) -> Result<Vec<u8>, FsError> {
    let mode = OpenMode {
        read: true,
        ..OpenMode::default()
    };
    let ino = attr.ino;
    let handle = v.open(ino, mode)?;
    let mut data = vec![0; attr.size.min(1 << 20) as usize];
    let mut offset = 0;
    let read = loop {
        let range = FileRange {
            ino,
            handle,
            offset: offset as u64,
        };
        match v.read(range, &mut data[offset..]) {
            Ok(0) => break Ok(()),
            Ok(n) => offset += n,
            Err(e) => break Err(e),
        }
    };
    v.release(ino, handle);
    read?;
    data.truncate(offset);
    Ok(data)
}

/// The names of a directory, each visited.
fn list(v: &Volume, (path, dir): (&str, Ino), tree: &mut Tree) -> Result<Vec<u8>, FsError> {
    let handle = v.opendir(dir)?;
    let mut names = Vec::new();
    let listed = v.readdir(handle, Cookie::START, &mut |entry| {
        names.push(entry.name.to_vec());
        Listing::Continue
    });
    v.releasedir(handle);
    listed?;
    names.retain(|n| n != b"." && n != b"..");
    names.sort();
    for name in &names {
        let below = format!("{}/{}", path.trim_end_matches('/'), name.escape_ascii());
        let name = Name::new(name).map_err(|_| FsError::Inconsistent(dir))?;
        let entry = v.lookup(Place { parent: dir, name });
        let ino = entry.as_ref().map(|e| e.attr.ino);
        visit(v, (below, entry.map(|e| e.attr)), tree);
        if let Ok(ino) = ino {
            v.forget(ino, 1);
        }
    }
    Ok(names.join(&b'/'))
}

/// Whether a program sees this error as EIO.
fn is_eio(error: FsError) -> bool {
    matches!(
        error,
        FsError::Tampered(_)
            | FsError::Inconsistent(_)
            | FsError::MetadataTampered
            | FsError::Database
            | FsError::Disk(_)
    )
}

/// Asserts that all that is read is what was committed, or EIO. Returns how much of it is EIO.
#[track_caller]
pub(crate) fn assert_committed_or_eio(found: &Tree, committed: &Tree, when: &str) -> usize {
    let mut failed = 0;
    for (path, object) in found {
        match object {
            Ok(object) => assert_eq!(
                Some(&Ok(object.clone())),
                committed.get(path),
                "{when}: {path} is not what was committed"
            ),
            Err(e) => {
                assert!(is_eio(*e), "{when}: {path}: {e:?} is not EIO");
                failed += 1;
            }
        }
    }
    // What cannot be reached must be below something that fails.
    for path in committed.keys().filter(|p| !found.contains_key(*p)) {
        let mut above = path.as_str();
        let excused = loop {
            above = match above.rfind('/') {
                Some(0) if above.len() > 1 => "/",
                Some(at) if at > 0 => &above[..at],
                _ => break false,
            };
            if matches!(found.get(above), Some(Err(_))) {
                break true;
            }
        };
        assert!(excused, "{when}: {path} is left out without an error");
    }
    failed
}
