//! What is to be sent, in the order in which others can have it: names and attributes first, and then
//! files, each whole, so many in a record that what is sent stays sent.

use std::collections::{BTreeMap, VecDeque};

use keyfold_fs::share::{Mark, PendingMark};
use keyfold_fs::vfs::Ino;
use keyfold_protocol::ids::NodeId;
use keyfold_protocol::operation::Action;

use super::compose::{attribute_actions, name_action};
use super::merge::is_file;
use super::names::{Step, steps};
use super::shown::{LOCAL, Nodes, Place, Seen};

/// What is to be sent.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Names and attributes of all but the files.
    pub(super) first: Vec<Action>,
    pub(super) files: VecDeque<FilePlan>,
}

/// A file whose content may be another, and what is said of it beside.
#[derive(Debug)]
pub(super) struct FilePlan {
    pub(super) node: NodeId,
    pub(super) ino: Ino,
    /// What makes it, and removes the file whose name it takes.
    pub(super) before: Vec<Action>,
    /// Other names of a new file, and attributes.
    pub(super) after: Vec<Action>,
    /// Marks that are done with once others have it.
    pub(super) marks: Vec<u64>,
}

impl Plan {
    /// The operations that make `nodes` of `base`, of which content is looked at unless it is `held`.
    /// Steps are as others are to be told them.
    pub(super) fn of(
        (base, nodes): (&Nodes, &Nodes),
        seen: &Seen,
        is_held: impl Fn(&NodeId) -> bool,
        told: impl Fn(Step) -> Step,
    ) -> Self {
        let mut plan = Self::default();
        let mut files: BTreeMap<NodeId, FilePlan> = BTreeMap::new();
        for (id, node) in nodes
            .iter()
            .filter(|(id, node)| is_file(node) && !is_held(id))
        {
            if let (LOCAL, Some(ino)) = (node.version, seen.inos.get(id)) {
                files.insert(*id, FilePlan::new(*id, *ino));
            }
        }
        let steps: Vec<Step> = steps(base, nodes).into_iter().map(told).collect();
        let makers: BTreeMap<Place, NodeId> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Make(id, to) if files.contains_key(id) => Some((to.clone(), *id)),
                _ => None,
            })
            .collect();
        for step in steps {
            let Some(action) = name_action(&step, nodes) else {
                continue;
            };
            let list = match &step {
                // A file that takes the place of another comes in the record in which that goes.
                Step::Remove(id, from) if base.get(id).is_some_and(is_file) => {
                    let maker = makers.get(from).and_then(|id| files.get_mut(id));
                    maker.map(|file| &mut file.before)
                }
                Step::Make(id, _) => files.get_mut(id).map(|file| &mut file.before),
                Step::Link(id, _) if !base.contains_key(id) => {
                    files.get_mut(id).map(|file| &mut file.after)
                }
                _ => None,
            };
            list.unwrap_or(&mut plan.first).push(action);
        }
        for (id, node) in nodes {
            let actions = attribute_actions(*id, base.get(id), node);
            match files.get_mut(id) {
                Some(file) => file.after.extend(actions),
                None => plan.first.extend(actions),
            }
        }
        // Files of a directory, which are likely to be read one after the other, come to lie so.
        let place = |file: &FilePlan| nodes.get(&file.node)?.names.first();
        let mut files: Vec<FilePlan> = files.into_values().collect();
        files.sort_by(|one, other| place(one).cmp(&place(other)));
        plan.files = files.into();
        plan
    }

    /// Says which marks are done with.
    pub(super) fn confirm(&mut self, marks: &[PendingMark], sent: &[u64]) {
        let mut of_files: BTreeMap<Ino, Vec<u64>> = BTreeMap::new();
        for pending in marks {
            if let (Mark::Content(ino), true) = (&pending.mark, sent.contains(&pending.number)) {
                of_files.entry(*ino).or_default().push(pending.number);
            }
        }
        for file in &mut self.files {
            file.marks = of_files.remove(&file.ino).unwrap_or_default();
        }
    }

    /// Files whose content may be another.
    pub(super) fn changed(&self) -> impl Iterator<Item = NodeId> {
        self.files.iter().map(|file| file.node)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.files.is_empty()
    }
}

impl FilePlan {
    fn new(node: NodeId, ino: Ino) -> Self {
        Self {
            node,
            ino,
            before: Vec::new(),
            after: Vec::new(),
            marks: Vec::new(),
        }
    }
}
