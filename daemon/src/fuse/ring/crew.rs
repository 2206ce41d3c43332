//! The threads of one queue. One of them stays free of requests that may wait: whenever the last one
//! takes such a request up, another thread is called for.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Most threads of a queue.
const MOST: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Crew {
    threads: AtomicUsize,
    busy: AtomicUsize,
    /// Whether one more was called for and is not there yet.
    called: AtomicBool,
}

/// A request being served.
pub(super) struct Busy<'a>(&'a Crew);

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

    /// Whether others are busy besides the calling thread.
    pub(super) fn has_others(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 1
    }

    /// Whether another thread is to be called for, now that this one may wait. Says so once, until
    /// that thread is there or could not be had.
    pub(super) fn needs_another(&self) -> bool {
        let threads = self.threads.load(Ordering::Relaxed);
        self.busy.load(Ordering::Relaxed) >= threads
            && threads < MOST
            && !self.called.swap(true, Ordering::Relaxed)
    }

    /// Another thread could not be had.
    pub(super) fn give_up(&self) {
        self.called.store(false, Ordering::Relaxed);
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
    fn another_thread_is_called_for_once_when_the_last_one_may_wait() {
        let crew = Crew::default();
        crew.join();
        crew.join();
        let first = crew.begin();
        assert!(!crew.needs_another() && !crew.has_others());
        let _second = crew.begin();
        assert!(crew.needs_another() && crew.has_others());
        assert!(!crew.needs_another());
        crew.join();
        assert!(!crew.needs_another());
        let _third = crew.begin();
        assert!(crew.needs_another());
        crew.give_up();
        assert!(crew.needs_another());
        drop(first);
        crew.give_up();
        assert!(!crew.needs_another());
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
