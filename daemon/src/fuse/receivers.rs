//! Which thread waits: the threads that receive requests must not all wait at once, but handing a
//! request to another thread costs a wake-up, often more than the wait itself.
//!
//! So a request that may wait runs where it was received as long as another receiving thread is
//! free, and is handed to a bounded pool of threads otherwise.
//!
//! For the same reason, where wake-ups cannot be made cheap (see [`Idling`]), each receiving thread
//! keeps to a core of its own if there are as many as cores. The kernel wakes them in turn, so every other request is served where its program runs;
//! left to itself, the scheduler moves a woken thread to a core that sleeps, which costs more than
//! most requests.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use parking_lot::{Condvar, Mutex};

use super::idling::Idling;

/// Threads a request can be handed to.
const WORKERS: usize = 8;

/// Where a request that may wait is to be served.
pub(crate) enum Turn<'a> {
    /// On this thread; keep the value until the request is answered.
    Here(Stay<'a>),
    /// In the pool.
    HandOver,
}

/// The receiving threads of one mount. At most all but one of them serve requests that may wait.
pub(crate) struct Receivers {
    threads: usize,
    staying: AtomicUsize,
    /// A core for each thread; none when there are more or fewer.
    cores: Vec<usize>,
    settled: AtomicUsize,
    idling: Arc<Idling>,
}

thread_local! {
    static SETTLED: Cell<bool> = const { Cell::new(false) };
}

fn allowed_cores() -> Vec<usize> {
    let allowed = sched_getaffinity(Pid::from_raw(0));
    let is_allowed = |core: &usize| allowed.is_ok_and(|a| a.is_set(*core) == Ok(true));
    (0..CpuSet::count()).filter(is_allowed).collect()
}

impl Receivers {
    pub(crate) fn new(threads: usize, idling: Arc<Idling>) -> Self {
        Self {
            threads,
            staying: AtomicUsize::new(0),
            cores: Some(allowed_cores())
                .filter(|c| c.len() == threads && !idling.is_watched())
                .unwrap_or_default(),
            settled: AtomicUsize::new(0),
            idling,
        }
    }

    /// Notes that the calling thread received a request.
    pub(crate) fn received(&self) {
        self.idling.count();
        self.settle();
    }

    /// Gives the calling thread its core, once.
    fn settle(&self) {
        if SETTLED.replace(true) {
            return;
        }
        if let Some(core) = self.cores.get(self.settled.fetch_add(1, Ordering::Relaxed)) {
            let mut set = CpuSet::new();
            // Where it is not allowed the scheduler goes on choosing.
            let _ = set
                .set(*core)
                .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
        }
    }

    /// Decides for a request just received by the calling thread.
    pub(crate) fn turn(&self) -> Turn<'_> {
        self.received();
        let stay = Stay(self);
        if self.staying.fetch_add(1, Ordering::Relaxed) + 1 < self.threads {
            Turn::Here(stay)
        } else {
            Turn::HandOver
        }
    }
}

/// A request that may wait and is served by a receiving thread.
pub(crate) struct Stay<'a>(&'a Receivers);

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.0.staying.fetch_sub(1, Ordering::Relaxed);
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

    fn stays(receivers: &Receivers) -> Option<Stay<'_>> {
        match receivers.turn() {
            Turn::Here(stay) => Some(stay),
            Turn::HandOver => None,
        }
    }

    #[test]
    fn one_receiver_always_stays_free() {
        let receivers = Receivers::new(3, Arc::new(Idling::leave_alone()));
        let first = stays(&receivers);
        let second = stays(&receivers);
        assert!(first.is_some() && second.is_some());
        assert!(stays(&receivers).is_none());
        assert!(stays(&receivers).is_none());
        drop(first);
        assert!(stays(&receivers).is_some());
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
