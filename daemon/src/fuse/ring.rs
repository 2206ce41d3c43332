//! Requests through `io_uring`, where the kernel offers it: a request is taken, and the last one
//! answered, with one system call, on the processor where the program runs.
//!
//! The kernel keeps a queue for each processor, and each queue has threads with one [`Entry`] each.
//! Once every queue has an entry, all requests come this way but forgetting and interrupts, which go
//! on coming from the device.

mod crew;
mod entry;
mod seat;

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;

use self::crew::{Crew, Home};
use self::entry::{Entry, Next};
use self::seat::{Place, Seat};
use super::adapter::{outcome, refused};
use super::device::Device;
use super::front::Front;
use super::idling::Idling;
use super::reply::Reply;
use super::request::{FileOp, Header, Manner, Operation, Request};
use super::wire::Malformed;

/// More processors than this are served through the device: each has threads of its own here.
const PROCESSORS_MAX: usize = 64;
/// Threads of all queues together at the start, unless asked for more.
const THREADS: usize = 32;
/// Fewest and most threads of a queue at the start.
const THREADS_OF_QUEUE: [usize; 2] = [4, 8];
/// A read from this size on is worth another processor.
const SPREAD: u32 = 64 << 10;
/// Times in a row that the kernel may refuse a reply before a thread gives up.
const REFUSALS: u32 = 16;
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// What the threads of all queues share.
struct Shared {
    front: Arc<Front>,
    idling: Arc<Idling>,
    device: Arc<Device>,
    crews: Vec<Crew>,
}

/// A call for one more thread of a queue.
struct Call {
    queue: u16,
    /// For calls of that thread's own. The calls end when no thread is left.
    calls: Sender<Call>,
}

/// A thread that has what it needs to serve, and has not begun.
struct Recruit {
    orders: Sender<Order>,
    reports: Receiver<io::Result<()>>,
    thread: JoinHandle<io::Result<()>>,
}

enum Order {
    Register,
    /// Has the kernel do without the ring.
    BeRefused,
    Serve,
}

/// A thread for each queue, before the kernel is told.
pub(crate) struct Prepared {
    shared: Arc<Shared>,
    recruits: Vec<Recruit>,
    calls: Sender<Call>,
    called: Receiver<Call>,
}

/// Queues that are being served.
pub(crate) struct Serving {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    called: Receiver<Call>,
}

/// Sets up all that serving through the ring takes, so that nothing can lack once the kernel is told.
pub(crate) fn prepare(
    device: &Arc<Device>,
    front: &Arc<Front>,
    idling: &Arc<Idling>,
) -> io::Result<Prepared> {
    let queues = processors(&fs::read_to_string(POSSIBLE)?)
        .filter(|processors| *processors <= PROCESSORS_MAX)
        .ok_or(io::ErrorKind::Unsupported)?;
    let shared = Arc::new(Shared {
        front: Arc::clone(front),
        idling: Arc::clone(idling),
        device: Arc::clone(device),
        crews: (0..queues).map(|_| Crew::default()).collect(),
    });
    let (calls, called) = mpsc::channel();
    let recruits = (0..queues as u16).map(|queue| Recruit::new(&shared, queue, &calls));
    let recruits = recruits.collect::<io::Result<Vec<_>>>()?;
    for recruit in &recruits {
        recruit.report()?;
    }
    Ok(Prepared {
        shared,
        recruits,
        calls,
        called,
    })
}

/// How many processors there can be, of a list such as `0-3,8`.
fn processors(list: &str) -> Option<usize> {
    let ranges = list.trim().split(',').map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    });
    ranges.sum()
}

