//! What is mounted where, read from the kernel's table so that no mount is touched by asking.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// How often a mount is asked whether it lives, while threads of its program end.
const ASKED: usize = 64;
/// The filesystem type of our mounts in the kernel's table.
pub(crate) const FS_TYPE: &str = "fuse.keyfold";

/// One line of `/proc/self/mountinfo` (proc(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountRecord {
    /// Number of the mount, unique among those that exist.
    pub(crate) id: u64,
    /// The device number of its filesystem. The kernel gives it to another filesystem once this
    /// one is gone.
    pub(crate) device: Device,
    /// Where it is mounted.
    pub(crate) point: PathBuf,
    /// Filesystem type with subtype, as in `fuse.keyfold`.
    pub(crate) fs_type: String,
    /// What is mounted; of our mounts the vault.
    pub(crate) source: PathBuf,
}

/// A device number; printed as the kernel does, `major:minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device {
    major: u32,
    minor: u32,
}

impl Device {
    fn parse(field: &[u8]) -> Option<Self> {
        let (major, minor) = std::str::from_utf8(field).ok()?.split_once(':')?;
        Some(Self {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl MountRecord {
    /// Whether it is one of ours.
    pub(crate) fn is_keyfold(&self) -> bool {
        self.fs_type == FS_TYPE
    }
}

/// Every mount in this process's namespace, in the order they were stacked.
pub(crate) fn mounts() -> io::Result<Vec<MountRecord>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// The uppermost mount at exactly `point`.
pub(crate) fn mount_at(point: &Path) -> io::Result<Option<MountRecord>> {
    Ok(uppermost(mounts()?, point))
}

/// Later mounts cover earlier ones.
fn uppermost(mounts: Vec<MountRecord>, point: &Path) -> Option<MountRecord> {
    mounts.into_iter().rev().find(|m| m.point == point)
}

/// Whether the program that served a mount is gone, or went while it was asked, as this error of it says.
pub(crate) fn is_gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED))
}

/// Whether the program that served what is mounted at `point` is gone. Asks in a way that no cache
/// of the kernel answers.
pub(crate) fn is_dead(point: &Path) -> bool {
    for _ in 0..ASKED {
        match nix::sys::statfs::statfs(point).err() {
            Some(errno) if is_gone(&errno.into()) => return true,
            // The thread that was asked has ended; the program may be about to.
            Some(Errno::ECANCELED) => {}
            _ => return false,
        }
    }
    false
}

/// The path under which the kernel's table lists `point`: absolute and free of symbolic links,
/// found without asking a mount that may be at `point` itself.
pub(crate) fn locate(point: &Path) -> io::Result<PathBuf> {
    if fs::read_link(point).is_ok() {
        return fs::canonicalize(point);
    }
    let point = std::path::absolute(point)?;
    match (point.parent(), point.file_name()) {
        (Some(parent), Some(name)) => Ok(fs::canonicalize(parent)?.join(name)),
        _ => fs::canonicalize(&point),
    }
}

fn parse(table: &[u8]) -> Vec<MountRecord> {
    table
        .split(|&b| b == b'\n')
        .filter_map(parse_line)
        .collect()
}

fn parse_line(line: &[u8]) -> Option<MountRecord> {
    let mut fields = line.split(|&b| b == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = Device::parse(fields.nth(1)?)?;
    let point = unescape(fields.nth(1)?);
    let mut rest = fields.skip_while(|f| *f != b"-").skip(1);
    let fs_type = String::from_utf8_lossy(rest.next()?).into_owned();
    let source = unescape(rest.next().unwrap_or_default());
    Some(MountRecord {
        id,
        device,
        point,
        fs_type,
        source,
    })
}

/// Undoes the kernel's `\ooo` for blanks, newlines and backslashes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        if let (b'\\', Some(code)) = (first, tail.get(..3).and_then(octal)) {
            bytes.push(code);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_blanks_and_backslashes_are_read_as_they_are() {
        let table = b"29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            71 29 0:50 / /home/a\\040b\\134c rw,nosuid - fuse.keyfold /home/v\\040x.kf rw,user_id=0\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[1].id, 71);
        assert_eq!(mounts[1].device.to_string(), "0:50");
        assert_eq!(mounts[1].point, PathBuf::from("/home/a b\\c"));
        assert_eq!(mounts[1].source, PathBuf::from("/home/v x.kf"));
        assert!(mounts[1].is_keyfold() && !mounts[0].is_keyfold());
    }

    #[test]
    fn the_last_mount_at_a_place_counts() {
        let table = b"29 1 0:44 / / rw - ext4 /dev/vda rw\n\
            61 29 0:50 / /mnt/a\\040b rw,nosuid - fuse.keyfold x rw\n\
            62 61 0:51 / /mnt/a\\040b rw,nosuid - fuse.keyfold y rw\n";
        let device = |point| {
            let mount = uppermost(parse(table), Path::new(point));
            mount.map(|m| m.device.to_string())
        };
        assert_eq!(device("/mnt/a b").as_deref(), Some("0:51"));
        assert_eq!(device("/").as_deref(), Some("0:44"));
        assert_eq!(device("/mnt"), None);
        assert_eq!(uppermost(parse(b""), Path::new("/")), None);
    }

    #[test]
    fn malformed_lines_are_passed_over() {
        assert_eq!(
            parse(b"\nx\n1 2\n1 2 3 4 5 6 no dash\n1 2 3 4 5 6 -\n"),
            Vec::new()
        );
    }

    #[test]
    fn this_system_has_a_root_mount() {
        assert!(mounts().unwrap().iter().any(|m| m.point == Path::new("/")));
    }
}
