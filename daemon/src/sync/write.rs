//! The content of files on its way to others: what differs from what they have, packed as it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyfold_crypto::{
    BLOCK_SIZE, BlockCipher, FileKey, KeyId, LEAF_BLOCKS, LeafHash, Sealed, Tag, Tweak,
    content_root, leaf_hash,
};
use keyfold_fs::error::FsError;
use keyfold_fs::share::{BlockView, Ciphertext, LeafView, Lies};
use keyfold_fs::volume::ContentView;
use keyfold_protocol::ids::{BlobId, ContentRoot, Epoch, NodeId, OperationId};
use keyfold_protocol::limits;
use keyfold_protocol::operation::{Action, ChangedLeaf, Mtime, PackRef, WriteFile};
use keyfold_protocol::pack::{Descriptor, PackKey, blob_id, pack};
use keyfold_protocol::tree::FileContent;
use zeroize::{Zeroize, Zeroizing};

use super::error::SyncError;
use super::packs::{PackError, Packs};
use super::shown::mtime;
use crate::remote::Remote;
use keyfold_protocol::ids::ShareId;

/// Blocks on their way into packs, which are sent as soon as they are full.
pub(super) struct Packer<'r> {
    remote: &'r Remote,
    share: ShareId,
    key: PackKey,
    blocks: Vec<(Descriptor, Box<Ciphertext>)>,
    done: Vec<PackRef>,
}

impl<'r> Packer<'r> {
    pub(super) fn new(remote: &'r Remote, share: ShareId) -> Result<Self, SyncError> {
        Ok(Self {
            remote,
            share,
            key: PackKey::generate()?,
            blocks: Vec::new(),
            done: Vec::new(),
        })
    }

    /// Takes blocks that have to lie beside one another. Returns the number of their pack, and the
    /// slot of the first.
    async fn add(
        &mut self,
        blocks: Vec<(Descriptor, Box<Ciphertext>)>,
    ) -> Result<(u32, u32), SyncError> {
        if self.blocks.len() + blocks.len() > limits::PACK_BLOCKS {
            self.send().await?;
        }
        let at = (self.done.len() as u32, self.blocks.len() as u32);
        self.blocks.extend(blocks);
        Ok(at)
    }

    async fn send(&mut self) -> Result<(), SyncError> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        let blocks: Vec<(Descriptor, &[u8])> = self
            .blocks
            .iter()
            .map(|(descriptor, block)| (*descriptor, block.as_slice()))
            .collect();
        let bytes = pack(&self.key, &blocks).map_err(|_| SyncError::TooLarge)?;
        let blob = blob_id(&bytes);
        self.remote.put_blob(self.share, blob, &bytes).await?;
        let key = std::mem::replace(&mut self.key, PackKey::generate()?);
        self.done.push(PackRef { blob, key });
        self.blocks.clear();
        Ok(())
    }

    /// Sends what is left. Returns all packs, by number.
    pub(super) async fn finish(mut self) -> Result<Vec<PackRef>, SyncError> {
        self.send().await?;
        Ok(self.done)
    }
}

/// A file's new content, whose packs have no names yet.
pub(super) struct Draft {
    pub(super) keys: Vec<Action>,
    write: WriteFile,
}

impl Draft {
    /// The operations, and the blobs that they name.
    pub(super) fn finish(mut self, packs: &[PackRef]) -> (Vec<Action>, Vec<BlobId>) {
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        for leaf in self.write.leaves.iter_mut().filter(|l| l.written != 0) {
            let next = numbers.len() as u32;
            let number = *numbers.entry(leaf.pack).or_insert(next);
            if number == next {
                self.write.packs.push(packs[leaf.pack as usize].clone());
            }
            leaf.pack = number;
        }
        let blobs = self.write.packs.iter().map(|pack| pack.blob).collect();
        self.keys.push(Action::WriteFile(self.write));
        (self.keys, blobs)
    }
}

/// A file whose content may differ.
pub(super) struct File<'v> {
    pub(super) node: NodeId,
    pub(super) view: &'v ContentView,
    /// What the others have.
    pub(super) known: Option<&'v FileContent>,
    pub(super) epoch: Epoch,
}

