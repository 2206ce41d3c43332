//! The second factor: codes of RFC 6238, each taken once, and recovery codes in their place.
//!
//! The secret that codes come from is computed from the pepper and a nonce, and the database has the
//! nonce alone: who steals that makes no codes.

use data_encoding::{BASE32_NOPAD, Encoding};
use keyfold_crypto::fill_random;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::ChainRoot;
use keyfold_protocol::wire::{
    BeginSecondFactor, ConfirmSecondFactor, EndSecondFactor, NewSecondFactor, RecoveryCodes,
    SecondFactorReply,
};
use totp_rs::{Builder, Secret, Totp};
use zeroize::Zeroizing;

use super::access::{Caller, server_mac};
use super::audit::{self, Act, Alert};
use super::login::{self, Origin, subject};
use super::{Failure, OF_ACCOUNT, Outcome, Work};
use crate::db::accounts::Account;
use crate::db::second_factors::{self, SecondFactor};
use crate::db::throttle;

/// Seconds in which wrong codes are counted.
const WINDOW: u64 = 900;
/// Wrong codes for one account in that time, from wherever: only who has the password gets here.
const WRONG: u64 = 20;
/// Recovery codes that are made at once.
const CODES: usize = 10;
/// Random bytes of a recovery code.
const CODE_BYTES: usize = 10;

/// What a refusal leaves behind is kept, as it counts.
type Noted<T> = Outcome<Outcome<T>>;

fn secret(work: &Work<'_>, root: &ChainRoot, factor: &SecondFactor) -> Zeroizing<[u8; 20]> {
    let of = [&root.0[..], &factor.nonce].concat();
    let mac = Zeroizing::new(server_mac(&work.rules.pepper, "second factor", &of));
    let mut secret = Zeroizing::new([0; 20]);
    secret.copy_from_slice(&mac[..20]);
    secret
}

fn totp(work: &Work<'_>, root: &ChainRoot, factor: &SecondFactor) -> Outcome<Totp> {
    let secret = Secret::new_stack(*secret(work, root, factor));
    let built = Builder::new().with_secret(secret).build();
    built.map_err(|_| Failure::Internal("a second factor could not be made".into()))
}

pub(crate) fn state(work: &Work<'_>, caller: &Caller) -> Outcome<SecondFactorReply> {
    let factor = second_factors::find(work.tx, &caller.root())?;
    Ok(SecondFactorReply {
        on: factor.is_some_and(|factor| factor.confirmed),
        recovery_codes: second_factors::recovery_codes(work.tx, &caller.root())?,
    })
}

/// Makes a secret, which counts once it is confirmed.
pub(crate) fn begin(
    work: &Work<'_>,
    caller: &Caller,
    origin: &Origin,
    body: &BeginSecondFactor,
) -> Noted<NewSecondFactor> {
    if let Err(refused) = login::proves(work, caller, origin, &body.current_auth)? {
        return Ok(Err(refused));
    }
    let root = caller.root();
    if second_factors::find(work.tx, &root)?.is_some_and(|factor| factor.confirmed) {
        return Ok(Err(ErrorCode::Conflict.into()));
    }
    let mut nonce = [0; 16];
    fill_random(&mut nonce)?;
    second_factors::begin(work.tx, &root, &nonce)?;
    let factor = SecondFactor {
        nonce,
        confirmed: false,
    };
    let secret = BASE32_NOPAD.encode(secret(work, &root, &factor).as_slice());
    let user = &caller.account.name;
    let uri = format!("otpauth://totp/Keyfold:{user}?secret={secret}&issuer=Keyfold");
    Ok(Ok(NewSecondFactor { secret, uri }))
}

/// From now on logins need a code.
pub(crate) fn confirm(
    work: &Work<'_>,
    caller: &Caller,
    body: &ConfirmSecondFactor,
) -> Noted<RecoveryCodes> {
    let root = caller.root();
    let factor = second_factors::find(work.tx, &root)?;
    let Some(factor) = factor.filter(|factor| !factor.confirmed) else {
        return Ok(Err(ErrorCode::Conflict.into()));
    };
    if let Err(refused) = check(work, &caller.account, &factor, &body.code)? {
        return Ok(Err(refused));
    }
    second_factors::confirm(work.tx, &root)?;
    let mut codes = Vec::with_capacity(CODES);
    for _ in 0..CODES {
        let code = new_code()?;
        let mac = code_mac(work, &root, &code);
        second_factors::add_recovery_code(work.tx, &root, &mac)?;
        codes.push(code);
    }
    let user = Some(&caller.account.name);
    audit::note(work, Act::BeginSecondFactor, user, "")?;
    work.tell([root], OF_ACCOUNT)?;
    Ok(Ok(RecoveryCodes { codes }))
}

