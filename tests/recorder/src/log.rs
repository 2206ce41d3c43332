//! What happened to a directory, in order.

use std::ffi::OsString;
use std::sync::Arc;

/// A file or directory, by the number it got when the recorder first saw it. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub u64);

impl Node {
    /// The recorded directory itself.
    pub const ROOT: Self = Self(1);
}

/// One change, or one promise of durability.
#[derive(Debug, Clone)]
pub enum Step {
    /// A file was made.
    Create {
        /// Where.
        dir: Node,
        /// Its name.
        name: OsString,
        /// The file.
        file: Node,
    },
    /// A directory was made.
    Mkdir {
        /// Where.
        dir: Node,
        /// Its name.
        name: OsString,
        /// The directory.
        made: Node,
    },
    /// A name was taken away, of a file or a directory.
    Remove {
        /// Where.
        dir: Node,
        /// The name.
        name: OsString,
    },
    /// A name was changed, within a directory.
    Rename {
        /// Where.
        dir: Node,
        /// The old name.
        from: OsString,
        /// The new one; what had it is gone.
        to: OsString,
    },
    /// Bytes were written.
    Write {
        /// To what.
        file: Node,
        /// From which byte on.
        offset: u64,
        /// The bytes.
        data: Arc<[u8]>,
    },
    /// The size was set.
    SetLen {
        /// Of what.
        file: Node,
        /// To how much.
        len: u64,
    },
    /// Space was allocated, and the file is at least this long.
    Allocate {
        /// To what.
        file: Node,
        /// The least size.
        len: u64,
    },
    /// A range became a hole.
    Punch {
        /// In what.
        file: Node,
        /// From which byte on.
        offset: u64,
        /// How many bytes.
        len: u64,
    },
    /// A file's content, or a directory's names, are durable as they are.
    Sync {
        /// What.
        node: Node,
    },
    /// A sync failed: whether anything since the last one gets to the disk is open, and no later
    /// sync says so.
    SyncFailed {
        /// Of what.
        node: Node,
    },
}

impl Step {
    /// What it is about: the file, or the directory whose names it changes.
    pub fn node(&self) -> Node {
        match self {
            Self::Create { dir, .. }
            | Self::Mkdir { dir, .. }
            | Self::Remove { dir, .. }
            | Self::Rename { dir, .. } => *dir,
            Self::Write { file, .. }
            | Self::SetLen { file, .. }
            | Self::Allocate { file, .. }
            | Self::Punch { file, .. } => *file,
            Self::Sync { node } | Self::SyncFailed { node } => *node,
        }
    }

    /// In a word or two, for people.
    pub fn shown(&self) -> String {
        match self {
            Self::Create { name, file, .. } => format!("create {} as {}", name.display(), file.0),
            Self::Mkdir { name, made, .. } => format!("mkdir {} as {}", name.display(), made.0),
            Self::Remove { name, .. } => format!("remove {}", name.display()),
            Self::Rename { from, to, .. } => {
                format!("rename {} to {}", from.display(), to.display())
            }
            Self::Write { file, offset, data } => {
                format!("write {} bytes at {offset} of {}", data.len(), file.0)
            }
            Self::SetLen { file, len } => format!("set length of {} to {len}", file.0),
            Self::Allocate { file, len } => format!("allocate {len} bytes to {}", file.0),
            Self::Punch { file, offset, len } => {
                format!("punch {len} bytes at {offset} of {}", file.0)
            }
            Self::Sync { node } => format!("sync {}", node.0),
            Self::SyncFailed { node } => format!("failed sync {}", node.0),
        }
    }
}

/// Everything that happened.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// In order.
    pub(crate) steps: Vec<Step>,
}
