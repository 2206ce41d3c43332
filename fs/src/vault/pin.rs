//! The pin: what was last seen of a vault, kept outside it.
//!
//! In an older copy of a vault everything verifies. Only what is not in the vault can tell which
//! copy is the newest, so the number and the state of the last commit, the superblock, and where
//! the vault lay are kept in the user's own state directory.
//!
//! A pin names nothing that is not durable: otherwise a power cut would make an honest vault look
//! rolled back. It is sealed under a key of the vault, so that it tells nobody how much a vault is
//! used, and a pin of one vault cannot stand for that of another.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use keyfold_crypto::{Context, Label, MasterKey, SealKey, StateHash};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::UnlockedVault;
use super::directory::{Access, read_bounded, sync_directory};
use super::error::{Action, Damage, Unlike, VaultError};
use super::superblock::{Revision, Superblock, VaultId};
use crate::layout::{PinRow, StateRow};

/// Bytes of a sealed pin; the path of the vault follows.
const SEALED: usize = 161;
/// What the names of pins end with.
const EXTENSION: &str = "pin";

/// What to do about a vault that is not as it was last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Rollback {
    /// Do not open it.
    #[default]
    Refuse,
    /// Open it, and take it for the newest if it is opened for writing.
    Accept,
}

/// Keeps the pin of one vault.
pub(super) struct Pin {
    file: PathBuf,
    vault: VaultId,
    place: PathBuf,
    key: SealKey,
    rollback: Rollback,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    row: Option<PinRow>,
    /// The vault was opened although it is not as it was last seen.
    unlike: bool,
}

/// A pin as it lies on disk.
pub(super) struct Stored<'a> {
    pub(super) sealed: &'a [u8],
    pub(super) place: &'a Path,
}

impl<'a> Stored<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (sealed, place) = bytes.split_at_checked(SEALED)?;
        Some(Self {
            sealed,
            place: Path::new(OsStr::from_bytes(place)),
        })
    }
}

fn context(vault: VaultId) -> Context {
    Context::new(Label::PIN_RECORD).bytes(&vault.0)
}

impl Pin {
    /// Reads the pin of the vault `id` that lies at `place`.
    fn read(
        directory: &Path,
        (id, place): (VaultId, &Path),
        master: &MasterKey,
        rollback: Rollback,
    ) -> Result<Self, VaultError> {
        let pin = Self {
            file: directory.join(id.to_string()).with_extension(EXTENSION),
            vault: id,
            place: place.to_path_buf(),
            key: master.pin_key(),
            rollback,
            kept: Mutex::default(),
        };
        match read_bounded(&pin.file) {
            Ok(bytes) => match pin.open(&bytes) {
                Some((row, seen_here)) => {
                    pin.kept.lock().row = Some(row);
                    if !seen_here {
                        pin.compare_place(directory)?;
                    }
                }
                None => pin.damaged()?,
            },
            Err(Damage::Absent) => pin.compare_place(directory)?,
            Err(Damage::Unreadable(libc::EACCES | libc::EPERM | libc::ENOTDIR)) => {
                tracing::warn!("what was last seen of the vault may not be read by this user");
            }
            Err(_) => pin.damaged()?,
        }
        Ok(pin)
    }

    /// What is stored, and whether the vault was last seen where it is now.
    fn open(&self, bytes: &[u8]) -> Option<(PinRow, bool)> {
        let stored = Stored::parse(bytes)?;
        let row = keyfold_crypto::open(&self.key, &context(self.vault), stored.sealed).ok()?;
        let row = PinRow::decode(&row).ok()?;
        Some((row, stored.place == self.place))
    }

    /// Fails, unless the user accepts what is found.
    fn unlike(&self, why: Unlike) -> Result<(), VaultError> {
        match self.rollback {
            Rollback::Refuse => Err(VaultError::NotAsSeen {
                path: self.place.clone(),
                why,
            }),
            Rollback::Accept => {
                tracing::warn!(%why, "accepted a vault that is not as it was last seen");
                self.kept.lock().unlike = true;
                Ok(())
            }
        }
    }

    fn damaged(&self) -> Result<(), VaultError> {
        self.unlike(Unlike::PinDamaged(self.file.clone()))
    }

