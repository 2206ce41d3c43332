//! Findings as they come up, and the names that are looked up for them in the end.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{FINDINGS_LIMIT, Finding, FindingKind, FoundPath};
use crate::error::FsResult;
use crate::layout::{DentryRow, InodeRow};
use crate::meta::{Key, Scanner, Table};
use crate::vfs::Ino;

/// Directories above one another that are walked for a path.
const MAX_DEPTH: usize = 4096;

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The volume as a whole.
    Volume,
    /// An inode.
    Inode(Ino),
    /// A directory entry.
    Entry(Ino, Box<[u8]>),
    /// A segment.
    Segment(u64),
    /// A block of a file.
    Block(Ino, u64),
}

struct Draft {
    kind: FindingKind,
    subject: Subject,
    detail: String,
}

/// The findings of a check: a bounded list, and a count of the rest.
#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<Draft>,
    more: u64,
    /// Files that were found to have blocks missing: reading them finds it again.
    pub(super) missing: BTreeSet<Ino>,
}

impl Findings {
    pub(crate) fn add(&mut self, kind: FindingKind, subject: Subject, detail: String) {
        // What decides how the database can be used is never left out.
        if self.list.len() < FINDINGS_LIMIT || kind == FindingKind::StateHash {
            tracing::error!(%kind, "check found damage");
            self.list.push(Draft {
                kind,
                subject,
                detail,
            });
        } else {
            self.more += 1;
        }
    }

    /// Names what was found.
    pub(crate) fn finish(self, scanner: &Scanner) -> (Vec<Finding>, u64) {
        let names = Names::find(scanner, &self.inodes()).unwrap_or_default();
        let mut paths = Paths {
            scanner,
            names,
            known: BTreeMap::from([(Ino::ROOT, Some(Vec::new()))]),
        };
        let findings = self.list.into_iter().map(|d| paths.name(d)).collect();
        (findings, self.more)
    }

    fn inodes(&self) -> BTreeSet<Ino> {
        self.list
            .iter()
            .filter_map(|d| match d.subject {
                Subject::Inode(ino) | Subject::Block(ino, _) => Some(ino),
                Subject::Entry(..) | Subject::Volume | Subject::Segment(_) => None,
            })
            .collect()
    }
}

/// A name of each inode that was asked for: the directory and the name in it.
#[derive(Default)]
struct Names(BTreeMap<Ino, (Ino, Box<[u8]>)>);

impl Names {
    /// One pass over all directory entries, as they cannot be looked up by child.
    fn find(scanner: &Scanner, wanted: &BTreeSet<Ino>) -> FsResult<Self> {
        let mut names = Self::default();
        if wanted.is_empty() {
            return Ok(names);
        }
        scanner.each(Table::Dentry, &mut |row| {
            if let Ok(dentry) = DentryRow::decode(row.value)
                && wanted.contains(&dentry.child)
            {
                let name = row.key.name().into();
                names
                    .0
                    .entry(dentry.child)
                    .or_insert((Ino(row.key.a), name));
            }
        })?;
        Ok(names)
    }
}

struct Paths<'a> {
    scanner: &'a Scanner,
    names: Names,
    /// Paths of directories, without a slash at the end.
    known: BTreeMap<Ino, Option<Vec<u8>>>,
}

impl Paths<'_> {
    fn name(&mut self, draft: Draft) -> Finding {
        let mut finding = Finding {
            kind: draft.kind,
            inode: None,
            path: None,
            block: None,
            segment: None,
            detail: draft.detail,
        };
        let path = match draft.subject {
            Subject::Volume => None,
            Subject::Segment(id) => {
                finding.segment = Some(id);
                None
            }
            Subject::Entry(parent, name) => {
                finding.inode = Some(parent.0);
                self.entry(parent, &name)
            }
            Subject::Inode(ino) => {
                finding.inode = Some(ino.0);
                self.inode(ino)
            }
            Subject::Block(ino, block) => {
                finding.inode = Some(ino.0);
                finding.block = Some(block);
                self.inode(ino)
            }
        };
        finding.path = path.map(|p| FoundPath::new(&p));
        finding
    }

    fn inode(&mut self, ino: Ino) -> Option<Vec<u8>> {
        if ino == Ino::ROOT {
            return Some(b"/".to_vec());
        }
        let (parent, name) = self.names.0.get(&ino)?.clone();
        self.entry(parent, &name)
    }

    fn entry(&mut self, parent: Ino, name: &[u8]) -> Option<Vec<u8>> {
        let mut path = self.directory(parent)?;
        path.push(b'/');
        path.extend_from_slice(name);
        Some(path)
    }

    /// The path of a directory, by its own word on where it is.
    fn directory(&mut self, ino: Ino) -> Option<Vec<u8>> {
        let mut below = Vec::new();
        let mut at = ino;
        while !self.known.contains_key(&at) {
            if below.len() == MAX_DEPTH {
                return None;
            }
            let Some((parent, name)) = self.whereabouts(at) else {
                self.known.insert(at, None);
                break;
            };
            below.push((at, name));
            at = parent;
        }
        let mut path = self.known.get(&at).cloned().flatten();
        for (ino, name) in below.into_iter().rev() {
            if let Some(path) = &mut path {
                path.push(b'/');
                path.extend_from_slice(&name);
            }
            self.known.insert(ino, path.clone());
        }
        path
    }

    fn whereabouts(&self, ino: Ino) -> Option<(Ino, Box<[u8]>)> {
        let row = self
            .scanner
            .get(&Key::inode(ino), |row| {
                row.and_then(|r| InodeRow::decode(r).ok())
            })
            .ok()??;
        let parent = row.dir()?.parent;
        let entries = self.scanner.range(Table::Dentry, parent.0).ok()?;
        let (key, _) = entries
            .iter()
            .find(|(_, row)| DentryRow::decode(row).is_ok_and(|d| d.child == ino))?;
        Some((parent, key.name().into()))
    }
}
