//! Where orders about an account are carried out: in the vault, or by the daemon that has it mounted.

use std::path::Path;

use keyfold_fs::vault::{Access, read_master};
use keyfold_fs::volume::Verify;
use keyfold_protocol::ids::Nonce;
use keyfold_protocol::wire::Base64;

use crate::account::AccountError;
use crate::cli::asking::told_by;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::inside;
use crate::cli::secret::UnlockArgs;
use crate::control::Command;
use crate::engine::Engine;
use crate::mount::{harden, unmount};
use crate::mount_table::MountRecord;
use crate::orders::{self, AccountShown, Failure, Order, Seal, Told};

/// A vault whose account orders are about.
pub(super) enum Place {
    /// It is opened here.
    Here(Engine),
    /// A daemon has it mounted.
    Mounted(MountRecord, Seal),
}

impl Place {
    /// The vault at this path, or mounted there, opened with the vault's own secret either way.
    pub(super) fn open(
        vault: &Path,
        unlock: &UnlockArgs,
        access: Access,
    ) -> Result<Self, CliError> {
        let Ok(record) = unmount::find(vault) else {
            let engine = inside::open_for(vault, unlock, (access, Verify::default()))?;
            return Ok(Self::Here(engine));
        };
        // A core file of this process could hold the keys; without the limit it is only unlikely.
        let _ = harden::forbid_core_dumps();
        let secret = unlock.obtain()?.to_secret()?;
        let (id, master) = read_master(&record.source, &secret)?;
        Ok(Self::Mounted(record, Seal::new(id, &master)))
    }

    /// Carries out an order.
    pub(super) fn carry_out(&self, order: Order) -> Result<Told, CliError> {
        let told = match self {
            Self::Here(engine) => orders::carry_out(engine, order),
            Self::Mounted(record, seal) => ask(record, seal, &order)?,
        };
        told.map_err(failed)
    }

    /// What the vault has of an account.
    pub(super) fn account(&self) -> Result<Option<AccountShown>, CliError> {
        match self.carry_out(Order::Show)? {
            Told::Account(account) => Ok(account),
            _ => Err(unlike()),
        }
    }

    /// The same of a vault that has one.
    pub(super) fn some_account(&self) -> Result<AccountShown, CliError> {
        self.account()?.ok_or(AccountError::NoAccount.into())
    }

    /// Makes everything durable.
    pub(super) fn close(self) -> Result<(), CliError> {
        match self {
            Self::Here(engine) => Ok(engine.close()?),
            Self::Mounted(..) => Ok(()),
        }
    }
}

fn ask(
    record: &MountRecord,
    seal: &Seal,
    order: &Order,
) -> Result<Result<Told, Failure>, CliError> {
    let challenge: Nonce = told_by(record, &Command::Challenge)?;
    let sealed = seal.order(challenge, order).map_err(AccountError::from)?;
    let reply: Base64 = told_by(record, &Command::Sealed(challenge, sealed))?;
    let told = seal.open_reply(challenge, &reply);
    told.ok_or_else(|| CliError::Server {
        exit: Exit::Untrusted,
        message: format!(
            "what is mounted on {} does not have the vault's key: it is no daemon of this vault",
            record.point.display()
        ),
    })
}

/// What an order failed with.
pub(super) fn failed(failure: Failure) -> CliError {
    CliError::Server {
        exit: Exit::from_code(failure.code),
        message: failure.message,
    }
}

/// An answer to another order than was given.
pub(super) fn unlike() -> CliError {
    CliError::Server {
        exit: Exit::General,
        message: "the daemon answered something else. It may be of another Keyfold: mount anew"
            .to_owned(),
    }
}
