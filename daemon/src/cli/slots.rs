//! `passwd`: the key slots of a vault.

use std::path::Path;

use keyfold_fs::vault::{Access, LockedVault, SlotId, SlotLabel, UnlockedVault};

use crate::cli::args::PasswdCommand;
use crate::cli::error::CliError;
use crate::cli::inside;
use crate::cli::output::{self, Form};
use crate::cli::secret::{NewPasswordArgs, UnlockArgs};
use crate::cli::vaults;
use crate::mount::harden;
use crate::mount::pins;

/// Carries out one of the `passwd` commands.
pub(crate) fn passwd(command: &PasswdCommand) -> Result<(), CliError> {
    // A core file of this process could hold the keys; without the limit it is only unlikely.
    let _ = harden::forbid_core_dumps();
    match command {
        PasswdCommand::List { vault, json } => list(vault, Form::of(*json)),
        PasswdCommand::Add {
            vault,
            label,
            new_recovery_key: true,
            unlock,
            ..
        } => add_recovery_key(vault, label, unlock),
        PasswdCommand::Add {
            vault,
            label,
            unlock,
            new,
            ..
        } => add(vault, label, unlock, new),
        PasswdCommand::Change {
            vault,
            slot,
            unlock,
            new,
        } => change(vault, slot.map(SlotId), unlock, new),
        PasswdCommand::Remove {
            vault,
            slot,
            unlock,
        } => remove(vault, SlotId(*slot), unlock),
    }
}

fn unlock(path: &Path, args: &UnlockArgs) -> Result<UnlockedVault, CliError> {
    let locked = LockedVault::open(path, Access::ReadWrite).map_err(|e| inside::hint(path, e))?;
    let secret = args.obtain()?.to_secret()?;
    let mut vault = locked.unlock(&secret)?;
    vault.hold_to_pin(&pins::directory(), args.rollback())?;
    Ok(vault)
}

fn list(path: &Path, form: Form) -> Result<(), CliError> {
    let slots = vaults::slots(&vaults::claims(path)?);
    match form {
        Form::Json => output::json(&slots),
        Form::Text => output::text(&vaults::slot_lines(&slots)),
    }
}

fn add(path: &Path, label: &str, args: &UnlockArgs, new: &NewPasswordArgs) -> Result<(), CliError> {
    let label = SlotLabel::new(label)?;
    let mut vault = unlock(path, args)?;
    let slot = vault.add_password(label, &new.obtain()?, new.cost.cost())?;
    output::text(&format!("Added a password in key slot {slot}.\n"))
}

fn add_recovery_key(path: &Path, label: &str, args: &UnlockArgs) -> Result<(), CliError> {
    let label = SlotLabel::new(if label == "password" {
        "recovery key"
    } else {
        label
    })?;
    let mut vault = unlock(path, args)?;
    let (slot, recovery) = vault.add_recovery(label)?;
    output::text(&format!(
        "Added key slot {slot}.\n\n{}",
        vaults::notice(&recovery)
    ))
}

fn change(
    path: &Path,
    slot: Option<SlotId>,
    args: &UnlockArgs,
    new: &NewPasswordArgs,
) -> Result<(), CliError> {
    let mut vault = unlock(path, args)?;
    let slot = slot.unwrap_or_else(|| vault.opened_with());
    vault.change_password(slot, &new.obtain()?, new.cost.cost())?;
    output::text(&format!(
        "Changed the password in key slot {slot}. Header backups made before still open with the \
         old one.\n"
    ))
}

fn remove(path: &Path, slot: SlotId, args: &UnlockArgs) -> Result<(), CliError> {
    let mut vault = unlock(path, args)?;
    vault.remove_slot(slot)?;
    output::text(&format!("Removed key slot {slot}.\n"))
}
