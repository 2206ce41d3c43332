//! `init`, `info` and `header`.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use keyfold_crypto::RecoveryKey;
use keyfold_fs::vault::{
    CreateOptions, HeaderBackup, Rollback, Superblock, UnlockedVault, VaultError, backup_header,
    read_header, restore_header,
};
use serde::Serialize;

use crate::cli::args::{HeaderCommand, InitArgs};
use crate::cli::error::CliError;
use crate::cli::output::{self, Form};
use crate::cli::secret;
use crate::engine::{Engine, EngineError};
use crate::mount::harden;
use crate::mount::pins;

/// Makes a vault.
pub(crate) fn init(args: &InitArgs) -> Result<(), CliError> {
    // A core file of this process could hold the keys; without the limit it is only unlikely.
    let _ = harden::forbid_core_dumps();
    refuse_occupied(&args.vault)?;
    let recovery_file = args
        .recovery_file
        .as_deref()
        .map(RecoveryFile::reserve)
        .transpose()?;
    let password = secret::new_password(&args.source.source())?;
    let options = CreateOptions {
        password,
        cost: args.cost.cost(),
    };
    let made: Result<_, EngineError> = UnlockedVault::create(&args.vault, &options, Engine::format);
    let (mut vault, recovery) = made?;
    // From the first moment on, another vault in its place is noticed.
    let pinned = vault
        .hold_to_pin(&pins::directory(), Rollback::Accept)
        .and_then(|()| vault.pin_superblock());
    if let Err(e) = pinned {
        eprintln!("keyfold: an older copy of the vault will not be noticed: {e}");
    }
    let path = vault.dir().path().display().to_string();
    drop(vault);
    match recovery_file {
        Some(file) => {
            let to = file.fill(&recovery)?;
            output::text(&format!(
                "Made vault {path}.\nThe recovery key is in {}. Keep it away from this machine.\n",
                to.display()
            ))
        }
        None => output::text(&format!("Made vault {path}.\n\n{}", notice(&recovery))),
    }
}

/// What is printed of a new recovery key, once.
pub(crate) fn notice(recovery: &RecoveryKey) -> String {
    format!(
        "Recovery key:\n\n    {}\n\nWrite it down and keep it away from this machine. It opens \
         the vault when every\npassword is forgotten, and it is not shown again.\n",
        recovery.to_words().as_str()
    )
}

/// Finds a place that is taken before a password is asked for. What is decided here is decided
/// again, and for good, when the vault is made.
fn refuse_occupied(path: &Path) -> Result<(), VaultError> {
    let path = path.to_path_buf();
    match fs::read_dir(&path) {
        Ok(mut entries) => {
            if path.join("superblock.json").exists() || path.join("superblock.bak").exists() {
                Err(VaultError::AlreadyAVault { path })
            } else if entries.next().is_some() {
                Err(VaultError::NotEmpty { path })
            } else {
                Ok(())
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            Err(VaultError::NotADirectory { path })
        }
        Err(_) => Ok(()),
    }
}

/// A file made before the vault is, so that no vault is made whose recovery key has no place.
struct RecoveryFile<'a> {
    path: &'a Path,
    file: Option<fs::File>,
}

impl<'a> RecoveryFile<'a> {
    fn reserve(path: &'a Path) -> Result<Self, CliError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| failed(path, source))?;
        Ok(Self {
            path,
            file: Some(file),
        })
    }

    fn fill(mut self, recovery: &RecoveryKey) -> Result<&'a Path, CliError> {
        let words = recovery.to_words();
        if let Some(mut file) = self.file.take() {
            file.write_all(words.as_bytes())
                .and_then(|()| file.write_all(b"\n"))
                .and_then(|()| file.sync_all())
                .map_err(|source| failed(self.path, source))?;
        }
        Ok(self.path)
    }
}

impl Drop for RecoveryFile<'_> {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = fs::remove_file(self.path);
        }
    }
}

fn failed(path: &Path, source: io::Error) -> CliError {
    CliError::File {
        verb: "write the recovery key to",
        path: path.to_path_buf(),
        source,
    }
}

#[derive(Serialize)]
struct Info {
    vault: String,
    id: String,
    format: u64,
    created: String,
    cipher: String,
    kdf: String,
    revision: u64,
    slots: Vec<SlotInfo>,
}

/// What can be told of a key slot.
#[derive(Serialize)]
pub(crate) struct SlotInfo {
    slot: u32,
    kind: &'static str,
    label: String,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    rounds: Option<u32>,
}

/// The key slots that `superblock` claims.
pub(crate) fn slots(superblock: &Superblock) -> Vec<SlotInfo> {
    let of = |slot: &keyfold_fs::vault::Slot| SlotInfo {
        slot: slot.id().0,
        kind: slot.kind().name(),
        label: slot.label().as_str().to_owned(),
        created: slot.created().to_string(),
        rounds: slot.rounds(),
    };
    superblock.slots().iter().map(of).collect()
}

/// One line for each slot.
pub(crate) fn slot_lines(slots: &[SlotInfo]) -> String {
    let line = |s: &SlotInfo| {
        let rounds = s
            .rounds
            .map_or_else(String::new, |r| format!(", {r} rounds"));
        format!(
            "{:>4}  {:<12}  {}  {:?}{rounds}\n",
            s.slot, s.kind, s.created, s.label
        )
    };
    slots.iter().map(line).collect()
}

/// Shows what a vault's superblock claims.
pub(crate) fn info(path: &Path, form: Form) -> Result<(), CliError> {
    let superblock = claims(path)?;
    let info = Info {
        vault: path.display().to_string(),
        id: superblock.vault_id().to_string(),
        format: superblock.version(),
        created: superblock.created().to_string(),
        cipher: superblock.cipher_suite().to_owned(),
        kdf: superblock.kdf().to_owned(),
        revision: superblock.revision().0,
        slots: slots(&superblock),
    };
    match form {
        Form::Json => output::json(&info),
        Form::Text => output::text(&format!(
            "vault:    {}\nid:       {}\nformat:   {}\ncreated:  {}\ncipher:   {}\nkdf:      {}\n\
             revision: {}\nslots:\n{}",
            info.vault,
            info.id,
            info.format,
            info.created,
            info.cipher,
            info.kdf,
            info.revision,
            slot_lines(&info.slots)
        )),
    }
}

/// What a vault's superblock claims, authenticated by nothing.
pub(crate) fn claims(path: &Path) -> Result<Superblock, CliError> {
    Ok(read_header(path)?)
}

/// Copies a header out of a vault or back into it.
pub(crate) fn header(command: &HeaderCommand) -> Result<(), CliError> {
    match command {
        HeaderCommand::Backup { vault, file } => {
            let backup = backup_header(vault, file)?;
            if !backup.copies_agree {
                eprintln!(
                    "keyfold: the two copies in the vault differ, and the newer one was taken. \
                     Mount the vault once and back up again"
                );
            }
            output::text(&format!(
                "Wrote the header of vault {} (revision {}) to {}.\n",
                backup.vault,
                backup.revision.0,
                file.display()
            ))
        }
        HeaderCommand::Restore { vault, file } => {
            let restored = restore_header(vault, file)?;
            output::text(&restored_text(&restored))
        }
    }
}

fn restored_text(restored: &HeaderBackup) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "Restored the header of vault {} (revision {}). It is verified when the vault is next \
         unlocked.\n",
        restored.vault, restored.revision.0
    );
    for kept in &restored.kept {
        let _ = writeln!(text, "What was there before is kept as {}.", kept.display());
    }
    text
}
