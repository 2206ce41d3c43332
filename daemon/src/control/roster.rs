//! Commands about who takes part in shares, whatever is mounted.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use keyfold_protocol::account::{Address, Fingerprint};
use keyfold_protocol::names::{Message, Title, UserName};
use keyfold_protocol::roster::Role;
use serde::{Deserialize, Serialize};

use super::whom::{Until, group_name};
use super::words::{Said, Word};

/// What to do about who takes part.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub(crate) enum RosterCommand {
    /// List shares.
    Shares(Nothing),
    /// List who is in a share.
    Members(Members),
    /// Change what somebody may do.
    Role(RoleOf),
    /// Keep groups of people.
    Group(GroupOf),
    /// Take part no longer.
    Leave(Leave),
    /// List what others ask for.
    Inbox(Nothing),
    /// Grant it.
    Approve(Approve),
    /// Refuse it.
    Deny(Decide),
    /// Ask for something.
    Request(Request),
    /// Take that back.
    Withdraw(Decide),
    /// List people.
    People(Nothing),
}

/// A command that needs nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// List who is in a share.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Members {
    /// The share, by its path in the mount, its id, or the beginning of that
    pub(crate) share: String,
}

/// What somebody is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// The role, where it is one.
    pub(crate) fn role(self) -> Option<Role> {
        match self {
            Self::Reader => Some(Role::Reader),
            Self::Writer => Some(Role::Writer),
            Self::Owner => Some(Role::Owner),
            Self::None => None,
        }
    }
}

/// Change what somebody may do.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleOf {
    /// The share, by its path in the mount, its id, or the beginning of that
    pub(crate) share: String,
    /// Whose role
    pub(crate) user: UserName,
    /// The role
    pub(crate) role: RoleOrNone,
    /// End the access after this time, such as 30d, or never
    #[arg(long, value_name = "TIME|never")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Word<Until>>,
}

/// What to do with a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GroupAction {
    /// Make one
    Create,
    /// Put people into one
    Add,
    /// Take people out of one
    Remove,
    /// Show one, or all
    List,
    /// Forget one
    Delete,
}

/// Keep groups of people whom something is given to at once.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GroupOf {
    /// What to do
    pub(crate) action: GroupAction,
    /// The group
    #[arg(value_parser = group_name)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Title>,
    /// Who is meant; they have to be verified
    #[serde(default)]
    pub(crate) users: Vec<UserName>,
}

/// Take part no longer.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Leave {
    /// The share, by its path in the mount, its id, or the beginning of that
    pub(crate) share: String,
}

/// Grant what somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approve {
    /// The request, by the id that `keyfold inbox` shows
    pub(crate) id: String,
    /// Let the requester write, whatever is asked for
    #[arg(long)]
    #[serde(default)]
    pub(crate) write: bool,
    /// Let the requester read only, whatever is asked for
    #[arg(long, conflicts_with = "write")]
    #[serde(default)]
    pub(crate) read: bool,
    /// End the access after this time, such as 30d
    #[arg(long, value_name = "TIME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Word<Duration>>,
    /// Let the requester also read what was written before
    #[arg(long)]
    #[serde(default)]
    pub(crate) with_history: bool,
    /// The requester's fingerprint, as he gave it
    #[arg(long, value_name = "K7QD-...")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Word<Fingerprint>>,
}

impl Approve {
    /// The role, unless the one that is asked for. Of both, what gives less.
    pub(crate) fn role(&self) -> Option<Role> {
        match (self.read, self.write) {
            (true, _) => Some(Role::Reader),
            (false, true) => Some(Role::Writer),
            (false, false) => None,
        }
    }
}

/// Decide about a request.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decide {
    /// The request, by its id
    pub(crate) id: String,
}

/// What somebody wants to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Sought {
    /// What an address names.
    Address(Address),
    /// A locked folder.
    Path(String),
}

/// No path that begins with `/` is an address.
impl Said for Sought {
    fn read(text: &str) -> Result<Self, String> {
        Ok(match text.parse() {
            Ok(address) => Self::Address(address),
            Err(_) => Self::Path(text.to_owned()),
        })
    }
}

/// Ask for something.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// The locked folder, or what is offered, such as alice@files.example.org/plan-2027#K7QD-...
    #[arg(value_name = "PATH|ADDRESS")]
    pub(crate) what: Word<Sought>,
    /// Ask to write, too
    #[arg(long)]
    #[serde(default)]
    pub(crate) write: bool,
    /// A message that only the owner can read
    #[arg(long, value_name = "TEXT", value_parser = message)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<Message>,
    /// How long the request stands, 14 days unless set
    #[arg(long, value_name = "TIME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Word<Duration>>,
}

impl Request {
    /// How long it stands.
    pub(crate) fn stands(&self) -> Duration {
        const USUAL: Duration = Duration::from_hours(14 * 24);
        self.expires.as_ref().map_or(USUAL, |time| time.value)
    }

    /// The role wanted.
    pub(crate) fn role(&self) -> Role {
        if self.write {
            Role::Writer
        } else {
            Role::Reader
        }
    }
}

fn message(text: &str) -> Result<Message, String> {
    text.parse()
        .map_err(|_| "empty, too long, or with characters that would steer a terminal".to_owned())
}

impl RosterCommand {
    pub(super) const KNOWN: &str = "shares, members SHARE, role SHARE USER ROLE [--expires \
                                    TIME|never], group ACTION [NAME] [USER...], leave SHARE, \
                                    inbox, approve ID [--write], deny ID, request \
                                    PATH|ADDRESS [--write], withdraw ID, people";

    /// Whether it only looks.
    pub(super) fn changes_nothing(&self) -> bool {
        match self {
            Self::Shares(_) | Self::Members(_) | Self::Inbox(_) | Self::People(_) => true,
            Self::Group(of) => of.action == GroupAction::List,
            Self::Role(_)
            | Self::Leave(_)
            | Self::Approve(_)
            | Self::Deny(_)
            | Self::Request(_)
            | Self::Withdraw(_) => false,
        }
    }
}
