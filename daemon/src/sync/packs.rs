//! Packs that a share has: what there is to know of their blocks, and bringing blocks here.
//!
//! A block that is brought is the one that the log names: the tags of its whole leaf, as the packs
//! have them, have to give the leaf hash of the tree. A member who seals a pack of his own under a
//! key that he has does not get into a file by that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use keyfold_crypto::{BLOCK_SIZE, FileKey, LEAF_BLOCKS, Tag, leaf_hash};
use keyfold_fs::layout::{BlobId as EngineBlobId, BlobKey, ShareId as EngineShareId};
use keyfold_fs::share::{Blob, Ciphertext, Fetched, LeafView, Lies, Spare, SpareBlock, Wanted};
use keyfold_fs::volume::ContentView;
use keyfold_protocol::ids::{BlobId, NodeId, ShareId};
use keyfold_protocol::pack::{Descriptor, PackFront, PackKey};
use keyfold_protocol::tree::{FileContent, Tree, TreeLeaf};
use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use super::ahead::{Ahead, Bytes, Piece, small};
use super::shown::engine_node;
use super::take::place;
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
    pub(super) share: ShareId,
    cache: Mutex<Cache>,
    ahead: Ahead,
    /// What the volume has, and what it is to have.
    trees: RwLock<[Arc<Tree>; 2]>,
}

/// Blocks of a file that lie in a pack, each with its slot there.
pub(super) fn wanted(
    share: ShareId,
    node: NodeId,
    (blob, key): (BlobId, &PackKey),
    blocks: Vec<(u64, u32)>,
) -> Wanted {
    Wanted {
        share: EngineShareId(share.0),
        node: engine_node(node),
        blob: Blob {
            id: EngineBlobId(blob.0),
            key: BlobKey::from_bytes(*key.secret()),
            size: 0,
            state: 0,
        },
        blocks,
    }
}

