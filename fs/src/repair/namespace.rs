//! The namespace: entries, what inodes count, and a place for what has no name.

use std::collections::{BTreeMap, BTreeSet};

use super::mend::Mend;
use crate::check::{FindingKind as Kind, Subject};
use crate::error::{FsError, FsResult};
use crate::layout::{DentryRow, DirBody, InodeBody, InodeRow};
use crate::meta::{Key, Table};
use crate::vfs::{FileKind, Ino, Name, Timestamp};

/// Cookies below this are those of `.` and `..`.
const FIRST_COOKIE: u64 = 3;
/// Where inodes without a name get one.
const LOST: &[u8] = b"lost+found";

/// What is kept of an inode.
struct Node {
    kind: FileKind,
    nlink: u32,
    orphan: bool,
    names: u32,
    xattr_bytes: u32,
    xattr_found: u32,
    dir: Option<Box<Dir>>,
}

/// What is kept of a directory.
struct Dir {
    /// As it says itself.
    says: DirBody,
    /// Where it is, by its entry.
    at: Option<(Ino, Box<[u8]>)>,
    next_cookie: u64,
    entries: u64,
    subdirs: u32,
}

type Nodes = BTreeMap<Ino, Node>;

/// An entry that is there and has to be another.
struct Wrong {
    parent: Ino,
    name: Box<[u8]>,
    row: DentryRow,
    fault: Fault,
}

enum Fault {
    /// It names nothing, or nothing can have it.
    Gone(Kind),
    /// It is of another kind than its inode.
    Kind(FileKind),
    /// Its place in listings is none.
    Cookie(Option<u64>),
}

