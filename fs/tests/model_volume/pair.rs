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
use crate::tree::{Node, Tree, Why, bytes, list, xattrs};

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

    /// Both results, if both succeeded; `None` if both failed with the same errno.
    pub(crate) fn agree<T: std::fmt::Debug>(
        &self,
        model: FsResult<T>,
        subject: FsResult<T>,
    ) -> Result<Option<Both<T>>, Why> {
        match (model, subject) {
            (Ok(model), Ok(subject)) => Ok(Some(Both { model, subject })),
            (Err(m), Err(s)) if errno::of(m) == errno::of(s) => Ok(None),
            (model, subject) => Err(format!("expected {model:?}, got {subject:?}")),
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

    pub(crate) fn compare_attr(&self, attr: Both<&Attr>) -> Result<(), Why> {
        let Both { model, subject } = attr;
        let sized = matches!(model.kind, FileKind::Regular | FileKind::Symlink);
        let laid_out = self.promises.layout
            && model.kind == FileKind::Regular
            && !self.loose.contains(&model.ino);
        // Reading a link sets its access time on most filesystems.
        let kept = self.promises.fixed_atime || model.kind != FileKind::Symlink;
        let alike = Attr {
            ino: model.ino,
            size: if sized { subject.size } else { model.size },
            blocks: if laid_out {
                subject.blocks
            } else {
                model.blocks
            },
            atime: if kept {
                self.like(model.atime, subject.atime)
            } else {
                model.atime
            },
            mtime: self.like(model.mtime, subject.mtime),
            ctime: model.ctime,
            btime: model.btime,
            ..*subject
        };
        if alike == *model {
            Ok(())
        } else {
            Err(format!("expected {model:?}, got {subject:?}"))
        }
    }

    /// The subject's time, or the model's where that comes from its clock.
    fn like(&self, model: Timestamp, subject: Timestamp) -> Timestamp {
        if model.secs >= EPOCH { model } else { subject }
    }

    /// Compares what is cheap to read of every known inode, and which times have changed.
    pub(crate) fn check_known(&mut self) -> Result<(), Why> {
        let inos: Vec<_> = self
            .nodes
            .iter()
            .map(|(ino, known)| (*ino, known.subject))
            .collect();
        for (ino, subject_ino) in inos {
            let Both { model, subject } = self.vfs();
            let (model, subject) = (model.getattr(ino), subject.getattr(subject_ino));
            let shown = |why| format!("attributes of inode {subject_ino} (model {ino}): {why}");
            let Some(now) = self.agree(model, subject).map_err(shown)? else {
                return Err(shown("the model lost it".into()));
            };
            self.compare_attr(Both {
                model: &now.model,
                subject: &now.subject,
            })
            .map_err(shown)?;
            if let Some(before) = self.nodes.get(&ino).and_then(|known| known.seen) {
                self.compare_changes(before, now).map_err(shown)?;
            }
            if let Some(known) = self.nodes.get_mut(&ino) {
                known.seen = Some(now);
            }
        }
        Ok(())
    }

    /// Asks for no particular change of times by the operation just done.
    pub(crate) fn forget_seen(&mut self, ino: Both<Ino>) {
        if let Some(known) = self.nodes.get_mut(&ino.model) {
            known.seen = None;
        }
    }

    fn compare_changes(&self, before: Both<Attr>, now: Both<Attr>) -> Result<(), Why> {
        let times: [(&str, fn(&Attr) -> Timestamp); 4] = [
            ("mtime", |a| a.mtime),
            ("ctime", |a| a.ctime),
            ("atime", |a| a.atime),
            ("btime", |a| a.btime),
        ];
        for (name, time) in times {
            let expected = time(&before.model) != time(&now.model);
            let changed = time(&before.subject) != time(&now.subject);
            let promised = name != "atime" || self.promises.fixed_atime;
            if changed != expected && promised {
                let word = if expected {
                    "did not change"
                } else {
                    "changed"
                };
                return Err(format!("{name} {word}: {before:?}, then {now:?}"));
            }
        }
        Ok(())
    }

    /// Compares everything that has a name, and the content of every known file.
    pub(crate) fn check_all(&mut self) -> Result<(), Why> {
        let Both { model, subject } = self.vfs();
        let trees = Both {
            model: Tree::walk(model)?,
            subject: Tree::walk(subject)?,
        };
        self.compare_trees(&trees)?;
        for (path, ino) in trees.model.names.clone() {
            self.same(ino, trees.subject.names[&path])?;
        }
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|(ino, k)| (*ino, k.subject, k.kind))
            .collect();
        for (ino, subject, kind) in nodes {
            match kind {
                FileKind::Regular => self.compare_bytes(ino, subject)?,
                FileKind::Directory => self.compare_listing(ino, subject)?,
                _ => {}
            }
            self.compare_xattrs(ino, subject)?;
        }
        for (path, ino) in &trees.model.names {
            if trees.model.nodes[ino].attr.kind == FileKind::Regular {
                self.compare_bytes(*ino, trees.subject.names[path])?;
            }
        }
        Ok(())
    }

    /// Compares names, what they name, and all but the content of files.
    pub(crate) fn compare_trees(&self, trees: &Both<Tree>) -> Result<(), Why> {
        let Both { model, subject } = trees;
        if !model.names.keys().eq(subject.names.keys()) {
            let [m, s] = [model, subject].map(|tree| shown(&tree.names));
            return Err(format!("the names are {s}, not {m}"));
        }
        if self.promises.listing_order && model.order != subject.order {
            return Err(format!(
                "listed in the order {:?}, not {:?}",
                subject.order, model.order
            ));
        }
        let (mut there, mut back) = (HashMap::new(), HashMap::new());
        for ((path, m), s) in model.names.iter().zip(subject.names.values()) {
            let shown = |why| format!("/{}: {why}", path.escape_ascii());
            let partner = self.partner.get(m).is_none_or(|known| known == s);
            let owner = self.owner.get(s).is_none_or(|known| known == m);
            if !partner || !owner {
                return Err(shown(format!("is inode {s}, not what it was (model: {m})")));
            }
            if *there.entry(m).or_insert(s) != s || *back.entry(s).or_insert(m) != m {
                return Err(shown("links other inodes together".into()));
            }
            self.compare_nodes(&model.nodes[m], &subject.nodes[s])
                .map_err(shown)?;
        }
        Ok(())
    }

    fn compare_nodes(&self, model: &Node, subject: &Node) -> Result<(), Why> {
        // The content half of a file is compared with its bytes.
        let (size, blocks, mtime) = (subject.attr.size, subject.attr.blocks, subject.attr.mtime);
        let attr = match model.attr.kind {
            FileKind::Regular => Attr {
                size,
                blocks,
                mtime,
                ..model.attr
            },
            _ => model.attr,
        };
        self.compare_attr(Both {
            model: &attr,
            subject: &subject.attr,
        })?;
        if model.target != subject.target {
            return Err("another link target".into());
        }
        if model.xattrs != subject.xattrs {
            let (m, s) = (shown(&model.xattrs), shown(&subject.xattrs));
            return Err(format!("attributes are {s}, not {m}"));
        }
        Ok(())
    }

    fn compare_xattrs(&self, ino: Ino, subject: Ino) -> Result<(), Why> {
        let vfs = self.vfs();
        let expected = xattrs(vfs.model, ino).map_err(|e| format!("the model failed: {e:?}"))?;
        let got = xattrs(vfs.subject, subject)
            .map_err(|e| format!("attributes of inode {subject} (model {ino}): {e:?}"))?;
        if expected == got {
            return Ok(());
        }
        Err(format!(
            "attributes of inode {subject} (model {ino}) differ: {}",
            shown(&got)
        ))
    }

    /// Compares the content half of a file.
    pub(crate) fn compare_bytes(&self, ino: Ino, subject_ino: Ino) -> Result<(), Why> {
        let vfs = self.vfs();
        let shown = |why| format!("content of inode {subject_ino} (model {ino}): {why}");
        let model = bytes(vfs.model, ino).map_err(shown)?;
        let subject = bytes(vfs.subject, subject_ino).map_err(shown)?;
        if let Some(why) = model.difference(&subject) {
            return Err(shown(why));
        }
        let laid_out = self.promises.layout && !self.loose.contains(&ino);
        if laid_out && model.extents != subject.extents {
            return Err(shown(format!(
                "data {:?}, not {:?}",
                subject.extents, model.extents
            )));
        }
        let attrs = (vfs.model.getattr(ino), vfs.subject.getattr(subject_ino));
        let (Ok(model), Ok(subject)) = &attrs else {
            return Err(shown(format!("{attrs:?}")));
        };
        self.compare_attr(Both { model, subject }).map_err(shown)
    }

    fn compare_listing(&mut self, ino: Ino, subject_ino: Ino) -> Result<(), Why> {
        let vfs = self.vfs();
        if vfs.model.getattr(ino).is_ok_and(|attr| attr.nlink == 0) {
            return Ok(());
        }
        let (model, subject) = (list(vfs.model, ino), list(vfs.subject, subject_ino));
        let Some(mut lists) = self.agree(model, subject)? else {
            return Ok(());
        };
        if !self.promises.listing_order {
            lists.model.sort_by(|a, b| a.name.cmp(&b.name));
            lists.subject.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self.compare_listed(&lists)
            .map_err(|why| format!("listing of {subject_ino}: {why}"))
    }

    pub(crate) fn compare_listed(
        &mut self,
        lists: &Both<Vec<crate::tree::Listed>>,
    ) -> Result<(), Why> {
        let Both { model, subject } = lists;
        let plain = |list: &[crate::tree::Listed]| -> Vec<_> {
            list.iter().map(|e| (e.name.clone(), e.kind)).collect()
        };
        if plain(model) != plain(subject) {
            return Err(format!("expected {model:?}, got {subject:?}"));
        }
        let named = model
            .iter()
            .zip(subject)
            .filter(|(m, _)| m.name != b".." && m.name != b".");
        named
            .into_iter()
            .try_for_each(|(m, s)| self.same(m.ino, s.ino))
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
                if let Some(found) = self.agree(model, subject)? {
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

fn shown<V: std::fmt::Debug>(map: &BTreeMap<Vec<u8>, V>) -> String {
    let entries = map.iter().map(|(key, value)| {
        let value = format!("{value:?}");
        let value = value.get(..80).unwrap_or(&value).to_owned();
        format!("{}={value}", key.escape_ascii())
    });
    entries.collect::<Vec<_>>().join(" ")
}
