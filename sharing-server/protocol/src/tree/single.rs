//! Shares of a single file: what of their tree is that file.
//!
//! Members that keep to the rules leave one entry in the root directory, that file. Others may write what
//! they like; of that, nothing is looked at.

use std::collections::BTreeMap;

use super::Tree;
use super::node::{Kind, Node};
use crate::ids::NodeId;
use crate::names::EntryName;

impl Tree {
    /// The single file, and the name that it has in the root directory: the one that has the share's
    /// title for a name, or else the first file by name.
    pub fn single_file(&self) -> Option<(&EntryName, NodeId)> {
        let entries = self.node(NodeId::ROOT)?.entries()?;
        let files = || entries.iter().filter(|(_, id)| self.is_file(**id));
        let title = self.title_as_name();
        let titled = files().find(|(name, _)| Some(*name) == title.as_ref());
        titled
            .or_else(|| files().next())
            .map(|(name, id)| (name, *id))
    }

    /// What the share is called, where an entry can be called that.
    pub fn title_as_name(&self) -> Option<EntryName> {
        let (title, _) = self.description()?;
        title.as_str().parse().ok()
    }

    /// This tree without anything but the single file, which has this name.
    #[must_use]
    pub fn single(&self, name: &EntryName) -> Self {
        let mut tree = Self {
            description: self.description.clone(),
            ..Self::default()
        };
        let Some((id, node)) = self
            .single_file()
            .and_then(|(_, id)| Some((id, self.node(id)?)))
        else {
            return tree;
        };
        let file = Node {
            names: 1,
            ..node.clone()
        };
        tree.put(id, Some(file));
        let mut root = Node::root();
        root.kind = Kind::Directory(BTreeMap::from([(name.clone(), id)]));
        tree.put(NodeId::ROOT, Some(root));
        tree
    }

    fn is_file(&self, id: NodeId) -> bool {
        let node = self.node(id);
        node.is_some_and(|node| matches!(node.kind, Kind::File(_)))
    }
}
