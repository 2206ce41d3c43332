//! Packing anew: what is needed of packs that are for the most part dead goes into new packs, as it is,
//! so that the server need not keep the rest.
//!
//! Nothing is sealed anew, and no file gets another version by it. Gathering changes nothing and can be
//! dropped at any moment: packs that arrived by then are found again, or go after a week.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfold_crypto::{BLOCK_SIZE, LEAF_BLOCKS};
use keyfold_fs::share::{Lies, Standing};
use keyfold_fs::volume::ContentView;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::ids::{BlobId, NodeId, OperationId};
use keyfold_protocol::limits;
use keyfold_protocol::operation::{Action, MoveBlocks, MovedLeaf, Operation, PackRef};
use keyfold_protocol::pack::{Descriptor, PackKey};
use keyfold_protocol::tree::{FileContent, Tree, TreeLeaf};
use parking_lot::Mutex;

use super::ShareSync;
use super::arrived::ArrivedLeaf;
use super::compose::{Rest, Work};
use super::error::SyncError;
use super::packer::{Block, Packer, numbered};
use super::packs::{PackError, opened, wanted};
use super::shown::engine_node;
use super::take::place;
use super::write::blocks_in;
use crate::remote::RemoteError;
use crate::sharing::Appended;

/// Dead blocks for which a pack is packed anew, at least (64 KiB).
const WORTH: u32 = 16;
/// Living blocks after which no other pack is begun (16 MiB).
const MOVED: u32 = 4096;
/// Packs of which the server is asked at once how large they are.
const ASKED: usize = 64;
/// How long nothing is to be sent or taken before packs are packed anew; twice as long after each failure,
/// and at most.
const QUIET: Duration = Duration::from_secs(5);
const QUIET_MOST: Duration = Duration::from_mins(5);
/// Time after which a device looks although others wrote last.
const DAY: Duration = Duration::from_hours(24);

/// Whose content was the last in the log since this began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// This device's: it is the one to look, and nobody else.
    Ours,
    /// Somebody else's, or nobody's.
    Others,
}

/// When this device looks for packs that are for the most part dead, and what it knows of packs.
pub(super) struct Sweep {
    turn: Turn,
    looked: Instant,
    quiet: Duration,
    /// Blocks of packs; none of those of which not all can be moved.
    sizes: Mutex<BTreeMap<BlobId, Option<u32>>>,
}

impl Default for Sweep {
    fn default() -> Self {
        Self {
            turn: Turn::Others,
            looked: Instant::now(),
            quiet: QUIET,
            sizes: Mutex::default(),
        }
    }
}

impl Sweep {
    /// Content came into the log.
    pub(super) fn written_by(&mut self, whose: Turn) {
        self.turn = whose;
    }

    fn is_due(&self) -> bool {
        self.turn == Turn::Ours || self.looked.elapsed() >= DAY
    }

    /// Nothing is left to do before somebody writes, or a day passes.
    fn ends(&mut self) {
        self.turn = Turn::Others;
        self.looked = Instant::now();
        self.quiet = QUIET;
    }
}

/// What was found to be packed anew.
pub(crate) enum Gathered {
    /// Nothing.
    Nothing,
    /// Nothing so far.
    NotAll,
    /// These operations put it where it arrived, if the log makes this tree.
    Moves(Vec<Work>, Arc<Tree>),
}

/// Packs that are for the most part dead.
enum Sparse {
    None,
    NotAll,
    Packs(BTreeSet<BlobId>),
}

/// Where blocks of a file are moved to, in packs that have no names yet.
struct Draft {
    node: NodeId,
    leaves: Vec<MovedLeaf>,
}

impl Draft {
    fn finish(mut self, packs: &[PackRef]) -> Result<Work, SyncError> {
        let names = self.leaves.iter_mut().map(|leaf| &mut leaf.pack);
        let packs = numbered(packs, names);
        let blobs = packs.iter().map(|pack| pack.blob).collect();
        let action = Action::Move(MoveBlocks {
            node: self.node,
            packs,
            leaves: self.leaves,
        });
        let id = OperationId::generate()?;
        Ok((Operation { id, action }, blobs))
    }
}

