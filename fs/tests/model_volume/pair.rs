//! A subject and the model side by side: which objects correspond, and whether they agree.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use keyfold_fs::clock::TestClock;
use keyfold_fs::error::FsResult;
use keyfold_fs::model::ModelFs;
use keyfold_fs::vfs::{
    Attr, Cookie, Entry, FileKind, FileRange, Handle, Ino, Name, OpenMode, Place, SetAttr,
    Timestamp, Vfs,
};

use crate::errno;
use crate::history::History;
use crate::subject::{Promises, Subject};
use crate::tree::{Why, list};

/// The model's clock begins here, so that no time set explicitly looks like one of its own.
pub(crate) const EPOCH: i64 = 1 << 40;

/// Something that is in the model and in the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Both<T> {
    pub(crate) model: T,
    pub(crate) subject: T,
}

/// What a handle pair was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    File { mode: OpenMode },
    Directory { from: Both<Cookie> },
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenPair {
    pub(crate) ino: Both<Ino>,
    pub(crate) handle: Both<Handle>,
    pub(crate) opened: Opened,
}

impl OpenPair {
    pub(crate) fn is_readable(&self) -> bool {
        matches!(self.opened, Opened::File { mode } if mode.read)
    }

    pub(crate) fn is_writable(&self) -> bool {
        matches!(self.opened, Opened::File { mode } if mode.write)
    }

    /// Every write is durable before it returns.
    pub(crate) fn is_synchronous(&self) -> bool {
        matches!(self.opened, Opened::File { mode } if mode.sync)
    }

    /// Linux copies ranges to no file that is open for appending.
    pub(crate) fn takes_copies(&self) -> bool {
        matches!(self.opened, Opened::File { mode } if mode.write && !mode.append)
    }

    pub(crate) fn at(&self, offset: u64) -> Both<FileRange> {
        let Both { model, subject } = self.ino;
        Both {
            model: FileRange {
                ino: model,
                handle: self.handle.model,
                offset,
            },
            subject: FileRange {
                ino: subject,
                handle: self.handle.subject,
                offset,
            },
        }
    }
}

/// An inode that both have handed out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) subject: Ino,
    pub(crate) kind: FileKind,
    /// Entries handed out by both and not given back.
    pub(crate) lookups: u64,
    /// What both said when last asked.
    pub(crate) seen: Option<Both<Attr>>,
}

pub(crate) struct Pair<'a> {
    pub(crate) model: ModelFs,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) subject: &'a mut dyn Subject,
    pub(crate) promises: Promises,
    /// By the model's inode number.
    pub(crate) nodes: BTreeMap<Ino, Known>,
    pub(crate) handles: Vec<OpenPair>,
    pub(crate) history: History,
    /// The file that the operation under way made durable.
    pub(crate) confirmed: Option<Ino>,
    /// Files whose holes are unspecified: a range was copied into them, or all that was used of
    /// their last block was zeroed.
    pub(crate) loose: HashSet<Ino>,
    /// Inode numbers of the subject by those of the model, and the reverse, ever seen.
    pub(crate) partner: HashMap<Ino, Ino>,
    pub(crate) owner: HashMap<Ino, Ino>,
}

impl<'a> Pair<'a> {
    pub(crate) fn new(subject: &'a mut dyn Subject) -> Result<Self, Why> {
        let clock = Arc::new(TestClock::new(Timestamp {
            secs: EPOCH,
            nanos: 0,
        }));
        let model = ModelFs::new(Arc::<TestClock>::clone(&clock));
        let root = subject
            .vfs()
            .getattr(Ino::ROOT)
            .map_err(|e| format!("no root: {e:?}"))?;
        let (perm, uid, gid) = (Some(root.perm), Some(root.uid), Some(root.gid));
        let set = SetAttr {
            perm,
            uid,
            gid,
            ..SetAttr::default()
        };
        model
            .setattr(Ino::ROOT, None, &set)
            .map_err(|e| format!("{e:?}"))?;
        let mut pair = Self {
            history: History::starting_at(model.snapshot()),
            confirmed: None,
            promises: subject.promises(),
            model,
            clock,
            subject,
            nodes: BTreeMap::new(),
            handles: Vec::new(),
            loose: HashSet::new(),
            partner: HashMap::new(),
            owner: HashMap::new(),
        };
        pair.discover()?;
        Ok(pair)
    }

