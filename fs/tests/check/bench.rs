//! A volume in a temporary directory, and ways to damage it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyfold_crypto::{Password, Rounds};
use keyfold_fs::check::{CheckOptions, CheckReport, FindingKind, ReadData, check};
use keyfold_fs::clock::{Clock, SystemClock};
use keyfold_fs::vault::{
    Access, CreateOptions, KdfCost, LockedVault, Secret, UnlockedVault, VaultError,
};
use keyfold_fs::vfs::{Caller, FileRange, Handle, Ino, Name, OpenMode, Place, Vfs};
use keyfold_fs::volume::{Verify, Volume, VolumeError, VolumeOptions};
use rusqlite::Connection;
use tempfile::TempDir;

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
const BLOCK: usize = 4096;

#[derive(Debug)]
struct Failed(#[expect(dead_code, reason = "shown by unwrap")] String);

impl From<VaultError> for Failed {
    fn from(e: VaultError) -> Self {
        Self(e.to_string())
    }
}

pub(crate) struct Bench {
    dir: TempDir,
    secret: Secret,
    /// Between commits nobody asked for.
    interval: Duration,
    /// Of automatic images.
    pub(crate) images: Option<Duration>,
    pub(crate) clock: Arc<dyn Clock>,
    volume: Option<Arc<Volume>>,
}

pub(crate) fn at(parent: Ino, name: &str) -> Place<'_> {
    let name = Name::new(name.as_bytes()).unwrap();
    Place { parent, name }
}

pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(31) + (i >> 8) * 7 + seed) as u8)
        .collect()
}

impl Bench {
    /// A volume in which only commits that are asked for happen, so that a test decides.
    pub(crate) fn new() -> Self {
        Self::committing_every(Duration::from_hours(1))
    }

    /// A volume that commits and cleans by itself.
    pub(crate) fn committing_every(interval: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = CreateOptions {
            password: Password::new("correct horse".to_owned()),
            cost: KdfCost::Fixed(Rounds::new(Rounds::FLOOR).unwrap()),
        };
        let format = |v: &UnlockedVault| Volume::format(v).map_err(|e| Failed(e.to_string()));
        let (vault, recovery) =
            UnlockedVault::create(&dir.path().join("v"), &options, format).unwrap();
        drop(vault);
        let mut bench = Self {
            dir,
            secret: Secret::Recovery(recovery),
            interval,
            images: None,
            clock: Arc::new(SystemClock),
            volume: None,
        };
        bench.open(Access::ReadWrite);
        bench
    }

    fn unlock(&self, access: Access) -> UnlockedVault {
        LockedVault::open(&self.dir.path().join("v"), access)
            .unwrap()
            .unlock(&self.secret)
            .unwrap()
    }

    pub(crate) fn v(&self) -> &Arc<Volume> {
        self.volume.as_ref().unwrap()
    }

    pub(crate) fn open(&mut self, access: Access) {
        self.volume = None;
        self.volume = Some(self.try_open(access).unwrap());
    }

    pub(crate) fn try_open(&self, access: Access) -> Result<Arc<Volume>, VolumeError> {
        let options = VolumeOptions {
            commit_interval: self.interval,
            // What a check finds is the matter here.
            verify: Verify::Never,
            image_interval: self.images,
            clock: Arc::clone(&self.clock),
            ..VolumeOptions::default()
        };
        Volume::open(self.unlock(access), options)
    }

    pub(crate) fn close(&mut self) {
        if let Some(volume) = self.volume.take() {
            volume.close().unwrap();
        }
    }

    /// Lets go of a volume that crashed.
    pub(crate) fn forget(&mut self) {
        self.volume = None;
    }

    pub(crate) fn remount(&mut self) {
        self.close();
        self.open(Access::ReadWrite);
    }

    pub(crate) fn crash(&mut self) {
        self.v().crash();
        self.open(Access::ReadWrite);
    }

    pub(crate) fn check(&self, read_data: ReadData) -> CheckReport {
        check(self.v(), &CheckOptions { read_data }, &mut |_| {}).unwrap()
    }

    /// Closes the volume, lets `change` damage what is stored, and checks it as opened for
    /// reading.
    pub(crate) fn check_after(
        &mut self,
        read_data: ReadData,
        change: impl FnOnce(&Self),
    ) -> CheckReport {
        self.close();
        change(self);
        self.open(Access::ReadOnly);
        self.check(read_data)
    }

