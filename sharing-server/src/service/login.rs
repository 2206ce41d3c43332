//! Ways in: registering, logging in, and what slows down who guesses.
//!
//! Who asks about a name that nobody has gets the answers, and waits the time, of one that somebody
//! has. Failed logins are counted by name and address together, so nobody locks out somebody else.

use std::net::IpAddr;

use keyfold_crypto::{AccountRounds, AuthKey, sha256};
use keyfold_protocol::account::WayIn;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::{KeyChain, SignedEntry};
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{ChainRoot, DeviceId, Time};
use keyfold_protocol::limits;
use keyfold_protocol::names::{DeviceName, UserName};
use keyfold_protocol::wire::{
    Base64, KdfParameters, Key, LoginReply, Register, RegisterReply, SealedRoots, Standing,
};

use super::access::{self, SESSION, hash_token, new_token, server_mac};
use super::audit::{self, Act, Alert};
use super::recovery::{self, Letter};
use super::second_factor;
use super::{Failure, Outcome, Work, require};
use crate::db::accounts::{self, Account, Credentials};
use crate::db::sessions::{self, MailKind, Session};
use crate::db::throttle;

/// Seconds in which failed logins are counted.
const LOGIN_WINDOW: u64 = 900;
/// Seconds in which registrations are counted.
const REGISTER_WINDOW: u64 = 3600;
/// Failed logins from one address count for all names together, so many times more.
const ADDRESS_FACTOR: u64 = 10;
/// Failed logins of all together, each so many of which the operator hears of.
const BURST: u64 = 100;
/// Sessions of one account.
const SESSIONS: u64 = 256;

/// Where a request comes from, as far as it is counted.
#[derive(Debug, Clone)]
pub(crate) struct Origin(pub(crate) Vec<u8>);

impl Origin {
    /// Of IPv6 the network, which one customer has many addresses of.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets()[..8].to_vec(),
        })
    }
}

/// What is counted under a name of its own.
pub(crate) fn subject(kind: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut all: Vec<&[u8]> = vec![kind.as_bytes()];
    for part in parts {
        all.push(&[0]);
        all.push(part);
    }
    sha256(&all)
}

/// What is stored of credentials that a client made.
pub(crate) fn credentials(
    work: &Work<'_>,
    kdf: &KdfParameters,
    (auth, recovery_auth): (&Key, &Key),
    roots: &SealedRoots,
) -> Outcome<Credentials> {
    AccountRounds::new(kdf.rounds).map_err(|_| Failure::from(ErrorCode::Malformed))?;
    check_roots(roots)?;
    let pepper = &work.rules.pepper.0;
    let peppered = |key: &Key| AuthKey::from_bytes(*key.0).peppered(pepper);
    Ok(Credentials {
        salt: *kdf.salt.0,
        rounds: kdf.rounds,
        mac: *kdf.mac.0,
        auth: peppered(auth),
        recovery_auth: peppered(recovery_auth),
        root_password: roots.password.0.clone(),
        root_recovery: roots.recovery.0.clone(),
    })
}

pub(crate) fn check_roots(roots: &SealedRoots) -> Outcome<()> {
    let fits = |root: &Base64| !root.0.is_empty() && root.0.len() <= limits::ACCOUNT_ROOT_BYTES;
    let fit = fits(&roots.password) && fits(&roots.recovery);
    require(fit, ErrorCode::Malformed)
}