    /// Looks whether it was another vault that was last seen here.
    fn compare_place(&self, directory: &Path) -> Result<(), VaultError> {
        let Ok(entries) = fs::read_dir(directory) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let file = entry.path();
            let Some(name) = file.file_stem().and_then(OsStr::to_str) else {
                continue;
            };
            if file == self.file || file.extension() != Some(OsStr::new(EXTENSION)) {
                continue;
            }
            let bytes = read_bounded(&file).unwrap_or_default();
            if Stored::parse(&bytes).is_some_and(|stored| stored.place == self.place) {
                self.unlike(Unlike::OtherVault(name.to_owned()))?;
            }
        }
        Ok(())
    }

    fn compare_superblock(&self, superblock: &Superblock) -> Result<(), VaultError> {
        let Some(seen) = self.kept.lock().row else {
            return Ok(());
        };
        let found = superblock.revision();
        let seen_revision = Revision(seen.revision);
        if found < seen_revision {
            return self.unlike(Unlike::OlderSuperblock {
                found,
                seen: seen_revision,
            });
        }
        if found == seen_revision && *superblock.code() != seen.superblock {
            return self.unlike(Unlike::OtherSuperblock(found));
        }
        Ok(())
    }

    fn compare_state(&self, commit: u64, state: [u8; 32]) -> Result<(), VaultError> {
        let Some(seen) = self.kept.lock().row else {
            return Ok(());
        };
        if commit < seen.commit {
            return self.unlike(Unlike::OlderState {
                found: commit,
                seen: seen.commit,
            });
        }
        if commit == seen.commit && state != seen.state {
            return self.unlike(Unlike::OtherState(commit));
        }
        Ok(())
    }

    /// Stores the pin that `change` makes of the present one, unless it says the same.
    fn store(&self, change: impl FnOnce(&mut PinRow)) -> Result<(), VaultError> {
        let mut kept = self.kept.lock();
        let mut row = kept.row.unwrap_or(PinRow {
            commit: 0,
            state: [0; 32],
            revision: 0,
            superblock: [0; 32],
        });
        change(&mut row);
        if kept.row == Some(row) && self.is_stored_here() {
            return Ok(());
        }
        let mut bytes = keyfold_crypto::seal(&self.key, &context(self.vault), &row.encode())?;
        bytes.extend_from_slice(self.place.as_os_str().as_bytes());
        self.replace(&bytes)?;
        kept.row = Some(row);
        Ok(())
    }

    fn is_stored_here(&self) -> bool {
        let bytes = read_bounded(&self.file).unwrap_or_default();
        Stored::parse(&bytes).is_some_and(|stored| stored.place == self.place)
    }

    /// Replaces the file, durably, and as a whole.
    fn replace(&self, bytes: &[u8]) -> Result<(), VaultError> {
        let directory = self.file.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|e| VaultError::io(Action::Create, directory, e))?;
        // Readers of one vault may store its pin at the same time.
        let new = self
            .file
            .with_extension(format!("{}.new", std::process::id()));
        write_synced(&new, bytes)
            .and_then(|()| fs::rename(&new, &self.file))
            .map_err(|e| {
                let _ = fs::remove_file(&new);
                VaultError::io(Action::Write, &self.file, e)
            })?;
        sync_directory(directory)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

impl UnlockedVault {
    /// Holds the vault to what was last seen of it: compares it with its pin in `directory`, and
    /// keeps that pin up to date from here on. Whatever opens the volume compares its state too.
    /// A vault without a pin is seen for the first time, and whatever it holds is believed.
    ///
    /// # Errors
    /// [`VaultError::NotAsSeen`] when the superblock is older than or another than the one seen
    /// last, when another vault was seen at this path, or when the pin cannot be read; unless
    /// `rollback` accepts that.
    pub fn hold_to_pin(&mut self, directory: &Path, rollback: Rollback) -> Result<(), VaultError> {
        let which = (self.id(), self.dir.path());
        let pin = Pin::read(directory, which, &self.master, rollback)?;
        pin.compare_superblock(&self.superblock)?;
        self.pin = Some(pin);
        Ok(())
    }

    /// Compares the state of the last commit with the pin, if the vault is held to one.
    pub(crate) fn compare_state(&self, state: &StateRow) -> Result<(), VaultError> {
        match &self.pin {
            Some(pin) => pin.compare_state(state.commit, self.pinned_form(state)),
            None => Ok(()),
        }
    }

    /// Number of the last commit that was seen, if the vault is held to a pin.
    pub(crate) fn last_seen_commit(&self) -> Option<u64> {
        let row = self.pin.as_ref()?.kept.lock().row;
        row.map(|row| row.commit)
    }

    /// Pins a state and the superblock, both of which are durable. A vault that was accepted only
    /// for reading keeps its pin.
    pub(crate) fn pin_state(&self, state: &StateRow) -> Result<(), VaultError> {
        self.store_pin(|row| {
            row.commit = state.commit;
            row.state = self.pinned_form(state);
        })
    }

    /// Pins the superblock, which is durable.
    ///
    /// # Errors
    /// When the pin cannot be written; the vault is as it is.
    pub fn pin_superblock(&self) -> Result<(), VaultError> {
        self.store_pin(|_| {})
    }

    /// Whether the vault is not as it was last seen, and was accepted.
    pub(crate) fn is_accepted(&self) -> bool {
        self.pin.as_ref().is_some_and(|pin| pin.kept.lock().unlike)
    }

    /// Whether the vault is held to a pin.
    pub(crate) fn is_held_to_pin(&self) -> bool {
        self.pin.is_some()
    }

    fn store_pin(&self, change: impl FnOnce(&mut PinRow)) -> Result<(), VaultError> {
        let Some(pin) = &self.pin else {
            return Ok(());
        };
        if self.access() == Access::ReadOnly && pin.kept.lock().unlike {
            return Ok(());
        }
        pin.store(|row| {
            row.revision = self.superblock.revision().0;
            row.superblock = *self.superblock.code();
            change(row);
        })
    }

    fn pinned_form(&self, state: &StateRow) -> [u8; 32] {
        let hash = StateHash::from_bytes(state.hash);
        self.master.state_hash_key().pin(state.commit, &hash)
    }
}
