//! The namespace: inodes, the entries that name them, and whether one tree comes out of it.

use super::findings::{Findings, Subject};
use super::report::FindingKind as Kind;
use crate::layout::{DentryRow, InodeBody, InodeRow};
use crate::meta::ScannedRow;
use crate::vfs::{FileKind, Ino, Name, TARGET_MAX};

/// Cookies below this are those of `.` and `..`.
const FIRST_COOKIE: u64 = 3;

/// What is kept of an inode while its names are counted.
struct Node {
    ino: Ino,
    kind: FileKind,
    /// It is listed as having no name.
    orphan: bool,
    nlink: u32,
    /// Entries that name it.
    names: u32,
    /// Bytes of extended attributes it claims.
    xattr_bytes: u32,
    /// Those there are.
    xattr_found: u32,
    /// Keys it claims.
    keys: u32,
    /// Those there are.
    keys_found: u32,
}

/// What is kept of a directory.
struct Dir {
    ino: Ino,
    /// The directory it says it is in.
    parent: Ino,
    next_cookie: u64,
    entries: u64,
    found: u64,
    subdirs: u32,
    /// Reaches the root; not known before the walk.
    rooted: bool,
}

/// The namespace as far as it was read: a few bytes for each inode.
#[derive(Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    dirs: Vec<Dir>,
    pub(super) files: u64,
}

impl Tree {
    pub(super) fn inodes(&self) -> u64 {
        self.nodes.len() as u64
    }

    pub(super) fn directories(&self) -> u64 {
        self.dirs.len() as u64
    }

    pub(super) fn highest(&self) -> u64 {
        self.nodes.last().map_or(0, |n| n.ino.0)
    }

    /// What an inode is, if there is one.
    pub(super) fn kind(&self, ino: Ino) -> Option<FileKind> {
        self.node(ino).map(|at| self.nodes[at].kind)
    }

    fn node(&self, ino: Ino) -> Option<usize> {
        self.nodes.binary_search_by_key(&ino, |n| n.ino).ok()
    }

    fn dir(&self, ino: Ino) -> Option<usize> {
        self.dirs.binary_search_by_key(&ino, |d| d.ino).ok()
    }

    /// Takes a row of the inode table. Rows come in order.
    pub(super) fn inode(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let ino = Ino(row.key.a);
        let Ok(inode) = InodeRow::decode(row.value) else {
            let what = format!("the row of inode {ino} cannot be read");
            findings.add(Kind::BadRow, Subject::Inode(ino), what);
            return;
        };
        if self.highest() >= ino.0 {
            let what = format!("inode number {ino} is none that is given out");
            findings.add(Kind::BadRow, Subject::Inode(ino), what);
            return;
        }
        match &inode.body {
            InodeBody::Directory(d) => self.dirs.push(Dir {
                ino,
                parent: d.parent,
                next_cookie: d.next_cookie,
                entries: d.entries,
                found: 0,
                subdirs: 0,
                rooted: false,
            }),
            InodeBody::File(_) => self.files += 1,
            InodeBody::Symlink(target) => {
                let fits = (1..=TARGET_MAX).contains(&target.len()) && !target.contains(&0);
                if !fits {
                    let what = format!("symlink {ino} has a target that none can have");
                    findings.add(Kind::BadRow, Subject::Inode(ino), what);
                }
            }
            InodeBody::Special => {}
        }
        self.nodes.push(Node {
            ino,
            kind: inode.kind,
            orphan: false,
            nlink: inode.nlink,
            names: 0,
            xattr_bytes: inode.xattr_bytes,
            xattr_found: 0,
            keys: inode.file().map_or(0, |f| f.keys),
            keys_found: 0,
        });
    }

    /// Takes a row of the orphan table.
    pub(super) fn orphan(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let ino = Ino(row.key.a);
        if let Some(at) = self.node(ino) {
            self.nodes[at].orphan = true;
        } else {
            let what = format!("inode {ino} is listed as without a name and does not exist");
            findings.add(Kind::Orphan, Subject::Inode(ino), what);
        }
    }

    /// Takes a row of the dentry table.
    pub(super) fn dentry(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let parent = Ino(row.key.a);
        let name = row.key.name();
        let mut add = |kind, detail| {
            findings.add(kind, Subject::Entry(parent, name.into()), detail);
        };
        let Ok(dentry) = DentryRow::decode(row.value) else {
            add(
                Kind::BadRow,
                format!("an entry of directory {parent} cannot be read"),
            );
            return;
        };
        if Name::new(name).is_err() {
            let what = format!("an entry of directory {parent} has a name that none can have");
            add(Kind::BadEntry, what);
        }
        let child = dentry.child;
        match self.dir(parent) {
            Some(at) => {
                let dir = &mut self.dirs[at];
                dir.found += 1;
                dir.subdirs += u32::from(dentry.kind == FileKind::Directory);
                let given = (FIRST_COOKIE..dir.next_cookie).contains(&dentry.cookie);
                if !given || row.cookie != Some(dentry.cookie) {
                    add(
                        Kind::Cookie,
                        format!("an entry of directory {parent} has a wrong place in listings"),
                    );
                }
            }
            None => add(
                Kind::BadEntry,
                format!("inode {child} has a name in {parent}, which is not a directory"),
            ),
        }
        let Some(at) = self.node(child) else {
            let what = format!("it names inode {child}, which does not exist");
            add(Kind::MissingInode, what);
            return;
        };
        let node = &mut self.nodes[at];
        node.names = node.names.saturating_add(1);
        if node.kind != dentry.kind {
            let what = format!("it says what inode {child} is, and the inode says otherwise");
            add(Kind::KindMismatch, what);
        }
        if let Some(at) = self.dir(child)
            && self.dirs[at].parent != parent
        {
            let says = self.dirs[at].parent;
            let what = format!("directory {child} is in {parent} and says it is in {says}");
            add(Kind::ParentPointer, what);
        }
    }

