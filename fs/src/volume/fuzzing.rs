//! A volume over rows that no volume wrote, for fuzzing.
//!
//! The rows are put there with the vault's key and add up to the state hash, so they are believed
//! as far as they can be: whatever follows is an error or nonsense, and never a panic, a walk
//! without end or memory without bound.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyfold_crypto::{Password, RecoveryKey, Rounds};

use super::acl::Acl;
use super::{Verify, Volume, VolumeOptions};
use crate::check::{CheckOptions, ReadData, check};
use crate::layout::{BlockIndex, LeafIndex, MapId, StateRow};
use crate::meta::{Key, RowChange, Table, Writer};
use crate::vault::{
    Access, CreateOptions, KdfCost, LockedVault, Secret, UnlockedVault, VaultError,
};
use crate::vfs::{
    Caller, Cookie, FileKind, FileRange, Ino, Listing, Name, OpenMode, Place, RenameMode, Seek,
    SetAttr, Vfs, XattrMode,
};

/// Most changes of rows that one input makes.
const MOST_CHANGES: usize = 48;
/// Most objects that are looked at, and directories above one another.
const MOST_OBJECTS: usize = 400;
const MOST_DEPTH: usize = 12;
const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0,
};
const RW: OpenMode = OpenMode {
    read: true,
    write: true,
    append: false,
    truncate: false,
    sync: false,
};

/// An access control list that was accepted is written as the same bytes.
pub(crate) fn acl(bytes: &[u8]) {
    if let Ok(Some(acl)) = Acl::parse(bytes) {
        assert!(*acl.encode() == *bytes, "accepted, and written otherwise");
        let perm = acl.perm();
        let other = acl.with_perm(perm ^ 0o777);
        assert_eq!(other.perm(), perm ^ 0o777);
        let _ = other.inherited(0o640).is_minimal();
    }
}

/// Changes rows of a small volume, opens it, looks at everything, checks it, and, where the first
/// byte is odd, writes into it.
pub(crate) fn database(bytes: &[u8]) {
    let Some((flags, changes)) = bytes.split_first() else {
        return;
    };
    let template = Template::get();
    let site = template.lay_out();
    template.change(&site, changes);
    for access in [Access::ReadOnly, Access::ReadWrite] {
        if access == Access::ReadWrite && flags & 1 == 0 {
            return;
        }
        let Some(volume) = template.open(&site, access) else {
            continue;
        };
        look_at(&volume, Ino::ROOT, &mut 0, 0);
        let options = CheckOptions {
            read_data: ReadData::Yes,
        };
        let _ = check(&volume, &options, &mut |_| {});
        if access == Access::ReadWrite {
            write_into(&volume);
            let _ = check(&volume, &options, &mut |_| {});
        }
        let _ = volume.close();
    }
}

/// A small vault, made once, whose rows inputs change.
struct Template {
    words: String,
    /// Its files, by their paths within it.
    files: Vec<(PathBuf, Vec<u8>)>,
    /// Its rows, in the order of their keys.
    rows: Vec<(Key, Box<[u8]>)>,
}

/// A vault for one input, in memory. Dropping it removes it.
struct Site(PathBuf);