/// A leaf as it is to be.
struct NewLeaf {
    hash: LeafHash,
    holes: u64,
    written: Vec<(u8, Descriptor, Box<Ciphertext>)>,
}

/// Whether a key may seal what is sent now: it is new, or of this epoch.
pub(super) fn is_current(known: Option<&FileContent>, key: KeyId, epoch: Epoch) -> bool {
    let row = known.and_then(|content| content.keys.get(&key));
    row.is_none_or(|row| row.epoch == epoch)
}

impl File<'_> {
    /// What others have to be told of the content; none where they have it.
    pub(super) async fn draft(
        &self,
        packs: &Packs,
        packer: &mut Packer<'_>,
    ) -> Result<Option<Draft>, SyncError> {
        let mut leaves = Vec::new();
        let mut hashes: BTreeMap<u64, LeafHash> = BTreeMap::new();
        let mut used: BTreeSet<KeyId> = BTreeSet::new();
        for leaf in self.view.leaves() {
            let index = u64::from(leaf.index);
            let Some(new) = self.leaf(packs, leaf).await? else {
                let known = self.known_leaf(index).map(|leaf| leaf.hash);
                hashes.insert(index, known.unwrap_or(LeafHash::EMPTY));
                continue;
            };
            hashes.insert(index, new.hash);
            used.extend(new.written.iter().map(|(_, descriptor, _)| descriptor.key));
            let bits = |all: u64, (position, ..): &(u8, Descriptor, Box<Ciphertext>)| {
                all | 1_u64 << position
            };
            let written = new.written.iter().fold(0, bits);
            let blocks = new.written.into_iter().map(|(_, d, block)| (d, block));
            let (pack, slot) = match written {
                0 => (0, 0),
                _ => packer.add(blocks.collect()).await?,
            };
            leaves.push(ChangedLeaf {
                index,
                hash: new.hash,
                written,
                holes: new.holes,
                pack,
                slot,
            });
        }
        self.empty_leaves(&hashes, &mut leaves);
        self.finish((leaves, hashes), &used)
    }

    fn known_leaf(&self, index: u64) -> Option<&keyfold_protocol::tree::TreeLeaf> {
        self.known.and_then(|content| content.leaves.get(&index))
    }

    /// Leaves that have no block any more.
    fn empty_leaves(&self, here: &BTreeMap<u64, LeafHash>, leaves: &mut Vec<ChangedLeaf>) {
        let end = self.view.size().div_ceil((LEAF_BLOCKS * BLOCK_SIZE) as u64);
        let known = self.known.into_iter().flat_map(|content| &content.leaves);
        for (index, leaf) in known.filter(|(i, _)| **i < end && !here.contains_key(i)) {
            leaves.push(ChangedLeaf {
                index: *index,
                hash: LeafHash::EMPTY,
                written: 0,
                holes: leaf.pieces.iter().fold(0, |all, piece| all | piece.live),
                pack: 0,
                slot: 0,
            });
        }
        leaves.sort_by_key(|leaf| leaf.index);
    }

    fn finish(
        &self,
        (leaves, hashes): (Vec<ChangedLeaf>, BTreeMap<u64, LeafHash>),
        used: &BTreeSet<KeyId>,
    ) -> Result<Option<Draft>, SyncError> {
        let size = self.view.size();
        if leaves.is_empty() && self.known.map_or(0, |content| content.size) == size {
            return Ok(None);
        }
        if leaves.len() > limits::CHANGED_LEAVES / 2 {
            return Err(SyncError::TooLarge);
        }
        let hashes: Vec<(u64, LeafHash)> = hashes
            .into_iter()
            .filter(|(_, hash)| *hash != LeafHash::EMPTY)
            .collect();
        let root = content_root(&self.node.file(), size, &hashes);
        let unknown = |key: &&FileKey| {
            let known = self.known.map(|content| &content.keys);
            used.contains(&key.id()) && !known.is_some_and(|keys| keys.contains_key(&key.id()))
        };
        let introduce = |key: &FileKey| Action::FileKey {
            node: self.node,
            key: key.id(),
            secret: Zeroizing::new(*key.secret()),
        };
        let keys = self.view.keys().iter().filter(unknown).map(introduce);
        Ok(Some(Draft {
            keys: keys.collect(),
            write: WriteFile {
                node: self.node,
                base: self.known.map_or(OperationId::NONE, |c| c.version),
                size,
                root: ContentRoot(root.ok_or(SyncError::TooLarge)?),
                mtime: self.mtime(),
                keys: used.iter().copied().collect(),
                packs: Vec::new(),
                leaves,
            },
        }))
    }

    fn mtime(&self) -> Mtime {
        mtime(self.view.mtime())
    }

    /// What a leaf becomes; none where it is what the others have.
    async fn leaf(&self, packs: &Packs, leaf: &LeafView) -> Result<Option<NewLeaf>, SyncError> {
        let known = self.known_leaf(u64::from(leaf.index));
        if let (Some(known), Some(hash)) = (known, leaf.hash)
            && known.hash == hash
        {
            return Ok(None);
        }
        let old = match (self.known, known) {
            (Some(content), Some(leaf)) => {
                let tags = packs.tags(content, leaf).await;
                tags.map_err(|e| match e {
                    PackError::Remote(e) => e.into(),
                    PackError::Malformed => SyncError::Volume(FsError::Unreachable),
                })?
            }
            _ => [None; LEAF_BLOCKS],
        };
        let mut tags = [None; LEAF_BLOCKS];
        let mut written = Vec::new();
        for block in &leaf.blocks {
            let position = usize::from(block.position);
            let tag = block.sealed.map(|(sealed, _)| sealed.tag);
            tags[position] = match block.lies {
                Lies::Remote(..) => Some(tag.or(old[position]).ok_or(FsError::Unreachable)?),
                Lies::Here if tag.is_some() && tag == old[position] => tag,
                Lies::Here => {
                    let (descriptor, data) = self.block(leaf.index, block)?;
                    written.push((block.position, descriptor, data));
                    Some(descriptor.sealed.tag)
                }
            };
        }
        let gone =
            |(position, tag): &(usize, &Option<Tag>)| tag.is_some() && tags[*position].is_none();
        let holes = old.iter().enumerate().filter(gone);
        let holes = holes.fold(0, |all, (position, _)| all | 1_u64 << position);
        if written.is_empty() && holes == 0 {
            return Ok(None);
        }
        Ok(Some(NewLeaf {
            hash: leaf_hash(u64::from(leaf.index), &tags),
            holes,
            written,
        }))
    }

    /// A block as it is sent: as it lies, or, where its key is of an earlier epoch, sealed anew.
    fn block(
        &self,
        leaf: u32,
        block: &BlockView,
    ) -> Result<(Descriptor, Box<Ciphertext>), SyncError> {
        let (sealed, key) = block.sealed.ok_or(FsError::Unreachable)?;
        let mut data = Box::new([0; BLOCK_SIZE]);
        self.view.read(leaf, block.position, &mut data)?;
        if is_current(self.known, key, self.epoch) {
            return Ok((Descriptor { sealed, key }, data));
        }
        let file = self.node.file();
        let index = u64::from(leaf) * LEAF_BLOCKS as u64 + u64::from(block.position);
        let old = self.cipher(|known| known.id() == key)?;
        let current = |known: &FileKey| is_current(self.known, known.id(), self.epoch);
        let new = self.cipher(current)?;
        let opened = old.open_run(&file, &[(index, sealed)], data.as_mut_slice());
        opened.map_err(|_| FsError::Unreachable)?;
        let mut fresh = [Sealed {
            tweak: Tweak([0; 16]),
            tag: Tag([0; 32]),
        }];
        let resealed = new.seal_run(&file, &[index], data.as_mut_slice(), &mut fresh);
        if let Err(e) = resealed {
            data.zeroize();
            return Err(e.into());
        }
        let [sealed] = fresh;
        let key = new.key_id();
        Ok((Descriptor { sealed, key }, data))
    }

    fn cipher(&self, which: impl Fn(&FileKey) -> bool) -> Result<Arc<BlockCipher>, SyncError> {
        let key = self.view.keys().iter().rev().find(|key| which(key));
        let key = key.ok_or(FsError::Unreachable)?;
        Ok(Arc::new(key.cipher()))
    }
}
