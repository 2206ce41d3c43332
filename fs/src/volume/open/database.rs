//! Where a volume's database is read.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::VolumeError;
use crate::data::journal_path;
use crate::meta::{Mode, log_path};
use crate::vault::{Access, UnlockedVault};

/// The database as a volume reads it: in place, or a private copy where there is something to
/// recover and the vault is not to be changed.
pub(super) struct Database {
    pub(super) path: PathBuf,
    pub(super) mode: Mode,
    pub(super) copy: Option<PrivateCopy>,
}

pub(super) struct PrivateCopy(PathBuf);

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Database {
    pub(super) fn of(vault: &UnlockedVault, access: Access) -> Result<Self, VolumeError> {
        let path = vault.dir().meta_db();
        if !path.exists() {
            return Err(VolumeError::DatabaseMissing(path));
        }
        if access == Access::ReadWrite {
            return Ok(Self {
                path,
                mode: Mode::ReadWrite,
                copy: None,
            });
        }
        let log = log_path(&path);
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        if length(&log) == 0 && length(&journal_path(vault.dir().path())) == 0 {
            return Ok(Self {
                path,
                mode: Mode::Immutable,
                copy: None,
            });
        }
        let copy = private_directory()?;
        let copied = copy.0.join("meta.db");
        std::fs::copy(&path, &copied)?;
        if length(&log) > 0 {
            std::fs::copy(&log, log_path(&copied))?;
        }
        Ok(Self {
            path: copied,
            mode: Mode::ReadWrite,
            copy: Some(copy),
        })
    }
}

fn private_directory() -> Result<PrivateCopy, VolumeError> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let mut random = [0; 16];
    keyfold_crypto::fill_random(&mut random)
        .map_err(|_| io::Error::from_raw_os_error(libc::EIO))?;
    let path = base.join(format!(
        "keyfold-{}",
        data_encoding::HEXLOWER.encode(&random)
    ));
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(PrivateCopy(path))
}