impl Site {
    fn make() -> Self {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let shared = Path::new("/dev/shm");
        let base = if shared.is_dir() {
            shared.to_owned()
        } else {
            std::env::temp_dir()
        };
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let dir = base.join(format!("keyfold-fuzz-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).expect("room in memory");
        Self(dir)
    }

    fn vault(&self) -> PathBuf {
        self.0.join("v")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Template {
    fn get() -> &'static Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        TEMPLATE.get_or_init(|| Self::make().expect("a small vault can be made"))
    }

    fn make() -> Result<Self, VaultError> {
        let site = Site::make();
        let options = CreateOptions {
            password: Password::new("fuzz".to_owned()),
            cost: KdfCost::Fixed(Rounds::new(Rounds::FLOOR).expect("the floor is allowed")),
        };
        let format = |v: &UnlockedVault| {
            Volume::format(v).map_err(|_| VaultError::NotAVault {
                path: PathBuf::new(),
            })
        };
        let (vault, recovery) = UnlockedVault::create(&site.vault(), &options, format)?;
        let volume = Volume::open(vault, quiet()).expect("a new volume opens");
        fill(&volume);
        volume.close().expect("a volume closes");
        drop(volume);
        let mut template = Self {
            words: recovery.to_words().to_string(),
            files: Vec::new(),
            rows: Vec::new(),
        };
        let volume = template
            .open(&site, Access::ReadOnly)
            .expect("it opens again");
        for table in Table::ALL {
            let rows = volume.meta.stored(table, 0..=i64::MAX as u64, 10_000);
            template.rows.extend(rows.expect("its rows can be read"));
        }
        let segments = fs::read_dir(site.vault().join("segments")).expect("its segments");
        let segments = segments
            .flatten()
            .map(|s| Path::new("segments").join(s.file_name()));
        let files = ["superblock.json", "superblock.bak", "meta.db"].map(PathBuf::from);
        for file in files.into_iter().chain(segments) {
            let bytes = fs::read(site.vault().join(&file)).expect("its files");
            template.files.push((file, bytes));
        }
        Ok(template)
    }

    fn unlock(&self, site: &Site, access: Access) -> Result<UnlockedVault, VaultError> {
        let key = RecoveryKey::parse(&self.words).expect("its own key");
        LockedVault::open(&site.vault(), access)?.unlock(&Secret::Recovery(key))
    }

    fn open(&self, site: &Site, access: Access) -> Option<Arc<Volume>> {
        Volume::open(self.unlock(site, access).ok()?, quiet()).ok()
    }

    /// A copy of the template for one input.
    fn lay_out(&self) -> Site {
        let site = Site::make();
        fs::create_dir_all(site.vault().join("segments")).expect("room in memory");
        for (file, bytes) in &self.files {
            fs::write(site.vault().join(file), bytes).expect("room in memory");
        }
        site
    }

    fn change(&self, site: &Site, changes: &[u8]) {
        let vault = self
            .unlock(site, Access::ReadWrite)
            .expect("a copy unlocks");
        let master = vault.master();
        let (path, key) = (vault.dir().meta_db(), master.meta_db_key());
        let mut writer = Writer::open(&path, &key, master.state_hash_key()).expect("it opens");
        let mut script = Script { bytes: changes };
        let mut state = Self::state(&vault);
        let mut rows: Vec<RowChange> = Vec::new();
        for _ in 0..MOST_CHANGES {
            if script.bytes.is_empty() {
                break;
            }
            script.change(self, &mut rows, &mut state);
        }
        let _ = writer.commit(rows.iter().map(|(key, row)| (key, row)), &mut state);
        let _ = writer.checkpoint_all();
    }

    fn state(vault: &UnlockedVault) -> StateRow {
        let volume_key = vault.master().meta_db_key();
        let mode = crate::meta::Mode::ReadWrite;
        let readers = crate::meta::Readers::open(&vault.dir().meta_db(), volume_key, mode, 1);
        let state = readers.expect("it opens").state().expect("it can be read");
        state.expect("it has a state")
    }
}

fn quiet() -> VolumeOptions {
    VolumeOptions {
        commit_interval: Duration::from_hours(1),
        flushers: 1,
        verify: Verify::Never,
        ..VolumeOptions::default()
    }
}

/// Bytes of an input, as what they make.
struct Script<'a> {
    bytes: &'a [u8],
}

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        let first = self.bytes.split_first();
        let (byte, rest) = first.map_or((0, &[][..]), |(byte, rest)| (*byte, rest));
        self.bytes = rest;
        byte
    }

