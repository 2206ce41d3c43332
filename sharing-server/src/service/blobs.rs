//! Blobs: what a record may name, who pays, and when they go.

use keyfold_protocol::act::Order;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{BlobId, ShareId};
use keyfold_protocol::limits;
use keyfold_protocol::roster::Role;
use keyfold_protocol::wire::{BlobList, BlobStateReply, DroppedReply, PutBlobQuery};

use super::access::{self, Caller};
use super::audit::{self, Act};
use super::{Failure, Outcome, Work, require};
use crate::db::accounts;
use crate::db::blobs::{self, Blob, Piece};

/// A blob of a share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) share: ShareId,
    pub(crate) blob: BlobId,
}

fn state(blob: Option<&Blob>) -> BlobStateReply {
    BlobStateReply {
        received: blob.map_or(0, |blob| blob.received),
        complete: blob.is_some_and(|blob| blob.object.is_some()),
    }
}

fn wrong_offset(received: u64) -> Failure {
    Failure::with(ErrorCode::WrongOffset, |reply| {
        reply.received = Some(received);
    })
}

/// What is to be done with a piece.
pub(crate) enum Admitted {
    /// Nothing: the blob is complete.
    Complete(BlobStateReply),
    /// Nothing: all pieces are there, and were not joined yet.
    Joinable(Vec<Piece>),
    /// It is wanted.
    Wanted,
}

/// Whether a piece is wanted. A beginning of another size than it has now begins a blob anew.
pub(crate) fn admit(
    work: &Work<'_>,
    caller: &Caller,
    place: &Place,
    query: &PutBlobQuery,
) -> Outcome<Admitted> {
    access::member(work, &caller.root(), &place.share, Role::Writer)?;
    require(
        query.size > 0 && query.offset < query.size,
        ErrorCode::Malformed,
    )?;
    require(query.size <= limits::PACK_BYTES as u64, ErrorCode::TooLarge)?;
    let (share, id) = (&place.share, &place.blob);
    let mut received = 0;
    if let Some(blob) = blobs::find(work.tx, share, id)? {
        if blob.object.is_some() {
            return Ok(Admitted::Complete(state(Some(&blob))));
        }
        if blob.size != query.size {
            forget(work, share, id)?;
        } else if blob.received == blob.size {
            return Ok(Admitted::Joinable(blobs::pieces(work.tx, share, id)?));
        } else {
            received = blob.received;
        }
    }
    if received == query.offset {
        Ok(Admitted::Wanted)
    } else {
        Err(wrong_offset(received))
    }
}

/// Takes a piece that is durable. With the last of them come all, to be joined and hashed.
pub(crate) fn add_piece(
    work: &Work<'_>,
    caller: &Caller,
    place: &Place,
    (query, piece): (&PutBlobQuery, &Piece),
) -> Outcome<Option<Vec<Piece>>> {
    access::member(work, &caller.root(), &place.share, Role::Writer)?;
    let (share, id) = (&place.share, &place.blob);
    if blobs::find(work.tx, share, id)?.is_none() {
        let payer = caller.root();
        let paid = accounts::charge(work.tx, &payer, query.size)?;
        require(paid, ErrorCode::QuotaExceeded)?;
        blobs::begin(work.tx, (share, id), (query.size, &payer), work.now)?;
    }
    if !blobs::add_piece(work.tx, (share, id), query.offset, piece)? {
        let received = blobs::find(work.tx, share, id)?.map_or(0, |blob| blob.received);
        return Err(wrong_offset(received));
    }
    let whole = query.offset + piece.length == query.size;
    Ok(if whole {
        Some(blobs::pieces(work.tx, share, id)?)
    } else {
        None
    })
}

/// Names the durable object that has the blob's hash.
pub(crate) fn complete(
    work: &Work<'_>,
    caller: &Caller,
    place: &Place,
    (size, object): (u64, &str),
) -> Outcome<BlobStateReply> {
    access::member(work, &caller.root(), &place.share, Role::Writer)?;
    let (share, id) = (&place.share, &place.blob);
    let found = blobs::find(work.tx, share, id)?;
    let fits = |blob: &Blob| blob.object.is_some() || blob.size == size;
    if !found.as_ref().is_some_and(fits) {
        forget(work, share, id)?;
        let payer = caller.root();
        let paid = accounts::charge(work.tx, &payer, size)?;
        require(paid, ErrorCode::QuotaExceeded)?;
        blobs::begin(work.tx, (share, id), (size, &payer), work.now)?;
    }
    if !blobs::complete(work.tx, share, id, object)? {
        blobs::doom_object(work.tx, object)?;
    }
    Ok(BlobStateReply {
        received: size,
        complete: true,
    })
}

/// Forgets a blob that is not complete, because its bytes have another hash.
pub(crate) fn discard(work: &Work<'_>, place: &Place) -> Outcome<()> {
    if blobs::is_complete(work.tx, &place.share, &place.blob)? {
        return Ok(());
    }
    forget(work, &place.share, &place.blob)
}

