//! The content of files on its way to others: what differs from what they have, packed as it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyfold_crypto::{
    BLOCK_SIZE, BlockCipher, FileKey, KeyId, LEAF_BLOCKS, LeafHash, Sealed, Tag, Tweak,
    content_root, leaf_hash,
};
use keyfold_fs::error::FsError;
use keyfold_fs::share::{BlockView, LeafView, Lies};
use keyfold_fs::volume::ContentView;
use keyfold_protocol::ids::{BlobId, ContentRoot, Epoch, NodeId, OperationId};
use keyfold_protocol::limits;
use keyfold_protocol::operation::{Action, ChangedLeaf, Mtime, Operation, PackRef, WriteFile};
use keyfold_protocol::pack::Descriptor;
use keyfold_protocol::tree::{FileContent, TreeLeaf};
use zeroize::{Zeroize, Zeroizing};

use super::arrived::ArrivedLeaf;
use super::compose::{Work, say};
use super::error::SyncError;
use super::lost::Lost;
use super::packer::{Block, Packer, numbered};
use super::packs::{PackError, Packs};
use super::shown::mtime;

/// Changed leaves in one write (2 GiB of a file), so that a record has room for it.
const LEAVES_OF_A_WRITE: usize = limits::CHANGED_LEAVES / 2;
/// Leaves that are looked at between two looks at how far it is (4 MiB).
const LEAVES_AT_ONCE: usize = 16;

/// A file's new content, whose packs have no names yet.
pub(super) struct Draft {
    keys: Vec<Action>,
    /// One over the other.
    writes: Vec<(OperationId, WriteFile)>,
}

impl Draft {
    /// The operations, and the blobs that they name.
    pub(super) fn finish(self, packs: &[PackRef]) -> Result<Vec<Work>, SyncError> {
        let mut work = Vec::new();
        say(&mut work, self.keys)?;
        for (id, mut write) in self.writes {
            let written = write.leaves.iter_mut().filter(|leaf| leaf.written != 0);
            write.packs = numbered(packs, written.map(|leaf| &mut leaf.pack));
            let blobs = write.packs.iter().map(|pack| pack.blob).collect();
            let action = Action::WriteFile(write);
            work.push((Operation { id, action }, blobs));
        }
        Ok(work)
    }
}

/// A file whose content may differ.
pub(super) struct File<'v> {
    pub(super) node: NodeId,
    pub(super) view: &'v ContentView,
    /// What the others have.
    pub(super) known: Option<&'v FileContent>,
    /// What is known of its keys, and the epoch that is in force there.
    pub(super) keys: Option<(&'v FileContent, Epoch)>,
    /// Whether something was written here.
    pub(super) is_marked: bool,
}

/// A leaf as it is to be.
struct NewLeaf {
    hash: LeafHash,
    holes: u64,
    /// A bit for each block that is sent.
    written: u64,
    /// Pack and slot of the first of them.
    place: (u32, u32),
}

/// Blocks of a leaf that others do not have.
#[derive(Default)]
struct Unsent<'l> {
    /// As they lie.
    as_they_lie: Vec<&'l BlockView>,
    /// Sealed anew.
    resealed: Vec<(u8, Block)>,
}

/// A bit for each block of a leaf that lies in one of these blobs.
pub(super) fn blocks_in(leaf: Option<&TreeLeaf>, is_one: impl Fn(&BlobId) -> bool) -> u64 {
    let pieces = leaf.into_iter().flat_map(|leaf| &leaf.pieces);
    let pieces = pieces.filter(|piece| is_one(&piece.blob));
    pieces.fold(0, |all, piece| all | piece.live)
}

/// Whether one of a file's keys may seal what is sent now: it is new, or of this epoch.
pub(super) fn is_current(
    known: Option<(&FileContent, Epoch)>,
    keys: &[FileKey],
    key: KeyId,
) -> bool {
    let Some((content, epoch)) = known else {
        return true;
    };
    if let Some(row) = content.keys.get(&key) {
        return row.epoch == epoch;
    }
    // One that others follow was passed over before: somebody may have it who was in another share.
    let mut later = keys.iter().rev().take_while(|later| later.id() != key);
    later.all(|later| !content.keys.contains_key(&later.id()))
}

/// A file whose new content is being drafted, a few leaves at a time.
pub(super) struct Drafting<'v> {
    file: File<'v>,
    at: usize,
    leaves: Vec<ChangedLeaf>,
    hashes: BTreeMap<u64, LeafHash>,
    used: BTreeSet<KeyId>,
}

impl<'v> Drafting<'v> {
    pub(super) fn of(file: File<'v>) -> Self {
        Self {
            file,
            at: 0,
            leaves: Vec::new(),
            hashes: BTreeMap::new(),
            used: BTreeSet::new(),
        }
    }

