//! Where passwords and recovery keys come from: a prompt, a file, a command or standard input,
//! and never an argument.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use keyfold_crypto::{Password, RecoveryKey};
use keyfold_fs::vault::{KdfCost, Rollback, Secret};
use zeroize::Zeroizing;

use crate::cli::error::Reason;

/// Longest password, in bytes.
pub(crate) const MAX_SECRET: usize = 4096;

/// Where to read a password from.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Password")]
pub(crate) struct SourceArgs {
    /// Read the password from the first line of FILE
    #[arg(
        id = "password_file",
        long = "password-file",
        value_name = "FILE",
        group = "source"
    )]
    pub(crate) file: Option<PathBuf>,
    /// Run COMMAND with sh and take the first line it prints as the password
    #[arg(
        id = "password_command",
        long = "password-command",
        value_name = "COMMAND",
        group = "source"
    )]
    pub(crate) command: Option<String>,
    /// Read the password from the first line of standard input
    #[arg(id = "password_stdin", long = "password-stdin", group = "source")]
    pub(crate) stdin: bool,
}

/// How to unlock a vault that exists.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Password")]
pub(crate) struct UnlockArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Unlock with the recovery key; it is then read where the password would be
    #[arg(long)]
    pub(crate) recovery_key: bool,
    /// Open the vault though it is older than, or another than, when last seen: for a backup that
    /// you put back yourself
    #[arg(long, help_heading = None)]
    pub(crate) accept_rollback: bool,
}

/// How hard a new password is to guess.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct CostArgs {
    /// Time that one try at the password takes on this machine, in milliseconds; there is a floor
    #[arg(long, value_name = "MS", default_value_t = 750,
          value_parser = clap::value_parser!(u32).range(1..=60_000))]
    iter_time: u32,
}

impl CostArgs {
    /// The cost in the form a vault takes.
    pub(crate) fn cost(self) -> KdfCost {
        KdfCost::Calibrated(Duration::from_millis(self.iter_time.into()))
    }
}

/// The password of a slot to be made.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "New password")]
pub(crate) struct NewPasswordArgs {
    #[command(flatten)]
    pub(crate) cost: CostArgs,
    /// Read the new password from the first line of FILE
    #[arg(
        id = "new_password_file",
        long = "new-password-file",
        value_name = "FILE",
        group = "new_source"
    )]
    pub(crate) file: Option<PathBuf>,
    /// Run COMMAND with sh and take the first line it prints as the new password
    #[arg(
        id = "new_password_command",
        long = "new-password-command",
        value_name = "COMMAND",
        group = "new_source"
    )]
    pub(crate) command: Option<String>,
    /// Read the new password from standard input; after --password-stdin, from the next line
    #[arg(
        id = "new_password_stdin",
        long = "new-password-stdin",
        group = "new_source"
    )]
    pub(crate) stdin: bool,
}

/// A place to read one secret from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Ask on the terminal.
    Prompt,
    /// The first line of a file.
    File(PathBuf),
    /// The first line a shell command prints.
    Command(String),
    /// The next line of standard input.
    Stdin,
}

/// What the text that was read is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A password that opens the vault.
    Password,
    /// A recovery key.
    RecoveryKey,
    /// A password to be set.
    NewPassword,
    /// The password of an account.
    AccountPassword,
    /// A password of an account, to be set.
    NewAccountPassword,
    /// Part of a kit.
    Kit,
}

/// Why no secret could be had.
#[derive(Debug)]
pub(crate) enum SecretError {
    /// A prompt would be needed, and there is no terminal to ask on.
    NoTerminal(Kind),
    /// The prompt failed or was interrupted.
    Prompt(io::Error),
    /// The file could not be read.
    File(PathBuf, io::Error),
    /// Standard input could not be read.
    Stdin(io::Error),
    /// The command could not be run.
    Command(io::Error),
    /// The command ended with a failure; carries how.
    CommandFailed(String),
    /// What was read is empty.
    Empty(Kind),
    /// What was read is longer than [`MAX_SECRET`].
    TooLong(Kind),
    /// What was read is not UTF-8, or contains NUL.
    NotText(Kind),
    /// The new password was typed differently the second time.
    Mismatch,
    /// The recovery key has a typing error.
    BadRecoveryKey,
    /// The kit has a typing error, or is none.
    BadKit,
    /// What was typed is no e-mail address.
    BadEmail,
}

/// A secret as text, not yet spent on a vault; it travels to the serving process like this.
pub(crate) struct SecretText {
    kind: Kind,
    text: Zeroizing<String>,
}

