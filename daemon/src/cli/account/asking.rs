//! What is asked on the terminal, and what is given on paper.

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use keyfold_protocol::account::Kit;
use keyfold_protocol::names::DeviceName;
use zeroize::Zeroizing;

use super::args::{AccountPasswordArgs, NewAccountPasswordArgs, ServerArgs};
use crate::account::AccountError;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::cli::secret::{self, Kind, SecretText};
use crate::orders::Hidden;
use crate::remote::{CaFile, Server};

/// Bytes of the longest kit.
const KIT_BYTES: u64 = 64 << 10;

/// A line that is shown while it is typed; `option` says it without a terminal.
pub(super) fn line(question: &str, option: &'static str) -> Result<String, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::Unasked(option));
    }
    let mut err = io::stderr().lock();
    err.write_all(question.as_bytes())
        .and_then(|()| err.flush())
        .map_err(CliError::Output)?;
    let mut text = String::new();
    let read = io::stdin().read_line(&mut text);
    read.map_err(|e| CliError::Secret(secret::SecretError::Prompt(e)))?;
    Ok(text.trim().to_owned())
}

/// The account's password.
pub(super) fn password(args: &AccountPasswordArgs) -> Result<Hidden, CliError> {
    let text = SecretText::obtain(&args.source(), Kind::AccountPassword)?;
    Ok(Hidden::new(Zeroizing::new(text.parts().1.to_owned())))
}

/// The password that the account is to have.
pub(super) fn new_password(args: &NewAccountPasswordArgs) -> Result<Hidden, CliError> {
    let text = secret::new_secret(&args.source(), Kind::NewAccountPassword)?;
    Ok(Hidden::new(text))
}

/// The server that is named, if one is.
pub(super) fn server(args: &ServerArgs) -> Result<Option<Server>, CliError> {
    let ca = args.server_ca.as_deref().map(CaFile::read).transpose()?;
    let address = args.server.clone();
    Ok(address.map(|address| Server { address, ca }))
}

/// What this device is called.
pub(super) fn device_name(wanted: Option<&DeviceName>) -> Result<DeviceName, CliError> {
    if let Some(name) = wanted {
        return Ok(name.clone());
    }
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let named = machine.trim().parse().or_else(|_| "keyfold".parse());
    named.map_err(|_| CliError::Unasked("--device-name"))
}

/// Reads a kit from a file.
pub(super) fn kit_in(path: &Path) -> Result<Kit, CliError> {
    let failed = |source| CliError::File {
        verb: "read the kit",
        path: path.to_path_buf(),
        source,
    };
    if fs::metadata(path).map_err(failed)?.len() > KIT_BYTES {
        return Err(CliError::Secret(secret::SecretError::TooLong(Kind::Kit)));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    parse(&text)
}

/// Asks for what is on a kit.
pub(super) fn typed_kit() -> Result<Kit, CliError> {
    if !io::stdin().is_terminal() {
        return Err(AccountError::KitNeeded.into());
    }
    let address = line("Address on the kit: ", "--kit")?;
    let secret = secret::ask("Account secret on the kit: ", Kind::Kit)?;
    let recovery = secret::ask("Recovery key on the kit (may be empty): ", Kind::Kit)?;
    let mut text = Zeroizing::new(String::with_capacity(1024));
    for (name, value) in [
        ("address", address.as_str()),
        ("account secret", secret.trim()),
        ("recovery key", recovery.trim()),
    ] {
        if !value.is_empty() {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push('\n');
        }
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Kit, CliError> {
    Kit::parse(text).map_err(|_| CliError::Secret(secret::SecretError::BadKit))
}

/// Hands a kit out: into a file that nobody else reads, or on standard output.
pub(super) fn give_kit(kit: &Hidden, file: Option<&Path>) -> Result<(), CliError> {
    let lines = kit.expose();
    let Some(path) = file else {
        let mut text = Zeroizing::new(String::with_capacity(2048));
        text.push_str("Kit of the account:\n\n");
        for line in lines.lines() {
            text.push_str("    ");
            text.push_str(line);
            text.push('\n');
        }
        text.push_str(
            "\nWrite it down and keep it away from this machine. With the password it opens the \
             account\non another device, and with the recovery key without it.\n",
        );
        return output::text(&text);
    };
    let failed = |source| CliError::File {
        verb: "write the kit to",
        path: path.to_path_buf(),
        source,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    file.write_all(lines.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed)?;
    output::text(&format!(
        "The kit is in {}. Keep it away from this machine.\n",
        path.display()
    ))
}
