//! Requests: what others ask for, and what becomes of it.
//!
//! What an owner approves must be what his vault showed him: request, person and key. So what was
//! shown is kept, and nothing else can be approved.

use keyfold_crypto::KemKey;
use keyfold_protocol::account::Fingerprint;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{RequestHash, ShareId, Time};
use keyfold_protocol::names::{Message, Title, UserName};
use keyfold_protocol::publication::Publication;
use keyfold_protocol::request::{Decision, Request, Verdict};
use keyfold_protocol::roster::Role;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{RequestItem, RequestState};

use super::Shared;
use super::change::{Newcomer, Reads};
use super::error::SharingError;
use super::offers::{entry_of, verify_publication};
use crate::account::{AccountError, Kept, Person, Session, ShownRequest, now};

/// Characters of a request's short id.
const SHORT: usize = 8;

/// A request, verified.
#[derive(Debug, Clone)]
pub(crate) struct InboxItem {
    /// Which.
    pub(crate) request: RequestHash,
    /// For which share.
    pub(crate) share: ShareId,
    /// What the share was offered as.
    pub(crate) title: Title,
    /// Who asks.
    pub(crate) person: Person,
    /// In which role.
    pub(crate) role: Role,
    /// When he asked, as he says.
    pub(crate) time: Time,
    /// When it ends by itself.
    pub(crate) expires: Time,
    /// What he writes; absent also where it cannot be read.
    pub(crate) message: Option<Message>,
}

impl InboxItem {
    /// What people type.
    pub(crate) fn short_id(&self) -> String {
        short_id(self.request)
    }

    /// His name.
    pub(crate) fn user(&self) -> UserName {
        self.person.chain.key().user
    }

    fn shown(&self) -> ShownRequest {
        ShownRequest {
            request: self.request,
            root: self.person.root(),
            entry: self.person.chain.key().entry,
        }
    }
}

/// On which terms a request is granted.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// The role, unless the one that is asked for.
    pub(crate) role: Option<Role>,
    /// Until when.
    pub(crate) expires: Option<Time>,
    /// What the requester can read.
    pub(crate) reads: Reads,
    /// The requester's fingerprint, as he gave it, where he was not verified before.
    pub(crate) key: Option<Fingerprint>,
}

fn short_id(request: RequestHash) -> String {
    request.to_string().chars().take(SHORT).collect()
}

/// What others ask for.
pub(crate) struct Inbox {
    /// Requests that are what they seem.
    pub(crate) items: Vec<InboxItem>,
    /// Why others are not shown.
    pub(crate) refused: Vec<SharingError>,
}

/// Open requests to shares of this account. They count as shown from here on. One that is not what it
/// seems hides no other.
pub(crate) async fn inbox(session: &Session<'_>) -> Result<Inbox, SharingError> {
    let requests = session.remote().requests().await?;
    let found = gather(session, requests.incoming).await?;
    note_shown(*session.kept(), &found.items)?;
    Ok(found)
}

/// Notes that these are shown to the user.
pub(crate) fn note_shown(kept: Kept<'_>, items: &[InboxItem]) -> Result<(), AccountError> {
    let shown: Vec<ShownRequest> = items.iter().map(InboxItem::shown).collect();
    kept.show(&shown)
}

/// Those of these requests that are open, verified, without showing them to anybody.
pub(crate) async fn gather(
    session: &Session<'_>,
    incoming: Vec<RequestItem>,
) -> Result<Inbox, SharingError> {
    let (mut items, mut refused) = (Vec::new(), Vec::new());
    for item in open(incoming) {
        match verify(session, &item).await {
            Ok(item) => items.push(item),
            Err(SharingError::Account(AccountError::Remote(e))) if e.code().is_none() => {
                return Err(e.into());
            }
            Err(error) => refused.push(error),
        }
    }
    Ok(Inbox { items, refused })
}

fn open(items: Vec<RequestItem>) -> impl Iterator<Item = RequestItem> {
    let open = |item: &RequestItem| item.state == RequestState::Open;
    items.into_iter().filter(open)
}

/// Whether a request is its requester's, and for the share that the server names.
async fn verify(session: &Session<'_>, item: &RequestItem) -> Result<InboxItem, SharingError> {
    let bad = |_| SharingError::BadRequest;
    let signed = Signed::<Request>::decode(&item.request.0).map_err(bad)?;
    let asked = signed.unverified();
    let person = session.person(&asked.user).await?;
    let key = person.chain.key();
    let by = entry_of(&person.chain, asked.entry).ok_or(SharingError::BadRequest)?;
    if asked.root != key.root || signed.verify(&by.identity).is_err() {
        return Err(SharingError::BadRequest);
    }
    if asked.entry != key.entry {
        return Err(SharingError::NotAsShown(key.user));
    }
    let offered = Signed::<Publication>::decode(&item.publication.0).map_err(bad)?;
    let owner = offered.unverified();
    if owner.hash() != asked.publication || owner.share != item.share {
        return Err(SharingError::BadRequest);
    }
    let shared = Shared::open(session, item.share).await?;
    let member = shared.roster()?.members.get(&owner.owner);
    let member = member.filter(|member| member.role == Role::Owner);
    let member = member.ok_or(SharingError::BadRequest)?;
    let by = session.person(&member.key.user).await?;
    let publication = verify_publication(&offered, &by.chain)?;
    let message = our_key(session, publication)
        .and_then(|key| asked.open_message(&key))
        .and_then(Result::ok);
    Ok(InboxItem {
        request: asked.hash(),
        share: item.share,
        title: publication.title.clone(),
        role: asked.role,
        time: asked.time,
        expires: asked.expires,
        message,
        person,
    })
}

