//! Offering a share, and asking for one that is offered.

use keyfold_protocol::account::Address;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::{ChainEntry, KeyChain};
use keyfold_protocol::ids::{EntryHash, Nonce, RequestHash, ShareId, Time};
use keyfold_protocol::names::{Message, Slug, Title};
use keyfold_protocol::publication::{Audience, Publication};
use keyfold_protocol::request::Request;
use keyfold_protocol::roster::Role;
use keyfold_protocol::routes::Route;
use keyfold_protocol::signed::Signed;

use super::error::SharingError;
use crate::account::{Session, now};

/// A share to be offered.
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "directories are offered with it")
)]
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
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "directories are offered with it")
)]
pub(crate) async fn publish(session: &Session<'_>, offer: &Offer) -> Result<Address, SharingError> {
    let account = &session.keys().account;
    let time = now();
    let publication = Publication {
        share: offer.share,
        slug: offer.slug.clone(),
        title: offer.title.clone(),
        audience: offer.audience.clone(),
        // Later ones have greater serials on whatever device they are made.
        serial: time.0,
        owner: account.root,
        entry: account.entry,
        time,
    };
    let signed = Signed::sign(publication, &account.identity);
    session.remote().publish(&signed).await?;
    Ok(Address {
        slug: Some(offer.slug.clone()),
        ..session.account().address()
    })
}

/// The entry of a chain by its hash.
pub(super) fn entry_of(chain: &KeyChain, hash: EntryHash) -> Option<&ChainEntry> {
    chain.entries().iter().find(|entry| entry.hash() == hash)
}

/// Whether a publication is what its owner, by this chain, signed.
pub(super) fn verify_publication<'p>(
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

/// Asks for what an address names. An address with a fingerprint verifies its owner.
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
    let reply = remote.find_publication(&address.user, slug).await?;
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
    Ok(hash)
}
