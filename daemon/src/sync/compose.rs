//! What is in the volume and not in the base, as records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfold_crypto::FileKey;
use keyfold_fs::share::{Change, Changes, PendingMark};
use keyfold_fs::vfs::Vfs;
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{BlobId, Epoch, NodeId, OperationId};
use keyfold_protocol::limits;
use keyfold_protocol::operation::{Action, Mtime, Operation, Place as At};
use keyfold_protocol::tree::At as RecordAt;

use super::adopt::Adoption;
use super::arrived::Arrived;
use super::error::SyncError;
use super::lost::Lost;
use super::names::Step;
use super::packer::{self, Packer};
use super::packs::Packs;
use super::plan::{FilePlan, Plan};
use super::points::Points;
use super::shown::{Nodes, Place, Seen, Shown, engine_node, mode, of_tree, share_points};
use super::write::{Draft, Drafting, File, is_current};
use super::{InFlight, ShareSync};
use crate::sharing::{Appended, Outgoing, SharingError};

/// Bytes of operations in one record, so that they fit when they are padded.
const BODY: usize = 880_000;

/// An operation, and the blobs that it names.
pub(super) type Work = (Operation, Vec<BlobId>);

fn at(place: &Place) -> At {
    At {
        parent: place.0,
        name: place.1.clone(),
    }
}

/// Packs after which what was drafted is sent in a record (64 MiB), and files.
const BATCH_PACKS: usize = 16;
const BATCH_FILES: usize = 1000;
/// Time between two notes of the packs that arrived, at least.
const NOTE_ARRIVED: Duration = Duration::from_secs(2);

/// Whether there is more to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    Follows,
}

/// Operations that go together, and the marks that are done with after them.
struct Batch {
    work: Vec<Work>,
    marks: Vec<u64>,
    files: u64,
}

impl ShareSync<'_, '_> {
    /// What makes of the base what is in the volume.
    pub(super) fn plan(
        &self,
        seen: &Seen,
        marks: &[PendingMark],
        sent: &[u64],
    ) -> Result<Plan, SyncError> {
        let tree = self.shown(&self.base);
        let points = self.known_points(&tree)?;
        let (base, nodes) = &self.to_send(of_tree(&tree, &points), seen);
        let held = |id: &NodeId| self.waits.held.contains(id);
        let mut plan = Plan::of((base, nodes), seen, held, |step| self.as_others_say(step));
        plan.first
            .splice(0..0, self.emptied((base, nodes), &points));
        plan.confirm(marks, sent);
        Ok(plan)
    }

    /// Sends all of a plan, in as many records as it needs. What was sent stays sent, whatever comes
    /// then.
    pub(super) async fn send_all(
        &mut self,
        mut plan: Plan,
        marks: Vec<u64>,
    ) -> Result<Appended, SyncError> {
        self.forget_lost().await?;
        self.former = self.former().await?.map(Arc::new);
        let mut adoption = self.adoption(&plan)?;
        let sizes = plan.files.iter().map(|file| self.volume.getattr(file.ino));
        let bytes = sizes.map(|attr| attr.map_or(0, |attr| attr.size)).sum();
        self.progress.begin(plan.files.len() as u64, bytes);
        let mut said_all = false;
        loop {
            let batch = self.batch(&mut plan, adoption.as_mut()).await?;
            let last = plan.is_empty();
            let rest = if last { Rest::Nothing } else { Rest::Follows };
            if !batch.work.is_empty() {
                let marks = if last { marks.clone() } else { batch.marks };
                if self.send(batch.work, marks, rest).await? == Appended::Moved {
                    return Ok(Appended::Moved);
                }
                said_all = last;
            }
            self.progress.add_files(batch.files);
            // A record names them now.
            *self.arrived.lock() = Arrived::default();
            if last {
                break;
            }
        }
        if !said_all {
            self.position.begun = true;
            self.keep_as_is(marks)?;
        }
        Ok(Appended::Done)
    }

