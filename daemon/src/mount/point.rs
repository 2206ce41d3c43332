//! The place to mount on: everything that can be wrong with it is found before anything is done.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::cli::error::Reason;
use crate::mount::detach::{self, Detach};
use crate::mount_table::{self, MountRecord};

/// Most dead mounts that are cleared away at one place.
const MAX_DEAD: usize = 16;

/// A directory that can be mounted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPoint {
    path: PathBuf,
}

/// Whether a directory with entries may be mounted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Cover {
    /// Only an empty directory.
    EmptyOnly,
    /// Any directory; its entries are hidden while mounted (`-o nonempty`).
    Anything,
}

/// Why a place cannot be mounted on.
#[derive(Debug)]
pub(crate) enum PointError {
    /// Nothing is there.
    Missing(PathBuf),
    /// Not a directory.
    NotADirectory(PathBuf),
    /// It has entries.
    NotEmpty(PathBuf),
    /// Something is mounted there.
    AlreadyMounted {
        /// The place.
        point: PathBuf,
        /// What is mounted on it.
        record: MountRecord,
    },
    /// It lies in the vault to be mounted.
    InsideVault {
        /// The place.
        point: PathBuf,
        /// The vault.
        vault: PathBuf,
    },
    /// The vault lies in it and would be hidden by its own mount.
    HoldsVault {
        /// The place.
        point: PathBuf,
        /// The vault.
        vault: PathBuf,
    },
    /// A mount whose server is gone is there, and could not be detached.
    DeadMount {
        /// The place.
        point: PathBuf,
        /// Why it stays.
        why: String,
    },
    /// It cannot be examined.
    Unreadable {
        /// The place.
        point: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl MountPoint {
    /// Checks that `vault` can be mounted on `point`, detaching dead mounts of ours left there.
    pub(crate) fn check(point: &Path, vault: &Path, cover: Cover) -> Result<Self, PointError> {
        clear_dead(point)?;
        let unreadable = |source| PointError::Unreadable {
            point: point.to_path_buf(),
            source,
        };
        let meta = fs::metadata(point).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => PointError::Missing(point.to_path_buf()),
            io::ErrorKind::NotADirectory => PointError::NotADirectory(point.to_path_buf()),
            _ => unreadable(e),
        })?;
        if !meta.is_dir() {
            return Err(PointError::NotADirectory(point.to_path_buf()));
        }
        let path = fs::canonicalize(point).map_err(unreadable)?;
        if let Some(record) = mount_table::mount_at(&path).map_err(unreadable)? {
            return Err(PointError::AlreadyMounted {
                point: path,
                record,
            });
        }
        apart(&path, vault)?;
        if cover == Cover::EmptyOnly {
            let mut entries = fs::read_dir(&path).map_err(unreadable)?;
            if entries.next().is_some() {
                return Err(PointError::NotEmpty(path));
            }
        }
        Ok(Self { path })
    }

