//! Who somebody is and what he may do: asked before anything else, and again where it counts.

use hmac::{Hmac, KeyInit, Mac};
use keyfold_crypto::{IdentityPublic, fill_random, sha256};
use keyfold_protocol::act::{Act, Order};
use keyfold_protocol::chain::KeyChain;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{ChainRoot, EntryHash, ShareId, Time};
use keyfold_protocol::roster::{Member, Role};
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::Standing;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Failure, Outcome, Pepper, Work, decode, require};
use crate::db::accounts::{self, Account};
use crate::db::sessions::{self, Session, TokenHash};
use crate::db::shares::{self, Share};

/// Seconds that a session lasts without being used.
pub(crate) const SESSION: u64 = 90 * 24 * 3600;
/// Seconds after which a session that is used is written again.
const TOUCH: u64 = 300;
/// Seconds within which an act is taken, and for which its nonce is kept, twice.
pub(crate) const ACT: u64 = 300;

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) account: Account,
    pub(crate) session: Session,
}

impl Caller {
    pub(crate) fn root(&self) -> ChainRoot {
        self.account.root
    }
}

/// A token of 256 random bits and what is stored of it.
pub(crate) fn new_token() -> Outcome<(String, TokenHash)> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill_random(bytes.as_mut_slice())?;
    let text = data_encoding::BASE64URL_NOPAD.encode(bytes.as_slice());
    let hash = hash_token(&text);
    Ok((text, hash))
}

/// What is stored of a token.
pub(crate) fn hash_token(text: &str) -> TokenHash {
    TokenHash(sha256(&[b"keyfold-server token\0", text.as_bytes()]))
}

/// A value that only this server can compute, for a use that `label` names.
pub(crate) fn server_mac(pepper: &Pepper, label: &str, value: &[u8]) -> [u8; 32] {
    // A key of 32 bytes is taken by HMAC as it is, so this does not fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(pepper.0.as_slice()) else {
        return [0; 32];
    };
    mac.update(label.as_bytes());
    mac.update(&[0]);
    mac.update(value);
    mac.finalize().into_bytes().into()
}

/// Who holds a token.
pub(crate) fn caller(work: &Work<'_>, token: &str) -> Outcome<Caller> {
    let session = sessions::find(work.tx, hash_token(token), work.now)?;
    let session = session.ok_or(ErrorCode::Unauthenticated)?;
    let account = accounts::by_root(work.tx, &session.root)?;
    let account = account.ok_or(ErrorCode::Unauthenticated)?;
    require(!account.deleted, ErrorCode::Unauthenticated)?;
    require(!account.disabled, ErrorCode::AccountDisabled)?;
    let verified = account.email_verified || !work.rules.verify_email;
    require(verified, ErrorCode::EmailUnverified)?;
    Ok(Caller { account, session })
}

/// Whether the session should be written again because it is used.
pub(crate) fn is_stale(caller: &Caller, now: Time) -> bool {
    caller.session.last_seen.0 + TOUCH <= now.0
}

/// Notes that a session is used.
pub(crate) fn touch(work: &Work<'_>, caller: &Caller) -> Outcome<()> {
    let expires = Time(work.now.0.saturating_add(SESSION));
    Ok(sessions::touch(
        work.tx,
        caller.session.token,
        work.now,
        expires,
    )?)
}

/// A share that the caller takes part in, as at least `least`. Whoever does not, or no longer,
/// learns not even that it is there.
pub(crate) fn member(
    work: &Work<'_>,
    root: &ChainRoot,
    share: &ShareId,
    least: Role,
) -> Outcome<(Share, Member)> {
    let found = shares::find(work.tx, share)?.filter(|share| !share.deleted);
    let member = shares::member(work.tx, share, root)?;
    let (Some(share), Some(member)) = (found, member) else {
        return Err(ErrorCode::NotFound.into());
    };
    require(!member.expired(work.now), ErrorCode::NotFound)?;
    require(member.role >= least, ErrorCode::Forbidden)?;
    Ok((share, member))
}

/// As [`member`], for the creator alone.
pub(crate) fn creator(work: &Work<'_>, root: &ChainRoot, share: &ShareId) -> Outcome<Share> {
    let (share, _) = member(work, root, share, Role::Reader)?;
    require(share.creator == *root, ErrorCode::Forbidden)?;
    Ok(share)
}

/// Fails unless the caller's standing is at least `least`.
pub(crate) fn standing(caller: &Caller, least: Standing) -> Outcome<()> {
    let rank = |standing| match standing {
        Standing::User => 0,
        Standing::Auditor => 1,
        Standing::Admin => 2,
    };
    let enough = rank(caller.account.standing) >= rank(least);
    require(enough, ErrorCode::Forbidden)
}

/// The key of a statement that must be the caller's own, by the head of his chain.
pub(crate) fn own_key(
    work: &Work<'_>,
    caller: &Caller,
    root: ChainRoot,
    entry: EntryHash,
) -> Outcome<IdentityPublic> {
    let head = accounts::head_entry(work.tx, &caller.root())?;
    let own = root == caller.root() && head == Some(entry);
    require(own, ErrorCode::BadSignature)?;
    entry_key(work, &root, &entry)
}

/// The key of any entry of an account's chain.
pub(crate) fn entry_key(
    work: &Work<'_>,
    root: &ChainRoot,
    entry: &EntryHash,
) -> Outcome<IdentityPublic> {
    let signed = accounts::entry(work.tx, root, entry)?;
    let signed = signed.ok_or(Failure::from(ErrorCode::BadSignature))?;
    Ok(signed.unverified().identity)
}

/// An account's chain, verified again as it was when it was stored.
pub(crate) fn chain(work: &Work<'_>, root: &ChainRoot) -> Outcome<KeyChain> {
    let entries = accounts::chain(work.tx, root)?;
    KeyChain::verify(&entries).map_err(|_| Failure::Internal("a stored chain is broken".into()))
}

/// Takes an act that the caller signed: once, and only near its time.
pub(crate) fn take_act(work: &Work<'_>, caller: &Caller, body: &[u8]) -> Outcome<Order> {
    let signed: Signed<Act> = decode(body)?;
    let act = signed.unverified();
    let key = own_key(work, caller, act.root, act.entry)?;
    signed.verify(&key)?;
    let near = act.time.0.abs_diff(work.now.0) <= ACT;
    require(near, ErrorCode::Expired)?;
    let fresh = accounts::take_act(work.tx, &act.root, &act.nonce, act.time)?;
    require(fresh, ErrorCode::Expired)?;
    Ok(act.order.clone())
}
