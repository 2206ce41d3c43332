//! Syncing one share between a volume and the server.
//!
//! Everything is a comparison of states: the tree that the volume was last brought to (the *base*),
//! the tree that the log makes (the *head*), and what is in the volume. So a push that broke off
//! anywhere, or whose reply was lost, is looked at anew and goes on; nothing has to be undone.
//!
//! # Invariants
//! - The base is the tree after the record whose place is kept with the share; it is kept in the same
//!   transaction as the changes that make the volume so.
//! - Marks are confirmed only when a record that was made after they were taken is in the log.
//! - A record is made only while base and head are the same tree.

mod compose;
mod conflict;
mod error;
mod fetcher;
mod members;
mod merge;
mod names;
mod packs;
mod shown;
mod take;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeSet;
use std::sync::Arc;

use keyfold_fs::share::{
    Access, Applied, Kept, Mark, Outdated, PendingMark, ShareInfo, ShareNumber, Standing,
};
use keyfold_fs::vfs::Ino;
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::{NodeId, RecordHash, Seq};
use keyfold_protocol::tree::{At, Tree};

use crate::account::{Session, now};
use crate::calendar::date;
use crate::sharing::{Appended, ContentRecord, Shared};

use conflict::{Conflicts, Decided};
pub(crate) use error::SyncError;
pub(crate) use fetcher::Fetcher;
use merge::{Sides, conflict_name, merge};
pub(crate) use packs::Packs;
use shown::{Nodes, Seen, engine_node, of_tree, of_volume};
use take::Taking;

/// How often a push or a look is begun anew because something changed meanwhile.
const ATTEMPTS: usize = 8;

/// What came of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Round {
    /// Everything is where it belongs. So many things cannot be sent: devices, and names that are no
    /// text.
    Done {
        /// Names that are not sent.
        kept_back: u64,
    },
    /// These files are in use here, and what others changed waits for that.
    Waiting(Vec<NodeId>),
}

/// What is kept with the share.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    /// The last record that the volume has.
    seq: Option<Seq>,
    /// Whether all that the volume had when it began was sent.
    begun: bool,
}

impl Position {
    fn decode(data: &[u8]) -> Self {
        let Some((begun, seq)) = data.split_first() else {
            return Self::default();
        };
        Self {
            seq: seq.try_into().ok().map(|seq| Seq(u64::from_le_bytes(seq))),
            begun: *begun == 1,
        }
    }

    fn encode(self) -> Box<[u8]> {
        let mut data = vec![u8::from(self.begun)];
        if let Some(seq) = self.seq {
            data.extend_from_slice(&seq.0.to_le_bytes());
        }
        data.into()
    }
}

/// A record that was sent and may be in the log.
struct InFlight {
    record: RecordHash,
    /// Marks that are done with once it is.
    marks: Vec<u64>,
    /// Whether nothing is left to send after it.
    last: bool,
}

/// A share of a volume, and its log.
pub(crate) struct ShareSync<'s, 'a> {
    volume: Arc<Volume>,
    shared: Shared<'s, 'a>,
    share: ShareNumber,
    root: Ino,
    position: Position,
    base: Arc<Tree>,
    head: Arc<Tree>,
    head_seq: Option<Seq>,
    packs: Arc<Packs>,
    in_flight: Option<InFlight>,
    outdated: Vec<Outdated>,
}

impl<'s, 'a> ShareSync<'s, 'a> {
    /// A share as the volume was left.
    pub(crate) async fn open(
        session: &'s Session<'a>,
        volume: &Arc<Volume>,
        info: &ShareInfo,
    ) -> Result<Self, SyncError> {
        let share = keyfold_protocol::ids::ShareId(info.id.0);
        let mut shared = Shared::open_with_content(session, share).await?;
        let content = shared.take_content();
        let mut sync = Self {
            volume: Arc::clone(volume),
            shared,
            share: info.number,
            root: info.root,
            position: Position::decode(&info.data),
            base: Arc::default(),
            head: Arc::default(),
            head_seq: None,
            packs: Arc::new(Packs::new(session.remote().clone(), share)),
            in_flight: None,
            outdated: Vec::new(),
        };
        let known = |record: &ContentRecord| Some(record.seq) <= sync.position.seq;
        let (had, new): (Vec<_>, Vec<_>) = content.into_iter().partition(known);
        sync.absorb(had)?;
        sync.base = Arc::clone(&sync.head);
        sync.absorb(new)?;
        Ok(sync)
    }