impl ShareSync<'_, '_> {
    /// How long the share is to be quiet before this device looks for packs to pack anew, if it is to.
    pub(crate) fn repacks_after(&self) -> Option<Duration> {
        let due = self.may_send() && self.sweep.is_due();
        due.then_some(self.sweep.quiet)
    }

    /// Nothing is to be sent or taken, and the server has all that is needed.
    fn is_quiet(&self) -> Result<bool, SyncError> {
        let nothing_waits = self.in_flight.is_none()
            && self.unapplied.is_empty()
            && self.waits.is_empty()
            && !self.reverts
            && Arc::ptr_eq(&self.base, &self.head)
            && self.volume.pending_marks(self.share)? == 0;
        Ok(nothing_waits && self.position.begun && self.may_send() && !self.shared.is_in_doubt())
    }

    /// Finds packs that are for the most part dead, and sends what is needed of them in new ones. Changes
    /// nothing, and can be dropped at any moment.
    pub(crate) async fn gather(&self) -> Result<Gathered, SyncError> {
        if !self.is_quiet()? {
            return Ok(Gathered::NotAll);
        }
        let sparse = match self.sparse().await? {
            Sparse::None => return Ok(Gathered::Nothing),
            Sparse::NotAll => return Ok(Gathered::NotAll),
            Sparse::Packs(packs) => packs,
        };
        self.forget_lost().await?;
        let remote = self.shared.session().remote().clone();
        let mut packer = Packer::new(remote, self.shared.id(), Arc::clone(&self.arrived));
        let mut drafts = Vec::new();
        let head = Arc::clone(&self.head);
        let files = head.nodes().filter_map(|(id, n)| Some((id, n.content()?)));
        for (node, content) in files {
            let of_file: Vec<BlobId> = content.packs.keys().copied().collect();
            if !of_file.iter().any(|blob| sparse.contains(blob)) {
                continue;
            }
            let file = File {
                sync: self,
                node,
                content,
                view: self.view(node)?,
                sparse: &sparse,
            };
            match file.leaves(&mut packer).await? {
                Some(leaves) => drafts.push(Draft { node, leaves }),
                None => self.leave_alone(of_file.iter().filter(|blob| sparse.contains(blob))),
            }
        }
        let packs = packer.finish().await?;
        if drafts.is_empty() {
            return Ok(Gathered::NotAll);
        }
        let work: Result<Vec<Work>, SyncError> =
            drafts.into_iter().map(|d| d.finish(&packs)).collect();
        Ok(Gathered::Moves(work?, head))
    }

    /// Has what was gathered lie where it arrived, and looks anew where others wrote meanwhile.
    pub(crate) async fn repack(&mut self, gathered: Gathered) -> Result<(), SyncError> {
        match gathered {
            Gathered::Nothing => self.sweep.ends(),
            Gathered::NotAll => {}
            Gathered::Moves(work, head) => {
                if self.is_quiet()?
                    && Arc::ptr_eq(&head, &self.head)
                    && self.send(work, Vec::new(), Rest::Nothing).await? == Appended::Done
                {
                    self.bring_here()?;
                }
            }
        }
        Ok(())
    }

    /// Packing anew failed: the next time it is waited longer.
    pub(crate) fn put_off_repacking(&mut self) {
        self.sweep.quiet = (self.sweep.quiet * 2).min(QUIET_MOST);
    }