    /// Its absolute path, free of symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Detaches mounts at `point` whose server is gone, where they are ours.
fn clear_dead(point: &Path) -> Result<(), PointError> {
    for _ in 0..MAX_DEAD {
        if !mount_table::is_dead(point) {
            return Ok(());
        }
        let dead = |why: String| PointError::DeadMount {
            point: point.to_path_buf(),
            why,
        };
        let place = mount_table::locate(point).map_err(|e| dead(Reason(&e).to_string()))?;
        match mount_table::mount_at(&place).map_err(|e| dead(Reason(&e).to_string()))? {
            Some(record) if record.is_keyfold() => {
                detach::detach(&place, Detach::Lazily).map_err(|e| dead(e.to_string()))?;
            }
            _ => return Err(dead("another program made it".to_owned())),
        }
    }
    Err(PointError::DeadMount {
        point: point.to_path_buf(),
        why: "too many are stacked there".to_owned(),
    })
}

/// Makes sure that neither of the two lies in the other, whatever paths lead to them.
fn apart(point: &Path, vault: &Path) -> Result<(), PointError> {
    let unreadable = |source| PointError::Unreadable {
        point: point.to_path_buf(),
        source,
    };
    let vault = fs::canonicalize(vault).map_err(unreadable)?;
    if lies_in(point, &vault).map_err(unreadable)? {
        return Err(PointError::InsideVault {
            point: point.to_path_buf(),
            vault,
        });
    }
    if lies_in(&vault, point).map_err(unreadable)? {
        return Err(PointError::HoldsVault {
            point: point.to_path_buf(),
            vault,
        });
    }
    Ok(())
}

/// Whether `inner` is `outer` or beneath it. Compares what the paths lead to, since a bind mount
/// gives one directory several paths without a symbolic link.
fn lies_in(inner: &Path, outer: &Path) -> io::Result<bool> {
    let outer = fs::metadata(outer)?;
    for ancestor in inner.ancestors() {
        let meta = fs::metadata(ancestor)?;
        if (meta.dev(), meta.ino()) == (outer.dev(), outer.ino()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn taken(point: &Path, record: &MountRecord, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let (point, source) = (point.display(), record.source.display());
    if record.is_keyfold() {
        return write!(
            f,
            "vault {source} is mounted on {point} already. `keyfold unmount` ends that"
        );
    }
    write!(
        f,
        "{point} has something mounted on it already ({source}, of type {}). Choose another \
         directory, or unmount that first",
        record.fs_type
    )
}

impl fmt::Display for PointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(point) => write!(
                f,
                "mount point {} does not exist. Make it with mkdir",
                point.display()
            ),
            Self::NotADirectory(point) => {
                write!(
                    f,
                    "mount point {} is not a directory. Name one",
                    point.display()
                )
            }
            Self::NotEmpty(point) => write!(
                f,
                "mount point {} is not empty. Choose an empty directory, or give -o nonempty to \
                 hide what is in it while mounted",
                point.display()
            ),
            Self::AlreadyMounted { point, record } => taken(point, record, f),
            Self::InsideVault { point, vault } => write!(
                f,
                "mount point {} lies inside vault {}. Choose one outside",
                point.display(),
                vault.display()
            ),
            Self::HoldsVault { point, vault } => write!(
                f,
                "vault {} lies inside mount point {} and would be hidden by its own mount. \
                 Choose another mount point",
                vault.display(),
                point.display()
            ),
            Self::DeadMount { point, why } => write!(
                f,
                "a mount whose program is gone is still at {} and cannot be detached: {why}. \
                 Try `umount -l` as root",
                point.display()
            ),
            Self::Unreadable { point, source } => {
                write!(
                    f,
                    "cannot examine mount point {}: {}",
                    point.display(),
                    Reason(source)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(point: &Path, vault: &Path) -> Result<MountPoint, PointError> {
        MountPoint::check(point, vault, Cover::EmptyOnly)
    }

    #[test]
    fn an_empty_directory_beside_the_vault_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let (vault, point) = (dir.path().join("v"), dir.path().join("m"));
        fs::create_dir(&vault).unwrap();
        fs::create_dir(&point).unwrap();
        let found = check(&point, &vault).unwrap();
        assert_eq!(found.path(), fs::canonicalize(&point).unwrap());
    }

    #[test]
    fn a_place_that_is_missing_or_no_directory_or_full_is_named_as_such() {
        let dir = tempfile::tempdir().unwrap();
        let vault = dir.path().join("v");
        fs::create_dir(&vault).unwrap();
        let missing = dir.path().join("missing");
        assert!(matches!(
            check(&missing, &vault),
            Err(PointError::Missing(_))
        ));
        let file = dir.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(
            check(&file, &vault),
            Err(PointError::NotADirectory(_))
        ));
        assert!(matches!(
            check(&file.join("x"), &vault),
            Err(PointError::NotADirectory(_))
        ));
        let full = dir.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("x"), "x").unwrap();
        assert!(matches!(check(&full, &vault), Err(PointError::NotEmpty(_))));
        MountPoint::check(&full, &vault, Cover::Anything).unwrap();
    }

    #[test]
    fn a_vault_and_its_mount_point_never_contain_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let vault = dir.path().join("v");
        let inside = vault.join("m");
        fs::create_dir_all(&inside).unwrap();
        assert!(matches!(
            check(&inside, &vault),
            Err(PointError::InsideVault { .. })
        ));
        assert!(matches!(
            check(&vault, &vault),
            Err(PointError::InsideVault { .. })
        ));
        let holding = MountPoint::check(dir.path(), &vault, Cover::Anything);
        assert!(matches!(holding, Err(PointError::HoldsVault { .. })));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&inside, &link).unwrap();
        assert!(matches!(
            check(&link, &vault),
            Err(PointError::InsideVault { .. })
        ));
    }

    #[test]
    fn a_place_with_something_mounted_on_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = check(Path::new("/proc"), dir.path());
        assert!(matches!(refused, Err(PointError::AlreadyMounted { .. })));
    }
}
