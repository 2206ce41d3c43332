//! What is there now, for whoever sends it to others.
//!
//! The content of a file is viewed as a commit left it, and that commit is made first where there is
//! something to commit. So what is sent is durable here, and the same however long sending takes:
//! the slots are held as those of an image are, until the view is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyfold_crypto::{BlockCipher, FileId, FileKey, KeyId, Sealed, Tag, Tweak, leaf_hash};

use crate::error::{FsError, FsResult};
use crate::events::EventKind;
use crate::layout::{
    BLOCK_SIZE, BlobNameRow, BlockEntry, BlockIndex, BlockRow, ContentRow, DentryRow, FileKeyRow,
    ImageId, InodeBody, InodeRow, LEAF_BLOCKS, Leaf, LeafIndex, MapId, MemberRow, Place,
    RemoteBlock,
};
use crate::meta::{Key, Table};
use crate::share::{BlockView, Ciphertext, EntryView, LeafView, Lies, NodeView};
use crate::vfs::{Ino, Name, Timestamp};
use crate::volume::Volume;
use crate::volume::commit::Committer;
use crate::volume::images::Slots;

/// The content of a file as it was at one moment, which is durable. While it lives, its blocks can
/// be read.
pub struct ContentView {
    volume: Arc<Volume>,
    held: ImageId,
    ino: Ino,
    file: FileId,
    base: ContentRow,
    keys: Vec<FileKey>,
    ciphers: Vec<BlockCipher>,
    leaves: Vec<LeafView>,
    places: BTreeMap<BlockIndex, Lying>,
    remote: BTreeMap<BlockIndex, RemoteBlock>,
}

/// A block that lies in the vault.
enum Lying {
    Slot(BlockEntry),
    /// A commit may move it: it was read at once.
    Read(BlockEntry, Box<[u8]>),
}

impl ContentView {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.base.size
    }

    /// Last change.
    pub fn mtime(&self) -> Timestamp {
        self.base.mtime
    }

    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// The content half as it was committed.
    pub(super) fn base(&self) -> ContentRow {
        self.base
    }

    /// The place of a block that lies in a blob.
    pub(super) fn remote(&self, block: BlockIndex) -> Option<Place> {
        self.remote.get(&block).copied().map(Place::Remote)
    }

    /// The file's keys. New blocks are sealed with the last.
    pub fn keys(&self) -> &[FileKey] {
        &self.keys
    }

    /// Leaves that have any block, ascending.
    pub fn leaves(&self) -> &[LeafView] {
        &self.leaves
    }

    /// Reads the ciphertext of a block that lies in the vault, as it lies, and verifies it.
    ///
    /// # Errors
    /// [`FsError::Tampered`] when it does not verify, [`FsError::Unreachable`] when it does not lie
    /// here, and those of the disk.
    pub fn read(&self, leaf: u32, position: u8, out: &mut Ciphertext) -> FsResult<()> {
        let block = LeafIndex(leaf).block(position);
        let lying = self.places.get(&block).ok_or(FsError::Unreachable)?;
        let viewed = &self.volume.shares.viewed;
        viewed.fetch_add(1, Ordering::Relaxed);
        let tampered = FsError::Tampered(self.ino);
        let entry = match lying {
            Lying::Read(entry, data) => {
                out.copy_from_slice(data);
                entry
            }
            Lying::Slot(entry) => {
                let Place::Segment(slot) = entry.place else {
                    return Err(FsError::Unreachable);
                };
                let read = self.volume.segments.read(slot, out);
                read.map_err(|e| match e.kind() {
                    std::io::ErrorKind::UnexpectedEof => tampered,
                    _ => e.into(),
                })?;
                entry
            }
        };
        let cipher = self.ciphers.get(entry.key.0 as usize);
        let mut opened = *out;
        let verified = cipher.is_some_and(|cipher| {
            let items = [(block.0, entry.sealed)];
            cipher.open_run(&self.file, &items, &mut opened).is_ok()
        });
        zeroize::Zeroize::zeroize(&mut opened);
        if !verified {
            self.volume.events.note(EventKind::block(self.ino));
            return Err(tampered);
        }
        Ok(())
    }
}

impl Drop for ContentView {
    fn drop(&mut self) {
        self.volume.let_go(self.held);
    }
}