/// The key that messages about a publication are wrapped for, if it is ours.
fn our_key(session: &Session<'_>, publication: &Publication) -> Option<KemKey> {
    let account = &session.keys().account;
    if publication.owner != account.root {
        return None;
    }
    if publication.entry == account.entry {
        return Some(account.kem.clone());
    }
    let mut earlier = account.earlier.iter();
    let (_, key) = earlier.find(|(entry, _)| *entry == publication.entry)?;
    Some(key.clone())
}

/// The one request that is meant by its short id, or more of it.
fn meant(items: Vec<RequestItem>, id: &str) -> Result<(RequestItem, RequestHash), SharingError> {
    let mut found = Vec::new();
    for item in items {
        let signed = Signed::<Request>::decode(&item.request.0);
        let hash = signed
            .map_err(|_| SharingError::BadRequest)?
            .unverified()
            .hash();
        if id.len() >= 4 && hash.to_string().starts_with(id) {
            found.push((item, hash));
        }
    }
    match found.len() {
        0 => Err(SharingError::NoSuchRequest),
        1 => found.pop().ok_or(SharingError::NoSuchRequest),
        _ => Err(SharingError::Ambiguous),
    }
}

/// Why a request can be decided no more; granted and denied have words of their own.
fn over(state: RequestState) -> SharingError {
    SharingError::Over(match state {
        RequestState::Open => "used",
        RequestState::Granted => "granted",
        RequestState::Denied => "denied",
        RequestState::Withdrawn => "withdrawn",
        RequestState::Expired => "not answered in time",
    })
}

/// Grants a request that was shown here. Granted already is success.
pub(crate) async fn approve(
    session: &Session<'_>,
    id: &str,
    terms: &Terms,
) -> Result<InboxItem, SharingError> {
    let requests = session.remote().requests().await?;
    let (raw, hash) = meant(requests.incoming, id)?;
    let shown = session.kept().shown()?;
    let shown = shown.into_iter().find(|shown| shown.request == hash);
    let shown = shown.ok_or(SharingError::NotShown)?;
    if !matches!(raw.state, RequestState::Open | RequestState::Granted) {
        return Err(over(raw.state));
    }
    let item = match verify(session, &raw).await {
        Ok(item) if item.shown() == shown => item,
        Ok(item) => return Err(SharingError::NotAsShown(item.user())),
        Err(error) => return Err(error),
    };
    trusted(session, &item.person, terms.key).await?;
    let mut shared = Shared::open(session, item.share).await?;
    let newcomer = Newcomer {
        person: item.person.clone(),
        role: terms.role.unwrap_or(item.role),
        expires: terms.expires,
        reads: terms.reads,
        request: Some(item.request),
    };
    shared.add(&newcomer).await?;
    Ok(item)
}

/// Nobody gets a key whose own was compared with nothing.
pub(crate) async fn trusted(
    session: &Session<'_>,
    person: &Person,
    key: Option<Fingerprint>,
) -> Result<(), SharingError> {
    let (user, root) = (person.chain.key().user, person.root());
    match key {
        Some(key) if key.fits(root) => Ok(session.verify_person(person).await?),
        Some(_) => Err(SharingError::NotAsShown(user)),
        None if person.is_verified() => Ok(()),
        None => Err(SharingError::NotVerified { user, root }),
    }
}

/// Says no to a request. Denied already is success.
pub(crate) async fn deny(session: &Session<'_>, id: &str) -> Result<RequestHash, SharingError> {
    let requests = session.remote().requests().await?;
    let (item, hash) = meant(requests.incoming, id)?;
    decide(session, (item.state, hash), Verdict::Denied).await
}

/// Takes a request of this account back. Withdrawn already is success.
pub(crate) async fn withdraw(session: &Session<'_>, id: &str) -> Result<RequestHash, SharingError> {
    let requests = session.remote().requests().await?;
    let (item, hash) = meant(requests.outgoing, id)?;
    decide(session, (item.state, hash), Verdict::Withdrawn).await
}

async fn decide(
    session: &Session<'_>,
    (state, request): (RequestState, RequestHash),
    verdict: Verdict,
) -> Result<RequestHash, SharingError> {
    match (state, verdict) {
        (RequestState::Denied, Verdict::Denied) | (RequestState::Withdrawn, Verdict::Withdrawn) => {
            return Ok(request);
        }
        (RequestState::Open, _) => {}
        (state, _) => return Err(over(state)),
    }
    let account = &session.keys().account;
    let decision = Decision {
        request,
        verdict,
        root: account.root,
        entry: account.entry,
        time: now(),
    };
    let signed = Signed::sign(decision, &account.identity);
    match session.remote().decide(request, &signed).await {
        Err(error) if error.code() == Some(ErrorCode::Ended) => Err(over(RequestState::Open)),
        other => Ok(other.map(|()| request)?),
    }
}