/// Makes an account.
pub(crate) fn register(
    work: &Work<'_>,
    origin: &Origin,
    body: &Register,
) -> Outcome<(RegisterReply, Option<Letter>)> {
    let entry = SignedEntry::decode(&body.entry.0)?;
    let chain = KeyChain::verify(std::slice::from_ref(&entry));
    let chain = chain.map_err(|_| Failure::from(ErrorCode::BadSignature))?;
    require(chain.key().user == body.user, ErrorCode::BadSignature)?;
    let root = chain.root();
    let credentials = credentials(
        work,
        &body.kdf,
        (&body.auth, &body.recovery_auth),
        &body.roots,
    )?;
    if let Some(known) = accounts::by_name(work.tx, &body.user)? {
        require(known.root == root && !known.deleted, ErrorCode::UserTaken)?;
        let verify_email = work.rules.verify_email && !known.email_verified;
        return Ok((RegisterReply { root, verify_email }, None));
    }
    limit_registrations(work, origin)?;
    if !work.rules.open_registration {
        take_invitation(work, body.invitation.as_deref())?;
    }
    let account = Account {
        root,
        name: body.user.clone(),
        email: body.email.clone(),
        email_verified: false,
        standing: Standing::User,
        disabled: false,
        deleted: false,
        quota: work.rules.quota,
        used: 0,
        created: work.now,
        last_event: 0,
    };
    accounts::insert(work.tx, &account, &credentials)?;
    accounts::append_entry(work.tx, &root, &entry)?;
    audit::note(work, Act::Register, Some(&body.user), &root.to_string())?;
    let letter = recovery::verification(work, &account)?;
    let verify_email = work.rules.verify_email;
    Ok((RegisterReply { root, verify_email }, letter))
}

fn limit_registrations(work: &Work<'_>, origin: &Origin) -> Outcome<()> {
    let subject = subject("register", &[&origin.0]);
    let count = throttle::count(work.tx, &subject, REGISTER_WINDOW, work.now)?;
    if count >= work.rules.registrations {
        return Err(Failure::TooOften(REGISTER_WINDOW));
    }
    Ok(throttle::note(
        work.tx,
        &subject,
        REGISTER_WINDOW,
        work.now,
    )?)
}

fn take_invitation(work: &Work<'_>, token: Option<&str>) -> Outcome<()> {
    let token = token.ok_or(ErrorCode::Forbidden)?;
    let found = sessions::take_mail_token(work.tx, hash_token(token), MailKind::Invite, work.now)?;
    require(found.is_some(), ErrorCode::Forbidden)
}

/// What a password is stretched with: for a name that nobody has, invented and always the same.
pub(crate) fn parameters(work: &Work<'_>, user: &UserName) -> Outcome<KdfParameters> {
    let invented = invented(work, user);
    let account = accounts::by_name(work.tx, user)?.filter(|account| !account.deleted);
    let root = account.map_or(ChainRoot(invented.salt), |account| account.root);
    let found = accounts::credentials(work.tx, &root)?.unwrap_or(invented);
    Ok(KdfParameters {
        salt: Key(found.salt.into()),
        rounds: found.rounds,
        mac: Key(found.mac.into()),
    })
}

/// Credentials that nothing proves.
fn invented(work: &Work<'_>, user: &UserName) -> Credentials {
    let pepper = &work.rules.pepper;
    let mac = |label| server_mac(pepper, label, user.as_str().as_bytes());
    Credentials {
        salt: mac("salt of nobody"),
        rounds: AccountRounds::FLOOR,
        mac: mac("mac of nobody"),
        auth: mac("auth of nobody"),
        recovery_auth: mac("auth of nobody"),
        root_password: Vec::new(),
        root_recovery: Vec::new(),
    }
}

/// Somebody who wants in.
pub(crate) struct Attempt {
    pub(crate) way: WayIn,
    pub(crate) user: UserName,
    pub(crate) auth: Key,
    pub(crate) device: DeviceId,
    pub(crate) device_name: DeviceName,
    pub(crate) second_factor: Option<String>,
    pub(crate) origin: Origin,
}

