//! A vault with a shared directory, and short words for what is done in it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keyfold_crypto::{Password, Rounds};
use keyfold_fs::check::{CheckOptions, CheckState, ReadData, check};
use keyfold_fs::error::FsResult;
use keyfold_fs::share::{Kept, Mark, ShareId, ShareNumber};
use keyfold_fs::vault::{
    Access, CreateOptions, KdfCost, LockedVault, Secret, UnlockedVault, VaultError,
};
use keyfold_fs::vfs::{
    Caller, FileRange, Handle, Ino, Name, OpenMode, Place, RenameMode, SetAttr, Vfs,
};
use keyfold_fs::volume::{BarredSymlinks, Volume, VolumeOptions};

pub(crate) const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0o022,
};
pub(crate) const RW: OpenMode = OpenMode {
    read: true,
    write: true,
    append: false,
    truncate: false,
    sync: false,
};
pub(crate) const RO: OpenMode = OpenMode { write: false, ..RW };

pub(crate) const SHARE: ShareId = ShareId([7; 32]);

pub(crate) struct Site {
    dir: tempfile::TempDir,
    volume: Option<Arc<Volume>>,
    pub(crate) root: Ino,
    pub(crate) share: ShareNumber,
}

#[derive(Debug)]
struct Failed(#[expect(dead_code, reason = "printed by unwrap")] String);
impl From<VaultError> for Failed {
    fn from(e: VaultError) -> Self {
        Self(e.to_string())
    }
}

fn password() -> Password {
    Password::new("correct horse".to_owned())
}

/// Nothing is committed that no test asks for.
fn options() -> VolumeOptions {
    VolumeOptions {
        commit_interval: Duration::from_hours(1),
        ..VolumeOptions::default()
    }
}

pub(crate) fn at(parent: Ino, name: &str) -> Place<'_> {
    Place {
        parent,
        name: Name::new(name.as_bytes()).unwrap(),
    }
}

