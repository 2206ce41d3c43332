//! Operations: what the body of a content record does to a share's tree.
//!
//! ```text
//! body      = [1, [operation...]]
//! operation = [code, id(16), ...]
//!   0 make       parent(16), name, node(16), what, mode, mtime
//!   1 link       parent(16), name, node(16)
//!   2 rename     from(16), name, to(16), name, node(16), replaced(16) or null
//!   3 remove     parent(16), name, node(16)
//!   4 set-attr   node(16), mode or null, mtime or null
//!   5 set-xattr  node(16), name, value or null
//!   6 file-key   node(16), key id(16), secret(32)
//!   7 write-file node(16), base(16), size, root(32), mtime, [key id(16)...],
//!                [[blob(32), pack key(32)]...], [leaf...]
//!   8 message    text
//!   9 describe   title, shape
//!  10 move       node(16), [[blob(32), pack key(32)]...], [moved...]
//! what  = [0] file | [1] directory | [2, target] symlink | [3, share(32)] share point
//! mtime = [seconds, nanoseconds]
//! leaf  = [index, hash(32), written(8), holes(8), pack, slot]
//! moved = [index, moved(8), pack, slot]
//! ```
//!
//! A mode is the owner's rwx bits, 0 to 7. `written`, `holes` and `moved` are bit maps of a leaf's 64
//! blocks, little endian; the blocks written or moved lie in one pack, from `slot` on, in ascending
//! order.

mod move_blocks;
mod write_file;

use keyfold_crypto::KeyId;
use zeroize::Zeroizing;

use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer, require};
use crate::ids::{NodeId, OperationId, ShareId};
use crate::limits;
use crate::names::{EntryName, LinkTarget, Message, Title, XattrName};

pub use move_blocks::{MoveBlocks, MovedLeaf};
pub use write_file::{ChangedLeaf, PackRef, WriteFile};

/// A moment of the clock that files are stamped with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Below a billion.
    pub nanoseconds: u32,
}

impl Encoded for Mtime {
    const LIMIT: usize = 16;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        w.int(self.seconds);
        w.uint(u64::from(self.nanoseconds));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self {
            seconds: r.int()?,
            nanoseconds: r.uint_up_to(999_999_999)? as u32,
        })
    }
}

/// The owner's rwx bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode(u8);

impl Mode {
    /// Of the bits `rwx`, 0 to 7.
    pub fn new(bits: u8) -> Decoded<Self> {
        require(bits < 8)?;
        Ok(Self(bits))
    }

    /// The bits.
    pub fn bits(self) -> u8 {
        self.0
    }
}

impl Encoded for Mode {
    const LIMIT: usize = 1;

    fn write(&self, w: &mut Writer) {
        w.uint(u64::from(self.0));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Self::new(r.uint_up_to(7)? as u8)
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink(LinkTarget),
    /// Where another share is.
    SharePoint(ShareId),
}

impl Encoded for What {
    const LIMIT: usize = limits::TARGET_BYTES + 16;

    fn write(&self, w: &mut Writer) {
        match self {
            Self::File => {
                w.array(1);
                w.uint(0);
            }
            Self::Directory => {
                w.array(1);
                w.uint(1);
            }
            Self::Symlink(target) => {
                w.array(2);
                w.uint(2);
                target.write(w);
            }
            Self::SharePoint(share) => {
                w.array(2);
                w.uint(3);
                share.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match (r.length(2)?, r.uint()?) {
            (1, 0) => Ok(Self::File),
            (1, 1) => Ok(Self::Directory),
            (2, 2) => LinkTarget::read(r).map(Self::Symlink),
            (2, 3) => ShareId::read(r).map(Self::SharePoint),
            _ => Err(DecodeError::Malformed),
        }
    }
}

/// What a share is to those who see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// A directory with what is in it.
    Folder,
    /// The one file that its root directory has.
    File,
    /// A conversation; its tree is the files handed over.
    Chat,
}

impl Encoded for Shape {
    const LIMIT: usize = 1;

    fn write(&self, w: &mut Writer) {
        w.uint(match self {
            Self::Folder => 0,
            Self::File => 1,
            Self::Chat => 2,
        });
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        match r.uint()? {
            0 => Ok(Self::Folder),
            1 => Ok(Self::File),
            2 => Ok(Self::Chat),
            _ => Err(DecodeError::Malformed),
        }
    }
}

/// A place in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory.
    pub parent: NodeId,
    /// The name in it.
    pub name: EntryName,
}

impl Place {
    fn write(&self, w: &mut Writer) {
        self.parent.write(w);
        self.name.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            parent: NodeId::read(r)?,
            name: EntryName::read(r)?,
        })
    }
}

