//! Which thread waits: the threads that receive requests must not all wait at once, but handing a
//! request to another thread costs a wake-up, often more than the wait itself.
//!
//! So a request that may wait runs where it was received as long as another receiving thread is
//! free, and is handed to a bounded pool of threads otherwise.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Threads a request can be handed to.
const WORKERS: usize = 8;
/// A receiving thread that has been at one request this long counts as waiting, not working.
const STUCK: Duration = Duration::from_millis(2);

/// How a request may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It will probably wait, for the disk: fsync, a large read, a copy.
    Likely,
    /// It rarely waits, and handing it over is expensive: a write that meets back-pressure.
    Rarely,
}

/// Where a request is to be served.
pub(crate) enum Turn<'a> {
    /// On this thread; keep the value until the request is answered.
    Here(Stay<'a>),
    /// In the pool.
    HandOver,
}

/// The receiving threads of one mount.
pub(crate) struct Receivers {
    threads: usize,
    /// When each request that may wait, and is served by a receiving thread, began.
    began: Mutex<Vec<Instant>>,
}

impl Receivers {
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            threads,
            began: Mutex::new(Vec::with_capacity(threads)),
        }
    }

    /// Decides for a request just received by the calling thread.
    pub(crate) fn turn(&self, wait: Wait) -> Turn<'_> {
        let now = Instant::now();
        let mut began = self.began.lock();
        let waiting = match wait {
            Wait::Likely => began.len(),
            Wait::Rarely => began.iter().filter(|at| now - **at >= STUCK).count(),
        };
        if waiting + 1 < self.threads {
            began.push(now);
            Turn::Here(Stay {
                receivers: self,
                began: now,
            })
        } else {
            Turn::HandOver
        }
    }
}

/// A request that may wait and is served by a receiving thread.
pub(crate) struct Stay<'a> {
    receivers: &'a Receivers,
    began: Instant,
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        let mut began = self.receivers.began.lock();
        if let Some(at) = began.iter().position(|at| *at == self.began) {
            began.swap_remove(at);
        }
    }
}

/// A request handed over.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// The threads that serve what was handed over. The queue is bounded by the kernel: a thread of a
/// program has one request at a time, background requests have their own limit.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    pub(crate) fn start() -> io::Result<Self> {
        let pool = Self {
            queue: Arc::default(),
            workers: Mutex::default(),
        };
        for n in 0..WORKERS {
            let queue = Arc::clone(&pool.queue);
            let worker = thread::Builder::new()
                .name(format!("keyfold-wait-{n}"))
                .spawn(move || queue.serve())?;
            pool.workers.lock().push(worker);
        }
        Ok(pool)
    }

    pub(crate) fn hand_over(&self, job: Job) {
        self.queue.state.lock().jobs.push_back(job);
        self.queue.changed.notify_one();
    }

    /// Serves what is queued, then ends the threads.
    pub(crate) fn close(&self) {
        self.queue.state.lock().closed = true;
        self.queue.changed.notify_all();
        for worker in self.workers.lock().drain(..) {
            if worker.join().is_err() {
                tracing::error!("a thread of the waiting pool panicked");
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.state.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn serve(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn stays(receivers: &Receivers, wait: Wait) -> Option<Stay<'_>> {
        match receivers.turn(wait) {
            Turn::Here(stay) => Some(stay),
            Turn::HandOver => None,
        }
    }

    #[test]
    fn one_receiver_always_stays_free_of_likely_waits() {
        let receivers = Receivers::new(3);
        let first = stays(&receivers, Wait::Likely);
        let second = stays(&receivers, Wait::Likely);
        assert!(first.is_some() && second.is_some());
        assert!(stays(&receivers, Wait::Likely).is_none());
        drop(first);
        assert!(stays(&receivers, Wait::Likely).is_some());
    }

    #[test]
    fn a_write_is_handed_over_only_when_all_others_are_stuck() {
        let receivers = Receivers::new(2);
        let fsync = stays(&receivers, Wait::Likely);
        assert!(fsync.is_some());
        assert!(stays(&receivers, Wait::Rarely).is_some());
        receivers.began.lock()[0] -= STUCK;
        assert!(stays(&receivers, Wait::Rarely).is_none());
    }

    #[test]
    fn the_pool_serves_what_was_queued_before_it_closes() {
        let pool = Pool::start().unwrap();
        let (send, receive) = mpsc::channel();
        for n in 0..100 {
            let send = send.clone();
            pool.hand_over(Box::new(move || send.send(n).unwrap()));
        }
        drop(send);
        pool.close();
        let mut served: Vec<i32> = receive.iter().collect();
        served.sort_unstable();
        assert_eq!(served, (0..100).collect::<Vec<_>>());
    }
}