impl Mend<'_> {
    /// Mends the namespace.
    pub(super) fn namespace(&mut self) -> FsResult<()> {
        let mut nodes = self.read_inodes()?;
        let counted = (nodes.len() + self.unreadable.len()) as u64;
        self.count("inodes", counted, |s| &mut s.inodes);
        self.read_entries(&mut nodes)?;
        self.read_attributes(&mut nodes)?;
        self.hang_up(&mut nodes)?;
        self.correct(&nodes)?;
        let highest = nodes.keys().next_back().map_or(0, |ino| ino.0);
        let highest = highest.max(self.unreadable.last().copied().unwrap_or(0));
        self.raise("inode", highest + 1, |s| &mut s.next_ino);
        let regular = nodes.iter().filter(|(_, n)| n.kind == FileKind::Regular);
        self.files = regular.map(|(ino, _)| ino.0).collect();
        Ok(())
    }

    fn read_inodes(&mut self) -> FsResult<Nodes> {
        let mut nodes = Nodes::new();
        let unreadable = &mut self.unreadable;
        self.scanner.each(Table::Inode, &mut |row| {
            let Ok(inode) = InodeRow::decode(row.value) else {
                unreadable.insert(row.key.a);
                return;
            };
            let dir = inode.dir().map(|says| {
                Box::new(Dir {
                    says: *says,
                    at: None,
                    next_cookie: says.next_cookie.max(FIRST_COOKIE),
                    entries: 0,
                    subdirs: 0,
                })
            });
            let node = Node {
                kind: inode.kind,
                nlink: inode.nlink,
                orphan: false,
                names: 0,
                xattr_bytes: inode.xattr_bytes,
                xattr_found: 0,
                dir,
            };
            nodes.insert(Ino(row.key.a), node);
        })?;
        let mut stray = Vec::new();
        self.scanner.each(
            Table::Orphan,
            &mut |row| match nodes.get_mut(&Ino(row.key.a)) {
                Some(node) => node.orphan = true,
                None => stray.push(Ino(row.key.a)),
            },
        )?;
        stray.retain(|ino: &Ino| !self.unreadable.contains(&ino.0));
        for ino in stray {
            self.delete(Key::orphan(ino));
            let what = format!("inode {ino} was listed as without a name and did not exist");
            self.note(Kind::Orphan, Subject::Inode(ino), what);
        }
        Ok(nodes)
    }

    fn read_entries(&mut self, nodes: &mut Nodes) -> FsResult<()> {
        let mut wrong = Vec::new();
        let mut unread = Vec::new();
        let unreadable = &self.unreadable;
        self.scanner.each(Table::Dentry, &mut |row| {
            let (parent, name) = (Ino(row.key.a), row.key.name());
            let Ok(entry) = DentryRow::decode(row.value) else {
                unread.push((parent, Box::from(name)));
                return;
            };
            let faults = take_entry((parent, name, row.cookie), &entry, (nodes, unreadable));
            wrong.extend(faults.into_iter().map(|fault| Wrong {
                parent,
                name: name.into(),
                row: entry,
                fault,
            }));
        })?;
        for (parent, name) in unread {
            let name: Box<[u8]> = name;
            self.delete(Key::dentry(parent, &name));
            let what = "the entry could not be read; what it named may be in lost+found".to_owned();
            self.note(Kind::BadRow, Subject::Entry(parent, name), what);
        }
        for entry in wrong {
            self.mend_entry(entry, nodes);
        }
        Ok(())
    }

    fn mend_entry(&mut self, wrong: Wrong, nodes: &mut Nodes) {
        let key = Key::dentry(wrong.parent, &wrong.name);
        // An entry may have two faults.
        let mut row = match self.rows.get(&key) {
            Some(Some(row)) => DentryRow::decode(row).unwrap_or(wrong.row),
            Some(None) => return,
            None => wrong.row,
        };
        let subject = Subject::Entry(wrong.parent, wrong.name);
        let (kind, what) = match wrong.fault {
            Fault::Gone(kind) => {
                self.delete(key);
                let what = format!("the entry named inode {} and is removed", row.child);
                self.note(kind, subject, what);
                return;
            }
            Fault::Kind(kind) => {
                row.kind = kind;
                (Kind::KindMismatch, "the entry is of its inode's kind now")
            }
            Fault::Cookie(cookie) => {
                let dir = nodes.get_mut(&wrong.parent).and_then(|n| n.dir.as_mut());
                let Some(dir) = dir else { return };
                row.cookie = cookie.unwrap_or(dir.next_cookie);
                dir.next_cookie = dir.next_cookie.max(row.cookie + 1);
                (Kind::Cookie, "the entry has a place in listings again")
            }
        };
        self.put(key, row.encode());
        self.note(kind, subject, what.to_owned());
    }

    fn read_attributes(&mut self, nodes: &mut Nodes) -> FsResult<()> {
        let mut stray = BTreeMap::new();
        let unreadable = &self.unreadable;
        self.scanner.each(Table::Xattr, &mut |row| {
            let bytes = (row.key.name().len() + row.value.len()) as u32;
            match nodes.get_mut(&Ino(row.key.a)) {
                Some(node) => node.xattr_found = node.xattr_found.saturating_add(bytes),
                None if unreadable.contains(&row.key.a) => {}
                None => drop(stray.insert(row.key.clone(), Ino(row.key.a))),
            }
        })?;
        for (key, ino) in stray {
            self.delete(key);
            let what = format!("an attribute of inode {ino}, which does not exist, is removed");
            self.note(Kind::XattrBytes, Subject::Inode(ino), what);
        }
        Ok(())
    }

    /// Gives everything that cannot be reached from the root a name in `lost+found`.
    fn hang_up(&mut self, nodes: &mut Nodes) -> FsResult<()> {
        let mut lost: Vec<Ino> = nodes
            .iter()
            .filter(|(ino, n)| n.names == 0 && n.nlink > 0 && **ino != Ino::ROOT)
            .map(|(ino, _)| *ino)
            .collect();
        for ino in cycles(nodes) {
            let node = nodes.get_mut(&ino);
            let place = node.and_then(|n| n.dir.as_mut()).and_then(|d| d.at.take());
            if let Some((parent, name)) = place {
                self.delete(Key::dentry(parent, &name));
                let above = nodes.get_mut(&parent).and_then(|n| n.dir.as_mut());
                if let Some(above) = above {
                    above.entries = above.entries.saturating_sub(1);
                    above.subdirs = above.subdirs.saturating_sub(1);
                }
                if let Some(node) = nodes.get_mut(&ino) {
                    node.names = node.names.saturating_sub(1);
                }
            }
            lost.push(ino);
        }
        if lost.is_empty() {
            return Ok(());
        }
        let home = self.lost_and_found(nodes)?;
        for ino in lost {
            let name = format!("#{ino}");
            self.add_entry(nodes, (home, name.as_bytes()), ino)?;
            let what = format!("it had no name, and is now /lost+found/{name}");
            self.note(Kind::Unreachable, Subject::Inode(ino), what);
        }
        Ok(())
    }

    fn lost_and_found(&mut self, nodes: &mut Nodes) -> FsResult<Ino> {
        let found = self.scanner.get(&Key::dentry(Ino::ROOT, LOST), |row| {
            row.and_then(|r| DentryRow::decode(r).ok())
        })?;
        let name = match found {
            Some(entry) if entry.kind == FileKind::Directory => return Ok(entry.child),
            Some(_) => format!("lost+found-{}", self.state.next_ino).into_bytes(),
            None => LOST.to_vec(),
        };
        let highest = nodes.keys().next_back().map_or(0, |ino| ino.0);
        let ino = Ino(self.state.next_ino.max(highest + 1));
        self.state.next_ino = ino.0 + 1;
        let now = Timestamp { secs: 0, nanos: 0 };
        let root = self.inode(Ino::ROOT)?;
        let says = DirBody {
            parent: Ino::ROOT,
            next_cookie: FIRST_COOKIE,
            entries: 0,
        };
        let row = InodeRow {
            perm: 0o700,
            nlink: 2,
            xattr_bytes: 0,
            btime: now,
            body: InodeBody::Directory(says),
            ..root
        };
        self.put(Key::inode(ino), row.encode());
        nodes.insert(
            ino,
            Node {
                kind: FileKind::Directory,
                nlink: 2,
                orphan: false,
                names: 0,
                xattr_bytes: 0,
                xattr_found: 0,
                dir: Some(Box::new(Dir {
                    says,
                    at: None,
                    next_cookie: FIRST_COOKIE,
                    entries: 0,
                    subdirs: 0,
                })),
            },
        );
        self.add_entry(nodes, (Ino::ROOT, &name), ino)?;
        Ok(ino)
    }

    fn add_entry(
        &mut self,
        nodes: &mut Nodes,
        (parent, name): (Ino, &[u8]),
        child: Ino,
    ) -> FsResult<()> {
        let Some(node) = nodes.get_mut(&child) else {
            return Err(FsError::Inconsistent(child));
        };
        node.names += 1;
        let kind = node.kind;
        if let Some(dir) = &mut node.dir {
            dir.at = Some((parent, name.into()));
        }
        let above = nodes.get_mut(&parent).and_then(|n| n.dir.as_mut());
        let above = above.ok_or(FsError::Inconsistent(parent))?;
        let cookie = above.next_cookie;
        above.next_cookie += 1;
        above.entries += 1;
        above.subdirs += u32::from(kind == FileKind::Directory);
        let row = DentryRow {
            child,
            cookie,
            kind,
        };
        self.put(Key::dentry(parent, name), row.encode());
        Ok(())
    }

    /// An inode as it is, with what was changed of it.
    fn inode(&self, ino: Ino) -> FsResult<InodeRow> {
        let key = Key::inode(ino);
        let decode = |row: Option<&[u8]>| row.and_then(|r| InodeRow::decode(r).ok());
        let row = match self.rows.get(&key) {
            Some(row) => decode(row.as_deref()),
            None => self.scanner.get(&key, decode)?,
        };
        row.ok_or(FsError::Inconsistent(ino))
    }

    /// Makes what inodes count and say agree with what was found.
    fn correct(&mut self, nodes: &Nodes) -> FsResult<()> {
        for (ino, node) in nodes {
            self.correct_orphan(*ino, node);
            let mut faults = Vec::new();
            let links = match &node.dir {
                Some(_) if node.names == 0 && *ino != Ino::ROOT => node.nlink,
                Some(dir) => dir.subdirs.saturating_add(2),
                None => node.names,
            };
            if node.nlink != links {
                faults.push((Kind::LinkCount, format!("it has {links} links")));
            }
            if node.xattr_bytes != node.xattr_found {
                let found = node.xattr_found;
                faults.push((
                    Kind::XattrBytes,
                    format!("it has {found} bytes of attributes"),
                ));
            }
            if let Some(dir) = &node.dir {
                faults.extend(dir_faults(*ino, dir));
            }
            if !faults.is_empty() {
                let mut inode = self.inode(*ino)?;
                inode.nlink = links;
                inode.xattr_bytes = node.xattr_found;
                if let (Some(says), Some(dir)) = (inode.dir_mut(), &node.dir) {
                    says.entries = dir.entries;
                    says.next_cookie = dir.next_cookie;
                    says.parent = parent_of(*ino, dir);
                }
                self.put(Key::inode(*ino), inode.encode());
            }
            for (kind, what) in faults {
                self.note(kind, Subject::Inode(*ino), what);
            }
        }
        Ok(())
    }

    fn correct_orphan(&mut self, ino: Ino, node: &Node) {
        if ino == Ino::ROOT {
            return;
        }
        let nameless = node.names == 0;
        if node.orphan && !nameless {
            self.delete(Key::orphan(ino));
            let what = "it has a name, and was listed as without".to_owned();
            self.note(Kind::Orphan, Subject::Inode(ino), what);
        } else if nameless && !node.orphan {
            self.put(Key::orphan(ino), Box::default());
            let what = format!("inode {ino} has no name and goes with the next mount");
            self.note(Kind::Orphan, Subject::Inode(ino), what);
        }
    }
}

