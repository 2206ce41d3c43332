//! What a volume may look like after a crash: the states it went through since they were durable.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_fs::model::Snapshot;
use keyfold_fs::vfs::Ino;

/// The states since the last moment at which everything was durable, oldest first.
pub(crate) struct History {
    states: Vec<Snapshot>,
    /// The namespace is as at this moment or a later one.
    namespace: usize,
    /// The content of a file is as at its moment or a later one; 0 where none is given.
    contents: BTreeMap<Ino, usize>,
    /// Files that were renamed over others: where the namespace shows it, so does the content.
    replacing: BTreeSet<(usize, Ino)>,
}

impl History {
    /// Begins with a state that is durable.
    pub(crate) fn starting_at(state: Snapshot) -> Self {
        Self {
            states: vec![state],
            namespace: 0,
            contents: BTreeMap::new(),
            replacing: BTreeSet::new(),
        }
    }

    fn now(&self) -> usize {
        self.states.len() - 1
    }

    /// One operation later.
    pub(crate) fn push(&mut self, state: Snapshot) {
        self.states.push(state);
    }

    /// `ino` was made durable as it is now, and with it all names.
    pub(crate) fn synced(&mut self, ino: Ino) {
        let now = self.now();
        self.namespace = now;
        self.contents.insert(ino, now);
        for (since, ino) in std::mem::take(&mut self.replacing) {
            let floor = self.contents.entry(ino).or_default();
            *floor = since.max(*floor);
        }
    }

    /// The operation that led to the present state renamed `ino` over another file.
    pub(crate) fn replaced(&mut self, ino: Ino) {
        self.replacing.insert((self.now(), ino));
    }

    /// Moments at which the namespace may be seen, latest first.
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = usize> + use<> {
        (self.namespace..self.states.len()).rev()
    }

    /// Moments at which the content of `ino` may be seen with the namespace of `moment`.
    pub(crate) fn contents(&self, ino: Ino, moment: usize) -> impl Iterator<Item = usize> {
        let floor = self.synced_at(ino);
        let shown = self
            .replacing
            .iter()
            .filter(|(since, of)| *of == ino && *since <= moment);
        let floor = shown.map(|(since, _)| *since).fold(floor, usize::max);
        (floor..=moment)
            .rev()
            .filter(move |at| self.states[*at].contains(ino))
    }

    /// The moment at which `ino` was made durable last.
    pub(crate) fn synced_at(&self, ino: Ino) -> usize {
        self.contents.get(&ino).copied().unwrap_or(0)
    }

    /// The state at `moment`.
    pub(crate) fn at(&self, moment: usize) -> &Snapshot {
        &self.states[moment]
    }
}
