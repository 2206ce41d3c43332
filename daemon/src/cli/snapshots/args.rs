//! What commands about snapshots take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::secret::UnlockArgs;

/// What to do with snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Keep the files as they are now
    Create {
        #[command(flatten)]
        place: SnapshotArgs,
        /// A name for the snapshot, unless it is to be made of the time
        #[arg(help_heading = None)]
        name: Option<String>,
    },
    /// List snapshots: when each was made, by whom, what deleting it gives back, its name
    List {
        #[command(flatten)]
        place: SnapshotArgs,
    },
    /// Delete a snapshot
    Delete {
        #[command(flatten)]
        place: SnapshotArgs,
        /// Its name
        #[arg(help_heading = None)]
        name: String,
    },
    /// Bring back a file or directory of a mounted vault
    ///
    /// Nothing is written over: where something is in the way, move it away or give --to.
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// The vault, or where it is mounted
    pub(crate) vault: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// Where it was in the mount, or where a snapshot shows it
    pub(crate) path: PathBuf,
    /// The snapshot to take it from, unless the newest one that has it
    #[arg(long, value_name = "NAME")]
    pub(crate) from: Option<String>,
    /// Where to put it, unless where it was; into it, where that is a directory
    #[arg(long, value_name = "DEST")]
    pub(crate) to: Option<PathBuf>,
    /// Print a report in JSON
    #[arg(long)]
    pub(crate) json: bool,
}
