//! A member's volume with a shared directory, and short words for what is done in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::ShareInfo;
use keyfold_fs::vfs::{
    Caller, FileKind, FileRange, Ino, Name, OpenMode, Place, RenameMode, SetAttr, SetTime,
    Timestamp, Vfs, XattrMode,
};
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::log::Event;
use keyfold_protocol::roster::Role;

use crate::account::Session;
use crate::account::tests::scene::{Scene, session};
use crate::engine::Engine;
use crate::remote::tests::run;
use crate::sharing::Shared;
use crate::sharing::tests::newcomer;
use crate::sync::{Fetcher, Round, ShareSync, SyncError};

pub(super) const RW: OpenMode = OpenMode {
    read: true,
    write: true,
    append: false,
    truncate: false,
    sync: false,
};
pub(super) const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0o022,
};

/// A server, and two people with a vault each.
pub(super) struct People {
    pub(super) scene: Scene,
    pub(super) alice: Engine,
    pub(super) bob: Engine,
}

impl People {
    pub(super) fn new() -> Self {
        let scene = Scene::new();
        let [alice, bob] = ["alice", "bob"].map(|user| scene.registered(user).0);
        Self { scene, alice, bob }
    }

    pub(super) fn sessions(&self) -> (Session<'_>, Session<'_>) {
        (session(&self.alice), session(&self.bob))
    }
}

/// A share of alice in which bob writes, too.
pub(super) fn share(alice: &Session<'_>) -> ShareId {
    let mut shared = run(Shared::create(alice)).unwrap();
    run(shared.add(&newcomer(alice, "bob", Role::Writer))).unwrap();
    shared.id()
}

/// What is seen under a path: kind, mode, stamp, attributes, and bytes or target.
type Node = (FileKind, u16, Timestamp, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>);

pub(super) struct Site<'s, 'a> {
    engine: &'a Engine,
    session: &'s Session<'a>,
    id: ShareId,
    pub(super) root: Ino,
    pub(super) sync: ShareSync<'s, 'a>,
    pub(super) fetcher: Arc<Fetcher>,
}

fn info(volume: &Volume, id: ShareId) -> ShareInfo {
    let shares = volume.shares().unwrap();
    let mut shares = shares.into_iter();
    shares.find(|info| info.id.0 == id.0).unwrap()
}

impl Drop for Site<'_, '_> {
    fn drop(&mut self) {
        self.fetcher.end();
    }
}

