//! `account register`, `verify`, `login` and `logout`.

use keyfold_protocol::wire::VerifyEmail;

use super::args::{LoginArgs, LogoutArgs, RegisterArgs, VerifyArgs};
use super::{asking, open, wait};
use crate::account::{
    self, Account, AccountError, Entry, Forget, Kept, LoggedOut, Parameters, Proof, Registration,
};
use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::secret::SecretError;
use crate::engine::Engine;
use crate::remote::{Deadlines, Remote, Server};

/// Makes an account.
pub(super) fn register(args: &RegisterArgs) -> Result<(), CliError> {
    let server = asking::server(&args.server)?.ok_or(CliError::Unasked("--server"))?;
    let email = match &args.email {
        Some(email) => email.clone(),
        None => asking::line("E-mail address: ", "--email")?
            .parse()
            .map_err(|_| CliError::Secret(SecretError::BadEmail))?,
    };
    let device_name = asking::device_name(args.device_name.as_ref())?;
    let engine = open(&args.vault, &args.unlock)?;
    let password = asking::new_password(&args.password)?;
    let wanted = Registration {
        server,
        user: args.user.clone(),
        email,
        device_name,
        password: &password,
        invitation: args.invitation.clone(),
    };
    let registered = wait(async {
        let deadlines = Deadlines::default();
        Ok(account::register(&engine, &wanted, deadlines).await?)
    })?;
    engine.close()?;
    output::text(&format!(
        "Made the account {} on {}.\n\n",
        wanted.user, wanted.server.address
    ))?;
    asking::give_kit(&registered.kit, args.kit_file.as_deref())?;
    if registered.verify_email {
        output::text(
            "\nA mail was sent. Prove the address with what is in it, `keyfold account verify`, \
             and\nthen log in with `keyfold account login`.\n",
        )?;
    }
    Ok(())
}

/// Proves an e-mail address.
pub(super) fn verify(args: &VerifyArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let account = Account::of(&engine, Deadlines::default())?;
    let profile = account.profile();
    let remote = Remote::new(&profile.server, Deadlines::default())?;
    wait(async {
        match &args.token {
            Some(token) => {
                let body = VerifyEmail {
                    token: token.clone(),
                };
                remote.verify_email(&body).await?;
            }
            None => remote.resend_verification(&profile.user).await?,
        }
        Ok(())
    })?;
    output::text(if args.resend {
        "If the account waits for it, another mail was sent.\n"
    } else {
        "The address is proved. Log in with `keyfold account login`.\n"
    })
}

/// Uses an account in this vault.
pub(super) fn login(args: &LoginArgs) -> Result<(), CliError> {
    let named = asking::server(&args.server)?;
    let kit = args.kit.as_deref().map(asking::kit_in).transpose()?;
    let device_name = asking::device_name(args.device_name.as_ref())?;
    let engine = open(&args.vault, &args.unlock)?;
    let kept = Kept::in_vault(&engine);
    let server = server(kept, named)?;
    let kit = match kit {
        None if kept.keys()?.is_none() => Some(asking::typed_kit()?),
        other => other,
    };
    let proof = if args.with_recovery {
        Proof::Recovery
    } else {
        Proof::Password(asking::password(&args.password)?)
    };
    let entry = Entry {
        server,
        user: args.user.clone(),
        device_name,
        proof,
        second_factor: args.code.clone(),
        parameters: if args.password_changed {
            Parameters::Changed
        } else {
            Parameters::AsFirstSeen
        },
    };
    let profile = wait(async {
        let deadlines = Deadlines::default();
        Ok(account::login(&engine, &entry, kit, deadlines).await?)
    })?;
    pull_book(&engine)?;
    engine.close()?;
    output::text(&format!(
        "Logged in as {} on {}. This device is {} ({}).\n",
        profile.user, profile.server.address, profile.device_name, profile.device
    ))
}

/// Whom the user verified is known on every device from the first moment on.
fn pull_book(engine: &Engine) -> Result<(), CliError> {
    wait(async {
        let session = super::session(engine).await?;
        session.pull_book().await?;
        Ok(())
    })
}

/// The server that is named, or the one the vault knows.
fn server(kept: Kept<'_>, named: Option<Server>) -> Result<Server, CliError> {
    let known = kept.profile()?.map(|profile| profile.server);
    match (named, known) {
        (Some(named), Some(known)) if named.ca.is_none() && named.address == known.address => {
            Ok(known)
        }
        (Some(named), _) => Ok(named),
        (None, Some(known)) => Ok(known),
        (None, None) => Err(CliError::Unasked("--server")),
    }
}

/// Ends the session.
pub(super) fn logout(args: &LogoutArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let account = Account::of(&engine, Deadlines::default())?;
    let how_much = if args.forget {
        Forget::Everything
    } else {
        Forget::Keys
    };
    let ended = wait(async { Ok(account.logout(how_much).await?) })?;
    engine.close()?;
    match ended {
        LoggedOut::Everywhere => output::text("Logged out.\n"),
        LoggedOut::HereOnly(error) => {
            output::text("This vault has forgotten the session.\n")?;
            eprintln!(
                "keyfold: the server could not be told. Its session ends by itself; `keyfold \
                 account devices remove` on another device ends it at once"
            );
            Err(AccountError::from(error).into())
        }
    }
}
