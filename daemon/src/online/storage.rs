//! What of shares lies in the vault: keeping it, giving it up, and telling how much it is.

mod keeper;

use std::collections::BTreeSet;

use keyfold_fs::error::FsError;
use keyfold_fs::layout::BLOCK_SIZE;
use keyfold_fs::share::{Presence, ShareInfo};
use keyfold_fs::vfs::{FileKind, Ino, Vfs};
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::{NodeId, ShareId};
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::error::FolderError;
use super::folders::Turn;
use super::history::{self, HistoryShown};
use super::paths;
use crate::account::{Kept, Staying};
use crate::control::StorageCommand;
use crate::sharing::Done;

pub(super) use keeper::Keeper;

/// What a command tells.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(crate) enum StorageTold {
    /// What was done.
    Done(Done),
    /// How much is here.
    Here(HereStatus),
    /// What it was.
    History(HistoryShown),
}

/// How much of a file or folder is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HereStatus {
    /// As it was asked for.
    pub(crate) path: String,
    pub(crate) files: u64,
    /// Bytes of blocks, and of those that lie in this vault.
    pub(crate) bytes: u64,
    pub(crate) bytes_here: u64,
    /// Whether it is to stay here.
    pub(crate) kept: bool,
    /// Why what is to be brought here could not be, the last time.
    pub(crate) error: Option<String>,
}

/// A file or folder of a share.
pub(super) struct Shown {
    share: ShareInfo,
    ino: Ino,
    pub(super) kind: FileKind,
    /// It, and the folders that it is in, up to the share's own.
    way: Vec<NodeId>,
}

impl Shown {
    pub(super) fn find(desk: &Desk, path: &str) -> Result<Self, FolderError> {
        let volume = desk.engine.volume();
        let failed = |error| FolderError::Volume(path.to_owned(), error);
        let (mut at, mut share, mut way) = (String::new(), None, Vec::new());
        let mut found = paths::find(volume, "").map_err(failed)?;
        for name in path.split('/').filter(|name| !matches!(*name, "" | ".")) {
            at = format!("{at}/{name}");
            found = paths::find(volume, &at).map_err(failed)?;
            if let Some((number, node)) = volume.share_member(found.ino).map_err(failed)? {
                if share != Some(number) {
                    way.clear();
                }
                way.push(NodeId(node.0));
                share = Some(number);
            }
        }
        let shares = volume.shares().map_err(failed)?;
        let share = shares.into_iter().find(|info| Some(info.number) == share);
        let share = share.ok_or_else(|| FolderError::NotShared(path.to_owned()))?;
        Ok(Self {
            share,
            ino: found.ino,
            kind: found.kind,
            way,
        })
    }

    /// Its share.
    pub(super) fn id(&self) -> ShareId {
        ShareId(self.share.id.0)
    }

    /// Its node.
    pub(super) fn node(&self) -> Option<NodeId> {
        self.way.last().copied()
    }

    fn staying(&self) -> Option<Staying> {
        let node = self.node()?;
        Some(Staying {
            share: self.id(),
            node,
        })
    }

    /// Of what stays, that which this is or is in.
    fn stays(&self, staying: &[Staying]) -> Option<Staying> {
        let stays = |one: &&Staying| one.share == self.id() && self.way.contains(&one.node);
        staying.iter().find(stays).copied()
    }
}

/// Regular files at or below an inode, each once.
pub(super) fn files_below(
    volume: &Volume,
    (ino, kind): (Ino, FileKind),
) -> Result<Vec<Ino>, FsError> {
    let (mut files, mut left) = (BTreeSet::new(), Vec::new());
    match kind {
        FileKind::Regular => drop(files.insert(ino)),
        FileKind::Directory => left.push(ino),
        _ => {}
    }
    while let Some(dir) = left.pop() {
        for entry in volume.view_entries(dir)? {
            if entry.point.is_some() {
                // That is another share.
                continue;
            }
            match entry.kind {
                FileKind::Regular => drop(files.insert(entry.ino)),
                FileKind::Directory => left.push(entry.ino),
                _ => {}
            }
        }
    }
    Ok(files.into_iter().collect())
}

/// What of a file lies where; nothing of one that is gone meanwhile.
pub(super) fn presence(volume: &Volume, ino: Ino) -> Result<Presence, FsError> {
    match volume.presence(ino) {
        Err(FsError::Stale(_)) => Ok(Presence::default()),
        other => other,
    }
}

