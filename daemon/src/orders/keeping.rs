//! Orders about an account that there is, and about people.

use keyfold_protocol::account::{fingerprint, safety_words};
use keyfold_protocol::ids::ChainRoot;
use keyfold_protocol::names::UserName;

use super::{AccountShown, Failure, Hidden, Proving, Told, session};
use crate::account::{self, Account, AccountError, Kept, KitFate, KitNow, Trust};
use crate::engine::Engine;
use crate::remote::{Deadlines, wait};
use crate::sharing;

pub(super) fn show(engine: &Engine) -> Result<Told, Failure> {
    if Kept::in_vault(engine).profile()?.is_none() {
        return Ok(Told::Account(None));
    }
    let account = Account::of(engine, Deadlines::default())?;
    let profile = account.profile();
    let keys = account.kept().keys()?;
    Ok(Told::Account(Some(AccountShown {
        user: profile.user.clone(),
        server: profile.server.address.to_string(),
        address: account.address().to_string(),
        fingerprint: fingerprint(profile.root),
        safety_words: safety_words(profile.root).join(" "),
        device: profile.device,
        device_name: profile.device_name.clone(),
        logged_in: keys.is_some() && account.kept().token()?.is_some(),
        has_keys: keys.is_some(),
        kit_complete: keys.is_some_and(|keys| keys.recovery.is_some()),
    })))
}

pub(super) fn devices(engine: &Engine) -> Result<Told, Failure> {
    let devices = wait(async { session(engine).await?.devices().await })?;
    Ok(Told::Devices(devices))
}

pub(super) fn remove_device(
    engine: &Engine,
    named: &str,
    password: &Hidden,
) -> Result<Told, Failure> {
    wait(async {
        let mut session = session(engine).await?;
        let renewed = session.remove_device(named, password.password()).await?;
        // Whatever happens to shares, the kit gets out.
        Ok(Told::Renewed {
            device: renewed.device,
            kit: Hidden::new(session.kit()?.to_text()),
            tended: sharing::tend(&session).await.err().map(Failure::from),
        })
    })
}

pub(super) fn kit(engine: &Engine) -> Result<Told, Failure> {
    let account = Account::of(engine, Deadlines::default())?;
    let keys = account.kept().keys()?.ok_or(AccountError::NotLoggedIn)?;
    let kit = account::kit(account.profile(), &keys)?;
    Ok(Told::Kit {
        complete: kit.recovery.is_some(),
        kit: Hidden::new(kit.to_text()),
    })
}

pub(super) fn set_password(
    engine: &Engine,
    (proof, new): (Proving, Hidden),
    fate: KitFate,
) -> Result<Told, Failure> {
    wait(async {
        let mut session = session(engine).await?;
        let (proof, new) = (proof.proof(), new.password());
        let kit = match session.set_password(&proof, &new, fate).await? {
            KitNow::Valid => None,
            KitNow::Replaced => Some(Hidden::new(session.kit()?.to_text())),
        };
        Ok(Told::Password(kit))
    })
}

pub(super) fn delete(engine: &Engine, user: &UserName) -> Result<Told, Failure> {
    let account = Account::of(engine, Deadlines::default())?;
    if account.profile().user != *user {
        return Err(AccountError::NoAccount.into());
    }
    wait(async { account.session().await?.delete().await })?;
    Ok(Told::Done)
}

pub(super) fn find(engine: &Engine, user: &UserName) -> Result<Told, Failure> {
    let person = wait(async { session(engine).await?.person(user).await })?;
    Ok(Told::Person {
        root: person.root(),
        verified: match person.trust {
            Trust::Verified(since) => Some(since.0),
            Trust::Seen(_) => None,
        },
    })
}

pub(super) fn trust(engine: &Engine, user: &UserName, root: ChainRoot) -> Result<Told, Failure> {
    wait(async {
        let session = session(engine).await?;
        let person = session.person(user).await?;
        if person.root() != root {
            let (user, root) = (user.clone(), person.root());
            return Err(AccountError::OtherFingerprint { user, root });
        }
        session.verify_person(&person).await
    })?;
    Ok(Told::Done)
}