/// Begins a session. The inner result is the caller's; what was counted is kept either way.
pub(crate) fn login(work: &Work<'_>, attempt: &Attempt) -> Outcome<Outcome<LoginReply>> {
    let name = attempt.user.as_str().as_bytes();
    let origin = &attempt.origin.0[..];
    let by_both = subject("login", &[name, origin]);
    let by_address = subject("login-address", &[origin]);
    let allowed = work.rules.failed_logins;
    let count = |subject| throttle::count(work.tx, subject, LOGIN_WINDOW, work.now);
    if count(&by_both)? >= allowed || count(&by_address)? >= allowed * ADDRESS_FACTOR {
        return Ok(Err(Failure::TooOften(LOGIN_WINDOW)));
    }
    let invented = invented(work, &attempt.user);
    let account = accounts::by_name(work.tx, &attempt.user)?.filter(|account| !account.deleted);
    let root = account
        .as_ref()
        .map_or(ChainRoot(invented.salt), |a| a.root);
    let stored = accounts::credentials(work.tx, &root)?.unwrap_or(invented);
    let wanted = match attempt.way {
        WayIn::Password => &stored.auth,
        WayIn::Recovery => &stored.recovery_auth,
    };
    let auth = AuthKey::from_bytes(*attempt.auth.0);
    let right = auth.verify(&work.rules.pepper.0, wanted).is_ok();
    let Some(account) = account.filter(|_| right) else {
        throttle::note(work.tx, &by_both, LOGIN_WINDOW, work.now)?;
        throttle::note(work.tx, &by_address, LOGIN_WINDOW, work.now)?;
        let by_all = subject("login-failures", &[]);
        throttle::note(work.tx, &by_all, LOGIN_WINDOW, work.now)?;
        if count(&by_both)? == allowed || count(&by_all)? % BURST == 0 {
            work.alert(Alert::LoginBurst);
        }
        audit::note(work, Act::FailedLogin, None, "")?;
        return Ok(Err(ErrorCode::WrongCredentials.into()));
    };
    Ok(begin(work, attempt, &account, stored))
}

fn begin(
    work: &Work<'_>,
    attempt: &Attempt,
    account: &Account,
    stored: Credentials,
) -> Outcome<LoginReply> {
    require(!account.disabled, ErrorCode::AccountDisabled)?;
    let verified = account.email_verified || !work.rules.verify_email;
    require(verified, ErrorCode::EmailUnverified)?;
    second_factor::pass(work, account, attempt.second_factor.as_deref())??;
    let (token, hash) = new_token()?;
    let expires = Time(work.now.0.saturating_add(SESSION));
    let session = Session {
        token: hash,
        root: account.root,
        device: attempt.device,
        device_name: attempt.device_name.clone(),
        last_seen: work.now,
        expires,
    };
    sessions::insert(work.tx, &session)?;
    sessions::end_oldest(work.tx, &account.root, SESSIONS)?;
    let device = attempt.device.to_string();
    audit::note(work, Act::Login, Some(&account.name), &device)?;
    work.tell([account.root], super::OF_ACCOUNT)?;
    let chain = accounts::chain(work.tx, &account.root)?;
    Ok(LoginReply {
        token,
        expires,
        root: Base64(match attempt.way {
            WayIn::Password => stored.root_password,
            WayIn::Recovery => stored.root_recovery,
        }),
        chain: chain.iter().map(|entry| Base64(entry.encode())).collect(),
    })
}

/// Whether a key proves a login of the caller, by password or recovery key. Counts what does not.
pub(crate) fn proves(
    work: &Work<'_>,
    caller: &access::Caller,
    origin: &Origin,
    key: &Key,
) -> Outcome<Outcome<()>> {
    let name = caller.account.name.as_str().as_bytes();
    let subject = subject("login", &[name, &origin.0]);
    if throttle::count(work.tx, &subject, LOGIN_WINDOW, work.now)? >= work.rules.failed_logins {
        return Ok(Err(Failure::TooOften(LOGIN_WINDOW)));
    }
    let stored = accounts::credentials(work.tx, &caller.root())?;
    let stored = stored.ok_or(ErrorCode::Unauthenticated)?;
    let auth = AuthKey::from_bytes(*key.0);
    let pepper = &work.rules.pepper.0;
    let fits = |stored| auth.verify(pepper, stored).is_ok();
    if fits(&stored.auth) || fits(&stored.recovery_auth) {
        return Ok(Ok(()));
    }
    throttle::note(work.tx, &subject, LOGIN_WINDOW, work.now)?;
    audit::note(work, Act::FailedLogin, Some(&caller.account.name), "")?;
    Ok(Err(ErrorCode::WrongCredentials.into()))
}

#[cfg(test)]
mod tests;
