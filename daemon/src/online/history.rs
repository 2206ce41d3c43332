//! What a shared file or folder was before, bringing it back, and ending that it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keyfold_fs::error::FsError;
use keyfold_fs::share::Outdated;
use keyfold_fs::vfs::{Caller, FileKind, FileRange, Name, OpenMode, Place, SetAttr, Vfs};
use keyfold_fs::volume::Volume;
use keyfold_protocol::act::Order;
use keyfold_protocol::ids::{NodeId, ShareId};
use keyfold_protocol::limits;
use keyfold_protocol::names::EntryName;
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::error::FolderError;
use super::folders::with_server;
use super::paths;
use super::storage::{Shown, nodes_below};
use crate::account::{Session, now};
use crate::control::{History, Purge};
use crate::sync::{Past, Reading, Removed, There, Version};

/// What a shared file or folder was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryShown {
    /// As it was asked for.
    pub(crate) path: String,
    /// Versions of a file, or what was removed from a folder, the oldest first.
    pub(crate) entries: Vec<EntryShown>,
    /// Nothing is known of what was before this record: this account has no keys for it.
    pub(crate) known_from_record: Option<u64>,
}

/// A version of a file, or a file that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryShown {
    /// What `--restore` calls it.
    pub(crate) number: u64,
    /// Of what was removed, where it was in the folder.
    pub(crate) path: Option<String>,
    /// Who wrote or removed it, when, and in which record.
    pub(crate) user: String,
    pub(crate) time: u64,
    pub(crate) record: u64,
    pub(crate) size: u64,
    /// Whether it can still be had.
    pub(crate) available: bool,
    /// When the server deletes it, if it does.
    pub(crate) until: Option<u64>,
}

/// What was asked about.
struct Asked {
    shown: Shown,
    node: NodeId,
    past: Past,
}

impl Asked {
    async fn about(desk: &Desk, session: &Session<'_>, path: &str) -> Result<Self, FolderError> {
        let shown = Shown::find(desk, path)?;
        let node = shown.node();
        let node = node.ok_or_else(|| FolderError::NotShared(path.to_owned()))?;
        let past = Past::of(session, shown.id()).await;
        Ok(Self {
            past: past.map_err(FolderError::from_sync)?,
            shown,
            node,
        })
    }

    fn entries(&self) -> Vec<(Option<Removed>, Version)> {
        if self.shown.kind == FileKind::Directory {
            let removed = self.past.removed_from(self.node).into_iter();
            return removed.map(|one| (Some(one.clone()), one.last)).collect();
        }
        let versions = self.past.versions(self.node).iter();
        versions.map(|version| (None, version.clone())).collect()
    }

    fn show(&self, path: &str) -> HistoryShown {
        let entries = (1..)
            .zip(self.entries())
            .map(|(number, (removed, version))| {
                let there = self.past.there(&version);
                let written = removed.as_ref().map_or(&version.written, |one| &one.when);
                EntryShown {
                    number,
                    path: removed.as_ref().map(path_of),
                    user: written.author.to_string(),
                    time: written.time.0,
                    record: written.seq.0,
                    size: version.content.size,
                    available: there != There::Gone,
                    until: match there {
                        There::Until(time) => Some(time.0),
                        There::Always | There::Gone => None,
                    },
                }
            });
        HistoryShown {
            path: path.to_owned(),
            entries: entries.collect(),
            known_from_record: self.past.from.map(|seq| seq.0),
        }
    }
}

fn path_of(removed: &Removed) -> String {
    let names = removed.path.iter().map(EntryName::as_str);
    let names: Vec<&str> = names.collect();
    names.join("/")
}

/// What a file or folder was.
pub(super) fn history(desk: &Desk, wanted: &History) -> Result<HistoryShown, FolderError> {
    with_server(desk, async |session| {
        let asked = Asked::about(desk, session, &wanted.path).await?;
        Ok(asked.show(&wanted.path))
    })
}

