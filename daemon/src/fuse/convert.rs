//! The kernel's words in the volume's.

use keyfold_fs::vfs::{Allocate, FileKind, OpenMode, RenameMode, Seek, XattrMode};
use nix::errno::Errno;

/// Permission bits of a mode.
pub(crate) fn perm(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

/// What `mknod(2)` is to make; no kind means a regular file.
pub(crate) fn node_kind(mode: u32) -> Result<FileKind, Errno> {
    match mode & libc::S_IFMT {
        0 => Ok(FileKind::Regular),
        _ => FileKind::from_mode(mode).ok_or(Errno::EINVAL),
    }
}

/// How `open(2)` flags open a file.
pub(crate) fn open_mode(flags: i32) -> OpenMode {
    let access = flags & libc::O_ACCMODE;
    OpenMode {
        read: access != libc::O_WRONLY,
        write: access != libc::O_RDONLY,
        append: flags & libc::O_APPEND != 0,
        truncate: flags & libc::O_TRUNC != 0,
        // O_SYNC contains O_DSYNC.
        sync: flags & libc::O_DSYNC != 0,
    }
}

pub(crate) fn rename_mode(flags: u32) -> Result<RenameMode, Errno> {
    match flags {
        0 => Ok(RenameMode::Replace),
        libc::RENAME_NOREPLACE => Ok(RenameMode::NoReplace),
        libc::RENAME_EXCHANGE => Ok(RenameMode::Exchange),
        _ => Err(Errno::EINVAL),
    }
}

/// What a mode of `fallocate(2)` means. Collapsing and inserting ranges is not supported.
pub(crate) fn allocate(mode: i32) -> Result<Allocate, Errno> {
    const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
    match mode {
        0 => Ok(Allocate::Extend),
        libc::FALLOC_FL_KEEP_SIZE => Ok(Allocate::KeepSize),
        PUNCH => Ok(Allocate::PunchHole),
        libc::FALLOC_FL_ZERO_RANGE => Ok(Allocate::Zero),
        ZERO_KEEP => Ok(Allocate::ZeroKeepSize),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// What is sought from where. The kernel keeps the other kinds of `lseek(2)` to itself.
pub(crate) fn seek(offset: i64, whence: i32) -> Result<(u64, Seek), Errno> {
    let what = match whence {
        libc::SEEK_DATA => Seek::Data,
        libc::SEEK_HOLE => Seek::Hole,
        _ => return Err(Errno::EINVAL),
    };
    let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
    Ok((offset, what))
}

pub(crate) fn xattr_mode(flags: i32) -> Result<XattrMode, Errno> {
    match flags {
        0 => Ok(XattrMode::Set),
        libc::XATTR_CREATE => Ok(XattrMode::Create),
        libc::XATTR_REPLACE => Ok(XattrMode::Replace),
        _ => Err(Errno::EINVAL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_flags_become_rights() {
        let mode = open_mode(libc::O_RDWR | libc::O_APPEND | libc::O_TRUNC | libc::O_SYNC);
        assert!(mode.read && mode.write && mode.append && mode.truncate && mode.sync);
        let mode = open_mode(libc::O_WRONLY | libc::O_DSYNC);
        assert!(!mode.read && mode.write && !mode.append && !mode.truncate && mode.sync);
        assert!(!open_mode(libc::O_RDONLY).write);
    }

    #[test]
    fn unknown_modes_are_refused() {
        assert_eq!(rename_mode(libc::RENAME_WHITEOUT), Err(Errno::EINVAL));
        assert_eq!(rename_mode(7), Err(Errno::EINVAL));
        assert_eq!(
            allocate(libc::FALLOC_FL_COLLAPSE_RANGE),
            Err(Errno::EOPNOTSUPP)
        );
        assert_eq!(allocate(libc::FALLOC_FL_PUNCH_HOLE), Err(Errno::EOPNOTSUPP));
        assert_eq!(seek(-1, libc::SEEK_DATA), Err(Errno::ENXIO));
        assert_eq!(seek(0, libc::SEEK_END), Err(Errno::EINVAL));
        assert_eq!(xattr_mode(3), Err(Errno::EINVAL));
    }
}
