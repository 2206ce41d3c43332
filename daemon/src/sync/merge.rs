//! What a share becomes when it changed here and elsewhere: of what both had, what others have now,
//! and what is here. Names and attributes; contents are decided before.
//!
//! An edit beats a delete; a name that is taken twice keeps both; a move that would put a directory
//! into itself is undone here.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_protocol::ids::NodeId;
use keyfold_protocol::names::EntryName;
use keyfold_protocol::operation::{Mtime, What};

use super::shown::{Nodes, Place, Shown};

/// The three states that are merged.
pub(super) struct Sides<'a> {
    /// What both had.
    pub(super) base: &'a Nodes,
    /// What is here.
    pub(super) here: &'a Nodes,
    /// What the others have.
    pub(super) there: &'a Nodes,
    /// Nodes of which what is here was put elsewhere.
    pub(super) given_up: &'a BTreeSet<NodeId>,
    /// Directories that have something which is not sent.
    pub(super) stay: &'a BTreeSet<NodeId>,
}

/// How a name of a conflict is made: the n-th for a name.
pub(super) type Rename<'a> = &'a dyn Fn(&EntryName, usize) -> Option<EntryName>;

/// What it becomes.
pub(super) fn merge(sides: &Sides<'_>, rename: Rename<'_>) -> Nodes {
    let mut merged = Nodes::new();
    let ids = sides.base.keys().chain(sides.here.keys());
    let ids: BTreeSet<NodeId> = ids.chain(sides.there.keys()).copied().collect();
    for id in ids {
        if let Some(node) = merge_node(sides, id) {
            merged.insert(id, node);
        }
    }
    keep_parents(sides, &mut merged);
    undo_cycles(sides, &mut merged);
    part_names(sides, &mut merged, rename);
    merged
}

/// What it becomes where it may not be changed here: what the others have, and directories that have
/// something which is not sent.
pub(super) fn as_there(sides: &Sides<'_>, rename: Rename<'_>) -> Nodes {
    let mut merged = sides.there.clone();
    keep_parents(sides, &mut merged);
    part_names(sides, &mut merged, rename);
    merged
}

fn merge_node(sides: &Sides<'_>, id: NodeId) -> Option<Shown> {
    let of = |nodes: &Nodes| nodes.get(&id).cloned();
    let (base, here, there) = (of(sides.base), of(sides.here), of(sides.there));
    if sides.given_up.contains(&id) {
        return there;
    }
    match (base, here, there) {
        (None, here, None) => here,
        (None, None, there) => there,
        (_, Some(here), Some(there)) if here == there => Some(here),
        (None, Some(here), Some(there)) => Some(Shown {
            version: there.version,
            ..here
        }),
        (Some(base), Some(here), None) => is_edited(&base, &here).then_some(here),
        (Some(base), None, Some(there)) => is_edited(&base, &there).then_some(there),
        (Some(_), None, None) => None,
        (Some(base), Some(here), Some(there)) => Some(merge_fields(&base, here, there)),
    }
}

/// Whether a node was changed so that it outlives its removal. What is in a directory and stays keeps
/// the directory; that its names changed does not.
fn is_edited(base: &Shown, node: &Shown) -> bool {
    if node.what != What::Directory {
        return node != base;
    }
    let unstamped = Shown {
        mtime: base.mtime,
        ..node.clone()
    };
    unstamped != *base
}

/// The stamp of what both changed: of a directory, whose names both changed, the later.
fn pick_stamp(base: &Shown, here: &Shown, there: &Shown) -> Option<Mtime> {
    let both = here.mtime != base.mtime && there.mtime != base.mtime;
    if both && there.what == What::Directory {
        let order = |mtime: &Mtime| (mtime.seconds, mtime.nanoseconds);
        return here.mtime.into_iter().chain(there.mtime).max_by_key(order);
    }
    pick(&base.mtime, here.mtime, there.mtime)
}

/// Of an attribute that both changed, what is here: whoever sends later has it.
fn pick<T: PartialEq>(base: &T, here: T, there: T) -> T {
    if here == *base { there } else { here }
}

fn merge_fields(base: &Shown, here: Shown, there: Shown) -> Shown {
    let mut xattrs = there.xattrs.clone();
    for (name, value) in &here.xattrs {
        if base.xattrs.get(name) != Some(value) {
            xattrs.insert(name.clone(), value.clone());
        }
    }
    for name in base.xattrs.keys() {
        if !here.xattrs.contains_key(name) {
            xattrs.remove(name);
        }
    }
    Shown {
        mode: pick(&base.mode, here.mode, there.mode),
        mtime: pick_stamp(base, &here, &there),
        what: there.what,
        xattrs,
        names: pick(&base.names, here.names, there.names),
        version: there.version,
    }
}

