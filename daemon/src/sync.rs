//! Syncing one share between a volume and the server.
//!
//! Everything is a comparison of states: the tree that the volume was last brought to (the *base*),
//! the tree that the log makes (the *head*), and what is in the volume. So a push that broke off
//! anywhere, or whose reply was lost, is looked at anew and goes on; nothing has to be undone.
//!
//! # Invariants
//! - The base is the tree after the record whose place is kept with the share, but for what waits
//!   because files are in use here; of that it has what is here. It is kept in the same transaction as
//!   the changes that make the volume so.
//! - The log that is kept is at a place of which the base has everything.
//! - Marks are confirmed only when a record that was made after they were taken is in the log.
//! - A record is made only while base and head are the same tree, but for what waits, and it says
//!   nothing of that. Its bytes are kept durably before they are sent, and it is looked
//!   for in the log before another is made.

mod adopt;
mod ahead;
mod arrived;
mod bring;
mod compose;
mod conflict;
mod copies;
mod error;
mod fetcher;
mod head;
mod history;
mod in_the_way;
mod kept;
mod lost;
mod members;
mod merge;
mod names;
mod packer;
mod packs;
mod plan;
mod points;
mod progress;
mod repack;
mod shown;
mod single;
mod snapshot;
mod take;
#[cfg(test)]
mod tests;
mod unsent;
mod waits;
mod wholes;
mod write;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use keyfold_fs::share::{Mark, Outdated, PendingMark, ShareInfo, ShareNumber};
use keyfold_fs::vfs::Ino;
use keyfold_fs::volume::Volume;
use keyfold_protocol::exchange::Append;
use keyfold_protocol::ids::{BlobId, NodeId, Seq};
use keyfold_protocol::tree::Tree;
use parking_lot::Mutex;
use zeroize::Zeroizing;

use crate::account::Session;
use crate::sharing::{Appended, ContentRecord, Notice, Shared, SharingError};

use arrived::Arrived;
use bring::Brought;
pub(crate) use error::SyncError;
pub(crate) use fetcher::Fetcher;
pub(crate) use history::{Past, Reading, Removed, There, Version};
pub(crate) use kept::as_it_was;
use kept::{KeptShare, NewestSnapshot, is_copied};
use lost::Lost;
pub(crate) use packs::Packs;
use points::Former;
pub(crate) use progress::{Progress, Transfer};
use repack::Sweep;
use shown::{Root, Seen, of_volume};
pub(crate) use unsent::numbered;
use waits::Waits;
use wholes::Wholes;

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
    /// These are in use here, or depend on what is, and what others changed of them waits. Everything
    /// else is done.
    Waiting(Vec<NodeId>),
}

/// What others' changes did here that is worth telling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Upset {
    /// Versions put beside, because both changed a file.
    pub(crate) copies: u64,
    /// Files and directories removed.
    pub(crate) removed: usize,
    /// Of how many.
    pub(crate) of: usize,
}

/// Where the volume is.
#[derive(Debug, Clone, Copy, Default)]
struct Position {
    /// The last record that the volume has.
    seq: Option<Seq>,
    /// Whether all that the volume had when it began was sent.
    begun: bool,
}

/// A record that is being sent, and may be in the log.
#[derive(Clone)]
struct InFlight {
    append: Append,
    /// Marks that are done with once it is.
    marks: Vec<u64>,
    /// Whether nothing is left to send after it.
    last: bool,
}

/// Tells whoever caches anything of the volume what to ask for again.
type Tell<'s> = Box<dyn Fn(Vec<Outdated>) + 's>;

/// A share of a volume, and its log.
pub(crate) struct ShareSync<'s, 'a> {
    volume: Arc<Volume>,
    shared: Shared<'s, 'a>,
    share: ShareNumber,
    root: Root,
    position: Position,
    /// What the volume was brought to.
    base: Arc<Tree>,
    /// What the log made there: the base, but for files that wait.
    reached: Arc<Tree>,
    waits: Waits,
    /// Whether rows have the base.
    rows_fit: bool,
    head: Arc<Tree>,
    head_seq: Option<Seq>,
    /// Records that are not applied yet.
    unapplied: VecDeque<ContentRecord>,
    /// The log at a place before which everything is in the volume, as it is kept.
    log: Option<Zeroizing<Vec<u8>>>,
    newest: Option<NewestSnapshot>,
    /// Snapshots that are not begun from.
    unusable: BTreeSet<Seq>,
    /// Blobs that were dropped and are needed.
    revive: BTreeSet<BlobId>,
    /// Blobs that the server lost and that are needed.
    lost: Lost,
    packs: Arc<Packs>,
    /// Packs that arrived at the server and that no record names yet, and when they were kept last.
    arrived: Arc<Mutex<Arrived>>,
    noted_arrived: Instant,
    progress: Arc<Progress>,
    in_flight: Option<InFlight>,
    /// What another share had of the files that are sent.
    former: Option<Arc<Former>>,
    sweep: Sweep,
    outdated: Vec<Outdated>,
    /// Whom to tell of it.
    caches: Option<Tell<'s>>,
    told: Vec<String>,
    /// Files have content that was put elsewhere, and are to become what the log has.
    reverts: bool,
    /// Where what may not be sent any more was put.
    unsent: Option<String>,
    upset: Upset,
    wholes: Wholes,
}

