//! The threads of one queue. Requests that may wait are served by the thread that took them; before
//! the last threads are taken up by such, others are called for.
//!
//! They have to be there in time: a request that finds no entry free is given to the next one that comes
//! back with a reply, not to a new one. So whoever is about to wait on the last thread lets one that was
//! called for come first.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};

/// Most threads of a queue.
pub(super) const MOST: usize = 32;
/// Threads that are to be free whenever one begins to wait.
const SPARE: usize = 3;

#[derive(Debug, Default)]
pub(super) struct Crew {
    threads: AtomicUsize,
    busy: AtomicUsize,
    /// Of the busy threads, those that are where the programs of the queue run.
    at_home: AtomicUsize,
    /// Threads that were called for and are not there yet.
    called: AtomicUsize,
    /// For whoever waits until one of them is there, or could not be had.
    changing: Mutex<()>,
    changed: Condvar,
}

/// A request being served.
pub(super) struct Busy<'a>(&'a Crew);

/// A request being served at home.
pub(super) struct Home<'a>(&'a Crew);

impl Crew {
    /// Counts a thread that is going to join, or to give up.
    pub(super) fn expect(&self) {
        self.called.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts the calling thread in, which was expected.
    pub(super) fn join(&self) {
        self.threads.fetch_add(1, Ordering::SeqCst);
        self.give_up();
    }

    pub(super) fn leave(&self) {
        self.threads.fetch_sub(1, Ordering::SeqCst);
    }

    /// Counts the calling thread as busy.
    pub(super) fn begin(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::SeqCst);
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

    /// Whether another thread is to be called for, now that this one may wait. It is expected then.
    pub(super) fn needs_another(&self) -> bool {
        let threads = self.threads.load(Ordering::SeqCst);
        let wanted = (self.busy.load(Ordering::SeqCst) + SPARE).min(MOST);
        let one_more = |called| (threads + called < wanted).then_some(called + 1);
        let called = &self.called;
        called
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more)
            .is_ok()
    }

    /// An expected thread could not be had.
    pub(super) fn give_up(&self) {
        self.called.fetch_sub(1, Ordering::SeqCst);
        drop(self.changing.lock());
        self.changed.notify_all();
    }

    /// Waits until a thread is free besides the calling one, if one is expected.
    pub(super) fn let_one_come(&self) {
        let all_are_busy =
            || self.busy.load(Ordering::SeqCst) >= self.threads.load(Ordering::SeqCst);
        if !all_are_busy() {
            return;
        }
        let mut changing = self.changing.lock();
        while all_are_busy() && self.called.load(Ordering::SeqCst) > 0 {
            self.changed.wait(&mut changing);
        }
    }
}

impl Drop for Home<'_> {
    fn drop(&mut self) {
        self.0.at_home.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(threads: usize) -> Crew {
        let crew = Crew::default();
        for _ in 0..threads {
            crew.expect();
            crew.join();
        }
        crew
    }

    #[test]
    fn as_many_threads_are_called_for_as_are_to_be_free_when_one_waits() {
        let crew = of(SPARE + 1);
        let first = crew.begin();
        assert!(!crew.needs_another());
        let second = crew.begin();
        assert!(crew.needs_another());
        assert!(!crew.needs_another());
        let third = crew.begin();
        assert!(crew.needs_another());
        assert!(!crew.needs_another());
        crew.join();
        assert!(!crew.needs_another());
        crew.give_up();
        assert!(crew.needs_another());
        drop((first, second, third));
        crew.give_up();
        assert!(!crew.needs_another());
    }

    #[test]
    fn who_would_wait_on_the_last_thread_waits_for_one_that_was_called() {
        let crew = of(2);
        let _first = crew.begin();
        crew.let_one_come();
        let _last = crew.begin();
        // Nobody was called.
        crew.let_one_come();
        crew.expect();
        crew.expect();
        let came = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                crew.let_one_come();
                assert_eq!(came.load(Ordering::SeqCst), 1);
            });
            // The one that cannot be had is not enough.
            crew.give_up();
            came.store(1, Ordering::SeqCst);
            crew.join();
        });
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
        let crew = of(MOST);
        let busy: Vec<_> = (0..MOST).map(|_| crew.begin()).collect();
        assert!(!crew.needs_another());
        // Whoever is the last waits all the same.
        crew.let_one_come();
        crew.leave();
        assert!(crew.needs_another());
        drop(busy);
    }
}
