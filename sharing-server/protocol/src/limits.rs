//! How much of anything there may be. Limits are part of the protocol: what exceeds one is
//! malformed, and is refused before memory is taken for it.

/// Bytes of a record's header.
pub const HEADER_BYTES: usize = 256 << 10;
/// Bytes of a record's body as it is sent.
pub const BODY_BYTES: usize = 1 << 20;
/// Blobs that one record adds, and blobs that it drops.
pub const RECORD_BLOBS: usize = 2048;
/// Operations in one content record.
pub const OPERATIONS: usize = 4096;
/// Changes in one roster record.
pub const CHANGES: usize = 256;
/// Members of a share.
pub const MEMBERS: usize = 256;
/// Entries of a key chain.
pub const CHAIN_ENTRIES: usize = 64;
/// Bytes of a chain entry with its signatures.
pub const CHAIN_ENTRY_BYTES: usize = 2048;
/// Bytes of a grant.
pub const GRANT_BYTES: usize = 2048;
/// Bytes of a publication, request, decision, receipt or act with its signature.
pub const STATEMENT_BYTES: usize = 32 << 10;
/// Bytes of a name in a directory.
pub const NAME_BYTES: usize = 255;
/// Bytes of a symlink's target.
pub const TARGET_BYTES: usize = 4095;
/// Bytes of an extended attribute's value.
pub const XATTR_BYTES: usize = 64 << 10;
/// Extended attributes of a node.
pub const XATTRS: usize = 256;
/// Bytes of a share's or publication's title.
pub const TITLE_BYTES: usize = 255;
/// Bytes of a message in a share, and of one that comes with a request.
pub const MESSAGE_BYTES: usize = 8 << 10;
/// Users that a publication names.
pub const AUDIENCE: usize = 256;
/// Changed leaves in one write of a file.
pub const CHANGED_LEAVES: usize = 16 << 10;
/// Packs that one write of a file names.
pub const WRITE_PACKS: usize = 1024;
/// Keys of one file.
pub const FILE_KEYS: usize = 4096;
/// Bytes of a pack.
pub const PACK_BYTES: usize = 4 << 20;
/// Blocks of a pack: as many as fit with their descriptors.
pub const PACK_BLOCKS: usize = 1008;
/// Bytes of a piece of a snapshot as it is sent.
pub const CHUNK_BYTES: usize = 4 << 20;
/// Pieces of a snapshot.
pub const CHUNKS: usize = RECORD_BLOBS;
/// Nodes of a share's tree.
pub const NODES: usize = 4 << 20;
/// Records with an operation's id seen before: an operation is ignored when it comes again so soon.
pub const REPLAY_WINDOW: u64 = 256;
/// Bytes of an account's sealed root.
pub const ACCOUNT_ROOT_BYTES: usize = 16 << 10;
/// Bytes of an account's sealed book.
pub const ACCOUNT_BOOK_BYTES: usize = 1 << 20;
/// Bytes of what is sealed for a vault's pin.
pub const PIN_BYTES: usize = 4 << 10;
/// Records in one answer to a pull.
pub const PULL_RECORDS: usize = 512;
/// Bytes of records in one answer to a pull, beyond its first record.
pub const PULL_BYTES: usize = 8 << 20;
/// Receipts that come with a pull.
pub const RECEIPTS: usize = 1024;
/// Bytes of the body of a request in JSON.
pub const JSON_BYTES: usize = 2 << 20;
/// Blobs in one question about blobs.
pub const BLOB_LIST: usize = 4096;
/// Blobs in one order to purge.
pub const PURGE_LIST: usize = 768;
/// Contacts and groups of an account's book, and members of a group.
pub const BOOK_ENTRIES: usize = 4096;
/// The largest number that JavaScript has exactly. No number in the protocol exceeds it.
pub const NUMBER: u64 = (1 << 53) - 1;
