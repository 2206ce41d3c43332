//! The byte layouts of format version 1: ids, block entries, map leaves and metadata rows.
//!
//! All integers are little-endian and of fixed width. Every layout has this one home;
//! `docs/format.md` embeds what `tests/format_golden.rs` prints from it.

use keyfold_crypto::{FileId, KeyId, Sealed, Tag, Tweak};

use crate::vfs::{FileKind, Ino, Timestamp};

pub use keyfold_crypto::BLOCK_SIZE;

/// Blocks of one map leaf.
pub const LEAF_BLOCKS: u64 = 64;
/// Slots of one segment (64 MiB).
pub const SEGMENT_SLOTS: u32 = 16_384;
/// Bytes of an encoded [`BlockEntry`].
pub const ENTRY_BYTES: usize = 60;
/// Bits of a leaf's number within its map: 2^26 leaves of 256 KiB are 16 TiB.
const LEAF_BITS: u32 = 26;

/// What decoding found wrong with stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLayout;

/// A block's position within its file, in units of 4 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockIndex(pub u64);

impl BlockIndex {
    /// The block that byte `offset` lies in.
    pub fn of(offset: u64) -> Self {
        Self(offset / BLOCK_SIZE as u64)
    }

    /// The leaf that holds this block's entry.
    pub fn leaf(self) -> LeafIndex {
        LeafIndex((self.0 / LEAF_BLOCKS) as u32)
    }

    /// The entry's position within its leaf.
    pub fn within_leaf(self) -> u8 {
        (self.0 % LEAF_BLOCKS) as u8
    }

    /// The first byte of the block.
    pub fn offset(self) -> u64 {
        self.0 * BLOCK_SIZE as u64
    }
}

/// A leaf's position within its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(pub u32);

impl LeafIndex {
    /// The block of the entry at `position`.
    pub fn block(self, position: u8) -> BlockIndex {
        BlockIndex(u64::from(self.0) * LEAF_BLOCKS + u64::from(position))
    }
}

/// A block map: 37 bits, monotonic, never reused. Zero means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapId(pub u64);

impl MapId {
    /// No map: a file without any block.
    pub const NONE: Self = Self(0);

    /// The highest number of a leaf.
    pub(crate) const LAST_LEAF: u64 = (1 << LEAF_BITS) - 1;

    /// The database key of one of its leaves.
    pub fn leaf_key(self, leaf: LeafIndex) -> u64 {
        (self.0 << LEAF_BITS) | u64::from(leaf.0)
    }

    /// The database keys all its leaves lie in.
    pub fn leaf_keys(self) -> std::ops::RangeInclusive<u64> {
        (self.0 << LEAF_BITS)..=((self.0 << LEAF_BITS) | ((1 << LEAF_BITS) - 1))
    }

    /// The map whose leaf a database key names.
    pub fn of_key(key: u64) -> Self {
        Self(key >> LEAF_BITS)
    }

    /// The leaf that a database key of this map names.
    pub fn leaf_of_key(key: u64) -> LeafIndex {
        LeafIndex((key & ((1 << LEAF_BITS) - 1)) as u32)
    }
}

/// A segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// A 4 KiB slot of a segment. Written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The segment.
    pub segment: SegmentId,
    /// The slot's number within it, below [`SEGMENT_SLOTS`].
    pub index: u32,
}

/// One of a file's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyIndex(pub u32);

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Nowhere: it reads as zeros.
    Hole,
    /// In a segment.
    Segment(Slot),
    /// In the `block` table, under this id.
    Database(u64),
    /// In a blob of a sharing server, by local blob number.
    Remote(u64),
}

impl Place {
    const TAG_SHIFT: u32 = 56;

    fn to_u64(self) -> u64 {
        match self {
            Self::Hole => 0,
            Self::Segment(s) => {
                (1 << Self::TAG_SHIFT) | (u64::from(s.segment.0) << 14) | u64::from(s.index)
            }
            Self::Database(id) => (2 << Self::TAG_SHIFT) | id,
            Self::Remote(id) => (3 << Self::TAG_SHIFT) | id,
        }
    }