    /// Of these packs not all can be moved: bytes at the server are not what they should be, or missing.
    fn leave_alone<'b>(&self, packs: impl Iterator<Item = &'b BlobId>) {
        let mut sizes = self.sweep.sizes.lock();
        sizes.extend(packs.map(|blob| (*blob, None)));
    }

    /// Finds packs of which more is dead than alive, as many as are moved at once.
    async fn sparse(&self) -> Result<Sparse, SyncError> {
        let alive = self.alive();
        let half = limits::PACK_BLOCKS as u32 / 2;
        self.sweep
            .sizes
            .lock()
            .retain(|blob, _| alive.contains_key(blob));
        let (mut sparse, mut moved, mut asked) = (BTreeSet::new(), 0, 0);
        for (blob, (alive, key)) in alive.into_iter().filter(|(_, (alive, _))| *alive < half) {
            let known = self.sweep.sizes.lock().get(&blob).copied();
            let size = match known {
                Some(size) => size,
                None if asked == ASKED => continue,
                None => {
                    asked += 1;
                    let size = if_there(self.packs.blocks_of(blob).await)?;
                    self.sweep.sizes.lock().insert(blob, size);
                    size
                }
            };
            let size = size.unwrap_or(0);
            let dead = size.saturating_sub(alive);
            if dead <= alive || dead < WORTH || moved >= MOVED {
                continue;
            }
            if if_there(self.packs.is_of((blob, key), size).await)? == Some(true) {
                sparse.insert(blob);
                moved += alive;
            } else {
                self.leave_alone([&blob].into_iter());
            }
        }
        Ok(match (sparse.is_empty(), asked == ASKED) {
            (false, _) => Sparse::Packs(sparse),
            (true, true) => Sparse::NotAll,
            (true, false) => Sparse::None,
        })
    }

    /// How many blocks of each pack files need, and its key.
    fn alive(&self) -> BTreeMap<BlobId, (u32, &PackKey)> {
        let mut alive = BTreeMap::new();
        for content in self.head.nodes().filter_map(|(_, node)| node.content()) {
            let packs = content.packs.iter();
            alive.extend(packs.map(|(blob, key)| (*blob, (0, key))));
        }
        let contents = self.head.nodes().filter_map(|(_, node)| node.content());
        let leaves = contents.flat_map(|content| content.leaves.values());
        for piece in leaves.flat_map(|leaf| &leaf.pieces) {
            if let Some((count, _)) = alive.get_mut(&piece.blob) {
                *count += piece.live.count_ones();
            }
        }
        alive
    }

    /// What of a file is here, if it is.
    fn view(&self, node: NodeId) -> Result<Option<ContentView>, SyncError> {
        let known = self.volume.share_node(self.share, engine_node(node))?;
        let here = known.filter(|known| known.standing == Standing::Here);
        let view = here.map(|known| self.volume.view_content(known.ino));
        Ok(view.transpose()?)
    }
}

/// A file of which blocks lie in sparse packs.
struct File<'f, 's, 'a> {
    sync: &'f ShareSync<'s, 'a>,
    node: NodeId,
    content: &'f FileContent,
    view: Option<ContentView>,
    sparse: &'f BTreeSet<BlobId>,
}

