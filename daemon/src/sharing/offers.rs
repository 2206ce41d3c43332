//! Offering a share, and asking for one that is offered.

use std::time::{SystemTime, UNIX_EPOCH};

use keyfold_protocol::account::Address;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::{ChainEntry, KeyChain};
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{EntryHash, Nonce, RequestHash, ShareId, Time};
use keyfold_protocol::names::{Message, Slug, Title};
use keyfold_protocol::publication::{Audience, Publication};
use keyfold_protocol::request::Request;
use keyfold_protocol::roster::Role;
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::{RequestItem, RequestState};

use super::error::SharingError;
use super::stub::{Asked, Stub};
use crate::account::{AccountError, Session, now};

/// A share to be offered.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    /// Which.
    pub(crate) share: ShareId,
    /// Its name in addresses.
    pub(crate) slug: Slug,
    /// What it is called.
    pub(crate) title: Title,
    /// To whom.
    pub(crate) audience: Audience,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// Of which publication.
    pub(crate) address: Address,
    /// In which role.
    pub(crate) role: Role,
    /// When the request ends by itself.
    pub(crate) expires: Time,
    /// For the owner alone.
    pub(crate) message: Option<Message>,
}

/// Offers a share, in place of what was offered of it before. Returns its address.
pub(crate) async fn publish(session: &Session<'_>, offer: &Offer) -> Result<Address, SharingError> {
    let account = &session.keys().account;
    let publication = Publication {
        share: offer.share,
        slug: offer.slug.clone(),
        title: offer.title.clone(),
        audience: offer.audience.clone(),
        serial: serial(),
        owner: account.root,
        entry: account.entry,
        time: now(),
    };
    let signed = Signed::sign(publication, &account.identity);
    match session.remote().publish(&signed).await {
        Ok(_) => {}
        Err(error) if error.code() == Some(ErrorCode::Conflict) => {
            return Err(SharingError::SlugTaken(offer.slug.clone()));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Address {
        slug: Some(offer.slug.clone()),
        ..session.account().address()
    })
}

/// Offers a share to nobody any more. Offered to nobody already is success.
pub(crate) async fn unpublish(session: &Session<'_>, share: ShareId) -> Result<(), SharingError> {
    let malformed = |_| SharingError::BadPublication;
    let nobody = Offer {
        share,
        // What it was called need not be known here, and no other share has this name.
        slug: share.to_string().parse().map_err(malformed)?,
        title: "unpublished".parse().map_err(malformed)?,
        audience: Audience::Nobody,
    };
    publish(session, &nobody).await.map(drop)
}

/// Later publications have greater serials, on whatever device they are made: microseconds since 1970.
fn serial() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

/// The entry of a chain by its hash.
pub(super) fn entry_of(chain: &KeyChain, hash: EntryHash) -> Option<&ChainEntry> {
    chain.entries().iter().find(|entry| entry.hash() == hash)
}

/// Whether a publication is what its owner, by this chain, signed.
pub(crate) fn verify_publication<'p>(
    signed: &'p Signed<Publication>,
    chain: &KeyChain,
) -> Result<&'p Publication, SharingError> {
    let publication = signed.unverified();
    let entry = entry_of(chain, publication.entry).ok_or(SharingError::BadPublication)?;
    if publication.owner != chain.root() || signed.verify(&entry.identity).is_err() {
        return Err(SharingError::BadPublication);
    }
    Ok(publication)
}

/// Asks for what an address names. An address with a fingerprint verifies its owner. What was asked for
/// before and is not answered yet is not asked for twice.
pub(crate) async fn request(
    session: &Session<'_>,
    wish: &Wish,
) -> Result<RequestHash, SharingError> {
    let address = &wish.address;
    let own = session.account().address();
    if address.host != own.host {
        return Err(SharingError::OtherServer(address.host.clone()));
    }
    let slug = address.slug.as_ref().ok_or(SharingError::NoSlug)?;
    let remote = session.remote();
    let reply = remote.find_publication(&address.user, slug).await;
    let reply = reply.map_err(|error| match error.code() {
        Some(ErrorCode::NotFound) => SharingError::NotOffered(address.to_string()),
        _ => error.into(),
    })?;
    let entries = remote.entries(Route::FindPublication, &reply.chain)?;
    let owner = session.judge_person(&address.user, entries)?;
    if let Some(fingerprint) = address.fingerprint {
        if !fingerprint.fits(owner.root()) {
            return Err(SharingError::BadPublication);
        }
        if !owner.is_verified() {
            session.verify_person(&owner).await?;
        }
    }
    let signed = Signed::<Publication>::decode(&reply.publication.0);
    let signed = signed.map_err(|_| SharingError::BadPublication)?;
    let publication = verify_publication(&signed, &owner.chain)?;
    if publication.slug != *slug {
        return Err(SharingError::BadPublication);
    }
    let own = remote.requests().await?.outgoing;
    if let Some(asked) = asked_before(own, publication, wish.role) {
        return Ok(asked);
    }
    let account = &session.keys().account;
    let mut request = Request {
        publication: publication.hash(),
        role: wish.role,
        nonce: Nonce::generate()?,
        expires: wish.expires,
        user: account.user.clone(),
        root: account.root,
        entry: account.entry,
        message: None,
        time: now(),
    };
    if let Some(message) = &wish.message {
        let key = entry_of(&owner.chain, publication.entry);
        let key = key.ok_or(SharingError::BadPublication)?;
        request = request.with_message(&key.kem, message)?;
    }
    let hash = request.hash();
    remote
        .request(&Signed::sign(request, &account.identity))
        .await?;
    let volume = session.kept().engine().volume();
    let noted = Stub::note_asked(volume, publication.share, Asked::Waiting);
    noted.map_err(AccountError::Kept)?;
    Ok(hash)
}

/// The request of this account for this role that waits for an answer.
fn asked_before(
    own: Vec<RequestItem>,
    publication: &Publication,
    role: Role,
) -> Option<RequestHash> {
    let waiting = own
        .into_iter()
        .filter(|item| item.state == RequestState::Open);
    let mut decoded = waiting.filter_map(|item| Signed::<Request>::decode(&item.request.0).ok());
    let same = decoded.find(|signed| {
        let request = signed.unverified();
        request.publication == publication.hash() && request.role == role
    });
    same.map(|signed| signed.unverified().hash())
}