    fn from_u64(v: u64) -> Result<Self, BadLayout> {
        let payload = v & ((1 << Self::TAG_SHIFT) - 1);
        match v >> Self::TAG_SHIFT {
            0 if payload == 0 => Ok(Self::Hole),
            1 if payload >> 46 == 0 => Ok(Self::Segment(Slot {
                segment: SegmentId((payload >> 14) as u32),
                index: (payload & 0x3fff) as u32,
            })),
            2 => Ok(Self::Database(payload)),
            3 => Ok(Self::Remote(payload)),
            _ => Err(BadLayout),
        }
    }
}

/// What a map leaf holds for one block: `place(8) tweak(16) tag(32) key index(4)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockEntry {
    /// Where the ciphertext lies.
    pub place: Place,
    /// Tweak and tag of the ciphertext.
    pub sealed: Sealed,
    /// Which of the file's keys sealed it.
    pub key: KeyIndex,
}

impl BlockEntry {
    /// The entry of a block that was never written.
    pub const HOLE: Self = Self {
        place: Place::Hole,
        sealed: Sealed {
            tweak: Tweak([0; 16]),
            tag: Tag([0; 32]),
        },
        key: KeyIndex(0),
    };

    fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.place.to_u64().to_le_bytes());
        out.extend_from_slice(&self.sealed.tweak.0);
        out.extend_from_slice(&self.sealed.tag.0);
        out.extend_from_slice(&self.key.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let entry = Self {
            place: Place::from_u64(r.u64()?)?,
            sealed: Sealed {
                tweak: Tweak(r.array()?),
                tag: Tag(r.array()?),
            },
            key: KeyIndex(r.u32()?),
        };
        r.end()?;
        if entry.place == Place::Hole && entry != Self::HOLE {
            return Err(BadLayout);
        }
        Ok(entry)
    }
}

/// A map leaf: up to 64 entries, ending at its last used one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaf(Vec<BlockEntry>);

impl Leaf {
    /// The entry at `position`.
    pub fn get(&self, position: u8) -> BlockEntry {
        self.0
            .get(usize::from(position))
            .copied()
            .unwrap_or(BlockEntry::HOLE)
    }

    /// Replaces the entry at `position`.
    pub fn set(&mut self, position: u8, entry: BlockEntry) {
        let at = usize::from(position);
        if at >= self.0.len() {
            if entry == BlockEntry::HOLE {
                return;
            }
            self.0.resize(at + 1, BlockEntry::HOLE);
        }
        self.0[at] = entry;
        while self.0.last() == Some(&BlockEntry::HOLE) {
            self.0.pop();
        }
    }

    /// Used entries with their positions.
    pub fn used(&self) -> impl Iterator<Item = (u8, &BlockEntry)> {
        self.0
            .iter()
            .enumerate()
            .map(|(i, e)| (i as u8, e))
            .filter(|(_, e)| **e != BlockEntry::HOLE)
    }

    /// No entry is used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes: the entries one after the other.
    pub fn encode(&self) -> Box<[u8]> {
        let mut out = Vec::with_capacity(self.0.len() * ENTRY_BYTES);
        for e in &self.0 {
            e.encode_into(&mut out);
        }
        out.into_boxed_slice()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES)
            || bytes.len() > LEAF_BLOCKS as usize * ENTRY_BYTES
        {
            return Err(BadLayout);
        }
        let entries = bytes
            .chunks_exact(ENTRY_BYTES)
            .map(BlockEntry::decode)
            .collect::<Result<Vec<_>, _>>()?;
        if entries.last() == Some(&BlockEntry::HOLE) {
            return Err(BadLayout);
        }
        Ok(Self(entries))
    }
}

/// The namespace half of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InodeRow {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits (`0o7777`).
    pub perm: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
    /// Device number.
    pub rdev: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the content, where there is no content row.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
    /// Bytes of all extended attributes, names included.
    pub xattr_bytes: u32,
    /// What else there is to it.
    pub body: InodeBody,
}

/// What an inode holds by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InodeBody {
    /// Regular file.
    File(FileBody),
    /// Directory.
    Directory(DirBody),
    /// Symlink with its target.
    Symlink(Box<[u8]>),
    /// FIFO, socket or device.
    Special,
}