/// Takes an entry into account. Returns what is wrong with it.
fn take_entry(
    (parent, name, column): (Ino, &[u8], Option<u64>),
    entry: &DentryRow,
    (nodes, unreadable): (&mut Nodes, &BTreeSet<u64>),
) -> Vec<Fault> {
    let child = entry.child;
    let possible = Name::new(name).is_ok() && child != Ino::ROOT;
    let Some(above) = nodes.get(&parent).and_then(|n| n.dir.as_ref()) else {
        // Of a directory whose row cannot be read, entries are left.
        return if unreadable.contains(&parent.0) {
            Vec::new()
        } else {
            vec![Fault::Gone(Kind::BadEntry)]
        };
    };
    let last = above.next_cookie;
    if !possible {
        return vec![Fault::Gone(Kind::BadEntry)];
    }
    let mut faults = Vec::new();
    let mut is_dir = entry.kind == FileKind::Directory;
    match nodes.get_mut(&child) {
        Some(node) => {
            if let Some(dir) = &mut node.dir {
                if dir.at.is_some() {
                    return vec![Fault::Gone(Kind::LinkCount)];
                }
                dir.at = Some((parent, name.into()));
            }
            node.names = node.names.saturating_add(1);
            is_dir = node.kind == FileKind::Directory;
            if node.kind != entry.kind {
                faults.push(Fault::Kind(node.kind));
            }
        }
        None if unreadable.contains(&child.0) => {}
        None => return vec![Fault::Gone(Kind::MissingInode)],
    }
    let given = |cookie: &u64| (FIRST_COOKIE..last).contains(cookie);
    if column != Some(entry.cookie) || !given(&entry.cookie) {
        // No two entries of a directory have the same number in the column.
        faults.push(Fault::Cookie(column.filter(given)));
    }
    if let Some(above) = nodes.get_mut(&parent).and_then(|n| n.dir.as_mut()) {
        above.entries += 1;
        above.subdirs += u32::from(is_dir);
    }
    faults
}