/// Brings a version, or what was removed, back as a new file. Returns where it is.
pub(super) fn restore(desk: &Desk, wanted: &History, number: u64) -> Result<String, FolderError> {
    with_server(desk, async |session| {
        let asked = Asked::about(desk, session, &wanted.path).await?;
        let entry = number
            .checked_sub(1)
            .and_then(|at| usize::try_from(at).ok());
        let entry = entry.and_then(|at| asked.entries().into_iter().nth(at));
        let (removed, version) = entry.ok_or(FolderError::NoVersion(number))?;
        if asked.past.there(&version) == There::Gone {
            return Err(FolderError::GoneForGood(number));
        }
        let to = match (&wanted.to, &removed) {
            (Some(to), _) => to.clone(),
            (None, Some(removed)) => format!("{}/{}", wanted.path, path_of(removed)),
            (None, None) => beside(&wanted.path, number),
        };
        let reading = Reading::of(session, asked.shown.id(), version.clone());
        NewFile::make(desk, &to)?
            .fill(&reading, version.content.size, number)
            .await?;
        Ok(format!("{to} has what it was."))
    })
}

/// Brings all back that was removed within a time, and where nothing else is now. Returns what came of it.
pub(super) fn undelete(desk: &Desk, path: &str, within: Duration) -> Result<String, FolderError> {
    with_server(desk, async |session| {
        let asked = Asked::about(desk, session, path).await?;
        let since = now().0.saturating_sub(within.as_secs());
        let entries = asked.entries().into_iter();
        let removed = entries.filter_map(|(removed, version)| {
            let removed = removed.filter(|one| one.when.time.0 >= since)?;
            Some((path_of(&removed), version))
        });
        // Of what was removed more than once, what was there last.
        let removed: BTreeMap<String, Version> = removed.collect();
        if removed.is_empty() {
            return Ok(format!("Nothing was removed from {path} within that time."));
        }
        let all = removed.len();
        let (mut back, mut gone) = (0, 0);
        for (name, version) in removed {
            if asked.past.there(&version) == There::Gone {
                gone += 1;
                continue;
            }
            let to = format!("{path}/{name}");
            let file = match make_with_directories(desk, &to) {
                Err(FolderError::Volume(_, FsError::Exists | FsError::NotADirectory(_))) => {
                    continue;
                }
                made => made?,
            };
            let reading = Reading::of(session, asked.shown.id(), version.clone());
            match file.fill(&reading, version.content.size, 0).await {
                Err(FolderError::GoneForGood(_)) => gone += 1,
                filled => filled.map(|()| back += 1)?,
            }
        }
        let taken = all - back - gone;
        Ok(format!(
            "{back} files are back. {taken} are not, as something else is there, and {gone} cannot be \
             had any more."
        ))
    })
}

/// A new file, and the directories on the way to it.
fn make_with_directories<'d>(desk: &'d Desk, path: &str) -> Result<NewFile<'d>, FolderError> {
    let volume = desk.engine.volume();
    for (end, _) in path.match_indices('/').filter(|(end, _)| *end > 0) {
        let (dir, failed) = (&path[..end], |error| {
            FolderError::Volume(path.to_owned(), error)
        });
        match paths::find(volume, dir) {
            Err(FsError::NotFound) => {}
            found => {
                found.map_err(failed)?;
                continue;
            }
        }
        let (parent, name) = dir.rsplit_once('/').unwrap_or(("", dir));
        let at = Place {
            parent: paths::find(volume, parent).map_err(failed)?.ino,
            name: Name::new(name.as_bytes()).map_err(failed)?,
        };
        let made = volume.mkdir(&caller(desk), at, 0o700).map_err(failed)?;
        volume.forget(made.attr.ino, 1);
        let entry = Outdated::Entry(at.parent, name.as_bytes().to_vec());
        desk.outdated(vec![Outdated::Inode(at.parent), entry]);
    }
    NewFile::make(desk, path)
}

fn caller(desk: &Desk) -> Caller {
    Caller {
        uid: desk.owner.uid,
        gid: desk.owner.gid,
        umask: 0o077,
    }
}

/// `name (version N).ext`.
fn beside(path: &str, number: u64) -> String {
    let from = path.rfind('/').map_or(0, |at| at + 1);
    let dot = path[from..].rfind('.').filter(|dot| *dot > 0);
    let at = dot.map_or(path.len(), |dot| from + dot);
    let (stem, extension) = path.split_at(at);
    format!("{stem} (version {number}){extension}")
}

/// A file that is being written, and goes unless all of it is.
struct NewFile<'d> {
    desk: &'d Desk,
    path: String,
    parent: keyfold_fs::vfs::Ino,
    name: Vec<u8>,
    ino: keyfold_fs::vfs::Ino,
    handle: keyfold_fs::vfs::Handle,
    whole: bool,
}

