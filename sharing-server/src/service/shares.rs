//! Shares as their members see them, and how they end.

use keyfold_protocol::act::Order;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::limits;
use keyfold_protocol::receipt::Receipt;
use keyfold_protocol::roster::{Member, Role};
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{EventKind, ShareItem, SharesReply};

use super::access::{self, Caller};
use super::audit::{self, Act, Alert};
use super::{Outcome, Work, blobs as blob_rules, decode, of_share, require};
use crate::db::shares::{self, Share};
use crate::db::{accounts, blobs, records};

/// Seconds that dropped blobs stay unless an owner says otherwise.
pub(crate) const RETENTION: u64 = 30 * 24 * 3600;

pub(crate) fn item(work: &Work<'_>, share: &Share, member: &Member) -> Outcome<ShareItem> {
    let expired = shares::has_expired(work.tx, &share.id, work.now)?;
    Ok(ShareItem {
        share: share.id,
        creator: share.creator,
        head: share.head,
        epoch: share.epoch,
        role: member.role,
        expires: member.expires,
        rotation_due: share.rotation_due || expired,
        snapshot: share.snapshot,
        retention: share.retention,
        used: blobs::used(work.tx, &share.id)?,
    })
}

pub(crate) fn all(work: &Work<'_>, caller: &Caller) -> Outcome<SharesReply> {
    let mut found = Vec::new();
    for (share, member) in shares::of(work.tx, &caller.root())? {
        if !share.deleted && !member.expired(work.now) {
            found.push(item(work, &share, &member)?);
        }
    }
    Ok(SharesReply { shares: found })
}

pub(crate) fn one(work: &Work<'_>, caller: &Caller, share: &ShareId) -> Outcome<ShareItem> {
    let (share, member) = access::member(work, &caller.root(), share, Role::Reader)?;
    item(work, &share, &member)
}

/// Keeps what a device has seen. What it says of the log is for other members to judge.
pub(crate) fn put_receipt(
    work: &Work<'_>,
    caller: &Caller,
    share: &ShareId,
    body: &[u8],
) -> Outcome<()> {
    let (_, member) = access::member(work, &caller.root(), share, Role::Reader)?;
    let signed: Signed<Receipt> = decode(body)?;
    let receipt = signed.unverified();
    require(receipt.share == *share, ErrorCode::Malformed)?;
    let own = receipt.root == caller.root() && receipt.device == caller.session.device;
    require(own, ErrorCode::BadSignature)?;
    let key = if receipt.entry == member.key.entry {
        member.key.identity
    } else {
        access::own_key(work, caller, receipt.root, receipt.entry)?
    };
    signed.verify(&key)?;
    // Members judge what it says. That records were lost, or a fork, is the operator's to know.
    let known = records::find(work.tx, share, &receipt.record)?;
    if known != Some(receipt.seq) {
        work.alert(Alert::HeadRegression);
    }
    let kept = records::put_receipt(work.tx, &signed)?;
    require(kept, ErrorCode::Conflict)
}

pub(crate) fn set_retention(
    work: &Work<'_>,
    caller: &Caller,
    share: &ShareId,
    body: &[u8],
) -> Outcome<()> {
    access::member(work, &caller.root(), share, Role::Owner)?;
    match access::take_act(work, caller, body)? {
        Order::SetRetention(named, seconds) if named == *share => {
            require(seconds <= limits::NUMBER / 2, ErrorCode::Malformed)?;
            shares::set_retention(work.tx, share, seconds)?;
        }
        _ => return Err(ErrorCode::Malformed.into()),
    }
    let user = Some(&caller.account.name);
    audit::note(work, Act::SetRetention, user, &share.to_string())
}

pub(crate) fn delete(
    work: &Work<'_>,
    caller: &Caller,
    share: &ShareId,
    body: &[u8],
) -> Outcome<()> {
    access::creator(work, &caller.root(), share)?;
    let order = access::take_act(work, caller, body)?;
    require(order == Order::DeleteShare(*share), ErrorCode::Malformed)?;
    let user = Some(&caller.account.name);
    audit::note(work, Act::DeleteShare, user, &share.to_string())?;
    end(work, share)
}

/// Forgets all of a share but that it was there.
pub(crate) fn end(work: &Work<'_>, id: &ShareId) -> Outcome<()> {
    let Some(share) = shares::find(work.tx, id)? else {
        return Ok(());
    };
    let members = shares::roster(work.tx, &share)?.members;
    work.tell(members.into_keys(), of_share(EventKind::Membership, *id))?;
    for blob in blobs::all_of(work.tx, id)? {
        blob_rules::forget(work, id, &blob)?;
    }
    for (payer, bytes) in records::payments(work.tx, id)? {
        accounts::refund(work.tx, &payer, bytes)?;
    }
    Ok(shares::delete(work.tx, id)?)
}
