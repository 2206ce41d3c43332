//! Copying a tree with everything that belongs to it, from a snapshot to where it was.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, SeekFrom, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;
/// Bits that are only right together with the right owner.
const OWNER_BITS: u32 = 0o6000;

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// Regular files.
    pub(super) files: u64,
    /// Directories, links and nodes.
    pub(super) others: u64,
    /// Bytes of content.
    pub(super) bytes: u64,
    /// What could not be copied, and why.
    pub(super) left_out: Vec<(PathBuf, io::Error)>,
}

/// A copy under way.
#[derive(Default)]
struct Run {
    done: Copied,
    /// The first copy of each inode with several names.
    links: HashMap<u64, PathBuf>,
}

/// A directory whose entries are being copied; it gets its attributes when they are.
struct Level {
    from: PathBuf,
    to: PathBuf,
    entries: fs::ReadDir,
}

/// Copies `from` to `to`, which does not exist. What is below `from` and cannot be copied is left
/// out.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<Copied> {
    let mut run = Run::default();
    let mut levels: Vec<Level> = run
        .object(from.to_owned(), to.to_owned())?
        .into_iter()
        .collect();
    while let Some(level) = levels.last_mut() {
        let Some(entry) = level.entries.next() else {
            if let Some(Level { from, to, .. }) = levels.pop()
                && let Err(e) = dress(&from, &to)
            {
                run.done.left_out.push((to, e));
            }
            continue;
        };
        let name = entry?.file_name();
        let (from, to) = (level.from.join(&name), level.to.join(&name));
        match run.object(from, to.clone()) {
            Ok(level) => levels.extend(level),
            Err(e) if is_fatal(&e) => return Err(e),
            Err(e) => run.done.left_out.push((to, e)),
        }
    }
    Ok(run.done)
}

/// Whether there is no use in going on.
fn is_fatal(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem
    )
}

impl Run {
    /// Makes one object; a directory is returned for its entries to be made.
    fn object(&mut self, from: PathBuf, to: PathBuf) -> io::Result<Option<Level>> {
        let meta = fs::symlink_metadata(&from)?;
        let kind = meta.file_type();
        if kind.is_dir() {
            DirBuilder::new().mode(0o700).create(&to)?;
            self.done.others += 1;
            let entries = fs::read_dir(&from)?;
            return Ok(Some(Level { from, to, entries }));
        }
        if meta.nlink() > 1 {
            if let Some(first) = self.links.get(&meta.ino()) {
                fs::hard_link(first, &to)?;
                self.done.others += 1;
                return Ok(None);
            }
            self.links.insert(meta.ino(), to.clone());
        }
        if kind.is_file() {
            self.file(&from, &to).inspect_err(|_| {
                // Half a file is worse than none.
                let _ = fs::remove_file(&to);
            })?;
            self.done.files += 1;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            self.done.others += 1;
        } else {
            let node = match kind {
                k if k.is_fifo() => FileType::Fifo,
                k if k.is_socket() => FileType::Socket,
                k if k.is_char_device() => FileType::CharacterDevice,
                _ => FileType::BlockDevice,
            };
            rustix::fs::mknodat(CWD, &to, node, Mode::RUSR | Mode::WUSR, meta.rdev())?;
            self.done.others += 1;
        }
        dress(&from, &to)?;
        Ok(None)
    }

    /// Copies content; holes stay holes.
    fn file(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let source = File::open(from)?;
        let target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(to)?;
        let size = source.metadata()?.len();
        target.set_len(size)?;
        let mut chunk = vec![0; CHUNK];
        let mut at = 0;
        while at < size {
            at = match rustix::fs::seek(&source, SeekFrom::Data(at)) {
                Ok(data) => data,
                Err(Errno::NXIO) => break,
                Err(e) => return Err(e.into()),
            };
            let hole = rustix::fs::seek(&source, SeekFrom::Hole(at))?;
            while at < hole {
                let want = usize::try_from(hole - at).unwrap_or(CHUNK).min(CHUNK);
                let got = source.read_at(&mut chunk[..want], at)?;
                if got == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                target.write_all_at(&chunk[..got], at)?;
                at += got as u64;
                self.done.bytes += got as u64;
            }
        }
        Ok(())
    }
}

/// Gives `to` owner, mode, extended attributes and times of `from`. Giving a file away clears its
/// setuid bits and capabilities, and setting anything changes its times: hence the order.
fn dress(from: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(from)?;
    let (user, group) = (Uid::from_raw(meta.uid()), Gid::from_raw(meta.gid()));
    let given = rustix::fs::chownat(CWD, to, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW);
    let mut perm = meta.mode() & 0o7777;
    match given {
        Ok(()) => {}
        // An ordinary user owns what he restores, as with `cp -a`.
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => perm &= !OWNER_BITS,
        Err(e) => return Err(e.into()),
    }
    if !meta.file_type().is_symlink() {
        rustix::fs::chmodat(CWD, to, Mode::from_raw_mode(perm), AtFlags::empty())?;
    }
    for name in extended_names(from)? {
        let value = extended(from, &name)?;
        rustix::fs::lsetxattr(to, &*name, &value, XattrFlags::empty())?;
    }
    let at = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: at(meta.atime(), meta.atime_nsec()),
        last_modification: at(meta.mtime(), meta.mtime_nsec()),
    };
    Ok(rustix::fs::utimensat(
        CWD,
        to,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// Names of extended attributes. The system's own, beyond ACLs, are not a user's to set.
fn extended_names(of: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut list = vec![0; 64 << 10];
    let length = match rustix::fs::llistxattr(of, &mut list) {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let root = rustix::process::geteuid().is_root();
    let settable = |name: &&[u8]| root || !name.starts_with(b"security.");
    let names = list[..length].split(|b| *b == 0).filter(|n| !n.is_empty());
    Ok(names.filter(settable).map(<[u8]>::to_vec).collect())
}

fn extended(of: &Path, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut value = vec![0; 64 << 10];
    let name = std::ffi::OsStr::from_bytes(name);
    let length = rustix::fs::lgetxattr(of, name, &mut value)?;
    value.truncate(length);
    Ok(value)
}
