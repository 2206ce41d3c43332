//! Reading segments ahead of programs that read files from end to end.
//!
//! Pieces of segments come into memory of our own, past the kernel's page cache and several at
//! once: that keeps a fast disk busy, and pages that are read once cost no time. What is in the
//! page cache already is read from there.
//!
//! A piece may have been read before a slot in it was written, so whoever finds that a block of it
//! does not verify reads the block itself; beyond that a slot never changes.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};

use super::segments::segment_path;
use crate::layout::{BLOCK_SIZE, SegmentId, Slot};

/// Slots of a piece (2 MiB); a piece begins at a multiple of it.
const PIECE_SLOTS: u32 = 512;
const PIECE_BYTES: usize = PIECE_SLOTS as usize * BLOCK_SIZE;
/// Pieces that are on their way ahead of a reader.
const DEPTH: u32 = 3;
/// Pieces in memory (16 MiB).
const PIECES: usize = 8;
/// Number of the system call cachestat(2), the same on every architecture.
const CACHESTAT: libc::c_long = 451;

/// Part of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PieceId {
    segment: SegmentId,
    index: u32,
}

impl PieceId {
    fn of(slot: Slot) -> Self {
        Self {
            segment: slot.segment,
            index: slot.index / PIECE_SLOTS,
        }
    }

    fn offset(self) -> u64 {
        u64::from(self.index) * PIECE_BYTES as u64
    }
}

/// The ciphertext of a piece, as far as the segment goes.
struct Piece {
    memory: Vec<u8>,
    /// Where in `memory` it begins: at a multiple of its size, so that it can be one huge page. A
    /// virtual disk fills that three times as fast as 512 pages.
    start: usize,
    length: usize,
}

impl Piece {
    fn new() -> Self {
        let mut memory = vec![0; 2 * PIECE_BYTES];
        let start = memory.as_ptr().align_offset(PIECE_BYTES);
        advise_huge(&mut memory[start..start + PIECE_BYTES]);
        Self {
            memory,
            start,
            length: 0,
        }
    }

    fn fill(&mut self, file: &File, offset: u64) -> std::io::Result<()> {
        let memory = &mut self.memory[self.start..self.start + PIECE_BYTES];
        self.length = file.read_at(memory, offset)?;
        Ok(())
    }
}

/// Slots that are in memory.
pub(crate) struct Ahead {
    piece: Arc<Piece>,
    start: usize,
    end: usize,
}

impl Ahead {
    /// Their ciphertext.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.piece.memory[self.start..self.end]
    }
}

enum Load {
    Queued,
    UnderWay,
    Ready(Arc<Piece>),
    /// It is in the page cache, or cannot be read: whoever wants it reads it.
    Left,
}

#[derive(Default)]
struct State {
    /// Oldest first.
    pieces: VecDeque<(PieceId, Load)>,
    free: Vec<Piece>,
    /// Something was asked for since the last look.
    used: bool,
    stop: bool,
}

impl State {
    fn find(&mut self, id: PieceId) -> Option<&mut Load> {
        let found = self.pieces.iter_mut().rev().find(|(known, _)| *known == id);
        found.map(|(_, load)| load)
    }

    /// Makes room for one more; `false` when all are on their way.
    fn make_room(&mut self) -> bool {
        if self.pieces.len() < PIECES {
            return true;
        }
        let idle = |load: &Load| matches!(load, Load::Ready(_) | Load::Left);
        let Some(oldest) = self.pieces.iter().position(|(_, load)| idle(load)) else {
            return false;
        };
        if let Some((_, Load::Ready(piece))) = self.pieces.remove(oldest)
            && let Ok(piece) = Arc::try_unwrap(piece)
        {
            self.free.push(piece);
        }
        true
    }

    fn take_queued(&mut self) -> Option<(PieceId, Piece)> {
        let queued = |(_, load): &&mut (PieceId, Load)| matches!(load, Load::Queued);
        let (id, load) = self.pieces.iter_mut().find(queued)?;
        *load = Load::UnderWay;
        Some((*id, self.free.pop().unwrap_or_else(Piece::new)))
    }
}

struct Shared {
    vault: PathBuf,
    state: Mutex<State>,
    /// Something was queued.
    queued: Condvar,
    /// Something was read, or left.
    loaded: Condvar,
}

/// What is read ahead in the segments of a vault.
pub(crate) struct ReadAhead {
    shared: Arc<Shared>,
    /// Started when they are first needed.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl ReadAhead {
    pub(crate) fn new(vault: &Path) -> Self {
        Self {
            shared: Arc::new(Shared {
                vault: vault.to_owned(),
                state: Mutex::default(),
                queued: Condvar::new(),
                loaded: Condvar::new(),
            }),
            threads: Mutex::default(),
        }
    }

    /// Whether the piece with this slot was asked for.
    pub(crate) fn knows(&self, slot: Slot) -> bool {
        self.shared.state.lock().find(PieceId::of(slot)).is_some()
    }