impl Volume {
    /// What others may come to know of an inode beside its content.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it is gone, and those of the metadata.
    pub fn view_node(&self, ino: Ino) -> FsResult<NodeView> {
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let row = self.inode(ino)?;
        let attr = self.attr(ino, &row)?;
        let xattrs = if row.xattr_bytes == 0 {
            Vec::new()
        } else {
            let rows = self.meta.range(Table::Xattr, ino.0)?.into_iter();
            rows.map(|(key, value)| (key.name().to_vec(), value.into_vec()))
                .collect()
        };
        Ok(NodeView {
            kind: row.kind,
            perm: row.perm,
            mtime: attr.mtime,
            xattrs,
            target: match row.body {
                InodeBody::Symlink(target) => Some(target.into()),
                _ => None,
            },
        })
    }

    /// What a name in a shared directory means; nobody looks it up by that.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn view_entry(&self, dir: Ino, name: &[u8]) -> FsResult<Option<EntryView>> {
        Name::new(name)?;
        let _namespace = self.namespace.lock();
        let dentry = self.meta.get(&Key::dentry(dir, name), DentryRow::decode)?;
        dentry.map_or(Ok(None), |dentry| self.entry_view(name, &dentry).map(Some))
    }

    /// All names in a shared directory, in the order of a listing.
    ///
    /// # Errors
    /// [`FsError::NotADirectory`], [`FsError::Stale`], and those of the metadata.
    pub fn view_entries(&self, dir: Ino) -> FsResult<Vec<EntryView>> {
        let _namespace = self.namespace.lock();
        let row = self.inode(dir)?;
        let last = row.dir().ok_or(FsError::NotADirectory(dir))?.next_cookie;
        let (mut from, mut all) = (0, Vec::new());
        loop {
            let listed = self.meta.list(dir, from, last)?;
            let Some(end) = listed.last().map(|row| row.cookie) else {
                return Ok(all);
            };
            for row in &listed {
                let dentry = DentryRow::decode(&row.value);
                let dentry = dentry.map_err(|_| FsError::Inconsistent(dir))?;
                all.push(self.entry_view(&row.name, &dentry)?);
            }
            from = end;
        }
    }

    fn entry_view(&self, name: &[u8], dentry: &DentryRow) -> FsResult<EntryView> {
        let member = self
            .meta
            .get(&Key::member(dentry.child), MemberRow::decode)?;
        let member = member.ok_or(FsError::Inconsistent(dentry.child))?;
        let (point, id) = self.point_of(member)?.unzip();
        Ok(EntryView {
            name: name.to_vec(),
            ino: dentry.child,
            kind: dentry.kind,
            node: point.unwrap_or(member.node),
            point: id,
        })
    }

    /// Blocks that were read from views of files, since the volume was opened.
    pub fn blocks_viewed(&self) -> u64 {
        self.shares.viewed.load(Ordering::Relaxed)
    }

    /// The content of a regular file as it is now, and as it stays for whoever views it. Commits it
    /// where it has changed, so it waits for the disk. Takes about 120 bytes of memory a block.
    ///
    /// # Errors
    /// Those of [`Volume::view_node`] and of a commit.
    pub fn view_content(self: &Arc<Self>, ino: Ino) -> FsResult<ContentView> {
        self.check_regular(ino)?;
        let mut c = self.committer.lock();
        self.commit_content(&mut c, ino)?;
        // No commit goes on meanwhile: what is committed of the file stays as it is.
        let row = self.inode(ino)?;
        let file = row.file().ok_or(FsError::WrongKind(ino))?;
        let base = self.committed_content(ino, &row)?;
        let mut view = ContentView {
            volume: Arc::clone(self),
            held: c.held.free_id(),
            ino,
            file: file.id,
            base,
            keys: self.file_keys(ino, file.keys)?,
            ciphers: Vec::new(),
            leaves: Vec::new(),
            places: BTreeMap::new(),
            remote: BTreeMap::new(),
        };
        view.ciphers = view.keys.iter().map(FileKey::cipher).collect();
        let viewed = self.view_leaves(&mut view, base.map);
        hold(&mut c, &view);
        drop(c);
        viewed.map(|()| view)
    }

    /// The content half of a file as it is committed. Called holding the committer.
    pub(super) fn committed_content(&self, ino: Ino, row: &InodeRow) -> FsResult<ContentRow> {
        if let Some(node) = self.nodes.get(ino) {
            let base = node.content.read().base;
            self.nodes.put_back(node);
            return Ok(base);
        }
        let content = self.meta.get(&Key::content(ino), ContentRow::decode)?;
        Ok(content.unwrap_or_else(|| crate::volume::empty_content(row)))
    }

    pub(super) fn file_keys(&self, ino: Ino, count: u32) -> FsResult<Vec<FileKey>> {
        let key = |index| {
            let row = self
                .meta
                .get(&Key::file_key(ino, index), FileKeyRow::decode)?;
            row.ok_or(FsError::Inconsistent(ino))
        };
        (0..count).map(key).collect()
    }

    fn view_leaves(&self, view: &mut ContentView, map: MapId) -> FsResult<()> {
        if map == MapId::NONE {
            return Ok(());
        }
        let rows = self
            .meta
            .stored(Table::Leaf, map.leaf_keys(), usize::MAX >> 1)?;
        for (key, row) in rows {
            let leaf = Leaf::decode(&row).map_err(|_| FsError::Inconsistent(view.ino))?;
            self.view_leaf(view, MapId::leaf_of_key(key.a), &leaf)?;
        }
        Ok(())
    }

    fn view_leaf(&self, view: &mut ContentView, index: LeafIndex, leaf: &Leaf) -> FsResult<()> {
        let mut tags = [None; LEAF_BLOCKS as usize];
        let mut blocks = Vec::new();
        for (position, entry) in leaf.used() {
            let key = view.keys.get(entry.key.0 as usize).map(FileKey::id);
            let key = key.ok_or(FsError::Inconsistent(view.ino))?;
            let sealed = known(entry).then_some((entry.sealed, key));
            tags[usize::from(position)] = sealed.map(|(sealed, _)| sealed.tag);
            let lies = match entry.place {
                Place::Remote(remote) => {
                    view.remote.insert(index.block(position), remote);
                    self.view_remote(remote)?
                }
                _ => Lies::Here,
            };
            if let Some(lying) = self.lying(entry)? {
                view.places.insert(index.block(position), lying);
            }
            blocks.push(BlockView {
                position,
                lies,
                sealed,
            });
        }
        let all = blocks.iter().all(|block| block.sealed.is_some());
        view.leaves.push(LeafView {
            index: index.0,
            hash: all.then(|| leaf_hash(u64::from(index.0), &tags)),
            blocks,
        });
        Ok(())
    }

    fn lying(&self, entry: &BlockEntry) -> FsResult<Option<Lying>> {
        Ok(match entry.place {
            Place::Segment(_) => Some(Lying::Slot(*entry)),
            Place::Database(id) => {
                let row = self.meta.get(&Key::block(id), BlockRow::decode)?;
                let row = row.ok_or(FsError::Database)?;
                Some(Lying::Read(*entry, row.ciphertext))
            }
            Place::Hole | Place::Remote(_) => None,
        })
    }

    fn view_remote(&self, remote: RemoteBlock) -> FsResult<Lies> {
        let key = Key::blob_name(remote.blob);
        let row = self.meta.get(&key, BlobNameRow::decode)?;
        Ok(Lies::Remote(
            row.ok_or(FsError::Database)?.blob,
            remote.slot,
        ))
    }

    /// Nobody views this any more; the next commit gives back what nothing else names.
    fn let_go(&self, held: ImageId) {
        let mut c = self.committer.lock();
        let c = &mut *c;
        let freed = c.held.remove(held, &c.segments);
        if !freed.is_empty() {
            c.reclaim.note_freed(freed);
            c.reclaim.note_left_over();
        }
    }
}

/// Whether tweak and tag of a block are known: of a remote one they may come with its data.
pub(super) fn known(entry: &BlockEntry) -> bool {
    entry.sealed.tag != Tag([0; 32]) || !matches!(entry.place, Place::Remote(_))
}

/// What stands for tweak and tag that are unknown.
pub(super) fn unknown() -> Sealed {
    Sealed {
        tweak: Tweak([0; 16]),
        tag: Tag([0; 32]),
    }
}

/// Which of a file's keys has this id.
pub(super) fn key_index(keys: &[FileKey], id: KeyId) -> Option<u32> {
    keys.iter().position(|key| key.id() == id).map(|i| i as u32)
}

fn hold(c: &mut Committer, view: &ContentView) {
    let mut slots = Slots::new();
    for lying in view.places.values() {
        if let Lying::Slot(BlockEntry {
            place: Place::Segment(slot),
            ..
        }) = lying
        {
            slots.entry(slot.segment).or_default().set_live(slot.index);
        }
    }
    c.held.add(view.held, slots);
}

const _: () = assert!(size_of::<Ciphertext>() == BLOCK_SIZE);
