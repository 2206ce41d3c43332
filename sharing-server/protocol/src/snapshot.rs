//! Snapshots: a share's whole tree at a place of its log, so that nobody has to replay everything.
//!
//! The tree's canonical bytes are cut into pieces of 4 MiB less 81 bytes, the last one shorter; each
//! is sealed and stored as a blob. The body of the snapshot record names them:
//!
//! ```text
//! body = [1, seq, record(32), tree hash(32), length, [blob(32)...]]
//! ```
//!
//! Every client that applied the log up to `seq` computes the tree hash too, and raises an event when
//! it differs.

use keyfold_crypto::{
    Context, CryptoError, EpochKey, HashLabel, Label, RandomError, labelled_hash, open, seal,
};

use crate::cbor::{Decoded, Encoded, Reader, Writer, require};
use crate::ids::{BlobId, Epoch, RecordHash, Seq, ShareId, TreeHash};
use crate::limits;
use crate::pack::blob_id;
use crate::tree::Tree;

/// Bytes of a tree in one piece.
const PIECE: usize = limits::CHUNK_BYTES - SEALED;
/// Bytes that sealing adds.
const SEALED: usize = 81;

/// The body of a snapshot record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotBody {
    /// The last record that the tree has.
    pub seq: Seq,
    /// Its hash.
    pub record: RecordHash,
    /// Hash of the tree.
    pub tree: TreeHash,
    /// Bytes of the tree.
    pub length: u64,
    /// Its pieces.
    pub chunks: Vec<BlobId>,
}

impl Encoded for SnapshotBody {
    const LIMIT: usize = limits::BODY_BYTES;

    fn write(&self, w: &mut Writer) {
        w.array(6);
        w.uint(1);
        self.seq.write(w);
        self.record.write(w);
        self.tree.write(w);
        w.uint(self.length);
        w.list(&self.chunks);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(6)?;
        r.version()?;
        let body = Self {
            seq: Seq::read(r)?,
            record: RecordHash::read(r)?,
            tree: TreeHash::read(r)?,
            length: r.uint()?,
            chunks: r.list(limits::CHUNKS)?,
        };
        let pieces = body.length.div_ceil(PIECE as u64);
        require(pieces > 0 && pieces == body.chunks.len() as u64)?;
        Ok(body)
    }
}

impl SnapshotBody {
    /// Its pieces with their lengths as they are stored, in order.
    pub fn pieces(&self) -> impl Iterator<Item = (BlobId, usize)> {
        let last = self.chunks.len().saturating_sub(1);
        let rest = self.length.saturating_sub(last as u64 * PIECE as u64);
        let length = move |index| if index < last { PIECE } else { rest as usize };
        let chunks = self.chunks.iter().enumerate();
        chunks.map(move |(index, chunk)| (*chunk, length(index) + SEALED))
    }
}

/// Where a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPlace {
    /// Of which share.
    pub share: ShareId,
    /// Under which epoch it is sealed.
    pub epoch: Epoch,
    /// The last record that the tree has.
    pub seq: Seq,
    /// Its hash.
    pub record: RecordHash,
}

impl SnapshotPlace {
    fn context(&self, index: usize, count: usize) -> Context {
        Context::new(Label::SNAPSHOT_CHUNK)
            .bytes(&self.share.0)
            .u64(self.epoch.0)
            .u64(self.seq.0)
            .bytes(&self.record.0)
            .u64(index as u64)
            .u64(count as u64)
    }

    /// Seals a tree: the record's body, and the blobs that it names.
    pub fn seal(
        &self,
        tree: &Tree,
        key: &EpochKey,
    ) -> Result<(SnapshotBody, Vec<Vec<u8>>), RandomError> {
        let bytes = zeroize::Zeroizing::new(tree.encode());
        let count = bytes.len().div_ceil(PIECE);
        let sealed = bytes
            .chunks(PIECE)
            .enumerate()
            .map(|(index, piece)| seal(&key.snapshot_key(), &self.context(index, count), piece));
        let blobs = sealed.collect::<Result<Vec<_>, _>>()?;
        let body = SnapshotBody {
            seq: self.seq,
            record: self.record,
            tree: TreeHash(labelled_hash(HashLabel::TREE, &bytes)),
            length: bytes.len() as u64,
            chunks: blobs.iter().map(|blob| blob_id(blob)).collect(),
        };
        Ok((body, blobs))
    }

    /// The tree of a snapshot, from the blobs that its body names. Fails with
    /// [`CryptoError::Tampered`] when a blob or the whole is another than was signed, and with
    /// [`CryptoError::Malformed`] for what is no tree.
    pub fn open(
        &self,
        body: &SnapshotBody,
        blobs: &[Vec<u8>],
        key: &EpochKey,
    ) -> Result<Tree, CryptoError> {
        let right =
            (self.seq, self.record) == (body.seq, body.record) && blobs.len() == body.chunks.len();
        if !right {
            return Err(CryptoError::Tampered);
        }
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        for (index, (blob, id)) in blobs.iter().zip(&body.chunks).enumerate() {
            if blob_id(blob) != *id {
                return Err(CryptoError::Tampered);
            }
            let context = self.context(index, blobs.len());
            bytes.extend_from_slice(&open(&key.snapshot_key(), &context, blob)?);
        }
        let hash = TreeHash(labelled_hash(HashLabel::TREE, &bytes));
        if hash != body.tree || bytes.len() as u64 != body.length {
            return Err(CryptoError::Tampered);
        }
        Tree::decode(&bytes).map_err(|_| CryptoError::Malformed)
    }
}