    /// Looks at a few leaves more. Returns the bytes in them, none after the last.
    pub(super) async fn go_on(
        &mut self,
        from: (&Packs, &Lost),
        packer: &mut Packer,
    ) -> Result<Option<u64>, SyncError> {
        let view = self.file.view;
        let end = view.leaves().len().min(self.at + LEAVES_AT_ONCE);
        if self.at == end {
            return Ok(None);
        }
        let mut blocks = 0;
        for leaf in &view.leaves()[self.at..end] {
            blocks += leaf.blocks.len();
            let index = u64::from(leaf.index);
            let new = self.file.leaf(from, packer, leaf, &mut self.used).await?;
            let Some(new) = new else {
                let known = self.file.known_leaf(index).map(|leaf| leaf.hash);
                self.hashes.insert(index, known.unwrap_or(LeafHash::EMPTY));
                continue;
            };
            self.hashes.insert(index, new.hash);
            self.leaves.push(ChangedLeaf {
                index,
                hash: new.hash,
                written: new.written,
                holes: new.holes,
                pack: new.place.0,
                slot: new.place.1,
            });
        }
        self.at = end;
        Ok(Some((blocks * BLOCK_SIZE) as u64))
    }

    /// What others have to be told of the content; none where they have it.
    pub(super) fn finish(mut self) -> Result<Option<Draft>, SyncError> {
        self.file.empty_leaves(&self.hashes, &mut self.leaves);
        self.file.finish((self.leaves, self.hashes), &self.used)
    }
}

