//! What a check tells: figures, and what it found wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most findings that a report lists; the rest is counted.
pub const FINDINGS_LIMIT: usize = 1000;

/// What a check found out about a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The verdict.
    pub state: CheckState,
    /// Number of the commit that was checked.
    pub commit: u64,
    /// Changes of a mounted volume that could not be committed, and so were not checked.
    pub uncommitted: bool,
    /// What there is.
    pub counts: Counts,
    /// What is wrong, at most [`FINDINGS_LIMIT`] of it.
    pub findings: Vec<Finding>,
    /// How many more findings there are than are listed.
    pub more: u64,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// Everything that was looked at is as it was written.
    Intact,
    /// Something is not.
    Damaged,
}

/// Figures of a volume as last committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Inodes of every kind.
    pub inodes: u64,
    /// Directories.
    pub directories: u64,
    /// Regular files.
    pub files: u64,
    /// Blocks of 4 KiB that are stored.
    pub blocks: u64,
    /// Sizes of all regular files, in bytes, holes included.
    pub bytes: u64,
    /// Segments that hold a live block.
    pub segments: u64,
    /// Blocks that were read and verified.
    pub blocks_read: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The inode it is wrong with.
    pub inode: Option<u64>,
    /// A name of that inode, or the directory entry that is wrong.
    pub path: Option<FoundPath>,
    /// The first block it is wrong with, in units of 4 KiB.
    pub block: Option<u64>,
    /// The segment it is wrong with.
    pub segment: Option<u64>,
    /// The same in words. Holds no name.
    pub detail: String,
}

/// A path from the root of the volume, which need not be text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundPath {
    /// The path, with the replacement character for what is not UTF-8.
    pub text: String,
    /// The bytes in hexadecimal, where they are not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
}

impl FoundPath {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let hex = std::str::from_utf8(bytes).is_err();
        Self {
            text: String::from_utf8_lossy(bytes).into_owned(),
            hex: hex.then(|| data_encoding::HEXLOWER.encode(bytes)),
        }
    }
}

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// A copy of the superblock is missing or not what was stored.
    SuperblockCopy,
    /// A page of the database does not verify.
    DatabasePage,
    /// The database's trees contradict themselves.
    DatabaseStructure,
    /// The database's tables are not those of the format.
    DatabaseSchema,
    /// A table cannot be read to its end; what depends on it was not checked.
    DatabaseUnreadable,
    /// The rows together are not those of the last commit.
    StateHash,
    /// A counter of the volume is too low, or a total is not exact.
    Counter,
    /// A row's bytes are not of its layout.
    BadRow,
    /// A directory entry names an inode that does not exist.
    MissingInode,
    /// A directory entry and its inode are of different kinds.
    KindMismatch,
    /// A directory entry is not in a directory, or has a name that none can have.
    BadEntry,
    /// A directory entry's place in listings is not one that the directory gave out.
    Cookie,
    /// A directory's number of entries is wrong.
    EntryCount,
    /// An inode's number of links is wrong.
    LinkCount,
    /// A directory names another parent than the one it is in.
    ParentPointer,
    /// Directories that lie in one another and not below the root.
    Cycle,
    /// An inode with links that no directory entry names.
    Unreachable,
    /// An inode without a name is not listed as such, or one with a name is.
    Orphan,
    /// The size of an inode's extended attributes is wrong.
    XattrBytes,
    /// Content of an inode that is not a regular file, or does not exist.
    StrayContent,
    /// A block map belongs to two files, or to one and to the trimmer.
    SharedMap,
    /// A leaf of a block map that nothing has.
    StrayLeaf,
    /// A file's number of blocks is wrong.
    BlockCount,
    /// A file has blocks beyond its size.
    BeyondEnd,
    /// A slot or a block in the database is named twice.
    SharedBlock,
    /// A block lies in a blob that is of no share.
    UnknownPlace,
    /// A block is in no segment and not in the database.
    BlockMissing,
    /// A block in the database that no map names, or that names another owner.
    StrayBlock,
    /// A block is sealed with a key that the file does not have.
    KeyMissing,
    /// A segment's live slots are not those that maps name.
    LiveSlots,
    /// A segment is missing.
    SegmentMissing,
    /// A segment is shorter than what was committed to it.
    SegmentShort,
    /// Slots with live blocks whose owner is not recorded, or not rightly.
    RunOwner,
    /// A run of slots is to be punched and is not dead.
    Freed,
    /// A kept image is missing or altered.
    Image,
    /// Slots are held for no image, or cannot be.
    Held,
    /// A node, mark or blob of a share contradicts other rows.
    Share,
    /// A stored block does not verify.
    BlockTampered,
    /// A stored block could not be read.
    BlockUnreadable,
    /// The independent decryption of a block gives something else.
    ReferenceDiffers,
    /// The last block of a file holds something beyond the file's size.
    Padding,
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What keeps a database from being worked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Some of it cannot be read.
    Unreadable,
    /// Its rows are not those of the last commit.
    Altered,
}

impl CheckReport {
    /// What keeps the database from being worked with, if anything does.
    pub fn unusable(&self) -> Option<Unusable> {
        let any = |kinds: &[FindingKind]| self.findings.iter().any(|f| kinds.contains(&f.kind));
        let unreadable = [
            FindingKind::DatabasePage,
            FindingKind::DatabaseStructure,
            FindingKind::DatabaseSchema,
            FindingKind::DatabaseUnreadable,
        ];
        if any(&unreadable) {
            Some(Unusable::Unreadable)
        } else if any(&[FindingKind::StateHash]) {
            Some(Unusable::Altered)
        } else {
            None
        }
    }

    /// How many things are wrong.
    pub fn damaged(&self) -> u64 {
        self.findings.len() as u64 + self.more
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more", self.more)?;
        }
        let c = &self.counts;
        writeln!(
            f,
            "commit {}: {} inodes ({} directories, {} files), {} bytes, {} blocks in {} segments",
            self.commit, c.inodes, c.directories, c.files, c.bytes, c.blocks, c.segments
        )?;
        if c.blocks_read > 0 {
            writeln!(f, "{} blocks read and verified", c.blocks_read)?;
        }
        if self.uncommitted {
            writeln!(f, "changes that could not be committed were not checked")?;
        }
        match self.state {
            CheckState::Intact => writeln!(f, "intact"),
            CheckState::Damaged => writeln!(f, "damaged: {} findings", self.damaged()),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind)?;
        if let Some(path) = &self.path {
            write!(f, "{}: ", path.text.escape_debug())?;
            if let Some(hex) = &path.hex {
                write!(f, "(bytes {hex}) ")?;
            }
        }
        write!(f, "{}", self.detail)
    }
}
