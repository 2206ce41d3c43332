//! What all requests share.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keyfold_protocol::ids::Time;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::ServerInfoReply;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::blobs::Objects;
use crate::db::{Db, figures};
use crate::mail::Mail;
use crate::service::{Failure, Outcome, Rules, Work};

/// Transfers of blobs at one time: each may hold a few times its bytes in memory.
const TRANSFERS: usize = 32;
/// Streams of events at one time.
const STREAMS: usize = 4096;

/// What all requests share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) db: Db,
    pub(crate) objects: Objects,
    pub(crate) mail: Arc<Mail>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) metrics: Arc<Metrics>,
    /// Counts up when events were noted.
    pub(crate) bell: watch::Sender<u64>,
    pub(crate) ending: Ending,
    pub(crate) transfers: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
}

/// What a server consists of.
pub(crate) struct Parts {
    pub(crate) db: Db,
    pub(crate) objects: Objects,
    pub(crate) mail: Mail,
    pub(crate) rules: Rules,
    /// Requests from one address in a minute.
    pub(crate) requests: u64,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            db: parts.db,
            objects: parts.objects,
            mail: Arc::new(parts.mail),
            rules: Arc::new(parts.rules),
            limiter: Arc::new(Limiter::new(parts.requests)),
            metrics: Arc::default(),
            bell: watch::Sender::new(0),
            ending: Ending(watch::Sender::new(false)),
            transfers: Arc::new(Semaphore::new(TRANSFERS)),
            streams: Arc::new(Semaphore::new(STREAMS)),
        }
    }

    /// Runs a rule in a transaction that may change something.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        rule: impl FnOnce(&Work<'_>) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let rules = Arc::clone(&self.rules);
        let work = move |tx: &crate::db::Tx<'_>| {
            let work = Work::new(tx, now(), &rules);
            let value = rule(&work)?;
            Ok::<_, Failure>((value, work.rang()))
        };
        let (value, rang) = self.db.write(work).await?;
        if rang {
            self.bell.send_modify(|count| *count += 1);
        }
        Ok(value)
    }

    /// Runs a rule in a transaction that changes nothing.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        rule: impl FnOnce(&Work<'_>) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let rules = Arc::clone(&self.rules);
        let work = move |tx: &crate::db::Tx<'_>| rule(&Work::new(tx, now(), &rules));
        self.db.read(work).await
    }

    /// Whether the server can serve: it is not ending, and the database answers.
    pub(crate) async fn ready(&self) -> Outcome<()> {
        if *self.ending.0.borrow() {
            return Err(Failure::Unavailable);
        }
        self.read(|work| Ok(figures::count(work.tx)?))
            .await
            .map(|_| ())
            .map_err(|_| Failure::Unavailable)
    }

    pub(crate) fn info(&self) -> ServerInfoReply {
        ServerInfoReply {
            version: env!("CARGO_PKG_VERSION").into(),
            protocols: vec![1],
            time: now(),
            open_registration: self.rules.open_registration,
        }
    }
}

/// The server's clock.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Time(since.map_or(0, |since| since.as_secs()))
}

/// That the server ends.
#[derive(Clone)]
pub(crate) struct Ending(watch::Sender<bool>);

impl Ending {
    pub(crate) fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Returns once the server ends.
    pub(crate) async fn cancelled(&self) {
        let ended = self.0.subscribe().wait_for(|ending| *ending).await.is_ok();
        debug_assert!(ended, "the sender is held here");
    }
}

/// Bounds what one address asks in a minute. Each process counts for itself.
pub(crate) struct Limiter {
    allowed: u64,
    counts: Mutex<(Instant, HashMap<Vec<u8>, u64>)>,
}

impl Limiter {
    const WINDOW: Duration = Duration::from_mins(1);
    /// Addresses that are counted at one time; more than that are not told apart.
    const ADDRESSES: usize = 100_000;

    fn new(allowed: u64) -> Self {
        Self {
            allowed,
            counts: Mutex::new((Instant::now(), HashMap::new())),
        }
    }

    pub(crate) fn admit(&self, address: &[u8]) -> Outcome<()> {
        let mut counts = self.counts.lock();
        if counts.0.elapsed() >= Self::WINDOW {
            *counts = (Instant::now(), HashMap::new());
        }
        let left = Self::WINDOW.saturating_sub(counts.0.elapsed());
        let known = counts.1.len() < Self::ADDRESSES || counts.1.contains_key(address);
        let key = if known { address.to_vec() } else { Vec::new() };
        let count = counts.1.entry(key).or_insert(0);
        *count += 1;
        if *count > self.allowed {
            return Err(Failure::TooOften(left.as_secs() + 1));
        }
        Ok(())
    }
}

/// Answers by route and status, and the time they took.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<HashMap<Answered, (u64, Duration)>>);

/// The route's name and the status.
type Answered = (&'static str, u16);

impl Metrics {
    pub(crate) fn count(&self, route: Route, status: u16, took: Duration) {
        let mut counts = self.0.lock();
        let count = counts.entry((route.name(), status)).or_default();
        count.0 += 1;
        count.1 += took;
    }

    /// In the text format of Prometheus.
    pub(crate) fn text(&self) -> String {
        let counts = self.0.lock();
        let mut sorted: Vec<_> = counts.iter().collect();
        sorted.sort();
        let mut text = String::from(
            "# TYPE keyfold_requests_total counter\n# TYPE keyfold_request_seconds_total counter\n",
        );
        for ((route, status), (count, took)) in sorted {
            let labels = format!("{{route=\"{route}\",status=\"{status}\"}}");
            let seconds = took.as_secs_f64();
            let written = writeln!(text, "keyfold_requests_total{labels} {count}")
                .and_then(|()| writeln!(text, "keyfold_request_seconds_total{labels} {seconds}"));
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        text
    }
}
