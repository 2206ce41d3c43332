//! `snapshot restore`: what a snapshot shows is copied back, beside nothing and over nothing.
//!
//! It goes through the mount, as any program's copying would: so the kernel knows of every name.

mod copy;

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use serde::Serialize;

use self::copy::Copied;
use crate::cli::asking;
use crate::cli::error::{CliError, Reason};
use crate::cli::output::{self, Form};
use crate::cli::snapshots::args::RestoreArgs;
use crate::control::{Command, Origin, Snapshot, SnapshotCommand};
use crate::control_dir;
use crate::mount::unmount::UnmountError;
use crate::mount_table::{self, MountRecord};
use crate::snapshot_dir;

/// Why nothing was restored.
#[derive(Debug)]
pub(crate) enum RestoreError {
    /// No snapshot, or not the one that was named, has it.
    NotFound {
        /// What was asked for.
        path: PathBuf,
        /// In which snapshot.
        from: Option<String>,
    },
    /// Something is where it would go.
    InTheWay(PathBuf),
    /// The directory that it would go into is missing.
    NoParent(PathBuf),
    /// It cannot be copied.
    Failed {
        /// To where.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl std::fmt::Display for RestoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound { path, from: None } => write!(
                f,
                "no snapshot has {}. `keyfold snapshot list` shows which there are",
                path.display()
            ),
            Self::NotFound {
                path,
                from: Some(from),
            } => write!(f, "snapshot {from:?} has no {}", path.display()),
            Self::InTheWay(path) => write!(
                f,
                "{} exists, and nothing is written over. Move it away, or say where to with --to",
                path.display()
            ),
            Self::NoParent(path) => write!(
                f,
                "the directory of {} is missing. Restore that, or say where to with --to",
                path.display()
            ),
            Self::Failed { path, source } => {
                write!(f, "cannot restore {}: {}", path.display(), Reason(source))
            }
        }
    }
}

#[derive(Serialize)]
struct Report {
    snapshot: String,
    restored: String,
    files: u64,
    others: u64,
    bytes: u64,
    left_out: usize,
}

/// Restores a file or directory.
pub(crate) fn restore(args: &RestoreArgs) -> Result<(), CliError> {
    let path = settled(&args.path).map_err(|source| CliError::File {
        verb: "find",
        path: args.path.clone(),
        source,
    })?;
    let record = mount_of(&path)?;
    let (from, relative) = wanted(&record, &path, args.from.as_deref())?;
    let dest = match &args.to {
        Some(to) if to.is_dir() => to.join(path.file_name().unwrap_or_default()),
        Some(to) => std::path::absolute(to).unwrap_or_else(|_| to.clone()),
        None => record.point.join(&relative),
    };
    let source = snapshots_of(&record).join(&from).join(&relative);
    let copied = put(&source, &dest)?;
    for (path, e) in &copied.left_out {
        eprintln!("keyfold: {}: {}", path.display(), Reason(e));
    }
    tell(args, (from, &dest), &copied)
}

fn tell(args: &RestoreArgs, (from, to): (String, &Path), copied: &Copied) -> Result<(), CliError> {
    let report = Report {
        snapshot: from,
        restored: to.display().to_string(),
        files: copied.files,
        others: copied.others,
        bytes: copied.bytes,
        left_out: copied.left_out.len(),
    };
    match Form::of(args.json) {
        Form::Json => output::json(&report)?,
        Form::Text => output::text(&format!(
            "Restored {} from snapshot {:?}: {} files ({} bytes) and {} directories and links.\n",
            report.restored, report.snapshot, report.files, report.bytes, report.others
        ))?,
    }
    match copied.left_out.len() as u64 {
        0 => Ok(()),
        items => Err(CliError::LeftOut { items }),
    }
}

