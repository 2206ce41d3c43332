//! `account show`, `devices`, `kit`, `password` and `delete`.

use std::fmt::Write;

use keyfold_protocol::account::{fingerprint, safety_words};
use keyfold_protocol::wire::Device;
use serde::Serialize;

use super::args::{DeleteArgs, DevicesCommand, KitArgs, PasswordArgs, ReadArgs, RemoveArgs};
use super::{asking, look, open, session, wait};
use crate::account::{self, Account, AccountError, KitFate, KitNow, Proof};
use crate::calendar::moment;
use crate::cli::error::CliError;
use crate::cli::output::{self, Form};
use crate::remote::Deadlines;
use crate::sharing;

#[derive(Serialize)]
struct Shown {
    user: String,
    server: String,
    address: String,
    fingerprint: String,
    safety_words: String,
    device: String,
    device_name: String,
    logged_in: bool,
    kit_complete: bool,
}

/// Shows what the vault keeps, without asking the server.
pub(super) fn show(args: &ReadArgs) -> Result<(), CliError> {
    let engine = look(&args.vault, &args.unlock)?;
    let account = Account::of(&engine, Deadlines::default())?;
    let profile = account.profile();
    let keys = account.kept().keys()?;
    let shown = Shown {
        user: profile.user.to_string(),
        server: profile.server.address.to_string(),
        address: account.address().to_string(),
        fingerprint: fingerprint(profile.root),
        safety_words: safety_words(profile.root).join(" "),
        device: profile.device.to_string(),
        device_name: profile.device_name.to_string(),
        logged_in: keys.is_some() && account.kept().token()?.is_some(),
        kit_complete: keys.is_some_and(|keys| keys.recovery.is_some()),
    };
    match Form::of(args.json) {
        Form::Json => output::json(&shown),
        Form::Text => output::text(&format!(
            "user:         {}\nserver:       {}\naddress:      {}\nsafety words: {}\ndevice:       \
             {} ({})\nlogged in:    {}\n",
            shown.user,
            shown.server,
            shown.address,
            shown.safety_words,
            shown.device_name,
            shown.device,
            if shown.logged_in { "yes" } else { "no" }
        )),
    }
}

/// Lists devices, or ends the use of one.
pub(super) fn devices(command: &DevicesCommand) -> Result<(), CliError> {
    match command {
        DevicesCommand::List(args) => list(args),
        DevicesCommand::Remove(args) => remove(args),
    }
}

fn list(args: &ReadArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let devices = wait(async { Ok(session(&engine).await?.devices().await?) })?;
    engine.close()?;
    match Form::of(args.json) {
        Form::Json => output::json(&devices),
        Form::Text => output::text(&lines(&devices)),
    }
}

fn lines(devices: &[Device]) -> String {
    let mut text = String::new();
    for device in devices {
        let this = if device.current { "  (this one)" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}  {}  {}{this}",
            device.device,
            moment(device.last_seen.0 as i64),
            device.name
        );
    }
    text
}

fn remove(args: &RemoveArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let password = asking::password(&args.password)?;
    wait(async {
        let mut session = session(&engine).await?;
        let renewed = session.remove_device(&args.device, password).await?;
        output::text(&format!(
            "Ended the use of {} ({}). The account has new keys, and this kit takes the place of \
             the old\none. Other devices log in again with it.\n\n",
            renewed.device.name, renewed.device.device
        ))?;
        // Whatever happens to shares, the kit is out.
        asking::give_kit(&session.kit()?, args.kit_file.as_deref())?;
        Ok(sharing::tend(&session).await?)
    })?;
    Ok(engine.close()?)
}

/// Prints the kit.
pub(super) fn kit(args: &KitArgs) -> Result<(), CliError> {
    let engine = look(&args.vault, &args.unlock)?;
    let account = Account::of(&engine, Deadlines::default())?;
    let keys = account.kept().keys()?.ok_or(AccountError::NotLoggedIn)?;
    let kit = account::kit(account.profile(), &keys)?;
    if kit.recovery.is_none() {
        eprintln!(
            "keyfold: this vault never had the recovery key, and the kit lacks it. `keyfold account \
             password` makes another"
        );
    }
    asking::give_kit(&kit, args.kit_file.as_deref())
}

/// Changes the account's password.
pub(super) fn password(args: &PasswordArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let current = if args.with_recovery {
        Proof::Recovery
    } else {
        Proof::Password(asking::password(&args.current)?)
    };
    let new = asking::new_password(&args.new)?;
    let fate = if args.new_kit {
        KitFate::Renew
    } else {
        KitFate::Keep
    };
    let (now, kit) = wait(async {
        let mut session = session(&engine).await?;
        let now = session.set_password(&current, &new, fate).await?;
        Ok((now, session.kit()?))
    })?;
    engine.close()?;
    output::text("Changed the account's password.\n")?;
    if now == KitNow::Replaced {
        output::text("This kit takes the place of the old one.\n\n")?;
        asking::give_kit(&kit, args.kit_file.as_deref())?;
    }
    Ok(())
}

/// Ends the account.
pub(super) fn delete(args: &DeleteArgs) -> Result<(), CliError> {
    let engine = open(&args.vault, &args.unlock)?;
    let account = Account::of(&engine, Deadlines::default())?;
    let user = account.profile().user.clone();
    let said = match &args.confirm {
        Some(said) => said.to_string(),
        None => asking::line(
            "This ends the account, and shares that nobody else is in. Type the user name: ",
            "--confirm USER",
        )?,
    };
    if said != user.as_str() {
        return Err(CliError::NotConfirmed);
    }
    wait(async {
        let session = account.session().await?;
        Ok(session.delete().await?)
    })?;
    engine.close()?;
    output::text(&format!("Ended the account {user}.\n"))
}
