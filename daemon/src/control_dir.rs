//! The virtual directory `.keyfold` in the root of a mount: what it shows, and who may use it.
//!
//! It exists for lookups only, is never listed, and its inode numbers lie at the top of the 64-bit
//! space, which a volume never reaches. Nothing in it acts on a read: a command is written to
//! `control`, one for each open handle, and its reply is read back from that handle.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use keyfold_fs::vfs::{Attr, Cookie, DirEntry, FileKind, Handle, Ino, Listing, Timestamp};
use nix::errno::Errno;
use nix::unistd::{getgid, getuid};
use parking_lot::Mutex;

use crate::snapshot_dir;

/// The reserved name in the root directory.
pub(crate) const NAME: &[u8] = b".keyfold";
/// Longest command in words, in bytes.
const COMMAND_MAX: usize = 4096;
/// Longest one in JSON: an order can carry a server's certificates.
const JSON_MAX: usize = 512 << 10;

const STATUS_NAME: &[u8] = b"status";
const CONTROL_NAME: &[u8] = b"control";

/// What the control directory needs of the daemon.
pub(crate) trait ControlService: Send + Sync {
    /// The state of the mount as one JSON object, ended by a newline.
    fn status_json(&self) -> Vec<u8>;

    /// Carries out one command line, or one JSON object with a `command`; returns the reply.
    ///
    /// `line` has no surrounding white space, no control characters (in JSON: none but white
    /// space) and a bounded length. May wait for the disk.
    fn run(&self, line: &str, caller: ControlCaller) -> Result<String, ControlError>;

    /// What is known of an inode of the volume, where it is in a share: its `state`, `share` or
    /// `role`.
    fn attribute(&self, _ino: Ino, _name: &[u8]) -> Option<String> {
        None
    }
}

/// The process that wrote a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ControlCaller {
    /// Its user.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
    /// Its thread id, as the daemon sees it.
    pub(crate) pid: u32,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ControlError {
    /// What the write of the command fails with.
    pub(crate) errno: i32,
    /// What can be read back from the handle: what failed and what to do next.
    pub(crate) message: String,
}

/// An inode of the control directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Directory,
    Status,
    Control,
}

impl Node {
    const ALL: [Self; 3] = [Self::Directory, Self::Status, Self::Control];

    /// The inode with this number, where it is one of these.
    pub(crate) fn from_ino(ino: Ino) -> Option<Self> {
        Self::ALL.into_iter().find(|node| node.ino() == ino)
    }

    pub(crate) fn ino(self) -> Ino {
        Ino(match self {
            Self::Directory => u64::MAX - 15,
            Self::Status => u64::MAX - 14,
            Self::Control => u64::MAX - 13,
        })
    }

    /// The file of this name in the directory.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        match name {
            STATUS_NAME => Some(Self::Status),
            CONTROL_NAME => Some(Self::Control),
            _ => None,
        }
    }
}

/// Entries of the directory, `.` and `..` included, in listing order.
const LISTING: [(&[u8], Ino, FileKind); 5] = [
    (b".", Ino(u64::MAX - 15), FileKind::Directory),
    (b"..", Ino::ROOT, FileKind::Directory),
    (STATUS_NAME, Ino(u64::MAX - 14), FileKind::Regular),
    (CONTROL_NAME, Ino(u64::MAX - 13), FileKind::Regular),
    (
        snapshot_dir::NAME,
        snapshot_dir::DIRECTORY,
        FileKind::Directory,
    ),
];

/// Lists the directory from a position on.
pub(crate) fn list(from: Cookie, sink: &mut dyn FnMut(DirEntry<'_>) -> Listing) {
    let start = usize::try_from(from.0)
        .unwrap_or(usize::MAX)
        .min(LISTING.len());
    for ((name, ino, kind), cookie) in LISTING[start..].iter().zip(from.0 + 1..) {
        let entry = DirEntry {
            name,
            ino: *ino,
            kind: *kind,
            cookie: Cookie(cookie),
        };
        if sink(entry) == Listing::Full {
            break;
        }
    }
}

/// The user whose mount it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Who runs this program.
    pub(crate) fn of_process() -> Self {
        Self {
            uid: getuid().as_raw(),
            gid: getgid().as_raw(),
        }
    }
}

/// The control directory of one mount.
pub(crate) struct ControlDir {
    service: Arc<dyn ControlService>,
    owner: Owner,
    home: Option<Namespaces>,
    born: Timestamp,
    next: AtomicU64,
    open: Mutex<HashMap<Handle, Arc<Mutex<Open>>>>,
}

