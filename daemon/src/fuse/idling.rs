//! Keeps processors from sleeping deeply while programs work in the mount.
//!
//! Each request is two wake-ups, of a receiving thread and of the program that waits for the reply.
//! Waking a processor out of a deep idle state takes longer than most requests, on a virtual machine
//! many times longer. So during a burst of requests the kernel is asked, through its interface for
//! latency requirements (power-management quality of service, `/dev/cpu_dma_latency`), to use shallow idle states only. The wish
//! ends with the burst, and with the process however it ends. Only root may ask, by default.
//!
//! Within a burst threads may rest that are needed outside of it (see
//! [`Listeners`](super::listeners::Listeners)).

use std::fs::{self, OpenOptions};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

const DEVICE: &str = "/dev/cpu_dma_latency";
const DRIVER: &str = "/sys/devices/system/cpu/cpuidle/current_driver";
/// Wake-up latency asked for, in microseconds: idle states below this save most of the power.
const SHALLOW: i32 = 10;
/// On a virtual machine leaving any idle state but polling goes through the host.
const SHALLOW_IN_A_GUEST: i32 = 0;
/// No requirement, as the kernel spells it (`PM_QOS_CPU_LATENCY_DEFAULT_VALUE`), in microseconds.
const ANY: i32 = 2_000_000_000;
/// Requests within one look that make a burst. Slower than this, wake-ups are a small part of
/// the time.
const BURST: u64 = 8;
/// Time between two looks at whether a burst goes on.
const LOOK: Duration = Duration::from_millis(5);

/// What counts the requests of a mount.
pub(crate) struct Idling {
    /// None where the kernel takes no wishes from this user.
    shared: Option<Arc<Shared>>,
}

struct Shared {
    /// Requests since the last look.
    requests: AtomicU64,
    /// Whether `state` is [`Phase::Burst`].
    burst: AtomicBool,
    state: Mutex<State>,
    begun: Condvar,
    /// The burst is over, or a thread that rests is called for.
    called: Condvar,
}

struct State {
    phase: Phase,
    /// Threads that rest, and how many of them are called for.
    resting: usize,
    called: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Quiet,
    Burst,
    Ended,
}

impl Idling {
    /// Watches for bursts, where the kernel lets this process ask for shallow idle states.
    pub(crate) fn watch() -> Self {
        let shared = OpenOptions::new()
            .write(true)
            .open(DEVICE)
            .and_then(|device| Shared::start(device, shallow()));
        if let Err(error) = &shared {
            tracing::debug!(%error, "processors sleep as they like");
        }
        Self {
            shared: shared.ok(),
        }
    }

    /// Leaves the processors alone.
    pub(crate) fn leave_alone() -> Self {
        Self { shared: None }
    }

    /// In a burst until told otherwise.
    #[cfg(test)]
    pub(crate) fn bursting() -> Self {
        let shared = Shared::new();
        shared.state.lock().phase = Phase::Burst;
        shared.burst.store(true, Ordering::Relaxed);
        Self {
            shared: Some(Arc::new(shared)),
        }
    }

    #[cfg(test)]
    pub(crate) fn end_burst(&self) {
        if let Some(shared) = &self.shared {
            shared.turn(Phase::Quiet);
        }
    }

    /// Whether wake-ups are made cheap during bursts.
    pub(crate) fn is_watched(&self) -> bool {
        self.shared.is_some()
    }

    /// Whether a burst goes on. A burst that stops is over within two looks.
    pub(crate) fn is_burst(&self) -> bool {
        self.shared
            .as_ref()
            .is_some_and(|shared| shared.burst.load(Ordering::Relaxed))
    }

    /// Lets the calling thread rest until the burst is over or it is called for.
    pub(crate) fn rest(&self) {
        if let Some(shared) = &self.shared {
            shared.rest();
        }
    }

    /// Calls for one of the threads that rest.
    pub(crate) fn call_one(&self) {
        if let Some(shared) = &self.shared {
            shared.call_one();
        }
    }

    /// Counts a request.
    pub(crate) fn count(&self) {
        if let Some(shared) = &self.shared {
            shared.count();
        }
    }
}

impl Drop for Idling {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.turn(Phase::Ended);
            shared.begun.notify_all();
        }
    }
}

fn shallow() -> i32 {
    match fs::read_to_string(DRIVER) {
        Ok(driver) if driver.trim() == "haltpoll" => SHALLOW_IN_A_GUEST,
        _ => SHALLOW,
    }
}