impl Site {
    /// A volume without a share.
    pub(crate) fn plain() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let creating = CreateOptions {
            password: password(),
            cost: KdfCost::Fixed(Rounds::new(600_000).unwrap()),
        };
        let (vault, _) = UnlockedVault::create(&dir.path().join("v"), &creating, |v| {
            Volume::format(v).map_err(|e| Failed(e.to_string()))
        })
        .unwrap();
        let volume = Volume::open(vault, options()).unwrap();
        Self {
            dir,
            volume: Some(volume),
            root: Ino::ROOT,
            share: ShareNumber(0),
        }
    }

    /// A volume with an empty shared directory `shared`.
    pub(crate) fn shared() -> Self {
        let mut site = Self::plain();
        site.root = site.mkdir(Ino::ROOT, "shared");
        site.share = site.v().begin_share(SHARE, site.root, b"").unwrap();
        site
    }

    pub(crate) fn v(&self) -> &Arc<Volume> {
        self.volume.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.volume.take();
        self.open_with(options());
    }

    fn open_with(&mut self, options: VolumeOptions) {
        let vault = LockedVault::open(&self.dir.path().join("v"), Access::ReadWrite)
            .unwrap()
            .unlock(&Secret::Password(password()))
            .unwrap();
        self.volume = Some(Volume::open(vault, options).unwrap());
    }

    /// What segments take of the disk, once nothing more is written.
    pub(crate) fn segment_bytes(&self) -> u64 {
        let segments = std::fs::read_dir(self.dir.path().join("v/segments")).unwrap();
        let taken = |entry: std::io::Result<std::fs::DirEntry>| {
            let found = entry.unwrap().metadata().unwrap();
            std::os::unix::fs::MetadataExt::blocks(&found) * 512
        };
        segments.map(taken).sum()
    }

    pub(crate) fn remount(&mut self) {
        self.v().close().unwrap();
        self.reopen();
    }

    /// The same, opened so.
    pub(crate) fn remount_with(&mut self, barred_symlinks: BarredSymlinks) {
        self.v().close().unwrap();
        self.volume.take();
        self.open_with(VolumeOptions {
            barred_symlinks,
            ..options()
        });
    }

    pub(crate) fn crash(&mut self) {
        self.v().crash();
        self.reopen();
    }

    pub(crate) fn mkdir(&self, dir: Ino, name: &str) -> Ino {
        self.v()
            .mkdir(&CALLER, at(dir, name), 0o755)
            .unwrap()
            .attr
            .ino
    }

    pub(crate) fn file(&self, dir: Ino, name: &str, data: &[u8]) -> Ino {
        let (entry, handle) = self.v().create(&CALLER, at(dir, name), 0o644, RW).unwrap();
        let ino = entry.attr.ino;
        if !data.is_empty() {
            self.write(ino, handle, 0, data).unwrap();
        }
        self.close(ino, handle);
        ino
    }

    pub(crate) fn open(&self, ino: Ino, mode: OpenMode) -> Handle {
        let opened = self.v().open(ino, mode);
        opened.unwrap_or_else(|_| {
            // As the kernel does.
            self.v().getattr(ino).unwrap();
            self.v().open(ino, mode).unwrap()
        })
    }

    pub(crate) fn close(&self, ino: Ino, handle: Handle) {
        self.v().release(ino, handle);
    }

    pub(crate) fn write(
        &self,
        ino: Ino,
        handle: Handle,
        offset: u64,
        data: &[u8],
    ) -> FsResult<usize> {
        let range = FileRange {
            ino,
            handle,
            offset,
        };
        self.v().write(range, data)
    }

    pub(crate) fn overwrite(&self, ino: Ino, offset: u64, data: &[u8]) {
        let handle = self.open(ino, RW);
        self.write(ino, handle, offset, data).unwrap();
        self.close(ino, handle);
    }

    pub(crate) fn truncate(&self, ino: Ino, size: u64) -> FsResult<()> {
        let set = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        self.v().setattr(ino, None, &set).map(drop)
    }

    pub(crate) fn rename(&self, from: (Ino, &str), to: (Ino, &str)) -> FsResult<()> {
        let (from, to) = (at(from.0, from.1), at(to.0, to.1));
        self.v().rename(from, to, RenameMode::Replace)
    }

    pub(crate) fn exchange(&self, one: (Ino, &str), other: (Ino, &str)) -> FsResult<()> {
        let (one, other) = (at(one.0, one.1), at(other.0, other.1));
        self.v().rename(one, other, RenameMode::Exchange)
    }

    /// Takes the marks, and says that all of them are done with.
    pub(crate) fn marks(&self) -> BTreeSet<Mark> {
        let taken = self.v().take_marks(self.share).unwrap();
        let kept = Kept {
            confirmed: taken.iter().map(|m| m.number).collect(),
            ..Kept::default()
        };
        self.v().keep_of_share(self.share, &kept).unwrap();
        taken.into_iter().map(|m| m.mark).collect()
    }

    pub(crate) fn member(&self, ino: Ino) -> Option<keyfold_fs::share::NodeId> {
        let member = self.v().share_member(ino).unwrap();
        member.map(|(share, node)| {
            assert_eq!(share, self.share);
            node
        })
    }

    /// Everything that is stored fits together.
    pub(crate) fn check(&self) {
        let options = CheckOptions {
            read_data: ReadData::Yes,
        };
        let report = check(self.v(), &options, &mut |_| {}).unwrap();
        assert_eq!(report.state, CheckState::Intact, "{report}");
    }
}

pub(crate) fn entry(dir: Ino, name: &str) -> Mark {
    Mark::Entry(dir, name.as_bytes().into())
}

/// Bytes that differ from block to block.
pub(crate) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u64 * 31 + (i as u64 >> 8) * 7) as u8 ^ seed)
        .collect()
}