    fn number(&mut self) -> u64 {
        // Small ones and those at the edges matter.
        match self.byte() {
            small @ 0..=0xdf => u64::from(small),
            0xe0..=0xef => u64::MAX >> (self.byte() % 64),
            _ => (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte())),
        }
    }

    fn some(&mut self) -> Box<[u8]> {
        let length = usize::from(self.byte());
        let length = length * if length > 128 { 32 } else { 1 };
        let (some, rest) = self.bytes.split_at(length.min(self.bytes.len()));
        self.bytes = rest;
        some.into()
    }

    fn row<'t>(&mut self, template: &'t Template) -> &'t (Key, Box<[u8]>) {
        let n = usize::from(self.byte()) % template.rows.len();
        &template.rows[n]
    }

    fn key(&mut self) -> Key {
        let number = |n: u64| n & i64::MAX as u64;
        let a = number(self.number());
        match self.byte() % 11 {
            0 => Key::inode(Ino(a)),
            1 => Key::content(Ino(a)),
            2 => Key::dentry(Ino(a), &self.some()),
            3 => Key::xattr(Ino(a), &self.some()),
            4 => Key::file_key(Ino(a), self.number() as u32),
            5 => Key::leaf(MapId(a & 0xff), LeafIndex(u32::from(self.byte()))),
            6 => Key::block(a),
            7 => Key::segment(crate::layout::SegmentId(a as u32)),
            8 => Key::run_owner(crate::layout::SegmentId(a as u32), self.number() as u32),
            9 => Key::orphan(Ino(a)),
            _ => Key::trim(MapId(a)),
        }
    }

    fn change(&mut self, template: &Template, rows: &mut Vec<RowChange>, state: &mut StateRow) {
        match self.byte() % 7 {
            0 => rows.push((self.row(template).0.clone(), None)),
            1 => {
                let (key, row) = self.row(template).clone();
                let mut row = rows
                    .iter()
                    .rev()
                    .find(|r| r.0 == key)
                    .map_or(row, |r| r.1.clone().unwrap_or_default());
                for _ in 0..=self.byte() % 8 {
                    let at = usize::from(self.byte());
                    let byte = self.byte();
                    if let Some(place) = row.get_mut(at) {
                        *place ^= byte;
                    }
                }
                rows.push((key, Some(row)));
            }
            2 => rows.push((self.row(template).0.clone(), Some(self.some()))),
            3 => rows.push((self.key(), Some(self.some()))),
            4 => {
                let to = self.row(template).0.clone();
                rows.push((to, Some(self.row(template).1.clone())));
            }
            5 => {
                let row = self.row(template).1.clone();
                rows.push((self.key(), Some(row)));
            }
            _ => {
                let value = self.number();
                match self.byte() % 6 {
                    0 => state.next_ino = value,
                    1 => state.next_map = value,
                    2 => state.next_block = value,
                    3 => state.next_segment = value,
                    4 => state.inodes = value,
                    _ => state.blocks = value,
                }
            }
        }
    }
}

fn at(parent: Ino, name: &[u8]) -> Option<Place<'_>> {
    let name = Name::new(name).ok()?;
    Some(Place { parent, name })
}

/// One of everything.
fn fill(v: &Volume) {
    let make = |parent, name: &[u8], data: &[u8]| {
        let (entry, handle) = v.create(&CALLER, at(parent, name)?, 0o644, RW).ok()?;
        let ino = entry.attr.ino;
        let range = FileRange {
            ino,
            handle,
            offset: 0,
        };
        v.write(range, data).ok()?;
        v.release(ino, handle);
        Some(ino)
    };
    let inner = at(Ino::ROOT, b"dir").and_then(|p| v.mkdir(&CALLER, p, 0o755).ok());
    let dir = inner.expect("a directory is made").attr.ino;
    let file = make(dir, b"file", &vec![1; 20_000]).expect("a file is made");
    make(dir, b"other", &[2; 5000]);
    make(Ino::ROOT, b"tiny", b"x");
    let _ = at(dir, b"link").map(|p| v.symlink(&CALLER, p, b"file"));
    let _ = at(Ino::ROOT, b"hard").map(|p| v.link(file, p));
    let _ = v.setxattr(file, b"user.a", b"value", XattrMode::Set);
    let _ = v.sync();
}