impl SourceArgs {
    /// Where the secret is to be read from.
    pub(crate) fn source(&self) -> Source {
        source(
            self.file.as_ref(),
            self.command.as_ref(),
            self.stdin.then_some(Source::Stdin),
        )
    }
}

impl UnlockArgs {
    /// What is to be read.
    pub(crate) fn kind(&self) -> Kind {
        if self.recovery_key {
            Kind::RecoveryKey
        } else {
            Kind::Password
        }
    }

    /// What to do about a vault that is not as it was last seen.
    pub(crate) fn rollback(&self) -> Rollback {
        if self.accept_rollback {
            Rollback::Accept
        } else {
            Rollback::Refuse
        }
    }

    /// Obtains the secret, asking where necessary.
    pub(crate) fn obtain(&self) -> Result<SecretText, SecretError> {
        SecretText::obtain(&self.source.source(), self.kind())
    }
}

impl NewPasswordArgs {
    /// Obtains the new password, asking twice where it has to ask.
    pub(crate) fn obtain(&self) -> Result<Password, SecretError> {
        let source = source(
            self.file.as_ref(),
            self.command.as_ref(),
            self.stdin.then_some(Source::Stdin),
        );
        new_password(&source)
    }
}

/// What the options name; a prompt where they name nothing.
pub(crate) fn source(
    file: Option<&PathBuf>,
    command: Option<&String>,
    stdin: Option<Source>,
) -> Source {
    let file = file.cloned().map(Source::File);
    let command = command.cloned().map(Source::Command);
    file.or(command).or(stdin).unwrap_or(Source::Prompt)
}

/// Obtains a password to be set from `source`, asking twice where it has to ask.
pub(crate) fn new_password(source: &Source) -> Result<Password, SecretError> {
    let text = new_secret(source, Kind::NewPassword)?;
    Ok(Password::new(text.as_str().to_owned()))
}

/// Obtains a password of this kind to be set, asking twice where it has to ask.
pub(crate) fn new_secret(source: &Source, kind: Kind) -> Result<Zeroizing<String>, SecretError> {
    let text = read(source, kind)?;
    if *source == Source::Prompt && *prompt("Repeat the new password: ")? != *text {
        return Err(SecretError::Mismatch);
    }
    Ok(text)
}

/// Asks on the terminal for something that is not shown. May be empty.
pub(crate) fn ask(question: &str, kind: Kind) -> Result<Zeroizing<String>, SecretError> {
    if !io::stdin().is_terminal() {
        return Err(SecretError::NoTerminal(kind));
    }
    prompt(question)
}

impl SecretText {
    /// Reads a secret from `source`.
    pub(crate) fn obtain(source: &Source, kind: Kind) -> Result<Self, SecretError> {
        Ok(Self {
            kind,
            text: read(source, kind)?,
        })
    }

    /// A secret that another process obtained.
    pub(crate) fn from_parts(kind: Kind, text: Zeroizing<String>) -> Self {
        Self { kind, text }
    }

    /// What it is and its text.
    pub(crate) fn parts(&self) -> (Kind, &str) {
        (self.kind, self.text.as_str())
    }

    /// The secret in the form a vault takes.
    ///
    /// # Errors
    /// [`SecretError::BadRecoveryKey`] when it is a recovery key with a typing error.
    pub(crate) fn to_secret(&self) -> Result<Secret, SecretError> {
        match self.kind {
            Kind::Password
            | Kind::NewPassword
            | Kind::AccountPassword
            | Kind::NewAccountPassword
            | Kind::Kit => Ok(Secret::Password(Password::new(
                self.text.as_str().to_owned(),
            ))),
            Kind::RecoveryKey => RecoveryKey::parse(&self.text)
                .map(Secret::Recovery)
                .map_err(|_| SecretError::BadRecoveryKey),
        }
    }
}

fn read(source: &Source, kind: Kind) -> Result<Zeroizing<String>, SecretError> {
    let text = match source {
        Source::Prompt => {
            if !io::stdin().is_terminal() {
                return Err(SecretError::NoTerminal(kind));
            }
            prompt(kind.question())?
        }
        Source::File(path) => {
            let file = File::open(path).map_err(|e| SecretError::File(path.clone(), e))?;
            first_line(BufReader::new(file), kind, |e| {
                SecretError::File(path.clone(), e)
            })?
        }
        Source::Command(command) => run(command, kind)?,
        Source::Stdin => first_line(io::stdin().lock(), kind, SecretError::Stdin)?,
    };
    if text.is_empty() {
        return Err(SecretError::Empty(kind));
    }
    Ok(text)
}

