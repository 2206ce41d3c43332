//! `share`, `unshare`, `accept`, `wait-synced`, and `status` of a folder: for mounted vaults alone.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use keyfold_protocol::roster::Role;
use serde::Deserialize;

use crate::cli::asking;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::control::{self, Command, FolderCommand};
use crate::mount::options::parse_duration;
use crate::mount::unmount::{self, UnmountError};
use crate::mount_table::{self, MountRecord};
use crate::online::{FolderStatus, ShareStatus, SharingStatus, State};
use crate::sharing::Done;

/// Between two looks at whether everything is synced.
const LOOK: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    #[command(flatten)]
    what: control::Accept,
    /// The vault, or where it is mounted
    vault: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// A shared folder or file, or something in it, or the mount or vault for all of them
    path: PathBuf,
    /// Give up after this time, such as 30s
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "not a time such as 30s or 5m".to_owned())
}

/// The mount that a path lies in, and the path in it.
pub(crate) fn within(path: &Path) -> Result<(MountRecord, String), CliError> {
    let place = canonical(path).map_err(|source| CliError::File {
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

/// Where a path leads. What has its last name need not be there: a share of a single file is bound to it.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(e), Some(dir), Some(name)) if e.kind() == io::ErrorKind::NotFound => {
            let here = dir.as_os_str().is_empty();
            let dir = if here { Path::new(".") } else { dir };
            // A symlink that leads nowhere is not what it leads to.
            match path.symlink_metadata() {
                Err(_) => Ok(fs::canonicalize(dir)?.join(name)),
                Ok(_) => Err(e),
            }
        }
        (found, ..) => found,
    }
}

/// Whether there is anything at a path, or may be.
pub(crate) fn leads_somewhere(path: &Path) -> bool {
    canonical(path).is_ok()
}

fn done(record: &MountRecord, command: FolderCommand) -> Result<(), CliError> {
    let told: Done = asking::told_by(record, &Command::Folder(command))?;
    output::line(&told.done)
}

/// Gives somebody a folder.
pub(crate) fn share(wanted: &control::Share) -> Result<(), CliError> {
    let (record, path) = within(Path::new(&wanted.path))?;
    let command = FolderCommand::Share(control::Share {
        path,
        ..wanted.clone()
    });
    done(&record, command)
}

/// Takes a folder back.
pub(crate) fn unshare(wanted: &control::Unshare) -> Result<(), CliError> {
    let (record, path) = within(Path::new(&wanted.path))?;
    let command = FolderCommand::Unshare(control::Unshare {
        path,
        ..wanted.clone()
    });
    done(&record, command)
}

/// Takes what somebody gives.
pub(crate) fn accept(args: &AcceptArgs) -> Result<(), CliError> {
    let record = unmount::find(&args.vault)?;
    let command = FolderCommand::Accept(args.what.clone());
    done(&record, command)
}

/// Tells where a folder of a mount stands.
pub(crate) fn status(path: &Path) -> Result<FolderStatus, CliError> {
    let (record, path) = within(path)?;
    let command = FolderCommand::Folder(control::Folder { path });
    asking::told_by(&record, &Command::Folder(command))
}

/// Waits until everything is where it belongs.
pub(crate) fn wait_synced(args: &WaitArgs) -> Result<(), CliError> {
    let deadline = args.timeout.map(|timeout| Instant::now() + timeout);
    let (record, inside) = match unmount::find(&args.path) {
        Ok(record) => (record, None),
        Err(_) => within(&args.path).map(|(record, path)| (record, Some(path)))?,
    };
    let waiting = Waiting { record, inside };
    let before = waiting.shares()?.1;
    let due = before
        .iter()
        .map(|share| (share.id.clone(), share.next_round()));
    let due: BTreeMap<String, u64> = due.collect();
    let look = Command::Folder(FolderCommand::Look(control::Look {}));
    let _: Done = asking::told_by(&waiting.record, &look)?;
    loop {
        let (sharing, shares) = waiting.shares()?;
        let behind = |share: &&ShareStatus| {
            let rounds = due.get(&share.id).copied().unwrap_or(1);
            // What a reader has beyond the others goes nowhere.
            let waits = share.waiting > 0 && share.role != Some(Role::Reader);
            share.state != State::Synced || waits || share.rounds < rounds
        };
        let Some(behind) = shares.iter().find(behind) else {
            return Ok(());
        };
        if behind.state == State::Removed || deadline.is_some_and(|d| Instant::now() >= d) {
            return Err(CliError::NotSynced {
                path: behind.path.clone().unwrap_or_default(),
                connected: sharing.connected,
                why: behind.error.clone().or(sharing.error),
            });
        }
        thread::sleep(LOOK);
    }
}

/// What is waited for.
struct Waiting {
    record: MountRecord,
    inside: Option<String>,
}

impl Waiting {
    /// What is known of all shares, and the shares that are waited for.
    fn shares(&self) -> Result<(SharingStatus, Vec<ShareStatus>), CliError> {
        #[derive(Deserialize)]
        struct Status {
            sharing: Option<SharingStatus>,
        }
        let status: Status = asking::told_by(&self.record, &Command::Status)?;
        let sharing = status.sharing.unwrap_or_default();
        let Some(path) = &self.inside else {
            let shares = sharing.shares.clone();
            return Ok((sharing, shares));
        };
        let command = FolderCommand::Folder(control::Folder { path: path.clone() });
        let folder: FolderStatus = asking::told_by(&self.record, &Command::Folder(command))?;
        let share = folder.share.ok_or_else(|| CliError::Server {
            exit: Exit::NoSuchPath,
            message: format!("{path} is not shared"),
        })?;
        Ok((sharing, vec![share]))
    }
}