/// The path, absolute, with links resolved as far as it exists.
fn settled(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut at = path.as_path();
    loop {
        match (fs::symlink_metadata(at), at.file_name(), at.parent()) {
            (Err(e), Some(name), Some(parent)) if e.kind() == io::ErrorKind::NotFound => {
                missing.push(name);
                at = parent;
            }
            // A link that is to be restored is not followed itself.
            (Ok(meta), Some(name), Some(parent)) if meta.is_symlink() => {
                missing.push(name);
                at = parent;
            }
            (Err(e), ..) => return Err(e),
            (Ok(_), ..) => break,
        }
    }
    let mut whole = fs::canonicalize(at)?;
    whole.extend(missing.into_iter().rev());
    Ok(whole)
}

/// The mount of ours that a path is in.
fn mount_of(path: &Path) -> Result<MountRecord, CliError> {
    let mounts = mount_table::mounts().map_err(|source| CliError::File {
        verb: "find the mount of",
        path: path.to_path_buf(),
        source,
    })?;
    let inside = mounts.into_iter().filter(|m| path.starts_with(&m.point));
    inside
        .max_by_key(|m| m.point.components().count())
        .filter(MountRecord::is_keyfold)
        .ok_or_else(|| UnmountError::NotMounted(path.to_path_buf()).into())
}

fn snapshots_of(record: &MountRecord) -> PathBuf {
    let control = std::ffi::OsStr::from_bytes(control_dir::NAME);
    let snapshots = std::ffi::OsStr::from_bytes(snapshot_dir::NAME);
    record.point.join(control).join(snapshots)
}

/// Which snapshot to take it from, and its path there.
fn wanted(
    record: &MountRecord,
    path: &Path,
    from: Option<&str>,
) -> Result<(String, PathBuf), CliError> {
    let shown = snapshots_of(record);
    if let Ok(inside) = path.strip_prefix(&shown) {
        let mut components = inside.components();
        let name = match components.next() {
            Some(Component::Normal(name)) => name.to_string_lossy().into_owned(),
            _ => return Err(not_found(path, from)),
        };
        return Ok((name, components.as_path().to_path_buf()));
    }
    let relative = path.strip_prefix(&record.point).unwrap_or(path);
    let has = |name: &str| fs::symlink_metadata(shown.join(name).join(relative)).is_ok();
    let found = if let Some(name) = from {
        Some(name.to_owned()).filter(|name| has(name))
    } else {
        let line = Command::Snapshot(SnapshotCommand::List).line();
        let all: Vec<Snapshot> = asking::answer(record, &line)?;
        let mut newest = all.into_iter().rev().filter(|s| s.kind != Origin::Backup);
        newest.find(|s| has(&s.name)).map(|s| s.name)
    };
    let found = found.ok_or_else(|| not_found(path, from))?;
    Ok((found, relative.to_path_buf()))
}

fn not_found(path: &Path, from: Option<&str>) -> CliError {
    RestoreError::NotFound {
        path: path.to_path_buf(),
        from: from.map(str::to_owned),
    }
    .into()
}

/// Copies beside the destination and moves there what is whole. Nothing is replaced.
fn put(source: &Path, dest: &Path) -> Result<Copied, CliError> {
    let failed = |source| RestoreError::Failed {
        path: dest.to_path_buf(),
        source,
    };
    let (Some(parent), Some(_)) = (dest.parent(), dest.file_name()) else {
        return Err(RestoreError::InTheWay(dest.to_path_buf()).into());
    };
    if fs::symlink_metadata(dest).is_ok() {
        return Err(RestoreError::InTheWay(dest.to_path_buf()).into());
    }
    if !parent.is_dir() {
        return Err(RestoreError::NoParent(dest.to_path_buf()).into());
    }
    let beside = parent.join(format!(".keyfold-restoring-{}", std::process::id()));
    let copied = copy::copy(source, &beside).and_then(|copied| {
        rustix::fs::renameat_with(CWD, &beside, CWD, dest, RenameFlags::NOREPLACE)?;
        Ok(copied)
    });
    copied.map_err(|e| {
        // What was copied is in the snapshot still.
        let _ = fs::remove_dir_all(&beside).or_else(|_| fs::remove_file(&beside));
        failed(e).into()
    })
}
