//! Calls about blobs: sent in pieces, fetched by range.

use std::ops::Range;

use keyfold_protocol::act::Act;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{BlobId, ShareId};
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{AdoptBlobs, BlobList, BlobStateReply, DroppedReply};

use super::{Call, Remote, RemoteError};

/// Bytes of a piece of a blob as it is sent.
const PIECE: usize = 1 << 20;
/// Pieces of one blob that are sent, those that are sent again included.
const PIECES: usize = 32;

#[allow(dead_code, reason = "there is a call for each route, whoever needs it")]
impl Remote {
    /// Sends a blob, from where an earlier sending ended.
    pub(crate) async fn put_blob(
        &self,
        share: ShareId,
        blob: BlobId,
        bytes: &[u8],
    ) -> Result<(), RemoteError> {
        let mut offset = 0;
        for _ in 0..PIECES {
            let end = bytes.len().min(offset + PIECE);
            let sent = self.put_piece((share, blob), bytes, offset..end).await;
            let received = match sent {
                Ok(state) if state.complete => return Ok(()),
                Ok(state) => state.received,
                Err(RemoteError::Refused { reply, .. }) if reply.code == ErrorCode::WrongOffset => {
                    reply.received.unwrap_or(0)
                }
                Err(error) => return Err(error),
            };
            offset = usize::try_from(received).unwrap_or(usize::MAX);
            if offset >= bytes.len() {
                // All is there and was not made a blob of yet: the last piece again does that.
                offset = bytes.len().saturating_sub(PIECE);
            }
        }
        Err(self.malformed(Route::PutBlob))
    }

    async fn put_piece(
        &self,
        (share, blob): (ShareId, BlobId),
        bytes: &[u8],
        piece: Range<usize>,
    ) -> Result<BlobStateReply, RemoteError> {
        let path = format!(
            "{}?offset={}&size={}",
            Route::PutBlob.path(&[&share, &blob]),
            piece.start,
            bytes.len()
        );
        let reply = self.call(Route::PutBlob, path, bytes[piece].to_vec());
        self.read(Route::PutBlob, &reply.await?)
    }

    /// Bytes of a blob, as many as were asked for.
    pub(crate) async fn blob(
        &self,
        share: ShareId,
        blob: BlobId,
        range: Range<usize>,
    ) -> Result<Vec<u8>, RemoteError> {
        let length = range.len();
        let call = Call {
            route: Route::Blob,
            path: Route::Blob.path(&[&share, &blob]),
            body: Vec::new(),
            range: Some(range),
        };
        let reply = self.carry_out(call).await?;
        if reply.len() == length {
            Ok(reply)
        } else {
            Err(self.malformed(Route::Blob))
        }
    }

    /// Which of these blobs a share does not have.
    pub(crate) async fn missing_blobs(
        &self,
        share: ShareId,
        blobs: &[BlobId],
    ) -> Result<Vec<BlobId>, RemoteError> {
        self.of_list(Route::MissingBlobs, share, blobs).await
    }

    /// Keeps blobs that were dropped. Returns those that are there.
    pub(crate) async fn revive_blobs(
        &self,
        share: ShareId,
        blobs: &[BlobId],
    ) -> Result<Vec<BlobId>, RemoteError> {
        self.of_list(Route::ReviveBlobs, share, blobs).await
    }

    /// Takes blobs of another share over. Returns those that are there then.
    pub(crate) async fn adopt_blobs(
        &self,
        share: ShareId,
        from: ShareId,
        blobs: &[BlobId],
    ) -> Result<Vec<BlobId>, RemoteError> {
        let route = Route::AdoptBlobs;
        let wanted = AdoptBlobs {
            from,
            blobs: blobs.to_vec(),
        };
        let reply: BlobList = self.post(route, route.path(&[&share]), &wanted).await?;
        Ok(reply.blobs)
    }

    async fn of_list(
        &self,
        route: Route,
        share: ShareId,
        blobs: &[BlobId],
    ) -> Result<Vec<BlobId>, RemoteError> {
        let list = BlobList {
            blobs: blobs.to_vec(),
        };
        let reply: BlobList = self.post(route, route.path(&[&share]), &list).await?;
        Ok(reply.blobs)
    }

    /// Deletes blobs that were dropped. Returns those that were.
    pub(crate) async fn purge_blobs(
        &self,
        share: ShareId,
        act: &Signed<Act>,
    ) -> Result<Vec<BlobId>, RemoteError> {
        let path = Route::PurgeBlobs.path(&[&share]);
        let reply = self.call(Route::PurgeBlobs, path, act.encode()).await?;
        let reply: BlobList = self.read(Route::PurgeBlobs, &reply)?;
        Ok(reply.blobs)
    }

    /// Keeps what is dropped in a share for another time.
    pub(crate) async fn set_retention(
        &self,
        share: ShareId,
        act: &Signed<Act>,
    ) -> Result<(), RemoteError> {
        let path = Route::SetRetention.path(&[&share]);
        let set = self.call(Route::SetRetention, path, act.encode()).await;
        set.map(drop)
    }

    /// Blobs of a share that no record names any more.
    pub(crate) async fn dropped_blobs(&self, share: ShareId) -> Result<DroppedReply, RemoteError> {
        let path = Route::DroppedBlobs.path(&[&share]);
        self.get(Route::DroppedBlobs, path).await
    }
}
