//! Orders to register, verify, log in and log out.

use keyfold_protocol::account::Kit;
use keyfold_protocol::wire::VerifyEmail;

use super::{Entering, Failure, Hidden, Proving, Registering, Told, session};
use crate::account::{
    self, Account, AccountError, Entry, Forget, Kept, LoggedOut, Parameters, Proof, Registration,
};
use crate::engine::Engine;
use crate::remote::{Deadlines, Remote, Server, wait};

impl Proving {
    pub(super) fn proof(&self) -> Proof {
        match self {
            Self::Password(password) => Proof::Password(password.password()),
            Self::Recovery => Proof::Recovery,
        }
    }
}

pub(super) fn register(engine: &Engine, wanted: Registering) -> Result<Told, Failure> {
    let password = wanted.password.password();
    let wanted = Registration {
        server: wanted.server,
        user: wanted.user,
        email: wanted.email,
        device_name: wanted.device_name,
        password: &password,
        invitation: wanted.invitation,
    };
    let registered = wait(account::register(engine, &wanted, Deadlines::default()))?;
    Ok(Told::Registered {
        kit: Hidden::new(registered.kit.to_text()),
        verify_email: registered.verify_email,
    })
}

/// Proves the address with a token, or has one mailed.
pub(super) fn verify(engine: &Engine, token: Option<String>) -> Result<Told, Failure> {
    let account = Account::of(engine, Deadlines::default())?;
    let profile = account.profile();
    let remote = Remote::new(&profile.server, Deadlines::default())?;
    wait(async {
        match token {
            Some(token) => remote.verify_email(&VerifyEmail { token }).await,
            None => remote.resend_verification(&profile.user).await,
        }
    })?;
    Ok(Told::Done)
}

pub(super) fn login(engine: &Engine, wanted: Entering) -> Result<Told, Failure> {
    let entry = Entry {
        server: server(Kept::in_vault(engine), wanted.server)?,
        user: wanted.user,
        device_name: wanted.device_name,
        proof: wanted.proof.proof(),
        second_factor: wanted.second_factor,
        parameters: if wanted.password_changed {
            Parameters::Changed
        } else {
            Parameters::AsFirstSeen
        },
    };
    let kit = wanted.kit.map(|kit| Kit::parse(kit.expose())).transpose();
    let kit = kit.map_err(|_| AccountError::KitNeeded)?;
    wait(async {
        account::login(engine, &entry, kit, Deadlines::default()).await?;
        // Whom the user verified is known on every device from the first moment on.
        session(engine).await?.pull_book().await?;
        Ok::<_, AccountError>(())
    })?;
    super::keeping::show(engine)
}

/// The server that is named, or the one the vault knows.
fn server(kept: Kept<'_>, named: Option<Server>) -> Result<Server, AccountError> {
    let known = kept.profile()?.map(|profile| profile.server);
    match (named, known) {
        (Some(named), Some(known)) if named.ca.is_none() && named.address == known.address => {
            Ok(known)
        }
        (Some(named), _) => Ok(named),
        (None, Some(known)) => Ok(known),
        (None, None) => Err(AccountError::NoAccount),
    }
}

pub(super) fn logout(engine: &Engine, how_much: Forget) -> Result<Told, Failure> {
    let account = Account::of(engine, Deadlines::default())?;
    let ended = wait(account.logout(how_much))?;
    Ok(Told::LoggedOut(match ended {
        LoggedOut::Everywhere => None,
        LoggedOut::HereOnly(error) => Some(error.into()),
    }))
}
