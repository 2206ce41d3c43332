//! Appending to a share's log, and reading it.
//!
//! The server applies the rules that need no secret, by the same function as every member, and
//! appends nothing that would be void. Who appends need not be the author: after a restored backup
//! members bring back each other's records, which are signed and have one place.

use std::collections::BTreeSet;

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::KeyEntry;
use keyfold_protocol::error_code::{ErrorCode, HeadReply};
use keyfold_protocol::exchange::{Append, Delivered, Pulled};
use keyfold_protocol::ids::{ChainRoot, RecordHash, RequestHash, Seq, ShareId};
use keyfold_protocol::limits;
use keyfold_protocol::log::{admit, begin, follow, rotation_due};
use keyfold_protocol::record::{Header, Kind};
use keyfold_protocol::roster::{Change, Member, Role, Roster, RosterBody};
use keyfold_protocol::wire::{
    AppendReply, EventKind, PullQuery, RecordReply, RequestState, ShareItem,
};

use super::access::{self, Caller};
use super::audit::{self, Act, Alert};
use super::{Failure, Outcome, Work, decode, of_request, of_share, require, shares as items};
use crate::db::shares::{self, Share};
use crate::db::{accounts, blobs, offers, records};

/// Begins a share with its first record. The same record again has the same reply.
pub(crate) fn create(work: &Work<'_>, caller: &Caller, body: &[u8]) -> Outcome<ShareItem> {
    let append: Append = decode(body)?;
    let record = &append.record;
    let header = &record.header;
    let id = header.hash().share();
    if let Some(known) = shares::find(work.tx, &id)?
        && !known.deleted
    {
        return items::one(work, caller, &id);
    }
    require(
        shares::find(work.tx, &id)?.is_none(),
        ErrorCode::NotApplicable,
    )?;
    require(header.author.root == caller.root(), ErrorCode::BadSignature)?;
    let roster_body = roster_body(&append)?;
    let roster = begin(header, &roster_body).map_err(|_| ErrorCode::NotApplicable)?;
    let key = access::entry_key(work, &header.author.root, &header.author.entry)?;
    record.verify(&key)?;
    let bare = header.added.is_empty() && header.dropped.is_empty();
    require(
        bare && append.grants_fit(&roster_body),
        ErrorCode::NotApplicable,
    )?;
    let share = Share {
        id,
        deleted: false,
        creator: roster.creator,
        nonce: roster.nonce,
        head: HeadReply {
            seq: Seq(0),
            record: header.hash(),
        },
        roster_record: header.hash(),
        roster_time: header.time,
        version: roster.version,
        epoch: roster.epoch,
        commitment: roster.commitment,
        rotation_due: false,
        snapshot: None,
        retention: items::RETENTION,
    };
    shares::insert(work.tx, &share)?;
    for member in roster.members.values() {
        shares::put_member(work.tx, &id, member)?;
    }
    store(work, caller, &id, &append)?;
    audit::note(
        work,
        Act::CreateShare,
        Some(&caller.account.name),
        &id.to_string(),
    )?;
    work.tell([caller.root()], of_share(EventKind::Membership, id))?;
    items::one(work, caller, &id)
}

fn roster_body(append: &Append) -> Outcome<RosterBody> {
    let body = append.record.body().ok_or(ErrorCode::Malformed)?;
    require(append.record.body_fits(), ErrorCode::BadSignature)?;
    decode(body)
}

/// Puts a record and its grants in place; the caller pays.
fn store(work: &Work<'_>, caller: &Caller, share: &ShareId, append: &Append) -> Outcome<()> {
    let header = &append.record.header;
    let bytes = records::insert(work.tx, share, &append.record, &caller.root())?;
    for grant in &append.grants {
        records::insert_grant(work.tx, share, header.seq, grant)?;
    }
    let paid = accounts::charge(work.tx, &caller.root(), bytes)?;
    require(paid, ErrorCode::QuotaExceeded)
}

/// Appends a record if it follows the head. The same record again is success, wherever it stands.
pub(crate) fn append(
    work: &Work<'_>,
    caller: &Caller,
    id: &ShareId,
    body: &[u8],
) -> Outcome<AppendReply> {
    access::member(work, &caller.root(), id, Role::Reader)?;
    take(work, caller, id, (&decode(body)?, Coming::New))
}

