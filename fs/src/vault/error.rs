//! What can go wrong with a vault directory: one variant a meaning, each saying what to do next.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use keyfold_crypto::RandomError;

use super::slot::SlotId;

mod unlike;

pub use unlike::Unlike;

/// Why a vault directory could not be made, opened, unlocked or changed.
#[derive(Debug)]
pub enum VaultError {
    /// Nothing is at this path.
    NotFound {
        /// The path that is missing.
        path: PathBuf,
    },
    /// Something other than a directory is at this path.
    NotADirectory {
        /// The path in question.
        path: PathBuf,
    },
    /// The directory holds nothing that belongs to a vault.
    NotAVault {
        /// The directory.
        path: PathBuf,
    },
    /// A new vault was to be made where there is one already.
    AlreadyAVault {
        /// The directory.
        path: PathBuf,
    },
    /// A new vault was to be made in a directory that holds something.
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has the vault open.
    InUse {
        /// The vault.
        path: PathBuf,
        /// The process that holds it, when it left its number and is alive.
        pid: Option<u32>,
    },
    /// No key slot opens with this password or recovery key.
    ///
    /// Edited KDF parameters are indistinguishable from this, and must be.
    WrongSecret {
        /// The vault.
        path: PathBuf,
    },
    /// The vault was written by a newer Keyfold.
    NewerFormat {
        /// The vault or superblock copy.
        path: PathBuf,
        /// The format version found there.
        found: u64,
    },
    /// Neither copy of the superblock can be used.
    SuperblockDamaged {
        /// The vault.
        path: PathBuf,
        /// What is wrong with `superblock.json`.
        primary: Damage,
        /// What is wrong with `superblock.bak`.
        backup: Damage,
    },
    /// A part of the vault is missing as a whole.
    MissingPart {
        /// The vault.
        path: PathBuf,
        /// What is missing.
        part: Part,
    },
    /// The vault was to be changed, and it, its disk or this way of opening it is read-only.
    ReadOnlyDirectory {
        /// The vault, or the directory it was to be made in.
        path: PathBuf,
    },
    /// The operating system denies this user access.
    AccessDenied {
        /// What could not be reached.
        path: PathBuf,
    },
    /// The disk beneath the vault is full; nothing was changed.
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// The filesystem beneath lacks what a vault stands on.
    UnsupportedFilesystem {
        /// Where.
        path: PathBuf,
        /// What it lacks.
        lacks: Facility,
    },
    /// The change is in force, but the second superblock copy could not be replaced.
    HalfWritten {
        /// The copy that still holds the state before the change.
        stale: PathBuf,
        /// Why it could not be replaced.
        source: io::Error,
    },
    /// Removing this slot would leave nobody able to open the vault.
    LastSlot {
        /// The slot.
        slot: SlotId,
    },
    /// The vault has no slot of this number, or the operation needs one of another kind.
    NoSuchSlot {
        /// The slot.
        slot: SlotId,
    },
    /// The vault has as many slots as it can have.
    TooManySlots {
        /// That many.
        limit: usize,
    },
    /// A slot label is empty, longer than 64 bytes or has control characters.
    BadLabel,
    /// The file to restore a header from is not a usable superblock.
    BadHeader {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Damage,
    },
    /// The file to restore a header from belongs to another vault.
    OtherVault {
        /// The file.
        path: PathBuf,
    },
    /// The vault is not what was last seen of it.
    NotAsSeen {
        /// The vault.
        path: PathBuf,
        /// How it differs.
        why: Unlike,
    },
    /// A file that would have been overwritten exists.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The operating system gave no random bytes.
    Random(RandomError),
    /// Any other failure of the operating system.
    Io {
        /// What was being done.
        what: Action,
        /// To which file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

/// What is wrong with one copy of the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It does not exist.
    Absent,
    /// It is not a regular file.
    NotAFile,
    /// The disk could not read it; carries the errno.
    Unreadable(i32),
    /// It is larger than a superblock can be.
    TooLarge,
    /// It is not JSON, or not with the fields of a superblock.
    Malformed {
        /// Line of the first error, from 1.
        line: usize,
        /// Column of the first error, from 1.
        column: usize,
    },
    /// It is JSON, but not a Keyfold superblock.
    NotASuperblock,
    /// A field has a value that no Keyfold writes.
    OutOfBounds(&'static str),
    /// It was written by a newer Keyfold; carries the format version.
    Newer(u64),
    /// Its authentication code does not verify: it was altered outside Keyfold.
    NotAuthentic,
    /// It is intact and older than the other copy.
    Stale,
    /// It is intact and belongs to another vault than the other copy.
    OtherVault,
}

/// A part of the vault directory that cannot be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Both `superblock.json` and `superblock.bak`.
    Superblock,
    /// `meta.db`.
    Database,
    /// `segments/`.
    Segments,
}

/// What a vault needs from the filesystem beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Facility {
    /// `flock`.
    Locks,
    /// `fsync` of files and directories.
    Sync,
}