    /// The next operations of a plan. Their blocks are sent by this.
    async fn batch(
        &mut self,
        plan: &mut Plan,
        mut adoption: Option<&mut Adoption>,
    ) -> Result<Batch, SyncError> {
        let first = std::mem::take(&mut plan.first);
        let mut work = Vec::new();
        say(&mut work, first)?;
        let remote = self.shared.session().remote().clone();
        let mut packer = Packer::new(remote, self.shared.id(), Arc::clone(&self.arrived));
        let (mut drafts, mut marks) = (Vec::new(), Vec::new());
        while packer.packs() < BATCH_PACKS && drafts.len() < BATCH_FILES {
            let Some(file) = plan.files.pop_front() else {
                break;
            };
            if let Some(adoption) = &mut adoption {
                for (pack, leaf) in adoption.file(file.node).await {
                    self.arrived.lock().add(&pack, vec![leaf]);
                }
            }
            let draft = self.draft(&file, &mut packer).await?;
            marks.extend(&file.marks);
            drafts.push((file, draft));
        }
        let packs = packer.finish().await?;
        let files = drafts.len() as u64;
        for (file, draft) in drafts {
            say(&mut work, file.before)?;
            if let Some(draft) = draft {
                work.extend(draft.finish(&packs)?);
            }
            say(&mut work, file.after)?;
        }
        Ok(Batch { work, marks, files })
    }

    /// What this share takes over from its parent, where it begins in one.
    fn adoption(&self, plan: &Plan) -> Result<Option<Adoption>, SyncError> {
        let Some(former) = &self.former else {
            return Ok(None);
        };
        let remote = self.shared.session().remote();
        let share = (remote, self.shared.id(), former.as_ref());
        Adoption::of(share, plan.files.iter(), &self.volume).map(Some)
    }

    /// Of the packs that arrived before those that the server does not have any more.
    pub(super) async fn forget_lost(&self) -> Result<(), SyncError> {
        let blobs = self.arrived.lock().blobs();
        let remote = self.shared.session().remote();
        let missing = packer::missing(remote, self.shared.id(), &blobs).await?;
        self.arrived.lock().forget(&missing);
        Ok(())
    }

    /// Other shares, of which nothing is shown here, go with the directory that they were in.
    fn emptied(&self, (base, nodes): (&Nodes, &Nodes), shown: &Points) -> Vec<Action> {
        let gone = base.keys().filter(|id| !nodes.contains_key(id));
        let places = gone.flat_map(|id| {
            let points = share_points(&self.base, *id).into_iter();
            let hidden = points.filter(|(_, node)| !shown.contains(node));
            hidden.map(|(name, node)| ((*id, name), node))
        });
        let remove = |(place, node): (Place, _)| Action::Remove {
            at: at(&place),
            node,
        };
        places.map(remove).collect()
    }

    /// What the others have and what is here, but nothing of what waits.
    fn to_send(&self, mut base: Nodes, seen: &Seen) -> (Nodes, Nodes) {
        let mut nodes = seen.nodes.clone();
        for id in self.waits.with_all_below(&seen.nodes) {
            nodes.remove(&id);
            base.remove(&id);
        }
        for id in &self.waits.held {
            if let (Some(node), Some(base)) = (nodes.get_mut(id), base.get(id)) {
                node.mtime = base.mtime;
            }
        }
        (base, nodes)
    }

    fn epoch(&self) -> Result<Epoch, SyncError> {
        let roster = self.shared.log().roster();
        let roster = roster.ok_or(SharingError::NotAMember)?;
        Ok(roster.epoch)
    }

