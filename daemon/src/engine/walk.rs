//! Verifies a volume from its root: everything that a program could reach is looked at once.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::vfs::{
    Attr, Cookie, DirEntry, FileKind, FileRange, Ino, Listing, Name, OpenMode, Place, Seek, Vfs,
};
use serde::{Deserialize, Serialize};

use super::{Engine, ReadData};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// Most findings that are told one by one.
const MAX_TOLD: usize = 1000;

/// Whether others use the volume while it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surroundings {
    /// Nobody does: what does not add up is damage.
    Still,
    /// It is mounted: what comes and goes is no damage.
    Live,
}

/// What a check found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct CheckReport {
    /// Files, directories, links and nodes looked at; each name counts.
    objects: u64,
    /// Bytes of content read.
    bytes_read: u64,
    /// Things that are damaged.
    damaged: u64,
    /// The first of them.
    findings: Vec<Finding>,
}

/// One damaged thing.
#[derive(Debug, Serialize, Deserialize)]
struct Finding {
    path: String,
    inode: u64,
    problem: String,
}

impl CheckReport {
    /// How many things are damaged.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{} (inode {}): {}", finding.path, finding.inode, finding.problem)?;
        }
        let told = self.findings.len() as u64;
        if self.damaged > told {
            writeln!(f, "... and {} more", self.damaged - told)?;
        }
        writeln!(
            f,
            "Looked at {} objects and read {} bytes; {} damaged.",
            self.objects, self.bytes_read, self.damaged
        )
    }
}

/// A directory still to be listed.
struct Waiting {
    ino: Ino,
    path: PathBuf,
}

/// An entry as its directory has it.
struct Listed {
    name: Vec<u8>,
    ino: Ino,
    kind: FileKind,
}

/// The names found so far of an inode that has several.
struct Names {
    found: u32,
    expected: u32,
    path: PathBuf,
}

struct Walk<'a> {
    engine: &'a Engine,
    vfs: &'a dyn Vfs,
    read_data: ReadData,
    surroundings: Surroundings,
    report: CheckReport,
    left: Vec<Waiting>,
    names: HashMap<Ino, Names>,
    /// The inodes that can have one name only.
    once: HashSet<Ino>,
    chunk: Vec<u8>,
}

pub(super) fn check(
    engine: &Engine,
    read_data: ReadData,
    surroundings: Surroundings,
) -> FsResult<CheckReport> {
    let vfs = engine.vfs();
    let root = vfs.getattr(Ino::ROOT)?;
    let mut walk = Walk {
        engine,
        vfs: &*vfs,
        read_data,
        surroundings,
        report: CheckReport::default(),
        left: Vec::new(),
        names: HashMap::new(),
        once: HashSet::from([Ino::ROOT]),
        chunk: vec![0; CHUNK],
    };
    walk.object(Path::new("/"), &root);
    while let Some(directory) = walk.left.pop() {
        walk.directory(&directory);
    }
    walk.compare_link_counts();
    Ok(walk.report)
}

