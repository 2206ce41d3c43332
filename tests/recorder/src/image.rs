//! A directory tree as it lies on a disk.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use crate::content::Content;

/// A directory and all below it.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Directories in it.
    pub dirs: BTreeMap<OsString, Self>,
    /// Files in it.
    pub files: BTreeMap<OsString, Content>,
}

impl Image {
    /// Makes the directory at `path`, which is new, with all below it.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)?;
        for (name, dir) in &self.dirs {
            dir.write_to(&path.join(name))?;
        }
        for (name, file) in &self.files {
            file.write_to(&path.join(name))?;
        }
        Ok(())
    }

    /// Equal for images that hold the same.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.add_to(&mut hasher);
        hasher.finish()
    }

    fn add_to(&self, hasher: &mut DefaultHasher) {
        (self.dirs.len(), self.files.len()).hash(hasher);
        for (name, dir) in &self.dirs {
            name.hash(hasher);
            dir.add_to(hasher);
        }
        for (name, file) in &self.files {
            name.hash(hasher);
            file.digest(hasher);
        }
    }
}