impl<'d> NewFile<'d> {
    fn make(desk: &'d Desk, path: &str) -> Result<Self, FolderError> {
        let volume = desk.engine.volume();
        let failed = |error| FolderError::Volume(path.to_owned(), error);
        let (dir, name) = path
            .trim_end_matches('/')
            .rsplit_once('/')
            .unwrap_or(("", path));
        let parent = paths::find(volume, dir).map_err(failed)?.ino;
        let at = Place {
            parent,
            name: Name::new(name.as_bytes()).map_err(failed)?,
        };
        let mode = OpenMode {
            read: false,
            write: true,
            append: false,
            truncate: false,
            sync: false,
        };
        let made = volume.create(&caller(desk), at, 0o600, mode);
        let (entry, handle) = made.map_err(failed)?;
        Ok(Self {
            desk,
            path: path.to_owned(),
            parent,
            name: name.as_bytes().to_vec(),
            ino: entry.attr.ino,
            handle,
            whole: false,
        })
    }

    fn volume(&self) -> &Volume {
        self.desk.engine.volume()
    }

    async fn fill(
        mut self,
        reading: &Reading<'_, '_>,
        size: u64,
        number: u64,
    ) -> Result<(), FolderError> {
        let failed = |error| FolderError::Volume(self.path.clone(), error);
        for leaf in reading.leaves() {
            let blocks = reading.leaf(leaf).await.map_err(FolderError::from_sync)?;
            for (offset, data) in blocks.ok_or(FolderError::GoneForGood(number))? {
                let end = size.saturating_sub(offset).min(data.len() as u64) as usize;
                let range = FileRange {
                    ino: self.ino,
                    handle: self.handle,
                    offset,
                };
                let written = self.volume().write(range, &data[..end]);
                if written.map_err(failed)? != end {
                    return Err(failed(FsError::NoSpace));
                }
            }
        }
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        let set = self.volume().setattr(self.ino, Some(self.handle), &set);
        set.map_err(failed)?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        let volume = self.volume();
        volume.release(self.ino, self.handle);
        if let (false, Ok(name)) = (self.whole, Name::new(&self.name)) {
            // What stays is a file that somebody can see is not whole.
            let _ = volume.unlink(Place {
                parent: self.parent,
                name,
            });
        }
        volume.forget(self.ino, 1);
        let entry = Outdated::Entry(self.parent, self.name.clone());
        self.desk
            .outdated(vec![Outdated::Inode(self.parent), entry]);
    }
}

/// Keeps what a share drops for another time. Of folders that are shares.
pub(super) fn retain(desk: &Desk, path: &str, seconds: u64) -> Result<String, FolderError> {
    with_server(desk, async |session| {
        let shown = Shown::find(desk, path)?;
        let act = session.act(Order::SetRetention(shown.id(), seconds))?;
        session.remote().set_retention(shown.id(), &act).await?;
        Ok(format!(
            "What is overwritten or deleted in this share can be had for {} days from now on.",
            seconds / (24 * 3600)
        ))
    })
}

/// Ends that what a file was, or what was removed from a folder, can be had.
pub(super) fn purge(desk: &Desk, wanted: &Purge) -> Result<String, FolderError> {
    with_server(desk, async |session| {
        let asked = Asked::about(desk, session, &wanted.path).await?;
        let failed = |error| FolderError::Volume(wanted.path.clone(), error);
        let mut nodes = nodes_below(desk.engine.volume(), &asked.shown).map_err(failed)?;
        let removed = asked.past.removed_from(asked.node);
        nodes.extend(removed.iter().map(|removed| removed.last.node));
        let purged = purge_blobs(session, (asked.shown.id(), &asked.past), &nodes).await?;
        Ok(format!(
            "{purged} packs of earlier versions of {} are deleted at the server. Others may have kept \
             what they fetched.",
            wanted.path
        ))
    })
}

async fn purge_blobs(
    session: &Session<'_>,
    (share, past): (ShareId, &Past),
    nodes: &BTreeSet<NodeId>,
) -> Result<usize, FolderError> {
    let mut purged = 0;
    for part in past.only_past(nodes).chunks(limits::PURGE_LIST) {
        let act = session.act(Order::PurgeBlobs(share, part.to_vec()))?;
        purged += session.remote().purge_blobs(share, &act).await?.len();
    }
    Ok(purged)
}
