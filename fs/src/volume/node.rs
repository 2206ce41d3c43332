//! Regular files in use: one [`Node`] per inode that is open or has uncommitted content.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keyfold_crypto::{BlockCipher, FileId, FileKey, Sealed};
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;

use super::content::{Content, Leaves, Page};
use crate::data::LeafCache;
use crate::error::{FsError, FsResult};
use crate::layout::{
    BlockIndex, ContentRow, FileBody, FileKeyRow, KeyIndex, Leaf, LeafIndex, MapId,
};
use crate::meta::{Key, Meta, Table};
use crate::vfs::{Handle, Ino, OpenMode};

/// A regular file in use.
pub(super) struct Node {
    pub(super) ino: Ino,
    pub(super) file_id: FileId,
    /// The key that new blocks are sealed with. Kept, so that what is on its way to the disk can
    /// be sealed also when the rows of the file are deleted meanwhile.
    current: RwLock<(KeyIndex, FileKey)>,
    pub(super) content: RwLock<Content>,
    ciphers: RwLock<Vec<(KeyIndex, Arc<BlockCipher>)>>,
    /// The mode has setuid or setgid bits, or there is a `security.capability`.
    pub(super) privileged: AtomicBool,
    /// In the list of changed nodes.
    pub(super) listed: AtomicBool,
    /// In the flushers' queue.
    pub(super) queued: AtomicBool,
    /// Its rows are deleted: nothing of it is to be committed.
    pub(super) dead: AtomicBool,
    /// Where a sequential reader or writer would go on.
    pub(super) next_read: AtomicU64,
    pub(super) next_write: AtomicU64,
}

impl Node {
    pub(super) fn new(ino: Ino, (file, key): (FileBody, FileKey), base: ContentRow) -> Self {
        Self {
            ino,
            file_id: file.id,
            current: RwLock::new((KeyIndex(file.keys.saturating_sub(1)), key)),
            content: RwLock::new(Content::new(base)),
            ciphers: RwLock::default(),
            privileged: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            next_read: AtomicU64::new(0),
            next_write: AtomicU64::new(0),
        }
    }

    /// The cipher of one of the file's keys.
    pub(super) fn cipher(&self, meta: &Meta, index: KeyIndex) -> FsResult<Arc<BlockCipher>> {
        if let Some((_, c)) = self.ciphers.read().iter().find(|(i, _)| *i == index) {
            return Ok(Arc::clone(c));
        }
        let current = self.current_cipher(index);
        let cipher = match current {
            Some(cipher) => cipher,
            None => meta
                .get(&Key::file_key(self.ino, index.0), FileKeyRow::decode)?
                .ok_or(FsError::Inconsistent(self.ino))?
                .cipher(),
        };
        let cipher = Arc::new(cipher);
        self.ciphers.write().push((index, Arc::clone(&cipher)));
        Ok(cipher)
    }

    fn current_cipher(&self, index: KeyIndex) -> Option<BlockCipher> {
        let current = self.current.read();
        (current.0 == index).then(|| current.1.cipher())
    }

    /// New blocks are sealed with another key from now on. What is on its way under the one before
    /// can still be sealed.
    pub(super) fn set_current_key(&self, index: KeyIndex, key: FileKey) {
        let mut current = self.current.write();
        let old = (current.0, Arc::new(current.1.cipher()));
        self.ciphers.write().push(old);
        *current = (index, key);
    }

    /// The key that new blocks are sealed with.
    pub(super) fn current_key(&self) -> KeyIndex {
        self.current.read().0
    }

    /// Appends the ciphertext of pages to `out`, all of them under one key. Returns what has to be
    /// kept of each. After an error `out` holds plaintext and is worthless.
    pub(super) fn seal<'a>(
        &self,
        meta: &Meta,
        key: KeyIndex,
        pages: impl Iterator<Item = (BlockIndex, &'a Page)>,
        out: &mut Vec<u8>,
    ) -> FsResult<Vec<Sealed>> {
        let cipher = self.cipher(meta, key)?;
        let from = out.len();
        let mut indexes = Vec::new();
        for (block, page) in pages {
            indexes.push(block.0);
            out.extend_from_slice(page);
        }
        let mut seals = vec![Sealed::default(); indexes.len()];
        cipher
            .seal_run(&self.file_id, &indexes, &mut out[from..], &mut seals)
            .map_err(|_| FsError::Disk(libc::EIO))?;
        Ok(seals)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }
}

/// Committed leaves of one inode.
pub(super) struct NodeLeaves<'a> {
    pub(super) ino: Ino,
    pub(super) meta: &'a Meta,
    pub(super) cache: &'a LeafCache,
}

impl Leaves for NodeLeaves<'_> {
    fn leaf(&self, base: &ContentRow, leaf: LeafIndex) -> FsResult<Arc<Leaf>> {
        self.cache.get(self.meta, (self.ino, base.map), leaf)
    }

    fn next_leaf(&self, base: &ContentRow, from: LeafIndex) -> FsResult<Option<LeafIndex>> {
        if base.map == MapId::NONE || base.size == 0 || u64::from(from.0) > MapId::LAST_LEAF {
            return Ok(None);
        }
        let keys = base.map.leaf_key(from)..=*base.map.leaf_keys().end();
        let found = self.meta.stored(Table::Leaf, keys, 1)?;
        Ok(found.keys().next().map(|k| MapId::leaf_of_key(k.a)))
    }
}