/// One directory of each ring of directories that lie in one another.
fn cycles(nodes: &Nodes) -> Vec<Ino> {
    let mut known: BTreeSet<Ino> = BTreeSet::from([Ino::ROOT]);
    let mut found = Vec::new();
    let dirs = nodes.iter().filter(|(_, n)| n.dir.is_some());
    for (start, _) in dirs {
        let mut path = Vec::new();
        let mut at = *start;
        while known.insert(at) {
            path.push(at);
            let above = nodes.get(&at).and_then(|n| n.dir.as_ref());
            let Some((parent, _)) = above.and_then(|d| d.at.as_ref()) else {
                break;
            };
            at = *parent;
            if path.contains(&at) {
                found.push(at);
            }
        }
    }
    found
}

fn parent_of(ino: Ino, dir: &Dir) -> Ino {
    match &dir.at {
        _ if ino == Ino::ROOT => Ino::ROOT,
        Some((parent, _)) => *parent,
        None => dir.says.parent,
    }
}

fn dir_faults(ino: Ino, dir: &Dir) -> Vec<(Kind, String)> {
    let mut faults = Vec::new();
    if dir.says.entries != dir.entries {
        let found = dir.entries;
        faults.push((Kind::EntryCount, format!("it has {found} entries")));
    }
    let parent = parent_of(ino, dir);
    if dir.says.parent != parent {
        faults.push((Kind::ParentPointer, format!("it is in directory {parent}")));
    }
    if dir.says.next_cookie != dir.next_cookie {
        let next = dir.next_cookie;
        faults.push((
            Kind::Cookie,
            format!("its next entry is number {next} in listings"),
        ));
    }
    faults
}