/// An open file.
enum Open {
    /// `status` as it was when opened.
    Status(Vec<u8>),
    /// `control`, nothing written yet.
    Waiting,
    /// `control` with the reply to the command, and where in the file its reading began.
    Replied { reply: Vec<u8>, start: Option<u64> },
}

impl ControlDir {
    pub(crate) fn new(service: Arc<dyn ControlService>, owner: Owner) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            service,
            owner,
            home: Namespaces::of("self"),
            born: Timestamp {
                secs: now.as_secs().cast_signed(),
                nanos: now.subsec_nanos(),
            },
            next: AtomicU64::new(1),
            open: Mutex::default(),
        }
    }

    pub(crate) fn attr(&self, node: Node) -> Attr {
        let (kind, perm, nlink) = match node {
            Node::Directory => (FileKind::Directory, 0o500, 2),
            Node::Status => (FileKind::Regular, 0o400, 1),
            Node::Control => (FileKind::Regular, 0o600, 1),
        };
        Attr {
            ino: node.ino(),
            kind,
            perm,
            nlink,
            uid: self.owner.uid,
            gid: self.owner.gid,
            rdev: 0,
            size: 0,
            blocks: 0,
            atime: self.born,
            mtime: self.born,
            ctime: self.born,
            btime: self.born,
        }
    }

    /// Opens `status` or `control` for a process of the mount's owner, or root, that lives in the
    /// daemon's own mount and user namespaces.
    pub(crate) fn open(&self, node: Node, caller: ControlCaller) -> Result<Handle, Errno> {
        if caller.uid != self.owner.uid && caller.uid != 0 {
            return Err(Errno::EACCES);
        }
        // Process 0 is one outside the daemon's process namespace.
        let home = self.home.as_ref().filter(|_| caller.pid != 0);
        if home.is_none() || Namespaces::of(&caller.pid.to_string()).as_ref() != home {
            return Err(Errno::EACCES);
        }
        let file = match node {
            Node::Directory => return Err(Errno::EISDIR),
            Node::Status => Open::Status(self.service.status_json()),
            Node::Control => Open::Waiting,
        };
        let handle = Handle(self.next.fetch_add(1, Ordering::Relaxed));
        self.open.lock().insert(handle, Arc::new(Mutex::new(file)));
        Ok(handle)
    }

    /// What is known of an inode of the volume by this name.
    pub(crate) fn attribute(&self, ino: Ino, name: &[u8]) -> Option<String> {
        self.service.attribute(ino, name)
    }

    pub(crate) fn release(&self, handle: Handle) {
        self.open.lock().remove(&handle);
    }

    /// Reads from `status` or from a reply into `buffer`; returns how much.
    ///
    /// A shell goes on reading where it stopped writing, an editor seeks to the start first: the
    /// first read of a reply, wherever it is, reads its first byte.
    pub(crate) fn read(
        &self,
        handle: Handle,
        offset: u64,
        buffer: &mut [u8],
    ) -> Result<usize, Errno> {
        let file = self.file(handle)?;
        let mut file = file.lock();
        let (bytes, from) = match &mut *file {
            Open::Status(bytes) => (bytes, offset),
            Open::Waiting => return Ok(0),
            Open::Replied { reply, start } => {
                let start = start.get_or_insert(offset);
                *start = offset.min(*start);
                (reply, offset - *start)
            }
        };
        let from = usize::try_from(from).map_or(bytes.len(), |from| from.min(bytes.len()));
        let rest = &bytes[from..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    /// Carries out the command in `data`. The reply, also that of a command that failed, is there
    /// to be read afterwards.
    pub(crate) fn write(
        &self,
        handle: Handle,
        data: &[u8],
        caller: ControlCaller,
    ) -> Result<usize, Errno> {
        let file = self.file(handle)?;
        let mut file = file.lock();
        match *file {
            Open::Waiting => {}
            Open::Status(_) => return Err(Errno::EBADF),
            Open::Replied { .. } => return Err(Errno::EBUSY),
        }
        let line = command(data).ok_or(Errno::EINVAL)?;
        let (reply, outcome) = match self.service.run(line, caller) {
            Ok(reply) => (reply, Ok(data.len())),
            Err(error) => (error.message, Err(Errno::from_raw(error.errno))),
        };
        let mut reply = reply.into_bytes();
        if reply.last().is_some_and(|last| *last != b'\n') {
            reply.push(b'\n');
        }
        *file = Open::Replied { reply, start: None };
        outcome
    }

    fn file(&self, handle: Handle) -> Result<Arc<Mutex<Open>>, Errno> {
        self.open.lock().get(&handle).cloned().ok_or(Errno::EBADF)
    }
}

/// The one command in what was written, if it is one: text, not empty, a single line unless JSON.
fn command(data: &[u8]) -> Option<&str> {
    let json = data.trim_ascii_start().starts_with(b"{");
    if data.len() > if json { JSON_MAX } else { COMMAND_MAX } {
        return None;
    }
    let line = std::str::from_utf8(data).ok()?.trim();
    let clean = line
        .chars()
        .all(|c| !c.is_control() || json && c.is_ascii_whitespace());
    (clean && !line.is_empty()).then_some(line)
}

/// The namespaces that decide what a path and a user mean.
#[derive(Debug, PartialEq, Eq)]
struct Namespaces {
    mount: PathBuf,
    user: PathBuf,
}

impl Namespaces {
    /// Those of a process; `None` where the daemon may not look.
    fn of(process: &str) -> Option<Self> {
        let link = |kind| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
        Some(Self {
            mount: link("mnt")?,
            user: link("user")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo;

    impl ControlService for Echo {
        fn status_json(&self) -> Vec<u8> {
            b"{\"state\":\"ok\"}\n".to_vec()
        }

        fn run(&self, line: &str, _: ControlCaller) -> Result<String, ControlError> {
            if line == "fail" {
                return Err(ControlError {
                    errno: libc::ENOENT,
                    message: "no such thing".into(),
                });
            }
            Ok(format!("did {line}"))
        }
    }

    fn read(
        control: &ControlDir,
        handle: Handle,
        offset: u64,
        size: usize,
    ) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; size];
        let len = control.read(handle, offset, &mut buffer)?;
        buffer.truncate(len);
        Ok(buffer)
    }

    fn directory() -> ControlDir {
        let owner = Owner {
            uid: nix::unistd::getuid().as_raw(),
            gid: 0,
        };
        ControlDir::new(Arc::new(Echo), owner)
    }

    fn me() -> ControlCaller {
        ControlCaller {
            uid: nix::unistd::getuid().as_raw(),
            gid: 0,
            pid: std::process::id(),
        }
    }

    #[test]
    fn a_reply_is_read_from_where_the_command_ended_or_from_the_start() {
        let control = directory();
        for start in [0, 5] {
            let handle = control.open(Node::Control, me()).unwrap();
            assert_eq!(control.write(handle, b"sync\n", me()), Ok(5));
            assert_eq!(read(&control, handle, start, 4).unwrap(), b"did ");
            assert_eq!(read(&control, handle, start + 4, 100).unwrap(), b"sync\n");
            assert_eq!(read(&control, handle, start + 9, 100).unwrap(), b"");
            assert_eq!(read(&control, handle, 0, 100).unwrap(), b"did sync\n");
            control.release(handle);
            assert_eq!(read(&control, handle, 0, 1), Err(Errno::EBADF));
        }
    }

    #[test]
    fn a_failing_command_fails_the_write_and_says_why() {
        let control = directory();
        let handle = control.open(Node::Control, me()).unwrap();
        assert_eq!(control.write(handle, b"fail", me()), Err(Errno::ENOENT));
        assert_eq!(read(&control, handle, 0, 100).unwrap(), b"no such thing\n");
        assert_eq!(control.write(handle, b"sync", me()), Err(Errno::EBUSY));
    }

    #[test]
    fn reading_without_a_command_does_nothing() {
        let control = directory();
        let handle = control.open(Node::Control, me()).unwrap();
        assert_eq!(read(&control, handle, 0, 100).unwrap(), b"");
        assert_eq!(control.write(handle, b"sync", me()), Ok(4));
    }

    #[test]
    fn only_one_line_of_text_is_a_command() {
        assert_eq!(command(b" sync \n"), Some("sync"));
        assert_eq!(
            command(b"{\n  \"command\": \"sync\"\n}\n"),
            Some("{\n  \"command\": \"sync\"\n}")
        );
        let long = [b'a'; COMMAND_MAX + 1];
        let refused: [&[u8]; 7] = [
            b"",
            b"\n",
            b"sync\nsync",
            b"sy\0nc",
            b"\xff\xfe",
            b"a\x1b[2J",
            &long,
        ];
        assert!(refused.into_iter().all(|data| command(data).is_none()));
    }

    #[test]
    fn strangers_are_refused() {
        let control = directory();
        for caller in [
            ControlCaller { uid: 4711, ..me() },
            ControlCaller { pid: 0, ..me() },
            // No process can have this id.
            ControlCaller {
                pid: u32::MAX,
                ..me()
            },
        ] {
            assert_eq!(control.open(Node::Status, caller), Err(Errno::EACCES));
        }
    }
}
