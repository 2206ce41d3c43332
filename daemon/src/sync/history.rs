//! What a share was before: earlier versions of a file and what was removed from a folder, as the log
//! tells.
//!
//! The log is applied anew from its first record, or from the first snapshot after what this account has
//! no keys for. Contents are read by the rules of what is read now: tags of whole leaves are compared
//! with the hash that the log has.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_crypto::{BLOCK_SIZE, LEAF_BLOCKS};
use keyfold_protocol::ids::{BlobId, NodeId, OperationId, Seq, ShareId, Time};
use keyfold_protocol::names::{EntryName, UserName};
use keyfold_protocol::operation::{Action, Operation};
use keyfold_protocol::record::Kind;
use keyfold_protocol::roster::Role;
use keyfold_protocol::tree::{At, FileContent, Tree};
use zeroize::Zeroizing;

use super::error::SyncError;
use super::packs::{PackError, Packs, opened, wanted};
use super::take::place;
use crate::account::Session;
use crate::sharing::{ContentRecord, Said, Shared};

/// When something was written, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) seq: Seq,
    pub(crate) time: Time,
    pub(crate) author: UserName,
}

/// A content that a file had.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) written: Written,
    pub(crate) node: NodeId,
    pub(crate) content: FileContent,
    /// Packs that it lay in before it was put elsewhere.
    left: BTreeSet<BlobId>,
}

impl Version {
    fn of(record: &ContentRecord, node: NodeId, content: &FileContent) -> Self {
        Self {
            written: written(record),
            node,
            content: content.clone(),
            left: BTreeSet::new(),
        }
    }

    /// The same content lies elsewhere now.
    fn moves_to(&mut self, content: &FileContent) {
        self.left.extend(self.content.packs.keys());
        self.content = content.clone();
    }
}

/// A file that was removed, with what it had then.
#[derive(Debug, Clone)]
pub(crate) struct Removed {
    pub(crate) when: Written,
    /// Names on the way to it, from the folder that was asked about.
    pub(crate) path: Vec<EntryName>,
    pub(crate) last: Version,
}

/// How long something can still be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    /// As long as what is there now.
    Always,
    /// The server deletes it then.
    Until(Time),
    /// It is deleted.
    Gone,
}

/// What a share was.
pub(crate) struct Past {
    /// What it is.
    now: Tree,
    /// Versions of each file, the oldest first.
    versions: BTreeMap<NodeId, Vec<Version>>,
    /// Files that were removed, with the folders that they were in, the nearest first.
    removed: Vec<(Removed, Vec<NodeId>)>,
    /// Before this record nothing can be read.
    pub(crate) from: Option<Seq>,
    /// Blobs that go, and when.
    dropped: BTreeMap<BlobId, Time>,
}

impl Past {
    /// What a share was, as far as this account can know.
    pub(crate) async fn of(session: &Session<'_>, share: ShareId) -> Result<Self, SyncError> {
        let mut shared = Shared::open_with_content(session, share, None).await?;
        let mut records = shared.take_content();
        // Keys come with the record that gives them, after what they are for.
        shared.learn_all(&mut records).await?;
        let dropped = session.remote().dropped_blobs(share).await?.blobs;
        let mut past = Self {
            now: Tree::default(),
            versions: BTreeMap::new(),
            removed: Vec::new(),
            from: None,
            dropped: dropped.iter().map(|one| (one.blob, one.until)).collect(),
        };
        let first = past.begin(&shared, &records).await?;
        for record in &records[first..] {
            past.take(record);
        }
        Ok(past)
    }

    /// Finds where to begin. Returns the number of the first record that is applied.
    async fn begin(
        &mut self,
        shared: &Shared<'_, '_>,
        records: &[ContentRecord],
    ) -> Result<usize, SyncError> {
        let unreadable = |record: &ContentRecord| {
            record.kind == Kind::Content && matches!(record.said, Said::Unreadable)
        };
        let Some(last) = records.iter().rposition(unreadable) else {
            return Ok(0);
        };
        for (number, record) in records.iter().enumerate().skip(last + 1) {
            let Said::Snapshot(body) = &record.said else {
                continue;
            };
            if record.role != Some(Role::Owner) {
                continue;
            }
            if let Ok(tree) = shared.open_snapshot(record.epoch, body).await? {
                self.begin_with(record, tree);
                return Ok(number + 1);
            }
        }
        Err(SyncError::NoHistory)
    }

    /// Begins with a tree, whose files have one version each that is known.
    fn begin_with(&mut self, record: &ContentRecord, tree: Tree) {
        self.from = Some(record.seq);
        for (node, content) in tree.nodes().filter_map(|(id, n)| Some((id, n.content()?))) {
            let version = Version::of(record, node, content);
            self.versions.entry(node).or_default().push(version);
        }
        self.now = tree;
    }

    fn take(&mut self, record: &ContentRecord) {
        let Said::Operations(operations) = &record.said else {
            return;
        };
        let gone = self.losing(record, operations);
        let at = At {
            seq: record.seq,
            epoch: record.epoch,
            added: &record.added,
            dropped: &record.dropped,
        };
        // What is void has no effect.
        let Ok(change) = self.now.apply(at, operations) else {
            return;
        };
        for node in change.nodes {
            let Some(content) = self.now.node(node).and_then(|node| node.content()) else {
                continue;
            };
            let known = self.versions.entry(node).or_default();
            match known.last_mut() {
                Some(last) if last.content.version == content.version => {
                    if last.content.leaves != content.leaves {
                        last.moves_to(content);
                    }
                }
                _ if content.version == OperationId::NONE => {}
                _ => known.push(Version::of(record, node, content)),
            }
        }
        let gone = gone.into_iter();
        self.removed
            .extend(gone.filter(|(removed, _)| self.now.node(removed.last.node).is_none()));
    }

