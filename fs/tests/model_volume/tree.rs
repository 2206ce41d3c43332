//! What a filesystem holds, read through the same calls a front end makes.

use std::collections::BTreeMap;

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::{
    Attr, Cookie, FileKind, FileRange, Ino, Listing, Name, OpenMode, Place, Seek, Vfs,
};

const BLOCK: u64 = 4096;
/// Files up to this size are read whole, larger ones where they say they have data.
const READ_WHOLE: u64 = 1 << 20;

/// Why a check failed, for people.
pub(crate) type Why = String;

/// One inode and what hangs on it, but for the content of files.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) attr: Attr,
    pub(crate) target: Option<Vec<u8>>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Every inode that has a name.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) names: BTreeMap<Vec<u8>, Ino>,
    pub(crate) nodes: BTreeMap<Ino, Node>,
    /// The paths as they were listed, directory by directory.
    pub(crate) order: Vec<Vec<u8>>,
}

/// A listed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: Vec<u8>,
    pub(crate) ino: Ino,
    pub(crate) kind: FileKind,
}

fn failed(what: &str, path: &[u8]) -> impl Fn(FsError) -> Why {
    let path = path.escape_ascii().to_string();
    move |e| format!("{what} of /{path} failed: {e:?}")
}

/// All entries of a directory, `.` and `..` included.
pub(crate) fn list(vfs: &dyn Vfs, dir: Ino) -> Result<Vec<Listed>, FsError> {
    let handle = vfs.opendir(dir)?;
    let mut all = Vec::new();
    let result = vfs.readdir(handle, Cookie::START, &mut |entry| {
        all.push(Listed {
            name: entry.name.to_vec(),
            ino: entry.ino,
            kind: entry.kind,
        });
        Listing::Continue
    });
    vfs.releasedir(handle);
    result.map(|()| all)
}

/// All extended attributes of an inode.
pub(crate) fn xattrs(vfs: &dyn Vfs, ino: Ino) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, FsError> {
    let names = vfs.listxattr(ino)?;
    let names = names.split(|b| *b == 0).filter(|name| !name.is_empty());
    names
        .map(|name| Ok((name.to_vec(), vfs.getxattr(ino, name)?)))
        .collect()
}

fn node(vfs: &dyn Vfs, ino: Ino, path: &[u8]) -> Result<Node, Why> {
    let attr = vfs.getattr(ino).map_err(failed("getattr", path))?;
    let target = match attr.kind {
        FileKind::Symlink => Some(vfs.readlink(ino).map_err(failed("readlink", path))?),
        _ => None,
    };
    let xattrs = xattrs(vfs, ino).map_err(failed("listing attributes", path))?;
    Ok(Node {
        attr,
        target,
        xattrs,
    })
}

impl Tree {
    /// Reads everything below the root and checks that it agrees with itself.
    pub(crate) fn walk(vfs: &dyn Vfs) -> Result<Self, Why> {
        let mut tree = Self::default();
        tree.nodes.insert(Ino::ROOT, node(vfs, Ino::ROOT, b"")?);
        tree.names.insert(Vec::new(), Ino::ROOT);
        tree.descend(vfs, (Ino::ROOT, Ino::ROOT), b"")?;
        tree.check_links()?;
        Ok(tree)
    }

    fn descend(&mut self, vfs: &dyn Vfs, at: (Ino, Ino), path: &[u8]) -> Result<(), Why> {
        let (dir, parent) = at;
        let shown = path.escape_ascii();
        let entries = list(vfs, dir).map_err(failed("listing", path))?;
        let dots: Vec<_> = entries
            .iter()
            .take(2)
            .map(|e| (e.name.as_slice(), e.ino))
            .collect();
        if dots != [(b".".as_slice(), dir), (b"..".as_slice(), parent)] {
            return Err(format!(
                "/{shown} begins with {dots:?}, not with . ({dir}), .. ({parent})"
            ));
        }
        let subdirectories = entries[2..]
            .iter()
            .filter(|e| e.kind == FileKind::Directory)
            .count();
        let links = self.nodes[&dir].attr.nlink as usize;
        if links != 2 + subdirectories {
            return Err(format!(
                "/{shown} has nlink {links} and {subdirectories} subdirectories"
            ));
        }
        for entry in &entries[2..] {
            let mut path = path.to_vec();
            path.push(b'/');
            path.extend(&entry.name);
            let name = Name::new(&entry.name).map_err(failed("listed name", &path))?;
            let found = vfs
                .lookup(Place { parent: dir, name })
                .map_err(failed("lookup", &path))?;
            let ino = found.attr.ino;
            if (ino, found.attr.kind) != (entry.ino, entry.kind) {
                return Err(format!("{} is listed as {entry:?}", path.escape_ascii()));
            }
            self.nodes.insert(ino, node(vfs, ino, &path)?);
            self.order.push(path.clone());
            if self.names.insert(path.clone(), ino).is_some() {
                return Err(format!("{} is listed twice", path.escape_ascii()));
            }
            if entry.kind == FileKind::Directory {
                self.descend(vfs, (ino, dir), &path)?;
            }
            vfs.forget(ino, 1);
        }
        Ok(())
    }

