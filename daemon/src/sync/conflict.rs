//! Files that were changed here and elsewhere: what is here becomes a file of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::share::{Kept, Mark, Outdated, PendingMark, ShareNumber};
use keyfold_fs::vfs::{Caller, Ino, Name, Place as VfsPlace, Vfs};
use keyfold_fs::volume::{ContentView, Volume};
use keyfold_protocol::ids::NodeId;
use keyfold_protocol::names::EntryName;
use keyfold_protocol::tree::{FileContent, Tree};

use super::copies::{Missing, copy_file};
use super::kept::{copied, is_copied};
use super::merge::{conflict_name, is_file};
use super::shown::{LOCAL, Nodes, Place, Seen, engine_node};
use super::take::is_same;

/// Names tried for a copy.
const NAMES: usize = 1000;

/// What was decided about files that both sides changed.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// Nodes that become what the others have.
    pub(super) given_up: BTreeSet<NodeId>,
    /// Files whose content becomes the others', with the leaves that it has here.
    pub(super) reset: BTreeMap<NodeId, Vec<u64>>,
    /// Files whose content stays as it is here.
    pub(super) stays: BTreeSet<NodeId>,
    /// Copies that take the name of what the others removed.
    pub(super) renamed: Vec<(NodeId, Place)>,
    /// Copies that lie beside a single file, where they are in no share; and whether that file is gone.
    pub(super) beside: Vec<(EntryName, bool)>,
    /// Files that both wrote and that are still written to here: decided when that ends.
    pub(super) held: BTreeSet<NodeId>,
    /// Files that the others removed and that are still written to here.
    pub(super) apart: BTreeSet<NodeId>,
    /// Whether anything was copied.
    pub(super) copies: u64,
    /// Names of copies, which whoever caches listings does not know.
    pub(super) outdated: Vec<Outdated>,
}

/// A copy of a file.
enum Copy {
    /// In the share.
    Node(NodeId),
    /// In none.
    Beside(EntryName),
}

/// Where conflicts are looked for.
pub(super) struct Conflicts<'a> {
    pub(super) volume: &'a Arc<Volume>,
    pub(super) share: ShareNumber,
    pub(super) marks: &'a [PendingMark],
    pub(super) seen: &'a Seen,
    pub(super) base: &'a Nodes,
    /// The same, with contents.
    pub(super) was: &'a Tree,
    pub(super) head: &'a Tree,
    /// Whose conflicts these are, and the date.
    pub(super) who: (&'a str, &'a str),
}

/// Whether a file has the content that others know.
fn same(view: &ContentView, content: &FileContent) -> bool {
    let leaf = |leaf: &keyfold_fs::share::LeafView| {
        let known = content.leaves.get(&u64::from(leaf.index));
        leaf.hash.is_some() && leaf.hash == known.map(|known| known.hash)
    };
    view.size() == content.size
        && view.leaves().len() == content.leaves.len()
        && view.leaves().iter().all(leaf)
}

