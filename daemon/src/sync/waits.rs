//! What of the others' changes waits, because it concerns files that are in use here.
//!
//! Of a file that is there on both sides the content waits alone. One that the others removed stays as
//! a whole, and with it what needs its name, or a directory that is gone with it: nothing of that is
//! brought before the file is free, and nothing is sent of it.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_fs::share::{Mark, PendingMark};
use keyfold_fs::vfs::Ino;
use keyfold_protocol::ids::NodeId;

use super::shown::{Nodes, Place, Seen};

/// Nodes that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Waits {
    /// Files whose content waits.
    pub(super) held: BTreeSet<NodeId>,
    /// Nodes of which all waits.
    pub(super) apart: BTreeSet<NodeId>,
}

impl Waits {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.apart.is_empty()
    }

    pub(super) fn contains(&self, id: &NodeId) -> bool {
        self.held.contains(id) || self.apart.contains(id)
    }

    pub(super) fn list(&self) -> Vec<NodeId> {
        self.held.union(&self.apart).copied().collect()
    }

    /// What the others have, as if they had not changed what waits as a whole. That is made more by
    /// what depends on it.
    pub(super) fn part(&mut self, base: &Nodes, there: &Nodes) -> Nodes {
        let mut parted = there.clone();
        let mut new: BTreeSet<NodeId> = self.apart.clone();
        while !new.is_empty() {
            for id in &new {
                match base.get(id) {
                    Some(node) => parted.insert(*id, node.clone()),
                    None => parted.remove(id),
                };
            }
            self.apart.append(&mut new);
            new = self.depending(base, &parted);
        }
        parted
    }

    /// What needs a name or a directory that it cannot have while these wait.
    fn depending(&self, base: &Nodes, parted: &Nodes) -> BTreeSet<NodeId> {
        let waiting = self
            .apart
            .iter()
            .filter_map(|id| Some((id, parted.get(id)?)));
        let waiting = waiting.flat_map(|(id, node)| node.names.iter().map(move |at| (at, id)));
        let taken: BTreeMap<&Place, &NodeId> = waiting.collect();
        let mut found = BTreeSet::new();
        for (id, node) in parted {
            for place in &node.names {
                if taken.get(place).is_some_and(|holder| *holder != id) {
                    found.insert(*id);
                }
                if !parted.contains_key(&place.0) {
                    // The directory stays with what is in it, or does not come without it.
                    let was_there = base.contains_key(&place.0) && self.apart.contains(id);
                    found.insert(if was_there { place.0 } else { *id });
                }
            }
        }
        found.retain(|id| !self.apart.contains(id));
        found
    }

    /// What waits as a whole, and all that is in it here.
    pub(super) fn with_all_below(&self, here: &Nodes) -> BTreeSet<NodeId> {
        let mut all = self.apart.clone();
        loop {
            let within = here.iter().filter(|(id, node)| {
                !all.contains(id) && node.names.iter().any(|(parent, _)| all.contains(parent))
            });
            let within: Vec<NodeId> = within.map(|(id, _)| *id).collect();
            if all.is_empty() || within.is_empty() {
                return all;
            }
            all.extend(within);
        }
    }

    /// Of these marks those that are done with once what is here was sent, but for what waits.
    pub(super) fn sent(&self, marks: &[PendingMark], seen: &Seen) -> Vec<u64> {
        let waiting = self.with_all_below(&seen.nodes);
        let waiting = waiting.iter().chain(&self.held);
        let waiting: BTreeSet<Ino> = waiting
            .filter_map(|id| seen.inos.get(id).copied())
            .collect();
        let sent = marks.iter().filter(|pending| match &pending.mark {
            Mark::Content(ino) | Mark::Attributes(ino) => !waiting.contains(ino),
            Mark::Entry(..) => self.apart.is_empty(),
        });
        sent.map(|pending| pending.number).collect()
    }
}