/// Forgets a blob and gives back what was paid for it.
pub(crate) fn forget(work: &Work<'_>, share: &ShareId, id: &BlobId) -> Outcome<()> {
    if let Some(blob) = blobs::find(work.tx, share, id)? {
        accounts::refund(work.tx, &blob.payer, blob.size)?;
        blobs::doom(work.tx, share, id)?;
    }
    Ok(())
}

pub(crate) fn look(work: &Work<'_>, caller: &Caller, place: &Place) -> Outcome<BlobStateReply> {
    access::member(work, &caller.root(), &place.share, Role::Writer)?;
    let found = blobs::find(work.tx, &place.share, &place.blob)?;
    Ok(state(found.as_ref()))
}

/// The object and the size of a complete blob.
pub(crate) fn open(work: &Work<'_>, caller: &Caller, place: &Place) -> Outcome<(String, u64)> {
    access::member(work, &caller.root(), &place.share, Role::Reader)?;
    let found = blobs::find(work.tx, &place.share, &place.blob)?;
    Ok(found.and_then(Blob::whole).ok_or(ErrorCode::NotFound)?)
}

fn checked(list: &[BlobId]) -> Outcome<&[BlobId]> {
    require(list.len() <= limits::BLOB_LIST, ErrorCode::Malformed)?;
    Ok(list)
}

/// Those of a list for which `wanted` holds.
fn select(list: &[BlobId], wanted: impl Fn(&BlobId) -> Outcome<bool>) -> Outcome<BlobList> {
    let mut blobs = Vec::new();
    for blob in list {
        if wanted(blob)? {
            blobs.push(*blob);
        }
    }
    Ok(BlobList { blobs })
}

/// Which of these are not complete.
pub(crate) fn missing(
    work: &Work<'_>,
    caller: &Caller,
    share: &ShareId,
    list: &BlobList,
) -> Outcome<BlobList> {
    access::member(work, &caller.root(), share, Role::Writer)?;
    select(checked(&list.blobs)?, |blob| {
        Ok(!blobs::is_complete(work.tx, share, blob)?)
    })
}

/// Objects of those blobs of `from` that are complete there and not in `share`.
pub(crate) fn adoptable(
    work: &Work<'_>,
    caller: &Caller,
    (share, from): (&ShareId, &ShareId),
    list: &[BlobId],
) -> Outcome<Vec<(BlobId, String, u64)>> {
    access::member(work, &caller.root(), share, Role::Writer)?;
    // Of a share that he may not read he learns nothing.
    access::member(work, &caller.root(), from, Role::Reader)?;
    let mut found = Vec::new();
    for id in checked(list)? {
        let source = blobs::find(work.tx, from, id)?.and_then(Blob::whole);
        let here = blobs::is_complete(work.tx, share, id)?;
        if let (Some((object, size)), false) = (source, here) {
            found.push((*id, object, size));
        }
    }
    Ok(found)
}

/// Which of these the share has, complete.
pub(crate) fn present(work: &Work<'_>, share: &ShareId, list: &[BlobId]) -> Outcome<BlobList> {
    select(list, |blob| Ok(blobs::is_complete(work.tx, share, blob)?))
}

/// Keeps blobs that were dropped; those that are kept now.
pub(crate) fn revive(
    work: &Work<'_>,
    caller: &Caller,
    share: &ShareId,
    list: &BlobList,
) -> Outcome<BlobList> {
    access::member(work, &caller.root(), share, Role::Writer)?;
    select(checked(&list.blobs)?, |blob| {
        Ok(blobs::revive(work.tx, share, blob)? || blobs::is_complete(work.tx, share, blob)?)
    })
}

pub(crate) fn dropped(work: &Work<'_>, caller: &Caller, share: &ShareId) -> Outcome<DroppedReply> {
    let (share, _) = access::member(work, &caller.root(), share, Role::Reader)?;
    Ok(DroppedReply {
        blobs: blobs::dropped(work.tx, &share.id, share.retention)?,
    })
}

/// Ends the time of dropped blobs at once. What is not dropped stays.
pub(crate) fn purge(
    work: &Work<'_>,
    caller: &Caller,
    share: &ShareId,
    body: &[u8],
) -> Outcome<BlobList> {
    access::member(work, &caller.root(), share, Role::Owner)?;
    let Order::PurgeBlobs(named, list) = access::take_act(work, caller, body)? else {
        return Err(ErrorCode::Malformed.into());
    };
    require(named == *share, ErrorCode::Malformed)?;
    let mut purged = Vec::new();
    for blob in list {
        if blobs::is_dropped(work.tx, share, &blob)? {
            forget(work, share, &blob)?;
            purged.push(blob);
        }
    }
    let user = Some(&caller.account.name);
    audit::note(work, Act::PurgeBlobs, user, &share.to_string())?;
    Ok(BlobList { blobs: purged })
}
