//! A record's operations on their way into a tree: nodes that change are copied, and become the
//! tree's when all operations were applicable.

use std::collections::{BTreeMap, BTreeSet};

use super::node::{Kind, Node};
use super::{At, Tree};
use crate::ids::{NodeId, OperationId};
use crate::limits;
use crate::log::Void;
use crate::names::{EntryName, Message, Title};
use crate::operation::{Action, Operation, Place, Shape, What};

pub(super) struct Staging<'a> {
    tree: &'a Tree,
    at: At<'a>,
    staged: Staged,
    seen: BTreeSet<OperationId>,
}

#[derive(Default)]
pub(super) struct Staged {
    pub(super) nodes: BTreeMap<NodeId, Option<Node>>,
    pub(super) messages: Vec<Message>,
    pub(super) description: Option<(Title, Shape)>,
    pub(super) seen: Vec<OperationId>,
}

impl<'a> Staging<'a> {
    pub(super) fn new(tree: &'a Tree, at: At<'a>) -> Self {
        Self {
            tree,
            at,
            staged: Staged::default(),
            seen: BTreeSet::new(),
        }
    }

    pub(super) fn finish(self) -> Staged {
        self.staged
    }

    pub(super) fn apply(&mut self, operation: &Operation) -> Result<(), Void> {
        if self.tree.seen.contains(&operation.id) || !self.seen.insert(operation.id) {
            return Ok(());
        }
        self.staged.seen.push(operation.id);
        match &operation.action {
            Action::Make {
                at,
                node,
                what,
                mode,
                mtime,
            } => self.make(at, *node, Node::made(*node, what, *mode, *mtime), what),
            Action::Link { at, node } => self.link(at, *node),
            Action::Rename {
                from,
                to,
                node,
                replaced,
            } => self.rename([from, to], *node, *replaced),
            Action::Remove { at, node } => self.remove(at, *node),
            Action::SetAttr { node, mode, mtime } => {
                let node = self.get_mut(*node)?;
                node.mode = mode.unwrap_or(node.mode);
                node.mtime = mtime.unwrap_or(node.mtime);
                Ok(())
            }
            Action::SetXattr { node, name, value } => {
                let node = self.get_mut(*node)?;
                match value {
                    Some(value) => node.xattrs.insert(name.clone(), value.clone()),
                    None => node.xattrs.remove(name),
                };
                within(node.xattrs.len(), limits::XATTRS)
            }
            Action::FileKey { node, key, secret } => {
                let epoch = self.at.epoch;
                self.content_mut(*node)?.introduce(*key, secret, epoch)
            }
            Action::WriteFile(write) => {
                let (tree, at) = (self.tree, self.at);
                let content = self.content_mut(write.node)?;
                content.write(write, operation.id, &at, &|blob| {
                    tree.needed.contains_key(&blob)
                })?;
                self.get_mut(write.node)?.mtime = write.mtime;
                Ok(())
            }
            Action::Move(moved) => {
                let (tree, at) = (self.tree, self.at);
                let content = self.content_mut(moved.node)?;
                content.move_blocks(moved, &at, &|blob| tree.needed.contains_key(&blob))
            }
            Action::Message(text) => {
                self.staged.messages.push(text.clone());
                Ok(())
            }
            Action::Describe { title, shape } => {
                self.staged.description = Some((title.clone(), *shape));
                Ok(())
            }
        }
    }

    fn get(&self, id: NodeId) -> Result<&Node, Void> {
        let node = match self.staged.nodes.get(&id) {
            Some(staged) => staged.as_ref(),
            None => self.tree.nodes.get(&id),
        };
        node.ok_or(Void::NoSuchNode)
    }

    fn get_mut(&mut self, id: NodeId) -> Result<&mut Node, Void> {
        let tree = self.tree;
        let staged = self.staged.nodes.entry(id);
        staged
            .or_insert_with(|| tree.nodes.get(&id).cloned())
            .as_mut()
            .ok_or(Void::NoSuchNode)
    }