impl Recruit {
    fn new(shared: &Arc<Shared>, queue: u16, calls: &Sender<Call>) -> io::Result<Self> {
        let (orders, taken) = mpsc::channel();
        let (made, reports) = mpsc::channel();
        let (shared, calls) = (Arc::clone(shared), calls.clone());
        let thread = spawn(queue, move || {
            let seat = Seat::take(queue.into());
            let mut entry = match Entry::new(&shared.device, queue) {
                Ok(entry) => entry,
                Err(error) => {
                    let _ = made.send(Err(error));
                    return Ok(());
                }
            };
            let _ = made.send(Ok(()));
            while let Ok(order) = taken.recv() {
                let _ = made.send(match order {
                    Order::Register => entry.register(),
                    Order::BeRefused => entry.be_refused(),
                    Order::Serve => {
                        let post = Post {
                            shared,
                            queue,
                            calls,
                        };
                        return post.serve(entry, seat);
                    }
                });
            }
            Ok(())
        })?;
        Ok(Self {
            orders,
            reports,
            thread,
        })
    }

    fn report(&self) -> io::Result<()> {
        let ended = |_| Err(io::Error::other("a thread of the ring ended early"));
        self.reports.recv().unwrap_or_else(ended)
    }

    fn obey(&self, order: Order) -> io::Result<()> {
        // A thread that ended does not report either.
        let _ = self.orders.send(order);
        self.report()
    }
}

fn spawn(
    queue: u16,
    serve: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    thread::Builder::new()
        .name(format!("keyfold-ring-{queue}"))
        .spawn(serve)
}

impl Prepared {
    /// Begins, once the kernel was told that requests can come this way: until each queue has an
    /// entry it holds all requests back. `None` when it refused, and sends everything to the device.
    /// There are `threads` for each queue at the start.
    pub(crate) fn begin(self, threads: Option<usize>) -> io::Result<Option<Serving>> {
        for recruit in &self.recruits {
            if let Err(error) = recruit.obey(Order::Register) {
                tracing::warn!(%error, "requests come through the device: the ring was refused");
                return self.fall_back().map(|()| None);
            }
        }
        let Self {
            shared,
            recruits,
            calls,
            called,
        } = self;
        shared.crews.iter().for_each(Crew::expect);
        let recruits = recruits.into_iter().map(|recruit| {
            let _ = recruit.orders.send(Order::Serve);
            recruit.thread
        });
        let [fewest, most] = THREADS_OF_QUEUE;
        let usual = (THREADS / shared.crews.len()).clamp(fewest, most);
        let threads = threads.unwrap_or(usual).clamp(fewest, crew::MOST);
        let mut serving = Serving {
            threads: recruits.collect(),
            shared,
            called,
        };
        for queue in 0..serving.shared.crews.len() as u16 {
            for _ in 1..threads {
                let calls = calls.clone();
                serving.shared.crews[usize::from(queue)].expect();
                serving.add(Call { queue, calls });
            }
        }
        Ok(Some(serving))
    }

    /// Has the kernel refuse the ring, upon which all requests come through the device.
    pub(crate) fn fall_back(self) -> io::Result<()> {
        let told = self.recruits.iter();
        let told = told.map(|recruit| recruit.obey(Order::BeRefused));
        // One refusal is enough; a thread that failed before may have nothing to be refused with.
        let told = told.reduce(Result::or).unwrap_or(Ok(()));
        for recruit in self.recruits {
            drop(recruit.orders);
            let _ = recruit.thread.join();
        }
        told
    }
}

impl Serving {
    /// Adds threads when they are called for, until the kernel has closed the connection and all have
    /// ended.
    pub(crate) fn attend(mut self) -> io::Result<()> {
        while let Ok(call) = self.called.recv() {
            self.add(call);
        }
        let ends = self.threads.into_iter().map(|thread| {
            let panicked = |_| Err(io::Error::other("a thread of the ring panicked"));
            thread.join().unwrap_or_else(panicked)
        });
        // Every thread has ended before the first failure is told.
        ends.fold(Ok(()), Result::and)
    }

