//! Carries one operation out in both and compares what comes of it.

mod attribute;
mod file;
mod listing;

use keyfold_fs::error::FsResult;
use keyfold_fs::vfs::{Caller, Entry, FileKind, Ino, Name, NewNode, Place, RenameMode, Vfs};

use self::file::mode;
use crate::history::History;
use crate::ops::{At, EXISTING, Op, Opening, Pick, Span};
use crate::pair::{Both, OpenPair, Opened, Pair, agree};
use crate::tree::{Why, list};

/// The outcome of one comparison.
type Checked = Result<(), Why>;

const CALLERS: [Caller; 3] = [
    Caller {
        uid: 0,
        gid: 0,
        umask: 0o022,
    },
    Caller {
        uid: 1000,
        gid: 1000,
        umask: 0,
    },
    Caller {
        uid: 1000,
        gid: 100,
        umask: 0o077,
    },
];

/// Names that are made.
const NAMES: [&[u8]; 7] = [b"a", b"b", b"c", b"d", b"e", b"\xff\xfe \n", &[b'n'; 255]];

/// The name of new files that will replace others.
const NEW_FILE: Pick = 5;

fn caller(pick: Pick) -> &'static Caller {
    &CALLERS[usize::from(pick) % CALLERS.len()]
}

/// Bytes that show where they were meant to go.
fn pattern(fill: u8, offset: u64, len: u64) -> Vec<u8> {
    if fill == 0 {
        return vec![0; len as usize];
    }
    (offset..offset + len)
        .map(|at| fill ^ (at as u8) ^ (at >> 12) as u8)
        .collect()
}

