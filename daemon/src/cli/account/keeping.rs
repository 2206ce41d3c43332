//! `account show`, `devices`, `kit`, `password` and `delete`.

use std::fmt::Write;

use keyfold_fs::vault::Access;
use keyfold_protocol::wire::Device;

use super::args::{DeleteArgs, DevicesCommand, KitArgs, PasswordArgs, ReadArgs, RemoveArgs};
use super::asking;
use super::place::{Place, failed, unlike};
use crate::account::KitFate;
use crate::calendar::moment;
use crate::cli::error::CliError;
use crate::cli::output::{self, Form};
use crate::orders::{Order, Proving, Told};

/// Shows what the vault keeps, without asking the server.
pub(super) fn show(args: &ReadArgs) -> Result<(), CliError> {
    let shown = Place::open(&args.vault, &args.unlock, Access::ReadOnly)?.some_account()?;
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
    let place = Place::open(&args.vault, &args.unlock, Access::ReadWrite)?;
    let Told::Devices(devices) = place.carry_out(Order::Devices)? else {
        return Err(unlike());
    };
    place.close()?;
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
    let place = Place::open(&args.vault, &args.unlock, Access::ReadWrite)?;
    let told = place.carry_out(Order::RemoveDevice {
        device: args.device.clone(),
        password: asking::password(&args.password)?,
    })?;
    let Told::Renewed {
        device,
        kit,
        tended,
    } = told
    else {
        return Err(unlike());
    };
    place.close()?;
    output::text(&format!(
        "Ended the use of {} ({}). The account has new keys, and this kit takes the place of the \
         old\none. Other devices log in again with it.\n\n",
        device.name, device.device
    ))?;
    asking::give_kit(&kit, args.kit_file.as_deref())?;
    tended.map_or(Ok(()), |why| Err(failed(why)))
}

/// Prints the kit.
pub(super) fn kit(args: &KitArgs) -> Result<(), CliError> {
    let place = Place::open(&args.vault, &args.unlock, Access::ReadOnly)?;
    let Told::Kit { kit, complete } = place.carry_out(Order::Kit)? else {
        return Err(unlike());
    };
    if !complete {
        eprintln!(
            "keyfold: this vault never had the recovery key, and the kit lacks it. `keyfold account \
             password` makes another"
        );
    }
    asking::give_kit(&kit, args.kit_file.as_deref())
}

/// Changes the account's password.
pub(super) fn password(args: &PasswordArgs) -> Result<(), CliError> {
    let place = Place::open(&args.vault, &args.unlock, Access::ReadWrite)?;
    let proof = if args.with_recovery {
        Proving::Recovery
    } else {
        Proving::Password(asking::password(&args.current)?)
    };
    let told = place.carry_out(Order::SetPassword {
        proof,
        new: asking::new_password(&args.new)?,
        kit: if args.new_kit {
            KitFate::Renew
        } else {
            KitFate::Keep
        },
    })?;
    let Told::Password(kit) = told else {
        return Err(unlike());
    };
    place.close()?;
    output::text("Changed the account's password.\n")?;
    if let Some(kit) = kit {
        output::text("This kit takes the place of the old one.\n\n")?;
        asking::give_kit(&kit, args.kit_file.as_deref())?;
    }
    Ok(())
}

/// Ends the account.
pub(super) fn delete(args: &DeleteArgs) -> Result<(), CliError> {
    let place = Place::open(&args.vault, &args.unlock, Access::ReadWrite)?;
    let user = place.some_account()?.user;
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
    place.carry_out(Order::Delete(user.clone()))?;
    place.close()?;
    output::text(&format!("Ended the account {user}.\n"))
}
