//! In which order names change, so that each step finds the names it needs free and no directory
//! is removed before it is empty or moved into itself.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_protocol::ids::NodeId;
use keyfold_protocol::operation::What;

use super::shown::{Nodes, Place};

/// A change of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Make(NodeId, Place),
    Link(NodeId, Place),
    Rename(NodeId, Place, Place),
    Remove(NodeId, Place),
}

/// Names as they are between two steps.
struct Names {
    at: BTreeMap<Place, NodeId>,
    /// How many names each directory has.
    entries: BTreeMap<NodeId, usize>,
    /// Directories, and where each is.
    parents: BTreeMap<NodeId, NodeId>,
    /// Nodes that were made.
    made: BTreeSet<NodeId>,
}

impl Names {
    fn of(nodes: &Nodes) -> Self {
        let mut names = Self {
            at: BTreeMap::new(),
            entries: BTreeMap::new(),
            parents: BTreeMap::from([(NodeId::ROOT, NodeId::ROOT)]),
            made: nodes.keys().copied().collect(),
        };
        for (id, node) in nodes {
            for place in &node.names {
                names.enter(*id, place, node.what == What::Directory);
            }
        }
        names
    }

    fn enter(&mut self, id: NodeId, place: &Place, directory: impl Into<Option<bool>>) {
        self.at.insert(place.clone(), id);
        *self.entries.entry(place.0).or_default() += 1;
        if directory.into() == Some(true) {
            self.parents.insert(id, place.0);
        }
    }

    fn leave(&mut self, place: &Place) {
        self.at.remove(place);
        if let Some(count) = self.entries.get_mut(&place.0) {
            *count = count.saturating_sub(1);
        }
    }

    fn is_free(&self, place: &Place) -> bool {
        self.parents.contains_key(&place.0) && !self.at.contains_key(place)
    }

    fn lies_within(&self, inner: NodeId, outer: NodeId) -> bool {
        let mut at = inner;
        while at != outer {
            match self.parents.get(&at) {
                Some(parent) if *parent != at => at = *parent,
                _ => return false,
            }
        }
        true
    }

    fn can(&self, step: &Step) -> bool {
        match step {
            Step::Make(_, to) => self.is_free(to),
            Step::Link(id, to) => self.made.contains(id) && self.is_free(to),
            Step::Rename(id, _, to) => {
                let directory = self.parents.contains_key(id);
                self.is_free(to) && !(directory && self.lies_within(to.0, *id))
            }
            Step::Remove(id, _) => self.entries.get(id).is_none_or(|count| *count == 0),
        }
    }

    fn take(&mut self, step: &Step, new: &Nodes) {
        match step {
            Step::Make(id, to) => {
                let directory = new.get(id).map(|node| node.what == What::Directory);
                self.enter(*id, to, directory);
                self.made.insert(*id);
            }
            Step::Link(id, to) => self.enter(*id, to, None),
            Step::Rename(id, from, to) => {
                self.leave(from);
                let directory = self.parents.contains_key(id);
                self.enter(*id, to, directory);
            }
            Step::Remove(id, from) => {
                self.leave(from);
                self.parents.remove(id);
            }
        }
    }
}

/// The steps that make the names of `new` of those of `old`.
pub(super) fn steps(old: &Nodes, new: &Nodes) -> Vec<Step> {
    let mut names = Names::of(old);
    let mut waiting = wanted(old, new);
    let mut steps = Vec::new();
    while !waiting.is_empty() {
        let before = steps.len();
        waiting.retain(|step| {
            let can = names.can(step);
            if can {
                names.take(step, new);
                steps.push(step.clone());
            }
            !can
        });
        if steps.len() > before {
            continue;
        }
        // Names that change places, or directories that do: one goes aside.
        let aside = waiting.iter_mut().find_map(|step| match step {
            Step::Rename(id, from, _) if from.0 != NodeId::ROOT || !is_aside(from) => {
                let to = aside(*id)?;
                let first = Step::Rename(*id, std::mem::replace(from, to.clone()), to);
                Some(first)
            }
            _ => None,
        });
        let Some(step) = aside else { break };
        names.take(&step, new);
        steps.push(step);
    }
    steps
}

const ASIDE: &str = ".keyfold-moving-";

fn is_aside(place: &Place) -> bool {
    place.1.as_str().starts_with(ASIDE)
}

fn aside(id: NodeId) -> Option<Place> {
    Some((NodeId::ROOT, format!("{ASIDE}{id}").parse().ok()?))
}

fn wanted(old: &Nodes, new: &Nodes) -> Vec<Step> {
    let none = BTreeSet::new();
    let mut steps = Vec::new();
    let ids: BTreeSet<NodeId> = old.keys().chain(new.keys()).copied().collect();
    for id in ids {
        let was = old.get(&id).map_or(&none, |node| &node.names);
        let is = new.get(&id).map_or(&none, |node| &node.names);
        let mut lost = was.difference(is);
        let mut gained = is.difference(was);
        if was.is_empty()
            && let Some(to) = gained.next()
        {
            steps.push(Step::Make(id, to.clone()));
        }
        loop {
            match (lost.next(), gained.next()) {
                (None, None) => break,
                (Some(from), Some(to)) => {
                    steps.push(Step::Rename(id, from.clone(), to.clone()));
                }
                (Some(from), None) => steps.push(Step::Remove(id, from.clone())),
                (None, Some(to)) => steps.push(Step::Link(id, to.clone())),
            }
        }
    }
    // What goes first makes room. What is new is listed in the order in which it is made.
    steps.sort_by_cached_key(|step| match step {
        Step::Remove(..) => (0, None),
        Step::Rename(..) => (1, None),
        Step::Make(_, to) => (2, Some(to.clone())),
        Step::Link(..) => (3, None),
    });
    steps
}