/// Appends a record again that was lost. Of the blobs that it adds not all may be had any more: files
/// that need those are sent again by a later record.
pub(crate) fn restore(
    work: &Work<'_>,
    caller: &Caller,
    (id, record): (&ShareId, RecordHash),
    body: &[u8],
) -> Outcome<AppendReply> {
    // Whoever may write could spoil files anyway.
    access::member(work, &caller.root(), id, Role::Writer)?;
    let append: Append = decode(body)?;
    require(
        append.record.header.hash() == record,
        ErrorCode::NotApplicable,
    )?;
    if records::find(work.tx, id, &record)?.is_none() {
        work.alert(Alert::HeadRegression);
    }
    take(work, caller, id, (&append, Coming::Again))
}

/// Whether a record was here before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coming {
    /// It was not.
    New,
    /// It was, and was lost, perhaps with its blobs and with what became of requests.
    Again,
}

fn take(
    work: &Work<'_>,
    caller: &Caller,
    id: &ShareId,
    (append, coming): (&Append, Coming),
) -> Outcome<AppendReply> {
    let share = shares::find(work.tx, id)?.ok_or(ErrorCode::NotFound)?;
    let header = &append.record.header;
    let record = header.hash();
    if let Some(seq) = records::find(work.tx, id, &record)? {
        let head = share.head;
        return Ok(AppendReply { seq, head });
    }
    let before = shares::roster(work.tx, &share)?;
    let author = check(&share, &before, append)?;
    let mut next = share.clone();
    next.head = HeadReply {
        seq: header.seq,
        record,
    };
    if header.kind == Kind::Roster {
        let owner = author.role == Role::Owner;
        let key = author.key.clone();
        take_roster(work, &mut next, (&before, &key), (append, coming))?;
        if owner {
            next.roster_time = share.roster_time.max(header.time);
        }
        audit::note(
            work,
            Act::ChangeRoster,
            Some(&header.author.user),
            &id.to_string(),
        )?;
    } else {
        require(append.grants.is_empty(), ErrorCode::NotApplicable)?;
    }
    if header.kind == Kind::Snapshot {
        next.snapshot = Some(header.seq);
    }
    take_blobs(work, id, header, coming)?;
    let moved = shares::advance(work.tx, &next, &share.head.record)?;
    require(moved, ErrorCode::HeadMoved)?;
    store(work, caller, id, append)?;
    let members: BTreeSet<ChainRoot> = before.members.into_keys().collect();
    work.tell(members, of_share(EventKind::Share, *id))?;
    Ok(AppendReply {
        seq: header.seq,
        head: next.head,
    })
}

/// Whether a record may follow the head, whatever is in it: its author, if so.
fn check<'a>(share: &Share, before: &'a Roster, append: &Append) -> Outcome<&'a Member> {
    let header = &append.record.header;
    require(header.share == share.id, ErrorCode::NotApplicable)?;
    let follows = header.seq == share.head.seq.next() && header.previous == share.head.record;
    if !follows {
        let head = Some(share.head);
        return Err(Failure::with(ErrorCode::HeadMoved, |reply| {
            reply.head = head;
        }));
    }
    let author = admit(before, share.roster_record, share.roster_time, header);
    let author = author.map_err(|_| ErrorCode::NotApplicable)?;
    require(
        author.key.user == header.author.user,
        ErrorCode::NotApplicable,
    )?;
    append.record.verify(&author.key.identity)?;
    let whole = append.record.body().is_some() && append.record.body_fits();
    require(whole, ErrorCode::BadSignature)?;
    Ok(author)
}

/// Applies a roster record to the members that are stored.
fn take_roster(
    work: &Work<'_>,
    next: &mut Share,
    (before, author): (&Roster, &KeyEntry),
    (append, coming): (&Append, Coming),
) -> Outcome<()> {
    let header = &append.record.header;
    let body = roster_body(append).map_err(|_| Failure::from(ErrorCode::NotApplicable))?;
    let after = follow(before, header, &body).map_err(|_| ErrorCode::NotApplicable)?;
    require(append.grants_fit(&body), ErrorCode::NotApplicable)?;
    next.roster_record = header.hash();
    next.version = after.version;
    next.epoch = after.epoch;
    next.commitment = after.commitment;
    next.rotation_due = rotation_due(next.rotation_due, author, &body);
    let mut touched = BTreeSet::new();
    for (root, member) in &after.members {
        if before.members.get(root) != Some(member) {
            shares::put_member(work.tx, &next.id, member)?;
            touched.insert(*root);
        }
    }
    for root in before
        .members
        .keys()
        .filter(|root| !after.members.contains_key(root))
    {
        shares::remove_member(work.tx, &next.id, root)?;
        touched.insert(*root);
    }
    for change in &body.changes {
        if let Change::Add {
            chain,
            request: Some(request),
            ..
        } = change
        {
            let root = chain
                .first()
                .map(|first| ChainRoot(first.unverified().hash().0));
            use_request(work, &next.id, (root, request), coming)?;
        }
    }
    work.tell(touched, of_share(EventKind::Membership, next.id))
}

