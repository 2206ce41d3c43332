//! What was changed here and may not be sent any more, put where it is the user's own.
//!
//! In this order, so that a crash at any moment loses nothing: nobody changes the share any more; files
//! that were changed are copied below `Unsent` and made durable; their marks are dropped, and with each
//! file of the share it is kept that its content was copied and is to become what the log has. A crash
//! before that leaves copies that are made again.

use std::collections::BTreeMap;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::share::{Access, Kept, Outdated};
use keyfold_fs::vfs::{Caller, FileKind, Ino, Name, Place as VfsPlace, Vfs};
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::NodeId;
use keyfold_protocol::names::EntryName;
use keyfold_protocol::operation::What;

use super::copies::{Missing, copy_file};
use super::kept::copied;
use super::merge::is_file;
use super::shown::{LOCAL, Seen, Shown, engine_node, of_tree};
use super::{ShareSync, SyncError};

/// The directory in the root of a volume below which such files are.
const UNSENT: &str = "Unsent";
/// How many directories of one name there can be.
const SAME_NAME: u32 = 1000;

impl ShareSync<'_, '_> {
    /// Keeps programs from changing the share, copies what was not sent, and then drops its marks. What
    /// is not here and cannot be fetched is `missing`.
    pub(super) fn save_unsent(&mut self, missing: Missing) -> Result<(), SyncError> {
        self.volume.set_share_access(self.share, Access::ReadOnly);
        let (marks, seen) = self.look(&std::collections::BTreeSet::new())?;
        if marks.is_empty() {
            return Ok(());
        }
        let tree = self.shown(&self.base);
        let base = of_tree(&tree, &self.known_points(&tree)?);
        let changed = seen.nodes.iter().filter(|(id, node)| match node.what {
            What::File => node.version == LOCAL,
            // What is behind it is in another share.
            What::SharePoint(_) => false,
            _ => !base.contains_key(id),
        });
        let changed: Vec<(NodeId, &Shown)> = changed.map(|(id, node)| (*id, node)).collect();
        if !changed.is_empty() {
            let path = self.copy_out(&seen, &changed, missing)?;
            self.volume.sync()?;
            self.unsent = Some(path);
        }
        // Without marks nothing tells what else differs here: should anything be sent again, all is
        // looked at.
        self.position.begun = false;
        self.keep_as_is(Vec::new())?;
        let mut kept = Kept {
            confirmed: marks.iter().map(|mark| mark.number).collect(),
            ..Kept::default()
        };
        for (id, _) in changed.iter().filter(|(_, node)| is_file(node)) {
            let known = self.volume.share_node(self.share, engine_node(*id))?;
            let data = known.as_ref().map(copied);
            kept.nodes
                .extend(data.map(|data| (engine_node(*id), Some(data))));
        }
        self.volume.keep_of_share(self.share, &kept)?;
        self.reverts = true;
        Ok(())
    }

    /// Where what was not sent was put, since this was asked last.
    pub(crate) fn take_unsent(&mut self) -> Option<String> {
        self.unsent.take()
    }

    /// Copies nodes into a new directory. Returns its path.
    fn copy_out(
        &mut self,
        seen: &Seen,
        changed: &[(NodeId, &Shown)],
        missing: Missing,
    ) -> FsResult<String> {
        let attr = self.volume.getattr(self.root.dir)?;
        let path = self.volume.path_of_directory(self.root.dir)?;
        let of_dir = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let of_file = self
            .root
            .single
            .as_ref()
            .map(|name| name.as_str().as_bytes());
        let name = of_file.unwrap_or(of_dir);
        let mut out = Out {
            volume: &self.volume,
            seen,
            caller: Caller {
                uid: attr.uid,
                gid: attr.gid,
                umask: 0o077,
            },
            made: BTreeMap::new(),
            outdated: Vec::new(),
        };
        let path = out.begin(&String::from_utf8_lossy(name))?;
        let copied = changed
            .iter()
            .try_for_each(|(id, node)| out.copy(*id, node, missing));
        self.outdated.extend(out.outdated);
        copied.map(|()| path)
    }
}

