//! The entries of one directory, by name and in the order of their cookies.

use std::collections::BTreeMap;

use crate::vfs::Ino;

/// The cookie of `.`.
pub(super) const DOT: u64 = 1;
/// The cookie of `..`.
pub(super) const DOT_DOT: u64 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    ino: Ino,
    cookie: u64,
}

/// A directory. Cookies only grow, and a name keeps its cookie while it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    pub(super) parent: Ino,
    names: BTreeMap<Vec<u8>, Slot>,
    order: BTreeMap<u64, Vec<u8>>,
    last: u64,
}

impl Directory {
    pub(super) fn within(parent: Ino) -> Self {
        Self {
            parent,
            names: BTreeMap::new(),
            order: BTreeMap::new(),
            last: DOT_DOT,
        }
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<Ino> {
        self.names.get(name).map(|slot| slot.ino)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The highest cookie given so far.
    pub(super) fn last_cookie(&self) -> u64 {
        self.last
    }

    /// Lets `name` mean `ino`; a name that exists keeps its place.
    pub(super) fn put(&mut self, name: &[u8], ino: Ino) {
        if let Some(slot) = self.names.get_mut(name) {
            slot.ino = ino;
            return;
        }
        self.last += 1;
        self.names.insert(
            name.to_vec(),
            Slot {
                ino,
                cookie: self.last,
            },
        );
        self.order.insert(self.last, name.to_vec());
    }

    pub(super) fn remove(&mut self, name: &[u8]) {
        if let Some(slot) = self.names.remove(name) {
            self.order.remove(&slot.cookie);
        }
    }

    /// Entries with cookies after `from` and up to `last`, in that order.
    pub(super) fn list(&self, from: u64, last: u64) -> Vec<(u64, Vec<u8>, Ino)> {
        if from >= last {
            return Vec::new();
        }
        let named = self.order.range(from + 1..=last);
        named
            .filter_map(|(at, name)| Some((*at, name.clone(), self.get(name)?)))
            .collect()
    }
}
