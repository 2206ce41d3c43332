//! Which programs keep a mount busy.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::mount_table::MountRecord;

/// A program that uses a mount.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct User {
    /// Process id.
    pub(crate) pid: u32,
    /// Name of its program.
    pub(crate) program: String,
    /// What it has there.
    pub(crate) uses: BTreeSet<Use>,
}

/// What a program has in a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    WorkingDirectory,
    OpenFile,
    Mapping,
    Program,
    RootDirectory,
}

/// The programs that use `mount`, as far as this user may see. Touches nothing in the mount.
pub(crate) fn users_of(mount: &MountRecord) -> Vec<User> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut users: Vec<User> = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != std::process::id())
        .filter_map(|pid| user(pid, mount))
        .collect();
    users.sort();
    users
}

fn user(pid: u32, mount: &MountRecord) -> Option<User> {
    let home = Path::new("/proc").join(pid.to_string());
    let leads_in =
        |link: &str| fs::read_link(home.join(link)).is_ok_and(|to| to.starts_with(&mount.point));
    let mut uses = BTreeSet::new();
    if leads_in("cwd") {
        uses.insert(Use::WorkingDirectory);
    }
    if leads_in("root") && mount.point != Path::new("/") {
        uses.insert(Use::RootDirectory);
    }
    if leads_in("exe") {
        uses.insert(Use::Program);
    }
    if has_open(&home, mount) {
        uses.insert(Use::OpenFile);
    }
    if has_mapped(&home, mount) {
        uses.insert(Use::Mapping);
    }
    if uses.is_empty() {
        return None;
    }
    let program = fs::read_to_string(home.join("comm"))
        .unwrap_or_default()
        .trim()
        .to_owned();
    Some(User { pid, program, uses })
}

fn has_open(home: &Path, mount: &MountRecord) -> bool {
    let wanted = format!("mnt_id:\t{}", mount.id);
    fs::read_dir(home.join("fdinfo")).is_ok_and(|infos| {
        infos.filter_map(Result::ok).any(|info| {
            fs::read_to_string(info.path())
                .is_ok_and(|text| text.lines().any(|line| line == wanted))
        })
    })
}

fn has_mapped(home: &Path, mount: &MountRecord) -> bool {
    let prefix = mount.point.join("");
    fs::read(home.join("maps")).is_ok_and(|maps| {
        maps.split(|&b| b == b'\n').any(|line| {
            let path = line.iter().position(|&b| b == b'/').map(|at| &line[at..]);
            path.is_some_and(|path| path.starts_with(prefix.as_os_str().as_bytes()))
        })
    })
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {}: ", self.program, self.pid)?;
        for (i, what) in self.uses.iter().enumerate() {
            if i > 0 {
                write!(f, ", ")?;
            }
            f.write_str(match what {
                Use::WorkingDirectory => "working directory",
                Use::OpenFile => "open file",
                Use::Mapping => "mapped file",
                Use::Program => "running program",
                Use::RootDirectory => "root directory",
            })?;
        }
        write!(f, ")")
    }
}