    /// Every inode but directories has as many links as it has names.
    fn check_links(&self) -> Result<(), Why> {
        for (ino, node) in &self.nodes {
            let names = self.names.values().filter(|i| *i == ino).count();
            if node.attr.kind != FileKind::Directory && node.attr.nlink as usize != names {
                return Err(format!(
                    "inode {ino} has nlink {}, not {names}",
                    node.attr.nlink
                ));
            }
        }
        Ok(())
    }
}

/// What a file reads as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bytes {
    pub(crate) size: u64,
    /// Blocks that hold anything but zeros.
    pub(crate) blocks: BTreeMap<u64, Vec<u8>>,
    /// Where the file says it has data: starts and ends.
    pub(crate) extents: Vec<(u64, u64)>,
}

impl Bytes {
    /// Where the two differ first.
    pub(crate) fn difference(&self, other: &Self) -> Option<Why> {
        if self.size != other.size {
            return Some(format!("size {} instead of {}", other.size, self.size));
        }
        let keys = self.blocks.keys().chain(other.blocks.keys());
        let block = keys
            .copied()
            .filter(|at| self.blocks.get(at) != other.blocks.get(at))
            .min()?;
        let zeros = vec![0; BLOCK as usize];
        let [a, b] = [self, other].map(|side| side.blocks.get(&block).unwrap_or(&zeros));
        let at = a
            .iter()
            .zip(b)
            .position(|(x, y)| x != y)
            .unwrap_or(a.len().min(b.len()));
        let offset = block * BLOCK + at as u64;
        Some(format!(
            "byte {offset} (block {block}) is {:?} instead of {:?}",
            b.get(at),
            a.get(at)
        ))
    }
}

/// Reads a file through a handle of its own.
pub(crate) fn bytes(vfs: &dyn Vfs, ino: Ino) -> Result<Bytes, Why> {
    let mode = OpenMode {
        read: true,
        ..OpenMode::default()
    };
    let handle = vfs
        .open(ino, mode)
        .map_err(|e| format!("open of {ino} failed: {e:?}"))?;
    let result = read_all(
        vfs,
        FileRange {
            ino,
            handle,
            offset: 0,
        },
    );
    vfs.release(ino, handle);
    result.map_err(|e| format!("reading {ino} failed: {e:?}"))
}

fn read_all(vfs: &dyn Vfs, file: FileRange) -> Result<Bytes, FsError> {
    let size = vfs.getattr(file.ino)?.size;
    let extents = extents(vfs, file)?;
    let mut blocks = BTreeMap::new();
    if size <= READ_WHOLE {
        collect(vfs, file, (0, size), &mut blocks)?;
    } else {
        for (start, end) in &extents {
            let start = (start / BLOCK).saturating_sub(1) * BLOCK;
            let end = end.next_multiple_of(BLOCK).saturating_add(BLOCK).min(size);
            collect(vfs, file, (start, end), &mut blocks)?;
        }
    }
    Ok(Bytes {
        size,
        blocks,
        extents,
    })
}

fn extents(vfs: &dyn Vfs, file: FileRange) -> Result<Vec<(u64, u64)>, FsError> {
    let mut extents = Vec::new();
    let mut offset = 0;
    loop {
        match vfs.seek(FileRange { offset, ..file }, Seek::Data) {
            Ok(start) => {
                offset = vfs.seek(
                    FileRange {
                        offset: start,
                        ..file
                    },
                    Seek::Hole,
                )?;
                extents.push((start, offset));
            }
            Err(FsError::BeyondEnd) => return Ok(extents),
            Err(e) => return Err(e),
        }
    }
}

/// Reads a range that begins at a block, in pieces that do not fit blocks evenly.
fn collect(
    vfs: &dyn Vfs,
    file: FileRange,
    range: (u64, u64),
    blocks: &mut BTreeMap<u64, Vec<u8>>,
) -> Result<(), FsError> {
    let mut data = vec![0xEE; (range.1 - range.0) as usize];
    let mut done = 0;
    while done < data.len() {
        let end = data.len().min(done + 41_000);
        let offset = range.0 + done as u64;
        match vfs.read(FileRange { offset, ..file }, &mut data[done..end])? {
            0 => break,
            n => done += n,
        }
    }
    data.truncate(done);
    for (at, chunk) in data.chunks(BLOCK as usize).enumerate() {
        if chunk.iter().any(|b| *b != 0) {
            let mut block = chunk.to_vec();
            block.resize(BLOCK as usize, 0);
            blocks.insert(range.0 / BLOCK + at as u64, block);
        }
    }
    Ok(())
}
