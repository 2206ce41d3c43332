//! What a volume keeps of a share beside its files: what it was brought to, so that nobody has to go
//! through the log again, and the record that is on its way.
//!
//! ```text
//! of the share = [1, begun (0 or 1), seq or null, log or null, tree head or null, [[node(16), bytes]...],
//!                 other or null, snapshot or null, in flight or null, [arrived pack...]]
//! other        = [tree head, [[node(16), bytes or null]...], [node(16)...], [node(16)...]]
//! snapshot     = [seq, epoch, [blob(32)...]]
//! in flight    = [append, [mark...], last (0 or 1)]
//! of a node    = nothing, or copied (0 or 1) || node bytes or nothing
//! ```
//!
//! The tree that the volume was brought to lies with its nodes, so that a record costs what it changes:
//! each node's bytes are those of the tree's encoding, and the share has those before the nodes. The
//! first list is of nodes that the volume has no row of. What the log made at the same record differs
//! while something waits: by another tree head, and nodes; what waits are contents of files, and whole
//! nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyfold_fs::share::{Kept, NodeInfo, ShareInfo, Standing};
use keyfold_fs::volume::Volume;
use keyfold_protocol::cbor::{DecodeError, Decoded, Encoded, Reader, Writer};
use keyfold_protocol::exchange::Append;
use keyfold_protocol::ids::{BlobId, Epoch, NodeId, Seq, ShareId};
use keyfold_protocol::limits;
use keyfold_protocol::tree::{Tree, encode_node};
use zeroize::Zeroizing;

use super::arrived::Arrived;
use super::error::SyncError;
use super::shown::engine_node;
use super::waits::Waits;
use super::{InFlight, ShareSync};
use crate::account::Session;
use crate::sharing::Shared;

/// Bytes of what is kept with a share, at most.
const LONGEST: usize = 1 << 30;

/// A snapshot that is what the log makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewestSnapshot {
    pub(super) seq: Seq,
    pub(super) epoch: Epoch,
    pub(super) chunks: Vec<BlobId>,
}

/// What is kept with the share.
#[derive(Default)]
pub(super) struct KeptShare {
    pub(super) begun: bool,
    pub(super) seq: Option<Seq>,
    pub(super) log: Option<Zeroizing<Vec<u8>>>,
    tree: Option<Vec<u8>>,
    without_row: Vec<NodeBytes>,
    reached: Option<Reached>,
    pub(super) snapshot: Option<NewestSnapshot>,
    pub(super) in_flight: Option<InFlight>,
    pub(super) arrived: Arrived,
}

/// What a volume was brought to, and what the log made by then.
pub(super) struct Brought {
    pub(super) base: Arc<Tree>,
    pub(super) reached: Arc<Tree>,
    pub(super) waits: Waits,
}

/// What the log made, where that is another tree.
struct Reached {
    tree: Vec<u8>,
    nodes: Vec<OtherNode>,
    waits: Waits,
}

/// A node that is another, or missing.
struct OtherNode(NodeId, Option<Vec<u8>>);

/// A node and its bytes.
struct NodeBytes(NodeId, Vec<u8>);

impl Encoded for NodeBytes {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        self.0.write(w);
        w.bytes(&self.1);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self(NodeId::read(r)?, r.bytes(LONGEST)?.to_vec()))
    }
}

impl Encoded for OtherNode {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        self.0.write(w);
        w.optional(self.1.as_deref(), Writer::bytes);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        let id = NodeId::read(r)?;
        let bytes = r.optional(|r| r.bytes(LONGEST).map(<[u8]>::to_vec))?;
        Ok(Self(id, bytes))
    }
}

