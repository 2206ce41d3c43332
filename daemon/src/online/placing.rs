//! Shares that others gave this account, put into the volume below `Shared`.

use std::fmt;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::{BeginError, Outdated, ShareInfo};
use keyfold_fs::vfs::{Caller, FileKind, Ino, Name, Place, Vfs};
use keyfold_fs::volume::Volume;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::ShareId;

use super::desk::Desk;
use super::notice::Notice;
use super::paths;
use crate::sharing::{Arrival, Stub, entry_name};

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

/// Something to be put below `Shared`.
struct Named<'n> {
    owner: &'n str,
    name: &'n str,
    share: ShareId,
}

/// Puts a share into the volume: where a stub stands for it, or else as an empty directory. Syncing fills
/// it.
pub(super) fn place(desk: &Desk, arrival: &Arrival) -> Result<(), PlacingError> {
    let placing = Placing::new(desk);
    if !placing.unlock(arrival)? {
        let named = Named {
            owner: &arrival.owner,
            name: &arrival.name,
            share: arrival.share,
        };
        let id = EngineShareId(arrival.share.0);
        placing.put(&named, &|at| match placing.empty_directory(at)? {
            Some(root) => placing.volume.begin_share(id, root, b"").map(drop),
            None => Err(FsError::Exists.into()),
        })?;
    }
    let what = format!("{} gives \"{}\"", arrival.owner, arrival.name);
    desk.tell_with(Notice::Arrival, &what);
    desk.board(|board| board.offered.remove(&arrival.share));
    desk.list.notify_one();
    Ok(())
}

/// Puts a stub into the volume: a locked directory.
pub(super) fn place_stub(desk: &Desk, stub: &Stub) -> Result<(), PlacingError> {
    let placing = Placing::new(desk);
    let name = entry_name(stub.offer().title.as_str(), stub.share());
    let named = Named {
        owner: stub.owner.as_str(),
        name: &name,
        share: stub.share(),
    };
    let (id, data) = (stub.engine_id(), stub.encode());
    placing.put(&named, &|at| {
        let caller = placing.caller();
        placing.volume.begin_locked(id, at, &caller, &data)?;
        placing.made(at);
        Ok(())
    })?;
    desk.board(|board| board.offered.remove(&stub.share()));
    Ok(())
}

/// Takes a stub out of the volume.
pub(super) fn remove_stub(desk: &Desk, info: &ShareInfo) -> FsResult<()> {
    let volume = desk.engine.volume();
    volume.end_share(info.number)?;
    let path = volume.path_of_directory(info.root)?;
    let path = String::from_utf8_lossy(&path).into_owned();
    let (above, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let parent = paths::find(volume, above)?.ino;
    let removed = volume.rmdir(place_of(parent, name)?);
    let entry = Outdated::Entry(parent, name.as_bytes().to_vec());
    desk.outdated(vec![
        Outdated::Inode(info.root),
        Outdated::Inode(parent),
        entry,
    ]);
    match removed {
        // A program was quick to put something into it.
        Err(FsError::NotEmpty(_)) => Ok(()),
        removed => removed,
    }
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

fn place_of(parent: Ino, name: &str) -> FsResult<Place<'_>> {
    let name = Name::new(name.as_bytes())?;
    Ok(Place { parent, name })
}

struct Placing<'d> {
    desk: &'d Desk,
    volume: &'d Volume,
}

impl<'d> Placing<'d> {
    fn new(desk: &'d Desk) -> Self {
        Self {
            desk,
            volume: desk.engine.volume(),
        }
    }

    /// Opens the stub of a share. One of somebody who is no owner of it goes. Returns whether the share
    /// is there now.
    fn unlock(&self, arrival: &Arrival) -> FsResult<bool> {
        let locked = self.volume.locked_shares()?;
        let info = locked.iter().find(|info| info.id.0 == arrival.share.0);
        let Some(info) = info else { return Ok(false) };
        let by = Stub::of(info).map(|stub| stub.offer().owner);
        if by.is_none_or(|owner| !arrival.owners.contains(&owner)) {
            remove_stub(self.desk, info)?;
            return Ok(false);
        }
        self.volume.unlock_share(info.number)?;
        self.desk.outdated(vec![Outdated::Inode(info.root)]);
        Ok(true)
    }

    /// Begins something below `Shared`, under the first name that is free.
    fn put(
        &self,
        named: &Named<'_>,
        begin: &dyn Fn(Place<'_>) -> Result<(), BeginError>,
    ) -> Result<(), PlacingError> {
        let way = format!("{SHARED}/{}", named.owner);
        let all = self.directory(place_of(Ino::ROOT, SHARED)?)?;
        let all = all.ok_or_else(|| PlacingError::InTheWay(SHARED.to_owned()))?;
        let of_owner = self.directory(place_of(all, named.owner)?)?;
        let of_owner = of_owner.ok_or_else(|| PlacingError::InTheWay(way.clone()))?;
        for number in 1..=SAME_NAME {
            let name = match number {
                1 => named.name.to_owned(),
                _ => numbered(named.name, number),
            };
            match begin(place_of(of_owner, &name)?) {
                Ok(()) => return Ok(()),
                Err(BeginError::Volume(FsError::Exists)) => {}
                Err(BeginError::Volume(FsError::Busy)) if self.has(named.share)? => return Ok(()),
                Err(BeginError::Volume(FsError::Busy)) => return Err(PlacingError::InTheWay(way)),
                Err(BeginError::Volume(error)) => return Err(error.into()),
                // An empty directory has no files.
                Err(BeginError::LinkedOutside(_)) => return Err(FsError::Busy.into()),
            }
        }
        Err(PlacingError::InTheWay(format!("{way}/{}", named.name)))
    }

    fn has(&self, share: ShareId) -> FsResult<bool> {
        let shares = self.volume.shares()?;
        Ok(shares.iter().any(|info| info.id.0 == share.0))
    }

    /// The directory at this place, made where it is missing; none where it is something else.
    fn directory(&self, at: Place<'_>) -> FsResult<Option<Ino>> {
        let entry = match self.volume.lookup(at) {
            Err(FsError::NotFound) => match self.volume.mkdir(&self.caller(), at, 0o755) {
                // Programs make directories, too.
                Err(FsError::Exists) => self.volume.lookup(at)?,
                made => {
                    let made = made?;
                    self.made(at);
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
    fn empty_directory(&self, at: Place<'_>) -> FsResult<Option<Ino>> {
        let Some(found) = self.directory(at)? else {
            return Ok(None);
        };
        // Nothing in it is in a share, so an entry is an error here, which says the same.
        let empty = self.volume.view_entries(found).is_ok_and(|e| e.is_empty());
        Ok(empty.then_some(found))
    }

    /// Something was made at a place.
    fn made(&self, at: Place<'_>) {
        let entry = Outdated::Entry(at.parent, at.name.bytes().to_vec());
        self.desk.outdated(vec![Outdated::Inode(at.parent), entry]);
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
    }
}
