//! A disk with a page cache above it: what is on it for certain, and what may or may not be.
//!
//! # The model
//! - A **sync of a file** makes its content and size durable as they are; nothing else does. It
//!   says nothing about the file's name.
//! - A **sync of a directory** makes its names durable. A directory's changes reach the disk in
//!   their order: a crash keeps a prefix of those that were not synced. Two directories, and a
//!   directory and the files in it, know nothing of one another.
//! - **Bytes written** and not synced reach the disk sector by sector (512 bytes), in any order:
//!   each sector holds any of the versions written since the last sync, or the one before.
//! - **Sizes, truncations and holes** of one file are journaled by the filesystem beneath: a
//!   crash keeps a prefix of them. A file that has become longer and whose bytes did not reach the
//!   disk shows zeros. Bytes written where a hole was made reach the disk only if the hole did,
//!   as they lie in a block that the file gets after the hole.
//! - Allocating space ahead changes nothing but the size.
//!
//! This takes more liberties than ext4, XFS or btrfs do, and none that POSIX forbids.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::sync::Arc;

use crate::content::{Content, SECTOR};
use crate::dice::Dice;
use crate::image::Image;
use crate::log::{Node, Step};

/// What a crash takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Nothing: only the process ended.
    Nothing,
    /// All that was not synced.
    Unsynced,
    /// Anything that was not synced, as dice with this seed fall.
    Random(u64),
}

/// What becomes of what a failed sync was to make durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailedSync {
    /// It waits for the next sync, as before.
    StillWritten,
    /// Its bytes are never written: the page cache believes that they were.
    NeverWritten,
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, data: Arc<[u8]> },
    SetLen(u64),
    Grow(u64),
    Punch(Range<u64>),
}

#[derive(Debug, Clone)]
enum Renaming {
    Add(OsString, Node),
    Remove(OsString),
    Rename(OsString, OsString),
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Content,
    pending: Vec<Change>,
}

#[derive(Debug, Clone, Default)]
struct Dir {
    durable: BTreeMap<OsString, Node>,
    pending: Vec<Renaming>,
}

/// The state of the disk after a number of steps.
#[derive(Debug, Clone)]
pub struct Disk {
    files: BTreeMap<Node, File>,
    dirs: BTreeMap<Node, Dir>,
    after_failed_sync: AfterFailedSync,
}

impl Disk {
    /// An empty directory that is durable.
    pub fn new(after_failed_sync: AfterFailedSync) -> Self {
        Self {
            files: BTreeMap::new(),
            dirs: BTreeMap::from([(Node::ROOT, Dir::default())]),
            after_failed_sync,
        }
    }

    /// The same, where a failed sync means `after_failed_sync`.
    pub(crate) fn with(mut self, after_failed_sync: AfterFailedSync) -> Self {
        self.after_failed_sync = after_failed_sync;
        self
    }

    /// Adds a directory that is durable from the start.
    pub(crate) fn add_dir(&mut self, dir: Node, name: OsString, made: Node) {
        self.dirs.insert(made, Dir::default());
        self.dirs.entry(dir).or_default().durable.insert(name, made);
    }

    /// Adds a file that is durable from the start.
    pub(crate) fn add_file(&mut self, (dir, name): (Node, OsString), file: Node, durable: Content) {
        let pending = Vec::new();
        self.files.insert(file, File { durable, pending });
        self.dirs.entry(dir).or_default().durable.insert(name, file);
    }

    /// One step later.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Create { dir, name, file } => {
                self.files.insert(*file, File::default());
                self.rename(*dir, Renaming::Add(name.clone(), *file));
            }
            Step::Mkdir { dir, name, made } => {
                self.dirs.insert(*made, Dir::default());
                self.rename(*dir, Renaming::Add(name.clone(), *made));
            }
            Step::Remove { dir, name } => self.rename(*dir, Renaming::Remove(name.clone())),
            Step::Rename { dir, from, to } => {
                self.rename(*dir, Renaming::Rename(from.clone(), to.clone()));
            }
            Step::Write { file, offset, data } => {
                let (offset, data) = (*offset, Arc::clone(data));
                self.change(*file, Change::Write { offset, data });
            }
            Step::SetLen { file, len } => self.change(*file, Change::SetLen(*len)),
            Step::Allocate { file, len } => self.change(*file, Change::Grow(*len)),
            Step::Punch { file, offset, len } => {
                self.change(*file, Change::Punch(*offset..offset + len));
            }
            Step::Sync { node } => self.sync(*node),
            Step::SyncFailed { node } => {
                if self.after_failed_sync == AfterFailedSync::NeverWritten
                    && let Some(file) = self.files.get_mut(node)
                {
                    let grown = file.pending.iter().map(grown).max().unwrap_or(0);
                    file.pending.retain(|c| !matches!(c, Change::Write { .. }));
                    file.pending.push(Change::Grow(grown));
                }
            }
        }
    }

    fn rename(&mut self, dir: Node, change: Renaming) {
        self.dirs.entry(dir).or_default().pending.push(change);
    }

    fn change(&mut self, file: Node, change: Change) {
        self.files.entry(file).or_default().pending.push(change);
    }

    fn sync(&mut self, node: Node) {
        if let Some(file) = self.files.get_mut(&node) {
            for change in std::mem::take(&mut file.pending) {
                settle(&mut file.durable, &change);
            }
        }
        if let Some(dir) = self.dirs.get_mut(&node) {
            for change in std::mem::take(&mut dir.pending) {
                rename(&mut dir.durable, &change);
            }
        }
    }

    /// What is found after a crash now.
    pub fn image(&self, loss: Loss) -> Image {
        let seed = match loss {
            Loss::Random(seed) => seed,
            Loss::Nothing | Loss::Unsynced => 0,
        };
        self.image_of(Node::ROOT, loss, &mut Dice::new(seed))
    }

    fn image_of(&self, node: Node, loss: Loss, dice: &mut Dice) -> Image {
        let mut image = Image::default();
        let Some(dir) = self.dirs.get(&node) else {
            return image;
        };
        for (name, node) in dir.names(loss, dice) {
            if let Some(file) = self.files.get(&node) {
                image.files.insert(name, file.content(loss, dice));
            } else {
                image.dirs.insert(name, self.image_of(node, loss, dice));
            }
        }
        image
    }
}

