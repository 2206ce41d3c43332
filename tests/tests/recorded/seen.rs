//! What a filesystem shows, in a form in which two moments can be compared.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::vfs::{
    Attr, Cookie, FileKind, FileRange, Ino, Listing, Name, OpenMode, Place, Seek, Timestamp, Vfs,
};

const BLOCK: u64 = 4096;

/// The namespace half of an inode.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    kind: FileKind,
    owner: (u16, u32, u32, u32),
    atime: Timestamp,
    /// Of anything but regular files, whose times belong to their content.
    times: Option<(Timestamp, Timestamp)>,
    target: Option<Vec<u8>>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The content half of a regular file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    size: u64,
    mtime: Timestamp,
    /// Space taken, in units of 512 bytes.
    sectors: u64,
    /// Of each block that is not zeros.
    hashes: BTreeMap<u64, u64>,
}

/// Everything with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Paths as they are listed, with inode numbers.
    pub names: Vec<(String, Ino)>,
    /// By inode number.
    pub nodes: BTreeMap<Ino, Node>,
    /// By inode number.
    pub contents: BTreeMap<Ino, Arc<Content>>,
}

/// Reads all of `vfs`.
pub fn see(vfs: &dyn Vfs) -> Result<Seen, String> {
    let seen = Seen {
        names: Vec::new(),
        nodes: BTreeMap::new(),
        contents: BTreeMap::new(),
    };
    let mut eyes = Eyes { vfs, seen };
    eyes.node(Ino::ROOT)
        .and_then(|_| eyes.directory(Ino::ROOT, ""))
        .map_err(|(path, e)| format!("reading /{path} failed: {e:?}"))?;
    Ok(eyes.seen)
}

struct Eyes<'a> {
    vfs: &'a dyn Vfs,
    seen: Seen,
}

type Failed = (String, FsError);

impl Eyes<'_> {
    fn directory(&mut self, dir: Ino, path: &str) -> Result<(), Failed> {
        let failed = |e| (path.to_owned(), e);
        let handle = self.vfs.opendir(dir).map_err(failed)?;
        let mut listed = Vec::new();
        let read = self.vfs.readdir(handle, Cookie::START, &mut |entry| {
            listed.push((entry.name.to_vec(), entry.ino));
            Listing::Continue
        });
        self.vfs.releasedir(handle);
        read.map_err(failed)?;
        for (name, ino) in listed.into_iter().skip(2) {
            let shown = format!("{path}{}", name.escape_ascii());
            let failed = |e| (shown.clone(), e);
            let name = Name::new(&name).map_err(failed)?;
            let found = self
                .vfs
                .lookup(Place { parent: dir, name })
                .map_err(failed)?;
            self.vfs.forget(found.attr.ino, 1);
            if found.attr.ino != ino {
                return Err(failed(FsError::Inconsistent(ino)));
            }
            self.seen.names.push((shown.clone(), ino));
            let kind = self.node(ino).map_err(|(_, e)| failed(e))?;
            if kind == FileKind::Directory {
                self.directory(ino, &format!("{shown}/"))?;
            }
        }
        Ok(())
    }

    fn node(&mut self, ino: Ino) -> Result<FileKind, Failed> {
        let failed = |e| (String::new(), e);
        let attr = self.vfs.getattr(ino).map_err(failed)?;
        if !self.seen.nodes.contains_key(&ino) {
            let node = self.attributes(&attr).map_err(failed)?;
            self.seen.nodes.insert(ino, node);
            if attr.kind == FileKind::Regular {
                let content = content(self.vfs, &attr).map_err(failed)?;
                self.seen.contents.insert(ino, Arc::new(content));
            }
        }
        Ok(attr.kind)
    }

    fn attributes(&self, attr: &Attr) -> FsResult<Node> {
        let regular = attr.kind == FileKind::Regular;
        let names = self.vfs.listxattr(attr.ino)?;
        let names = names.split(|b| *b == 0).filter(|name| !name.is_empty());
        let xattrs = names.map(|name| Ok((name.to_vec(), self.vfs.getxattr(attr.ino, name)?)));
        Ok(Node {
            kind: attr.kind,
            owner: (attr.perm, attr.uid, attr.gid, attr.nlink),
            atime: attr.atime,
            times: (!regular).then_some((attr.mtime, attr.ctime)),
            target: match attr.kind {
                FileKind::Symlink => Some(self.vfs.readlink(attr.ino)?),
                _ => None,
            },
            xattrs: xattrs.collect::<FsResult<_>>()?,
        })
    }
}