/// Directories that have anything stay.
fn keep_parents(sides: &Sides<'_>, merged: &mut Nodes) {
    loop {
        let names = merged.values().flat_map(|node| &node.names);
        let parents = names.map(|(parent, _)| parent).chain(sides.stay);
        let parents: BTreeSet<NodeId> = parents.copied().collect();
        let missing = parents.into_iter().filter(|id| !merged.contains_key(id));
        let found: Vec<(NodeId, Shown)> = missing
            .filter_map(|id| {
                let known = [sides.there, sides.here, sides.base];
                let node = known.iter().find_map(|nodes| nodes.get(&id))?;
                Some((id, node.clone()))
            })
            .collect();
        if found.is_empty() {
            return;
        }
        merged.extend(found);
    }
}

fn undo_cycles(sides: &Sides<'_>, merged: &mut Nodes) {
    for _ in 0..=merged.len() {
        let reached = reachable(merged);
        let lost = merged.iter().find(|(id, node)| {
            let other = sides.there.get(id).map(|there| &there.names);
            !reached.contains(id) && other.is_some_and(|other| *other != node.names)
        });
        let Some((id, _)) = lost else { return };
        let id = *id;
        if let (Some(node), Some(there)) = (merged.get_mut(&id), sides.there.get(&id)) {
            node.names.clone_from(&there.names);
        }
    }
}

fn reachable(nodes: &Nodes) -> BTreeSet<NodeId> {
    let mut children: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in nodes {
        for (parent, _) in &node.names {
            children.entry(*parent).or_default().push(*id);
        }
    }
    let mut reached = BTreeSet::from([NodeId::ROOT]);
    let mut left = vec![NodeId::ROOT];
    while let Some(id) = left.pop() {
        let below = children.get(&id).into_iter().flatten();
        left.extend(below.filter(|child| reached.insert(**child)));
    }
    reached
}

/// Of two with one name, the one that the others know keeps it; but a share point always, as what has its
/// name elsewhere was changed there before that became known.
fn part_names(sides: &Sides<'_>, merged: &mut Nodes, rename: Rename<'_>) {
    let mut holders: BTreeMap<Place, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in merged.iter() {
        for place in &node.names {
            holders.entry(place.clone()).or_default().push(*id);
        }
    }
    let mut taken: BTreeSet<Place> = holders.keys().cloned().collect();
    for (place, mut ids) in holders.into_iter().filter(|(_, ids)| ids.len() > 1) {
        let known = |id: &NodeId| {
            let there = sides.there.get(id);
            !there.is_some_and(|there| there.names.contains(&place))
        };
        let point = |id: &NodeId| {
            let node = merged.get(id);
            !node.is_some_and(|node| matches!(node.what, What::SharePoint(_)))
        };
        ids.sort_by_key(|id| (point(id), known(id), *id));
        for id in ids.into_iter().skip(1) {
            let other = (1..)
                .map_while(|n| rename(&place.1, n))
                .map(|name| (place.0, name))
                .find(|other| !taken.contains(other));
            if let (Some(other), Some(node)) = (other, merged.get_mut(&id)) {
                taken.insert(other.clone());
                node.names.remove(&place);
                node.names.insert(other);
            }
        }
    }
}

/// `stem (conflict, USER, DATE).ext`, as short as names have to be.
pub(super) fn conflict_name(
    name: &EntryName,
    (user, date): (&str, &str),
    n: usize,
) -> Option<EntryName> {
    let name = name.as_str();
    let dot = name.rfind('.').filter(|dot| *dot > 0).unwrap_or(name.len());
    let (stem, extension) = name.split_at(dot);
    let count = if n > 1 {
        format!(" {n}")
    } else {
        String::new()
    };
    let tail = format!(" (conflict, {user}, {date}{count}){extension}");
    let room = keyfold_protocol::limits::NAME_BYTES.checked_sub(tail.len());
    let end = match room {
        Some(room) => stem.floor_char_boundary(room.min(stem.len())),
        // An extension that is all of the name.
        None => return format!("conflict, {user}, {date}{count}").parse().ok(),
    };
    format!("{}{tail}", &stem[..end]).parse().ok()
}

/// Whether a node is a file.
pub(super) fn is_file(node: &Shown) -> bool {
    node.what == What::File
}