    async fn draft(
        &mut self,
        plan: &FilePlan,
        packer: &mut Packer,
    ) -> Result<Option<Draft>, SyncError> {
        let (node, ino) = (plan.node, plan.ino);
        let base = Arc::clone(&self.base);
        let known = base.node(node).and_then(|node| node.content());
        let former = self.former.clone();
        let keys = match (known, &former) {
            (Some(known), _) => Some((known, self.epoch()?)),
            (None, Some(former)) => former.file(node),
            (None, None) => None,
        };
        let mut view = self.volume.view_content(ino)?;
        let last = view.keys().last().map(FileKey::id);
        if !last.is_some_and(|key| is_current(keys, view.keys(), key)) {
            drop(view);
            self.add_key(node)?;
            view = self.volume.view_content(ino)?;
        }
        // A single file may have left the share; what is written to it then is nobody else's.
        if self.volume.share_member(ino)? != Some((self.share, engine_node(node))) {
            return Err(SyncError::Busy);
        }
        let mut drafting = Drafting::of(File {
            node,
            view: &view,
            known,
            keys,
            is_marked: !plan.marks.is_empty(),
        });
        let packs = Arc::clone(&self.packs);
        let lost = std::mem::take(&mut self.lost);
        let drafted = self.draft_on(&mut drafting, (&packs, &lost), packer).await;
        self.lost = lost;
        drafted?;
        drafting.finish()
    }

    async fn draft_on(
        &mut self,
        drafting: &mut Drafting<'_>,
        from: (&Packs, &Lost),
        packer: &mut Packer,
    ) -> Result<(), SyncError> {
        while let Some(bytes) = drafting.go_on(from, packer).await? {
            self.progress.add_bytes(bytes);
            self.note_arrived()?;
        }
        Ok(())
    }

    /// Keeps which packs arrived, if it was not for a while: they are not sent again.
    fn note_arrived(&mut self) -> Result<(), SyncError> {
        let due = self.noted_arrived.elapsed() >= NOTE_ARRIVED;
        if due && !self.arrived.lock().is_empty() {
            self.keep_as_is(Vec::new())?;
            self.noted_arrived = Instant::now();
        }
        Ok(())
    }

    /// What is written from now on is under a key that nobody had in an earlier epoch.
    fn add_key(&self, node: NodeId) -> Result<(), SyncError> {
        let change = Change::AddKey {
            node: engine_node(node),
            key: FileKey::generate()?,
        };
        let changes = Changes {
            list: vec![change],
            ..Changes::default()
        };
        self.volume.apply_to_share(self.share, &changes)?;
        Ok(())
    }

    /// Appends operations, in as many records as they need. `rest` says whether more is to follow.
    pub(super) async fn send(
        &mut self,
        work: Vec<Work>,
        marks: Vec<u64>,
        rest: Rest,
    ) -> Result<Appended, SyncError> {
        let mut left = work.into_iter().peekable();
        while left.peek().is_some() {
            let (operations, named) = one_record(&mut left)?;
            let end = left.peek().is_none();
            let last = end && rest == Rest::Nothing;
            let outgoing = self.outgoing(operations, &named)?;
            let append = self.shared.draft_content(outgoing)?;
            self.in_flight = Some(InFlight {
                append,
                marks: if end { marks.clone() } else { Vec::new() },
                last,
            });
            // Whatever happens from here on, this record is looked for before another is made.
            self.keep_as_is(Vec::new())?;
            self.volume.sync()?;
            if self.send_again().await? == Appended::Moved {
                return Ok(Appended::Moved);
            }
            if !last && self.position.seq != self.head_seq {
                // Others wrote after this record: the rest is made over that.
                return Ok(Appended::Moved);
            }
        }
        Ok(Appended::Done)
    }

    /// Sends the record that is on its way, if there is one that is not in the log.
    pub(super) async fn send_again(&mut self) -> Result<Appended, SyncError> {
        let Some(own) = &self.in_flight else {
            return Ok(Appended::Done);
        };
        let previous = Some(own.append.record.header.previous);
        if self.shared.log().head().map(|(_, record)| record) != previous {
            // Something else has its place for ever.
            self.in_flight = None;
            return Ok(Appended::Moved);
        }
        let append = own.append.clone();
        let appended = self.shared.append_content(&append).await;
        self.absorb().await?;
        let there = self.shared.log().head().map(|(_, record)| record);
        match appended {
            Ok(Appended::Moved) if there != previous => self.in_flight = None,
            // It is not there, and may still come: it is sent again as it is.
            Ok(_) => {}
            Err(error) => {
                if error.code().is_some_and(|code| code.status() < 500) {
                    self.in_flight = None;
                }
                // Of packs that arrived before it is asked anew which are there.
                if error.code() != Some(ErrorCode::BlobMissing) {
                    return Err(error.into());
                }
                return Ok(Appended::Moved);
            }
        }
        Ok(appended.unwrap_or(Appended::Moved))
    }