impl<'s, 'a> ShareSync<'s, 'a> {
    /// A share as the volume was left. Asks the server only where nothing was kept of it.
    pub(crate) async fn open(
        session: &'s Session<'a>,
        volume: &Arc<Volume>,
        info: &ShareInfo,
    ) -> Result<Self, SyncError> {
        let share = keyfold_protocol::ids::ShareId(info.id.0);
        let kept = KeptShare::of(info);
        let nodes = volume.share_nodes(info.number)?;
        let brought = kept.brought(&nodes);
        let log = kept.log.as_deref().filter(|_| brought.is_ok());
        let resumed = log.and_then(|log| Shared::resume(session, share, log));
        let mut sync = if let (Some(shared), Ok(brought)) = (resumed, brought) {
            let mut sync = Self::new(volume, info, shared)?;
            sync.restore(kept, brought);
            sync
        } else {
            let there = session.remote().share(share).await;
            let from = there.map_err(SharingError::from)?.snapshot;
            let shared = Shared::open_to_keep(session, share, from).await?;
            let mut sync = Self::new(volume, info, shared)?;
            sync.position.begun = kept.begun;
            sync
        };
        sync.reverts = nodes.iter().any(is_copied);
        sync.absorb().await?;
        Ok(sync)
    }

    /// A share of which nothing is known yet but its log.
    fn new(
        volume: &Arc<Volume>,
        info: &ShareInfo,
        shared: Shared<'s, 'a>,
    ) -> Result<Self, SyncError> {
        let packs = Packs::new(shared.session().remote().clone(), shared.id());
        Ok(Self {
            volume: Arc::clone(volume),
            shared,
            share: info.number,
            root: Root::of(info)?,
            position: Position::default(),
            base: Arc::default(),
            reached: Arc::default(),
            waits: Waits::default(),
            rows_fit: false,
            head: Arc::default(),
            head_seq: None,
            unapplied: VecDeque::new(),
            log: None,
            newest: None,
            unusable: BTreeSet::new(),
            revive: BTreeSet::new(),
            lost: Lost::Unknown,
            packs: Arc::new(packs),
            arrived: Arc::default(),
            noted_arrived: Instant::now(),
            progress: Arc::default(),
            in_flight: None,
            former: None,
            sweep: Sweep::default(),
            outdated: Vec::new(),
            caches: None,
            told: Vec::new(),
            reverts: false,
            unsent: None,
            upset: Upset::default(),
            wholes: Wholes::default(),
        })
    }

    /// Goes on from what was kept.
    fn restore(&mut self, kept: KeptShare, there: kept::Brought) {
        self.position = Position {
            seq: kept.seq,
            begun: kept.begun,
        };
        self.head_seq = kept.seq;
        self.head = Arc::clone(&there.reached);
        self.reached = there.reached;
        self.base = there.base;
        self.waits = there.waits;
        self.rows_fit = true;
        self.log = kept.log;
        self.newest = kept.snapshot;
        self.in_flight = kept.in_flight;
        self.arrived = Arc::new(Mutex::new(kept.arrived));
    }

    /// Who brings its blocks.
    pub(crate) fn packs(&self) -> &Arc<Packs> {
        &self.packs
    }

    /// How far sending is.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Whoever caches anything of the volume is told of changes by this from now on.
    pub(crate) fn tell_caches(&mut self, tell: impl Fn(Vec<Outdated>) + 's) {
        self.caches = Some(Box::new(tell));
    }

    /// Tells whoever caches anything what to ask for again. Sending may take long: it waits for that in no
    /// case.
    pub(crate) fn tell_outdated(&mut self) {
        if let Some(tell) = &self.caches {
            tell(std::mem::take(&mut self.outdated));
        }
    }

