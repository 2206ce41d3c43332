//! Everything a command can fail with, as the user reads it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use keyfold_fs::error::FsError;
use keyfold_fs::export::ExportError;
use keyfold_fs::vault::VaultError;

use crate::account::AccountError;
use crate::cli::exit::Exit;
use crate::cli::restore::RestoreError;
use crate::cli::secret::SecretError;
use crate::engine::EngineError;
use crate::mount::front::FrontError;
use crate::mount::options::OptionError;
use crate::mount::point::PointError;
use crate::mount::unmount::UnmountError;
use crate::remote::RemoteError;
use crate::sharing::SharingError;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// The vault directory, its superblock or its slots.
    Vault(VaultError),
    /// The volume in the vault.
    Engine(EngineError),
    /// No usable password.
    Secret(SecretError),
    /// A `-o` option.
    Option(OptionError),
    /// The place to mount on.
    Point(PointError),
    /// FUSE.
    Front(FrontError),
    /// Unmounting, or asking a mounted volume.
    Unmount(UnmountError),
    /// The user's account.
    Account(AccountError),
    /// A share.
    Sharing(SharingError),
    /// The user was asked on the terminal, and said no.
    NotConfirmed,
    /// Something has to be said on the command line, as there is no terminal to ask on.
    Unasked(&'static str),
    /// A path that is no text.
    NoText,
    /// What was waited for did not come.
    NotSynced {
        /// Where the share is in the mount.
        path: String,
        /// Whether the server answers.
        connected: bool,
        /// What the last attempt failed with.
        why: Option<String>,
    },
    /// A path inside the vault.
    Inside {
        /// The path as the user gave it.
        path: PathBuf,
        /// What is wrong with it.
        error: FsError,
    },
    /// An open vault refused something.
    Volume {
        /// The vault.
        vault: PathBuf,
        /// Why.
        error: FsError,
        /// The same in words.
        why: String,
    },
    /// A program that was run for the user ended so, having said itself what there is to say.
    Ended {
        /// Its exit code.
        code: u8,
    },
    /// Restoring from a snapshot.
    Restore(RestoreError),
    /// A command for vaults that are not mounted was given for one that is.
    Mounted {
        /// The vault.
        vault: PathBuf,
        /// Where it is mounted.
        point: PathBuf,
    },
    /// Decrypting into ordinary files.
    Export(ExportError),
    /// A file outside the vault.
    File {
        /// What was being done, as in "cannot *read* FILE".
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Standard output.
    Output(io::Error),
    /// The check ran to its end and found damage; the findings were printed.
    DamageFound {
        /// How many.
        findings: u64,
    },
    /// The export ran to its end, of a vault whose metadata is not what was committed last.
    NotAsCommitted,
    /// The export ran to its end; some things could not be written as they are.
    LeftOut {
        /// How many.
        items: u64,
    },
    /// The process serving the mount failed and said this.
    Server {
        /// Its exit code.
        exit: Exit,
        /// Its message.
        message: String,
    },
    /// The process serving the mount ended without a word.
    ServerDied {
        /// How, as the system tells it.
        how: String,
    },
}

impl CliError {
    /// The exit code of this failure.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Vault(e) => e.into(),
            Self::Engine(e) => e.into(),
            Self::Secret(_) => Exit::NoSecret,
            Self::Option(_) | Self::Unasked(_) | Self::NoText => Exit::Usage,
            Self::Point(e) => e.into(),
            Self::Front(e) => e.into(),
            Self::Unmount(e) => e.into(),
            Self::Inside { error, .. } | Self::Volume { error, .. } => error.into(),
            Self::Restore(e) => match e {
                RestoreError::NotFound { .. } => Exit::NoSuchPath,
                RestoreError::InTheWay(_) | RestoreError::NoParent(_) => Exit::Destination,
                RestoreError::Failed { source, .. } => Exit::from_io(source, Exit::Destination),
            },
            Self::NotSynced { connected, .. } => {
                if *connected {
                    Exit::Incomplete
                } else {
                    Exit::Unreachable
                }
            }
            Self::Mounted { .. } => Exit::InUse,
            Self::Export(e) => e.into(),
            Self::File { source, .. } => Exit::from_io(source, Exit::Destination),
            Self::Output(e) => Exit::from_io(e, Exit::General),
            Self::DamageFound { .. } | Self::NotAsCommitted => Exit::Damaged,
            Self::LeftOut { .. } => Exit::Incomplete,
            Self::Account(e) => e.into(),
            Self::Sharing(e) => e.into(),
            Self::Server { exit, .. } => *exit,
            Self::NotConfirmed | Self::ServerDied { .. } | Self::Ended { .. } => Exit::General,
        }
    }

    /// Whether the reader of our output went away, which needs no message.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(e) if e.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault(e) => e.fmt(f),
            Self::Engine(e) => e.fmt(f),
            Self::Secret(e) => e.fmt(f),
            Self::Option(e) => e.fmt(f),
            Self::Point(e) => e.fmt(f),
            Self::Front(e) => e.fmt(f),
            Self::Unmount(e) => e.fmt(f),
            Self::Account(e) => e.fmt(f),
            Self::Sharing(e) => e.fmt(f),
            Self::NotConfirmed => write!(f, "not confirmed; nothing was changed"),
            Self::Unasked(option) => write!(
                f,
                "cannot ask: standard input is not a terminal. Give {option}"
            ),
            Self::NotSynced { path, why, .. } => {
                write!(f, "{path} is not synced")?;
                match why {
                    Some(why) => write!(f, ": {why}"),
                    None => write!(f, " yet"),
                }
            }
            Self::NoText => write!(f, "the path is no text, which others could not read"),
            Self::Inside { path, error } => {
                write!(f, "cannot read {} in the vault: {error}", path.display())?;
                match error {
                    FsError::NotFound => write!(f, ". `keyfold ls` shows what is there"),
                    FsError::Tampered(_) | FsError::Inconsistent(_) | FsError::MetadataTampered => {
                        write!(f, ". `keyfold check --read-data` finds all that is damaged")
                    }
                    _ => Ok(()),
                }
            }
            Self::Volume { vault, why, .. } => write!(f, "vault {}: {why}", vault.display()),
            Self::Restore(e) => e.fmt(f),
            Self::Ended { code } => write!(f, "the program ended with status {code}"),
            Self::Mounted { vault, point } => write!(
                f,
                "vault {} is in use: it is mounted on {}. Use its files there, or unmount it first",
                vault.display(),
                point.display()
            ),
            Self::Export(e) => e.fmt(f),
            Self::File { verb, path, source } => {
                write!(f, "cannot {verb} {}: {}", path.display(), Reason(source))
            }
            Self::Output(e) => write!(f, "cannot write the output: {}", Reason(e)),
            Self::DamageFound { findings: 1 } => write!(
                f,
                "1 thing is damaged. Export what can be read, and restore the rest from a backup"
            ),
            Self::DamageFound { findings } => write!(
                f,
                "{findings} things are damaged. Export what can be read, and restore the rest \
                 from a backup"
            ),
            Self::NotAsCommitted => write!(
                f,
                "the vault's metadata is not that of its last commit: what was written may be \
                 older, or not all. `keyfold check` tells more"
            ),
            Self::LeftOut { items: 1 } => {
                write!(
                    f,
                    "everything else was written, but 1 thing was left out; see above"
                )
            }
            Self::LeftOut { items } => write!(
                f,
                "everything else was written, but {items} things were left out; see above"
            ),
            Self::Server { message, .. } => f.write_str(message),
            Self::ServerDied { how } => write!(
                f,
                "the process serving the mount ended before it was ready ({how}). Try again with \
                 -f to see more"
            ),
        }
    }
}

