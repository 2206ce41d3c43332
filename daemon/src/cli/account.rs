//! `account`, `trust` and `people`: the user's account on a sharing server, and whom he knows there.
//!
//! These commands are only here: no program that can reach a mount can give them, unless it can open the
//! vault.

mod args;
mod asking;
mod entering;
mod keeping;
mod people;
mod place;

use std::path::Path;

use keyfold_fs::vault::Access;
use keyfold_fs::volume::Verify;

use crate::account::{Account, Session};
use crate::cli::error::CliError;
use crate::cli::inside;
use crate::cli::secret::UnlockArgs;
use crate::engine::Engine;
use crate::remote::Deadlines;

pub(crate) use args::{AccountCommand, ReadArgs, TrustArgs};
pub(crate) use people::{people, trust};

/// Carries out one of the `account` commands.
pub(crate) fn account(command: &AccountCommand) -> Result<(), CliError> {
    match command {
        AccountCommand::Register(args) => entering::register(args),
        AccountCommand::Verify(args) => entering::verify(args),
        AccountCommand::Login(args) => entering::login(args),
        AccountCommand::Logout(args) => entering::logout(args),
        AccountCommand::Show(args) => keeping::show(args),
        AccountCommand::Devices { command } => keeping::devices(command),
        AccountCommand::Kit(args) => keeping::kit(args),
        AccountCommand::Password(args) => keeping::password(args),
        AccountCommand::Delete(args) => keeping::delete(args),
    }
}

/// Opens the vault to change what it keeps.
pub(super) fn open(vault: &Path, unlock: &UnlockArgs) -> Result<Engine, CliError> {
    inside::open_for(vault, unlock, (Access::ReadWrite, Verify::default()))
}

/// The account of a vault, logged in.
pub(super) async fn session(engine: &Engine) -> Result<Session<'_>, CliError> {
    let account = Account::of(engine, Deadlines::default())?;
    Ok(account.session().await?)
}
