//! Commands and options about shares.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use keyfold_protocol::account::{Address, Fingerprint};
use keyfold_protocol::names::{Message, UserName};
use keyfold_protocol::roster::Role;

use crate::cli::account::fingerprint;
use crate::cli::secret::UnlockArgs;
use crate::mount::options::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct MembersArgs {
    /// The share, by its id or the beginning of it
    pub(crate) share: String,
    /// The vault
    pub(crate) vault: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

/// What somebody is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleOrNone {
    /// Reads
    Reader,
    /// Reads and writes
    Writer,
    /// Also decides who takes part
    Owner,
    /// No member; a new key begins
    None,
}

impl RoleOrNone {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Owner => "owner",
            Self::None => "no member",
        }
    }
}

/// What somebody asks to be, or is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleWanted {
    /// Reads
    Reader,
    /// Reads and writes
    Writer,
}

impl From<RoleWanted> for Role {
    fn from(wanted: RoleWanted) -> Self {
        match wanted {
            RoleWanted::Reader => Self::Reader,
            RoleWanted::Writer => Self::Writer,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    /// The share, by its id or the beginning of it
    pub(crate) share: String,
    /// Whose role
    pub(crate) user: UserName,
    /// The role
    pub(crate) role: RoleOrNone,
    /// The vault
    pub(crate) vault: PathBuf,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    /// The share, by its id or the beginning of it
    pub(crate) share: String,
    /// The vault
    pub(crate) vault: PathBuf,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    /// The request, by the id that `keyfold inbox` shows
    pub(crate) id: String,
    /// The vault
    pub(crate) vault: PathBuf,
    /// The role, unless the one that is asked for
    #[arg(long)]
    pub(crate) role: Option<RoleWanted>,
    /// End the access after this time, such as 30d
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) expires: Option<Duration>,
    /// Let the requester also read what was written before
    #[arg(long)]
    pub(crate) with_history: bool,
    /// The requester's fingerprint, as he gave it
    #[arg(long, value_name = "K7QD-...", value_parser = fingerprint)]
    pub(crate) key: Option<Fingerprint>,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    /// The request, by its id
    pub(crate) id: String,
    /// The vault
    pub(crate) vault: PathBuf,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// What is offered, such as alice@files.example.org/plan-2027#K7QD-...
    #[arg(value_parser = address)]
    pub(crate) address: Address,
    /// The vault
    pub(crate) vault: PathBuf,
    /// The role
    #[arg(long, default_value = "reader")]
    pub(crate) role: RoleWanted,
    /// A message that only the owner can read
    #[arg(long, value_name = "TEXT", value_parser = message)]
    pub(crate) message: Option<Message>,
    /// How long the request stands
    #[arg(long, value_name = "TIME", default_value = "14d", value_parser = duration)]
    pub(crate) expires: Duration,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|_| {
        "not an address: write it like alice@files.example.org/plan-2027#K7QD-...".to_owned()
    })
}

fn message(text: &str) -> Result<Message, String> {
    text.parse()
        .map_err(|_| "empty, too long, or with characters that would steer a terminal".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    const DAY: u64 = 24 * 3600;
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    let days = days.and_then(|days: u64| days.checked_mul(DAY));
    let time = days
        .map(Duration::from_secs)
        .or_else(|| parse_duration(text));
    time.filter(|time| time.as_secs() < 200 * 365 * DAY)
        .ok_or_else(|| "not a time such as 30d or 12h".to_owned())
}
