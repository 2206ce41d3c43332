//! Shares that others gave this account, put into the volume below `Shared`.

use std::fmt;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::{BeginError, Outdated, ShareInfo};
use keyfold_fs::vfs::{Caller, FileKind, Ino, Name, Place, Vfs};
use keyfold_fs::volume::Volume;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::operation::Shape;

use super::desk::Desk;
use super::notice::Notice;
use super::paths;
use crate::sharing::{Arrival, Stub, entry_name};
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

/// Something to be put below `Shared`.
struct Named<'n> {
    owner: &'n str,
    name: &'n str,
    share: ShareId,
    shape: Shape,
}

/// Puts a share into the volume: where a stub stands for it, or else as an empty directory or a place
/// without a file. Syncing fills it.
pub(super) fn place(desk: &Desk, arrival: &Arrival) -> Result<(), PlacingError> {
    let placing = Placing::new(desk);
    if placing.has(arrival.share)? {
        // It came to its place in another share meanwhile.
        desk.board(|board| board.offered.remove(&arrival.share));
        return Ok(());
    }
    if !placing.unlock(arrival)? {
        let named = Named {
            owner: &arrival.owner,
            name: &arrival.name,
            share: arrival.share,
            shape: arrival.shape,
        };
        placing.put(&named, &|at| placing.begin(arrival, at))?;
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
        shape: Shape::Folder,
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
    take_stub(desk, info).map(drop)
}

/// Takes a stub out of the volume. Returns where it was: directory and name.
fn take_stub(desk: &Desk, info: &ShareInfo) -> FsResult<(Ino, String)> {
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
        Ok(()) | Err(FsError::NotEmpty(_)) => Ok((parent, name.to_owned())),
        Err(error) => Err(error),
    }
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
        if arrival.shape == Shape::File {
            let (parent, name) = take_stub(self.desk, info)?;
            return Ok(self.begin(arrival, place_of(parent, &name)?).is_ok());
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
            let name = match (number, named.shape) {
                (2.., Shape::File) => numbered_file(named.name, number),
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

    /// Begins a share at a place.
    fn begin(&self, arrival: &Arrival, at: Place<'_>) -> Result<(), BeginError> {
        let id = EngineShareId(arrival.share.0);
        if arrival.shape == Shape::File {
            self.check_free(at, arrival.share)?;
            return self.volume.begin_single_share(id, at, b"").map(drop);
        }
        match self.empty_directory(at)? {
            Some(root) => self.volume.begin_share(id, root, b"").map(drop),
            None => Err(FsError::Exists.into()),
        }
    }

    /// # Errors
    /// [`FsError::Exists`] when something has the name, or another share.
    fn check_free(&self, at: Place<'_>, share: ShareId) -> FsResult<()> {
        match self.volume.lookup(at) {
            Ok(entry) => {
                self.volume.forget(entry.attr.ino, 1);
                return Err(FsError::Exists);
            }
            Err(FsError::NotFound) => {}
            Err(error) => return Err(error),
        }
        let name = Some(at.name.bytes());
        let there = |info: &ShareInfo| info.root == at.parent && info.name.as_deref() == name;
        let taken = |info: &ShareInfo| there(info) && info.id.0 != share.0;
        if self.volume.shares()?.iter().any(taken) {
            return Err(FsError::Exists);
        }
        Ok(())
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
        assert_eq!(numbered_file("Plan.pdf", 2), "Plan (2).pdf");
        assert_eq!(numbered_file("Plan", 2), "Plan (2)");
        assert_eq!(numbered_file(".profile", 2), ".profile (2)");
        let long = format!("{}.pdf", "ä".repeat(125));
        let numbered = numbered_file(&long, 1000);
        assert!(numbered.len() <= 255 && numbered.ends_with("ä (1000).pdf"));
        assert!(numbered_file(&format!("a.{}", "x".repeat(253)), 2).len() <= 255);
    }
}
