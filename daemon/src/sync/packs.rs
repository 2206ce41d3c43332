//! Packs that a share has: what there is to know of their blocks, and bringing blocks here.
//!
//! A block that is brought is the one that the log names: the tags of its whole leaf, as the packs
//! have them, have to give the leaf hash of the tree. A member who seals a pack of his own under a
//! key that he has does not get into a file by that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};

use keyfold_crypto::{BLOCK_SIZE, LEAF_BLOCKS, Tag, leaf_hash};
use keyfold_fs::share::{Ciphertext, Fetch, Fetched, Unfetched, Wanted};
use keyfold_protocol::ids::{BlobId, NodeId, ShareId};
use keyfold_protocol::pack::{Descriptor, PackFront, PackKey};
use keyfold_protocol::tree::{FileContent, Tree, TreeLeaf};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Runtime;

use crate::remote::{Remote, RemoteError};

/// Descriptors kept in memory.
const KEPT: usize = 256 << 10;

/// A pack whose descriptors were opened.
pub(super) struct Opened {
    front: PackFront,
    pub(super) descriptors: Vec<Descriptor>,
}

#[derive(Default)]
struct Cache {
    packs: BTreeMap<BlobId, Arc<Opened>>,
    descriptors: usize,
}

/// The packs of a share.
pub(crate) struct Packs {
    remote: Remote,
    share: ShareId,
    cache: Mutex<Cache>,
    /// What the volume has, and what it is to have.
    trees: RwLock<[Arc<Tree>; 2]>,
}

/// Why there are no descriptors.
pub(super) enum PackError {
    /// The server did not give the bytes.
    Remote(RemoteError),
    /// The bytes are no pack of this key.
    Malformed,
}

impl From<RemoteError> for PackError {
    fn from(e: RemoteError) -> Self {
        Self::Remote(e)
    }
}

impl Packs {
    pub(super) fn new(remote: Remote, share: ShareId) -> Self {
        let none: Arc<Tree> = Arc::default();
        Self {
            remote,
            share,
            cache: Mutex::default(),
            trees: RwLock::new([Arc::clone(&none), none]),
        }
    }

    /// Says what the volume has, and what it is to have.
    pub(super) fn know(&self, trees: [Arc<Tree>; 2]) {
        *self.trees.write() = trees;
    }

    /// What there is to know of the blocks of a pack.
    async fn open(
        &self,
        remote: &Remote,
        (blob, key): (BlobId, &PackKey),
    ) -> Result<Arc<Opened>, PackError> {
        if let Some(known) = self.cache.lock().packs.get(&blob) {
            return Ok(Arc::clone(known));
        }
        let front = 0..PackFront::BYTES;
        let front = remote.blob(self.share, blob, front).await?;
        let front = front.first_chunk().ok_or(PackError::Malformed)?;
        let front = PackFront::decode(*front).map_err(|_| PackError::Malformed)?;
        let sealed = remote.blob(self.share, blob, front.descriptors());
        let descriptors = front.open(key, &sealed.await?);
        let opened = Arc::new(Opened {
            front,
            descriptors: descriptors.map_err(|_| PackError::Malformed)?,
        });
        let mut cache = self.cache.lock();
        if cache.descriptors > KEPT {
            *cache = Cache::default();
        }
        cache.descriptors += opened.descriptors.len();
        cache.packs.insert(blob, Arc::clone(&opened));
        Ok(opened)
    }

    /// Tags of the blocks of a leaf, as its packs have them.
    pub(super) async fn tags(
        &self,
        content: &FileContent,
        leaf: &TreeLeaf,
    ) -> Result<[Option<Tag>; LEAF_BLOCKS], PackError> {
        self.tags_by(&self.remote, content, leaf).await
    }

    async fn tags_by(
        &self,
        remote: &Remote,
        content: &FileContent,
        leaf: &TreeLeaf,
    ) -> Result<[Option<Tag>; LEAF_BLOCKS], PackError> {
        let mut tags = [None; LEAF_BLOCKS];
        for piece in &leaf.pieces {
            let key = content.packs.get(&piece.blob);
            let key = key.ok_or(PackError::Malformed)?;
            let pack = self.open(remote, (piece.blob, key)).await?;
            for (position, tag) in tags.iter_mut().enumerate() {
                if let Some(slot) = piece.slot_of(position as u8) {
                    let descriptor = pack.descriptors.get(slot as usize);
                    *tag = Some(descriptor.ok_or(PackError::Malformed)?.sealed.tag);
                }
            }
        }
        Ok(tags)
    }

    async fn bring(&self, remote: &Remote, wanted: &Wanted) -> Result<Vec<Fetched>, PackError> {
        let trees = self.trees.read().clone();
        let node = NodeId(wanted.node.0);
        let contents = trees.iter().filter_map(|tree| tree.node(node)?.content());
        for content in contents {
            if !self.is_named(remote, content, wanted).await? {
                continue;
            }
            return self.bring_blocks(remote, content, wanted).await;
        }
        Err(PackError::Malformed)
    }

