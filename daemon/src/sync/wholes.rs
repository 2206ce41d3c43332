//! Git repositories and databases that two machines change.
//!
//! Their files are one whole, and each is synced by itself: who works on one from two machines may end
//! with files that fit together nowhere. So it is told.

use std::collections::BTreeSet;

use keyfold_protocol::ids::NodeId;
use keyfold_protocol::operation::What;

use super::shown::Nodes;

/// Ends of the names of databases.
const DATABASES: [&str; 6] = [".sqlite", ".sqlite3", ".db", ".db3", ".mdb", ".accdb"];
/// Directories that are climbed to find what a node belongs to, and that a path shows.
const DEPTH: usize = 64;
/// How many are remembered. What is beyond that is not told.
const MOST: usize = 4096;

/// Those that were changed since syncing began.
#[derive(Debug, Default)]
pub(super) struct Wholes {
    here: BTreeSet<NodeId>,
    there: BTreeSet<NodeId>,
    told: BTreeSet<NodeId>,
}

impl Wholes {
    /// These files were changed here.
    pub(super) fn note_here(&mut self, nodes: &Nodes, files: impl Iterator<Item = NodeId>) {
        note(&mut self.here, nodes, files);
    }

    /// These files were changed by others.
    pub(super) fn note_there(&mut self, nodes: &Nodes, files: impl Iterator<Item = NodeId>) {
        note(&mut self.there, nodes, files);
    }

    /// What there is to tell of those that both changed, each once.
    pub(super) fn tell(&mut self, nodes: &Nodes) -> Vec<String> {
        let both = self.here.intersection(&self.there);
        let new: Vec<NodeId> = both.filter(|id| !self.told.contains(id)).copied().collect();
        self.told.extend(&new);
        let told = new.into_iter().filter_map(|id| {
            let node = nodes.get(&id)?;
            let what = if node.what == What::Directory {
                "git repository"
            } else {
                "database"
            };
            Some(format!(
                "{}: this {what} is changed on two machines. Its files are synced one by one: work on \
                 it on one machine at a time, or what they say may not fit together",
                path(nodes, id)
            ))
        });
        told.collect()
    }
}

fn note(wholes: &mut BTreeSet<NodeId>, nodes: &Nodes, files: impl Iterator<Item = NodeId>) {
    for whole in files.filter_map(|file| whole_of(nodes, file)) {
        if wholes.len() < MOST {
            wholes.insert(whole);
        }
    }
}

/// The repository or database that a file is, or belongs to.
fn whole_of(nodes: &Nodes, file: NodeId) -> Option<NodeId> {
    let (_, name) = nodes.get(&file)?.names.first()?;
    let name = name.as_str().to_ascii_lowercase();
    if DATABASES.iter().any(|end| name.ends_with(end)) {
        return Some(file);
    }
    let above = above(nodes, file).find(|(_, name)| *name == ".git");
    above.map(|(id, _)| id)
}

/// A node and the directories that it is in, with their names, from below.
fn above(nodes: &Nodes, node: NodeId) -> impl Iterator<Item = (NodeId, &str)> {
    let mut next = node;
    let climb = std::iter::from_fn(move || {
        let id = next;
        let (parent, name) = nodes.get(&id)?.names.first()?;
        next = *parent;
        Some((id, name.as_str()))
    });
    climb.take(DEPTH)
}

fn path(nodes: &Nodes, node: NodeId) -> String {
    let mut names: Vec<&str> = above(nodes, node).map(|(_, name)| name).collect();
    names.reverse();
    names.join("/")
}
