//! `snapshot`: keeping, listing and deleting, by itself or through the program that has the vault
//! mounted.

pub(crate) mod args;

use std::fmt::Write;
use std::path::Path;

use keyfold_fs::error::FsError;
use keyfold_fs::vault::Access;
use keyfold_fs::volume::Verify;

use crate::calendar::moment;
use crate::cli::asking;
use crate::cli::error::CliError;
use crate::cli::output::{self, Form};
use crate::cli::{inside, restore};
use crate::control::{Command, Origin, Snapshot, SnapshotCommand, snapshot_failed};
use crate::engine::Engine;
use crate::mount::unmount;

use args::{SnapshotArgs, SnapshotCommand as Asked};

/// Does what is asked with snapshots.
pub(crate) fn snapshot(command: &Asked) -> Result<(), CliError> {
    match command {
        Asked::Create { place, name } => create(place, name.as_deref()),
        Asked::List { place } => list(place),
        Asked::Delete { place, name } => delete(place, name),
        Asked::Restore(args) => restore::restore(args),
    }
}

fn create(place: &SnapshotArgs, name: Option<&str>) -> Result<(), CliError> {
    let made: Snapshot = match unmount::find(&place.vault) {
        Ok(record) => {
            let command = SnapshotCommand::Create(name.map(str::to_owned));
            asking::answer(&record, &Command::Snapshot(command).line())?
        }
        Err(_) => changing(place, |engine| {
            let made = engine.keep_snapshot(name);
            made.map_err(|e| refused(&place.vault, "make the snapshot", e))
        })?,
    };
    match Form::of(place.json) {
        Form::Json => output::json(&made),
        Form::Text => output::text(&format!("Made snapshot {}.\n", made.name)),
    }
}

fn delete(place: &SnapshotArgs, name: &str) -> Result<(), CliError> {
    if let Ok(record) = unmount::find(&place.vault) {
        let command = SnapshotCommand::Delete(name.to_owned());
        asking::reply(&record, &Command::Snapshot(command).line())?;
    } else {
        changing(place, |engine| {
            let deleted = engine.delete_snapshot(name);
            deleted.map_err(|e| refused(&place.vault, "delete the snapshot", e))
        })?;
    }
    match Form::of(place.json) {
        Form::Json => Ok(()),
        Form::Text => output::text(&format!("Deleted snapshot {name}.\n")),
    }
}

fn list(place: &SnapshotArgs) -> Result<(), CliError> {
    let all: Vec<Snapshot> = match unmount::find(&place.vault) {
        Ok(record) => {
            let line = Command::Snapshot(SnapshotCommand::List).line();
            asking::answer(&record, &line)?
        }
        Err(_) => inside::open(&place.vault, &place.unlock, Verify::BySize)?.snapshots(),
    };
    if let Form::Json = Form::of(place.json) {
        return output::json(&all);
    }
    let mut text = String::new();
    for snapshot in &all {
        let origin = match snapshot.kind {
            Origin::Automatic => "automatic",
            Origin::Asked => "asked for",
            Origin::Backup => "backup",
        };
        let (made, held) = (moment(snapshot.created), snapshot.held_back_bytes);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{made}  {origin:<9} {held:>14}  {}", snapshot.name);
    }
    output::text(&text)
}

/// Works on a vault that is not mounted, and closes it with everything durable.
fn changing<T>(
    place: &SnapshotArgs,
    work: impl FnOnce(&Engine) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let engine = inside::open_for(
        &place.vault,
        &place.unlock,
        (Access::ReadWrite, Verify::BySize),
    )?;
    let done = work(&engine);
    engine.close()?;
    done
}

fn refused(vault: &Path, what: &str, error: FsError) -> CliError {
    CliError::Volume {
        vault: vault.to_path_buf(),
        error,
        why: snapshot_failed(what, error).message,
    }
}
