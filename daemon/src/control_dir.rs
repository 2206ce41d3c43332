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
const INBOX_NAME: &[u8] = b"inbox";
const ACTIVITY_NAME: &[u8] = b"activity";

/// What the control directory needs of the daemon.
pub(crate) trait ControlService: Send + Sync {
    /// The state of the mount as one JSON object, ended by a newline.
    fn status_json(&self) -> Vec<u8>;

    /// What waits for the user, a line each, the newest last. It counts as shown to him.
    fn inbox(&self) -> Result<Vec<u8>, ControlError> {
        Ok(Vec::new())
    }

    /// What happened about shares, a line each, the newest last.
    fn activity(&self) -> Result<Vec<u8>, ControlError> {
        Ok(Vec::new())
    }

    /// Carries out one command line, or one JSON object with a `command`; returns the reply.
    ///
    /// `line` has no surrounding white space, no control characters (in JSON: none but white
    /// space) and a bounded length. May wait for the disk.
    fn run(&self, line: &str, caller: ControlCaller) -> Result<String, ControlError>;

    /// What is known of an inode of the volume by the name of an attribute.
    fn attribute(&self, _ino: Ino, _name: &[u8]) -> Option<String> {
        None
    }

    /// Does what setting an attribute of an inode of the volume asks for. May wait for the server.
    fn act(&self, _ino: Ino, _name: &[u8], _value: &[u8]) -> Result<(), ControlError> {
        Err(ControlError {
            errno: libc::EPERM,
            message: "no attribute of this name can be set".to_owned(),
        })
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
    Inbox,
    Activity,
}

impl Node {
    const ALL: [Self; 5] = [
        Self::Directory,
        Self::Status,
        Self::Control,
        Self::Inbox,
        Self::Activity,
    ];

    /// The inode with this number, where it is one of these.
    pub(crate) fn from_ino(ino: Ino) -> Option<Self> {
        Self::ALL.into_iter().find(|node| node.ino() == ino)
    }

    pub(crate) fn ino(self) -> Ino {
        Ino(match self {
            Self::Directory => u64::MAX - 15,
            Self::Status => u64::MAX - 14,
            Self::Control => u64::MAX - 13,
            Self::Inbox => u64::MAX - 12,
            Self::Activity => u64::MAX - 11,
        })
    }

    /// The file of this name in the directory.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        match name {
            STATUS_NAME => Some(Self::Status),
            CONTROL_NAME => Some(Self::Control),
            INBOX_NAME => Some(Self::Inbox),
            ACTIVITY_NAME => Some(Self::Activity),
            _ => None,
        }
    }
}

/// Entries of the directory, `.` and `..` included, in listing order.
const LISTING: [(&[u8], Ino, FileKind); 7] = [
    (b".", Ino(u64::MAX - 15), FileKind::Directory),
    (b"..", Ino::ROOT, FileKind::Directory),
    (STATUS_NAME, Ino(u64::MAX - 14), FileKind::Regular),
    (CONTROL_NAME, Ino(u64::MAX - 13), FileKind::Regular),
    (INBOX_NAME, Ino(u64::MAX - 12), FileKind::Regular),
    (ACTIVITY_NAME, Ino(u64::MAX - 11), FileKind::Regular),
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
    /// A file that can only be read, as it was when opened.
    Text(Vec<u8>),
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
            Node::Status | Node::Inbox | Node::Activity => (FileKind::Regular, 0o400, 1),
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

    /// Opens a file of the directory.
    pub(crate) fn open(&self, node: Node, caller: ControlCaller) -> Result<Handle, Errno> {
        self.admit(caller)?;
        let file = match node {
            Node::Directory => return Err(Errno::EISDIR),
            Node::Status => Open::Text(self.service.status_json()),
            Node::Inbox => Open::Text(self.service.inbox().map_err(|e| refused(&e))?),
            Node::Activity => Open::Text(self.service.activity().map_err(|e| refused(&e))?),
            Node::Control => Open::Waiting,
        };
        let handle = Handle(self.next.fetch_add(1, Ordering::Relaxed));
        self.open.lock().insert(handle, Arc::new(Mutex::new(file)));
        Ok(handle)
    }

    /// Lets in a process of the mount's owner, or root, that lives in the daemon's own mount and user
    /// namespaces.
    fn admit(&self, caller: ControlCaller) -> Result<(), Errno> {
        if caller.uid != self.owner.uid && caller.uid != 0 {
            return Err(Errno::EACCES);
        }
        // Process 0 is one outside the daemon's process namespace.
        let home = self.home.as_ref().filter(|_| caller.pid != 0);
        if home.is_none() || Namespaces::of(&caller.pid.to_string()).as_ref() != home {
            return Err(Errno::EACCES);
        }
        Ok(())
    }

    /// Does what setting an attribute asks for.
    pub(crate) fn act(
        &self,
        caller: ControlCaller,
        ino: Ino,
        (name, value): (&[u8], &[u8]),
    ) -> Result<(), Errno> {
        self.admit(caller)?;
        let acted = self.service.act(ino, name, value);
        acted.map_err(|e| refused(&e))
    }

    /// What is known of an inode of the volume by this name.
    pub(crate) fn attribute(&self, ino: Ino, name: &[u8]) -> Option<String> {
        self.service.attribute(ino, name)
    }

    pub(crate) fn release(&self, handle: Handle) {
        self.open.lock().remove(&handle);
    }

    /// Reads from a file or from a reply into `buffer`; returns how much.
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
            Open::Text(bytes) => (bytes, offset),
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
            Open::Text(_) => return Err(Errno::EBADF),
            Open::Replied { .. } => return Err(Errno::EBUSY),
        }
        let done = match command(data) {
            Ok(line) => self.service.run(line, caller),
            Err(why) => Err(ControlError {
                errno: libc::EINVAL,
                message: why.to_owned(),
            }),
        };
        let (reply, outcome) = match done {
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

fn refused(error: &ControlError) -> Errno {
    Errno::from_raw(error.errno)
}

/// The one command in what was written, if it is one: text, not empty, a single line unless JSON.
/// Otherwise why not.
fn command(data: &[u8]) -> Result<&str, &'static str> {
    let json = data.trim_ascii_start().starts_with(b"{");
    if data.len() > if json { JSON_MAX } else { COMMAND_MAX } {
        return Err("the command is too long: it may have 4096 bytes, and 512 KiB in JSON");
    }
    let line = std::str::from_utf8(data).map_err(|_| "the command is no text in UTF-8")?;
    let line = line.trim();
    let clean = |c: char| !c.is_control() || json && c.is_ascii_whitespace();
    if line.is_empty() {
        Err("the command is empty")
    } else if line.chars().all(clean) {
        Ok(line)
    } else {
        Err("a command is one line without control characters")
    }
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
mod tests;