/// Ends the request that an `add` cites. One that the server does not know was lost with a backup.
fn use_request(
    work: &Work<'_>,
    share: &ShareId,
    (root, request): (Option<ChainRoot>, &RequestHash),
    coming: Coming,
) -> Outcome<()> {
    let Some(asked) = offers::asked(work.tx, request)? else {
        return Ok(());
    };
    let right = asked.share == *share && Some(asked.root) == root && asked.expires > work.now;
    require(right || coming == Coming::Again, ErrorCode::NotApplicable)?;
    let ended = right && offers::end_request(work.tx, request, RequestState::Granted, None)?;
    require(ended || coming == Coming::Again, ErrorCode::NotApplicable)?;
    let owners = shares::owners(work.tx, share)?;
    let told: BTreeSet<ChainRoot> = owners.into_iter().chain([asked.root]).collect();
    work.tell(told, of_request(*share, *request))
}

/// Names the blobs that a record adds, which must be complete, and drops others.
fn take_blobs(work: &Work<'_>, share: &ShareId, header: &Header, coming: Coming) -> Outcome<()> {
    let mut missing = Vec::new();
    for blob in &header.added {
        if !blobs::is_complete(work.tx, share, blob)? {
            missing.push(*blob);
        }
    }
    if coming == Coming::New && !missing.is_empty() {
        return Err(Failure::with(ErrorCode::BlobMissing, |reply| {
            reply.blobs = missing;
        }));
    }
    for blob in &header.dropped {
        blobs::drop_named(work.tx, (share, blob), header.seq, work.now)?;
    }
    for blob in &header.added {
        blobs::name(work.tx, share, blob, header.seq)?;
    }
    Ok(())
}

/// Records from a place on, with the caller's grants.
pub(crate) fn pull(
    work: &Work<'_>,
    caller: &Caller,
    id: &ShareId,
    query: &PullQuery,
) -> Outcome<Vec<u8>> {
    let (share, _) = access::member(work, &caller.root(), id, Role::Reader)?;
    let most = limits::PULL_RECORDS as u64;
    let limit = query.limit.unwrap_or(most).clamp(1, most);
    let mut found = Vec::new();
    let mut bytes = 0;
    for (seq, length) in records::lengths(work.tx, id, query.from, limit)? {
        let pruned = query.bodies_from.is_some_and(|from| seq < from);
        if !found.is_empty() && !pruned && bytes + length > limits::PULL_BYTES as u64 {
            break;
        }
        let mut record = records::get(work.tx, id, seq)?;
        if pruned && record.header.kind != Kind::Roster {
            record = record.without_body();
        }
        let grant = records::grant(work.tx, id, seq, &caller.root())?;
        let delivered = Delivered { record, grant };
        let size = delivered.encode().len() as u64;
        if !found.is_empty() && bytes + size > limits::PULL_BYTES as u64 {
            break;
        }
        bytes += size;
        found.push(delivered);
    }
    let pulled = Pulled {
        head_seq: share.head.seq,
        head: share.head.record,
        records: found,
        receipts: records::receipts(work.tx, id)?,
    };
    Ok(pulled.encode())
}

/// Where a record stands.
pub(crate) fn find(
    work: &Work<'_>,
    caller: &Caller,
    share: &ShareId,
    record: RecordHash,
) -> Outcome<RecordReply> {
    access::member(work, &caller.root(), share, Role::Reader)?;
    let seq = records::find(work.tx, share, &record)?;
    let seq = seq.ok_or(ErrorCode::NotFound)?;
    Ok(RecordReply { record, seq })
}
