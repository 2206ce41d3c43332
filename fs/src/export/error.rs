//! What can go wrong in an export, and what can be missing from one that went through.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::FsError;

/// Why an export ended early.
#[derive(Debug)]
pub enum ExportError {
    /// What was to be exported cannot be read at all.
    Source {
        /// Relative to what is exported.
        path: PathBuf,
        /// Why.
        error: FsError,
    },
    /// The destination failed.
    Destination {
        /// What was being done.
        task: Task,
        /// To what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something of another kind is where a file or directory has to go.
    InTheWay(PathBuf),
}

/// What was being done to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Opening.
    Open,
    /// Making.
    Make,
    /// Writing.
    Write,
    /// Moving into place.
    Rename,
    /// Setting attributes.
    Attributes,
}

/// Something that could not be taken along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Omission {
    /// The object itself: it cannot be read.
    Unreadable(FsError),
    /// The object itself: this user or the destination cannot have such a node.
    Node,
    /// One of its extended attributes, or its ACL.
    Attribute,
    /// Its owner or group.
    Owner,
}

impl ExportError {
    pub(super) fn destination(task: Task, path: &Path, e: rustix::io::Errno) -> Self {
        Self::Destination {
            task,
            path: path.to_path_buf(),
            source: e.into(),
        }
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { path, error } if path.as_os_str().is_empty() => {
                write!(f, "cannot read what is to be exported: {error}")
            }
            Self::Source { path, error } => {
                write!(f, "cannot read {} in the vault: {error}", path.display())
            }
            Self::Destination { task, path, source } => write!(
                f,
                "cannot {task} {}: {source}. Repeat the command to go on where it ended",
                path.display()
            ),
            Self::InTheWay(path) => write!(
                f,
                "something of another kind is at {}. Move it away, or choose another destination",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source { error, .. } => Some(error),
            Self::Destination { source, .. } => Some(source),
            Self::InTheWay(_) => None,
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Make => "make",
            Self::Write => "write",
            Self::Rename => "rename into place",
            Self::Attributes => "set the attributes of",
        })
    }
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(e) => write!(f, "left out: {e}"),
            Self::Node => write!(f, "left out: such a node cannot be made there by this user"),
            Self::Attribute => write!(f, "an extended attribute or ACL cannot be set there"),
            Self::Owner => write!(f, "its owner cannot be set there"),
        }
    }
}