/// What a regular file knows of itself beside its content: `file id(16) keys(4)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileBody {
    /// Its identity, the same on every machine.
    pub id: FileId,
    /// How many keys it has; new blocks are sealed with the last.
    pub keys: u32,
}

/// What a directory knows of itself: `parent(8) next cookie(8) entries(8)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirBody {
    /// The directory it is in; the root is in itself.
    pub parent: Ino,
    /// The cookie of the next new entry.
    pub next_cookie: u64,
    /// Number of entries.
    pub entries: u64,
}

impl InodeRow {
    /// A write may have something to take away: setuid, setgid, or an attribute that may be a
    /// capability.
    pub(crate) fn is_privileged(&self) -> bool {
        self.perm & 0o6000 != 0 || self.xattr_bytes != 0
    }

    /// The file part of a regular file.
    pub fn file(&self) -> Option<FileBody> {
        match self.body {
            InodeBody::File(file) => Some(file),
            _ => None,
        }
    }

    /// The directory part of a directory.
    pub fn dir(&self) -> Option<&DirBody> {
        match &self.body {
            InodeBody::Directory(d) => Some(d),
            _ => None,
        }
    }

    /// The directory part of a directory, to change it.
    pub fn dir_mut(&mut self) -> Option<&mut DirBody> {
        match &mut self.body {
            InodeBody::Directory(d) => Some(d),
            _ => None,
        }
    }

    /// Its bytes: `mode uid gid nlink rdev xattr_bytes` (4 each), four times (12 each), body.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u32(self.kind.mode_bits() | u32::from(self.perm));
        for v in [self.uid, self.gid, self.nlink, self.rdev, self.xattr_bytes] {
            w.u32(v);
        }
        for t in [self.atime, self.mtime, self.ctime, self.btime] {
            w.time(t);
        }
        match &self.body {
            InodeBody::File(file) => {
                w.bytes(&file.id.0);
                w.u32(file.keys);
            }
            InodeBody::Directory(d) => {
                w.u64(d.parent.0);
                w.u64(d.next_cookie);
                w.u64(d.entries);
            }
            InodeBody::Symlink(target) => w.bytes(target),
            InodeBody::Special => {}
        }
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let mode = r.u32()?;
        let kind = FileKind::from_mode(mode).ok_or(BadLayout)?;
        let perm = mode & !libc::S_IFMT;
        if perm > 0o7777 {
            return Err(BadLayout);
        }
        let (uid, gid, nlink, rdev) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let xattr_bytes = r.u32()?;
        let (atime, mtime, ctime, btime) = (r.time()?, r.time()?, r.time()?, r.time()?);
        let body = match kind {
            FileKind::Regular => InodeBody::File(FileBody {
                id: FileId(r.array()?),
                keys: r.u32()?,
            }),
            FileKind::Directory => InodeBody::Directory(DirBody {
                parent: Ino(r.u64()?),
                next_cookie: r.u64()?,
                entries: r.u64()?,
            }),
            FileKind::Symlink => InodeBody::Symlink(r.rest().into()),
            _ => InodeBody::Special,
        };
        r.end()?;
        let perm = perm as u16;
        Ok(Self {
            kind,
            perm,
            uid,
            gid,
            nlink,
            rdev,
            atime,
            mtime,
            ctime,
            btime,
            xattr_bytes,
            body,
        })
    }
}

/// The content half of a regular file; a file without one is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRow {
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// When the content half last changed.
    pub ctime: Timestamp,
    /// The block map.
    pub map: MapId,
    /// Blocks that are not holes.
    pub blocks: u64,
}

impl ContentRow {
    /// Its bytes: `size(8) mtime(12) ctime(12) map(8) blocks(8)`.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(self.size);
        w.time(self.mtime);
        w.time(self.ctime);
        w.u64(self.map.0);
        w.u64(self.blocks);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let row = Self {
            size: r.u64()?,
            mtime: r.time()?,
            ctime: r.time()?,
            map: MapId(r.u64()?),
            blocks: r.u64()?,
        };
        r.end()?;
        if row.size > crate::vfs::FILE_MAX || row.map.0 >> 37 != 0 {
            return Err(BadLayout);
        }
        Ok(row)
    }
}