    /// Takes a row of the xattr table.
    pub(super) fn xattr(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let ino = Ino(row.key.a);
        let bytes = (row.key.name().len() + row.value.len()) as u32;
        if let Some(at) = self.node(ino) {
            let node = &mut self.nodes[at];
            node.xattr_found = node.xattr_found.saturating_add(bytes);
        } else {
            let what = format!("there is an attribute of inode {ino}, which does not exist");
            findings.add(Kind::XattrBytes, Subject::Inode(ino), what);
        }
    }

    /// Takes note of a file's key.
    pub(super) fn key(&mut self, ino: Ino, index: u32) {
        if let Some(at) = self.node(ino) {
            let node = &mut self.nodes[at];
            node.keys_found += u32::from(index < node.keys);
        }
    }

    /// Judges the whole, when all rows were taken.
    pub(super) fn judge(&mut self, findings: &mut Findings) {
        if self.kind(Ino::ROOT) != Some(FileKind::Directory) {
            let what = "the root directory is missing".to_owned();
            findings.add(Kind::Unreachable, Subject::Volume, what);
        }
        for node in &self.nodes {
            judge_node(node, self.links(node), findings);
        }
        for dir in &self.dirs {
            if dir.entries != dir.found {
                let (ino, says, found) = (dir.ino, dir.entries, dir.found);
                let what = format!("directory {ino} counts {says} entries and has {found}");
                findings.add(Kind::EntryCount, Subject::Inode(ino), what);
            }
            if dir.ino == Ino::ROOT && dir.parent != Ino::ROOT {
                let what = "the root directory says it is in another".to_owned();
                findings.add(Kind::ParentPointer, Subject::Inode(dir.ino), what);
            }
        }
        self.find_cycles(findings);
    }

    /// The links that an inode ought to have.
    fn links(&self, node: &Node) -> u32 {
        match self.dir(node.ino) {
            Some(_) if node.orphan => 0,
            Some(at) => self.dirs[at].subdirs.saturating_add(2),
            None => node.names,
        }
    }

    /// Follows every directory's parents to the root. Each is passed once or twice.
    fn find_cycles(&mut self, findings: &mut Findings) {
        let mut path = Vec::new();
        let mut on_path = vec![false; self.dirs.len()];
        for start in 0..self.dirs.len() {
            let mut at = Some(start);
            let mut cycle = None;
            while let Some(dir) = at {
                if self.dirs[dir].rooted || self.dirs[dir].ino == Ino::ROOT {
                    break;
                }
                if on_path[dir] {
                    cycle = Some(self.dirs[dir].ino);
                    break;
                }
                on_path[dir] = true;
                path.push(dir);
                at = self.dir(self.dirs[dir].parent);
            }
            if let Some(ino) = cycle {
                let what = format!("directory {ino} lies below itself");
                findings.add(Kind::Cycle, Subject::Inode(ino), what);
            }
            for dir in path.drain(..) {
                self.dirs[dir].rooted = true;
                on_path[dir] = false;
            }
        }
    }
}

fn judge_node(node: &Node, links: u32, findings: &mut Findings) {
    let ino = node.ino;
    let mut add = |kind, detail| findings.add(kind, Subject::Inode(ino), detail);
    let names = node.names;
    if node.orphan != (node.nlink == 0) {
        let what = if node.orphan {
            format!("inode {ino} is listed as without a name and has links")
        } else {
            format!("inode {ino} has no links and is not listed as without a name")
        };
        add(Kind::Orphan, what);
    }
    if names == 0 && node.nlink > 0 && ino != Ino::ROOT {
        let what = format!("inode {ino} has no name; its content cannot be reached");
        add(Kind::Unreachable, what);
    } else if node.kind == FileKind::Directory && names > 1 {
        add(
            Kind::LinkCount,
            format!("directory {ino} has {names} names"),
        );
    }
    if names > 0 && ino == Ino::ROOT {
        add(Kind::Cycle, "the root directory lies in another".to_owned());
    }
    if node.nlink != links && (names > 0 || node.kind == FileKind::Directory) {
        let says = node.nlink;
        let what = format!("inode {ino} counts {says} links and has {links}");
        add(Kind::LinkCount, what);
    }
    if node.keys != node.keys_found {
        let (says, found) = (node.keys, node.keys_found);
        let what = format!("file {ino} counts {says} keys and has {found} of them");
        add(Kind::KeyMissing, what);
    }
    if node.xattr_bytes != node.xattr_found {
        let (says, found) = (node.xattr_bytes, node.xattr_found);
        let what = format!("inode {ino} counts {says} bytes of attributes and has {found}");
        add(Kind::XattrBytes, what);
    }
}
