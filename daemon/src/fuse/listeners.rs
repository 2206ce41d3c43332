//! How many receiving threads listen for requests.
//!
//! A thread that waits in the kernel is woken for a request, and waking costs the program that asks
//! more than most requests. While one program works alone, its next request follows its last reply
//! within microseconds. So during a burst, threads that were alone with their requests rest until one
//! listens, and that one polls for a moment before it waits.
//!
//! One listener must not hold up others: a second program shows as a request that is there as soon
//! as the last one is answered, and calls for another listener; so does a request that is known to
//! take long. Whatever else may hold a request up makes the burst end, and then all listen again:
//! within a few milliseconds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::device::Received;
use super::idling::Idling;

/// Requests in a row with no other beside them after which a thread rests.
const ALONE: u32 = 32;
/// How long a lone listener polls: by then most programs that go on at once have gone on.
const POLL: Duration = Duration::from_micros(20);
/// Giving way for longer than this means that another thread had use for the core.
const GAVE_WAY: Duration = Duration::from_micros(5);
/// After polls in vain, as many requests are not polled for as this power of two, at most.
const LONGEST_PAUSE: u32 = 8;

/// The receiving threads of a mount that listen.
pub(crate) struct Listeners {
    /// Threads that do not rest. Never none.
    listening: AtomicUsize,
    /// Requests being served.
    serving: AtomicUsize,
    /// Requests in a row that were served with no other beside them.
    alone: AtomicU32,
    idling: Arc<Idling>,
}

impl Listeners {
    pub(crate) fn new(threads: usize, idling: Arc<Idling>) -> Self {
        Self {
            listening: AtomicUsize::new(threads),
            serving: AtomicUsize::new(0),
            alone: AtomicU32::new(0),
            idling,
        }
    }

    /// Whether the calling thread is the only one that listens.
    pub(crate) fn is_lone(&self) -> bool {
        self.listening.load(Ordering::Relaxed) == 1 && self.idling.is_burst()
    }

    /// Calls for another listener if there is only one.
    pub(crate) fn support(&self) {
        if self.is_lone() {
            self.alone.store(0, Ordering::Relaxed);
            self.idling.call_one();
        }
    }

    /// Serves a request, and rests afterwards where others suffice.
    pub(crate) fn serve<T>(&self, job: impl FnOnce() -> T) -> T {
        let before = self.serving.fetch_add(1, Ordering::Relaxed);
        let result = job();
        let after = self.serving.fetch_sub(1, Ordering::Relaxed);
        if before > 0 || after > 1 || !self.idling.is_burst() {
            self.alone.store(0, Ordering::Relaxed);
        } else if self.alone.fetch_add(1, Ordering::Relaxed) >= ALONE {
            self.rest();
        }
        result
    }