/// What one operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A new node.
    Make {
        /// Where.
        at: Place,
        /// Its id, of no other node before.
        node: NodeId,
        /// What it is.
        what: What,
        /// Its mode.
        mode: Mode,
        /// Its stamp.
        mtime: Mtime,
    },
    /// Another name of a file.
    Link {
        /// Where.
        at: Place,
        /// Which file.
        node: NodeId,
    },
    /// Another place of a node.
    Rename {
        /// Where it is.
        from: Place,
        /// Where it goes.
        to: Place,
        /// Which node.
        node: NodeId,
        /// The node that it takes the place of.
        replaced: Option<NodeId>,
    },
    /// A name goes, and its node with its last name.
    Remove {
        /// Where.
        at: Place,
        /// Which node has that name.
        node: NodeId,
    },
    /// Another mode or stamp.
    SetAttr {
        /// Of which node.
        node: NodeId,
        /// The mode, where it changes.
        mode: Option<Mode>,
        /// The stamp, where it changes.
        mtime: Option<Mtime>,
    },
    /// An extended attribute, or its end.
    SetXattr {
        /// Of which node.
        node: NodeId,
        /// Which.
        name: XattrName,
        /// Its value; absent to remove it.
        value: Option<Vec<u8>>,
    },
    /// Another key of a file.
    FileKey {
        /// Of which file.
        node: NodeId,
        /// Its name.
        key: KeyId,
        /// Its bytes.
        secret: Zeroizing<[u8; 32]>,
    },
    /// Another content of a file.
    WriteFile(WriteFile),
    /// What somebody says.
    Message(Message),
    /// What the share is called, and what it is.
    Describe {
        /// Its title.
        title: Title,
        /// What it is.
        shape: Shape,
    },
    /// The same content of a file in other packs.
    Move(MoveBlocks),
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Random; what has an id seen before is ignored.
    pub id: OperationId,
    /// What it does.
    pub action: Action,
}

impl Operation {
    /// Code, and number of items with code and id.
    fn shape(&self) -> (u64, usize) {
        match self.action {
            Action::Make { .. } => (0, 8),
            Action::Link { .. } => (1, 5),
            Action::Rename { .. } => (2, 8),
            Action::Remove { .. } => (3, 5),
            Action::SetAttr { .. } => (4, 5),
            Action::SetXattr { .. } => (5, 5),
            Action::FileKey { .. } => (6, 5),
            Action::WriteFile(_) => (7, WriteFile::ITEMS + 2),
            Action::Message(_) => (8, 3),
            Action::Describe { .. } => (9, 4),
            Action::Move(_) => (10, MoveBlocks::ITEMS + 2),
        }
    }
}

impl Encoded for Operation {
    const LIMIT: usize = limits::BODY_BYTES;

    fn write(&self, w: &mut Writer) {
        let (code, items) = self.shape();
        w.array(items);
        w.uint(code);
        self.id.write(w);
        match &self.action {
            Action::Make {
                at,
                node,
                what,
                mode,
                mtime,
            } => {
                at.write(w);
                node.write(w);
                what.write(w);
                mode.write(w);
                mtime.write(w);
            }
            Action::Link { at, node } | Action::Remove { at, node } => {
                at.write(w);
                node.write(w);
            }
            Action::Rename {
                from,
                to,
                node,
                replaced,
            } => {
                from.write(w);
                to.write(w);
                node.write(w);
                w.optional(replaced.as_ref(), |w, node| node.write(w));
            }
            Action::SetAttr { node, mode, mtime } => {
                node.write(w);
                w.optional(mode.as_ref(), |w, mode| mode.write(w));
                w.optional(mtime.as_ref(), |w, mtime| mtime.write(w));
            }
            Action::SetXattr { node, name, value } => {
                node.write(w);
                name.write(w);
                w.optional(value.as_deref(), Writer::bytes);
            }
            Action::FileKey { node, key, secret } => {
                node.write(w);
                w.bytes(&key.0);
                w.bytes(secret.as_slice());
            }
            Action::WriteFile(write) => write.write(w),
            Action::Message(text) => text.write(w),
            Action::Describe { title, shape } => {
                title.write(w);
                shape.write(w);
            }
            Action::Move(moved) => moved.write(w),
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let items = r.length(WriteFile::ITEMS + 2)?;
        let code = r.uint()?;
        let id = OperationId::read(r)?;
        let action = read_action(code, r)?;
        let operation = Self { id, action };
        require(operation.shape() == (code, items))?;
        Ok(operation)
    }
}

fn read_action(code: u64, r: &mut Reader<'_>) -> Decoded<Action> {
    Ok(match code {
        0 => Action::Make {
            at: Place::read(r)?,
            node: NodeId::read(r)?,
            what: What::read(r)?,
            mode: Mode::read(r)?,
            mtime: Mtime::read(r)?,
        },
        1 => Action::Link {
            at: Place::read(r)?,
            node: NodeId::read(r)?,
        },
        2 => Action::Rename {
            from: Place::read(r)?,
            to: Place::read(r)?,
            node: NodeId::read(r)?,
            replaced: r.optional(NodeId::read)?,
        },
        3 => Action::Remove {
            at: Place::read(r)?,
            node: NodeId::read(r)?,
        },
        4 => Action::SetAttr {
            node: NodeId::read(r)?,
            mode: r.optional(Mode::read)?,
            mtime: r.optional(Mtime::read)?,
        },
        5 => Action::SetXattr {
            node: NodeId::read(r)?,
            name: XattrName::read(r)?,
            value: r.optional(|r| r.bytes(limits::XATTR_BYTES).map(<[u8]>::to_vec))?,
        },
        6 => Action::FileKey {
            node: NodeId::read(r)?,
            key: KeyId(r.fixed()?),
            secret: Zeroizing::new(r.fixed()?),
        },
        7 => Action::WriteFile(WriteFile::read(r)?),
        8 => Action::Message(Message::read(r)?),
        9 => Action::Describe {
            title: Title::read(r)?,
            shape: Shape::read(r)?,
        },
        10 => Action::Move(MoveBlocks::read(r)?),
        _ => return Err(DecodeError::Malformed),
    })
}

/// The body of a content record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentBody {
    /// Applied in order, all or none.
    pub operations: Vec<Operation>,
}

impl Encoded for ContentBody {
    const LIMIT: usize = limits::BODY_BYTES;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        w.uint(1);
        w.list(&self.operations);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        r.version()?;
        Ok(Self {
            operations: r.list(limits::OPERATIONS)?,
        })
    }
}