impl File<'_, '_, '_> {
    /// Sends these blocks. None where they are not what the log says.
    async fn leaves(&self, packer: &mut Packer) -> Result<Option<Vec<MovedLeaf>>, SyncError> {
        let mut leaves = Vec::new();
        for (index, leaf) in &self.content.leaves {
            let moved = blocks_in(Some(leaf), |blob| self.sparse.contains(blob));
            if moved == 0 {
                continue;
            }
            let to_be = ArrivedLeaf {
                node: self.node,
                index: *index,
                hash: leaf.hash,
                written: moved,
                slot: 0,
            };
            let (pack, slot) = match packer.find(&to_be) {
                Some(place) => place,
                None => match self.blocks((*index, leaf), moved).await? {
                    Some(blocks) => packer.add(blocks, to_be).await?,
                    None => return Ok(None),
                },
            };
            leaves.push(MovedLeaf {
                index: *index,
                moved,
                pack,
                slot,
            });
        }
        Ok(Some(leaves))
    }

    /// These blocks of a leaf, ascending.
    async fn blocks(
        &self,
        (index, leaf): (u64, &TreeLeaf),
        moved: u64,
    ) -> Result<Option<Vec<Block>>, SyncError> {
        let mut blocks = self.here((index, leaf), moved).await?;
        let mut missing: BTreeMap<BlobId, Vec<(u64, u32)>> = BTreeMap::new();
        for position in 0..LEAF_BLOCKS as u8 {
            let is_missing = moved & 1 << position != 0 && !blocks.contains_key(&position);
            if let (true, Some((blob, slot))) = (is_missing, place(Some(leaf), position)) {
                let block = index * LEAF_BLOCKS as u64 + u64::from(position);
                missing.entry(blob).or_default().push((block, slot));
            }
        }
        for (blob, of_blob) in missing {
            let Some(brought) = self.brought(blob, of_blob).await? else {
                return Ok(None);
            };
            blocks.extend(brought);
        }
        Ok(Some(blocks.into_values().collect()))
    }

    /// Those of them that lie here.
    async fn here(
        &self,
        (index, leaf): (u64, &TreeLeaf),
        moved: u64,
    ) -> Result<BTreeMap<u8, Block>, SyncError> {
        let mut here = BTreeMap::new();
        let Some(view) = &self.view else {
            return Ok(here);
        };
        let all = view.leaves();
        let found = all.binary_search_by_key(&index, |leaf| u64::from(leaf.index));
        let Some(found) = found.ok().and_then(|at| all.get(at)) else {
            return Ok(here);
        };
        let remote = self.sync.shared.session().remote();
        let tags = self
            .sync
            .packs
            .spare_tags(remote, self.content, (found, leaf));
        let Some(tags) = if_there(tags.await)?.flatten() else {
            return Ok(here);
        };
        let wanted = |position: u8| moved & 1 << position != 0;
        for block in found.blocks.iter().filter(|block| wanted(block.position)) {
            let (Lies::Here, Some((sealed, key))) = (block.lies, block.sealed) else {
                continue;
            };
            let mut data = Box::new([0; BLOCK_SIZE]);
            // What is damaged here is told by the volume, and may be whole at the server.
            if tags[usize::from(block.position)] == Some(sealed.tag)
                && view.read(found.index, block.position, &mut data).is_ok()
            {
                here.insert(block.position, (Descriptor { sealed, key }, data));
            }
        }
        Ok(here)
    }

    /// Blocks of a pack, as the server has them. None where they are not what the log says.
    async fn brought(
        &self,
        blob: BlobId,
        blocks: Vec<(u64, u32)>,
    ) -> Result<Option<Vec<(u8, Block)>>, SyncError> {
        let (packs, remote) = (&self.sync.packs, self.sync.shared.session().remote());
        let Some(key) = self.content.packs.get(&blob) else {
            return Ok(None);
        };
        let wanted = wanted(packs.share, self.node, (blob, key), blocks);
        let brought = packs.bring_of(remote, self.content, &wanted).await;
        let Some(brought) = if_there(brought)?.flatten() else {
            return Ok(None);
        };
        let mut all = Vec::with_capacity(brought.len());
        for ((block, _), fetched) in wanted.blocks.iter().zip(brought) {
            if opened(self.content, (self.node, *block), &fetched).is_none() {
                return Ok(None);
            }
            let position = (block % LEAF_BLOCKS as u64) as u8;
            let (sealed, key) = (fetched.sealed, fetched.key);
            all.push((position, (Descriptor { sealed, key }, fetched.ciphertext)));
        }
        Ok(Some(all))
    }
}

/// None where the server does not have it, or something else.
fn if_there<T>(done: Result<T, PackError>) -> Result<Option<T>, SyncError> {
    let error = match done {
        Ok(there) => return Ok(Some(there)),
        Err(PackError::Malformed | PackError::Remote(RemoteError::Malformed { .. })) => {
            return Ok(None);
        }
        Err(PackError::Remote(error)) => error,
    };
    match error.code() {
        Some(ErrorCode::NotFound | ErrorCode::BadRange) => Ok(None),
        _ => Err(error.into()),
    }
}
