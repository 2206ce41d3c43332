//! Packs that go to another share as they are: those of the parent in which nothing lies but what a share
//! within it begins with.
//!
//! Who takes part in the new share gets the keys of such packs. So nothing may lie in them that is not there
//! for him to read: no file that stays in the parent, and no earlier version.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyfold_fs::share::{LeafView, Lies};
use keyfold_fs::volume::{ContentView, Volume};
use keyfold_protocol::ids::{BlobId, Epoch, NodeId, ShareId};
use keyfold_protocol::operation::PackRef;
use keyfold_protocol::pack::PackKey;
use keyfold_protocol::tree::{FileContent, TreeLeaf};

use super::SyncError;
use super::arrived::ArrivedLeaf;
use super::packs::Packs;
use super::plan::FilePlan;
use super::points::Former;
use super::write::is_current;
use crate::remote::Remote;

/// Packs that the server is asked to take over at once (32 MiB).
const AT_ONCE: usize = 8;

/// A pack of the parent.
struct Pack {
    blob: BlobId,
    key: PackKey,
    /// Blocks in it that the share is to have.
    blocks: u32,
}

/// Which packs of the parent a share takes over, and what of it lies in them.
pub(super) struct Adoption {
    remote: Remote,
    share: ShareId,
    from: Packs,
    /// In the order in which files are sent.
    packs: Vec<Pack>,
    /// Packs before this one were looked at.
    at: usize,
    numbers: BTreeMap<BlobId, usize>,
    leaves: BTreeMap<NodeId, Vec<(BlobId, ArrivedLeaf)>>,
    there: BTreeSet<BlobId>,
}

impl Adoption {
    /// What a share has of its parent, of files that are to be sent.
    pub(super) fn of<'p>(
        (remote, share, former): (&Remote, ShareId, &Former),
        files: impl Iterator<Item = &'p FilePlan>,
        volume: &Arc<Volume>,
    ) -> Result<Self, SyncError> {
        let mut adoption = Self {
            remote: remote.clone(),
            share,
            from: Packs::new(remote.clone(), former.share),
            packs: Vec::new(),
            at: 0,
            numbers: BTreeMap::new(),
            leaves: BTreeMap::new(),
            there: BTreeSet::new(),
        };
        for file in files {
            if let Some(known) = former.file(file.node) {
                let view = volume.view_content(file.ino)?;
                adoption.look_at(file.node, known, &view);
            }
        }
        Ok(adoption)
    }

    fn look_at(
        &mut self,
        node: NodeId,
        (content, epoch): (&FileContent, Epoch),
        view: &ContentView,
    ) {
        let is_ours = |leaf: &LeafView| {
            leaf.blocks.iter().all(|block| {
                let key = block.sealed.map(|(_, key)| key);
                let is_current = |key| is_current(Some((content, epoch)), view.keys(), key);
                block.lies == Lies::Here && key.is_some_and(is_current)
            })
        };
        for leaf in view.leaves().iter().filter(|leaf| is_ours(leaf)) {
            let index = u64::from(leaf.index);
            let known = content.leaves.get(&index);
            let known = known.filter(|known| leaf.hash == Some(known.hash));
            let Some((blob, arrived)) = known.and_then(|known| whole((node, index), known)) else {
                continue;
            };
            let Some(key) = content.packs.get(&blob) else {
                continue;
            };
            let number = *self.numbers.entry(blob).or_insert(self.packs.len());
            if number == self.packs.len() {
                self.packs.push(Pack {
                    blob,
                    key: key.clone(),
                    blocks: 0,
                });
            }
            self.packs[number].blocks += arrived.written.count_ones();
            self.leaves.entry(node).or_default().push((blob, arrived));
        }
    }

    /// Notes what of a file lies in packs that were taken over.
    pub(super) async fn file(&mut self, node: NodeId) -> Vec<(PackRef, ArrivedLeaf)> {
        let leaves = self.leaves.remove(&node).unwrap_or_default();
        let mut found = Vec::new();
        for (blob, leaf) in leaves {
            let Some(number) = self.numbers.get(&blob).copied() else {
                continue;
            };
            while self.at <= number {
                self.take_over().await;
            }
            if self.there.contains(&blob) {
                let key = self.packs[number].key.clone();
                found.push((PackRef { blob, key }, leaf));
            }
        }
        found
    }

    /// Has the next packs taken over that are the share's alone. Whatever fails, their blocks are sent.
    async fn take_over(&mut self) {
        let end = self.packs.len().min(self.at + AT_ONCE);
        let mut blobs = Vec::new();
        for pack in &self.packs[self.at..end] {
            let is_whole = self.from.is_of((pack.blob, &pack.key), pack.blocks).await;
            if is_whole.unwrap_or(false) {
                blobs.push(pack.blob);
            }
        }
        self.at = end;
        if blobs.is_empty() {
            return;
        }
        let from = self.from.share;
        if let Ok(adopted) = self.remote.adopt_blobs(self.share, from, &blobs).await {
            self.there.extend(adopted);
        }
    }
}

/// The blocks of a leaf, if they lie side by side in one pack.
fn whole((node, index): (NodeId, u64), leaf: &TreeLeaf) -> Option<(BlobId, ArrivedLeaf)> {
    let [piece] = leaf.pieces.as_slice() else {
        return None;
    };
    let arrived = ArrivedLeaf {
        node,
        index,
        hash: leaf.hash,
        written: piece.live,
        slot: piece.slot,
    };
    (piece.live == piece.named).then_some((piece.blob, arrived))
}