/// What was being done when the operating system failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Opening or examining.
    Open,
    /// Reading.
    Read,
    /// Making.
    Create,
    /// Writing.
    Write,
    /// Making durable.
    Sync,
    /// Renaming into place.
    Rename,
    /// Removing.
    Remove,
    /// Taking the vault lock.
    Lock,
}

impl VaultError {
    /// The variant for a system error met while doing `what` to `path`.
    pub(super) fn io(what: Action, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::NoSpace { path },
            Some(libc::EROFS) => Self::ReadOnlyDirectory { path },
            Some(libc::EACCES | libc::EPERM) => Self::AccessDenied { path },
            Some(libc::ENOENT) => Self::NotFound { path },
            Some(libc::ENOTDIR) => Self::NotADirectory { path },
            Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) if what == Action::Sync => {
                Self::UnsupportedFilesystem {
                    path,
                    lacks: Facility::Sync,
                }
            }
            Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ENOLCK) if what == Action::Lock => {
                Self::UnsupportedFilesystem {
                    path,
                    lacks: Facility::Locks,
                }
            }
            _ => Self::Io { what, path, source },
        }
    }

    /// For changes that one copy alone does not bring into force: the failure to write the other
    /// as what it is.
    pub(super) fn or_not_in_force(self) -> Self {
        match self {
            Self::HalfWritten {
                stale: path,
                source,
            } => Self::Io {
                what: Action::Rename,
                path,
                source,
            },
            other => other,
        }
    }
}

impl From<RandomError> for VaultError {
    fn from(e: RandomError) -> Self {
        Self::Random(e)
    }
}

impl fmt::Display for VaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tell(f)?;
        write!(f, "; {}", self.remedy())
    }
}