impl Shared {
    fn new() -> Self {
        Self {
            requests: AtomicU64::new(0),
            burst: AtomicBool::new(false),
            state: Mutex::new(State {
                phase: Phase::Quiet,
                resting: 0,
                called: 0,
            }),
            begun: Condvar::new(),
            called: Condvar::new(),
        }
    }

    fn start(device: impl io::Write + Send + 'static, latency: i32) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Self::new());
        let watched = Arc::clone(&shared);
        thread::Builder::new()
            .name("keyfold-idling".to_owned())
            .spawn(move || {
                watched.watch(device, latency);
                watched.turn(Phase::Ended);
            })?;
        Ok(shared)
    }

    fn count(&self) {
        // While quiet nobody resets the count, so one request in many finds it above the bound.
        if self.requests.fetch_add(1, Ordering::Relaxed) + 1 == BURST {
            let mut state = self.state.lock();
            if state.phase == Phase::Quiet {
                state.phase = Phase::Burst;
                self.burst.store(true, Ordering::Relaxed);
                self.begun.notify_one();
            }
        }
    }

    /// Begins a phase that is not a burst: whoever rests goes on.
    fn turn(&self, phase: Phase) {
        let mut state = self.state.lock();
        if state.phase != Phase::Ended {
            state.phase = phase;
        }
        self.burst.store(false, Ordering::Relaxed);
        self.called.notify_all();
    }

    fn rest(&self) {
        let mut state = self.state.lock();
        state.resting += 1;
        while state.phase == Phase::Burst && state.called == 0 {
            self.called.wait(&mut state);
        }
        state.resting -= 1;
        state.called = state.called.saturating_sub(1);
    }

    fn call_one(&self) {
        let mut state = self.state.lock();
        if state.called < state.resting {
            state.called += 1;
            self.called.notify_one();
        }
    }

    fn watch(&self, mut device: impl io::Write, latency: i32) {
        while self.wait_for_requests() {
            // The first few requests may be spread over a day; those of the next look are not.
            self.requests.store(0, Ordering::Relaxed);
            let mut asked = false;
            loop {
                thread::sleep(LOOK);
                let goes_on = self.requests.swap(0, Ordering::Relaxed) >= BURST;
                if goes_on != asked {
                    let wish = if goes_on { latency } else { ANY };
                    if let Err(error) = device.write_all(&wish.to_ne_bytes()) {
                        tracing::debug!(%error, "the kernel takes no wish about idle states");
                        return;
                    }
                    asked = goes_on;
                }
                if !goes_on {
                    break;
                }
            }
        }
    }

    /// Waits until there were some requests. False when the mount has ended.
    fn wait_for_requests(&self) -> bool {
        self.turn(Phase::Quiet);
        self.requests.store(0, Ordering::Relaxed);
        let mut state = self.state.lock();
        while state.phase == Phase::Quiet {
            self.begun.wait(&mut state);
        }
        state.phase == Phase::Burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Receiver, Sender};

    const DEADLINE: Duration = Duration::from_secs(20);

    /// The kernel's device; tells of each wish.
    struct Device(Sender<i32>);

    impl io::Write for Device {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let wish = i32::from_ne_bytes(bytes.try_into().unwrap());
            self.0.send(wish).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn watched() -> (Idling, Receiver<i32>) {
        let (send, wishes) = mpsc::channel();
        let shared = Shared::start(Device(send), 7).unwrap();
        let shared = Some(shared);
        (Idling { shared }, wishes)
    }

    /// Requests until the kernel was asked for something.
    fn work_until_asked(idling: &Idling, wishes: &Receiver<i32>) -> i32 {
        let end = std::time::Instant::now() + DEADLINE;
        while std::time::Instant::now() < end {
            idling.count();
            if let Ok(wish) = wishes.try_recv() {
                return wish;
            }
            thread::yield_now();
        }
        panic!("nothing was asked");
    }

    #[test]
    fn a_burst_asks_for_shallow_sleep_and_its_end_takes_that_back() {
        let (idling, wishes) = watched();
        for _ in 0..2 {
            assert_eq!(work_until_asked(&idling, &wishes), 7);
            assert_eq!(wishes.recv_timeout(DEADLINE).unwrap(), ANY);
        }
    }

    #[test]
    fn a_few_requests_ask_for_nothing_and_the_end_of_the_mount_ends_the_watch() {
        let (idling, wishes) = watched();
        for _ in 1..BURST {
            idling.count();
        }
        drop(idling);
        // The device is dropped with the thread that held it.
        assert!(
            wishes
                .recv_timeout(DEADLINE)
                .is_err_and(|e| e == mpsc::RecvTimeoutError::Disconnected)
        );
    }
}