    /// What whoever caches anything of the volume has to ask for again, since this was asked last or told.
    #[cfg(test)]
    pub(crate) fn take_outdated(&mut self) -> Vec<Outdated> {
        std::mem::take(&mut self.outdated)
    }

    /// What others' changes did here, since this was asked last.
    pub(crate) fn take_upset(&mut self) -> Upset {
        std::mem::take(&mut self.upset)
    }

    /// What there is to tell the user of records, since this was asked last.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        self.shared.take_notices()
    }

    /// What else there is to tell the user, since this was asked last.
    pub(crate) fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// Brings what others changed here.
    pub(crate) async fn pull(&mut self) -> Result<Round, SyncError> {
        self.take_in().await?;
        let brought = self.bring_here()?;
        Ok(self.round(brought, 0))
    }

    fn round(&self, brought: Brought, kept_back: u64) -> Round {
        match brought {
            Brought::Waiting(nodes) => Round::Waiting(nodes),
            Brought::There if self.waits.is_empty() => Round::Done { kept_back },
            Brought::There => Round::Waiting(self.waits.list()),
        }
    }

    /// Sends what changed here, after what others changed was brought here.
    pub(crate) async fn push(&mut self) -> Result<Round, SyncError> {
        for _ in 0..ATTEMPTS {
            self.take_in().await?;
            let brought = self.bring_here()?;
            if let Brought::Waiting(nodes) = brought {
                return Ok(Round::Waiting(nodes));
            }
            if !self.may_send() {
                return Ok(self.round(brought, 0));
            }
            let sent = self.send_again().await?;
            if sent == Appended::Moved || self.position.seq != self.head_seq {
                // There is more in the log than in the volume.
                continue;
            }
            self.look_for_lost().await?;
            let again = self.to_send_again()?;
            let (marks, seen) = self.look(&again)?;
            // Asked after the look, so that none is among what was seen that is not asked about.
            let unbegun = self.unbegun_points()?;
            if !unbegun.is_empty() {
                return Ok(Round::Waiting(unbegun));
            }
            let sent = self.waits.sent(&marks, &seen);
            let kept_back = seen.kept_back();
            if !sent.is_empty() || !again.is_empty() || !self.position.begun {
                let plan = self.plan(&seen, &marks, &sent)?;
                let changed: Vec<NodeId> = plan.changed().collect();
                let new = self.base.nodes().all(|(id, _)| id == NodeId::ROOT);
                let done = self.send_all(plan, sent).await;
                self.progress.end();
                match done {
                    Ok(Appended::Done) if new => {}
                    Ok(Appended::Done) => self.note_sent(&seen, &changed),
                    Ok(Appended::Moved) => continue,
                    // What is here needs what waits.
                    Err(SyncError::Void(_)) if !self.waits.apart.is_empty() => {}
                    Err(error) => {
                        if !self.arrived.lock().is_empty() {
                            self.keep_as_is(Vec::new())?;
                        }
                        return Err(error);
                    }
                }
            }
            self.snapshot_if_due().await?;
            self.sent_again()?;
            return Ok(self.round(Brought::There, kept_back));
        }
        Err(SyncError::Busy)
    }

    /// Looks whether others change the same repositories and databases.
    fn note_sent(&mut self, seen: &Seen, changed: &[NodeId]) {
        let changed = changed.iter().copied();
        self.wholes.note_here(&seen.nodes, changed);
        self.told.extend(self.wholes.tell(&seen.nodes));
    }

    /// What is in the volume, and marks of all of it that differs from the base. Nothing was changed
    /// while it was looked at, or that is marked, too. Content of some files is taken for another than
    /// the base's.
    fn look(&self, others: &BTreeSet<Ino>) -> Result<(Vec<PendingMark>, Seen), SyncError> {
        let mut marks = self.volume.take_marks(self.share)?;
        let base = self.shown(&self.base);
        let points = self.known_points(&base)?;
        for _ in 0..ATTEMPTS {
            let content = marks.iter().filter_map(|pending| match pending.mark {
                Mark::Content(ino) => Some(ino),
                _ => None,
            });
            let marked: BTreeSet<Ino> = content.chain(others.iter().copied()).collect();
            let seen = of_volume(&self.volume, &self.root, (&base, &points), &marked);
            let now = self.volume.take_marks(self.share)?;
            if now == marks {
                return Ok((marks, seen?));
            }
            marks = now;
        }
        Err(SyncError::Busy)
    }
}
