//! Publications, requests and how they end.

use std::collections::BTreeSet;

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{ChainRoot, RequestHash, ShareId};
use keyfold_protocol::names::{Slug, UserName};
use keyfold_protocol::publication::{Audience, Publication};
use keyfold_protocol::request::{Decision, Request, Verdict};
use keyfold_protocol::roster::Role;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{
    Base64, EventKind, PublicationItem, PublicationReply, PublicationsReply, PublishReply,
    RequestItem, RequestReply, RequestState, RequestsReply,
};

use super::access::{self, Caller};
use super::audit::{self, Act};
use super::{Failure, Outcome, Work, decode, of_request, of_share, require};
use crate::db::offers::Asked;
use crate::db::{accounts, offers, shares};

/// Requests by one user to one share that may wait for an answer.
const WAITING: u64 = 3;
/// Seconds after which somebody with too many of them may ask again.
const AGAIN: u64 = 3600;

/// Puts a publication in place of the one before. The same bytes again are success.
pub(crate) fn publish(
    work: &Work<'_>,
    caller: &Caller,
    share: &ShareId,
    body: &[u8],
) -> Outcome<PublishReply> {
    access::member(work, &caller.root(), share, Role::Owner)?;
    let signed: Signed<Publication> = decode(body)?;
    let offer = signed.unverified();
    require(offer.share == *share, ErrorCode::Malformed)?;
    let publication = offer.hash();
    let key = access::own_key(work, caller, offer.owner, offer.entry)?;
    signed.verify(&key)?;
    let before = offers::current(work.tx, share)?;
    if before
        .as_ref()
        .is_some_and(|before| before.hash == publication)
    {
        return Ok(PublishReply { publication });
    }
    let newer = before
        .as_ref()
        .is_none_or(|before| before.serial < offer.serial);
    let taken = offers::slug_taken(work.tx, &offer.owner, &offer.slug, share)?;
    require(newer && !taken, ErrorCode::Conflict)?;
    let mut told = match &before {
        Some(before) => audience(work, &decode::<Signed<Publication>>(&before.bytes)?)?,
        None => BTreeSet::new(),
    };
    offers::publish(work.tx, &signed)?;
    told.extend(audience(work, &signed)?);
    work.tell(told, of_share(EventKind::Publication, *share))?;
    let user = Some(&caller.account.name);
    audit::note(work, Act::Publish, user, &share.to_string())?;
    Ok(PublishReply { publication })
}

/// Accounts that a publication is meant for.
fn audience(work: &Work<'_>, signed: &Signed<Publication>) -> Outcome<BTreeSet<ChainRoot>> {
    let mut roots = BTreeSet::new();
    match &signed.unverified().audience {
        Audience::Nobody => {}
        Audience::Everyone => roots.extend(accounts::roots(work.tx)?),
        Audience::Users(users) => {
            for user in users {
                let account = accounts::by_name(work.tx, user)?;
                roots.extend(account.map(|account| account.root));
            }
        }
    }
    Ok(roots)
}

/// What others offer to the caller.
pub(crate) fn offered(work: &Work<'_>, caller: &Caller) -> Outcome<PublicationsReply> {
    let found = offers::offered(work.tx, &caller.account.name)?;
    let others = found
        .into_iter()
        .filter(|offer| offer.owner != caller.root());
    let items = others.map(|offer| PublicationItem {
        publication: Base64(offer.bytes),
        owner: offer.owner_name,
    });
    Ok(PublicationsReply {
        publications: items.collect(),
    })
}

/// What an address names.
pub(crate) fn find(
    work: &Work<'_>,
    caller: &Caller,
    owner: &UserName,
    slug: &Slug,
) -> Outcome<PublicationReply> {
    let found = offers::by_slug(work.tx, &caller.account.name, owner, slug)?;
    let found = found.ok_or(ErrorCode::NotFound)?;
    let chain = accounts::chain(work.tx, &found.owner)?;
    Ok(PublicationReply {
        publication: Base64(found.bytes),
        chain: chain.iter().map(|entry| Base64(entry.encode())).collect(),
    })
}