    pub(crate) fn vfs(&self) -> Both<&dyn Vfs> {
        Both {
            model: &self.model,
            subject: self.subject.vfs(),
        }
    }

    /// Checks that two inode numbers mean the same object as they always did.
    pub(crate) fn same(&mut self, model: Ino, subject: Ino) -> Result<(), Why> {
        let partner = *self.partner.entry(model).or_insert(subject);
        let owner = *self.owner.entry(subject).or_insert(model);
        if (partner, owner) == (subject, model) {
            return Ok(());
        }
        Err(format!(
            "inode {subject} appears where {partner} should (model: {model}, {owner})"
        ))
    }

    /// Both handed out an entry.
    pub(crate) fn received(&mut self, entry: Both<Entry>) -> Result<(), Why> {
        let Both { model, subject } = entry;
        self.same(model.attr.ino, subject.attr.ino)?;
        let known = self.nodes.entry(model.attr.ino).or_insert(Known {
            subject: subject.attr.ino,
            kind: model.attr.kind,
            lookups: 0,
            seen: None,
        });
        known.lookups += 1;
        self.compare_attr(Both {
            model: &model.attr,
            subject: &subject.attr,
        })
    }

    /// Looks every name up in both, after mounting.
    pub(crate) fn discover(&mut self) -> Result<(), Why> {
        self.nodes.clear();
        self.handles.clear();
        self.same(Ino::ROOT, Ino::ROOT)?;
        let root = Known {
            subject: Ino::ROOT,
            kind: FileKind::Directory,
            lookups: 0,
            seen: None,
        };
        self.nodes.insert(Ino::ROOT, root);
        let mut todo = vec![Ino::ROOT];
        while let Some(dir) = todo.pop() {
            let parent = Both {
                model: dir,
                subject: self.nodes[&dir].subject,
            };
            let entries = list(&self.model, dir).map_err(|e| format!("{e:?}"))?;
            for entry in &entries[2..] {
                let name = Name::new(&entry.name).map_err(|e| format!("{e:?}"))?;
                let (model, subject) = self.each(parent, name, |vfs, at| vfs.lookup(at));
                if let Some(found) = agree(model, subject)? {
                    self.received(found)?;
                    if entry.kind == FileKind::Directory {
                        todo.push(entry.ino);
                    }
                }
            }
        }
        self.check_known()
    }

    /// Does the same at a name in both.
    pub(crate) fn each<T>(
        &self,
        parent: Both<Ino>,
        name: Name<'_>,
        f: impl Fn(&dyn Vfs, Place<'_>) -> T,
    ) -> (T, T) {
        let vfs = self.vfs();
        let model = f(
            vfs.model,
            Place {
                parent: parent.model,
                name,
            },
        );
        (
            model,
            f(
                vfs.subject,
                Place {
                    parent: parent.subject,
                    name,
                },
            ),
        )
    }
}

/// Both results, if both succeeded; `None` if both failed with the same errno.
pub(crate) fn agree<T: std::fmt::Debug>(
    model: FsResult<T>,
    subject: FsResult<T>,
) -> Result<Option<Both<T>>, Why> {
    match (model, subject) {
        (Ok(model), Ok(subject)) => Ok(Some(Both { model, subject })),
        (Err(m), Err(s)) if errno::of(m) == errno::of(s) => Ok(None),
        (model, subject) => Err(format!("expected {model:?}, got {subject:?}")),
    }
}
