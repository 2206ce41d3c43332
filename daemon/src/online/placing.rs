//! Shares that others gave this account, put into the volume below `Shared`.

use std::fmt;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::{BeginError, Outdated};
use keyfold_fs::vfs::{Caller, FileKind, Ino, Name, Place, Vfs};
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::ShareId;

use super::desk::Desk;
use crate::sharing::Arrival;
use crate::sync::numbered;

/// The directory in the root of a volume below which shares of others are.
const SHARED: &str = "Shared";
/// How many shares of one person and name there can be.
const SAME_NAME: u32 = 1000;

/// Why a share is not put into the volume.
#[derive(Debug)]
pub(crate) enum PlacingError {
    /// A name on the way is no directory.
    InTheWay(String),
    /// The volume refused.
    Volume(FsError),
}

impl fmt::Display for PlacingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InTheWay(path) => {
                write!(f, "{path} is in the way: it is no directory, or in a share")
            }
            Self::Volume(error) => error.fmt(f),
        }
    }
}

impl From<FsError> for PlacingError {
    fn from(error: FsError) -> Self {
        Self::Volume(error)
    }
}

/// Puts a share into the volume, as an empty directory which syncing fills.
pub(super) fn place(desk: &Desk, arrival: &Arrival) -> Result<(), PlacingError> {
    let placing = Placing {
        desk,
        volume: desk.engine.volume(),
    };
    let all = placing.directory(Ino::ROOT, SHARED)?;
    let way = format!("{SHARED}/{}", arrival.owner);
    let of_owner = all.ok_or_else(|| PlacingError::InTheWay(SHARED.to_owned()))?;
    let of_owner = placing.directory(of_owner, &arrival.owner)?;
    let of_owner = of_owner.ok_or_else(|| PlacingError::InTheWay(way.clone()))?;
    for number in 1..=SAME_NAME {
        let name = numbered(&arrival.name, number);
        let Some(root) = placing.empty_directory(of_owner, &name)? else {
            continue;
        };
        let id = EngineShareId(arrival.share.0);
        match desk.engine.volume().begin_share(id, root, b"") {
            Ok(_) => {}
            Err(BeginError::Volume(FsError::Busy)) if placing.has(arrival.share)? => {}
            Err(BeginError::Volume(FsError::Busy)) => return Err(PlacingError::InTheWay(way)),
            Err(BeginError::Volume(error)) => return Err(error.into()),
            // An empty directory has no files.
            Err(BeginError::LinkedOutside(_)) => return Err(FsError::Busy.into()),
        }
        desk.board(|board| board.offered.remove(&arrival.share));
        desk.list.notify_one();
        return Ok(());
    }
    Err(PlacingError::InTheWay(format!("{way}/{}", arrival.name)))
}

struct Placing<'d> {
    desk: &'d Desk,
    volume: &'d Volume,
}

impl Placing<'_> {
    fn has(&self, share: ShareId) -> FsResult<bool> {
        let shares = self.volume.shares()?;
        Ok(shares.iter().any(|info| info.id.0 == share.0))
    }

    /// The directory of this name, made where it is missing; none where it is something else.
    fn directory(&self, parent: Ino, name: &str) -> FsResult<Option<Ino>> {
        let at = Place {
            parent,
            name: Name::new(name.as_bytes())?,
        };
        let entry = match self.volume.lookup(at) {
            Err(FsError::NotFound) => match self.volume.mkdir(&self.caller(), at, 0o755) {
                // Programs make directories, too.
                Err(FsError::Exists) => self.volume.lookup(at)?,
                made => {
                    let made = made?;
                    let outdated = Outdated::Entry(parent, name.as_bytes().to_vec());
                    self.desk.outdated(vec![Outdated::Inode(parent), outdated]);
                    made
                }
            },
            found => found?,
        };
        self.volume.forget(entry.attr.ino, 1);
        let is_directory = entry.attr.kind == FileKind::Directory;
        let shared = self.volume.share_member(entry.attr.ino)?.is_some();
        Ok((is_directory && !shared).then_some(entry.attr.ino))
    }

    /// The same, if it is empty: one that was made for this and not begun is used.
    fn empty_directory(&self, parent: Ino, name: &str) -> FsResult<Option<Ino>> {
        let Some(found) = self.directory(parent, name)? else {
            return Ok(None);
        };
        // Nothing in it is in a share, so an entry is an error here, which says the same.
        let empty = self.volume.view_entries(found).is_ok_and(|e| e.is_empty());
        Ok(empty.then_some(found))
    }

    fn caller(&self) -> Caller {
        Caller {
            uid: self.desk.owner.uid,
            gid: self.desk.owner.gid,
            umask: 0o022,
        }
    }
}