    fn entries_mut(&mut self, id: NodeId) -> Result<&mut BTreeMap<EntryName, NodeId>, Void> {
        match &mut self.get_mut(id)?.kind {
            Kind::Directory(entries) => Ok(entries),
            _ => Err(Void::NotADirectory),
        }
    }

    fn content_mut(&mut self, id: NodeId) -> Result<&mut super::FileContent, Void> {
        match &mut self.get_mut(id)?.kind {
            Kind::File(content) => Ok(content),
            _ => Err(Void::NotAFile),
        }
    }

    fn make(&mut self, at: &Place, id: NodeId, node: Node, what: &What) -> Result<(), Void> {
        if self.get(id).is_ok() {
            return Err(Void::NodeExists);
        }
        // An id that went away does not come back within one record.
        if self.staged.nodes.contains_key(&id) {
            return Err(Void::NodeExists);
        }
        self.staged.nodes.insert(id, Some(node));
        self.enter(at, id)?;
        if *what == What::Directory {
            self.get_mut(id)?.parent = Some(at.parent);
        }
        Ok(())
    }

    fn link(&mut self, at: &Place, id: NodeId) -> Result<(), Void> {
        if self.get(id)?.content().is_none() {
            return Err(Void::NotAFile);
        }
        self.enter(at, id)
    }

    /// Gives a node a name that nothing has.
    fn enter(&mut self, at: &Place, id: NodeId) -> Result<(), Void> {
        let entries = self.entries_mut(at.parent)?;
        if entries.contains_key(&at.name) {
            return Err(Void::EntryTaken);
        }
        entries.insert(at.name.clone(), id);
        self.get_mut(id)?.names += 1;
        Ok(())
    }

    /// Takes a name from the node that must have it.
    fn leave(&mut self, at: &Place, id: NodeId) -> Result<(), Void> {
        let entries = self.entries_mut(at.parent)?;
        if entries.get(&at.name) != Some(&id) {
            return Err(Void::WrongEntry);
        }
        entries.remove(&at.name);
        let node = self.get_mut(id)?;
        node.names = node.names.saturating_sub(1);
        Ok(())
    }

    fn remove(&mut self, at: &Place, id: NodeId) -> Result<(), Void> {
        if self
            .get(id)?
            .entries()
            .is_some_and(|entries| !entries.is_empty())
        {
            return Err(Void::NotEmpty);
        }
        self.leave(at, id)?;
        if self.get(id)?.names == 0 {
            self.staged.nodes.insert(id, None);
        }
        Ok(())
    }

    fn rename(
        &mut self,
        [from, to]: [&Place; 2],
        id: NodeId,
        replaced: Option<NodeId>,
    ) -> Result<(), Void> {
        if let Some(replaced) = replaced {
            let entries = self.get(replaced)?.entries();
            // Looked at before the node leaves, which may be within what it replaces.
            if entries.is_some_and(|entries| !entries.is_empty()) {
                return Err(Void::NotEmpty);
            }
            if entries.is_some() != self.get(id)?.entries().is_some() {
                return Err(Void::OtherKind);
            }
        }
        self.leave(from, id)?;
        if let Some(replaced) = replaced {
            self.remove(to, replaced)?;
        }
        if self.get(id)?.entries().is_some() {
            if self.lies_within(to.parent, id)? {
                return Err(Void::Cycle);
            }
            self.get_mut(id)?.parent = Some(to.parent);
        }
        self.enter(to, id)
    }

    /// Whether `inner` is `outer` or below it.
    fn lies_within(&self, inner: NodeId, outer: NodeId) -> Result<bool, Void> {
        let mut at = Some(inner);
        while let Some(id) = at {
            if id == outer {
                return Ok(true);
            }
            at = self.get(id)?.parent;
        }
        Ok(false)
    }
}

fn within(count: usize, most: usize) -> Result<(), Void> {
    if count <= most {
        Ok(())
    } else {
        Err(Void::TooMany)
    }
}