    /// Whether the content has these blocks there, under the hashes of their leaves.
    async fn is_named(
        &self,
        remote: &Remote,
        content: &FileContent,
        wanted: &Wanted,
    ) -> Result<bool, PackError> {
        let mut checked = None;
        for (block, slot) in &wanted.blocks {
            let (index, position) = (block / LEAF_BLOCKS as u64, block % LEAF_BLOCKS as u64);
            let Some(leaf) = content.leaves.get(&index) else {
                return Ok(false);
            };
            let there = leaf.pieces.iter().any(|piece| {
                piece.blob.0 == wanted.blob.id.0 && piece.slot_of(position as u8) == Some(*slot)
            });
            if !there {
                return Ok(false);
            }
            if checked != Some(index) {
                let tags = self.tags_by(remote, content, leaf).await?;
                if leaf_hash(index, &tags) != leaf.hash {
                    return Err(PackError::Malformed);
                }
                checked = Some(index);
            }
        }
        Ok(true)
    }

    async fn bring_blocks(
        &self,
        remote: &Remote,
        content: &FileContent,
        wanted: &Wanted,
    ) -> Result<Vec<Fetched>, PackError> {
        let blob = BlobId(wanted.blob.id.0);
        let key = content.packs.get(&blob).ok_or(PackError::Malformed)?;
        let pack = self.open(remote, (blob, key)).await?;
        let mut slots: Vec<u32> = wanted.blocks.iter().map(|(_, slot)| *slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let mut brought: BTreeMap<u32, Box<Ciphertext>> = BTreeMap::new();
        for run in slots.chunk_by(|one, next| one + 1 == *next) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else {
                continue;
            };
            let (first, last) = (pack.front.block(*first), pack.front.block(*last));
            let (Some(first), Some(last)) = (first, last) else {
                return Err(PackError::Malformed);
            };
            let bytes = remote.blob(self.share, blob, first.start..last.end);
            let bytes = bytes.await?;
            let (blocks, _) = bytes.as_chunks::<BLOCK_SIZE>();
            for (slot, block) in run.iter().zip(blocks) {
                brought.insert(*slot, Box::new(*block));
            }
        }
        let block = |(_, slot): &(u64, u32)| {
            let descriptor = pack.descriptors.get(*slot as usize)?;
            Some(Fetched {
                sealed: descriptor.sealed,
                key: descriptor.key,
                ciphertext: brought.get(slot)?.clone(),
            })
        };
        let all: Option<Vec<Fetched>> = wanted.blocks.iter().map(block).collect();
        all.ok_or(PackError::Malformed)
    }
}

/// Brings blocks of all shares of a volume.
///
/// It has a connection and a thread of its own: whoever reads waits for nothing but the server.
pub(crate) struct Fetcher {
    shares: RwLock<BTreeMap<ShareId, Arc<Packs>>>,
    remote: Remote,
    runtime: Option<Runtime>,
    /// Whether the server is known not to answer.
    cut_off: AtomicBool,
}

impl Fetcher {
    /// Brings blocks from this server.
    pub(crate) fn new(remote: Remote) -> Result<Self, RemoteError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("keyfold-fetch")
            .enable_all()
            .build();
        Ok(Self {
            shares: RwLock::default(),
            remote,
            runtime: Some(runtime.map_err(|e| RemoteError::Setup(e.to_string()))?),
            cut_off: AtomicBool::new(false),
        })
    }

    /// Blocks of this share are brought by these.
    pub(crate) fn add(&self, packs: &Arc<Packs>) {
        self.shares.write().insert(packs.share, Arc::clone(packs));
    }

    /// Says whether the server answers: while it does not, nobody waits for it.
    pub(crate) fn set_cut_off(&self, cut_off: bool) {
        self.cut_off.store(cut_off, Ordering::Relaxed);
    }
}

impl Fetch for Fetcher {
    fn fetch(&self, wanted: &Wanted) -> Result<Vec<Fetched>, Unfetched> {
        if self.cut_off.load(Ordering::Relaxed) {
            return Err(Unfetched);
        }
        let packs = self.shares.read().get(&ShareId(wanted.share.0)).cloned();
        let packs = packs.ok_or(Unfetched)?;
        let runtime = self.runtime.as_ref().ok_or(Unfetched)?;
        let (remote, wanted) = (self.remote.clone(), wanted.clone());
        let (sender, brought) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            // Nobody may be waiting any more.
            let _ = sender.send(packs.bring(&remote, &wanted).await);
        });
        // A task that is dropped takes its sender along.
        brought
            .recv()
            .map_err(|_| Unfetched)?
            .map_err(|_| Unfetched)
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // Whoever drops it last may be within a runtime himself, which must not wait for another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