impl Walk<'_> {
    fn found(&mut self, path: &Path, ino: Ino, problem: String) {
        self.report.damaged += 1;
        if self.report.findings.len() < MAX_TOLD {
            let path = path.display().to_string();
            self.report.findings.push(Finding { path, inode: ino.0, problem });
        }
    }

    fn failed(&mut self, path: &Path, ino: Ino, error: FsError) {
        let gone = matches!(error, FsError::NotFound | FsError::Stale(_));
        if !(gone && self.surroundings == Surroundings::Live) {
            self.found(path, ino, error.to_string());
        }
    }

    fn directory(&mut self, directory: &Waiting) {
        let entries = match self.list(directory.ino) {
            Ok(entries) => entries,
            Err(e) => return self.failed(&directory.path, directory.ino, e),
        };
        let mut subdirectories = 0;
        for entry in entries {
            let path = directory.path.join(OsStr::from_bytes(&entry.name));
            match self.look_up(directory.ino, &entry) {
                Ok(attr) => {
                    subdirectories += u32::from(attr.kind == FileKind::Directory);
                    self.entry(&path, &entry, &attr);
                    self.vfs.forget(attr.ino, 1);
                }
                Err(e) => self.failed(&path, entry.ino, e),
            }
        }
        if self.surroundings == Surroundings::Still
            && let Ok(attr) = self.vfs.getattr(directory.ino)
            && attr.nlink != subdirectories + 2
        {
            let problem = format!("{} links where {} belong", attr.nlink, subdirectories + 2);
            self.found(&directory.path, directory.ino, problem);
        }
    }

    fn list(&self, ino: Ino) -> FsResult<Vec<Listed>> {
        let handle = self.vfs.opendir(ino)?;
        let mut entries = Vec::new();
        let mut take = |entry: DirEntry<'_>| {
            if !matches!(entry.name, b"." | b"..") {
                let DirEntry { name, ino, kind, .. } = entry;
                entries.push(Listed { name: name.to_vec(), ino, kind });
            }
            Listing::Continue
        };
        let listed = self.vfs.readdir(handle, Cookie::START, &mut take);
        self.vfs.releasedir(handle);
        listed.map(|()| entries)
    }

    fn look_up(&self, parent: Ino, entry: &Listed) -> FsResult<Attr> {
        let at = Place { parent, name: Name::new(&entry.name)? };
        Ok(self.vfs.lookup(at)?.attr)
    }

    fn entry(&mut self, path: &Path, entry: &Listed, attr: &Attr) {
        if self.surroundings == Surroundings::Still
            && (attr.ino != entry.ino || attr.kind != entry.kind)
        {
            self.found(path, entry.ino, "its directory entry names another object".to_owned());
        }
        let first = if attr.kind == FileKind::Directory || attr.nlink == 1 {
            self.once.insert(attr.ino)
        } else {
            let names = self.names.entry(attr.ino).or_insert_with(|| Names {
                found: 0,
                expected: attr.nlink,
                path: path.to_path_buf(),
            });
            names.found += 1;
            names.found == 1
        };
        if first {
            return self.object(path, attr);
        }
        self.report.objects += 1;
        if self.surroundings == Surroundings::Still && !self.names.contains_key(&attr.ino) {
            self.found(path, attr.ino, "has a second name, and counts one link".to_owned());
        }
    }

    fn object(&mut self, path: &Path, attr: &Attr) {
        self.report.objects += 1;
        if let Err(e) = self.attributes(attr.ino) {
            self.failed(path, attr.ino, e);
        }
        let content = match attr.kind {
            FileKind::Directory => {
                self.left.push(Waiting { ino: attr.ino, path: path.to_path_buf() });
                Ok(())
            }
            FileKind::Symlink => self.vfs.readlink(attr.ino).map(drop),
            FileKind::Regular if self.read_data == ReadData::Yes => self.content(attr),
            _ => Ok(()),
        };
        if let Err(e) = content {
            self.failed(path, attr.ino, e);
        }
    }

    fn attributes(&self, ino: Ino) -> FsResult<()> {
        let names = self.vfs.listxattr(ino)?;
        for name in names.split(|&b| b == 0).filter(|name| !name.is_empty()) {
            match self.vfs.getxattr(ino, name) {
                Err(FsError::NoAttribute) if self.surroundings == Surroundings::Live => {}
                read => drop(read?),
            }
        }
        Ok(())
    }

    fn content(&mut self, attr: &Attr) -> FsResult<()> {
        let ino = attr.ino;
        let handle = self.vfs.open(ino, OpenMode { read: true, ..OpenMode::default() })?;
        let read = self.read_all(FileRange { ino, handle, offset: 0 }, attr.size);
        self.vfs.release(ino, handle);
        read
    }

    fn read_all(&mut self, mut at: FileRange, size: u64) -> FsResult<()> {
        while at.offset < size {
            at.offset = match self.vfs.seek(at, Seek::Data) {
                Ok(data) => data,
                Err(FsError::BeyondEnd) => return Ok(()),
                Err(e) => return Err(e),
            };
            let got = self.engine.read_reference(at, &mut self.chunk)?;
            if got == 0 {
                return Ok(());
            }
            self.report.bytes_read += got as u64;
            at.offset += got as u64;
        }
        Ok(())
    }

    fn compare_link_counts(&mut self) {
        if self.surroundings == Surroundings::Live {
            return;
        }
        for (ino, names) in std::mem::take(&mut self.names) {
            if names.found != names.expected {
                let problem = format!("{} links where {} belong", names.expected, names.found);
                self.found(&names.path, ino, problem);
            }
        }
    }
}
