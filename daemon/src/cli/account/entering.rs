//! `account register`, `verify`, `login` and `logout`.

use keyfold_fs::vault::Access;

use super::args::{LoginArgs, LogoutArgs, RegisterArgs, VerifyArgs};
use super::asking;
use super::place::{Place, failed, unlike};
use crate::account::Forget;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::secret::SecretError;
use crate::orders::{Entering, Hidden, Order, Proving, Registering, Told};

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
    let place = Place::open(&args.vault, &args.unlock, Access::ReadWrite)?;
    let address = server.address.clone();
    let told = place.carry_out(Order::Register(Box::new(Registering {
        server,
        user: args.user.clone(),
        email,
        device_name,
        password: asking::new_password(&args.password)?,
        invitation: args.invitation.clone(),
    })))?;
    let Told::Registered { kit, verify_email } = told else {
        return Err(unlike());
    };
    place.close()?;
    output::text(&format!("Made the account {} on {address}.\n\n", args.user))?;
    asking::give_kit(&kit, args.kit_file.as_deref())?;
    if verify_email {
        output::text(
            "\nA mail was sent. Prove the address with what is in it, `keyfold account verify`, \
             and\nthen log in with `keyfold account login`.\n",
        )?;
    }
    Ok(())
}

/// Proves an e-mail address.
pub(super) fn verify(args: &VerifyArgs) -> Result<(), CliError> {
    let place = Place::open(&args.vault, &args.unlock, Access::ReadWrite)?;
    let order = args.token.clone().map_or(Order::Resend, Order::Verify);
    place.carry_out(order)?;
    place.close()?;
    output::text(if args.resend {
        "If the account waits for it, another mail was sent.\n"
    } else {
        "The address is proved. Log in with `keyfold account login`.\n"
    })
}

/// Uses an account in this vault.
pub(super) fn login(args: &LoginArgs) -> Result<(), CliError> {
    let server = asking::server(&args.server)?;
    let kit = args.kit.as_deref().map(asking::kit_in).transpose()?;
    let device_name = asking::device_name(args.device_name.as_ref())?;
    let place = Place::open(&args.vault, &args.unlock, Access::ReadWrite)?;
    let known = place.account()?;
    if server.is_none() && known.is_none() {
        return Err(CliError::Unasked("--server"));
    }
    let kit = match kit {
        None if !known.is_some_and(|known| known.has_keys) => Some(asking::typed_kit()?),
        other => other,
    };
    let proof = if args.with_recovery {
        Proving::Recovery
    } else {
        Proving::Password(asking::password(&args.password)?)
    };
    let told = place.carry_out(Order::Login(Box::new(Entering {
        server,
        user: args.user.clone(),
        device_name,
        proof,
        second_factor: args.code.clone(),
        password_changed: args.password_changed,
        kit: kit.map(|kit| Hidden::new(kit.to_text())),
    })))?;
    let Told::Account(Some(account)) = told else {
        return Err(unlike());
    };
    place.close()?;
    output::text(&format!(
        "Logged in as {} on {}. This device is {} ({}).\n",
        account.user, account.server, account.device_name, account.device
    ))
}

/// Ends the session.
pub(super) fn logout(args: &LogoutArgs) -> Result<(), CliError> {
    let place = Place::open(&args.vault, &args.unlock, Access::ReadWrite)?;
    let how_much = if args.forget {
        Forget::Everything
    } else {
        Forget::Keys
    };
    let Told::LoggedOut(untold) = place.carry_out(Order::Logout(how_much))? else {
        return Err(unlike());
    };
    place.close()?;
    let Some(why) = untold else {
        return output::text("Logged out.\n");
    };
    output::text("This vault has forgotten the session.\n")?;
    eprintln!(
        "keyfold: the server could not be told. Its session ends by itself; `keyfold account devices \
         remove` on another device ends it at once"
    );
    Err(failed(why))
}
