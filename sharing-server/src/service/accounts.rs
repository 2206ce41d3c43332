//! What an account keeps on the server: keys, book, pins, devices.

use keyfold_protocol::act::Order;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::{BadChain, SignedEntry};
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{DeviceId, VaultId};
use keyfold_protocol::limits;
use keyfold_protocol::names::{Email, UserName};
use keyfold_protocol::wire::{
    AccountReply, AppendChain, Base64, BookReply, ChainReply, DevicesReply, EventKind, FoundReply,
    PinReply, PutBook, PutPin, SetPassword,
};

use super::access::{self, Caller};
use super::audit::{self, Act};
use super::login::{self, Origin};
use super::{Failure, OF_ACCOUNT, Outcome, Work, of_share, require, shares as rules};
use crate::db::{accounts, sessions, shares};

/// Vaults of one account with a pin.
const PINS: u64 = 1024;

pub(crate) fn account(work: &Work<'_>, caller: &Caller) -> Outcome<AccountReply> {
    let account = accounts::by_root(work.tx, &caller.root())?;
    let account = account.ok_or(ErrorCode::Unauthenticated)?;
    Ok(AccountReply {
        user: account.name,
        root: account.root,
        email: account.email,
        standing: account.standing,
        quota: account.quota,
        used: account.used,
        last_event: account.last_event,
    })
}

pub(crate) fn logout(work: &Work<'_>, caller: &Caller) -> Outcome<()> {
    sessions::end(work.tx, caller.session.token)?;
    let device = caller.session.device.to_string();
    audit::note(work, Act::Logout, Some(&caller.account.name), &device)?;
    work.tell([caller.root()], OF_ACCOUNT)
}

/// The inner result is the caller's; what was counted is kept either way.
pub(crate) fn set_password(
    work: &Work<'_>,
    caller: &Caller,
    origin: &Origin,
    body: &SetPassword,
) -> Outcome<Outcome<()>> {
    let new = login::credentials(
        work,
        &body.kdf,
        (&body.auth, &body.recovery_auth),
        &body.roots,
    )?;
    if let Err(refused) = login::proves(work, caller, origin, &body.current_auth)? {
        return Ok(Err(refused));
    }
    accounts::set_credentials(work.tx, &caller.root(), &new)?;
    audit::note(work, Act::SetPassword, Some(&caller.account.name), "")?;
    work.tell([caller.root()], OF_ACCOUNT)?;
    Ok(Ok(()))
}

/// Appends to the caller's key chain. The same entry again is success.
pub(crate) fn append_chain(work: &Work<'_>, caller: &Caller, body: &AppendChain) -> Outcome<()> {
    login::check_roots(&body.roots)?;
    let within = body.remove_devices.len() <= limits::RECEIPTS;
    require(within, ErrorCode::Malformed)?;
    let entry = SignedEntry::decode(&body.entry.0)?;
    let root = caller.root();
    let mut chain = access::chain(work, &root)?;
    if chain.head().hash() != entry.unverified().hash() {
        chain.append(&entry).map_err(|bad| match bad {
            BadChain::Signature => Failure::from(ErrorCode::BadSignature),
            BadChain::Link | BadChain::Length => Failure::from(ErrorCode::Conflict),
        })?;
        accounts::append_entry(work.tx, &root, &entry)?;
        let (password, recovery) = (&body.roots.password.0, &body.roots.recovery.0);
        accounts::set_roots(work.tx, &root, password, recovery)?;
        let subject = entry.unverified().hash().to_string();
        audit::note(work, Act::AppendChain, Some(&caller.account.name), &subject)?;
    }
    for device in &body.remove_devices {
        sessions::end_device(work.tx, &root, device)?;
    }
    work.tell([root], OF_ACCOUNT)
}

pub(crate) fn book(work: &Work<'_>, caller: &Caller) -> Outcome<BookReply> {
    let found = accounts::book(work.tx, &caller.root())?;
    let (generation, sealed) = found.ok_or(ErrorCode::Unauthenticated)?;
    Ok(BookReply {
        generation,
        sealed: Base64(sealed),
    })
}