/// A directory that things are copied into.
struct Out<'a> {
    volume: &'a std::sync::Arc<Volume>,
    seen: &'a Seen,
    caller: Caller,
    /// Directories of the share, as they were made there.
    made: BTreeMap<NodeId, Ino>,
    outdated: Vec<Outdated>,
}

impl Out<'_> {
    /// Makes a directory that nobody had before. Returns its path.
    fn begin(&mut self, name: &str) -> FsResult<String> {
        let (above, all) = self.all()?;
        for number in 1..=SAME_NAME {
            let name = numbered(name, number);
            match self.mkdir(all, name.as_bytes()) {
                Err(FsError::Exists) => {}
                made => {
                    self.made.insert(NodeId::ROOT, made?);
                    return Ok(format!("{above}/{name}"));
                }
            }
        }
        Err(FsError::Exists)
    }

    /// The directory above, and what it is called.
    fn all(&mut self) -> FsResult<(String, Ino)> {
        for number in 1..=SAME_NAME {
            let name = numbered(UNSENT, number);
            let ino = match self.mkdir(Ino::ROOT, name.as_bytes()) {
                Err(FsError::Exists) => {
                    let at = VfsPlace {
                        parent: Ino::ROOT,
                        name: Name::new(name.as_bytes())?,
                    };
                    let attr = self.volume.lookup(at)?.attr;
                    self.volume.forget(attr.ino, 1);
                    let shared = self.volume.share_member(attr.ino)?.is_some();
                    if attr.kind != FileKind::Directory || shared {
                        continue;
                    }
                    attr.ino
                }
                made => made?,
            };
            return Ok((name, ino));
        }
        Err(FsError::Exists)
    }

    fn mkdir(&mut self, parent: Ino, name: &[u8]) -> FsResult<Ino> {
        let at = VfsPlace {
            parent,
            name: Name::new(name)?,
        };
        let made = self.volume.mkdir(&self.caller, at, 0o700)?;
        self.volume.forget(made.attr.ino, 1);
        self.tell(parent, name);
        Ok(made.attr.ino)
    }

    fn tell(&mut self, parent: Ino, name: &[u8]) {
        let entry = Outdated::Entry(parent, name.to_vec());
        self.outdated.extend([Outdated::Inode(parent), entry]);
    }

    /// The directory that stands for one of the share.
    fn directory(&mut self, id: NodeId) -> FsResult<Ino> {
        if let Some(made) = self.made.get(&id) {
            return Ok(*made);
        }
        let node = self.seen.nodes.get(&id).ok_or(FsError::NotFound)?;
        let (above, name) = node.names.first().ok_or(FsError::NotFound)?;
        let parent = self.directory(*above)?;
        let made = self.mkdir(parent, name.as_str().as_bytes())?;
        self.made.insert(id, made);
        Ok(made)
    }

    fn copy(&mut self, id: NodeId, node: &Shown, missing: Missing) -> FsResult<()> {
        if node.what == What::Directory {
            return self.directory(id).map(drop);
        }
        let (above, name): &(NodeId, EntryName) = match node.names.first() {
            Some(place) => place,
            None => return Ok(()),
        };
        let parent = self.directory(*above)?;
        let at = VfsPlace {
            parent,
            name: Name::new(name.as_str().as_bytes())?,
        };
        if let What::Symlink(target) = &node.what {
            let target = target.as_str().as_bytes();
            let made = self.volume.symlink(&self.caller, at, target)?;
            self.volume.forget(made.attr.ino, 1);
        } else {
            let from = self.seen.inos.get(&id).ok_or(FsError::NotFound)?;
            copy_file(self.volume, *from, (&self.caller, at), missing)?;
        }
        self.tell(parent, name.as_str().as_bytes());
        Ok(())
    }
}

/// The name for the first, `name (2)` for the second, shortened where it would be too long.
pub(crate) fn numbered(name: &str, number: u32) -> String {
    if number == 1 {
        return name.to_owned();
    }
    let suffix = format!(" ({number})");
    let mut end = name.len().min(255 - suffix.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
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