    fn rest(&self) {
        let others = |listening: usize| listening.checked_sub(1).filter(|others| *others > 0);
        let (now, then) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.listening.fetch_update(now, then, others).is_ok() {
            self.idling.rest();
            self.listening.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a lone listener remembers between two requests.
#[derive(Debug, Default)]
pub(crate) struct Polling {
    in_vain: u32,
    pause: u32,
}

/// What came of polling.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    /// A request was there already.
    AtOnce(usize),
    /// A request came.
    Soon(usize),
    /// None came.
    Nothing,
    Closed,
}

impl Polling {
    /// Polls with `receive`, which does not wait.
    pub(crate) fn poll(
        &mut self,
        mut receive: impl FnMut() -> io::Result<Received>,
    ) -> io::Result<Polled> {
        match receive()? {
            Received::Request(len) => return Ok(Polled::AtOnce(len)),
            Received::Closed => return Ok(Polled::Closed),
            Received::Nothing => {}
        }
        if self.pause > 0 {
            self.pause -= 1;
            return Ok(Polled::Nothing);
        }
        let start = Instant::now();
        let mut now = start;
        while now - start < POLL {
            match receive()? {
                Received::Request(len) => {
                    self.in_vain = 0;
                    return Ok(Polled::Soon(len));
                }
                Received::Closed => return Ok(Polled::Closed),
                Received::Nothing => {}
            }
            thread::yield_now();
            let then = Instant::now();
            if then - now > GAVE_WAY {
                break;
            }
            now = then;
        }
        self.in_vain = LONGEST_PAUSE.min(self.in_vain + 1);
        self.pause = 1 << self.in_vain;
        Ok(Polled::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn until(mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "it did not happen in time");
            thread::yield_now();
        }
    }

    fn listening(listeners: &Listeners) -> usize {
        listeners.listening.load(Ordering::Relaxed)
    }

    /// As many requests in a row as make a thread rest.
    fn serve_alone(listeners: &Listeners) {
        for _ in 0..=ALONE {
            listeners.serve(|| {});
        }
    }

    #[test]
    fn a_lone_program_leaves_one_listener_and_the_end_of_the_burst_calls_all() {
        let idling = Arc::new(Idling::bursting());
        let listeners = Listeners::new(3, Arc::clone(&idling));
        thread::scope(|scope| {
            for left in [2, 1] {
                scope.spawn(|| serve_alone(&listeners));
                until(|| listening(&listeners) == left);
            }
            assert!(listeners.is_lone());
            // The last one goes on listening, whatever it serves.
            serve_alone(&listeners);
            assert!(listeners.is_lone());
            idling.end_burst();
            until(|| listening(&listeners) == 3);
        });
        assert!(!listeners.is_lone());
        serve_alone(&listeners);
    }

    #[test]
    fn a_lone_listener_gets_support_when_it_asks() {
        let idling = Arc::new(Idling::bursting());
        let listeners = Listeners::new(2, Arc::clone(&idling));
        let asked = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                serve_alone(&listeners);
                assert!(asked.load(Ordering::SeqCst));
            });
            until(|| listeners.is_lone());
            asked.store(true, Ordering::SeqCst);
            // Every request calls: one that does before the other rests is not heard.
            until(|| {
                listeners.support();
                !listeners.is_lone()
            });
        });
        // Not lone, it calls for nobody.
        listeners.support();
    }

    #[test]
    fn requests_beside_each_other_and_outside_of_bursts_let_nobody_rest() {
        let listeners = Listeners::new(2, Arc::new(Idling::bursting()));
        for _ in 0..4 * ALONE {
            listeners.serve(|| listeners.serve(|| {}));
        }
        let quiet = Listeners::new(2, Arc::new(Idling::leave_alone()));
        for _ in 0..4 {
            serve_alone(&quiet);
        }
        assert!(!quiet.is_lone());
    }

    /// A device that has a request after so many looks.
    fn after(looks: usize) -> impl FnMut() -> io::Result<Received> {
        let mut looks = looks;
        move || {
            looks = looks.saturating_sub(1);
            Ok(match looks {
                0 => Received::Request(7),
                _ => Received::Nothing,
            })
        }
    }

    #[test]
    fn what_is_there_and_what_comes_soon_is_told_apart() {
        let mut polling = Polling::default();
        assert_eq!(polling.poll(after(0)).unwrap(), Polled::AtOnce(7));
        // On a busy machine a poll may end before it looks often enough.
        until(|| polling.poll(after(3)).unwrap() == Polled::Soon(7));
        assert_eq!(polling.in_vain, 0);
        let closed = || Ok(Received::Closed);
        assert_eq!(polling.poll(closed).unwrap(), Polled::Closed);
        let failing = || Err(io::ErrorKind::Other.into());
        assert!(polling.poll(failing).is_err());
    }

    #[test]
    fn polls_in_vain_become_rare() {
        let mut polling = Polling::default();
        let mut looks = 0;
        for _ in 0..100_000 {
            let before = looks;
            let nothing = || {
                looks += 1;
                Ok(Received::Nothing)
            };
            assert_eq!(polling.poll(nothing).unwrap(), Polled::Nothing);
            assert!(looks > before);
        }
        assert_eq!(polling.in_vain, LONGEST_PAUSE);
        assert!(polling.pause <= 1 << LONGEST_PAUSE);
        // One look tells whether a request is there; more are a poll.
        let mut polls = 0;
        for _ in 0..10 << LONGEST_PAUSE {
            polls += usize::from(polling.pause == 0);
            polling.poll(|| Ok(Received::Nothing)).unwrap();
        }
        assert!((9..=11).contains(&polls), "{polls}");
    }
}