impl Pair<'_> {
    /// Carries out `op`, one second after the last.
    pub(crate) fn step(&mut self, op: &Op) -> Result<(), Why> {
        self.clock.advance(1);
        match op {
            Op::Sync | Op::Remount | Op::Crash | Op::CheckAll | Op::Statfs => {
                return self.whole(op);
            }
            Op::Save { at, len, fill } => return self.save(*at, *len, *fill),
            _ => {}
        }
        self.names(op)?;
        self.files(op)?;
        self.attributes(op)?;
        self.listings(op)?;
        self.history.push(self.model.snapshot());
        if let Some(ino) = self.confirmed.take() {
            self.history.synced(ino);
        }
        self.check_known()
    }

    fn save(&mut self, at: At, len: u64, fill: u8) -> Checked {
        let new = At {
            name: NEW_FILE,
            ..at
        };
        let before = self.handles.len();
        let opening = Opening::ReadWrite;
        self.step(&Op::Create {
            at: new,
            perm: 0o644,
            caller: 0,
            opening,
        })?;
        if self.handles.len() > before {
            let files = |open: &&OpenPair| matches!(open.opened, Opened::File { .. });
            let handle = (self.handles.iter().filter(files).count() - 1) as Pick;
            let span = Span {
                handle,
                offset: 0,
                len,
            };
            self.step(&Op::Write { span, fill })?;
            self.step(&Op::Release(handle))?;
        }
        self.step(&Op::Rename {
            from: new,
            to: at,
            mode: RenameMode::Replace,
        })
    }

    fn whole(&mut self, op: &Op) -> Result<(), Why> {
        let vfs = self.vfs();
        match op {
            Op::Statfs => {
                agree(vfs.model.statfs().map(drop), vfs.subject.statfs().map(drop))?;
            }
            Op::Sync => {
                agree(vfs.model.sync(), vfs.subject.sync())?;
                self.settled();
            }
            Op::Remount => self.remount()?,
            Op::Crash if self.promises.crashes => {
                self.crash()?;
                self.check_all()?;
            }
            _ => self.check_all()?,
        }
        Ok(())
    }

    /// Mounts both afresh and compares everything.
    pub(crate) fn remount(&mut self) -> Result<(), Why> {
        self.check_all()?;
        self.subject.remount();
        self.model.remount();
        self.settled();
        self.discover()?;
        self.check_all()
    }

    fn settled(&mut self) {
        self.history = History::starting_at(self.model.snapshot());
    }

    fn pick_node(&self, pick: Pick, fits: impl Fn(FileKind) -> bool) -> Option<Both<Ino>> {
        let fitting: Vec<_> = self
            .nodes
            .iter()
            .filter(|(_, known)| fits(known.kind))
            .collect();
        let (ino, known) = fitting.get(usize::from(pick) % fitting.len().max(1))?;
        Some(Both {
            model: **ino,
            subject: known.subject,
        })
    }

    /// The name that is picked, often one that exists.
    fn name(&self, at: At) -> Vec<u8> {
        let entries = list(&self.model, self.dir(at.dir).model).unwrap_or_default();
        match entries.get(2 + usize::from(at.name) % entries.len().saturating_sub(2).max(1)) {
            Some(entry) if at.name >= EXISTING => entry.name.clone(),
            _ => NAMES[usize::from(at.name) % NAMES.len()].to_vec(),
        }
    }

    /// Mostly a regular file.
    fn file(&self, pick: Pick) -> Option<Both<Ino>> {
        let file = self.pick_node(pick, |kind| kind == FileKind::Regular);
        file.filter(|_| pick < 200).or_else(|| self.node(pick))
    }

    fn node(&self, pick: Pick) -> Option<Both<Ino>> {
        self.pick_node(pick, |_| true)
    }

    fn dir(&self, pick: Pick) -> Both<Ino> {
        let root = Both {
            model: Ino::ROOT,
            subject: Ino::ROOT,
        };
        self.pick_node(pick, |kind| kind == FileKind::Directory)
            .unwrap_or(root)
    }

    fn pick_open(&self, pick: Pick, fits: impl Fn(&OpenPair) -> bool) -> Option<OpenPair> {
        let fitting: Vec<_> = self.handles.iter().filter(|open| fits(open)).collect();
        fitting
            .get(usize::from(pick) % fitting.len().max(1))
            .map(|open| **open)
    }

    fn open_file(&self, pick: Pick) -> Option<OpenPair> {
        self.pick_open(pick, |open| matches!(open.opened, Opened::File { .. }))
    }

    fn open_dir(&self, pick: Pick) -> Option<OpenPair> {
        self.pick_open(pick, |open| matches!(open.opened, Opened::Directory { .. }))
    }

    fn entry(&mut self, results: (FsResult<Entry>, FsResult<Entry>)) -> Checked {
        match agree(results.0, results.1)? {
            Some(entry) => self.received(entry),
            None => Ok(()),
        }
    }

    fn names(&mut self, op: &Op) -> Checked {
        match op {
            Op::Lookup(at) => self.at(*at, |vfs, at| vfs.lookup(at)),
            Op::Forget(pick) => self.forget(*pick),
            Op::Mknod {
                at,
                kind,
                perm,
                caller: who,
            } => {
                let rdev = if *kind == FileKind::CharDevice {
                    0x103
                } else {
                    0
                };
                let node = NewNode {
                    kind: *kind,
                    perm: *perm,
                    rdev,
                };
                self.at(*at, |vfs, at| vfs.mknod(caller(*who), at, node))
            }
            Op::Mkdir {
                at,
                perm,
                caller: who,
            } => self.at(*at, |vfs, at| vfs.mkdir(caller(*who), at, *perm)),
            Op::Symlink {
                at,
                len,
                caller: who,
            } => self.at(*at, |vfs, at| {
                vfs.symlink(caller(*who), at, &vec![b't'; *len])
            }),
            Op::Link { node, at } => self.link(*node, *at),
            Op::Unlink(at) => self.remove(*at, |vfs, at| vfs.unlink(at)),
            Op::Rmdir(at) => self.remove(*at, |vfs, at| vfs.rmdir(at)),
            Op::Rename { from, to, mode } => self.rename(*from, *to, *mode),
            Op::Create {
                at,
                perm,
                caller: who,
                opening,
            } => self.create(*at, *who, *perm, *opening),
            _ => Ok(()),
        }
    }

    fn at(&mut self, at: At, f: impl Fn(&dyn Vfs, Place<'_>) -> FsResult<Entry>) -> Checked {
        let bytes = self.name(at);
        let results = self.each(self.dir(at.dir), valid(&bytes)?, f);
        self.entry(results)
    }

    fn remove(&mut self, at: At, f: impl Fn(&dyn Vfs, Place<'_>) -> FsResult<()>) -> Checked {
        let bytes = self.name(at);
        let (model, subject) = self.each(self.dir(at.dir), valid(&bytes)?, f);
        agree(model, subject).map(drop)
    }

    /// Gives back every entry of an inode that nothing holds open, as the kernel does.
    fn forget(&mut self, pick: Pick) -> Checked {
        let Some(ino) = self.node(pick) else {
            return Ok(());
        };
        let known = self.nodes[&ino.model];
        let held = self.handles.iter().any(|open| open.ino == ino);
        let nlink = self.model.getattr(ino.model).map_or(0, |attr| attr.nlink);
        if held || (known.kind == FileKind::Directory && nlink > 0) {
            return Ok(());
        }
        let vfs = self.vfs();
        vfs.model.forget(ino.model, known.lookups);
        vfs.subject.forget(ino.subject, known.lookups);
        if nlink == 0 && self.promises.forgets {
            let gone = vfs.subject.getattr(ino.subject);
            if !matches!(
                gone,
                Err(keyfold_fs::error::FsError::Stale(_) | keyfold_fs::error::FsError::NotFound)
            ) {
                return Err(format!(
                    "inode {} outlives its last user: {gone:?}",
                    ino.subject
                ));
            }
        }
        self.nodes.remove(&ino.model);
        Ok(())
    }

    fn link(&mut self, pick: Pick, at: At) -> Checked {
        let Some(ino) = self.file(pick) else {
            return Ok(());
        };
        let bytes = self.name(at);
        let name = valid(&bytes)?;
        let (dir, vfs) = (self.dir(at.dir), self.vfs());
        let place = |parent| Place { parent, name };
        let model = vfs.model.link(ino.model, place(dir.model));
        let subject = vfs.subject.link(ino.subject, place(dir.subject));
        self.entry((model, subject))
    }

    fn rename(&mut self, from: At, to: At, mode: RenameMode) -> Checked {
        let (from_name, to_name) = (self.name(from), self.name(to));
        let (old, new) = (valid(&from_name)?, valid(&to_name)?);
        let (from, to, vfs) = (self.dir(from.dir), self.dir(to.dir), self.vfs());
        let place = |parent, name| Place { parent, name };
        let found = |parent, name| vfs.model.lookup(place(parent, name)).ok();
        let (moved, over) = (found(from.model, old), found(to.model, new));
        for entry in [moved, over].into_iter().flatten() {
            vfs.model.forget(entry.attr.ino, 1);
        }
        let model = vfs
            .model
            .rename(place(from.model, old), place(to.model, new), mode);
        let subject = vfs
            .subject
            .rename(place(from.subject, old), place(to.subject, new), mode);
        let done = agree(model, subject)?.is_some();
        let regular = |entry: Option<Entry>| {
            entry
                .map(|e| e.attr)
                .filter(|attr| attr.kind == FileKind::Regular)
        };
        if let (true, Some(moved), Some(over)) = (done, regular(moved), regular(over))
            && mode == RenameMode::Replace
            && moved.ino != over.ino
        {
            self.history.push(self.model.snapshot());
            self.history.replaced(moved.ino);
        }
        Ok(())
    }

    fn create(&mut self, at: At, who: Pick, perm: u16, opening: Opening) -> Checked {
        let bytes = self.name(at);
        let mode = mode(opening);
        let create = |vfs: &dyn Vfs, at: Place<'_>| vfs.create(caller(who), at, perm, mode);
        let (model, subject) = self.each(self.dir(at.dir), valid(&bytes)?, create);
        let Some(Both { model, subject }) = agree(model, subject)? else {
            return Ok(());
        };
        self.received(Both {
            model: model.0,
            subject: subject.0,
        })?;
        let ino = Both {
            model: model.0.attr.ino,
            subject: subject.0.attr.ino,
        };
        self.opened(
            ino,
            Both {
                model: model.1,
                subject: subject.1,
            },
            mode,
        );
        Ok(())
    }
}

fn valid(bytes: &[u8]) -> Result<Name<'_>, Why> {
    Name::new(bytes).map_err(|e| format!("{e:?}"))
}
