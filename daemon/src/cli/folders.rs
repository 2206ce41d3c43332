//! `share`, `unshare`, `accept`, `wait-synced`, and `status` of a folder: for mounted vaults alone.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::asking;
use crate::cli::error::CliError;
use crate::cli::output;
use crate::control::{self, SharingCommand};
use crate::mount::unmount::{self, UnmountError};
use crate::mount_table::{self, MountRecord};

#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    #[command(flatten)]
    what: control::Accept,
    /// The vault, or where it is mounted
    vault: PathBuf,
}

/// The mount that a path lies in, and the path in it.
fn within(path: &str) -> Result<(MountRecord, String), CliError> {
    let place = fs::canonicalize(path).map_err(|source| CliError::File {
        verb: "find",
        path: path.into(),
        source,
    })?;
    let mounts = mount_table::mounts().map_err(|source| CliError::File {
        verb: "find the mount of",
        path: path.into(),
        source,
    })?;
    let holds = |mount: &&MountRecord| place.starts_with(&mount.point);
    let depth = |mount: &&MountRecord| mount.point.components().count();
    // Of several at one place the last is seen.
    let mount = mounts.iter().filter(holds).max_by_key(depth);
    let Some(mount) = mount.filter(|mount| mount.is_keyfold()) else {
        return Err(UnmountError::NotMounted(place).into());
    };
    let inside = place.strip_prefix(&mount.point).unwrap_or(Path::new(""));
    let inside = inside.to_str().ok_or(CliError::NoText)?;
    Ok((mount.clone(), inside.to_owned()))
}

/// Gives somebody a folder.
pub(crate) fn share(wanted: &control::Share) -> Result<(), CliError> {
    let (record, path) = within(&wanted.path)?;
    let command = SharingCommand::Share(control::Share {
        path,
        ..wanted.clone()
    });
    output::line(&asking::obeyed(&record, &command)?)
}

/// Takes a folder back.
pub(crate) fn unshare(wanted: &control::Unshare) -> Result<(), CliError> {
    let (record, path) = within(&wanted.path)?;
    let command = SharingCommand::Unshare(control::Unshare {
        path,
        ..wanted.clone()
    });
    output::line(&asking::obeyed(&record, &command)?)
}

/// Takes what somebody gives.
pub(crate) fn accept(args: &AcceptArgs) -> Result<(), CliError> {
    let record = unmount::find(&args.vault)?;
    let command = SharingCommand::Accept(args.what.clone());
    output::line(&asking::obeyed(&record, &command)?)
}
