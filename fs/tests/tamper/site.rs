//! A vault to be attacked, what it holds, and an earlier copy of it.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keyfold_crypto::{Password, RecoveryKey, Rounds};
use keyfold_fs::check::{CheckOptions, CheckReport, ReadData, check};
use keyfold_fs::vault::{
    Access, CreateOptions, KdfCost, LockedVault, Rollback, Secret, UnlockedVault, VaultError,
};
use keyfold_fs::vfs::{Caller, FileRange, Ino, Name, OpenMode, Place, SetAttr, Vfs, XattrMode};
use keyfold_fs::volume::{Verify, Volume, VolumeError, VolumeOptions};
use tempfile::TempDir;

use crate::tree::{self, Tree};

pub(crate) const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0o022,
};
pub(crate) const RW: OpenMode = OpenMode {
    read: true,
    write: true,
    append: false,
    truncate: false,
    sync: false,
};
pub(crate) const PASSWORD: &str = "correct horse";

/// Why a vault did not open.
#[derive(Debug)]
pub(crate) enum Refusal {
    Vault(VaultError),
    Volume(VolumeError),
}

impl Refusal {
    /// Whether it says that the vault is not as it was last seen.
    pub(crate) fn is_not_as_seen(&self) -> bool {
        matches!(
            self,
            Self::Vault(VaultError::NotAsSeen { .. })
                | Self::Volume(VolumeError::NotAsSeen(VaultError::NotAsSeen { .. }))
        )
    }

    /// Whether it says that something in the vault is damaged, missing or not its own.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Vault(e) => matches!(
                e,
                VaultError::SuperblockDamaged { .. }
                    | VaultError::MissingPart { .. }
                    | VaultError::NotAVault { .. }
                    | VaultError::NewerFormat { .. }
                    | VaultError::WrongSecret { .. }
            ),
            Self::Volume(e) => matches!(
                e,
                VolumeError::DatabaseMissing(_)
                    | VolumeError::DatabaseDamaged { .. }
                    | VolumeError::SegmentMissing(_)
                    | VolumeError::SegmentShort { .. }
            ),
        }
    }
}

impl From<VaultError> for Refusal {
    fn from(e: VaultError) -> Self {
        Self::Vault(e)
    }
}

impl From<VolumeError> for Refusal {
    fn from(e: VolumeError) -> Self {
        Self::Volume(e)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Vault(e) => e.fmt(f),
            Self::Volume(e) => e.fmt(f),
        }
    }
}

/// How a vault is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    pub(crate) access: Access,
    pub(crate) verify: Verify,
    pub(crate) rollback: Rollback,
}

pub(crate) const WRITING: How = How {
    access: Access::ReadWrite,
    verify: Verify::BySize,
    rollback: Rollback::Refuse,
};
pub(crate) const READING: How = How {
    access: Access::ReadOnly,
    ..WRITING
};
pub(crate) const ACCEPTING: How = How {
    rollback: Rollback::Accept,
    ..WRITING
};

/// A vault, its recovery key, and the directory where it is kept what was last seen of it.
pub(crate) struct Site {
    dir: TempDir,
    words: String,
}

