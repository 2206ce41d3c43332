//! On which processor a thread of a queue runs.
//!
//! A request is given to the queue of the processor that its program runs on. Served there, it takes
//! no wake-up of another processor, which costs more than most requests. But a reader who reads ahead
//! has several requests under way on one processor and waits for none of them: these are better spread.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Where a request is served best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Where its program runs.
    Home,
    /// Elsewhere.
    Away,
}

/// Where the calling thread runs.
pub(super) struct Seat {
    home: Option<CpuSet>,
    away: Option<CpuSet>,
    now: Place,
}

impl Seat {
    /// Takes the calling thread to the processor `home`, if it may run there.
    pub(super) fn take(home: usize) -> Self {
        let myself = Pid::from_raw(0);
        let away = sched_getaffinity(myself).ok().and_then(|mut others| {
            others.unset(home).ok()?;
            let any = (0..CpuSet::count()).any(|cpu| others.is_set(cpu) == Ok(true));
            any.then_some(others)
        });
        let mut set = CpuSet::new();
        let home = set.set(home).is_ok() && sched_setaffinity(myself, &set).is_ok();
        Self {
            home: home.then_some(set),
            away: away.filter(|_| home),
            now: Place::Home,
        }
    }

    /// Where the thread is.
    pub(super) fn place(&self) -> Place {
        self.now
    }

    /// Takes the thread to where `place` says.
    pub(super) fn settle(&mut self, place: Place) {
        if place == self.now {
            return;
        }
        let set = if place == Place::Home {
            &self.home
        } else {
            &self.away
        };
        if let Some(set) = set
            // A processor that was taken away meanwhile: the thread stays.
            && sched_setaffinity(Pid::from_raw(0), set).is_ok()
        {
            self.now = place;
        }
    }
}