/// What is in a block of a file, if it verifies.
pub(super) fn opened(
    content: &FileContent,
    (node, block): (NodeId, u64),
    fetched: &Fetched,
) -> Option<Zeroizing<Vec<u8>>> {
    let row = content.keys.get(&fetched.key)?;
    let cipher = FileKey::from_parts(fetched.key, *row.secret).cipher();
    let mut data = Zeroizing::new(fetched.ciphertext.to_vec());
    let items = [(block, fetched.sealed)];
    let done = cipher.open_run(&node.file(), &items, &mut data);
    done.ok().map(|()| data)
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
            ahead: Ahead::default(),
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
        let front = self.front(remote, blob).await?;
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

    /// Whether a pack has so many blocks, as who made it sealed it.
    pub(super) async fn is_of(
        &self,
        pack: (BlobId, &PackKey),
        blocks: u32,
    ) -> Result<bool, PackError> {
        let opened = self.open(&self.remote, pack).await?;
        Ok(opened.front.blocks() == blocks)
    }

    /// How many blocks a pack has, as the server says.
    pub(super) async fn blocks_of(&self, blob: BlobId) -> Result<u32, PackError> {
        let known = self.cache.lock().packs.get(&blob).map(|pack| pack.front);
        let front = match known {
            Some(front) => front,
            None => self.front(&self.remote, blob).await?,
        };
        Ok(front.blocks())
    }

    async fn front(&self, remote: &Remote, blob: BlobId) -> Result<PackFront, PackError> {
        let front = remote.blob(self.share, blob, 0..PackFront::BYTES).await?;
        let front = front.first_chunk().ok_or(PackError::Malformed)?;
        PackFront::decode(*front).map_err(|_| PackError::Malformed)
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

    pub(super) async fn bring(
        &self,
        remote: &Remote,
        wanted: &Wanted,
    ) -> Result<Vec<Fetched>, PackError> {
        let trees = self.trees.read().clone();
        let node = NodeId(wanted.node.0);
        let contents = trees.iter().filter_map(|tree| tree.node(node)?.content());
        for content in contents {
            if let Some(brought) = self.bring_of(remote, content, wanted).await? {
                return Ok(brought);
            }
        }
        Err(PackError::Malformed)
    }

    /// The blocks as a content has them; none where it has them elsewhere.
    pub(super) async fn bring_of(
        &self,
        remote: &Remote,
        content: &FileContent,
        wanted: &Wanted,
    ) -> Result<Option<Vec<Fetched>>, PackError> {
        if !self.is_named(remote, content, wanted).await? {
            return Ok(None);
        }
        self.bring_blocks(remote, content, wanted).await.map(Some)
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

    /// The blocks of a file that lie here as they lie in packs, which the server was just seen to have:
    /// those in `there` were seen before.
    pub(super) async fn spare(
        &self,
        remote: &Remote,
        (node, view): (NodeId, &ContentView),
        there: &mut BTreeSet<BlobId>,
    ) -> Result<Spare, PackError> {
        let mut spare = Spare {
            node: engine_node(node),
            blobs: Vec::new(),
            blocks: Vec::new(),
        };
        let base = Arc::clone(&self.trees.read()[0]);
        let Some(content) = base.node(node).and_then(|node| node.content()) else {
            return Ok(spare);
        };
        let mut used = BTreeSet::new();
        for leaf in view.leaves() {
            let index = u64::from(leaf.index);
            let Some(known) = content.leaves.get(&index) else {
                continue;
            };
            let Some(tags) = self.spare_tags(remote, content, (leaf, known)).await? else {
                continue;
            };
            for block in leaf.blocks.iter().filter(|block| block.lies == Lies::Here) {
                let tag = tags[usize::from(block.position)];
                let place = place(Some(known), block.position);
                if let (Some(tag), Some((blob, slot))) = (tag, place) {
                    used.insert(blob);
                    spare.blocks.push(SpareBlock {
                        block: index * LEAF_BLOCKS as u64 + u64::from(block.position),
                        blob: EngineBlobId(blob.0),
                        slot,
                        tag,
                    });
                }
            }
        }
        for blob in used {
            let key = content.packs.get(&blob).ok_or(PackError::Malformed)?;
            if there.insert(blob) {
                let front = remote.blob(self.share, blob, 0..PackFront::BYTES).await;
                if let Err(error) = front {
                    there.remove(&blob);
                    return Err(error.into());
                }
            }
            spare.blobs.push(Blob {
                id: EngineBlobId(blob.0),
                key: BlobKey::from_bytes(*key.secret()),
                size: 0,
                state: 0,
            });
        }
        Ok(spare)
    }

    /// The tags of a leaf as others have it; none where it is another here, or nothing of it is here.
    pub(super) async fn spare_tags(
        &self,
        remote: &Remote,
        content: &FileContent,
        (leaf, known): (&LeafView, &TreeLeaf),
    ) -> Result<Option<[Option<Tag>; LEAF_BLOCKS]>, PackError> {
        if leaf.blocks.iter().all(|block| block.lies != Lies::Here) {
            return Ok(None);
        }
        match leaf.hash {
            Some(hash) if hash == known.hash => {
                let mut tags = [None; LEAF_BLOCKS];
                for block in &leaf.blocks {
                    tags[usize::from(block.position)] = block.sealed.map(|(sealed, _)| sealed.tag);
                }
                Ok(Some(tags))
            }
            Some(_) => Ok(None),
            // Of blocks that never were here the tags are not, either.
            None => {
                let tags = self.tags_by(remote, content, known).await?;
                let same = leaf_hash(u64::from(leaf.index), &tags) == known.hash;
                Ok(same.then_some(tags))
            }
        }
    }

    /// Blocks of a pack, the first of which are wanted, and the slot they begin at: from what was asked for
    /// ahead, or from the server.
    async fn bytes(
        &self,
        remote: &Remote,
        pack: &Opened,
        (blob, slots): (BlobId, Range<u32>),
    ) -> Result<(u32, Bytes), PackError> {
        let ask = async |slots: &Range<u32>| -> Result<Bytes, PackError> {
            let last = slots.end.saturating_sub(1);
            let ends = (pack.front.block(slots.start), pack.front.block(last));
            let (Some(first), Some(last)) = ends else {
                return Err(PackError::Malformed);
            };
            let bytes = remote.blob(self.share, blob, first.start..last.end);
            Ok(Arc::new(bytes.await?))
        };
        match self.ahead.find(blob, slots.start) {
            Ok(piece) => {
                let bytes = piece.bytes.get_or_try_init(|| ask(&piece.slots)).await?;
                Ok((piece.slots.start, Arc::clone(bytes)))
            }
            Err(next) => {
                let slots = slots.start..slots.end.min(next);
                Ok((slots.start, ask(&slots).await?))
            }
        }
    }

    /// What is to be asked for ahead of whoever read these.
    pub(super) fn read_on(&self, wanted: &[Wanted]) -> Vec<Piece> {
        let blocks = || wanted.iter().flat_map(|one| one.blocks.iter());
        let (first, last) = (
            blocks().map(|(b, _)| b).min(),
            blocks().map(|(b, _)| b).max(),
        );
        let (Some(first), Some(last), Some(one)) = (first, last, wanted.first()) else {
            return Vec::new();
        };
        let node = NodeId(one.node.0);
        let trees = self.trees.read().clone();
        let Some(content) = trees[0].node(node).and_then(|node| node.content()) else {
            return Vec::new();
        };
        let Some((blob, slots)) = small(content) else {
            return self.ahead.read_on(node, content, *first..*last + 1);
        };
        let known = self.cache.lock().packs.get(&blob).map(|pack| pack.front);
        known.map_or_else(Vec::new, |front| {
            self.ahead.read_beside(node, (blob, slots), front.blocks())
        })
    }

    /// Brings a piece that was asked for ahead.
    pub(super) async fn load(
        &self,
        remote: &Remote,
        (node, piece): (NodeId, &Piece),
    ) -> Result<(), PackError> {
        let base = Arc::clone(&self.trees.read()[0]);
        let content = base.node(node).and_then(|node| node.content());
        let key = content.and_then(|content| content.packs.get(&piece.blob));
        let key = key.ok_or(PackError::Malformed)?;
        let pack = self.open(remote, (piece.blob, key)).await?;
        let slots = piece.slots.clone();
        self.bytes(remote, &pack, (piece.blob, slots)).await?;
        Ok(())
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
            let mut at = *first;
            while at <= *last {
                let (from, bytes) = self.bytes(remote, &pack, (blob, at..*last + 1)).await?;
                let (blocks, _) = bytes.as_chunks::<BLOCK_SIZE>();
                for (slot, block) in (from..=*last).zip(blocks).filter(|(s, _)| *s >= at) {
                    brought.insert(slot, Box::new(*block));
                }
                at = from + blocks.len() as u32;
            }
        }
        // No two blocks are the same one: its tag says which it is.
        let mut block = |(_, slot): &(u64, u32)| {
            let descriptor = pack.descriptors.get(*slot as usize)?;
            Some(Fetched {
                sealed: descriptor.sealed,
                key: descriptor.key,
                ciphertext: brought.remove(slot)?,
            })
        };
        let all: Option<Vec<Fetched>> = wanted.blocks.iter().map(&mut block).collect();
        all.ok_or(PackError::Malformed)
    }
}
