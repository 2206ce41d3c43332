//! Bringing a volume from the base to the head, while what was changed in it is kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyfold_fs::share::{Access, Applied, Change, Changes, Owner};
use keyfold_fs::vfs::Vfs;
use keyfold_protocol::ids::NodeId;
use keyfold_protocol::names::EntryName;

use super::ShareSync;
use super::conflict::{Conflicts, Decided};
use super::error::SyncError;
use super::kept::Becoming;
use super::merge::{Rename, Sides, as_there, merge};
use super::shown::{Nodes, of_tree};
use super::take::Taking;
use super::waits::Waits;
use crate::account::now;
use crate::calendar::date;

/// What came of bringing the volume to the head.
pub(super) enum Brought {
    /// It is there, but for files that are in use.
    There,
    /// Nothing was changed: what waits for these files cannot be parted from the rest.
    Waiting(Vec<NodeId>),
}

impl ShareSync<'_, '_> {
    /// Brings the volume from the base to the head, and keeps what was changed in it. A file that is
    /// in use stays as it is.
    pub(super) fn bring_here(&mut self) -> Result<Brought, SyncError> {
        if Arc::ptr_eq(&self.base, &self.head) && !self.reverts {
            return Ok(Brought::There);
        }
        self.part_gone()?;
        let (marks, mut seen) = self.look(&BTreeSet::new())?;
        let (was, head) = (self.shown(&self.base), self.shown(&self.head));
        let base = of_tree(&was, &self.known_points(&was)?);
        let theirs = of_tree(&head, &self.wanted_points(&head)?);
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
            was: &was,
            head: &head,
            who,
        }
        .decide();
        self.volume.set_share_access(self.share, access);
        let decided = decided?;
        self.outdated.extend(decided.outdated.iter().cloned());
        self.upset.copies += decided.copies;
        if decided.copies > 0 {
            seen = self.look(&BTreeSet::new())?.1;
        }
        let stay = seen.stay();
        let mut waits = Waits {
            held: decided.held.clone(),
            apart: decided.apart.clone(),
        };
        loop {
            let there = waits.part(&base, &theirs);
            let rename = |name: &EntryName, n| self.other_name(name, who, n);
            let sides = Sides {
                base: &base,
                here: &seen.nodes,
                there: &there,
                given_up: &decided.given_up,
                stay: &stay,
            };
            let want = if self.may_send() {
                wanted(&sides, &decided, &waits, &rename)
            } else {
                as_there(&sides, &rename)
            };
            self.clear_the_way(&seen, &want, who)?;
            let Some(busy) = self.apply((&seen.nodes, &want), &decided, &waits)? else {
                self.tidy_beside(&decided, &want);
                return Ok(Brought::There);
            };
            let before = waits.clone();
            for id in &busy {
                let content = head.node(*id).and_then(|node| node.content());
                if content.is_none() || waits.contains(id) {
                    waits.apart.insert(*id);
                } else {
                    waits.held.insert(*id);
                }
            }
            if waits == before {
                return Ok(Brought::Waiting(busy));
            }
        }
    }

    /// The changes that bring the volume to what is wanted.
    fn changes(
        &self,
        (here, want): (&Nodes, &Nodes),
        decided: &Decided,
        waits: &Waits,
    ) -> Result<Changes, SyncError> {
        let taking = Taking {
            here,
            want,
            base: &self.shown(&self.base),
            head: &self.shown(&self.head),
            reset: &decided.reset,
            stays: &decided.stays,
            waits,
            makers: self.shared.makers(),
        };
        let attr = self.volume.getattr(self.root.dir)?;
        Ok(Changes {
            owner: Owner {
                uid: attr.uid,
                gid: attr.gid,
            },
            ..taking.changes()
        })
    }

    /// Returns what is in use, and then nothing was changed.
    fn apply(
        &mut self,
        (here, want): (&Nodes, &Nodes),
        decided: &Decided,
        waits: &Waits,
    ) -> Result<Option<Vec<NodeId>>, SyncError> {
        let Some(base) = self.but_for(&self.head, waits) else {
            return Ok(Some(waits.list()));
        };
        let mut changes = self.changes((here, want), decided, waits)?;
        let beyond = |one: &Nodes, other: &Nodes| -> BTreeSet<NodeId> {
            let ids = one.keys().filter(|id| !other.contains_key(id));
            ids.copied().collect()
        };
        self.make_room(&beyond(want, here))?;
        let made = changes.list.iter().filter_map(|change| match change {
            Change::Make { node, .. } => Some(NodeId(node.0)),
            _ => None,
        });
        let reached = Arc::clone(&self.head);
        let before = self.position;
        let log = self.shared.log().keep();
        let log = std::mem::replace(&mut self.log, log);
        self.position.seq = self.head_seq;
        let removed = beyond(here, want);
        let reset = decided.reset.keys().filter(|id| !waits.contains(id));
        let becoming = Becoming {
            base: &base,
            reached: &reached,
            waits,
            made: &made.collect(),
            removed: &removed,
            reset: &reset.copied().collect(),
        };
        let applied = self
            .keep_base(&becoming, &mut changes.kept)
            .and_then(|()| Ok(self.volume.apply_to_share(self.share, &changes)?));
        match applied {
            Ok(Applied::Done(outdated)) => {
                self.outdated.extend(outdated);
                self.tell_outdated();
                self.upset.removed += removed.len();
                self.upset.of = self.upset.of.max(here.len().saturating_sub(1));
                if !here.keys().all(|id| *id == NodeId::ROOT) {
                    let written = changes.list.iter().filter_map(|change| match change {
                        Change::Write(written) => Some(NodeId(written.node.0)),
                        _ => None,
                    });
                    self.wholes.note_there(want, written);
                    self.told.extend(self.wholes.tell(want));
                }
            }
            other => {
                (self.position, self.log) = (before, log);
                let Applied::Busy(nodes) = other? else {
                    return Ok(None);
                };
                return Ok(Some(nodes.iter().map(|node| NodeId(node.0)).collect()));
            }
        }
        (self.base, self.reached) = (base, reached);
        self.waits.clone_from(waits);
        self.reverts = decided.reset.keys().any(|id| waits.contains(id));
        self.rows_fit = true;
        self.packs
            .know([Arc::clone(&self.base), Arc::clone(&self.head)]);
        Ok(None)
    }
}

/// What the volume is to be, of what it was brought to, what is in it and what the others have.
fn wanted(sides: &Sides<'_>, decided: &Decided, waits: &Waits, rename: Rename<'_>) -> Nodes {
    let (here, there) = (sides.here, sides.there);
    let mut want = merge(sides, rename);
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
    for id in &waits.held {
        if let (Some(node), Some(here)) = (want.get_mut(id), here.get(id)) {
            node.mtime = here.mtime;
        }
    }
    want
}