impl Encoded for Reached {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(4);
        w.bytes(&self.tree);
        w.list(&self.nodes);
        for waiting in [&self.waits.held, &self.waits.apart] {
            w.array(waiting.len());
            for id in waiting {
                id.write(w);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(4)?;
        Ok(Self {
            tree: r.bytes(LONGEST)?.to_vec(),
            nodes: r.list(limits::NODES)?,
            waits: Waits {
                held: r.list(limits::NODES)?.into_iter().collect(),
                apart: r.list(limits::NODES)?.into_iter().collect(),
            },
        })
    }
}

impl Reached {
    /// What `reached` has otherwise than `base`.
    fn of(reached: &Tree, base: &Tree, waits: &Waits) -> Option<Self> {
        if std::ptr::eq(reached, base) {
            return None;
        }
        let other = reached
            .nodes()
            .filter(|(id, node)| base.node(*id) != Some(*node));
        let other = other.map(|(id, node)| OtherNode(id, Some(encode_node(id, node))));
        let missing = base.nodes().filter(|(id, _)| reached.node(*id).is_none());
        let missing = missing.map(|(id, _)| OtherNode(id, None));
        let nodes: Vec<OtherNode> = other.chain(missing).collect();
        (!nodes.is_empty()).then(|| Self {
            tree: reached.encode_head(),
            nodes,
            waits: waits.clone(),
        })
    }
}

impl Encoded for NewestSnapshot {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        self.seq.write(w);
        self.epoch.write(w);
        w.list(&self.chunks);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        Ok(Self {
            seq: Seq::read(r)?,
            epoch: Epoch::read(r)?,
            chunks: r.list(limits::CHUNKS)?,
        })
    }
}

impl Encoded for InFlight {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(3);
        w.bytes(&self.append.encode());
        w.array(self.marks.len());
        self.marks.iter().for_each(|mark| w.uint(*mark));
        w.uint(u64::from(self.last));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(3)?;
        let append = Append::decode(r.bytes(Append::LIMIT)?)?;
        let count = r.length(LONGEST)?;
        let marks: Decoded<Vec<u64>> = (0..count).map(|_| r.uint()).collect();
        Ok(Self {
            append,
            marks: marks?,
            last: r.uint_up_to(1)? == 1,
        })
    }
}

impl Encoded for KeptShare {
    const LIMIT: usize = LONGEST;

    fn write(&self, w: &mut Writer) {
        w.array(10);
        w.uint(1);
        w.uint(u64::from(self.begun));
        w.optional(self.seq.as_ref(), |w, seq| seq.write(w));
        w.optional(self.log.as_ref(), |w, log| w.bytes(log));
        w.optional(self.tree.as_ref(), |w, tree| w.bytes(tree));
        w.list(&self.without_row);
        w.optional(self.reached.as_ref(), |w, reached| reached.write(w));
        w.optional(self.snapshot.as_ref(), |w, snapshot| snapshot.write(w));
        w.optional(self.in_flight.as_ref(), |w, own| own.write(w));
        self.arrived.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(10)?;
        r.version()?;
        let bytes = |r: &mut Reader<'_>| r.bytes(LONGEST).map(<[u8]>::to_vec);
        Ok(Self {
            begun: r.uint_up_to(1)? == 1,
            seq: r.optional(Seq::read)?,
            log: r.optional(bytes)?.map(Zeroizing::new),
            tree: r.optional(bytes)?,
            without_row: r.list(limits::NODES)?,
            reached: r.optional(Reached::read)?,
            snapshot: r.optional(NewestSnapshot::read)?,
            in_flight: r.optional(InFlight::read)?,
            arrived: Arrived::read(r)?,
        })
    }
}

impl KeptShare {
    /// What is kept with a share; nothing where that is not of this form.
    pub(super) fn of(info: &ShareInfo) -> Self {
        Self::decode(&info.data).unwrap_or_default()
    }

