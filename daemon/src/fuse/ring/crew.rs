//! The threads of one queue. Requests that may wait are served by the thread that took them; before
//! the last threads are taken up by such, another one is called for.
//!
//! It has to be there in time: a request that finds no entry free is given to the next one that comes
//! back with a reply, not to a new one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Most threads of a queue.
pub(super) const MOST: usize = 32;
/// Threads that are to be free whenever one begins to wait.
const SPARE: usize = 2;

#[derive(Debug, Default)]
pub(super) struct Crew {
    threads: AtomicUsize,
    busy: AtomicUsize,
    /// Of the busy threads, those that are where the programs of the queue run.
    at_home: AtomicUsize,
    /// Whether one more was called for and is not there yet.
    called: AtomicBool,
}

/// A request being served.
pub(super) struct Busy<'a>(&'a Crew);

/// A request being served at home.
pub(super) struct Home<'a>(&'a Crew);

impl Crew {
    /// Counts the calling thread in.
    pub(super) fn join(&self) {
        self.threads.fetch_add(1, Ordering::Relaxed);
        self.called.store(false, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts the calling thread as busy.
    pub(super) fn begin(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    /// Counts the calling thread, which is busy, as being at home, unless another is there.
    pub(super) fn stay_if_first(&self) -> Option<Home<'_>> {
        let home = Home(self);
        (self.at_home.fetch_add(1, Ordering::Relaxed) == 0).then_some(home)
    }

    /// Counts the calling thread, which is busy, as being at home.
    pub(super) fn stay(&self) -> Home<'_> {
        self.at_home.fetch_add(1, Ordering::Relaxed);
        Home(self)
    }

    /// Whether another thread is to be called for, now that this one may wait. Says so once, until
    /// that thread is there or could not be had.
    pub(super) fn needs_another(&self) -> bool {
        let threads = self.threads.load(Ordering::Relaxed);
        self.busy.load(Ordering::Relaxed) + SPARE > threads
            && threads < MOST
            && !self.called.swap(true, Ordering::Relaxed)
    }

    /// Another thread could not be had.
    pub(super) fn give_up(&self) {
        self.called.store(false, Ordering::Relaxed);
    }
}

impl Drop for Home<'_> {
    fn drop(&mut self) {
        self.0.at_home.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_is_called_for_once_when_few_are_free_and_one_may_wait() {
        let crew = Crew::default();
        (0..=SPARE).for_each(|_| crew.join());
        let first = crew.begin();
        assert!(!crew.needs_another());
        let second = crew.begin();
        assert!(crew.needs_another());
        assert!(!crew.needs_another());
        crew.join();
        assert!(!crew.needs_another());
        let _third = crew.begin();
        assert!(crew.needs_another());
        crew.give_up();
        assert!(crew.needs_another());
        drop((first, second));
        crew.give_up();
        assert!(!crew.needs_another());
    }

    #[test]
    fn one_of_several_stays_at_home() {
        let crew = Crew::default();
        let first = crew.stay_if_first();
        assert!(first.is_some());
        assert!(crew.stay_if_first().is_none());
        drop(first);
        let _any = crew.stay();
        assert!(crew.stay_if_first().is_none());
    }

    #[test]
    fn a_crew_does_not_grow_without_bound() {
        let crew = Crew::default();
        let mut busy = Vec::new();
        for _ in 0..MOST {
            crew.join();
            busy.push(crew.begin());
        }
        assert!(!crew.needs_another());
        crew.leave();
        assert!(crew.needs_another());
    }
}