/// A system error without the "(os error N)" that Rust appends.
pub(crate) struct Reason<'a>(pub(crate) &'a io::Error);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text
            .split_once(" (os error")
            .map_or(text.as_str(), |(reason, _)| reason);
        let mut chars = text.chars();
        match chars.next() {
            Some(first) if chars.as_str().starts_with(char::is_lowercase) => {
                write!(f, "{}{}", first.to_lowercase(), chars.as_str())
            }
            _ => f.write_str(text),
        }
    }
}

impl From<RestoreError> for CliError {
    fn from(e: RestoreError) -> Self {
        Self::Restore(e)
    }
}

impl From<AccountError> for CliError {
    fn from(e: AccountError) -> Self {
        Self::Account(e)
    }
}

impl From<SharingError> for CliError {
    fn from(e: SharingError) -> Self {
        Self::Sharing(e)
    }
}

impl From<RemoteError> for CliError {
    fn from(e: RemoteError) -> Self {
        Self::Account(e.into())
    }
}

impl From<VaultError> for CliError {
    fn from(e: VaultError) -> Self {
        Self::Vault(e)
    }
}

impl From<EngineError> for CliError {
    fn from(e: EngineError) -> Self {
        Self::Engine(e)
    }
}

impl From<SecretError> for CliError {
    fn from(e: SecretError) -> Self {
        Self::Secret(e)
    }
}

impl From<OptionError> for CliError {
    fn from(e: OptionError) -> Self {
        Self::Option(e)
    }
}

impl From<PointError> for CliError {
    fn from(e: PointError) -> Self {
        Self::Point(e)
    }
}

impl From<FrontError> for CliError {
    fn from(e: FrontError) -> Self {
        Self::Front(e)
    }
}

impl From<UnmountError> for CliError {
    fn from(e: UnmountError) -> Self {
        Self::Unmount(e)
    }
}

impl From<ExportError> for CliError {
    fn from(e: ExportError) -> Self {
        Self::Export(e)
    }
}