    /// Who brings its blocks.
    pub(crate) fn packs(&self) -> &Arc<Packs> {
        &self.packs
    }

    /// What whoever caches anything of the volume has to ask for again, since this was asked last.
    pub(crate) fn take_outdated(&mut self) -> Vec<Outdated> {
        std::mem::take(&mut self.outdated)
    }

    /// Brings what others changed here.
    pub(crate) async fn pull(&mut self) -> Result<Round, SyncError> {
        self.shared.pull().await?;
        let content = self.shared.take_content();
        self.absorb(content)?;
        self.bring_here()
    }

    /// Sends what changed here, after what others changed was brought here.
    pub(crate) async fn push(&mut self) -> Result<Round, SyncError> {
        for _ in 0..ATTEMPTS {
            if let Round::Waiting(nodes) = self.pull().await? {
                return Ok(Round::Waiting(nodes));
            }
            let (marks, seen) = self.look()?;
            if marks.is_empty() && self.position.begun {
                return Ok(Round::Done { kept_back: 0 });
            }
            let work = self.compose(&seen).await?;
            let marks: Vec<u64> = marks.iter().map(|mark| mark.number).collect();
            if work.is_empty() {
                self.position.begun = true;
                self.settle(marks)?;
            } else if self.send(work, marks).await? == Appended::Moved {
                continue;
            }
            let kept_back = seen.kept_back;
            return Ok(Round::Done { kept_back });
        }
        Err(SyncError::Busy)
    }

    /// Applies records to the head, and notices our own.
    fn absorb(&mut self, content: Vec<ContentRecord>) -> Result<(), SyncError> {
        for record in content {
            let operations = record.operations.ok_or(SyncError::NoHistory)?;
            let at = At {
                seq: record.seq,
                epoch: record.epoch,
                added: &record.added,
                dropped: &record.dropped,
            };
            let own = self.in_flight.take_if(|own| own.record == record.record);
            let applied = Arc::make_mut(&mut self.head).apply(at, &operations);
            if let Err(void) = applied {
                self.shared.note_void(record.seq, void);
                if own.is_some() {
                    return Err(SyncError::Void(void));
                }
            }
            self.head_seq = Some(record.seq);
            if let Some(own) = own {
                // It was made over the base, and of what is in the volume.
                self.base = Arc::clone(&self.head);
                self.position.seq = self.head_seq;
                self.position.begun |= own.last;
                self.settle(own.marks)?;
            }
        }
        self.packs
            .know([Arc::clone(&self.base), Arc::clone(&self.head)]);
        Ok(())
    }

    /// Keeps that others know these marks, and forgets nodes that they know to be gone.
    fn settle(&self, marks: Vec<u64>) -> Result<(), SyncError> {
        let nodes = self.volume.share_nodes(self.share)?;
        let gone = nodes.into_iter().filter(|node| {
            node.standing == Standing::Gone && self.base.node(NodeId(node.node.0)).is_none()
        });
        let kept = Kept {
            share: Some(self.position.encode()),
            nodes: gone.map(|node| (node.node, None)).collect(),
            confirmed: marks,
        };
        Ok(self.volume.keep_of_share(self.share, &kept)?)
    }

    /// What is in the volume, and marks of all of it that differs from the base. Nothing was changed
    /// while it was looked at, or that is marked, too.
    fn look(&self) -> Result<(Vec<PendingMark>, Seen), SyncError> {
        let mut marks = self.volume.take_marks(self.share)?;
        for _ in 0..ATTEMPTS {
            let content = marks.iter().filter_map(|pending| match pending.mark {
                Mark::Content(ino) => Some(ino),
                _ => None,
            });
            let marked: BTreeSet<Ino> = content.collect();
            let seen = of_volume(&self.volume, self.root, &self.base, &marked);
            let now = self.volume.take_marks(self.share)?;
            if now == marks {
                return Ok((marks, seen?));
            }
            marks = now;
        }
        Err(SyncError::Busy)
    }