impl Dir {
    fn names(&self, loss: Loss, dice: &mut Dice) -> BTreeMap<OsString, Node> {
        let kept = prefix(self.pending.len(), loss, dice);
        let mut names = self.durable.clone();
        for change in &self.pending[..kept] {
            rename(&mut names, change);
        }
        names
    }
}

impl File {
    fn content(&self, loss: Loss, dice: &mut Dice) -> Content {
        let mut content = self.durable.clone();
        match loss {
            Loss::Unsynced => {}
            Loss::Nothing => {
                for change in &self.pending {
                    settle(&mut content, change);
                }
            }
            Loss::Random(_) => self.lose(&mut content, dice),
        }
        content
    }

    fn lose(&self, content: &mut Content, dice: &mut Dice) {
        let kept = prefix(self.pending.len(), Loss::Random(0), dice);
        let chances = dice.one_of(&[0, 4, 32, 60, 64, 64]);
        let torn = dice.happens(32);
        let mut lost_holes: Vec<Range<u64>> = Vec::new();
        let mut len = content.len();
        for (at, change) in self.pending.iter().enumerate() {
            match change {
                Change::Write { offset, data } => {
                    let writing = Writing {
                        offset: *offset,
                        data,
                        torn,
                        chances,
                    };
                    writing.lose(content, &lost_holes, dice);
                    if at < kept {
                        len = len.max(offset + data.len() as u64);
                    }
                }
                _ if at < kept => {
                    let mut sized = Content::default();
                    sized.grow(len);
                    settle(&mut sized, change);
                    len = sized.len();
                    match change {
                        Change::SetLen(to) => content.zero(*to..u64::MAX >> 1),
                        Change::Punch(range) => content.zero(range.clone()),
                        Change::Grow(_) | Change::Write { .. } => {}
                    }
                }
                Change::SetLen(to) => lost_holes.push(*to..u64::MAX >> 1),
                Change::Punch(range) => lost_holes.push(range.clone()),
                Change::Grow(_) => {}
            }
        }
        content.set_len(len);
    }
}

struct Writing<'a> {
    offset: u64,
    data: &'a [u8],
    /// Sectors reach the disk one by one, not the whole write at once.
    torn: bool,
    chances: u64,
}

impl Writing<'_> {
    fn lose(&self, content: &mut Content, lost_holes: &[Range<u64>], dice: &mut Dice) {
        let end = self.offset + self.data.len() as u64;
        let whole = dice.happens(self.chances);
        let mut start = self.offset;
        while start < end {
            let sector = start / SECTOR * SECTOR;
            let stop = (sector + SECTOR).min(end);
            let kept = if self.torn {
                dice.happens(self.chances)
            } else {
                whole
            };
            let barred = lost_holes
                .iter()
                .any(|hole| hole.start < stop && start < hole.end);
            if kept && !barred {
                let from = (start - self.offset) as usize;
                let to = (stop - self.offset) as usize;
                content.write(start, &self.data[from..to]);
            }
            start = stop;
        }
    }
}

/// How many of `changes` that keep their order are kept.
fn prefix(changes: usize, loss: Loss, dice: &mut Dice) -> usize {
    match loss {
        Loss::Nothing => changes,
        Loss::Unsynced => 0,
        Loss::Random(_) => match dice.below(4) {
            0 => 0,
            1 => changes,
            _ => dice.below(changes as u64 + 1) as usize,
        },
    }
}

fn settle(content: &mut Content, change: &Change) {
    match change {
        Change::Write { offset, data } => {
            content.write(*offset, data);
            content.grow(offset + data.len() as u64);
        }
        Change::SetLen(len) => content.set_len(*len),
        Change::Grow(len) => content.grow(*len),
        Change::Punch(range) => content.zero(range.clone()),
    }
}

/// The size that a change alone asks for.
fn grown(change: &Change) -> u64 {
    match change {
        Change::Write { offset, data } => offset + data.len() as u64,
        Change::SetLen(len) | Change::Grow(len) => *len,
        Change::Punch(_) => 0,
    }
}

fn rename(names: &mut BTreeMap<OsString, Node>, change: &Renaming) {
    match change {
        Renaming::Add(name, node) => {
            names.insert(name.clone(), *node);
        }
        Renaming::Remove(name) => {
            names.remove(name);
        }
        Renaming::Rename(from, to) => {
            if let Some(node) = names.remove(from) {
                names.insert(to.clone(), node);
            }
        }
    }
}

#[cfg(test)]
mod tests;