impl Site {
    /// An empty vault, which nobody has opened yet.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = CreateOptions {
            password: Password::new(PASSWORD.to_owned()),
            cost: KdfCost::Fixed(Rounds::new(Rounds::FLOOR).unwrap()),
        };
        let format = |v: &UnlockedVault| Ok::<_, Refusal>(Volume::format(v)?);
        let made = UnlockedVault::create(&dir.path().join("v"), &options, format);
        let (vault, recovery) = made.unwrap();
        drop(vault);
        Self {
            dir,
            words: recovery.to_words().to_string(),
        }
    }

    /// A vault with files of all kinds, closed.
    pub(crate) fn with_files() -> Self {
        let site = Self::empty();
        site.using(|v| {
            let docs = mkdir(v, Ino::ROOT, "docs");
            let letter = file(v, docs, "letter", &pattern(3 * 4096 + 100, 1));
            v.setxattr(letter, b"user.colour", b"blue", XattrMode::Set)
                .unwrap();
            file(v, docs, "note", b"short");
            let empty = mkdir(v, docs, "empty");
            v.symlink(&CALLER, at(empty, "link"), b"../letter").unwrap();
            v.sync().unwrap();
            file(v, Ino::ROOT, "other", &pattern(2 * 4096, 2));
            v.link(letter, at(Ino::ROOT, "hard")).unwrap();
        });
        site
    }

    /// Changes something in every part of what [`Self::with_files`] made. Closes again.
    pub(crate) fn change_files(&self) {
        self.using(|v| {
            let docs = v.lookup(at(Ino::ROOT, "docs")).unwrap().attr.ino;
            let letter = v.lookup(at(docs, "letter")).unwrap().attr.ino;
            write(v, letter, &pattern(3 * 4096 + 100, 11));
            let set = SetAttr {
                perm: Some(0o600),
                ..SetAttr::default()
            };
            v.setattr(letter, None, &set).unwrap();
            v.setxattr(letter, b"user.colour", b"pink", XattrMode::Set)
                .unwrap();
            v.sync().unwrap();
            v.unlink(at(docs, "note")).unwrap();
            file(v, docs, "new", &pattern(5000, 12));
            let mode = keyfold_fs::vfs::RenameMode::Replace;
            v.rename(at(Ino::ROOT, "other"), at(docs, "moved"), mode)
                .unwrap();
        });
    }

    /// Changes once more what [`Self::change_files`] changed.
    pub(crate) fn change_files_again(&self) {
        self.using(|v| {
            file(v, Ino::ROOT, "again", &pattern(5000, 21));
            v.sync().unwrap();
        });
    }

    fn using(&self, f: impl FnOnce(&Volume)) {
        let volume = self.open(WRITING).unwrap();
        f(&volume);
        volume.close().unwrap();
    }

    pub(crate) fn vault(&self) -> PathBuf {
        self.dir.path().join("v")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.dir.path().join("pins")
    }

    pub(crate) fn recovery(&self) -> Secret {
        Secret::Recovery(RecoveryKey::parse(&self.words).unwrap())
    }

    pub(crate) fn unlock(&self, secret: &Secret, how: How) -> Result<UnlockedVault, Refusal> {
        let mut vault = LockedVault::open(&self.vault(), how.access)?.unlock(secret)?;
        vault.hold_to_pin(&self.pins(), how.rollback)?;
        Ok(vault)
    }

    /// Opens the vault as a mount does.
    pub(crate) fn open(&self, how: How) -> Result<Arc<Volume>, Refusal> {
        open_volume(self.unlock(&self.recovery(), how)?, how.verify)
    }

    /// What it holds.
    pub(crate) fn tree(&self) -> Tree {
        let volume = self.open(READING).unwrap();
        let tree = tree::read(&volume);
        volume.close().unwrap();
        tree
    }

    /// What a check of the vault at rest says, unless it does not even open.
    pub(crate) fn check(&self, read_data: ReadData) -> Result<CheckReport, Refusal> {
        let how = How {
            verify: Verify::Never,
            ..READING
        };
        let volume = self.open(how)?;
        let report = check(&volume, &CheckOptions { read_data }, &mut |_| {});
        volume.close().unwrap();
        report.map_err(|e| Refusal::Volume(VolumeError::NotCommitted(e)))
    }

    /// Copies the vault beside itself.
    pub(crate) fn keep(&self, name: &str) {
        copy_tree(&self.vault(), &self.path(name));
    }

    /// Copies what is kept of the vault.
    pub(crate) fn keep_pins(&self, name: &str) {
        copy_tree(&self.pins(), &self.path(name));
    }

    /// Puts a copy in the place of what is kept of the vault.
    pub(crate) fn bring_back_pins(&self, name: &str) {
        fs::remove_dir_all(self.pins()).unwrap();
        copy_tree(&self.path(name), &self.pins());
    }

    /// Puts a copy in the place of the vault.
    pub(crate) fn bring_back(&self, name: &str) {
        fs::remove_dir_all(self.vault()).unwrap();
        copy_tree(&self.path(name), &self.vault());
    }
}

pub(crate) fn open_volume(vault: UnlockedVault, verify: Verify) -> Result<Arc<Volume>, Refusal> {
    let options = VolumeOptions {
        commit_interval: Duration::from_hours(1),
        flushers: 1,
        verify,
        ..VolumeOptions::default()
    };
    Ok(Volume::open(vault, options)?)
}

pub(crate) fn at(parent: Ino, name: &str) -> Place<'_> {
    Place {
        parent,
        name: Name::new(name.as_bytes()).unwrap(),
    }
}

pub(crate) fn mkdir(v: &Volume, parent: Ino, name: &str) -> Ino {
    v.mkdir(&CALLER, at(parent, name), 0o755).unwrap().attr.ino
}

pub(crate) fn file(v: &Volume, parent: Ino, name: &str, data: &[u8]) -> Ino {
    let (entry, handle) = v.create(&CALLER, at(parent, name), 0o644, RW).unwrap();
    let ino = entry.attr.ino;
    let range = FileRange {
        ino,
        handle,
        offset: 0,
    };
    assert_eq!(v.write(range, data).unwrap(), data.len());
    v.release(ino, handle);
    ino
}

pub(crate) fn write(v: &Volume, ino: Ino, data: &[u8]) {
    let handle = v.open(ino, RW).unwrap();
    let range = FileRange {
        ino,
        handle,
        offset: 0,
    };
    assert_eq!(v.write(range, data).unwrap(), data.len());
    v.release(ino, handle);
}

pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(31) + (i >> 8) * 7 + seed) as u8)
        .collect()
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            copy_file(&entry.path(), &target);
        }
    }
}

/// Copies a file; one of zeros only, like the reserve, without writing them.
fn copy_file(from: &Path, to: &Path) {
    let length = fs::metadata(from).unwrap().len();
    if from.file_name().is_some_and(|n| n == "reserve") {
        fs::File::create(to).unwrap().set_len(length).unwrap();
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// Overwrites bytes of a file.
pub(crate) fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}