    /// Adds what the header says of blobs. Fails where the record would be void.
    fn outgoing(
        &self,
        operations: Vec<Operation>,
        named: &BTreeSet<BlobId>,
    ) -> Result<Outgoing, SyncError> {
        let needed: BTreeSet<BlobId> = self.head.needed_blobs().collect();
        let added: Vec<BlobId> = named.difference(&needed).copied().collect();
        let mut after = self.head.as_ref().clone();
        let at = RecordAt {
            seq: self.shared.log().next_seq(),
            epoch: self.epoch()?,
            added: &added,
            dropped: &[],
        };
        after.apply(at, &operations).map_err(SyncError::Void)?;
        let still: BTreeSet<BlobId> = after.needed_blobs().collect();
        let dropped = needed.difference(&still).take(limits::RECORD_BLOBS);
        Ok(Outgoing {
            operations,
            dropped: dropped.copied().collect(),
            added,
        })
    }
}

/// As many operations as one record takes, and the blobs that they name.
fn one_record(
    left: &mut std::iter::Peekable<std::vec::IntoIter<Work>>,
) -> Result<(Vec<Operation>, BTreeSet<BlobId>), SyncError> {
    let mut operations = Vec::new();
    let mut named: BTreeSet<BlobId> = BTreeSet::new();
    let mut bytes = 0;
    while let Some((operation, blobs)) = left.peek() {
        let more = operation.encode().len();
        let full = bytes + more > BODY
            || operations.len() >= limits::OPERATIONS
            || named.len() + blobs.len() > limits::RECORD_BLOBS;
        if full {
            break;
        }
        bytes += more;
        named.extend(blobs);
        operations.extend(left.next().map(|(operation, _)| operation));
    }
    if operations.is_empty() {
        return Err(SyncError::TooLarge);
    }
    Ok((operations, named))
}

/// Adds actions that name no blobs.
pub(super) fn say(work: &mut Vec<Work>, actions: Vec<Action>) -> Result<(), SyncError> {
    for action in actions {
        let id = OperationId::generate()?;
        work.push((Operation { id, action }, Vec::new()));
    }
    Ok(())
}

pub(super) fn name_action(step: &Step, nodes: &Nodes) -> Option<Action> {
    Some(match step {
        Step::Make(id, to) => {
            let node = nodes.get(id)?;
            Action::Make {
                at: at(to),
                node: *id,
                what: node.what.clone(),
                mode: mode(node.mode),
                mtime: node.mtime.unwrap_or(Mtime {
                    seconds: 0,
                    nanoseconds: 0,
                }),
            }
        }
        Step::Link(id, to) => Action::Link {
            at: at(to),
            node: *id,
        },
        Step::Rename(id, from, to) => Action::Rename {
            from: at(from),
            to: at(to),
            node: *id,
            replaced: None,
        },
        Step::Remove(id, from) => Action::Remove {
            at: at(from),
            node: *id,
        },
    })
}

pub(super) fn attribute_actions(id: NodeId, base: Option<&Shown>, node: &Shown) -> Vec<Action> {
    let mut actions = Vec::new();
    if let Some(base) = base {
        let other_mode = (base.mode != node.mode).then(|| mode(node.mode));
        let other_stamp = node.mtime.filter(|_| base.mtime != node.mtime);
        if other_mode.is_some() || other_stamp.is_some() {
            actions.push(Action::SetAttr {
                node: id,
                mode: other_mode,
                mtime: other_stamp,
            });
        }
    }
    let none = BTreeMap::new();
    let old = base.map_or(&none, |base| &base.xattrs);
    let names: BTreeSet<_> = old.keys().chain(node.xattrs.keys()).collect();
    for name in names {
        let value = node.xattrs.get(name);
        if old.get(name) != value {
            actions.push(Action::SetXattr {
                node: id,
                name: name.clone(),
                value: value.cloned(),
            });
        }
    }
    actions
}