fn look_at(v: &Volume, ino: Ino, seen: &mut usize, depth: usize) {
    *seen += 1;
    if *seen > MOST_OBJECTS || depth > MOST_DEPTH {
        return;
    }
    if let Ok(names) = v.listxattr(ino) {
        for name in names.split(|b| *b == 0).take(8) {
            let _ = v.getxattr(ino, name);
        }
    }
    let Ok(attr) = v.getattr(ino) else { return };
    match attr.kind {
        FileKind::Directory => {
            let mut found = Vec::new();
            if let Ok(handle) = v.opendir(ino) {
                let _ = v.readdir_plus(handle, Cookie::START, &mut |entry, _| {
                    found.push((entry.name.to_vec(), entry.ino));
                    if found.len() < MOST_OBJECTS {
                        Listing::Continue
                    } else {
                        Listing::Full
                    }
                });
                v.releasedir(handle);
            }
            for (name, child) in found {
                if name == b"." || name == b".." {
                    continue;
                }
                let _ = at(ino, &name).map(|p| v.lookup(p));
                look_at(v, child, seen, depth + 1);
                v.forget(child, 2);
            }
        }
        FileKind::Regular => read_some(v, (ino, attr.size)),
        FileKind::Symlink => drop(v.readlink(ino)),
        _ => {}
    }
}

fn read_some(v: &Volume, (ino, size): (Ino, u64)) {
    let Ok(handle) = v.open(ino, OpenMode { write: false, ..RW }) else {
        return;
    };
    let mut buf = vec![0; 9000];
    for offset in [
        0,
        4095,
        size / 2,
        size.saturating_sub(5000),
        size,
        u64::MAX - 5,
    ] {
        let range = FileRange {
            ino,
            handle,
            offset,
        };
        let _ = v.read(range, &mut buf);
        let _ = v.seek(range, Seek::Data);
        let _ = v.seek(range, Seek::Hole);
    }
    v.release(ino, handle);
}

/// What a program might do to what it finds.
fn write_into(v: &Volume) {
    let mut names = Vec::new();
    for dir in [Ino::ROOT, Ino(2)] {
        if let Ok(handle) = v.opendir(dir) {
            let _ = v.readdir(handle, Cookie::START, &mut |entry| {
                names.push((dir, entry.name.to_vec(), entry.ino));
                if names.len() < 20 {
                    Listing::Continue
                } else {
                    Listing::Full
                }
            });
            v.releasedir(handle);
        }
    }
    for (n, (dir, name, ino)) in names.iter().enumerate() {
        change_object(v, *ino, n as u64);
        let Some(place) = at(*dir, name) else {
            continue;
        };
        let to = format!("renamed-{n}");
        let _ = match n % 4 {
            0 => v.unlink(place),
            1 => v.rmdir(place),
            2 => at(Ino::ROOT, to.as_bytes())
                .map_or(Ok(()), |to| v.rename(place, to, RenameMode::Replace)),
            _ => at(Ino::ROOT, to.as_bytes()).map_or(Ok(()), |to| v.link(*ino, to).map(drop)),
        };
    }
    let _ = at(Ino::ROOT, b"new").map(|p| v.mkdir(&CALLER, p, 0o755));
    let _ = v.sync();
    let _ = v.sync();
}

fn change_object(v: &Volume, ino: Ino, n: u64) {
    let _ = v.setxattr(ino, b"user.b", b"more", XattrMode::Set);
    let set = SetAttr {
        perm: Some(0o640),
        size: n.is_multiple_of(3).then_some(n * 1000),
        ..SetAttr::default()
    };
    let _ = v.setattr(ino, None, &set);
    let Ok(handle) = v.open(ino, RW) else { return };
    for offset in [0, BlockIndex(70).offset() + n, 1 << 30] {
        let range = FileRange {
            ino,
            handle,
            offset,
        };
        let _ = v.write(range, &[9; 5000]);
    }
    let _ = v.fsync(ino, handle);
    v.release(ino, handle);
}