impl File<'_> {
    fn is_current(&self, key: KeyId) -> bool {
        is_current(self.keys, self.view.keys(), key)
    }

    fn known_leaf(&self, index: u64) -> Option<&TreeLeaf> {
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
            writes: self.writes((leaves, hashes), used)?,
        }))
    }

    /// The content as one write, or more than fits in one as several: each leaves the file as long as it
    /// was, or as far as it has come.
    fn writes(
        &self,
        (mut left, hashes): (Vec<ChangedLeaf>, BTreeMap<u64, LeafHash>),
        used: &BTreeSet<KeyId>,
    ) -> Result<Vec<(OperationId, WriteFile)>, SyncError> {
        let known = self.known.into_iter().flat_map(|content| &content.leaves);
        let mut now: BTreeMap<u64, LeafHash> = known.map(|(i, leaf)| (*i, leaf.hash)).collect();
        let mut base = self.known.map_or(OperationId::NONE, |c| c.version);
        let mut writes = Vec::new();
        loop {
            let later = left.split_off(left.len().min(LEAVES_OF_A_WRITE));
            let leaves = std::mem::replace(&mut left, later);
            let is_last = left.is_empty();
            let size = match leaves.last() {
                Some(last) if !is_last => {
                    let end = (last.index + 1) * (LEAF_BLOCKS * BLOCK_SIZE) as u64;
                    let was = self.known.map_or(0, |content| content.size);
                    end.min(self.view.size()).max(was)
                }
                _ => self.view.size(),
            };
            if is_last {
                now.clone_from(&hashes);
            } else {
                now.extend(leaves.iter().map(|leaf| (leaf.index, leaf.hash)));
            }
            now.retain(|_, hash| *hash != LeafHash::EMPTY);
            let all: Vec<(u64, LeafHash)> = now.iter().map(|(i, hash)| (*i, *hash)).collect();
            let root = content_root(&self.node.file(), size, &all);
            let writes_any = leaves.iter().any(|leaf| leaf.written != 0);
            let keys = used.iter().copied().filter(|_| writes_any);
            let write = WriteFile {
                node: self.node,
                base,
                size,
                root: ContentRoot(root.ok_or(SyncError::TooLarge)?),
                mtime: self.mtime(),
                keys: keys.collect(),
                packs: Vec::new(),
                leaves,
            };
            base = OperationId::generate()?;
            writes.push((base, write));
            if is_last {
                return Ok(writes);
            }
        }
    }

    fn mtime(&self) -> Mtime {
        mtime(self.view.mtime())
    }

    /// What a leaf becomes; none where it is what the others have.
    async fn leaf(
        &self,
        (packs, lost): (&Packs, &Lost),
        packer: &mut Packer,
        leaf: &LeafView,
        used: &mut BTreeSet<KeyId>,
    ) -> Result<Option<NewLeaf>, SyncError> {
        let known = self.known_leaf(u64::from(leaf.index));
        let same = known.is_some_and(|known| leaf.hash == Some(known.hash));
        let lost = blocks_in(known, |blob| lost.contains(blob));
        if lost == 0 && (same || (known.is_some() && !self.is_marked)) {
            return Ok(None);
        }
        let is_unknown =
            |block: &BlockView| lost & 1 << block.position != 0 && block.sealed.is_none();
        if leaf.blocks.iter().any(is_unknown) {
            // Whoever has it sends it. What was written here beside cannot be said without.
            return if self.is_marked {
                Err(FsError::Unreachable.into())
            } else {
                Ok(None)
            };
        }
        let old = self.old_tags(packs, (leaf, known), lost).await?;
        let mut tags = [None; LEAF_BLOCKS];
        let unsent = self.unsent(leaf, &old, &mut tags)?;
        let was = blocks_in(known, |_| true);
        let holes = tags.iter().enumerate().filter(|(_, tag)| tag.is_none());
        let holes = holes.fold(0, |all, (position, _)| all | (was & 1_u64 << position));
        let resealed = unsent.resealed.iter().map(|(position, _)| *position);
        let as_they_lie = unsent.as_they_lie.iter().map(|block| block.position);
        let written = resealed.chain(as_they_lie);
        let written = written.fold(0, |all, position| all | 1_u64 << position);
        if written == 0 && holes == 0 {
            return Ok(None);
        }
        let to_be = ArrivedLeaf {
            node: self.node,
            index: u64::from(leaf.index),
            hash: leaf_hash(u64::from(leaf.index), &tags),
            written,
            slot: 0,
        };
        let hash = to_be.hash;
        let place = match written {
            0 => (0, 0),
            _ => self.send(unsent, to_be, (packer, used)).await?,
        };
        Ok(Some(NewLeaf {
            hash,
            holes,
            written,
            place,
        }))
    }

    /// Tags of the blocks of a leaf as the server has them: none of what it lost.
    async fn old_tags(
        &self,
        packs: &Packs,
        (leaf, known): (&LeafView, Option<&TreeLeaf>),
        lost: u64,
    ) -> Result<[Option<Tag>; LEAF_BLOCKS], SyncError> {
        let mut tags = [None; LEAF_BLOCKS];
        let (Some(content), Some(known)) = (self.known, known) else {
            return Ok(tags);
        };
        if leaf.hash == Some(known.hash) {
            for block in leaf.blocks.iter().filter(|b| lost & 1 << b.position == 0) {
                tags[usize::from(block.position)] = block.sealed.map(|(sealed, _)| sealed.tag);
            }
            return Ok(tags);
        }
        let mut there = known.clone();
        there.pieces.retain(|piece| piece.live & lost == 0);
        packs.tags(content, &there).await.map_err(|e| match e {
            PackError::Remote(e) => e.into(),
            PackError::Malformed => SyncError::Volume(FsError::Unreachable),
        })
    }

    /// Blocks that others do not have, with the tags of all that the leaf is to have.
    fn unsent<'l>(
        &self,
        leaf: &'l LeafView,
        old: &[Option<Tag>; LEAF_BLOCKS],
        tags: &mut [Option<Tag>; LEAF_BLOCKS],
    ) -> Result<Unsent<'l>, SyncError> {
        let mut unsent = Unsent::default();
        for block in &leaf.blocks {
            let position = usize::from(block.position);
            let tag = block.sealed.map(|(sealed, _)| sealed.tag);
            let key = block.sealed.map(|(_, key)| key);
            tags[position] = match block.lies {
                Lies::Remote(..) => Some(tag.or(old[position]).ok_or(FsError::Unreachable)?),
                Lies::Here if tag.is_some() && tag == old[position] => tag,
                Lies::Here if key.is_some_and(|k| self.is_current(k)) => {
                    unsent.as_they_lie.push(block);
                    tag
                }
                Lies::Here => {
                    let (descriptor, data) = self.block(leaf.index, block)?;
                    let tag = descriptor.sealed.tag;
                    unsent.resealed.push((block.position, (descriptor, data)));
                    Some(tag)
                }
            };
        }
        Ok(unsent)
    }

    /// Sends the blocks of a leaf, unless they arrived before. Returns where they lie.
    async fn send(
        &self,
        unsent: Unsent<'_>,
        leaf: ArrivedLeaf,
        (packer, used): (&mut Packer, &mut BTreeSet<KeyId>),
    ) -> Result<(u32, u32), SyncError> {
        let keys = unsent.as_they_lie.iter().filter_map(|b| b.sealed);
        used.extend(keys.map(|(_, key)| key));
        used.extend(unsent.resealed.iter().map(|(_, (d, _))| d.key));
        if let Some(place) = packer.find(&leaf) {
            return Ok(place);
        }
        let mut blocks = unsent.resealed;
        for block in unsent.as_they_lie {
            let data = self.block(leaf.index as u32, block)?;
            blocks.push((block.position, data));
        }
        blocks.sort_by_key(|(position, _)| *position);
        let blocks = blocks.into_iter().map(|(_, block)| block).collect();
        packer.add(blocks, leaf).await
    }

    /// A block as it is sent: as it lies, or, where its key is of an earlier epoch, sealed anew.
    fn block(&self, leaf: u32, block: &BlockView) -> Result<Block, SyncError> {
        let (sealed, key) = block.sealed.ok_or(FsError::Unreachable)?;
        let mut data = Box::new([0; BLOCK_SIZE]);
        self.view.read(leaf, block.position, &mut data)?;
        if self.is_current(key) {
            return Ok((Descriptor { sealed, key }, data));
        }
        let file = self.node.file();
        let index = u64::from(leaf) * LEAF_BLOCKS as u64 + u64::from(block.position);
        let old = self.cipher(|known| known.id() == key)?;
        let current = |known: &FileKey| self.is_current(known.id());
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