impl Conflicts<'_> {
    /// Decides about every file.
    pub(super) fn decide(&self) -> FsResult<Decided> {
        let mut decided = Decided::default();
        let nodes = self.volume.share_nodes(self.share)?.into_iter();
        let copied = nodes.filter(is_copied);
        let copied: BTreeSet<NodeId> = copied.map(|node| NodeId(node.node.0)).collect();
        for (id, node) in self.seen.nodes.iter().filter(|(_, node)| is_file(node)) {
            let (base, there) = (self.base.get(id), self.head.node(*id));
            let Some(ino) = self.seen.inos.get(id).copied() else {
                continue;
            };
            match there.and_then(|there| there.content()) {
                None if base.is_some() && self.volume.is_written(ino) => {
                    decided.apart.insert(*id);
                }
                None if base.is_some_and(|base| base != node) => {
                    if let Some(place) = node.names.first() {
                        match self.copy(ino, place, &mut decided)? {
                            Copy::Node(copy) => decided.renamed.push((copy, place.clone())),
                            Copy::Beside(name) => decided.beside.push((name, true)),
                        }
                        decided.copies += 1;
                    }
                    self.confirm(ino, None)?;
                    decided.given_up.insert(*id);
                }
                Some(content) if node.version == LOCAL => {
                    let was = self.was.node(*id).and_then(|was| was.content());
                    // Where the others only put it elsewhere, nothing is in conflict.
                    if base.is_some() && was.is_some_and(|was| is_same(was, content)) {
                        decided.stays.insert(*id);
                    } else if self.volume.is_written(ino) {
                        decided.held.insert(*id);
                    } else {
                        self.both_wrote((*id, ino), content, &mut decided)?;
                    }
                }
                Some(_) if copied.contains(id) => {
                    let view = self.volume.view_content(ino)?;
                    decided.reset.insert(*id, leaves(&view));
                }
                _ => {}
            }
        }
        Ok(decided)
    }

    fn both_wrote(
        &self,
        (id, ino): (NodeId, Ino),
        content: &FileContent,
        decided: &mut Decided,
    ) -> FsResult<()> {
        let view = self.volume.view_content(ino)?;
        if same(&view, content) {
            decided.stays.insert(id);
            return Ok(());
        }
        decided.reset.insert(id, leaves(&view));
        drop(view);
        let names = self.seen.nodes.get(&id).map(|node| &node.names);
        if let Some(place) = names.and_then(|names| names.first()) {
            if let Copy::Beside(name) = self.copy(ino, place, decided)? {
                decided.beside.push((name, false));
            }
            decided.copies += 1;
        }
        self.confirm(ino, Some(id))
    }

    /// What was marked of a file's content before it was copied is in the copy. That the file is
    /// to be given up is kept with it: without its mark nothing else says that it has no content
    /// that others know.
    fn confirm(&self, ino: Ino, given_up: Option<NodeId>) -> FsResult<()> {
        let of = |mark: &&PendingMark| mark.mark == Mark::Content(ino);
        let mut kept = Kept {
            confirmed: self.marks.iter().filter(of).map(|m| m.number).collect(),
            ..Kept::default()
        };
        if let Some(id) = given_up {
            let known = self.volume.share_node(self.share, engine_node(id))?;
            let data = known.as_ref().map(copied);
            kept.nodes
                .extend(data.map(|data| (engine_node(id), Some(data))));
        }
        self.volume.keep_of_share(self.share, &kept)
    }

    /// Copies a file beside it, durably.
    fn copy(&self, from: Ino, place: &Place, decided: &mut Decided) -> FsResult<Copy> {
        let dir = self.seen.inos.get(&place.0).copied();
        let dir = dir.ok_or(FsError::NotFound)?;
        let volume = self.volume.as_ref();
        let attr = volume.getattr(from)?;
        let caller = Caller {
            uid: attr.uid,
            gid: attr.gid,
            umask: 0,
        };
        for n in 1..NAMES {
            let name = conflict_name(&place.1, self.who, n);
            let name = name.ok_or(FsError::NameTooLong)?;
            let at = VfsPlace {
                parent: dir,
                name: Name::new(name.as_str().as_bytes())?,
            };
            let ino = match copy_file(self.volume, from, (&caller, at), Missing::Refused) {
                Err(FsError::Exists) => continue,
                copied => copied?,
            };
            let made = name.as_str().as_bytes().to_vec();
            decided
                .outdated
                .extend([Outdated::Inode(dir), Outdated::Entry(dir, made)]);
            let member = volume.share_member(ino)?;
            return Ok(match member {
                Some((_, node)) => Copy::Node(NodeId(node.0)),
                None => Copy::Beside(name),
            });
        }
        Err(FsError::Exists)
    }
}

fn leaves(view: &ContentView) -> Vec<u64> {
    let leaves = view.leaves().iter();
    leaves.map(|leaf| u64::from(leaf.index)).collect()
}
