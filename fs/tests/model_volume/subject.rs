//! What can be compared with the model.

use std::sync::Arc;

use keyfold_fs::clock::SystemClock;
use keyfold_fs::model::ModelFs;
use keyfold_fs::vfs::Vfs;

/// A filesystem under test.
pub(crate) trait Subject {
    /// The filesystem as it is mounted now.
    fn vfs(&self) -> &dyn Vfs;
    /// Unmounts it cleanly and mounts it again.
    fn remount(&mut self);
    /// Loses everything that was not durable yet and mounts what is left.
    fn crash(&mut self);
    /// What may be asked of it.
    fn promises(&self) -> Promises;
}

/// What a subject promises beyond POSIX. Without a promise the comparison looks away there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promises {
    /// `blocks`, data and holes are exactly those of the model.
    pub(crate) layout: bool,
    /// Directories list in the order in which entries were made, as of opendir.
    pub(crate) listing_order: bool,
    /// Files of 16 TiB and attributes of 64 KiB are possible, and the limits are exact.
    pub(crate) limits: bool,
    /// Access times change only when set.
    pub(crate) fixed_atime: bool,
    /// An inode without name, handle and lookup is gone.
    pub(crate) forgets: bool,
    /// Crashing means something.
    pub(crate) crashes: bool,
}

impl Promises {
    /// Everything that the design of a volume promises.
    pub(crate) const VOLUME: Self = Self {
        layout: true,
        listing_order: true,
        limits: true,
        fixed_atime: true,
        forgets: true,
        crashes: true,
    };
}

/// The model compared with itself: proves that the comparison accepts what is right.
pub(crate) struct ModelSubject(ModelFs);

impl ModelSubject {
    pub(crate) fn new() -> Self {
        Self(ModelFs::new(Arc::new(SystemClock)))
    }
}

impl Subject for ModelSubject {
    fn vfs(&self) -> &dyn Vfs {
        &self.0
    }

    fn remount(&mut self) {
        self.0.remount();
    }

    /// Nothing is ever lost.
    fn crash(&mut self) {
        self.0.remount();
    }

    fn promises(&self) -> Promises {
        Promises::VOLUME
    }
}
