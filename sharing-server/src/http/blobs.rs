//! Routes that carry the bytes of blobs.

use std::ops::Range;

use axum::body::Body;
use axum::http::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use bytes::{Bytes, BytesMut};
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::wire::{AdoptBlobs, BlobStateReply, PutBlobQuery};

use super::call::{Call, Received, receive};
use super::reply::Reply;
use crate::app::App;
use crate::blobs::id_of;
use crate::db::blobs::Piece;
use crate::service::access::Caller;
use crate::service::blobs::{self, Admitted, Place};
use crate::service::{Failure, Outcome, Work};

/// A piece that is sent, by whom and for what.
struct Sending<'a> {
    app: &'a App,
    caller: Caller,
    place: Place,
    query: PutBlobQuery,
}

/// Takes a piece of a blob. What came of a piece that broke off is kept, to be gone on from.
pub(super) async fn put(app: &App, call: Call, body: Body) -> Outcome<Reply> {
    let _turn = app.transfers.turn(call.caller()?.root()).await?;
    let sending = Sending {
        app,
        caller: call.caller()?.clone(),
        place: Place {
            share: call.params.share()?,
            blob: call.params.get("blob")?,
        },
        query: call.query()?,
    };
    Reply::json(&sending.take(body).await?)
}

impl Sending<'_> {
    async fn take(&self, body: Body) -> Outcome<BlobStateReply> {
        let (caller, place, query) = (self.caller.clone(), self.place, self.query);
        let admit = move |work: &Work<'_>| blobs::admit(work, &caller, &place, &query);
        match self.app.write(admit).await? {
            Admitted::Complete(state) => return Ok(state),
            Admitted::Joinable(pieces) => return self.join(pieces).await,
            Admitted::Wanted => {}
        }
        let wanted = (self.query.size - self.query.offset) as usize;
        let (bytes, received) = receive(body, wanted, self.app.silence).await;
        if received == Received::TooMuch || (bytes.is_empty() && received == Received::All) {
            return Err(ErrorCode::Malformed.into());
        }
        let state = self.keep(bytes).await?;
        match received {
            Received::Broken => Err(ErrorCode::Malformed.into()),
            Received::All | Received::TooMuch => Ok(state),
        }
    }

    async fn keep(&self, bytes: Bytes) -> Outcome<BlobStateReply> {
        let received = self.query.offset + bytes.len() as u64;
        if bytes.is_empty() {
            return Ok(BlobStateReply {
                received,
                complete: false,
            });
        }
        if bytes.len() as u64 == self.query.size {
            return self.finish(bytes).await;
        }
        let piece = Piece {
            length: bytes.len() as u64,
            object: self.app.objects.put(bytes).await?,
        };
        let (caller, place, query, added) =
            (self.caller.clone(), self.place, self.query, piece.clone());
        let add = move |work: &Work<'_>| blobs::add_piece(work, &caller, &place, (&query, &added));
        match self.app.write(add).await {
            Ok(Some(pieces)) => self.join(pieces).await,
            Ok(None) => Ok(BlobStateReply {
                received,
                complete: false,
            }),
            Err(failure) => {
                self.app.objects.delete(&piece.object).await?;
                Err(failure)
            }
        }
    }

    async fn join(&self, pieces: Vec<Piece>) -> Outcome<BlobStateReply> {
        let mut all = BytesMut::new();
        for piece in pieces {
            all.extend_from_slice(&self.app.objects.get(&piece.object, 0..piece.length).await?);
        }
        self.finish(all.freeze()).await
    }

    /// Makes a whole blob durable, if its bytes have its hash, and then says so.
    async fn finish(&self, bytes: Bytes) -> Outcome<BlobStateReply> {
        let place = self.place;
        if id_of(&bytes) != place.blob {
            self.app
                .write(move |work| blobs::discard(work, &place))
                .await?;
            return Err(ErrorCode::BlobMismatch.into());
        }
        let size = bytes.len() as u64;
        store(self.app, &self.caller, place, bytes).await?;
        Ok(BlobStateReply {
            received: size,
            complete: true,
        })
    }
}

/// Makes a blob's bytes durable and then names them.
async fn store(app: &App, caller: &Caller, place: Place, bytes: Bytes) -> Outcome<()> {
    let size = bytes.len() as u64;
    let object = app.objects.put(bytes).await?;
    let (caller, name) = (caller.clone(), object.clone());
    let named = app
        .write(move |work| blobs::complete(work, &caller, &place, (size, &name)))
        .await;
    if named.is_err() {
        app.objects.delete(&object).await?;
    }
    named.map(|_| ())
}

/// A blob, or a range of it.
pub(super) async fn get(app: &App, call: Call) -> Outcome<Reply> {
    let _turn = app.transfers.turn(call.caller()?.root()).await?;
    let caller = call.caller()?.clone();
    let place = Place {
        share: call.params.share()?,
        blob: call.params.get("blob")?,
    };
    let root = caller.root();
    let open = move |work: &Work<'_>| blobs::open(work, &caller, &place);
    let (object, size) = app.read(open).await?;
    let range = wanted_range(&call.headers, size)?;
    let whole = range.is_none();
    let range = range.unwrap_or(0..size);
    app.fetched(&root, range.end - range.start);
    let bytes = app.objects.get(&object, range.clone()).await?;
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if !whole {
        let value = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        let value = HeaderValue::try_from(value).map_err(|_| ErrorCode::BadRange)?;
        headers.insert(CONTENT_RANGE, value);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(Reply::Response(Box::new(response)))
}

/// The one range that is asked for, within the blob.
fn wanted_range(headers: &HeaderMap, size: u64) -> Outcome<Option<Range<u64>>> {
    let Some(value) = headers.get(RANGE) else {
        return Ok(None);
    };
    let bad = || Failure::from(ErrorCode::BadRange);
    let text = value.to_str().map_err(|_| bad())?;
    let (first, last) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .ok_or_else(bad)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| bad());
    let range = match (first, last) {
        ("", length) => size.saturating_sub(number(length)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..number(last)?.saturating_add(1).min(size),
    };
    if range.start >= range.end {
        return Err(bad());
    }
    Ok(Some(range))
}

/// Takes blobs of another share over: the bytes are copied, so either share may end.
pub(super) async fn adopt(app: &App, call: Call) -> Outcome<Reply> {
    let _turn = app.transfers.turn(call.caller()?.root()).await?;
    let caller = call.caller()?.clone();
    let share = call.params.share()?;
    let body: AdoptBlobs = call.json()?;
    let (asking, from, list) = (caller.clone(), body.from, body.blobs.clone());
    let find = move |work: &Work<'_>| blobs::adoptable(work, &asking, (&share, &from), &list);
    for (blob, object, size) in app.read(find).await? {
        let bytes = app.objects.get(&object, 0..size).await?;
        store(app, &caller, Place { share, blob }, bytes).await?;
    }
    let list = body.blobs;
    let present = app
        .read(move |work| blobs::present(work, &share, &list))
        .await?;
    Reply::json(&present)
}
