//! Commands and options about accounts.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyfold_protocol::account::Fingerprint;
use keyfold_protocol::names::{DeviceName, Email, UserName};

use crate::cli::secret::{Source, UnlockArgs, source};
use crate::cli::sharing::Where;
use crate::remote::ServerAddress;

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account on a sharing server
    ///
    /// Its keys are made here and never leave the vault unsealed. The kit that is printed opens the
    /// account on the next device: keep it on paper.
    Register(RegisterArgs),
    /// Prove the e-mail address with what was mailed
    Verify(VerifyArgs),
    /// Use an account in this vault
    Login(LoginArgs),
    /// End the session, and forget the account's keys
    ///
    /// What this vault knows of the account and of other people stays, and the next login is held
    /// to it.
    Logout(LogoutArgs),
    /// Show the account of a vault
    Show(ReadArgs),
    /// List the account's devices, or end the use of one that was lost
    Devices {
        #[command(subcommand)]
        command: DevicesCommand,
    },
    /// Print the kit, which opens the account on another device
    Kit(KitArgs),
    /// Change the account's password
    Password(PasswordArgs),
    /// End the account on the server
    ///
    /// Shares that nobody else is in end with it. The files in the vault stay.
    Delete(DeleteArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevicesCommand {
    /// List devices that are logged in
    List(ReadArgs),
    /// End the use of a device that was lost
    ///
    /// Its session ends, the account gets new keys, and a new kit takes the place of the one there
    /// is. Other devices have to log in again with the new kit.
    Remove(RemoveArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server, such as <https://files.example.org>
    #[arg(long, value_name = "URL", value_parser = address)]
    pub(crate) server: Option<ServerAddress>,
    /// Take the server's certificate also from the authorities in FILE (PEM)
    #[arg(long, value_name = "FILE", requires = "server")]
    pub(crate) server_ca: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RegisterArgs {
    /// The user name wanted
    pub(crate) user: UserName,
    /// The vault
    pub(crate) vault: PathBuf,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// The address that mail is sent to; asked for unless given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) email: Option<Email>,
    /// What was sent with an invitation
    #[arg(long, value_name = "TOKEN")]
    pub(crate) invitation: Option<String>,
    /// What to call this device, unless by the machine's name
    #[arg(long, value_name = "NAME")]
    pub(crate) device_name: Option<DeviceName>,
    /// Write the kit to FILE, readable by its owner only, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) kit_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
    #[command(flatten)]
    pub(crate) password: NewAccountPasswordArgs,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// What was mailed
    #[arg(required_unless_present = "resend")]
    pub(crate) token: Option<String>,
    /// The vault
    #[arg(long)]
    pub(crate) vault: PathBuf,
    /// Have the mail sent again
    #[arg(long, conflicts_with = "token")]
    pub(crate) resend: bool,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// The user name
    pub(crate) user: UserName,
    /// The vault
    pub(crate) vault: PathBuf,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Read the kit from FILE; asked for where the vault does not have the keys yet
    #[arg(long, value_name = "FILE")]
    pub(crate) kit: Option<PathBuf>,
    /// Log in with the kit's recovery key instead of the password
    #[arg(long, conflicts_with = "account_source")]
    pub(crate) with_recovery: bool,
    /// The password was changed on another device since this vault was last logged in
    #[arg(long)]
    pub(crate) password_changed: bool,
    /// A code of the second factor
    #[arg(long, value_name = "CODE")]
    pub(crate) code: Option<String>,
    /// What to call this device, unless by the machine's name
    #[arg(long, value_name = "NAME")]
    pub(crate) device_name: Option<DeviceName>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
    #[command(flatten)]
    pub(crate) password: AccountPasswordArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The vault
    pub(crate) vault: PathBuf,
    /// Forget also who the account is and whom it knows, so that the vault can have another
    #[arg(long)]
    pub(crate) forget: bool,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

/// What is given to read something of a vault's account.
#[derive(Debug, Args)]
pub(crate) struct ReadArgs {
    /// The vault
    pub(crate) vault: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

impl ReadArgs {
    pub(in crate::cli) fn at(&self) -> Where<'_> {
        Where {
            vault: &self.vault,
            unlock: &self.unlock,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The device, by its id or the beginning of it
    pub(crate) device: String,
    /// The vault
    pub(crate) vault: PathBuf,
    /// Write the new kit to FILE, readable by its owner only, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) kit_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
    #[command(flatten)]
    pub(crate) password: AccountPasswordArgs,
}

#[derive(Debug, Args)]
pub(crate) struct KitArgs {
    /// The vault
    pub(crate) vault: PathBuf,
    /// Write the kit to FILE, readable by its owner only, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) kit_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// The vault
    pub(crate) vault: PathBuf,
    /// Prove the account with the recovery key in the vault instead of the present password
    #[arg(long, conflicts_with = "account_source")]
    pub(crate) with_recovery: bool,
    /// Make a new kit too, so that the one there is opens nothing any more
    #[arg(long)]
    pub(crate) new_kit: bool,
    /// Write a new kit to FILE, readable by its owner only, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) kit_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
    #[command(flatten)]
    pub(crate) current: AccountPasswordArgs,
    #[command(flatten)]
    pub(crate) new: NewAccountPasswordArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The vault
    pub(crate) vault: PathBuf,
    /// The user name once more, which is asked for otherwise
    #[arg(long, value_name = "USER")]
    pub(crate) confirm: Option<UserName>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Whom
    pub(crate) user: UserName,
    /// The vault
    pub(crate) vault: PathBuf,
    /// His fingerprint, as he gave it; nothing is asked then
    #[arg(long, value_name = "K7QD-...", value_parser = fingerprint)]
    pub(crate) fingerprint: Option<Fingerprint>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

/// Where the account's password comes from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Account password")]
pub(crate) struct AccountPasswordArgs {
    /// Read the account's password from the first line of FILE
    #[arg(
        id = "account_password_file",
        long = "account-password-file",
        value_name = "FILE",
        group = "account_source"
    )]
    pub(crate) file: Option<PathBuf>,
    /// Run COMMAND with sh and take the first line it prints as the account's password
    #[arg(
        id = "account_password_command",
        long = "account-password-command",
        value_name = "COMMAND",
        group = "account_source"
    )]
    pub(crate) command: Option<String>,
    /// Read the account's password from standard input; after --password-stdin, from the next line
    #[arg(
        id = "account_password_stdin",
        long = "account-password-stdin",
        group = "account_source"
    )]
    pub(crate) stdin: bool,
}

impl AccountPasswordArgs {
    pub(crate) fn source(&self) -> Source {
        let stdin = self.stdin.then_some(Source::Stdin);
        source(self.file.as_ref(), self.command.as_ref(), stdin)
    }
}

/// Where the password comes from that an account is to have.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "New account password")]
pub(crate) struct NewAccountPasswordArgs {
    /// Read the account's new password from the first line of FILE
    #[arg(
        id = "new_account_password_file",
        long = "new-account-password-file",
        value_name = "FILE",
        group = "new_account_source"
    )]
    pub(crate) file: Option<PathBuf>,
    /// Run COMMAND with sh and take the first line it prints as the account's new password
    #[arg(
        id = "new_account_password_command",
        long = "new-account-password-command",
        value_name = "COMMAND",
        group = "new_account_source"
    )]
    pub(crate) command: Option<String>,
    /// Read the account's new password from standard input; after others, from the next line
    #[arg(
        id = "new_account_password_stdin",
        long = "new-account-password-stdin",
        group = "new_account_source"
    )]
    pub(crate) stdin: bool,
}

impl NewAccountPasswordArgs {
    pub(crate) fn source(&self) -> Source {
        let stdin = self.stdin.then_some(Source::Stdin);
        source(self.file.as_ref(), self.command.as_ref(), stdin)
    }
}

fn address(text: &str) -> Result<ServerAddress, String> {
    text.parse()
        .map_err(|e: crate::remote::RemoteError| e.to_string())
}

pub(crate) fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    keyfold_protocol::account::read_fingerprint(text)
        .map_err(|_| "not a fingerprint: it has eight groups of four characters".to_owned())
}
