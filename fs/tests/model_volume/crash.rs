//! Crashing: which of the moments a volume may show it does show.

use keyfold_fs::vfs::FileKind;

use crate::history::History;
use crate::pair::{Both, Pair};
use crate::tree::{Tree, Why};

impl Pair<'_> {
    /// Crashes the subject and moves the model to the moments it shows, if it may show them.
    pub(crate) fn crash(&mut self) -> Result<(), Why> {
        self.subject.crash();
        let subject = Tree::walk(self.subject.vfs())?;
        let mut trees = Both {
            model: Tree::default(),
            subject,
        };
        let mut misfits = Vec::new();
        for moment in self.history.namespaces() {
            match self.fit(moment, &mut trees) {
                Ok(()) => {
                    self.settle(&trees);
                    return self.discover();
                }
                Err(why) => misfits.push(format!("  {moment}: {why}")),
            }
        }
        misfits.dedup_by(|a, b| a.split_once(": ") == b.split_once(": "));
        let misfits = misfits.join("\n");
        Err(format!(
            "after a crash the volume is as at none of the moments it may show:\n{misfits}"
        ))
    }

    /// Puts the model to the namespace of `moment` and to content that the subject shows.
    fn fit(&mut self, moment: usize, trees: &mut Both<Tree>) -> Result<(), Why> {
        let mut state = self.history.at(moment).clone();
        self.model.restore(&state);
        self.model.remount();
        trees.model = Tree::walk(&self.model)?;
        self.compare_trees(trees)?;
        for (path, ino) in &trees.model.names {
            if trees.model.nodes[ino].attr.kind != FileKind::Regular {
                continue;
            }
            let mut result = Err("no moment to compare with".to_owned());
            for moment in self.history.contents(*ino, moment) {
                state.take_content(*ino, self.history.at(moment));
                self.model.restore(&state);
                let found = self.compare_bytes(*ino, trees.subject.names[path]);
                if found.is_ok() || result.is_err() {
                    result = found.map_err(|why| format!("/{}: {why}", path.escape_ascii()));
                }
                if result.is_ok() {
                    break;
                }
            }
            result?;
        }
        self.model.restore(&state);
        self.model.remount();
        Ok(())
    }

    /// Forgets what the crash undid: inode numbers that were never durable may come again.
    fn settle(&mut self, trees: &Both<Tree>) {
        self.partner
            .retain(|model, _| trees.model.nodes.contains_key(model));
        self.owner
            .retain(|subject, _| trees.subject.nodes.contains_key(subject));
        self.history = History::starting_at(self.model.snapshot());
    }
}
