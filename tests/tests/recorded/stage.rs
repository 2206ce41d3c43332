//! Where recordings are made: a disk in memory with an empty vault on it, to be copied.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

use keyfold_fs::clock::TestClock;
use keyfold_fs::model::ModelFs;
use keyfold_fs::vfs::{Ino, SetAttr, SetTime, Timestamp, Vfs};
use keyfold_tests::{Sandbox, shell};

use crate::recorded::vault::{self, Key, Timer};

/// When the clock begins.
const BEGINNING: Timestamp = Timestamp {
    secs: 1 << 32,
    nanos: 7,
};

/// A disk in memory, and on it an empty vault.
pub struct Stage {
    sandbox: Sandbox,
    pub key: Key,
    made: Cell<u32>,
}

/// The clock of a recording, at its beginning.
pub fn clock() -> Arc<TestClock> {
    Arc::new(TestClock::new(BEGINNING))
}

/// What the empty vault holds.
pub fn empty_model(clock: &Arc<TestClock>) -> ModelFs {
    let model = ModelFs::new(Arc::<TestClock>::clone(clock));
    settle_root(&model);
    model
}

fn settle_root(vfs: &dyn Vfs) {
    let set = SetAttr {
        perm: Some(0o755),
        uid: Some(0),
        gid: Some(0),
        size: None,
        atime: Some(SetTime::At(BEGINNING)),
        mtime: Some(SetTime::At(BEGINNING)),
    };
    vfs.setattr(Ino::ROOT, None, &set).unwrap();
}

impl Stage {
    pub fn new() -> Self {
        let sandbox = Sandbox::new();
        let disk = sandbox.dir("disk");
        shell(
            &disk,
            "mount -t tmpfs -o size=8g,huge=within_size,mode=755 tmpfs .",
        );
        let template = disk.join("template");
        let key = vault::create(&template);
        let volume = vault::open(&template, &key, (&clock(), Timer::Off)).unwrap();
        settle_root(&*volume);
        volume.close().unwrap();
        Self {
            sandbox,
            key,
            made: Cell::new(0),
        }
    }

    /// A path on the disk that nothing has.
    pub fn fresh(&self) -> PathBuf {
        self.made.set(self.made.get() + 1);
        self.sandbox
            .path()
            .join("disk")
            .join(self.made.get().to_string())
    }

    /// The empty vault.
    pub fn template(&self) -> PathBuf {
        self.sandbox.path().join("disk/template")
    }

    /// A copy of the empty vault.
    pub fn vault(&self) -> PathBuf {
        let path = self.fresh();
        vault::copy(&self.template(), &path);
        path
    }

    /// A copy of the empty vault on a disk of its own that is `mebibytes` large.
    pub fn vault_on_small_disk(&self, mebibytes: u64) -> PathBuf {
        let path = self.small_disk(mebibytes).join("vault");
        vault::copy(&self.template(), &path);
        path
    }

    /// An empty disk that is `mebibytes` large.
    pub fn small_disk(&self, mebibytes: u64) -> PathBuf {
        let disk = self.fresh();
        std::fs::create_dir(&disk).unwrap();
        let size = format!("mount -t tmpfs -o size={mebibytes}m,mode=755 tmpfs .");
        shell(&disk, &size);
        disk
    }

    /// An empty directory.
    pub fn directory(&self) -> PathBuf {
        let path = self.fresh();
        std::fs::create_dir(&path).unwrap();
        path
    }
}
