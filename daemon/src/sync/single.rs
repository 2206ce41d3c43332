//! Shares of a single file: what of them differs from syncing a directory.
//!
//! What is compared is the tree without anything but the file, under the name that it has here; the name
//! that it has among the others never matters and stays what it is. What cannot lie in such a share lies
//! beside the file, in none.

use std::sync::Arc;

use keyfold_fs::vfs::{Name, Place as VfsPlace, RenameMode, Vfs};
use keyfold_protocol::ids::NodeId;
use keyfold_protocol::names::EntryName;
use keyfold_protocol::tree::Tree;

use super::ShareSync;
use super::conflict::Decided;
use super::merge::conflict_name;
use super::names::Step;
use super::shown::{Nodes, Place};
use keyfold_fs::share::Outdated;

/// Names tried for what lies beside.
const NAMES: usize = 1000;

impl ShareSync<'_, '_> {
    /// What of a tree is looked at.
    pub(super) fn shown(&self, tree: &Arc<Tree>) -> Arc<Tree> {
        match &self.root.single {
            Some(name) => Arc::new(tree.single(name)),
            None => Arc::clone(tree),
        }
    }

    /// The n-th other name of what has a name that is taken.
    pub(super) fn other_name(
        &self,
        name: &EntryName,
        who: (&str, &str),
        n: usize,
    ) -> Option<EntryName> {
        if self.root.single.is_none() {
            return conflict_name(name, who, n);
        }
        let names = (1..NAMES).filter_map(|n| conflict_name(name, who, n));
        names.filter(|name| self.is_free(name)).nth(n - 1)
    }

    /// Whether nothing of a name lies beside the single file.
    fn is_free(&self, name: &EntryName) -> bool {
        let Ok(at) = beside(self.root.dir, name) else {
            return false;
        };
        match self.volume.lookup(at) {
            Ok(entry) => {
                self.volume.forget(entry.attr.ino, 1);
                false
            }
            Err(_) => true,
        }
    }

    /// A step with the name that the others have for the single file.
    pub(super) fn as_others_say(&self, step: Step) -> Step {
        let Some(local) = &self.root.single else {
            return step;
        };
        let name = self.name_for_others(local);
        let said = |place: Place| -> Place {
            match place {
                (NodeId::ROOT, here) if here == *local => (NodeId::ROOT, name.clone()),
                other => other,
            }
        };
        match step {
            Step::Make(id, to) => Step::Make(id, said(to)),
            Step::Link(id, to) => Step::Link(id, said(to)),
            Step::Rename(id, from, to) => Step::Rename(id, said(from), said(to)),
            Step::Remove(id, from) => Step::Remove(id, said(from)),
        }
    }

    /// The name that the single file has, or is to have: the share's title, where that is free.
    fn name_for_others(&self, local: &EntryName) -> EntryName {
        if let Some((name, _)) = self.base.single_file() {
            return name.clone();
        }
        let root = self.base.node(NodeId::ROOT);
        let entries = root.and_then(|root| root.entries());
        let free = |name: &EntryName| entries.is_none_or(|entries| !entries.contains_key(name));
        let numbered = (2..NAMES).filter_map(|n| format!("{n} {local}").parse().ok());
        let title = self.base.title_as_name();
        let mut names = title.into_iter().chain([local.clone()]).chain(numbered);
        names.find(free).unwrap_or_else(|| local.clone())
    }

    /// After changes were brought: a copy of what the others removed takes its place again, and it is told
    /// what lies beside.
    pub(super) fn tidy_beside(&mut self, decided: &Decided, want: &Nodes) {
        let Some(local) = self.root.single.clone() else {
            return;
        };
        for (name, removed) in &decided.beside {
            if !(*removed && self.take_place(name, &local)) {
                self.tell_beside(name);
            }
        }
        let aside: Vec<EntryName> = want
            .values()
            .flat_map(|node| &node.names)
            .filter(|(_, name)| *name != local)
            .map(|(_, name)| name.clone())
            .collect();
        for name in aside {
            self.tell_beside(&name);
        }
        let known = 1 + usize::from(self.head.single_file().is_some());
        let more = self.head.nodes().count() - known;
        if more > 0 {
            self.told.push(format!(
                "members put {more} more into this share of a single file; that is not shown"
            ));
        }
    }

    fn tell_beside(&mut self, name: &EntryName) {
        let name = name.as_str();
        self.told.push(format!(
            "others changed the file too: what was here lies beside it as {name}, in no share"
        ));
    }

    /// Gives a copy the place that it was made of, if nothing is there.
    fn take_place(&mut self, copy: &EntryName, local: &EntryName) -> bool {
        let dir = self.root.dir;
        let (Ok(from), Ok(to)) = (beside(dir, copy), beside(dir, local)) else {
            return false;
        };
        let moved = self.volume.rename(from, to, RenameMode::NoReplace).is_ok();
        if moved {
            let entry = |name: &EntryName| Outdated::Entry(dir, name.as_str().into());
            self.outdated
                .extend([Outdated::Inode(dir), entry(copy), entry(local)]);
        }
        moved
    }
}

fn beside(
    parent: keyfold_fs::vfs::Ino,
    name: &EntryName,
) -> keyfold_fs::error::FsResult<VfsPlace<'_>> {
    Ok(VfsPlace {
        parent,
        name: Name::new(name.as_str().as_bytes())?,
    })
}
