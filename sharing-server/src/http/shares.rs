//! Routes of shares, publications and requests.

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::{BlobList, PullQuery};

use super::call::Call;
use super::reply::Reply;
use crate::service::blobs::{self, Place};
use crate::service::{Outcome, Work, log, offers, shares};

/// Routes of no share in particular.
pub(super) fn user(work: &Work<'_>, route: Route, call: &Call) -> Outcome<Reply> {
    let caller = call.caller()?;
    let params = &call.params;
    match route {
        Route::Shares => Reply::json(&shares::all(work, caller)?),
        Route::CreateShare => Reply::json(&log::create(work, caller, &call.body)?),
        Route::Publications => Reply::json(&offers::offered(work, caller)?),
        Route::FindPublication => {
            let (owner, slug) = (params.get("user")?, params.get("slug")?);
            Reply::json(&offers::find(work, caller, &owner, &slug)?)
        }
        Route::Request => Reply::json(&offers::ask(work, caller, &call.body)?),
        Route::Requests => Reply::json(&offers::requests(work, caller)?),
        Route::Decide => {
            let request = params.get("request")?;
            offers::decide(work, caller, request, &call.body).map(|()| Reply::Nothing)
        }
        _ => Err(ErrorCode::NotFound.into()),
    }
}

/// Routes of a share.
pub(super) fn member(work: &Work<'_>, route: Route, call: &Call) -> Outcome<Reply> {
    let caller = call.caller()?;
    let share = &call.params.share()?;
    let body = &call.body;
    let done = |()| Reply::Nothing;
    match route {
        Route::Share => Reply::json(&shares::one(work, caller, share)?),
        Route::Append => Reply::json(&log::append(work, caller, share, body)?),
        Route::Pull => {
            let query: PullQuery = call.query()?;
            log::pull(work, caller, share, &query).map(Reply::Cbor)
        }
        Route::Restore => {
            let record = call.params.get("record")?;
            Reply::json(&log::restore(work, caller, (share, record), body)?)
        }
        Route::FindRecord => {
            let record = call.params.get("record")?;
            Reply::json(&log::find(work, caller, share, record)?)
        }
        Route::PutReceipt => shares::put_receipt(work, caller, share, body).map(done),
        Route::SetRetention => shares::set_retention(work, caller, share, body).map(done),
        Route::DeleteShare => shares::delete(work, caller, share, body).map(done),
        Route::Publish => Reply::json(&offers::publish(work, caller, share, body)?),
        Route::BlobState => {
            let place = Place {
                share: *share,
                blob: call.params.get("blob")?,
            };
            Reply::json(&blobs::look(work, caller, &place)?)
        }
        Route::MissingBlobs => {
            let list: BlobList = call.json()?;
            Reply::json(&blobs::missing(work, caller, share, &list)?)
        }
        Route::ReviveBlobs => {
            let list: BlobList = call.json()?;
            Reply::json(&blobs::revive(work, caller, share, &list)?)
        }
        Route::DroppedBlobs => Reply::json(&blobs::dropped(work, caller, share)?),
        Route::PurgeBlobs => Reply::json(&blobs::purge(work, caller, share, body)?),
        _ => Err(ErrorCode::NotFound.into()),
    }
}
