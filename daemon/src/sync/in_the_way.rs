//! Names that are not sent, where others come to have the same.

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::share::{Access, Outdated};
use keyfold_fs::vfs::{Ino, Name, Place as VfsPlace, RenameMode, Vfs};
use keyfold_protocol::names::EntryName;

use super::ShareSync;
use super::merge::conflict_name;
use super::shown::{Nodes, Place, Seen};

/// Names tried for what moves aside.
const NAMES: usize = 1000;

impl ShareSync<'_, '_> {
    /// Gives names that are not sent, and that are to be something else's, other names beside.
    pub(super) fn clear_the_way(
        &mut self,
        seen: &Seen,
        want: &Nodes,
        who: (&str, &str),
    ) -> FsResult<()> {
        // What has the name of a single file is the share's.
        if self.root.single.is_some() || seen.unsent.is_empty() {
            return Ok(());
        }
        let wanted = |place: &Place| want.values().any(|node| node.names.contains(place));
        let unsent = seen.unsent.iter();
        let places = unsent.filter_map(|(dir, name)| Some((*dir, name.clone()?)));
        let access = self.volume.set_share_access(self.share, Access::Full);
        let mut cleared = Ok(());
        for place in places.filter(wanted) {
            if let (Ok(()), Some(dir)) = (&cleared, seen.inos.get(&place.0)) {
                let is_free = |name: &EntryName| !wanted(&(place.0, name.clone()));
                cleared = self.move_aside((*dir, &place.1), who, &is_free);
            }
        }
        self.volume.set_share_access(self.share, access);
        cleared
    }

    fn move_aside(
        &mut self,
        (dir, name): (Ino, &EntryName),
        who: (&str, &str),
        is_free: &dyn Fn(&EntryName) -> bool,
    ) -> FsResult<()> {
        let names = (1..NAMES).filter_map(|n| conflict_name(name, who, n));
        for other in names.filter(is_free) {
            let (from, to) = (place(dir, name)?, place(dir, &other)?);
            match self.volume.rename(from, to, RenameMode::NoReplace) {
                Err(FsError::Exists) => {}
                // A program was first to move or remove it.
                Err(FsError::NotFound) => return Ok(()),
                moved => {
                    let entry = |name: &EntryName| Outdated::Entry(dir, name.as_str().into());
                    self.outdated
                        .extend([Outdated::Inode(dir), entry(name), entry(&other)]);
                    return moved;
                }
            }
        }
        Err(FsError::Exists)
    }
}

fn place(parent: Ino, name: &EntryName) -> FsResult<VfsPlace<'_>> {
    Ok(VfsPlace {
        parent,
        name: Name::new(name.as_str().as_bytes())?,
    })
}