    /// What the volume was brought to, if all of it is there.
    pub(super) fn brought(&self, nodes: &[NodeInfo]) -> Decoded<Brought> {
        let head = self.tree.as_ref().ok_or(DecodeError::Malformed)?;
        let mut all: BTreeMap<NodeId, &[u8]> = BTreeMap::new();
        for info in nodes {
            if let Some((_, bytes)) = info.data.split_first().filter(|(_, b)| !b.is_empty()) {
                all.insert(NodeId(info.node.0), bytes);
            }
        }
        let without_row = self.without_row.iter();
        all.extend(without_row.map(|node| (node.0, node.1.as_slice())));
        let base = Arc::new(Tree::assemble(head, all.values().copied())?);
        let Some(reached) = &self.reached else {
            return Ok(Brought {
                reached: Arc::clone(&base),
                base,
                waits: Waits::default(),
            });
        };
        for OtherNode(id, bytes) in &reached.nodes {
            match bytes {
                Some(bytes) => all.insert(*id, bytes),
                None => all.remove(id),
            };
        }
        let waits = reached.waits.clone();
        let reached = Arc::new(Tree::assemble(&reached.tree, all.values().copied())?);
        Ok(Brought {
            base,
            reached,
            waits,
        })
    }
}

/// Whether the content that a file has here was copied and is to become the others'.
pub(super) fn is_copied(info: &NodeInfo) -> bool {
    info.data.first() == Some(&1)
}

/// What is kept with a node whose content here was copied.
pub(super) fn copied(info: &NodeInfo) -> Box<[u8]> {
    let bytes = info.data.get(1..).unwrap_or_default();
    [&[1], bytes].concat().into()
}

/// A share as it was when it was synced last. Nothing is asked of the server.
pub(crate) fn as_it_was<'s, 'a>(
    session: &'s Session<'a>,
    info: &ShareInfo,
) -> Option<Shared<'s, 'a>> {
    let log = KeptShare::of(info).log?;
    Shared::resume(session, ShareId(info.id.0), &log)
}

/// What the volume is brought to, on its way into its rows.
pub(super) struct Becoming<'t> {
    pub(super) base: &'t Tree,
    /// What the log makes at the same record.
    pub(super) reached: &'t Tree,
    /// Why that is another.
    pub(super) waits: &'t Waits,
    /// Nodes that will have a row, by the changes that go along.
    pub(super) made: &'t BTreeSet<NodeId>,
    /// Those that will have none.
    pub(super) removed: &'t BTreeSet<NodeId>,
    /// Files whose content becomes the others'.
    pub(super) reset: &'t BTreeSet<NodeId>,
}

impl ShareSync<'_, '_> {
    /// Adds what is kept of a tree that the volume is brought to.
    pub(super) fn keep_base(&self, new: &Becoming<'_>, kept: &mut Kept) -> Result<(), SyncError> {
        let rows = self.volume.share_nodes(self.share)?;
        let rows: BTreeMap<NodeId, NodeInfo> = rows
            .into_iter()
            .map(|info| (NodeId(info.node.0), info))
            .filter(|(id, _)| !new.removed.contains(id))
            .collect();
        let mut without_row = Vec::new();
        for (id, node) in new.base.nodes() {
            let row = rows.get(&id);
            if row.is_none() && !new.made.contains(&id) {
                without_row.push(NodeBytes(id, encode_node(id, node)));
                continue;
            }
            let same = self.rows_fit && self.base.node(id) == Some(node) && row.is_some();
            if !same || new.reset.contains(&id) {
                let copied = row.is_some_and(is_copied) && !new.reset.contains(&id);
                let data = [vec![u8::from(copied)], encode_node(id, node)].concat();
                kept.nodes.push((engine_node(id), Some(data.into())));
            }
        }
        let forgotten = kept.nodes.iter().filter(|(_, data)| data.is_none());
        let forgotten: BTreeSet<NodeId> = forgotten.map(|(node, _)| NodeId(node.0)).collect();
        let stale = rows.iter().filter(|(id, row)| {
            !row.data.is_empty() && new.base.node(**id).is_none() && !forgotten.contains(id)
        });
        let stale: Vec<_> = stale
            .map(|(id, _)| (engine_node(*id), Some(Box::default())))
            .collect();
        kept.nodes.extend(stale);
        let kept_share = KeptShare {
            begun: self.position.begun,
            seq: self.position.seq,
            log: self.log.clone(),
            tree: Some(new.base.encode_head()),
            without_row,
            reached: Reached::of(new.reached, new.base, new.waits),
            snapshot: self.newest.clone(),
            in_flight: self.in_flight.clone(),
            arrived: self.arrived.lock().clone(),
        };
        kept.share = Some(kept_share.encode().into());
        Ok(())
    }

