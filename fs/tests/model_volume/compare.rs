//! Whether the model and the subject look alike.

use std::collections::{BTreeMap, HashMap};

use keyfold_fs::vfs::{Attr, FileKind, Ino, Timestamp};

use crate::pair::{Both, EPOCH, Pair, agree};
use crate::tree::{Listed, Node, Tree, Why, bytes, list, xattrs};

/// One of the times of an inode.
type TimeOf = fn(&Attr) -> Timestamp;

impl Pair<'_> {
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
                like(model.atime, subject.atime)
            } else {
                model.atime
            },
            mtime: like(model.mtime, subject.mtime),
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
            let Some(now) = agree(model, subject).map_err(shown)? else {
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
        let times: [(&str, TimeOf); 4] = [
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
        let Some(mut lists) = agree(model, subject)? else {
            return Ok(());
        };
        if !self.promises.listing_order {
            lists.model.sort_by(|a, b| a.name.cmp(&b.name));
            lists.subject.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self.compare_listed(&lists)
            .map_err(|why| format!("listing of {subject_ino}: {why}"))
    }

    pub(crate) fn compare_listed(&mut self, lists: &Both<Vec<Listed>>) -> Result<(), Why> {
        let Both { model, subject } = lists;
        let plain =
            |list: &[Listed]| -> Vec<_> { list.iter().map(|e| (e.name.clone(), e.kind)).collect() };
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
}

fn shown<V: std::fmt::Debug>(map: &BTreeMap<Vec<u8>, V>) -> String {
    let entries = map.iter().map(|(key, value)| {
        let value = format!("{value:?}");
        let value = value.get(..80).unwrap_or(&value).to_owned();
        format!("{}={value}", key.escape_ascii())
    });
    entries.collect::<Vec<_>>().join(" ")
}

/// The subject's time, or the model's where that comes from its clock.
fn like(model: Timestamp, subject: Timestamp) -> Timestamp {
    if model.secs >= EPOCH { model } else { subject }
}