/// A directory entry: `child(8) cookie(8) kind(4)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DentryRow {
    /// The inode it names.
    pub child: Ino,
    /// Its place in listings.
    pub cookie: u64,
    /// What the inode is.
    pub kind: FileKind,
}

impl DentryRow {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(self.child.0);
        w.u64(self.cookie);
        w.u32(self.kind.mode_bits());
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let (child, cookie, mode) = (Ino(r.u64()?), r.u64()?, r.u32()?);
        r.end()?;
        let kind = FileKind::from_mode(mode)
            .filter(|k| k.mode_bits() == mode)
            .ok_or(BadLayout)?;
        Ok(Self {
            child,
            cookie,
            kind,
        })
    }
}

/// One of a file's keys: `key id(16) secret(32)`.
pub struct FileKeyRow;

impl FileKeyRow {
    /// The bytes of `key`.
    pub fn encode(key: &keyfold_crypto::FileKey) -> Box<[u8]> {
        let mut w = Writer::default();
        w.bytes(&key.id().0);
        w.bytes(key.secret());
        w.done()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`BadLayout`] for anything but 48 bytes.
    pub fn decode(bytes: &[u8]) -> Result<keyfold_crypto::FileKey, BadLayout> {
        let mut r = Reader(bytes);
        let key = keyfold_crypto::FileKey::from_parts(KeyId(r.array()?), r.array()?);
        r.end()?;
        Ok(key)
    }
}

/// What is known of a segment: `committed slots(4)`, then one bit a slot for what is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Slots that committed maps have ever named: the file is at least this long.
    pub committed: u32,
    bits: Vec<u64>,
}

impl Default for SegmentRow {
    fn default() -> Self {
        Self {
            committed: 0,
            bits: vec![0; SEGMENT_SLOTS as usize / 64],
        }
    }
}

impl SegmentRow {
    /// Whether a committed map names the slot.
    pub fn is_live(&self, slot: u32) -> bool {
        self.bits[slot as usize / 64] >> (slot % 64) & 1 == 1
    }

    /// Marks a slot as named by a map.
    pub fn set_live(&mut self, slot: u32) {
        self.bits[slot as usize / 64] |= 1 << (slot % 64);
        self.committed = self.committed.max(slot + 1);
    }

    /// Marks a slot as named by no map.
    pub fn set_dead(&mut self, slot: u32) {
        self.bits[slot as usize / 64] &= !(1 << (slot % 64));
    }

    /// Number of live slots.
    pub fn live(&self) -> u32 {
        self.bits.iter().map(|w| w.count_ones()).sum()
    }

    /// The dead run that `slot` lies in, within the committed length: first slot and length.
    pub fn dead_run(&self, slot: u32) -> (u32, u32) {
        let mut first = slot;
        while first > 0 && !self.is_live(first - 1) {
            first -= 1;
        }
        let mut end = slot;
        while end < self.committed && !self.is_live(end) {
            end += 1;
        }
        (first, end - first)
    }

    /// Its bytes, without the words after the last committed slot.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u32(self.committed);
        for word in &self.bits[..(self.committed as usize).div_ceil(64)] {
            w.u64(*word);
        }
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let committed = r.u32()?;
        if committed > SEGMENT_SLOTS {
            return Err(BadLayout);
        }
        let mut row = Self {
            committed,
            ..Self::default()
        };
        for word in &mut row.bits[..(committed as usize).div_ceil(64)] {
            *word = r.u64()?;
        }
        r.end()?;
        let tail = committed % 64;
        if tail != 0 && row.bits[committed as usize / 64] >> tail != 0 {
            return Err(BadLayout);
        }
        Ok(row)
    }
}

/// Whose blocks a stretch of slots holds: consecutive blocks of one inode.
/// `inode(8) first block(8) count(4)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOwner {
    /// The inode.
    pub ino: Ino,
    /// The block in the first slot.
    pub first: BlockIndex,
    /// How many slots.
    pub count: u32,
}

impl RunOwner {
    /// The bytes of the owners of consecutive runs.
    pub fn encode_all(runs: &[Self]) -> Box<[u8]> {
        let mut w = Writer::default();
        for run in runs {
            w.u64(run.ino.0);
            w.u64(run.first.0);
            w.u32(run.count);
        }
        w.done()
    }