/// From now on logins need no code.
pub(crate) fn end(
    work: &Work<'_>,
    caller: &Caller,
    origin: &Origin,
    body: &EndSecondFactor,
) -> Noted<()> {
    if let Err(refused) = login::proves(work, caller, origin, &body.current_auth)? {
        return Ok(Err(refused));
    }
    let root = caller.root();
    let factor = second_factors::find(work.tx, &root)?;
    let Some(factor) = factor.filter(|factor| factor.confirmed) else {
        return Ok(Err(ErrorCode::Conflict.into()));
    };
    if let Err(refused) = check(work, &caller.account, &factor, &body.code)? {
        return Ok(Err(refused));
    }
    second_factors::end(work.tx, &root)?;
    let user = Some(&caller.account.name);
    audit::note(work, Act::EndSecondFactor, user, "")?;
    work.tell([root], OF_ACCOUNT)?;
    Ok(Ok(()))
}

/// Lets in who proved the rest: with a code, where the account wants one.
pub(crate) fn pass(work: &Work<'_>, account: &Account, code: Option<&str>) -> Noted<()> {
    let factor = second_factors::find(work.tx, &account.root)?;
    let Some(factor) = factor.filter(|factor| factor.confirmed) else {
        return Ok(Ok(()));
    };
    match code {
        Some(code) => check(work, account, &factor, code),
        None => Ok(Err(ErrorCode::SecondFactor.into())),
    }
}

fn check(work: &Work<'_>, account: &Account, factor: &SecondFactor, code: &str) -> Noted<()> {
    let wrong = subject("second-factor", &[&account.root.0]);
    if throttle::count(work.tx, &wrong, WINDOW, work.now)? >= WRONG {
        return Ok(Err(Failure::TooOften(WINDOW)));
    }
    if take(work, account, factor, code)? {
        return Ok(Ok(()));
    }
    throttle::note(work.tx, &wrong, WINDOW, work.now)?;
    audit::note(work, Act::FailedLogin, Some(&account.name), "")?;
    Ok(Err(ErrorCode::SecondFactor.into()))
}

/// Takes a code or a recovery code, which nobody takes again.
fn take(work: &Work<'_>, account: &Account, factor: &SecondFactor, code: &str) -> Outcome<bool> {
    let root = &account.root;
    if code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()) {
        let Some(step) = totp(work, root, factor)?.check(code, work.now.0) else {
            return Ok(false);
        };
        let fresh = second_factors::take_step(work.tx, root, step)?;
        if !fresh {
            work.alert(Alert::ReusedCode);
        }
        return Ok(fresh);
    }
    let taken = second_factors::take_recovery_code(work.tx, root, &code_mac(work, root, code))?;
    if taken {
        audit::note(work, Act::UseRecoveryCode, Some(&account.name), "")?;
    }
    Ok(taken)
}

/// Four groups of four characters, 80 random bits.
fn new_code() -> Outcome<String> {
    let mut bytes = Zeroizing::new([0; CODE_BYTES]);
    fill_random(bytes.as_mut_slice())?;
    let base32: &Encoding = &BASE32_NOPAD;
    let text = Zeroizing::new(base32.encode(bytes.as_slice()).to_ascii_lowercase());
    let groups: Vec<&str> = (0..4).map(|at| &text[at * 4..at * 4 + 4]).collect();
    Ok(groups.join("-"))
}

/// What is stored of a recovery code, however it was typed.
fn code_mac(work: &Work<'_>, root: &ChainRoot, code: &str) -> [u8; 32] {
    let typed = code.chars().filter(char::is_ascii_alphanumeric);
    let plain: String = typed.map(|char| char.to_ascii_lowercase()).collect();
    let of = [&root.0[..], plain.as_bytes()].concat();
    server_mac(&work.rules.pepper, "recovery code", &of)
}
