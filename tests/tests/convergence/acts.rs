//! What programs do in the folder.
//!
//! Whoever takes anything out of a file, or the file away, holds it open for writing meanwhile and reads
//! it first: what others wrote does not come into a file that is in use, so he has seen what he ends.

use std::fs::{self, File, FileType};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use keyfold_tests::Seeded;
use rustix::fs::{CWD, RenameFlags, XattrFlags};

use crate::cells::{CELL, tokens, written};
use crate::ledger::Ledger;
use crate::machines::Machine;

/// Directories that are made, moved and removed.
const DIRECTORIES: [&str; 5] = ["", "a", "b", "a/c", "b/d"];
/// Cells of a content, at most: one write has to be one request.
const CELLS: u64 = 2000;
/// How programs fail here: there is no such thing, it is of another kind, not empty, or there already; a
/// directory cannot go into itself; nobody can bring what was not here yet.
const FAILURES: [i32; 8] = [
    libc::ENOENT,
    libc::EEXIST,
    libc::ENOTDIR,
    libc::EISDIR,
    libc::ENOTEMPTY,
    libc::EINVAL,
    libc::ELOOP,
    libc::EHOSTUNREACH,
];

/// What a program does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Create,
    Replace,
    Overwrite,
    Append,
    Truncate,
    Rename,
    Remove,
    MakeDirectory,
    RemoveDirectory,
    Symlink,
    Attribute,
    Mode,
}

impl Act {
    /// One of them.
    pub(crate) fn any(random: &mut Seeded) -> Self {
        match random.below(24) {
            0..=4 => Self::Create,
            5..=6 => Self::Replace,
            7..=9 => Self::Overwrite,
            10..=12 => Self::Append,
            13 => Self::Truncate,
            14..=16 => Self::Rename,
            17 => Self::Remove,
            18..=19 => Self::MakeDirectory,
            20 => Self::RemoveDirectory,
            21 => Self::Symlink,
            22 => Self::Attribute,
            _ => Self::Mode,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::Overwrite => "overwrite",
            Self::Append => "append",
            Self::Truncate => "truncate",
            Self::Rename => "rename",
            Self::Remove => "remove",
            Self::MakeDirectory => "mkdir",
            Self::RemoveDirectory => "rmdir",
            Self::Symlink => "symlink",
            Self::Attribute => "xattr",
            Self::Mode => "chmod",
        }
    }

    /// Does it, and says so to the ledger. Panics where it fails as it may not.
    #[track_caller]
    pub(crate) fn carry_out(self, random: &mut Seeded, machine: &Machine, ledger: &mut Ledger) {
        let mut hand = Hand {
            random,
            number: machine.number,
            root: machine.root(),
            ledger,
        };
        let errno = hand.carry_out(self).map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(0);
            let number = machine.number;
            assert!(
                FAILURES.contains(&errno),
                "{self:?} on machine {number}: {error}"
            );
            errno
        });
        ledger.count(self.name(), errno);
    }
}

/// A file that is in use, and what was in it then.
struct Held {
    path: PathBuf,
    file: File,
    content: Vec<u8>,
}

impl Held {
    fn open(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW);
        let mut file = options.open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            content,
        })
    }
}

/// Whoever does it.
struct Hand<'h> {
    random: &'h mut Seeded,
    number: usize,
    root: PathBuf,
    ledger: &'h mut Ledger,
}