    /// Reads the owners of consecutive runs.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode_all` does not produce.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, BadLayout> {
        let mut r = Reader(bytes);
        let mut runs = Vec::with_capacity(bytes.len() / 20);
        while !r.0.is_empty() {
            let run = Self {
                ino: Ino(r.u64()?),
                first: BlockIndex(r.u64()?),
                count: r.u32()?,
            };
            if run.count > SEGMENT_SLOTS {
                return Err(BadLayout);
            }
            runs.push(run);
        }
        Ok(runs)
    }
}

/// A block kept in the database: `inode(8) block(8)`, then its ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// The inode it belongs to.
    pub ino: Ino,
    /// Its position there.
    pub block: BlockIndex,
    /// 4096 bytes.
    pub ciphertext: Box<[u8]>,
}

impl BlockRow {
    /// Its bytes.
    pub fn encode(ino: Ino, block: BlockIndex, ciphertext: &[u8]) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(ino.0);
        w.u64(block.0);
        w.bytes(ciphertext);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let (ino, block) = (Ino(r.u64()?), BlockIndex(r.u64()?));
        let ciphertext: Box<[u8]> = r.rest().into();
        if ciphertext.len() != BLOCK_SIZE {
            return Err(BadLayout);
        }
        Ok(Self {
            ino,
            block,
            ciphertext,
        })
    }
}

/// The volume's counters, written with every commit:
/// `commit next_ino next_map next_block next_segment inodes blocks` (8 each), `state hash(32)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateRow {
    /// Number of this commit.
    pub commit: u64,
    /// The next new inode.
    pub next_ino: u64,
    /// The next new block map.
    pub next_map: u64,
    /// The next new block in the database.
    pub next_block: u64,
    /// The next new segment.
    pub next_segment: u64,
    /// Inodes in use.
    pub inodes: u64,
    /// Blocks that are not holes, of all files.
    pub blocks: u64,
    /// Keyed multiset hash over all other rows.
    pub hash: [u8; 32],
}

impl StateRow {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        for v in [
            self.commit,
            self.next_ino,
            self.next_map,
            self.next_block,
            self.next_segment,
            self.inodes,
            self.blocks,
        ] {
            w.u64(v);
        }
        w.bytes(&self.hash);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let row = Self {
            commit: r.u64()?,
            next_ino: r.u64()?,
            next_map: r.u64()?,
            next_block: r.u64()?,
            next_segment: r.u64()?,
            inodes: r.u64()?,
            blocks: r.u64()?,
            hash: r.array()?,
        };
        r.end()?;
        Ok(row)
    }
}

/// A count or position as a row of its own.
pub(crate) fn encode_u64(v: u64) -> Box<[u8]> {
    v.to_le_bytes().into()
}

/// Reads what [`encode_u64`] wrote.
pub(crate) fn decode_u64(bytes: &[u8]) -> Result<u64, BadLayout> {
    bytes
        .try_into()
        .map(u64::from_le_bytes)
        .map_err(|_| BadLayout)
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, v: u32) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    fn u64(&mut self, v: u64) {
        self.0.extend_from_slice(&v.to_le_bytes());
    }
    fn time(&mut self, t: Timestamp) {
        self.0.extend_from_slice(&t.secs.to_le_bytes());
        self.u32(t.nanos);
    }
    fn bytes(&mut self, b: &[u8]) {
        self.0.extend_from_slice(b);
    }
    fn done(self) -> Box<[u8]> {
        self.0.into_boxed_slice()
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadLayout> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(BadLayout)?;
        self.0 = tail;
        Ok(*head)
    }
    fn u32(&mut self) -> Result<u32, BadLayout> {
        self.array().map(u32::from_le_bytes)
    }
    fn u64(&mut self) -> Result<u64, BadLayout> {
        self.array().map(u64::from_le_bytes)
    }
    fn time(&mut self) -> Result<Timestamp, BadLayout> {
        let secs = self.array().map(i64::from_le_bytes)?;
        let nanos = self.u32()?;
        if nanos > 999_999_999 {
            return Err(BadLayout);
        }
        Ok(Timestamp { secs, nanos })
    }
    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
    fn end(&self) -> Result<(), BadLayout> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(BadLayout)
        }
    }
}
