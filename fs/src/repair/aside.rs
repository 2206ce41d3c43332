//! Where what is damaged goes: a directory of its own for each repair, `damaged/N`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// In the vault directory.
const DIRECTORY: &str = "damaged";
/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

/// The directory of this repair, made when something has to go there.
#[derive(Default)]
pub(super) struct Aside(Option<PathBuf>);

fn private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Aside {
    pub(super) fn path(&self) -> Option<&PathBuf> {
        self.0.as_ref()
    }

    /// The place of a part of the vault, such as `meta.db` or `segments/000007`.
    fn place(&mut self, vault: &Path, part: &Path) -> io::Result<PathBuf> {
        let own = match &self.0 {
            Some(own) => own.clone(),
            None => self.0.insert(Self::make(vault)?).clone(),
        };
        let place = own.join(part);
        if let Some(parent) = place.parent() {
            private(parent)?;
        }
        Ok(place)
    }

    fn make(vault: &Path) -> io::Result<PathBuf> {
        let all = vault.join(DIRECTORY);
        private(&all)?;
        for n in 1_u32.. {
            let own = all.join(n.to_string());
            match DirBuilder::new().mode(0o700).create(&own) {
                Ok(()) => {
                    sync(vault)?;
                    sync(&all)?;
                    return Ok(own);
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(ErrorKind::StorageFull.into())
    }

    /// Moves a part of the vault here, if it is there.
    pub(super) fn take(&mut self, vault: &Path, part: &Path) -> io::Result<()> {
        let from = vault.join(part);
        if fs::symlink_metadata(&from).is_err() {
            return Ok(());
        }
        let to = self.place(vault, part)?;
        fs::rename(&from, &to)?;
        for changed in [from.parent(), to.parent()].into_iter().flatten() {
            sync(changed)?;
        }
        Ok(())
    }

    /// Copies what a file has from `length` on, at the same place in a file here.
    pub(super) fn copy_tail(&mut self, vault: &Path, part: &Path, length: u64) -> io::Result<()> {
        let from = File::open(vault.join(part))?;
        let end = from.metadata()?.len();
        let to = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.place(vault, part)?)?;
        to.set_len(end)?;
        let mut chunk = vec![0; CHUNK];
        let mut at = length;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            from.read_exact_at(&mut chunk[..want], at)?;
            // What was allocated and not written is zeros, and stays a hole.
            if chunk[..want].iter().any(|b| *b != 0) {
                to.write_all_at(&chunk[..want], at)?;
            }
            at += want as u64;
        }
        to.sync_all()
    }
}