impl<'s, 'a> Site<'s, 'a> {
    /// A volume in which the share begins empty, and what comes of syncing it first.
    pub(super) fn try_begin(
        (engine, session): (&'a Engine, &'s Session<'a>),
        id: ShareId,
    ) -> Result<Self, SyncError> {
        let volume = engine.volume();
        let known = volume.shares().unwrap();
        if known.iter().all(|info| info.id.0 != id.0) {
            let at = Place {
                parent: Ino::ROOT,
                name: Name::new(b"shared").unwrap(),
            };
            let root = volume.mkdir(&CALLER, at, 0o755).unwrap().attr.ino;
            volume.begin_share(EngineShareId(id.0), root, b"").unwrap();
        }
        run(ShareSync::open(session, volume, &info(volume, id)))?;
        Ok(Self::open(engine, session, id))
    }

    /// A volume in which the share begins with what `fill` puts into its directory.
    pub(super) fn begin(
        (engine, session): (&'a Engine, &'s Session<'a>),
        id: ShareId,
        fill: impl FnOnce(&Volume, Ino),
    ) -> Self {
        let volume = engine.volume();
        let at = Place {
            parent: Ino::ROOT,
            name: Name::new(b"shared").unwrap(),
        };
        let root = volume.mkdir(&CALLER, at, 0o755).unwrap().attr.ino;
        fill(volume, root);
        volume.begin_share(EngineShareId(id.0), root, b"").unwrap();
        Self::open(engine, session, id)
    }

    /// A volume in which the share is that of a single file, with this content if there is one.
    pub(super) fn begin_single(
        (engine, session): (&'a Engine, &'s Session<'a>),
        id: ShareId,
        (name, content): (&str, Option<&[u8]>),
    ) -> Self {
        let volume = engine.volume();
        let at = Place {
            parent: Ino::ROOT,
            name: Name::new(b"dir").unwrap(),
        };
        let dir = volume.mkdir(&CALLER, at, 0o755);
        let place = Place {
            parent: dir.unwrap().attr.ino,
            name: Name::new(name.as_bytes()).unwrap(),
        };
        if let Some(content) = content {
            let (entry, handle) = volume.create(&CALLER, place, 0o644, RW).unwrap();
            let range = FileRange {
                ino: entry.attr.ino,
                handle,
                offset: 0,
            };
            volume.write(range, content).unwrap();
            volume.release(entry.attr.ino, handle);
        }
        let id_here = EngineShareId(id.0);
        volume.begin_single_share(id_here, place, b"").unwrap();
        Self::open(engine, session, id)
    }

    pub(super) fn open(engine: &'a Engine, session: &'s Session<'a>, id: ShareId) -> Self {
        let volume = engine.volume();
        let info = info(volume, id);
        let sync = run(ShareSync::open(session, volume, &info)).unwrap();
        let fetcher = Arc::new(Fetcher::new().unwrap());
        fetcher.set_remote(session.remote().clone());
        fetcher.add(sync.packs());
        volume.set_fetch(Some(Arc::clone(&fetcher) as Arc<_>));
        Self {
            engine,
            session,
            id,
            root: info.root,
            sync,
            fetcher,
        }
    }

    /// As after the program ended. What was kept is what was there.
    #[track_caller]
    pub(super) fn again(&mut self) {
        let (base, reached) = (self.sync.base.clone(), self.sync.reached.clone());
        let rows_fit = self.sync.rows_fit;
        *self = Self::open(self.engine, self.session, self.id);
        if rows_fit {
            assert!(self.sync.base == base && self.sync.reached == reached);
        }
    }

    /// What there was to tell the user.
    pub(super) fn told(&self) -> Vec<Event> {
        let events = self.sync.shared.events().iter();
        events.map(|(_, event)| *event).collect()
    }

    pub(super) fn v(&self) -> &Arc<Volume> {
        self.engine.volume()
    }

    #[track_caller]
    pub(super) fn push(&mut self) {
        let round = run(self.sync.push()).unwrap();
        assert_eq!(round, Round::Done { kept_back: 0 });
    }

    #[track_caller]
    pub(super) fn pull(&mut self) {
        let round = run(self.sync.pull()).unwrap();
        assert_eq!(round, Round::Done { kept_back: 0 });
    }

    pub(super) fn ino(&self, path: &str) -> Ino {
        self.find(path).unwrap_or_else(|| panic!("no {path}"))
    }

    pub(super) fn find(&self, path: &str) -> Option<Ino> {
        let mut at = self.root;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let at_name = Place {
                parent: at,
                name: Name::new(name.as_bytes()).unwrap(),
            };
            at = match self.v().lookup(at_name) {
                Err(FsError::NotFound) => return None,
                found => found.unwrap().attr.ino,
            };
            self.v().forget(at, 1);
        }
        Some(at)
    }

    pub(super) fn place<'n>(&self, path: &'n str) -> Place<'n> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Place {
            parent: self.ino(dir),
            name: Name::new(name.as_bytes()).unwrap(),
        }
    }

    pub(super) fn mkdir(&self, path: &str) {
        self.v().mkdir(&CALLER, self.place(path), 0o755).unwrap();
    }

    pub(super) fn symlink(&self, path: &str, target: &str) {
        let made = self
            .v()
            .symlink(&CALLER, self.place(path), target.as_bytes());
        made.unwrap();
    }

    pub(super) fn link(&self, path: &str, other: &str) {
        self.v().link(self.ino(path), self.place(other)).unwrap();
    }

    pub(super) fn file(&self, path: &str, data: &[u8]) {
        let made = self.v().create(&CALLER, self.place(path), 0o644, RW);
        let (entry, handle) = made.unwrap();
        self.write_at((entry.attr.ino, handle), 0, data);
        self.v().release(entry.attr.ino, handle);
    }

    fn write_at(&self, (ino, handle): (Ino, keyfold_fs::vfs::Handle), offset: u64, data: &[u8]) {
        let range = FileRange {
            ino,
            handle,
            offset,
        };
        assert_eq!(self.v().write(range, data).unwrap(), data.len());
    }

    pub(super) fn overwrite(&self, path: &str, offset: u64, data: &[u8]) {
        let ino = self.ino(path);
        let handle = self.v().open(ino, RW).unwrap();
        self.write_at((ino, handle), offset, data);
        self.v().release(ino, handle);
    }

    /// Writes the first block of each of these leaves.
    pub(super) fn write_leaves(&self, path: &str, leaves: std::ops::Range<u64>, seed: u8) {
        let ino = self.ino(path);
        let handle = self.v().open(ino, RW).unwrap();
        for leaf in leaves {
            self.write_at((ino, handle), leaf << 18, &pattern(4096, seed ^ leaf as u8));
        }
        self.v().release(ino, handle);
    }

    pub(super) fn read_at(&self, path: &str, offset: u64, len: usize) -> Vec<u8> {
        let ino = self.ino(path);
        let mode = OpenMode { write: false, ..RW };
        let handle = self.v().open(ino, mode).unwrap();
        let mut data = vec![0; len];
        let range = FileRange {
            ino,
            handle,
            offset,
        };
        assert_eq!(self.v().read(range, &mut data).unwrap(), len);
        self.v().release(ino, handle);
        data
    }

    pub(super) fn truncate(&self, path: &str, size: u64) {
        self.set(
            path,
            &SetAttr {
                size: Some(size),
                ..SetAttr::default()
            },
        );
    }

    pub(super) fn set(&self, path: &str, set: &SetAttr) {
        self.v().setattr(self.ino(path), None, set).unwrap();
    }

    pub(super) fn stamp(&self, path: &str, secs: i64) {
        let mtime = Timestamp { secs, nanos: 7 };
        self.set(
            path,
            &SetAttr {
                mtime: Some(SetTime::At(mtime)),
                ..SetAttr::default()
            },
        );
    }

    pub(super) fn xattr(&self, path: &str, name: &str, value: &[u8]) {
        let set = XattrMode::Set;
        let ino = self.ino(path);
        self.v().setxattr(ino, name.as_bytes(), value, set).unwrap();
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        self.try_rename(from, to).unwrap();
    }

    pub(super) fn try_rename(&self, from: &str, to: &str) -> FsResult<()> {
        let (from, to) = (self.place(from), self.place(to));
        self.v().rename(from, to, RenameMode::Replace)
    }

    pub(super) fn exchange(&self, one: &str, other: &str) {
        let (one, other) = (self.place(one), self.place(other));
        self.v().rename(one, other, RenameMode::Exchange).unwrap();
    }

    pub(super) fn unlink(&self, path: &str) {
        self.v().unlink(self.place(path)).unwrap();
    }

    pub(super) fn rmdir(&self, path: &str) {
        self.v().rmdir(self.place(path)).unwrap();
    }

    pub(super) fn read(&self, path: &str) -> Vec<u8> {
        self.try_read(self.ino(path)).unwrap()
    }

    pub(super) fn try_read(&self, ino: Ino) -> FsResult<Vec<u8>> {
        // Whoever looks after a connection says so when the server is back. The volume may have another
        // share, too, that was opened later.
        self.fetcher.set_cut_off(false);
        self.v()
            .set_fetch(Some(Arc::clone(&self.fetcher) as Arc<_>));
        // Looked at first, as by the kernel.
        let mut data = vec![0; self.v().getattr(ino)?.size as usize];
        let handle = self.v().open(ino, OpenMode { write: false, ..RW })?;
        let range = FileRange {
            ino,
            handle,
            offset: 0,
        };
        let read = self.v().read(range, &mut data);
        self.v().release(ino, handle);
        assert_eq!(read?, data.len());
        Ok(data)
    }

    pub(super) fn is_dir(&self, path: &str) -> bool {
        let view = self.v().view_node(self.ino(path)).unwrap();
        view.kind == FileKind::Directory
    }

    /// Paths, ascending.
    pub(super) fn paths(&self) -> Vec<String> {
        let seen = self.seen();
        seen.keys().cloned().collect()
    }

    pub(super) fn seen(&self) -> BTreeMap<String, Node> {
        let mut all = BTreeMap::new();
        let mut left = vec![(self.root, String::new())];
        while let Some((dir, path)) = left.pop() {
            for entry in self.v().view_entries(dir).unwrap() {
                let name = String::from_utf8(entry.name).unwrap();
                let path = format!("{path}{name}");
                let mut view = self.v().view_node(entry.ino).unwrap();
                view.xattrs.sort();
                let file = entry.kind == FileKind::Regular;
                let data = if file {
                    self.try_read(entry.ino).unwrap()
                } else {
                    view.target.unwrap_or_default()
                };
                if entry.kind == FileKind::Directory {
                    left.push((entry.ino, format!("{path}/")));
                }
                let mode = view.perm >> 6 & 7;
                all.insert(path, (entry.kind, mode, view.mtime, view.xattrs, data));
            }
        }
        all
    }
}

#[track_caller]
pub(super) fn assert_same(one: &Site<'_, '_>, other: &Site<'_, '_>) {
    assert_eq!(one.paths(), other.paths());
    let other = other.seen();
    for (path, node) in one.seen() {
        assert!(node == other[&path], "{path} differs");
    }
}

/// Bytes that differ from block to block.
pub(super) fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let byte = |i: usize| (i as u64 * 31 + (i as u64 >> 8) * 7) as u8 ^ seed;
    (0..len).map(byte).collect()
}