pub(crate) fn put_book(work: &Work<'_>, caller: &Caller, body: &PutBook) -> Outcome<()> {
    let sealed = &body.sealed.0;
    let fits = !sealed.is_empty() && sealed.len() <= limits::ACCOUNT_BOOK_BYTES;
    let numbered = (1..=limits::NUMBER).contains(&body.generation);
    require(fits && numbered, ErrorCode::Malformed)?;
    let root = caller.root();
    if accounts::put_book(work.tx, &root, body.generation, sealed)? {
        return work.tell([root], OF_ACCOUNT);
    }
    let known = accounts::book(work.tx, &root)?;
    let same =
        known.is_some_and(|(generation, known)| generation == body.generation && known == *sealed);
    require(same, ErrorCode::Conflict)
}

pub(crate) fn pin(work: &Work<'_>, caller: &Caller, vault: &VaultId) -> Outcome<PinReply> {
    let found = accounts::pin(work.tx, &caller.root(), vault)?;
    let (counter, sealed) = found.ok_or(ErrorCode::NotFound)?;
    Ok(PinReply {
        counter,
        sealed: Base64(sealed),
    })
}

pub(crate) fn put_pin(
    work: &Work<'_>,
    caller: &Caller,
    vault: &VaultId,
    body: &PutPin,
) -> Outcome<()> {
    let fits = body.sealed.0.len() <= limits::PIN_BYTES && body.counter <= limits::NUMBER;
    require(fits, ErrorCode::Malformed)?;
    let root = caller.root();
    let known = accounts::pin(work.tx, &root, vault)?.is_some();
    let room = known || accounts::pins(work.tx, &root)? < PINS;
    require(room, ErrorCode::QuotaExceeded)?;
    let put = accounts::put_pin(work.tx, &root, vault, (body.counter, &body.sealed.0))?;
    require(put, ErrorCode::Conflict)
}

pub(crate) fn devices(work: &Work<'_>, caller: &Caller) -> Outcome<DevicesReply> {
    let asking = &caller.session.device;
    let devices = sessions::devices(work.tx, &caller.root(), work.now, asking)?;
    Ok(DevicesReply { devices })
}

pub(crate) fn remove_device(work: &Work<'_>, caller: &Caller, device: &DeviceId) -> Outcome<()> {
    let ended = sessions::end_device(work.tx, &caller.root(), device)?;
    require(ended > 0, ErrorCode::NotFound)?;
    let user = Some(&caller.account.name);
    audit::note(work, Act::RemoveDevice, user, &device.to_string())?;
    work.tell([caller.root()], OF_ACCOUNT)
}

/// Ends the account. Shares that nobody else takes part in end with it; of the others the first
/// owner online begins a new epoch.
pub(crate) fn delete(work: &Work<'_>, caller: &Caller, body: &[u8]) -> Outcome<()> {
    let order = access::take_act(work, caller, body)?;
    require(order == Order::DeleteAccount, ErrorCode::Malformed)?;
    let root = caller.root();
    for (share, _) in shares::of(work.tx, &root)? {
        let roster = shares::roster(work.tx, &share)?;
        if roster.members.len() == 1 {
            rules::end(work, &share.id)?;
        } else {
            shares::set_rotation_due(work.tx, &share.id)?;
            let members = roster.members.keys().copied();
            work.tell(members, of_share(EventKind::Share, share.id))?;
        }
    }
    audit::note(work, Act::DeleteAccount, Some(&caller.account.name), "")?;
    Ok(accounts::delete(work.tx, &root)?)
}

pub(crate) fn chain(work: &Work<'_>, user: &UserName) -> Outcome<ChainReply> {
    let account = accounts::by_name(work.tx, user)?;
    let account = account.filter(|account| !account.deleted);
    let account = account.ok_or(ErrorCode::NotFound)?;
    let entries = accounts::chain(work.tx, &account.root)?;
    Ok(ChainReply {
        entries: entries.iter().map(|entry| Base64(entry.encode())).collect(),
    })
}

pub(crate) fn find(work: &Work<'_>, email: &Email) -> Outcome<FoundReply> {
    let account = accounts::by_email(work.tx, email)?;
    let account = account.ok_or(ErrorCode::NotFound)?;
    Ok(FoundReply { user: account.name })
}
