//! Orders about the account and the people it knows, which only who can open the vault gives.
//!
//! Any program of the user can write to a mount's control file, and these orders decide whom the account
//! belongs to and whom it trusts. So they go there sealed under a key of the vault ([`seal`]), and the
//! daemon opens them at its counter ([`counter`]). A vault that is not mounted and the daemon of one that
//! is carry them out by [`carry_out`] alone.

mod counter;
mod entering;
mod hidden;
mod keeping;
mod seal;

use keyfold_protocol::ids::{ChainRoot, DeviceId};
use keyfold_protocol::names::{DeviceName, Email, UserName};
use keyfold_protocol::wire::Device;
use serde::{Deserialize, Serialize};

use crate::account::{Account, AccountError, Forget, KitFate, Session};
use crate::cli::exit::Exit;
use crate::engine::Engine;
use crate::remote::{Deadlines, Server};
use crate::sharing::SharingError;

pub(crate) use counter::{Counter, Refused};
pub(crate) use hidden::Hidden;
pub(crate) use seal::Seal;

/// What is to be done about the account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    /// Tell what the vault has.
    Show,
    /// Make an account.
    Register(Box<Registering>),
    /// Prove the address with what was mailed.
    Verify(String),
    /// Have that mailed again.
    Resend,
    /// Use an account.
    Login(Box<Entering>),
    /// End the session.
    Logout(Forget),
    /// List the account's devices.
    Devices,
    /// End the use of a device, by its id or the beginning of it.
    RemoveDevice { device: String, password: Hidden },
    /// Tell the kit.
    Kit,
    /// Set another password.
    SetPassword {
        proof: Proving,
        new: Hidden,
        kit: KitFate,
    },
    /// End the account, if it is this one.
    Delete(UserName),
    /// Look somebody up.
    Find(UserName),
    /// Note that somebody's safety words were compared.
    Trust { user: UserName, root: ChainRoot },
}

impl Order {
    /// Whether it may change what the vault keeps of the account.
    fn changes_account(&self) -> bool {
        match self {
            Self::Show
            | Self::Verify(_)
            | Self::Resend
            | Self::Devices
            | Self::Kit
            | Self::Find(_) => false,
            Self::Register(_)
            | Self::Login(_)
            | Self::Logout(_)
            | Self::RemoveDevice { .. }
            | Self::SetPassword { .. }
            | Self::Delete(_)
            | Self::Trust { .. } => true,
        }
    }
}

/// An account to be made.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Registering {
    pub(crate) server: Server,
    pub(crate) user: UserName,
    pub(crate) email: Email,
    pub(crate) device_name: DeviceName,
    pub(crate) password: Hidden,
    pub(crate) invitation: Option<String>,
}

/// Somebody who logs in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entering {
    /// The server, unless the one that the vault knows.
    pub(crate) server: Option<Server>,
    pub(crate) user: UserName,
    pub(crate) device_name: DeviceName,
    pub(crate) proof: Proving,
    pub(crate) second_factor: Option<String>,
    pub(crate) password_changed: bool,
    /// The lines of the kit.
    pub(crate) kit: Option<Hidden>,
}

/// What the account is proved with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Proving {
    /// Its password.
    Password(Hidden),
    /// The recovery key in the vault or on the kit.
    Recovery,
}

/// What came of an order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Told {
    /// What the vault has, if it has an account.
    Account(Option<AccountShown>),
    /// An account was made, with this kit.
    Registered { kit: Hidden, verify_email: bool },
    /// It is done, and there is nothing more to tell.
    Done,
    /// The server was told, or not, for this reason.
    LoggedOut(Option<Failure>),
    /// The devices.
    Devices(Vec<Device>),
    /// A device's use was ended, and there is another kit. Shares were looked after, or not.
    Renewed {
        device: Device,
        kit: Hidden,
        tended: Option<Failure>,
    },
    /// The kit, and whether it has everything.
    Kit { kit: Hidden, complete: bool },
    /// The password was changed, and maybe there is another kit.
    Password(Option<Hidden>),
    /// Somebody, and since when he is verified.
    Person {
        root: ChainRoot,
        verified: Option<u64>,
    },
}

/// What a vault has of its account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AccountShown {
    pub(crate) user: UserName,
    pub(crate) server: String,
    pub(crate) address: String,
    pub(crate) fingerprint: String,
    pub(crate) safety_words: String,
    pub(crate) device: DeviceId,
    pub(crate) device_name: DeviceName,
    pub(crate) logged_in: bool,
    pub(crate) kit_complete: bool,
    /// Whether it has the account's keys, so that a login needs no kit.
    pub(crate) has_keys: bool,
}

/// Why an order was not carried out, as the command line tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) code: u8,
    /// What failed and what to do next.
    pub(crate) message: String,
}

impl From<SharingError> for Failure {
    fn from(error: SharingError) -> Self {
        Self {
            code: Exit::from(&error).code(),
            message: error.to_string(),
        }
    }
}

impl From<AccountError> for Failure {
    fn from(error: AccountError) -> Self {
        SharingError::from(error).into()
    }
}

impl From<crate::remote::RemoteError> for Failure {
    fn from(error: crate::remote::RemoteError) -> Self {
        AccountError::from(error).into()
    }
}

/// Carries out an order on the account of a volume, and waits for the server where it needs that.
pub(crate) fn carry_out(engine: &Engine, order: Order) -> Result<Told, Failure> {
    match order {
        Order::Show => keeping::show(engine),
        Order::Register(wanted) => entering::register(engine, *wanted),
        Order::Verify(token) => entering::verify(engine, Some(token)),
        Order::Resend => entering::verify(engine, None),
        Order::Login(wanted) => entering::login(engine, *wanted),
        Order::Logout(how_much) => entering::logout(engine, how_much),
        Order::Devices => keeping::devices(engine),
        Order::RemoveDevice { device, password } => {
            keeping::remove_device(engine, &device, &password)
        }
        Order::Kit => keeping::kit(engine),
        Order::SetPassword { proof, new, kit } => keeping::set_password(engine, (proof, new), kit),
        Order::Delete(user) => keeping::delete(engine, &user),
        Order::Find(user) => keeping::find(engine, &user),
        Order::Trust { user, root } => keeping::trust(engine, &user, root),
    }
}

/// The account of a volume, logged in.
async fn session(engine: &Engine) -> Result<Session<'_>, AccountError> {
    Account::of(engine, Deadlines::default())?.session().await
}