    /// Brings the volume from the base to the head, and keeps what was changed in it.
    fn bring_here(&mut self) -> Result<Round, SyncError> {
        if Arc::ptr_eq(&self.base, &self.head) {
            return Ok(Round::Done { kept_back: 0 });
        }
        let (marks, mut seen) = self.look()?;
        let base = of_tree(&self.base);
        let today = date(i64::try_from(now().0).unwrap_or(0));
        let user = self.shared.session().keys().account.user.to_string();
        let who = (user.as_str(), today.as_str());
        // What was written here before that was forbidden is kept in copies like anything else.
        let access = self.volume.set_share_access(self.share, Access::Full);
        let decided = Conflicts {
            volume: &self.volume,
            share: self.share,
            marks: &marks,
            seen: &seen,
            base: &base,
            head: &self.head,
            who,
        }
        .decide();
        self.volume.set_share_access(self.share, access);
        let decided = decided?;
        self.outdated.extend(decided.outdated.iter().cloned());
        if decided.copies > 0 {
            seen = self.look()?.1;
        }
        let there = of_tree(&self.head);
        let sides = Sides {
            base: &base,
            here: &seen.nodes,
            there: &there,
            given_up: &decided.given_up,
        };
        let mut want = merge(&sides, &|name, n| conflict_name(name, who, n));
        for (copy, place) in &decided.renamed {
            let taken = want.values().any(|node| node.names.contains(place));
            if let (false, Some(node)) = (taken, want.get_mut(copy)) {
                node.names = BTreeSet::from([place.clone()]);
            }
        }
        for id in decided.reset.keys() {
            // The stamp goes with the content.
            if let (Some(node), Some(there)) = (want.get_mut(id), there.get(id)) {
                node.mtime = there.mtime;
            }
        }
        self.apply(&seen.nodes, &want, &decided)
    }

    fn apply(&mut self, here: &Nodes, want: &Nodes, decided: &Decided) -> Result<Round, SyncError> {
        let taking = Taking {
            here,
            want,
            base: &self.base,
            head: &self.head,
            reset: &decided.reset,
            stays: &decided.stays,
        };
        let mut changes = taking.changes();
        let attr = keyfold_fs::vfs::Vfs::getattr(self.volume.as_ref(), self.root)?;
        changes.owner = keyfold_fs::share::Owner {
            uid: attr.uid,
            gid: attr.gid,
        };
        let position = Position {
            seq: self.head_seq,
            ..self.position
        };
        changes.kept.share = Some(position.encode());
        let reset = decided.reset.keys();
        changes.kept.nodes = reset
            .map(|id| (engine_node(*id), Some(Box::default())))
            .collect();
        self.make_room(here, want)?;
        match self.volume.apply_to_share(self.share, &changes)? {
            Applied::Done(outdated) => self.outdated.extend(outdated),
            Applied::Busy(nodes) => {
                let nodes = nodes.iter().map(|node| NodeId(node.0));
                return Ok(Round::Waiting(nodes.collect()));
            }
        }
        self.base = Arc::clone(&self.head);
        self.position = position;
        self.packs
            .know([Arc::clone(&self.base), Arc::clone(&self.head)]);
        Ok(Round::Done { kept_back: 0 })
    }

    /// Nodes that were removed here and come back are forgotten first.
    fn make_room(&self, here: &Nodes, want: &Nodes) -> Result<(), SyncError> {
        let mut kept = Kept::default();
        for id in want.keys().filter(|id| !here.contains_key(id)) {
            let node = engine_node(*id);
            let known = self.volume.share_node(self.share, node)?;
            if known.is_some_and(|known| known.standing == Standing::Gone) {
                kept.nodes.push((node, None));
            }
        }
        if kept.nodes.is_empty() {
            return Ok(());
        }
        Ok(self.volume.keep_of_share(self.share, &kept)?)
    }
}