/// Carries out a command about what lies where.
pub(crate) fn storage(desk: &Desk, command: &StorageCommand) -> Result<StorageTold, FolderError> {
    match command {
        StorageCommand::Keep(wanted) => keep(desk, &wanted.path),
        StorageCommand::Free(wanted) => free(desk, &wanted.path),
        StorageCommand::Here(wanted) => here(desk, &wanted.path).map(StorageTold::Here),
        StorageCommand::History(wanted) => {
            if let Some(number) = wanted.restore {
                history::restore(desk, wanted, number).map(done)
            } else if let Some(time) = &wanted.undelete {
                history::undelete(desk, &wanted.path, time.value).map(done)
            } else if let Some(time) = &wanted.retention {
                history::retain(desk, &wanted.path, time.value.as_secs()).map(done)
            } else {
                history::history(desk, wanted).map(StorageTold::History)
            }
        }
        StorageCommand::Purge(wanted) => history::purge(desk, wanted).map(done),
    }
}

fn done(done: String) -> StorageTold {
    StorageTold::Done(Done { done })
}

fn keep(desk: &Desk, path: &str) -> Result<StorageTold, FolderError> {
    let shown = Shown::find(desk, path)?;
    let kept = Kept::in_vault(&desk.engine);
    if shown.stays(&kept.staying()?).is_none() {
        kept.change_staying(|all| all.extend(shown.staying()))?;
    }
    desk.keeper.look();
    Ok(done(format!(
        "{path} comes here and stays. `keyfold status` tells how far it is."
    )))
}

/// Whether a file or folder of a share is to stay here.
pub(super) fn stays(desk: &Desk, path: &str) -> Result<bool, FolderError> {
    let staying = Kept::in_vault(&desk.engine).staying()?;
    Ok(Shown::find(desk, path)?.stays(&staying).is_some())
}

fn here(desk: &Desk, path: &str) -> Result<HereStatus, FolderError> {
    let shown = Shown::find(desk, path)?;
    let volume = desk.engine.volume();
    let failed = |error| FolderError::Volume(path.to_owned(), error);
    let files = files_below(volume, (shown.ino, shown.kind)).map_err(failed)?;
    let mut status = HereStatus {
        path: path.to_owned(),
        files: files.len() as u64,
        bytes: 0,
        bytes_here: 0,
        kept: shown
            .stays(&Kept::in_vault(&desk.engine).staying()?)
            .is_some(),
        error: desk.keeper.error(),
    };
    for ino in files {
        let presence = presence(volume, ino).map_err(failed)?;
        status.bytes += presence.blocks * BLOCK_SIZE as u64;
        status.bytes_here += presence.blocks.saturating_sub(presence.remote) * BLOCK_SIZE as u64;
    }
    Ok(status)
}

fn free(desk: &Desk, path: &str) -> Result<StorageTold, FolderError> {
    let _turn = Turn::take()?;
    let shown = Shown::find(desk, path)?;
    let volume = desk.engine.volume();
    let failed = |error| FolderError::Volume(path.to_owned(), error);
    let files = files_below(volume, (shown.ino, shown.kind)).map_err(failed)?;
    let kept = Kept::in_vault(&desk.engine);
    let stays = shown.stays(&kept.staying()?);
    if stays.is_some() && stays != shown.staying() {
        return Err(FolderError::Stays(path.to_owned()));
    }
    let own = nodes_below(volume, &shown).map_err(failed)?;
    let id = shown.id();
    kept.change_staying(|all| all.retain(|one| one.share != id || !own.contains(&one.node)))?;
    let fetcher = desk.fetcher().ok_or(FolderError::NotYet)?;
    let (mut freed, mut stay) = (0, 0);
    let mut there = BTreeSet::new();
    for ino in files {
        let before = presence(volume, ino).map_err(failed)?;
        let gone = fetcher.free((volume, &shown.share), ino, &mut there);
        let gone = gone.map_err(|error| error.map_or(FolderError::NotYet, failed))?;
        freed += gone;
        stay += before.blocks.saturating_sub(before.remote + gone);
    }
    // The room comes back with a commit.
    volume.sync().map_err(failed)?;
    let bytes = |blocks: u64| blocks * BLOCK_SIZE as u64;
    let stays = match stay {
        0 => String::new(),
        _ => format!(
            " {} bytes stay: they were not sent yet, or are in use.",
            bytes(stay)
        ),
    };
    Ok(done(format!(
        "{} bytes of {path} were given up.{stays}",
        bytes(freed)
    )))
}

/// The nodes at or below something of a share.
pub(super) fn nodes_below(volume: &Volume, shown: &Shown) -> Result<BTreeSet<NodeId>, FsError> {
    let mut nodes: BTreeSet<NodeId> = shown.way.last().copied().into_iter().collect();
    let mut left = Vec::new();
    if shown.kind == FileKind::Directory {
        left.push(shown.ino);
    }
    while let Some(dir) = left.pop() {
        for entry in volume.view_entries(dir)? {
            nodes.insert(NodeId(entry.node.0));
            if entry.kind == FileKind::Directory && entry.point.is_none() {
                left.push(entry.ino);
            }
        }
    }
    Ok(nodes)
}
