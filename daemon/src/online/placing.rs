//! Shares that others gave this account, put into the volume below `Shared`.

use std::fmt;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::{BeginError, Outdated, ShareInfo, ShareNumber};
use keyfold_fs::vfs::{Caller, FileKind, Ino, Name, Place, Vfs};
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::operation::Shape;

use super::desk::Desk;
use crate::sharing::Arrival;

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

/// Puts a share into the volume, as an empty directory or a place without a file, which syncing fills.
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
        let name = match (number, arrival.shape) {
            (1, _) => arrival.name.clone(),
            (_, Shape::File) => numbered_file(&arrival.name, number),
            _ => numbered(&arrival.name, number),
        };
        let begun = match arrival.shape {
            Shape::File => placing.file(of_owner, &name, arrival.share)?,
            _ => placing.folder(of_owner, &name, arrival.share)?,
        };
        match begun {
            None => continue,
            Some(Ok(_)) => {}
            Some(Err(BeginError::Volume(FsError::Busy))) if placing.has(arrival.share)? => {}
            Some(Err(BeginError::Volume(FsError::Busy))) => {
                return Err(PlacingError::InTheWay(way));
            }
            Some(Err(BeginError::Volume(error))) => return Err(error.into()),
            // What is empty has no files.
            Some(Err(BeginError::LinkedOutside(_))) => return Err(FsError::Busy.into()),
        }
        desk.board(|board| board.offered.remove(&arrival.share));
        desk.list.notify_one();
        return Ok(());
    }
    Err(PlacingError::InTheWay(format!("{way}/{}", arrival.name)))
}

/// `name (2)`, shortened where it would be too long.
fn numbered(name: &str, number: u32) -> String {
    let suffix = format!(" ({number})");
    let mut end = name.len().min(255 - suffix.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
}

/// `name (2).pdf`, shortened where it would be too long.
fn numbered_file(name: &str, number: u32) -> String {
    let dot = name
        .rfind('.')
        .filter(|dot| *dot > 0 && name.len() - dot < 32);
    let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
    let mut end = stem.len().min(255 - extension.len() - " (1000)".len());
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    format!("{} ({number}){extension}", &stem[..end])
}

/// What came of beginning a share.
type Begun = Result<ShareNumber, BeginError>;

struct Placing<'d> {
    desk: &'d Desk,
    volume: &'d Volume,
}

impl Placing<'_> {
    fn has(&self, share: ShareId) -> FsResult<bool> {
        let shares = self.volume.shares()?;
        Ok(shares.iter().any(|info| info.id.0 == share.0))
    }

    /// Begins a share in the directory of this name, if that is empty.
    fn folder(&self, parent: Ino, name: &str, share: ShareId) -> FsResult<Option<Begun>> {
        let root = self.empty_directory(parent, name)?;
        let id = EngineShareId(share.0);
        Ok(root.map(|root| self.volume.begin_share(id, root, b"")))
    }

    /// Begins a share of a single file of this name, if nothing has it.
    fn file(&self, parent: Ino, name: &str, share: ShareId) -> FsResult<Option<Begun>> {
        let at = Place {
            parent,
            name: Name::new(name.as_bytes())?,
        };
        match self.volume.lookup(at) {
            Ok(entry) => {
                self.volume.forget(entry.attr.ino, 1);
                return Ok(None);
            }
            Err(FsError::NotFound) => {}
            Err(error) => return Err(error),
        }
        let shares = self.volume.shares()?;
        let there =
            |info: &ShareInfo| info.root == parent && info.name.as_deref() == Some(name.as_bytes());
        if shares
            .iter()
            .any(|info| there(info) && info.id.0 != share.0)
        {
            return Ok(None);
        }
        let id = EngineShareId(share.0);
        Ok(Some(self.volume.begin_single_share(id, at, b"")))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_name_is_no_longer_than_names_can_be() {
        assert_eq!(numbered("Reports", 2), "Reports (2)");
        let long = "ä".repeat(127);
        let numbered = numbered(&long, 1000);
        assert!(numbered.len() <= 255 && numbered.ends_with("ä (1000)"));
        assert_eq!(numbered_file("Plan.pdf", 2), "Plan (2).pdf");
        assert_eq!(numbered_file("Plan", 2), "Plan (2)");
        assert_eq!(numbered_file(".profile", 2), ".profile (2)");
        let long = format!("{}.pdf", "ä".repeat(125));
        let numbered = numbered_file(&long, 1000);
        assert!(numbered.len() <= 255 && numbered.ends_with("ä (1000).pdf"));
        assert!(numbered_file(&format!("a.{}", "x".repeat(253)), 2).len() <= 255);
    }
}
