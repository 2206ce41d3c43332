//! A volume over a vault in a temporary directory.

use std::fs;
use std::sync::Arc;

use keyfold_crypto::{Password, Rounds};
use keyfold_fs::vault::{
    Access, CreateOptions, KdfCost, LockedVault, Secret, UnlockedVault, VaultError,
};
use keyfold_fs::vfs::Vfs;
use keyfold_fs::volume::{Volume, VolumeOptions};
use tempfile::TempDir;

use crate::subject::{Promises, Subject};
use crate::tree::Why;

const VAULT: &str = "vault";
/// The floor for new vaults.
const ROUNDS: u32 = 600_000;

/// An empty vault that is copied for each sequence, and a key to it that costs no time.
pub(crate) struct Template {
    dir: TempDir,
    secret: Secret,
    options: VolumeOptions,
}

impl Template {
    pub(crate) fn new(options: VolumeOptions) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let create = CreateOptions {
            password: Password::new("correct horse".to_owned()),
            cost: KdfCost::Fixed(Rounds::new(ROUNDS).expect("enough rounds")),
        };
        let path = dir.path().join(VAULT);
        let format =
            |vault: &UnlockedVault| Volume::format(vault).map_err(|e| Failed(e.to_string()));
        let (vault, recovery) = UnlockedVault::create(&path, &create, format).expect("a new vault");
        drop(vault);
        Self {
            dir,
            secret: Secret::Recovery(recovery),
            options,
        }
    }
}

#[derive(Debug)]
struct Failed(#[expect(dead_code, reason = "shown by expect")] String);

impl From<VaultError> for Failed {
    fn from(e: VaultError) -> Self {
        Self(e.to_string())
    }
}

/// A volume of its own.
pub(crate) struct VolumeSubject<'a> {
    template: &'a Template,
    dir: TempDir,
    volume: Option<Arc<Volume>>,
}

impl<'a> VolumeSubject<'a> {
    pub(crate) fn new(template: &'a Template) -> Result<Self, Why> {
        let dir = TempDir::new().map_err(|e| e.to_string())?;
        copy(&template.dir.path().join(VAULT), &dir.path().join(VAULT))
            .map_err(|e| format!("copying the vault: {e}"))?;
        let mut subject = Self {
            template,
            dir,
            volume: None,
        };
        subject.open();
        Ok(subject)
    }

    fn open(&mut self) {
        let locked = LockedVault::open(&self.dir.path().join(VAULT), Access::ReadWrite);
        let vault = locked.and_then(|vault| vault.unlock(&self.template.secret));
        let vault = vault.unwrap_or_else(|e| panic!("the vault does not open: {e}"));
        let volume = Volume::open(vault, self.template.options.clone());
        self.volume = Some(volume.unwrap_or_else(|e| panic!("the volume does not open: {e}")));
    }

    fn volume(&self) -> &Volume {
        self.volume.as_ref().expect("mounted")
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

impl Subject for VolumeSubject<'_> {
    fn vfs(&self) -> &dyn Vfs {
        self.volume()
    }

    fn remount(&mut self) {
        self.volume().close().expect("the last commit succeeds");
        self.volume = None;
        self.open();
    }

    fn crash(&mut self) {
        self.volume().crash();
        self.volume = None;
        self.open();
    }

    fn promises(&self) -> Promises {
        Promises::VOLUME
    }
}

impl Drop for VolumeSubject<'_> {
    fn drop(&mut self) {
        if let Some(volume) = self.volume.take() {
            volume.crash();
        }
    }
}