impl VaultError {
    /// What failed and on what.
    fn tell(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { path } => write!(f, "{} does not exist", path.display()),
            Self::NotADirectory { path } => write!(f, "{} is not a directory", path.display()),
            Self::NotAVault { path } => write!(f, "{} is not a Keyfold vault", path.display()),
            Self::AlreadyAVault { path } => write!(f, "{} is a vault already", path.display()),
            Self::NotEmpty { path } => write!(f, "{} is not empty", path.display()),
            Self::InUse { path, pid } => {
                write!(f, "vault {} is in use by ", path.display())?;
                match pid {
                    Some(pid) => write!(f, "process {pid}"),
                    None => write!(f, "another process"),
                }
            }
            Self::WrongSecret { path } => {
                write!(
                    f,
                    "wrong password or recovery key for vault {}",
                    path.display()
                )
            }
            Self::NewerFormat { path, found } => {
                let known = super::superblock::FORMAT_VERSION;
                let path = path.display();
                write!(
                    f,
                    "{path} has format version {found}, this Keyfold knows up to {known}"
                )
            }
            Self::SuperblockDamaged {
                path,
                primary,
                backup,
            } => {
                write!(
                    f,
                    "both superblock copies of vault {} are unusable: ",
                    path.display()
                )?;
                write!(f, "superblock.json {primary}, superblock.bak {backup}")
            }
            Self::MissingPart { path, part } => {
                write!(f, "vault {} lacks {part}", path.display())
            }
            Self::ReadOnlyDirectory { path } => write!(f, "{} cannot be written", path.display()),
            Self::AccessDenied { path } => write!(f, "access to {} is denied", path.display()),
            Self::NoSpace { path } => {
                write!(
                    f,
                    "no space left while writing {}, nothing was changed",
                    path.display()
                )
            }
            Self::UnsupportedFilesystem { path, lacks } => {
                write!(f, "the filesystem of {} lacks {lacks}", path.display())
            }
            Self::HalfWritten { stale, source } => {
                write!(
                    f,
                    "the change is in force, but {} could not ",
                    stale.display()
                )?;
                write!(
                    f,
                    "be replaced and still holds the state before it: {source}"
                )
            }
            Self::LastSlot { slot } => write!(f, "key slot {slot} is the last one and was kept"),
            Self::NoSuchSlot { slot } => write!(f, "there is no key slot {slot} for this"),
            Self::TooManySlots { limit } => write!(f, "all {limit} key slots are taken"),
            Self::BadLabel => write!(
                f,
                "a slot label has 1 to 64 bytes, none a control character"
            ),
            Self::BadHeader { path, why } => write!(f, "header {} {why}", path.display()),
            Self::OtherVault { path } => {
                write!(f, "header {} belongs to another vault", path.display())
            }
            Self::NotAsSeen { path, why } => write!(f, "vault {} {why}", path.display()),
            Self::Exists { path } => write!(f, "{} exists already", path.display()),
            Self::Random(e) => write!(f, "no random bytes from the system: {e}"),
            Self::Io { what, path, source } => {
                write!(f, "{what} {} failed: {source}", path.display())
            }
        }
    }

    /// What to do next.
    fn remedy(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "check the path",
            Self::NotADirectory { .. } => "a vault is a directory, name that",
            Self::NotAVault { .. } => "`keyfold init` makes one in a new or empty directory",
            Self::AlreadyAVault { .. } => "mount it, or choose another path",
            Self::NotEmpty { .. } => "a new vault needs a new or empty directory",
            Self::InUse { .. } => "unmount it first",
            Self::WrongSecret { .. } => "try again, or use another key slot",
            Self::NewerFormat { .. } => "use a newer Keyfold",
            Self::SuperblockDamaged { .. } => "bring one back with `keyfold header restore`",
            Self::MissingPart {
                part: Part::Superblock,
                ..
            } => {
                "bring one back with `keyfold header restore`, or, if `keyfold init` was \
                 interrupted, remove the directory and repeat it"
            }
            Self::MissingPart {
                part: Part::Database,
                ..
            } => {
                "`keyfold check --repair` restores it from a snapshot if there is one, else bring \
                 it back from a backup of the whole vault"
            }
            Self::MissingPart {
                part: Part::Segments,
                ..
            } => "bring it back from a backup of the whole vault",
            Self::ReadOnlyDirectory { .. } => "open it with --read-only, or make it writable",
            Self::AccessDenied { .. } => "check owner and permissions",
            Self::NoSpace { .. } => "free some space and repeat",
            Self::UnsupportedFilesystem { .. } => "keep the vault on a local filesystem",
            Self::HalfWritten { .. } => "check the disk, then change any key slot to replace it",
            Self::LastSlot { .. } => "add another slot before removing it",
            Self::NoSuchSlot { .. } => "`keyfold passwd list` shows the slots",
            Self::TooManySlots { .. } => "remove one first",
            Self::BadLabel => "choose another",
            Self::BadHeader { .. } => "choose another header backup",
            Self::OtherVault { .. } => "choose a backup of this vault's header",
            Self::NotAsSeen { .. } => {
                "if you put a backup or another vault there yourself, repeat with \
                 --accept-rollback; if not, somebody else did"
            }
            Self::Exists { .. } => "choose another name",
            Self::Random(_) => "try again",
            Self::Io { .. } => "check the disk",
        }
    }
}

impl std::error::Error for VaultError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::HalfWritten { source, .. } => Some(source),
            Self::Random(e) => Some(e),
            _ => None,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superblock => "both superblock.json and superblock.bak",
            Self::Database => "meta.db",
            Self::Segments => "segments/",
        })
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "is missing"),
            Self::NotAFile => write!(f, "is not a regular file"),
            Self::Unreadable(errno) => write!(f, "cannot be read (errno {errno})"),
            Self::TooLarge => write!(f, "is larger than a superblock can be"),
            Self::Malformed { line, column } => {
                write!(f, "is malformed at line {line}, column {column}")
            }
            Self::NotASuperblock => write!(f, "is not a Keyfold superblock"),
            Self::OutOfBounds(field) => write!(f, "has an impossible value in \"{field}\""),
            Self::Newer(version) => write!(f, "has the newer format version {version}"),
            Self::NotAuthentic => write!(f, "was altered outside Keyfold"),
            Self::Stale => write!(f, "is older than the other copy"),
            Self::OtherVault => write!(f, "belongs to another vault than the other copy"),
        }
    }
}

impl fmt::Display for Facility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Locks => "file locks",
            Self::Sync => "fsync",
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "opening",
            Self::Read => "reading",
            Self::Create => "making",
            Self::Write => "writing",
            Self::Sync => "syncing",
            Self::Rename => "renaming into place",
            Self::Remove => "removing",
            Self::Lock => "locking",
        })
    }
}
