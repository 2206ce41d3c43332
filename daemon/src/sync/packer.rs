//! Blocks on their way into packs, of which several go to the server at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyfold_fs::share::Ciphertext;
use keyfold_protocol::ids::{BlobId, ShareId};
use keyfold_protocol::limits;
use keyfold_protocol::operation::PackRef;
use keyfold_protocol::pack::{Descriptor, PackKey, blob_id, pack};
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::arrived::{Arrived, ArrivedLeaf};
use super::error::SyncError;
use crate::remote::{Remote, RemoteError};

/// Packs on their way at once: as many are in memory, of 4 MiB each, and one that is being filled.
const AT_ONCE: usize = 4;

/// A block as it is sent.
pub(super) type Block = (Descriptor, Box<Ciphertext>);

/// Blocks on their way into packs, which are sent as soon as they are full.
pub(super) struct Packer {
    remote: Remote,
    share: ShareId,
    arrived: Arc<Mutex<Arrived>>,
    filling: Option<Filling>,
    /// Packs by number; none of the one that is being filled.
    packs: Vec<Option<PackRef>>,
    on_the_way: JoinSet<Result<(), RemoteError>>,
}

/// A pack that is being filled.
struct Filling {
    number: usize,
    blocks: Vec<Block>,
    leaves: Vec<ArrivedLeaf>,
}

impl Packer {
    pub(super) fn new(remote: Remote, share: ShareId, arrived: Arc<Mutex<Arrived>>) -> Self {
        Self {
            remote,
            share,
            arrived,
            filling: None,
            packs: Vec::new(),
            on_the_way: JoinSet::new(),
        }
    }

    /// How many packs there are.
    pub(super) fn packs(&self) -> usize {
        self.packs.len()
    }

    /// Where blocks of a leaf lie already that arrived before: the number of the pack, and the slot of
    /// the first. The slot of `wanted` is not asked for.
    pub(super) fn find(&mut self, wanted: &ArrivedLeaf) -> Option<(u32, u32)> {
        let place = (wanted.node, wanted.index);
        let found = self
            .arrived
            .lock()
            .find(place, (wanted.hash, wanted.written));
        let (pack, slot) = found?;
        let known = |known: &Option<PackRef>| known.as_ref().is_some_and(|k| k.blob == pack.blob);
        let number = self.packs.iter().position(known).unwrap_or_else(|| {
            self.packs.push(Some(pack));
            self.packs.len() - 1
        });
        Some((number as u32, slot))
    }

    /// Takes the blocks of a leaf, which have to lie beside one another. Returns the number of their
    /// pack, and the slot of the first.
    pub(super) async fn add(
        &mut self,
        blocks: Vec<Block>,
        mut leaf: ArrivedLeaf,
    ) -> Result<(u32, u32), SyncError> {
        let filled = self.filling.as_ref().map_or(0, |f| f.blocks.len());
        if filled + blocks.len() > limits::PACK_BLOCKS {
            self.send().await?;
        }
        let packs = &mut self.packs;
        let filling = self.filling.get_or_insert_with(|| {
            packs.push(None);
            Filling {
                number: packs.len() - 1,
                blocks: Vec::new(),
                leaves: Vec::new(),
            }
        });
        leaf.slot = filling.blocks.len() as u32;
        let at = (filling.number as u32, leaf.slot);
        filling.blocks.extend(blocks);
        filling.leaves.push(leaf);
        Ok(at)
    }

    /// Sends what was filled, once there is room for another on its way.
    async fn send(&mut self) -> Result<(), SyncError> {
        let Some(filled) = self.filling.take() else {
            return Ok(());
        };
        while self.on_the_way.len() >= AT_ONCE {
            self.one_arrives().await?;
        }
        let key = PackKey::generate()?;
        let blocks: Vec<(Descriptor, &[u8])> = filled
            .blocks
            .iter()
            .map(|(descriptor, block)| (*descriptor, block.as_slice()))
            .collect();
        let bytes = pack(&key, &blocks).map_err(|_| SyncError::TooLarge)?;
        let made = PackRef {
            blob: blob_id(&bytes),
            key,
        };
        self.packs[filled.number] = Some(made.clone());
        let (remote, share) = (self.remote.clone(), self.share);
        let arrived = Arc::clone(&self.arrived);
        self.on_the_way.spawn(async move {
            remote.put_blob(share, made.blob, &bytes).await?;
            arrived.lock().add(&made, filled.leaves);
            Ok(())
        });
        Ok(())
    }

    async fn one_arrives(&mut self) -> Result<(), SyncError> {
        match self.on_the_way.join_next().await {
            Some(Ok(arrived)) => Ok(arrived?),
            // Only a panic ends a task otherwise, as nobody aborts one.
            Some(Err(_)) => Err(SyncError::Busy),
            None => Ok(()),
        }
    }

    /// Sends what is left, and waits until all is there. Returns all packs, by number.
    pub(super) async fn finish(mut self) -> Result<Vec<PackRef>, SyncError> {
        self.send().await?;
        while !self.on_the_way.is_empty() {
            self.one_arrives().await?;
        }
        Ok(self.packs.into_iter().flatten().collect())
    }
}

/// The packs that an operation names, which it counts from 0 on in the order in which it names them.
pub(super) fn numbered<'n>(
    packs: &[PackRef],
    names: impl Iterator<Item = &'n mut u32>,
) -> Vec<PackRef> {
    let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
    let mut named = Vec::new();
    for name in names {
        let next = numbers.len() as u32;
        let number = *numbers.entry(*name).or_insert(next);
        if number == next {
            named.push(packs[*name as usize].clone());
        }
        *name = number;
    }
    named
}

/// Which of these blobs the server does not have.
pub(super) async fn missing(
    remote: &Remote,
    share: ShareId,
    blobs: &[BlobId],
) -> Result<Vec<BlobId>, SyncError> {
    let mut missing = Vec::new();
    for part in blobs.chunks(limits::BLOB_LIST) {
        missing.extend(remote.missing_blobs(share, part).await?);
    }
    Ok(missing)
}
