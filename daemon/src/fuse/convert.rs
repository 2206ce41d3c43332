//! Between the kernel's words, as fuser spells them, and the volume's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, RenameFlags, TimeOrNow};
use keyfold_fs::vfs::{
    Allocate, Attr, FileKind, Ino, OpenMode, RenameMode, Seek, SetTime, Timestamp, XattrMode,
};
use nix::errno::Errno;

/// `st_blksize`: what programs take as a good size for their buffers. Larger than a block, because
/// each write of a program is a request.
const PREFERRED_IO: u32 = 64 * 1024;

/// Permission bits of a mode.
pub(crate) fn perm(mode: u32) -> u16 {
    (mode & 0o7777) as u16
}

pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Regular => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
    }
}

pub(crate) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: system_time(attr.btime),
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: PREFERRED_IO,
        flags: 0,
    }
}

/// The volume's time as fuser wants it. Every `Timestamp` is representable on 64-bit Linux; one
/// that is not would show as 1970.
pub(crate) fn system_time(at: Timestamp) -> SystemTime {
    let whole = Duration::from_secs(at.secs.unsigned_abs());
    let second = if at.secs < 0 {
        UNIX_EPOCH.checked_sub(whole)
    } else {
        UNIX_EPOCH.checked_add(whole)
    };
    second
        .and_then(|second| second.checked_add(Duration::from_nanos(at.nanos.into())))
        .unwrap_or(UNIX_EPOCH)
}

/// The time the kernel sent, out of what fuser 0.18 makes of it.
///
/// The kernel sends `secs + nanos`, nanos forward. For negative seconds fuser hands over
/// `1970 - (|secs| + nanos)`, which is wrong by twice the fraction, but loses nothing: both
/// parts can be read back. A time from 1970 on is handed over as it is.
pub(crate) fn sent_time(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp {
            secs: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanos: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            Timestamp {
                secs: 0_i64
                    .checked_sub_unsigned(before.as_secs())
                    .unwrap_or(i64::MIN),
                nanos: before.subsec_nanos(),
            }
        }
    }
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(sent_time(time)),
    }
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

pub(crate) fn rename_mode(flags: RenameFlags) -> Result<RenameMode, Errno> {
    if flags.is_empty() {
        Ok(RenameMode::Replace)
    } else if flags == RenameFlags::RENAME_NOREPLACE {
        Ok(RenameMode::NoReplace)
    } else if flags == RenameFlags::RENAME_EXCHANGE {
        Ok(RenameMode::Exchange)
    } else {
        Err(Errno::EINVAL)
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

pub(crate) fn ino(ino: INodeNo) -> Ino {
    Ino(ino.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// fuser 0.18's `system_time_from_time`.
    fn as_fuser_hands_it_over(at: Timestamp) -> SystemTime {
        if at.secs >= 0 {
            UNIX_EPOCH + Duration::new(at.secs as u64, at.nanos)
        } else {
            UNIX_EPOCH - Duration::new(at.secs.unsigned_abs(), at.nanos)
        }
    }

    #[test]
    fn every_time_the_kernel_sends_arrives_whole() {
        for secs in [
            0,
            1,
            -1,
            -2,
            1 << 31,
            1 << 40,
            -(1 << 40),
            i64::MAX - 1,
            i64::MIN + 1,
        ] {
            for nanos in [0, 1, 500_000_000, 999_999_999] {
                let at = Timestamp { secs, nanos };
                assert_eq!(sent_time(as_fuser_hands_it_over(at)), at);
            }
        }
        // The kernel sends the two extremes without a fraction.
        for secs in [i64::MIN, i64::MAX] {
            let at = Timestamp { secs, nanos: 0 };
            assert_eq!(sent_time(as_fuser_hands_it_over(at)), at);
        }
    }

    #[test]
    fn no_time_of_a_volume_is_changed_or_fatal_on_its_way_out() {
        for secs in [i64::MIN, i64::MIN + 1, -2, -1, 0, 1, 1 << 33, i64::MAX] {
            for nanos in [0, 1, 999_999_999] {
                let out = system_time(Timestamp { secs, nanos });
                let forward = UNIX_EPOCH.duration_since(out).map_or_else(
                    |e| e.duration().as_nanos().cast_signed(),
                    |d| -d.as_nanos().cast_signed(),
                );
                assert_eq!(
                    forward,
                    i128::from(secs) * 1_000_000_000 + i128::from(nanos)
                );
            }
        }
    }

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
        assert_eq!(
            rename_mode(RenameFlags::RENAME_WHITEOUT),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            rename_mode(RenameFlags::from_bits_retain(7)),
            Err(Errno::EINVAL)
        );
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