/// Asks for access. The same bytes again are success.
pub(crate) fn ask(work: &Work<'_>, caller: &Caller, body: &[u8]) -> Outcome<RequestReply> {
    let signed: Signed<Request> = decode(body)?;
    let wish = signed.unverified();
    let request = wish.hash();
    let key = access::own_key(work, caller, wish.root, wish.entry)?;
    require(wish.user == caller.account.name, ErrorCode::BadSignature)?;
    signed.verify(&key)?;
    if offers::asked(work.tx, &request)?.is_some() {
        return Ok(RequestReply { request });
    }
    let offer = offers::by_hash(work.tx, &wish.publication)?.ok_or(ErrorCode::NotFound)?;
    let name = &caller.account.name;
    if !offers::is_offered(work.tx, &offer.hash, name)? {
        let known = offers::was_offered(work.tx, &offer.hash, name)?;
        return Err(if known {
            ErrorCode::Ended
        } else {
            ErrorCode::NotFound
        }
        .into());
    }
    require(wish.expires > work.now, ErrorCode::Expired)?;
    if offers::waiting(work.tx, &caller.root(), &offer.share, work.now)? >= WAITING {
        return Err(Failure::TooOften(AGAIN));
    }
    offers::ask(work.tx, &signed, &offer.share, work.now)?;
    audit::note(work, Act::Request, Some(name), &request.to_string())?;
    tell_both(work, &offer.share, caller.root(), request)?;
    Ok(RequestReply { request })
}

fn tell_both(
    work: &Work<'_>,
    share: &ShareId,
    requester: ChainRoot,
    request: RequestHash,
) -> Outcome<()> {
    let owners = shares::owners(work.tx, share)?;
    let told: BTreeSet<ChainRoot> = owners.into_iter().chain([requester]).collect();
    work.tell(told, of_request(*share, request))
}

/// How a request stands by now.
fn standing(work: &Work<'_>, asked: &Asked) -> RequestState {
    if asked.state == RequestState::Open && asked.expires <= work.now {
        RequestState::Expired
    } else {
        asked.state
    }
}

pub(crate) fn requests(work: &Work<'_>, caller: &Caller) -> Outcome<RequestsReply> {
    let root = caller.root();
    Ok(RequestsReply {
        incoming: items(work, offers::incoming(work.tx, &root)?)?,
        outgoing: items(work, offers::outgoing(work.tx, &root)?)?,
    })
}

fn items(work: &Work<'_>, asked: Vec<Asked>) -> Outcome<Vec<RequestItem>> {
    let item = |asked: Asked| {
        let wish: Signed<Request> = decode(&asked.bytes)?;
        let offer = offers::by_hash(work.tx, &wish.unverified().publication)?;
        Ok(RequestItem {
            state: standing(work, &asked),
            request: Base64(asked.bytes),
            publication: Base64(offer.map(|offer| offer.bytes).unwrap_or_default()),
            share: asked.share,
            root: asked.root,
            received: asked.received,
            decision: asked.decision.map(Base64),
        })
    };
    asked.into_iter().map(item).collect()
}

/// Denies or withdraws a request. The same verdict again is success.
pub(crate) fn decide(
    work: &Work<'_>,
    caller: &Caller,
    request: RequestHash,
    body: &[u8],
) -> Outcome<()> {
    let asked = offers::asked(work.tx, &request)?.ok_or(ErrorCode::NotFound)?;
    let owns = access::member(work, &caller.root(), &asked.share, Role::Owner).is_ok();
    let asks = asked.root == caller.root();
    require(owns || asks, ErrorCode::NotFound)?;
    let signed: Signed<Decision> = decode(body)?;
    let decision = signed.unverified();
    require(decision.request == request, ErrorCode::Malformed)?;
    let (allowed, state) = match decision.verdict {
        Verdict::Denied => (owns, RequestState::Denied),
        Verdict::Withdrawn => (asks, RequestState::Withdrawn),
    };
    require(allowed, ErrorCode::Forbidden)?;
    let key = access::own_key(work, caller, decision.root, decision.entry)?;
    signed.verify(&key)?;
    if asked.state == state {
        return Ok(());
    }
    require(
        standing(work, &asked) == RequestState::Open,
        ErrorCode::Ended,
    )?;
    let ended = offers::end_request(work.tx, &request, state, Some(&signed.encode()))?;
    require(ended, ErrorCode::Ended)?;
    let user = Some(&caller.account.name);
    audit::note(work, Act::Decide, user, &request.to_string())?;
    tell_both(work, &asked.share, asked.root, request)
}