    /// The closed vault, to be repaired.
    pub(crate) fn unlock_for_repair(&self) -> UnlockedVault {
        LockedVault::open_for_repair(&self.dir.path().join("v"))
            .unwrap()
            .unlock(&self.secret)
            .unwrap()
    }

    /// Changes the database and makes the state hash that of its rows, as a fault of the program
    /// itself would.
    pub(crate) fn edit_soundly(&self, change: impl FnOnce(&Connection)) {
        let key = self.unlock(Access::ReadOnly).master().state_hash_key();
        self.edit(|db| {
            change(db);
            let sum = crate::sound::state_hash(db, &key);
            let mut state: Vec<u8> = db
                .query_row("SELECT v FROM state", [], |r| r.get(0))
                .unwrap();
            let at = state.len() - 32;
            state[at..].copy_from_slice(&sum);
            db.execute("UPDATE state SET v = ?1", [state]).unwrap();
        });
    }

    /// Changes the database as somebody who has its key could.
    pub(crate) fn edit(&self, change: impl FnOnce(&Connection)) {
        let key = self.unlock(Access::ReadOnly).master().meta_db_key();
        let hex = data_encoding::HEXLOWER.encode(key.expose());
        let db = Connection::open(self.dir.path().join("v/meta.db")).unwrap();
        let settings = format!(
            "PRAGMA key = \"x'{hex}'\"; PRAGMA cipher_page_size = 4096; \
             PRAGMA cipher_hmac_algorithm = HMAC_SHA256;"
        );
        db.execute_batch(&settings).unwrap();
        change(&db);
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
    }

    pub(crate) fn path(&self, of: &str) -> PathBuf {
        self.dir.path().join("v").join(of)
    }

    /// The one segment there is.
    pub(crate) fn segment(&self) -> PathBuf {
        let mut all = std::fs::read_dir(self.path("segments")).unwrap();
        let path = all.next().unwrap().unwrap().path();
        assert!(all.next().is_none(), "more than one segment");
        path
    }

    pub(crate) fn mkdir(&self, parent: Ino, name: &str) -> Ino {
        let entry = self.v().mkdir(&CALLER, at(parent, name), 0o755).unwrap();
        entry.attr.ino
    }

    /// A file of some blocks, as it stays after closing.
    pub(crate) fn file(&self, parent: Ino, name: &str, data: &[u8]) -> Ino {
        let (entry, handle) = self
            .v()
            .create(&CALLER, at(parent, name), 0o644, RW)
            .unwrap();
        self.write((entry.attr.ino, handle), 0, data);
        self.v().release(entry.attr.ino, handle);
        self.v().forget(entry.attr.ino, 1);
        entry.attr.ino
    }

    pub(crate) fn write(&self, (ino, handle): (Ino, Handle), offset: u64, data: &[u8]) {
        let range = FileRange {
            ino,
            handle,
            offset,
        };
        if !data.is_empty() {
            assert_eq!(self.v().write(range, data).unwrap(), data.len());
        }
    }

    /// A volume with `/docs/letter` of ten blocks and `/docs/other` of three, committed and
    /// closed: the letter lies in slots 0 to 9 of the one segment, as nothing was written before.
    pub(crate) fn with_letter() -> (Self, Ino) {
        let bench = Self::new();
        let docs = bench.mkdir(Ino::ROOT, "docs");
        let letter = bench.file(docs, "letter", &pattern(10 * BLOCK, 1));
        bench.v().sync().unwrap();
        bench.file(docs, "other", &pattern(3 * BLOCK - 5, 2));
        bench.v().sync().unwrap();
        (bench, letter)
    }
}

pub(crate) fn assert_intact(report: &CheckReport, when: &str) {
    assert_eq!(report.damaged(), 0, "{when}: {report}");
    assert!(!report.uncommitted, "{when}");
}

/// Asserts that something of this kind was found, and returns the report's words for messages.
#[track_caller]
pub(crate) fn assert_found(report: &CheckReport, kind: FindingKind) {
    let found = report.findings.iter().any(|f| f.kind == kind);
    assert!(found, "no {kind} in: {report}");
}