impl Hand<'_> {
    fn carry_out(&mut self, act: Act) -> io::Result<()> {
        match act {
            Act::Create => self.create(),
            Act::Replace => {
                let mut held = self.hold()?;
                self.set_length(&mut held, 0)?;
                let cells = self.cells(CELLS);
                self.write(&mut held, 0, cells)
            }
            Act::Overwrite => {
                let mut held = self.hold()?;
                let at = self.place_in(&held);
                let cells = self.cells(300);
                self.write(&mut held, at, cells)
            }
            Act::Append => {
                let mut held = self.hold()?;
                let end = held.content.len() / CELL;
                let cells = self.cells(300);
                self.write(&mut held, end, cells)
            }
            Act::Truncate => {
                let mut held = self.hold()?;
                let length = self.random.below(CELLS) as usize;
                self.set_length(&mut held, length)
            }
            Act::Rename => self.rename(),
            Act::Remove => self.remove(),
            Act::MakeDirectory => fs::create_dir_all(self.directory()),
            Act::RemoveDirectory if self.random.below(2) == 0 => {
                fs::remove_dir(self.one_of(|kind| kind.is_dir())?)
            }
            Act::RemoveDirectory => fs::remove_dir(self.directory()),
            Act::Symlink => {
                let target = format!("{}", self.random.below(6));
                std::os::unix::fs::symlink(target, self.name())
            }
            Act::Attribute => {
                let (path, value) = (self.known()?, self.random.next_u64().to_le_bytes());
                let name = ["user.one", "user.two"][self.random.below(2) as usize];
                if path.is_symlink() {
                    return Ok(());
                }
                rustix::fs::setxattr(path, name, &value, XattrFlags::empty()).map_err(Into::into)
            }
            Act::Mode => {
                let mode = [0o700, 0o600, 0o400, 0o500][self.random.below(4) as usize];
                let path = self.known()?;
                if path.is_symlink() {
                    return Ok(());
                }
                fs::set_permissions(path, fs::Permissions::from_mode(mode))
            }
        }
    }

    /// Notes what became of a path.
    fn note(&mut self, path: &Path, what: &str) {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        let line = format!("machine {}: {} {what}", self.number, path.display());
        self.ledger.note(line);
    }

    fn directory(&mut self) -> PathBuf {
        let which = 1 + self.random.below(DIRECTORIES.len() as u64 - 1);
        self.root.join(DIRECTORIES[which as usize])
    }

    /// A name that may be there or not.
    fn name(&mut self) -> PathBuf {
        let dir = DIRECTORIES[self.random.below(DIRECTORIES.len() as u64) as usize];
        let extension = ["", ".txt"][self.random.below(2) as usize];
        let name = format!("{}{extension}", self.random.below(6));
        self.root.join(dir).join(name)
    }

    /// A name that is there, anywhere.
    fn known(&mut self) -> io::Result<PathBuf> {
        self.one_of(|_| true)
    }

    fn one_of(&mut self, wanted: impl Fn(FileType) -> bool) -> io::Result<PathBuf> {
        let (mut paths, mut left) = (Vec::new(), vec![self.root.clone()]);
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                left.extend(kind.is_dir().then(|| entry.path()));
                paths.extend(wanted(kind).then(|| entry.path()));
            }
        }
        if paths.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ENOENT));
        }
        paths.sort();
        let which = self.random.below(paths.len() as u64);
        Ok(paths.swap_remove(which as usize))
    }

    fn hold(&mut self) -> io::Result<Held> {
        Held::open(&self.one_of(|kind| kind.is_file())?)
    }

    fn cells(&mut self, most: u64) -> usize {
        1 + self.random.below(most) as usize
    }

    /// A cell within a file, every other time where a block begins.
    fn place_in(&mut self, held: &Held) -> usize {
        let at = self
            .random
            .below(held.content.len() as u64 / CELL as u64 + 1) as usize;
        let block = 4096 / CELL;
        if self.random.below(2) == 0 {
            at / block * block
        } else {
            at
        }
    }

    fn create(&mut self) -> io::Result<()> {
        let path = self.name();
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(0o600);
        let mut held = Held {
            file: options.open(&path)?,
            path,
            content: Vec::new(),
        };
        self.ledger.changed(self.number, b"", b"");
        let cells = self.cells(CELLS);
        self.write(&mut held, 0, cells)
    }

    fn write(&mut self, held: &mut Held, at: usize, cells: usize) -> io::Result<()> {
        let bytes = written(self.ledger.token(), cells);
        let begin = at * CELL;
        let mut after = held.content.clone();
        after.resize(after.len().max(begin + bytes.len()), 0);
        after[begin..begin + bytes.len()].copy_from_slice(&bytes);
        let length = held.file.write_at(&bytes, begin as u64)?;
        assert_eq!(length, bytes.len(), "one write was two");
        self.became(held, after)
    }

    fn set_length(&mut self, held: &mut Held, cells: usize) -> io::Result<()> {
        let mut after = held.content.clone();
        after.resize(cells * CELL, 0);
        held.file.set_len((cells * CELL) as u64)?;
        self.became(held, after)
    }

    /// Notes a new content, and has it confirmed two times of three.
    fn became(&mut self, held: &mut Held, after: Vec<u8>) -> io::Result<()> {
        let what = format!("has {:?}", tokens(&after, "it"));
        self.ledger.changed(self.number, &held.content, &after);
        held.content = after;
        let synced = self.random.below(3) > 0;
        if synced {
            held.file.sync_all()?;
            self.ledger.confirmed(&held.content);
        }
        let sync = if synced { "and is synced" } else { "" };
        let path = held.path.clone();
        self.note(&path, &format!("{what} {sync}"));
        Ok(())
    }

    fn rename(&mut self) -> io::Result<()> {
        let (from, to) = (self.known()?, self.name());
        let known = match Held::open(&to) {
            Ok(held) => Some(held),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
            Err(error) => return Err(error),
        };
        let Some(replaced) = known else {
            let noreplace = RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(CWD, &from, CWD, &to, noreplace)?;
            self.note(&from, &format!("becomes {}", to.display()));
            return Ok(());
        };
        if from == to {
            return Ok(());
        }
        fs::rename(&from, &to)?;
        self.note(&from, &format!("replaces {}", to.display()));
        self.ledger.removed(&replaced.content);
        Ok(())
    }

    fn remove(&mut self) -> io::Result<()> {
        let path = self.one_of(|kind| !kind.is_dir())?;
        match Held::open(&path) {
            Ok(held) => {
                fs::remove_file(&path)?;
                self.note(&path, "is removed");
                self.ledger.removed(&held.content);
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => fs::remove_file(path),
            Err(error) => Err(error),
        }
    }
}