fn prompt(question: &str) -> Result<Zeroizing<String>, SecretError> {
    rpassword::prompt_password(question)
        .map(Zeroizing::new)
        .map_err(SecretError::Prompt)
}

fn run(command: &str, kind: Kind) -> Result<Zeroizing<String>, SecretError> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(SecretError::Command)?;
    let line = match child.stdout.take() {
        Some(out) => first_line(BufReader::new(out), kind, SecretError::Command),
        None => Err(SecretError::Empty(kind)),
    };
    let status = child.wait().map_err(SecretError::Command)?;
    // A command that still had something to print dies of the closed pipe, which is no failure.
    // The shell passes that on as an exit code, or dies of it itself.
    let pipe = nix::sys::signal::Signal::SIGPIPE as i32;
    let closed_early = status.signal() == Some(pipe) || status.code() == Some(128 + pipe);
    if !status.success() && !closed_early {
        return Err(SecretError::CommandFailed(status.to_string()));
    }
    line
}

/// The first line of `from` without its end; reads no byte of the next line.
fn first_line(
    mut from: impl BufRead,
    kind: Kind,
    failed: impl Fn(io::Error) -> SecretError,
) -> Result<Zeroizing<String>, SecretError> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_SECRET + 2));
    let limit = MAX_SECRET as u64 + 2;
    from.by_ref()
        .take(limit)
        .read_until(b'\n', &mut line)
        .map_err(failed)?;
    let mut bytes = line.as_slice();
    bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    if bytes.len() > MAX_SECRET {
        return Err(SecretError::TooLong(kind));
    }
    if bytes.contains(&0) {
        return Err(SecretError::NotText(kind));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| SecretError::NotText(kind))?;
    Ok(Zeroizing::new(text.to_owned()))
}

impl Kind {
    fn question(self) -> &'static str {
        match self {
            Self::Password => "Password: ",
            Self::RecoveryKey => "Recovery key: ",
            Self::NewPassword => "New password: ",
            Self::AccountPassword => "Account password: ",
            Self::NewAccountPassword => "New account password: ",
            Self::Kit => "Kit: ",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password => "password",
            Self::RecoveryKey => "recovery key",
            Self::NewPassword => "new password",
            Self::AccountPassword => "account password",
            Self::NewAccountPassword => "new account password",
            Self::Kit => "kit",
        })
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTerminal(kind @ (Kind::Password | Kind::RecoveryKey)) => write!(
                f,
                "cannot ask for the {kind}: standard input is not a terminal. Give \
                 --password-file, --password-command or --password-stdin"
            ),
            Self::NoTerminal(
                kind @ (Kind::NewPassword
                | Kind::AccountPassword
                | Kind::NewAccountPassword
                | Kind::Kit),
            ) => write!(
                f,
                "cannot ask for the {kind}: standard input is not a terminal. Give a file, a \
                 command or standard input to read it from; see --help"
            ),
            Self::Prompt(e) => write!(f, "cannot ask for the password: {}", Reason(e)),
            Self::File(path, e) => {
                write!(
                    f,
                    "cannot read the password file {}: {}",
                    path.display(),
                    Reason(e)
                )
            }
            Self::Stdin(e) => {
                write!(
                    f,
                    "cannot read the password from standard input: {}",
                    Reason(e)
                )
            }
            Self::Command(e) => write!(f, "cannot run the password command: {}", Reason(e)),
            Self::CommandFailed(how) => {
                write!(f, "the password command failed ({how}). Try it in a shell")
            }
            Self::Empty(kind) => write!(f, "the {kind} is empty; nothing was done"),
            Self::TooLong(kind) => write!(f, "the {kind} is longer than {MAX_SECRET} bytes"),
            Self::NotText(kind) => {
                write!(
                    f,
                    "the {kind} is not a line of UTF-8 text; check where it comes from"
                )
            }
            Self::Mismatch => write!(f, "the two passwords differ; nothing was done. Try again"),
            Self::BadKit => write!(
                f,
                "the kit has a typing error. It has the lines \"address: ...\", \"account secret: \
                 ...\" and \"recovery key: ...\""
            ),
            Self::BadEmail => write!(f, "that is no e-mail address; nothing was done"),
            Self::BadRecoveryKey => {
                write!(
                    f,
                    "the recovery key has a typing error. Compare it with what was noted"
                )
            }
        }
    }
}