/// An open file.
pub(super) struct OpenFile {
    pub(super) node: Arc<Node>,
    pub(super) mode: OpenMode,
    /// The loss of writes was reported through this handle.
    pub(super) reported: AtomicBool,
}

/// An open directory.
pub(super) struct OpenDir {
    pub(super) ino: Ino,
    /// Entries with higher cookies were made after it was opened or last listed from its start on.
    pub(super) last: AtomicU64,
}

/// Open files and directories by handle.
#[derive(Default)]
pub(super) struct Handles {
    next: AtomicU64,
    files: RwLock<FxHashMap<u64, Arc<OpenFile>>>,
    dirs: RwLock<FxHashMap<u64, Arc<OpenDir>>>,
}

impl Handles {
    fn next(&self) -> Handle {
        Handle(self.next.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn open_file(&self, node: Arc<Node>, mode: OpenMode) -> Handle {
        let handle = self.next();
        let file = OpenFile {
            node,
            mode,
            reported: AtomicBool::new(false),
        };
        self.files.write().insert(handle.0, Arc::new(file));
        handle
    }

    pub(super) fn open_dir(&self, dir: OpenDir) -> Handle {
        let handle = self.next();
        self.dirs.write().insert(handle.0, Arc::new(dir));
        handle
    }

    pub(super) fn file(&self, handle: Handle) -> FsResult<Arc<OpenFile>> {
        self.files
            .read()
            .get(&handle.0)
            .cloned()
            .ok_or(FsError::BadHandle)
    }

    pub(super) fn dir(&self, handle: Handle) -> FsResult<Arc<OpenDir>> {
        self.dirs
            .read()
            .get(&handle.0)
            .cloned()
            .ok_or(FsError::BadHandle)
    }

    pub(super) fn close_file(&self, handle: Handle) -> Option<Arc<OpenFile>> {
        self.files.write().remove(&handle.0)
    }

    pub(super) fn close_dir(&self, handle: Handle) {
        self.dirs.write().remove(&handle.0);
    }

    /// Whether anybody has the file open.
    pub(super) fn any_of(&self, ino: Ino) -> bool {
        self.files.read().values().any(|file| file.node.ino == ino)
    }

    /// Whether anybody may write to the file.
    pub(super) fn any_writer(&self, ino: Ino) -> bool {
        let files = self.files.read();
        files.values().any(|f| f.node.ino == ino && f.mode.write)
    }

    pub(super) fn open_files(&self) -> usize {
        self.files.read().len()
    }
}

const SHARDS: usize = 16;

/// How often inodes were handed out and opened, and not yet taken back.
#[derive(Default)]
pub(super) struct References([Mutex<FxHashMap<u64, u64>>; SHARDS]);

impl References {
    pub(super) fn add(&self, ino: Ino) {
        *self.0[ino.0 as usize % SHARDS]
            .lock()
            .entry(ino.0)
            .or_insert(0) += 1;
    }

    /// Takes `count` back. Returns whether none is left.
    pub(super) fn remove(&self, ino: Ino, count: u64) -> bool {
        let mut shard = self.0[ino.0 as usize % SHARDS].lock();
        let Some(left) = shard.get_mut(&ino.0) else {
            return true;
        };
        *left = left.saturating_sub(count);
        if *left == 0 {
            shard.remove(&ino.0);
            return true;
        }
        false
    }

    pub(super) fn any(&self, ino: Ino) -> bool {
        self.0[ino.0 as usize % SHARDS].lock().contains_key(&ino.0)
    }
}

/// The nodes in use. There is never more than one for an inode.
#[derive(Default)]
pub(super) struct Nodes([Mutex<FxHashMap<u64, Arc<Node>>>; SHARDS]);

impl Nodes {
    pub(super) fn get(&self, ino: Ino) -> Option<Arc<Node>> {
        self.0[ino.0 as usize % SHARDS].lock().get(&ino.0).cloned()
    }

    /// The node, loaded by `load` if it is not in use yet.
    pub(super) fn get_or_load(
        &self,
        ino: Ino,
        load: impl FnOnce() -> FsResult<Node>,
    ) -> FsResult<Arc<Node>> {
        let mut shard = self.0[ino.0 as usize % SHARDS].lock();
        if let Some(node) = shard.get(&ino.0) {
            return Ok(Arc::clone(node));
        }
        let node = Arc::new(load()?);
        shard.insert(ino.0, Arc::clone(&node));
        Ok(node)
    }

    pub(super) fn insert(&self, node: Arc<Node>) {
        self.0[node.ino.0 as usize % SHARDS]
            .lock()
            .insert(node.ino.0, node);
    }

    pub(super) fn remove(&self, ino: Ino) {
        self.0[ino.0 as usize % SHARDS].lock().remove(&ino.0);
    }

    /// Drops the node if it is clean and nobody else has it: under the shard lock nobody can
    /// take it up, so a second node of the same inode can never come to be.
    pub(super) fn put_back(&self, node: Arc<Node>) {
        let ino = node.ino;
        let mut shard = self.0[ino.0 as usize % SHARDS].lock();
        let only_here = Arc::strong_count(&node) == 2;
        let unused = only_here && node.content.read().is_clean();
        // Given up under the lock: of two that put back at once, the second sees that it is last.
        drop(node);
        if unused {
            shard.remove(&ino.0);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.0.iter().map(|s| s.lock().len()).sum()
    }
}
