//! The files and directories beneath, by number.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, fstat, openat, statat};

use crate::log::Node;

/// A file or directory the kernel knows of, or may ask for.
struct Known {
    place: OwnedFd,
    /// Its last name, for people.
    name: OsString,
    inode: u64,
}

/// An open file.
pub(crate) struct Opened {
    pub(crate) file: File,
    /// The time between two kills in which it was opened.
    pub(crate) life: u64,
}

/// All of them.
pub(crate) struct Nodes {
    known: HashMap<u64, Known>,
    by_inode: HashMap<u64, Node>,
    last: u64,
    /// Every name that anything ever had.
    pub(crate) named: Vec<(Node, OsString)>,
    pub(crate) opened: HashMap<u64, Opened>,
    last_handle: u64,
}

fn place(dir: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::empty())?)
}

impl Nodes {
    /// Knows nothing but the directory at `root`.
    pub(crate) fn new(root: &std::path::Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut nodes = Self {
            known: HashMap::new(),
            by_inode: HashMap::new(),
            last: 0,
            named: Vec::new(),
            opened: HashMap::new(),
            last_handle: 0,
        };
        nodes.learn(openat(CWD, root, flags, Mode::empty())?, OsStr::new("."))?;
        Ok(nodes)
    }

    fn learn(&mut self, place: OwnedFd, name: &OsStr) -> io::Result<(Node, Stat)> {
        let stat = fstat(&place)?;
        if let Some(node) = self.by_inode.get(&stat.st_ino) {
            return Ok((*node, stat));
        }
        self.last += 1;
        let known = Known {
            place,
            name: name.to_owned(),
            inode: stat.st_ino,
        };
        self.known.insert(self.last, known);
        self.named.push((Node(self.last), name.to_owned()));
        self.by_inode.insert(stat.st_ino, Node(self.last));
        Ok((Node(self.last), stat))
    }

    fn get(&self, node: Node) -> io::Result<&Known> {
        let gone = || io::Error::from_raw_os_error(libc::ESTALE);
        self.known.get(&node.0).ok_or_else(gone)
    }

    /// Where it is.
    pub(crate) fn place(&self, node: Node) -> io::Result<&OwnedFd> {
        Ok(&self.get(node)?.place)
    }

    /// Its last name.
    pub(crate) fn name(&self, node: Node) -> OsString {
        self.known
            .get(&node.0)
            .map_or_else(OsString::new, |known| known.name.clone())
    }

    /// Finds an entry of a directory.
    pub(crate) fn find(&mut self, dir: Node, name: &OsStr) -> io::Result<(Node, Stat)> {
        let place = place(self.place(dir)?, name)?;
        self.learn(place, name)
    }

    pub(crate) fn stat(&self, node: Node) -> io::Result<Stat> {
        Ok(fstat(self.place(node)?)?)
    }

    /// Opens a file or directory.
    pub(crate) fn reopen(&self, node: Node, flags: OFlags) -> io::Result<File> {
        use std::os::fd::AsRawFd;
        let path = format!("/proc/self/fd/{}", self.place(node)?.as_raw_fd());
        let opened = openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(opened.into())
    }

    pub(crate) fn add_handle(&mut self, file: File, life: u64) -> u64 {
        self.last_handle += 1;
        self.opened.insert(self.last_handle, Opened { file, life });
        self.last_handle
    }

    pub(crate) fn handle(&self, handle: u64) -> io::Result<&Opened> {
        let gone = || io::Error::from_raw_os_error(libc::EBADF);
        self.opened.get(&handle).ok_or_else(gone)
    }

    /// A name of the node was taken away: with the last one its space is free to be given back
    /// once nobody has it open.
    pub(crate) fn removed(&mut self, node: Node) -> io::Result<()> {
        if self.stat(node)?.st_nlink == 0 {
            let known = self.known.remove(&node.0);
            self.by_inode.retain(|_, of| *of != node);
            drop(known);
        }
        Ok(())
    }

    /// What has this name is called so from now on.
    pub(crate) fn renamed(&mut self, dir: Node, to: &OsStr) -> io::Result<()> {
        let stat = statat(self.place(dir)?, to, AtFlags::SYMLINK_NOFOLLOW)?;
        if let Some(node) = self.by_inode.get(&stat.st_ino)
            && let Some(known) = self.known.get_mut(&node.0)
        {
            to.clone_into(&mut known.name);
            self.named.push((*node, to.to_owned()));
            debug_assert_eq!(known.inode, stat.st_ino);
        }
        Ok(())
    }
}