    /// Keeps that the volume is what it is, and what else there is to keep.
    pub(super) fn keep_as_is(&mut self, marks: Vec<u64>) -> Result<(), SyncError> {
        let reached = Arc::clone(&self.reached);
        self.keep_reached(&reached, marks)
    }

    /// Keeps that the volume, as it is, is this tree but for files that wait; that others know these
    /// marks; and forgets nodes that they know to be gone.
    pub(super) fn keep_reached(
        &mut self,
        reached: &Arc<Tree>,
        marks: Vec<u64>,
    ) -> Result<(), SyncError> {
        let base = &self.but_for(reached, &self.waits).ok_or(SyncError::Busy)?;
        let none = BTreeSet::new();
        let mut kept = Kept {
            confirmed: marks,
            ..Kept::default()
        };
        let gone = gone(&self.volume, self.share, base)?;
        let forgotten = gone.iter().map(|id| (engine_node(*id), None));
        kept.nodes.extend(forgotten);
        let becoming = Becoming {
            base,
            reached,
            waits: &self.waits,
            made: &none,
            removed: &gone,
            reset: &none,
        };
        self.keep_base(&becoming, &mut kept)?;
        self.base = Arc::clone(base);
        self.reached = Arc::clone(reached);
        self.rows_fit = false;
        self.volume.keep_of_share(self.share, &kept)?;
        self.rows_fit = true;
        Ok(())
    }

    /// A tree in which what waits is as it is here.
    pub(super) fn but_for(&self, tree: &Arc<Tree>, waits: &Waits) -> Option<Arc<Tree>> {
        if waits.is_empty() {
            return Some(Arc::clone(tree));
        }
        let mixed = tree.but_for(&self.base, &waits.apart, &waits.held);
        mixed.map(Arc::new)
    }

    /// Nodes that were removed here and come back are forgotten first; what the base has of them is
    /// kept beside until then.
    pub(super) fn make_room(&mut self, back: &BTreeSet<NodeId>) -> Result<(), SyncError> {
        let mut kept = Kept::default();
        for id in back {
            let known = self.volume.share_node(self.share, engine_node(*id))?;
            if known.is_some_and(|known| known.standing == Standing::Gone) {
                kept.nodes.push((engine_node(*id), None));
            }
        }
        if kept.nodes.is_empty() {
            return Ok(());
        }
        let none = BTreeSet::new();
        let becoming = Becoming {
            base: &self.base,
            reached: &self.reached,
            waits: &self.waits,
            made: &none,
            removed: back,
            reset: &none,
        };
        self.keep_base(&becoming, &mut kept)?;
        Ok(self.volume.keep_of_share(self.share, &kept)?)
    }
}

/// Nodes that are gone here, and that the base does not have.
fn gone(
    volume: &Volume,
    share: keyfold_fs::share::ShareNumber,
    base: &Tree,
) -> Result<BTreeSet<NodeId>, SyncError> {
    let nodes = volume.share_nodes(share)?.into_iter();
    let gone = nodes.filter(|node| node.standing == Standing::Gone);
    let gone = gone.map(|node| NodeId(node.node.0));
    Ok(gone.filter(|id| base.node(*id).is_none()).collect())
}