    fn add(&mut self, Call { queue, calls }: Call) {
        let shared = Arc::clone(&self.shared);
        let thread = spawn(queue, move || {
            let seat = Seat::take(queue.into());
            match Entry::new(&shared.device, queue) {
                Ok(entry) => {
                    let post = Post {
                        shared,
                        queue,
                        calls,
                    };
                    post.serve(entry, seat)
                }
                Err(error) => {
                    tracing::warn!(%error, "a queue of the ring gets no further thread");
                    shared.crews[usize::from(queue)].give_up();
                    Ok(())
                }
            }
        });
        match thread {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                tracing::warn!(%error, "a queue of the ring gets no further thread");
                self.shared.crews[usize::from(queue)].give_up();
            }
        }
    }
}

/// What a thread of a queue works with.
struct Post {
    shared: Arc<Shared>,
    queue: u16,
    calls: Sender<Call>,
}

impl Post {
    fn crew(&self) -> &Crew {
        // There is a crew for each queue.
        &self.shared.crews[usize::from(self.queue)]
    }

    fn serve(&self, mut entry: Entry, mut seat: Seat) -> io::Result<()> {
        self.crew().join();
        let served = self.serve_until_closed(&mut entry, &mut seat);
        self.crew().leave();
        served
    }

    fn serve_until_closed(&self, entry: &mut Entry, seat: &mut Seat) -> io::Result<()> {
        let mut refusals = 0;
        loop {
            match entry.next() {
                Ok(Next::Request) => refusals = 0,
                Ok(Next::Closed) => return Ok(()),
                Err(error) if refusals < REFUSALS => {
                    tracing::warn!(%error, "the kernel did not take a reply");
                    refusals += 1;
                    continue;
                }
                Err(error) => {
                    tracing::error!(%error, "a thread of the ring gives up");
                    return Err(error);
                }
            }
            let _busy = self.crew().begin();
            entry.serve(|message, reply| self.answer(message, reply, seat));
        }
    }

    fn answer(&self, message: &[u8], reply: &mut Reply<'_>, seat: &mut Seat) -> Result<(), Errno> {
        let (header, fields) = Header::of(message).map_err(|Malformed| {
            tracing::error!("a request of the kernel is malformed");
            Errno::EIO
        })?;
        let request = Request::of(header, fields).map_err(|refusal| refused(&header, refusal))?;
        let manner = request.operation.manner();
        if manner != Manner::Unnoticed {
            self.shared.front.touch();
            self.shared.idling.count();
        }
        if matches!(manner, Manner::Waiting | Manner::Long) {
            if self.crew().needs_another() {
                let (queue, calls) = (self.queue, self.calls.clone());
                // Whoever takes calls ends after this thread.
                let _ = self.calls.send(Call { queue, calls });
            }
            self.crew().let_one_come();
        }
        let _home = self.settle(seat, &request.operation);
        outcome(&self.shared.front, &request, reply)
    }

    /// Takes the thread to where it serves `operation` best. Of several large reads one is served at
    /// home; once elsewhere, a thread stays there as long as it reads.
    fn settle(&self, seat: &mut Seat, operation: &Operation<'_>) -> Option<Home<'_>> {
        let home = match (operation, seat.place()) {
            (Operation::File(FileOp::Read(_, SPREAD..)), Place::Home) => {
                self.crew().stay_if_first()
            }
            (Operation::File(FileOp::Read(_, SPREAD..)), Place::Away) => None,
            _ => Some(self.crew().stay()),
        };
        seat.settle(if home.is_some() {
            Place::Home
        } else {
            Place::Away
        });
        home
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_from_the_kernels_list() {
        for (list, count) in [
            ("0\n", Some(1)),
            ("0-1\n", Some(2)),
            ("0-3,8,10-11", Some(7)),
        ] {
            assert_eq!(processors(list), count);
        }
        for list in ["", "a", "3-1", "0-18446744073709551615", "1,,2"] {
            assert_eq!(processors(list), None, "{list:?}");
        }
    }
}