fn content(vfs: &dyn Vfs, attr: &Attr) -> FsResult<Content> {
    let mode = OpenMode {
        read: true,
        ..OpenMode::default()
    };
    let handle = vfs.open(attr.ino, mode)?;
    let file = FileRange {
        ino: attr.ino,
        handle,
        offset: 0,
    };
    let hashes = hashes(vfs, file);
    vfs.release(attr.ino, handle);
    Ok(Content {
        size: attr.size,
        mtime: attr.mtime,
        sectors: attr.blocks,
        hashes: hashes?,
    })
}

fn hashes(vfs: &dyn Vfs, file: FileRange) -> FsResult<BTreeMap<u64, u64>> {
    let mut hashes = BTreeMap::new();
    let mut offset = 0;
    loop {
        let start = match vfs.seek(FileRange { offset, ..file }, Seek::Data) {
            Ok(start) => start,
            Err(FsError::BeyondEnd) => return Ok(hashes),
            Err(e) => return Err(e),
        };
        let at = |offset| FileRange { offset, ..file };
        let end = vfs.seek(at(start), Seek::Hole)?;
        let mut data = vec![0; (end - start) as usize];
        let read = vfs.read(at(start), &mut data)?;
        data.truncate(read);
        for (index, block) in (start / BLOCK..).zip(data.chunks(BLOCK as usize)) {
            if block.iter().any(|b| *b != 0) {
                let mut hasher = DefaultHasher::new();
                hasher.write(block);
                hashes.insert(index, hasher.finish());
            }
        }
        offset = end;
    }
}

impl Seen {
    /// The same with other inode numbers.
    pub fn renumbered(&self, number: impl Fn(Ino) -> Ino) -> Self {
        let names = self
            .names
            .iter()
            .map(|(path, ino)| (path.clone(), number(*ino)));
        let nodes = self
            .nodes
            .iter()
            .map(|(ino, node)| (number(*ino), node.clone()));
        let contents = self.contents.iter();
        let contents = contents.map(|(ino, content)| (number(*ino), Arc::clone(content)));
        Self {
            names: names.collect(),
            nodes: nodes.collect(),
            contents: contents.collect(),
        }
    }

    /// Equal for moments with the same namespace.
    pub fn namespace_digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.names.hash(&mut hasher);
        self.nodes.hash(&mut hasher);
        hasher.finish()
    }

    pub fn same_namespace(&self, other: &Self) -> bool {
        self.names == other.names && self.nodes == other.nodes
    }

    /// The path of an inode, for people.
    pub fn path_of(&self, ino: Ino) -> &str {
        self.names
            .iter()
            .find(|(_, of)| *of == ino)
            .map_or("?", |(path, _)| path)
    }

    /// How it differs from another.
    pub fn difference(&self, other: &Self) -> String {
        let mut shown = self.namespace_difference(other);
        for (ino, content) in &self.contents {
            if let Some(other) = other.contents.get(ino).filter(|c| *c != content) {
                let path = self.path_of(*ino);
                let _ = writeln!(shown, "  {path}: {}", content.difference(other));
            }
        }
        shown
    }

    /// How the namespace differs from another.
    pub fn namespace_difference(&self, other: &Self) -> String {
        let mut shown = String::new();
        for (mark, one, two) in [('-', self, other), ('+', other, self)] {
            for (path, ino) in one.names.iter().filter(|n| !two.names.contains(n)) {
                let _ = writeln!(shown, "  {mark} {path} (inode {ino})");
            }
            for (ino, node) in &one.nodes {
                if two.nodes.get(ino).is_some_and(|other| other != node) {
                    let _ = writeln!(shown, "  {mark} inode {ino}: {node:?}");
                }
            }
        }
        shown
    }
}

impl Content {
    /// How it differs from another, for people.
    pub fn difference(&self, other: &Self) -> String {
        let mut shown = String::new();
        let all = self.hashes.keys().chain(other.hashes.keys());
        let mut blocks: Vec<u64> = all
            .copied()
            .filter(|b| self.hashes.get(b) != other.hashes.get(b))
            .collect();
        blocks.sort_unstable();
        blocks.dedup();
        if self.size != other.size {
            let _ = write!(shown, "size {} not {}; ", self.size, other.size);
        }
        if self.mtime != other.mtime {
            let _ = write!(shown, "mtime {:?} not {:?}; ", self.mtime, other.mtime);
        }
        if self.sectors != other.sectors {
            let _ = write!(shown, "{} sectors not {}; ", self.sectors, other.sectors);
        }
        if !blocks.is_empty() {
            let first: Vec<_> = blocks.iter().take(8).collect();
            let _ = write!(shown, "{} blocks differ: {first:?}", blocks.len());
        }
        shown
    }
}
