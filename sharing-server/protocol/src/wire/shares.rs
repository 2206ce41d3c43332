//! Shares, records and blobs.

use serde::{Deserialize, Serialize};

use crate::error_code::HeadReply;
use crate::ids::{BlobId, ChainRoot, Epoch, RecordHash, Seq, ShareId, Time};
use crate::roster::Role;

/// Reply of `Shares`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SharesReply {
    /// All of which the caller is a member.
    pub shares: Vec<ShareItem>,
}

/// A share as the server knows it. Reply of `Share` and of `CreateShare`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ShareItem {
    /// Which.
    pub share: ShareId,
    /// Who began it.
    pub creator: ChainRoot,
    /// Its last record.
    pub head: HeadReply,
    /// The epoch in force.
    pub epoch: Epoch,
    /// The caller's role.
    pub role: Role,
    /// When the caller's access ends.
    pub expires: Option<Time>,
    /// Somebody left or expired, and no epoch began since.
    pub rotation_due: bool,
    /// Place of the last snapshot record.
    pub snapshot: Option<Seq>,
    /// Seconds that dropped blobs stay.
    pub retention: u64,
    /// Bytes of its blobs.
    pub used: u64,
}

/// Reply of `Append`: where the record is, now or since long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppendReply {
    /// Its place.
    pub seq: Seq,
    /// The head, which is later when the record was appended before.
    pub head: HeadReply,
}

/// Query of `Pull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PullQuery {
    /// The first place wanted.
    pub from: Seq,
    /// Records wanted at most; the server may give fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Bodies of content and snapshot records before this place are not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bodies_from: Option<Seq>,
}

/// Reply of `FindRecord`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RecordReply {
    /// The record.
    pub record: RecordHash,
    /// Its place.
    pub seq: Seq,
}

/// Query of `PutBlob`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct PutBlobQuery {
    /// Where the piece begins.
    pub offset: u64,
    /// Bytes of the whole blob.
    pub size: u64,
}

/// Reply of `PutBlob` and `BlobState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BlobStateReply {
    /// Bytes that are there.
    pub received: u64,
    /// Whether all are, are durable, and have the blob's hash.
    pub complete: bool,
}

/// Body and reply of `MissingBlobs` and `ReviveBlobs`, and reply of `AdoptBlobs` and `PurgeBlobs`:
/// asked about, or concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BlobList {
    /// At most [`crate::limits::BLOB_LIST`].
    pub blobs: Vec<BlobId>,
}

/// Body of `AdoptBlobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AdoptBlobs {
    /// A share that the caller reads.
    pub from: ShareId,
    /// At most [`crate::limits::BLOB_LIST`].
    pub blobs: Vec<BlobId>,
}

/// Reply of `DroppedBlobs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DroppedReply {
    /// In the order they were dropped.
    pub blobs: Vec<DroppedBlob>,
}

/// A blob that no record names any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DroppedBlob {
    /// Which.
    pub blob: BlobId,
    /// The record that dropped it.
    pub dropped_at: Seq,
    /// When it goes.
    pub until: Time,
}
