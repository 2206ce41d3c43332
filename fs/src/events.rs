//! Security events: what was stored and did not verify, as `status` and the log tell it.
//!
//! Bounded, as whoever damages a vault decides how many there are: one file that is read over and
//! over is one event with a count. Ids are kept, never names.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;

use crate::vault::Damage;
use crate::vfs::Ino;

/// How many events are kept; the oldest give way.
pub const EVENTS_LIMIT: usize = 64;

/// What did not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "of")]
pub enum EventKind {
    /// A block of this inode is not what was stored, or missing.
    Block(u64),
    /// The metadata of this inode contradicts itself.
    Metadata(u64),
    /// A page of the metadata database does not verify.
    DatabasePage,
    /// The rows of the metadata database together are not those of the last commit.
    State,
    /// This segment is missing or shorter than what was committed to it.
    Segment(u32),
    /// This kept image is missing, or not the copy that was made.
    Image(u32),
    /// A copy of the superblock is not what was stored.
    Superblock,
    /// The vault is older than, or another than, when it was last seen, and was accepted.
    RollbackAccepted,
}

/// Something stored did not verify.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecurityEvent {
    /// Number of the event, from 1.
    pub number: u64,
    /// When it happened first, in seconds since 1970.
    pub time: u64,
    /// What did not verify.
    #[serde(flatten)]
    pub kind: EventKind,
    /// How often it happened.
    pub count: u64,
}

/// The security events of an open volume.
#[derive(Default)]
pub(crate) struct SecurityEvents {
    total: AtomicU64,
    list: Mutex<VecDeque<SecurityEvent>>,
}

impl SecurityEvents {
    /// Keeps an event, and logs it unless it is known.
    pub(crate) fn note(&self, kind: EventKind) {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut list = self.list.lock();
        if let Some(known) = list.iter_mut().find(|e| e.kind == kind) {
            known.count += 1;
            return;
        }
        let number = list.back().map_or(1, |last| last.number + 1);
        tracing::error!(number, %kind, "security event");
        if list.len() == EVENTS_LIMIT {
            list.pop_front();
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        list.push_back(SecurityEvent {
            number,
            time: time.map_or(0, |t| t.as_secs()),
            kind,
            count: 1,
        });
    }

    /// How often anything did not verify.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The last events, oldest first.
    pub(crate) fn list(&self) -> Vec<SecurityEvent> {
        self.list.lock().iter().cloned().collect()
    }
}

impl EventKind {
    pub(crate) fn block(ino: Ino) -> Self {
        Self::Block(ino.0)
    }

    /// Whether a crash can have left a superblock copy like this: stale or not there yet.
    pub(crate) fn of_copy(damage: Option<Damage>) -> Option<Self> {
        match damage {
            None | Some(Damage::Stale | Damage::Absent | Damage::Unreadable(_)) => None,
            Some(_) => Some(Self::Superblock),
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(ino) => write!(f, "a block of inode {ino} does not verify"),
            Self::Metadata(ino) => write!(f, "the metadata of inode {ino} contradicts itself"),
            Self::DatabasePage => write!(f, "a page of the database does not verify"),
            Self::State => write!(f, "the rows are not those of the last commit"),
            Self::Segment(id) => write!(f, "segment {id} is missing or short"),
            Self::Image(id) => write!(f, "image {id} is missing or not the copy that was made"),
            Self::Superblock => write!(f, "a copy of the superblock does not verify"),
            Self::RollbackAccepted => {
                write!(f, "a vault that is not as it was last seen was accepted")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_again_is_counted_and_what_is_too_much_gives_way() {
        let events = SecurityEvents::default();
        for _ in 0..3 {
            events.note(EventKind::Block(7));
        }
        let list = events.list();
        assert_eq!((list.len(), list[0].count, events.total()), (1, 3, 3));
        for ino in 0..1000 {
            events.note(EventKind::Metadata(ino));
        }
        let list = events.list();
        assert_eq!((list.len(), events.total()), (EVENTS_LIMIT, 1003));
        assert_eq!(list.last().unwrap().number, 1001);
    }
}