    /// Files that lose a name by these operations, as they are before.
    fn losing(
        &self,
        record: &ContentRecord,
        operations: &[Operation],
    ) -> Vec<(Removed, Vec<NodeId>)> {
        let lost = operations
            .iter()
            .filter_map(|operation| match &operation.action {
                Action::Remove { at, node } => Some((at, *node)),
                Action::Rename { to, replaced, .. } => Some((to, (*replaced)?)),
                _ => None,
            });
        let lost: Vec<_> = lost.collect();
        if lost.is_empty() {
            return Vec::new();
        }
        let parents = parents(&self.now);
        let removed = lost.into_iter().filter_map(|(at, node)| {
            let content = self.now.node(node)?.content()?;
            let (mut path, mut folders) = (vec![at.name.clone()], vec![at.parent]);
            while let Some((parent, name)) = folders.last().and_then(|dir| parents.get(dir)) {
                path.push(name.clone());
                folders.push(*parent);
            }
            let removed = Removed {
                when: written(record),
                path,
                last: Version::of(record, node, content),
            };
            Some((removed, folders))
        });
        removed.collect()
    }

    /// Versions of a file, the oldest first.
    pub(crate) fn versions(&self, node: NodeId) -> &[Version] {
        self.versions.get(&node).map_or(&[], Vec::as_slice)
    }

    /// Files that were removed from a folder or what is in it, in that order, and are not back.
    pub(crate) fn removed_from(&self, folder: NodeId) -> Vec<Removed> {
        let in_it = self.removed.iter().filter_map(|(removed, folders)| {
            let depth = folders.iter().position(|dir| *dir == folder)?;
            let back = self.now.node(removed.last.node).is_some();
            (!back).then(|| {
                let mut removed = removed.clone();
                removed.path.truncate(depth + 1);
                removed.path.reverse();
                removed
            })
        });
        in_it.collect()
    }

    /// How long a version can still be had.
    pub(crate) fn there(&self, version: &Version) -> There {
        let mut there = There::Always;
        for blob in version.content.packs.keys() {
            if self.now.needs(blob) {
                continue;
            }
            there = match (self.dropped.get(blob), there) {
                (None, _) => return There::Gone,
                (Some(until), There::Until(other)) => There::Until(other.min(*until)),
                (Some(until), _) => There::Until(*until),
            };
        }
        there
    }

    /// Blobs that only versions of these files had which are not there any more.
    pub(crate) fn only_past(&self, nodes: &BTreeSet<NodeId>) -> Vec<BlobId> {
        let versions = nodes.iter().flat_map(|node| self.versions(*node));
        let blobs: BTreeSet<BlobId> = versions
            .flat_map(|version| version.content.packs.keys().chain(&version.left).copied())
            .filter(|blob| self.dropped.contains_key(blob) && !self.now.needs(blob))
            .collect();
        blobs.into_iter().collect()
    }
}

fn written(record: &ContentRecord) -> Written {
    Written {
        seq: record.seq,
        time: record.time,
        author: record.author.clone(),
    }
}

/// Where each directory is.
fn parents(tree: &Tree) -> BTreeMap<NodeId, (NodeId, EntryName)> {
    let mut parents = BTreeMap::new();
    for (id, node) in tree.nodes() {
        for (name, child) in node.entries().into_iter().flatten() {
            parents.insert(*child, (id, name.clone()));
        }
    }
    parents
}

/// Reads a version, leaf by leaf.
pub(crate) struct Reading<'s, 'a> {
    session: &'s Session<'a>,
    packs: Packs,
    version: Version,
}

/// A block and where it is in the file, in bytes.
pub(crate) type Plain = (u64, Zeroizing<Vec<u8>>);

impl<'s, 'a> Reading<'s, 'a> {
    pub(crate) fn of(session: &'s Session<'a>, share: ShareId, version: Version) -> Self {
        Self {
            session,
            packs: Packs::new(session.remote().clone(), share),
            version,
        }
    }

    /// Leaves that have any block.
    pub(crate) fn leaves(&self) -> Vec<u64> {
        self.version.content.leaves.keys().copied().collect()
    }

    /// The blocks of a leaf. None where the server does not have what the log names.
    pub(crate) async fn leaf(&self, index: u64) -> Result<Option<Vec<Plain>>, SyncError> {
        let content = &self.version.content;
        let mut of_blobs: BTreeMap<BlobId, Vec<(u64, u32)>> = BTreeMap::new();
        for position in 0..LEAF_BLOCKS as u8 {
            if let Some((blob, slot)) = place(content.leaves.get(&index), position) {
                let block = index * LEAF_BLOCKS as u64 + u64::from(position);
                of_blobs.entry(blob).or_default().push((block, slot));
            }
        }
        let mut plain = Vec::new();
        for (blob, blocks) in of_blobs {
            let Some(key) = content.packs.get(&blob) else {
                return Ok(None);
            };
            let node = self.version.node;
            let wanted = wanted(self.packs.share, node, (blob, key), blocks);
            let remote = self.session.remote();
            let brought = self.packs.bring_of(remote, content, &wanted).await;
            let fetched = match brought {
                Ok(Some(fetched)) => fetched,
                Err(PackError::Remote(error)) if error.is_silence() => return Err(error.into()),
                Ok(None) | Err(PackError::Malformed | PackError::Remote(_)) => return Ok(None),
            };
            for ((block, _), fetched) in wanted.blocks.iter().zip(fetched) {
                let Some(data) = opened(content, (node, *block), &fetched) else {
                    return Ok(None);
                };
                plain.push((block * BLOCK_SIZE as u64, data));
            }
        }
        Ok(Some(plain))
    }
}