    /// Reads slots from `first` on ahead, at most `slots` of them.
    pub(crate) fn want(&self, first: Slot, slots: u32) {
        let slots = slots.min(DEPTH * PIECE_SLOTS);
        let begin = PieceId::of(first);
        let last = first.index.saturating_add(slots.saturating_sub(1)) / PIECE_SLOTS;
        let mut queued = 0;
        {
            let mut state = self.shared.state.lock();
            state.used = true;
            for index in begin.index..=last {
                let id = PieceId { index, ..begin };
                if state.find(id).is_none() && state.make_room() {
                    state.pieces.push_back((id, Load::Queued));
                    queued += 1;
                }
            }
        }
        if queued > 0 {
            self.start();
        }
        for _ in 0..queued {
            self.shared.queued.notify_one();
        }
    }

    fn start(&self) {
        let mut threads = self.threads.lock();
        while threads.len() < DEPTH as usize {
            let shared = Arc::clone(&self.shared);
            let name = format!("kf-ahead-{}", threads.len());
            let thread = std::thread::Builder::new().name(name);
            match thread.spawn(move || shared.run()) {
                Ok(thread) => threads.push(thread),
                Err(_) if !threads.is_empty() => return,
                Err(_) => return self.shared.leave_all(),
            }
        }
    }

    /// Slots from `first` on that lie in one piece: how many of `slots` these are, and what is in
    /// memory of them. Waits for a piece that is on its way.
    pub(crate) fn take(&self, first: Slot, slots: u32) -> (u32, Option<Ahead>) {
        let id = PieceId::of(first);
        let within = first.index % PIECE_SLOTS;
        let slots = slots.min(PIECE_SLOTS - within);
        let mut state = self.shared.state.lock();
        let piece = loop {
            match state.find(id) {
                Some(Load::Ready(piece)) => break Arc::clone(piece),
                Some(Load::Queued | Load::UnderWay) => self.shared.loaded.wait(&mut state),
                Some(Load::Left) | None => return (slots, None),
            }
        };
        drop(state);
        let start = within as usize * BLOCK_SIZE;
        let end = start + slots as usize * BLOCK_SIZE;
        let whole = end <= piece.length;
        let (start, end) = (piece.start + start, piece.start + end);
        (slots, whole.then_some(Ahead { piece, start, end }))
    }

    /// Gives the memory up if nothing was asked for since the last call.
    pub(crate) fn trim(&self) {
        let mut state = self.shared.state.lock();
        if !std::mem::take(&mut state.used) {
            let waited =
                |(_, load): &(PieceId, Load)| matches!(load, Load::Queued | Load::UnderWay);
            state.pieces.retain(waited);
            state.free = Vec::new();
        }
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.queued.notify_all();
        for thread in self.threads.lock().drain(..) {
            // It ends in any case; a panic in it was told.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Body of the threads that read.
    fn run(&self) {
        let mut state = self.state.lock();
        while !state.stop {
            let Some((id, mut piece)) = state.take_queued() else {
                self.queued.wait(&mut state);
                continue;
            };
            drop(state);
            let is_read = self.read(id, &mut piece);
            state = self.state.lock();
            let load = if is_read {
                Load::Ready(Arc::new(piece))
            } else {
                state.free.push(piece);
                Load::Left
            };
            if let Some(place) = state.find(id) {
                *place = load;
            }
            self.loaded.notify_all();
        }
    }

    /// Reads a piece that is not in the page cache; returns whether it did.
    fn read(&self, id: PieceId, piece: &mut Piece) -> bool {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_DIRECT);
        // Not every filesystem has direct reads.
        let file = options.open(segment_path(&self.vault, id.segment));
        file.is_ok_and(|file| !is_cached(&file, id) && piece.fill(&file, id.offset()).is_ok())
    }

    /// Nobody reads: what was asked for is left.
    fn leave_all(&self) {
        for (_, load) in &mut self.state.lock().pieces {
            *load = Load::Left;
        }
        self.loaded.notify_all();
    }
}

/// Whether the page cache has most of a piece. A kernel that does not tell (before 6.5) is taken to
/// have nothing: to try and read would have it read ahead.
fn is_cached(file: &File, id: PieceId) -> bool {
    let range = [id.offset(), PIECE_BYTES as u64];
    // Pages in the cache, dirty, in writeback, evicted, recently evicted: `struct cachestat`.
    let mut pages = [0_u64; 5];
    // SAFETY: `struct cachestat_range` is two and `struct cachestat` five integers of 64 bits; both
    // live through the call.
    #[allow(unsafe_code, reason = "no safe wrapper for cachestat(2) exists")]
    let told = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            range.as_ptr(),
            pages.as_mut_ptr(),
            0_u32,
        )
    };
    told == 0 && pages[0] >= (PIECE_BYTES / BLOCK_SIZE / 2) as u64
}

/// Asks for huge pages.
fn advise_huge(memory: &mut [u8]) {
    // SAFETY: the advice changes neither content nor access of memory that is borrowed here.
    #[allow(unsafe_code, reason = "no safe wrapper for madvise(2) exists")]
    let advised = unsafe {
        libc::madvise(
            memory.as_mut_ptr().cast(),
            memory.len(),
            libc::MADV_HUGEPAGE,
        )
    };
    if advised != 0 {
        tracing::debug!("no huge pages for reading ahead");
    }
}
