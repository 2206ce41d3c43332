//! What all requests share.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use keyfold_protocol::ids::ChainRoot;
use keyfold_protocol::routes::Route;
use keyfold_protocol::wire::ServerInfoReply;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::blobs::Objects;
use crate::bucket::Buckets;
use crate::cap::Cap;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{Db, figures};
use crate::mail::Mail;
use crate::service::audit::Alert;
use crate::service::{Failure, Outcome, Rules, Work};

/// Transfers of blobs at one time: each may hold a few times its bytes in memory.
const TRANSFERS: usize = 32;
/// Those of one user: nobody keeps all others waiting alone.
const TRANSFERS_EACH: usize = 8;
/// Who was quiet may ask as much at once as in this time.
const BURST: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_hours(1);
/// Streams of events at one time.
const STREAMS: usize = 4096;

/// What all requests share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) db: Db,
    pub(crate) objects: Objects,
    pub(crate) mail: Arc<Mail>,
    pub(crate) rules: Arc<Rules>,
    pub(crate) clock: Clock,
    requests: Arc<Buckets>,
    downloads: Arc<Buckets>,
    alerts: Arc<Mutex<BTreeMap<Alert, u64>>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Counts up when events were noted.
    pub(crate) bell: watch::Sender<u64>,
    pub(crate) ending: Ending,
    pub(crate) transfers: Transfers,
    pub(crate) streams: Cap,
    pub(crate) connections: Cap,
    /// How long the next bytes of a body may take.
    pub(crate) silence: Duration,
}

/// What a server consists of.
pub(crate) struct Parts {
    pub(crate) db: Db,
    pub(crate) objects: Objects,
    pub(crate) mail: Mail,
    pub(crate) rules: Rules,
    pub(crate) clock: Clock,
}

impl App {
    pub(crate) fn new(parts: Parts, config: &Config) -> Self {
        let now = Instant::now();
        let burst = config.requests_per_second.saturating_mul(BURST.as_secs());
        Self {
            db: parts.db,
            objects: parts.objects,
            mail: Arc::new(parts.mail),
            rules: Arc::new(parts.rules),
            clock: parts.clock,
            requests: Arc::new(Buckets::new(burst, BURST, now)),
            downloads: Arc::new(Buckets::new(config.download_alert, HOUR, now)),
            alerts: Arc::default(),
            metrics: Arc::default(),
            bell: watch::Sender::new(0),
            ending: Ending(watch::Sender::new(false)),
            transfers: Transfers::default(),
            streams: Cap::new(STREAMS, config.event_streams_per_user),
            connections: Cap::new(config.connections, config.connections_per_address),
            silence: Duration::from_secs(config.silence_seconds),
        }
    }

    /// Runs a rule in a transaction that may change something.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        rule: impl FnOnce(&Work<'_>) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let rules = Arc::clone(&self.rules);
        let now = self.clock.now();
        let work = move |tx: &crate::db::Tx<'_>| {
            let work = Work::new(tx, now, &rules);
            let value = rule(&work)?;
            Ok::<_, Failure>((value, work.rang(), work.alerts()))
        };
        let (value, rang, alerts) = self.db.write(work).await?;
        for alert in alerts {
            self.raise(alert);
        }
        if rang {
            self.bell.send_modify(|count| *count += 1);
        }
        Ok(value)
    }

    /// Says in the log and in the figures what the operator should look at.
    pub(crate) fn raise(&self, alert: Alert) {
        tracing::warn!(alert = alert.word(), "alert");
        *self.alerts.lock().entry(alert).or_insert(0) += 1;
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`Failure::TooOften`] beyond what an address may ask for.
    pub(crate) fn admit(&self, whose: &[u8]) -> Outcome<()> {
        let admitted = self.requests.admit(whose, Instant::now());
        admitted.map_err(|wait| Failure::TooOften(wait.as_secs() + 1))
    }

    /// Counts bytes that somebody fetches.
    pub(crate) fn fetched(&self, root: &ChainRoot, bytes: u64) {
        if self.downloads.overflows(&root.0, bytes, Instant::now()) {
            self.raise(Alert::MassDownload);
        }
    }

    /// Runs a rule in a transaction that changes nothing.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        rule: impl FnOnce(&Work<'_>) -> Outcome<T> + Send + 'static,
    ) -> Outcome<T> {
        let rules = Arc::clone(&self.rules);
        let now = self.clock.now();
        let work = move |tx: &crate::db::Tx<'_>| rule(&Work::new(tx, now, &rules));
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

    /// Figures in the text format of Prometheus.
    pub(crate) fn figures(&self) -> String {
        let alerts = self.alerts.lock();
        let alerts = alerts.iter().map(|(alert, count)| {
            format!(
                "keyfold_alerts_total{{alert=\"{}\"}} {count}\n",
                alert.word()
            )
        });
        let alerts: String = alerts.collect();
        let (connections, streams) = (self.connections.taken(), self.streams.taken());
        format!(
            "{}# TYPE keyfold_connections gauge\nkeyfold_connections {connections}\n\
             # TYPE keyfold_event_streams gauge\nkeyfold_event_streams {streams}\n\
             # TYPE keyfold_alerts_total counter\n{alerts}",
            self.metrics.text()
        )
    }

    pub(crate) fn info(&self) -> ServerInfoReply {
        ServerInfoReply {
            version: env!("CARGO_PKG_VERSION").into(),
            protocols: vec![1],
            time: self.clock.now(),
            open_registration: self.rules.open_registration,
        }
    }
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

/// Turns to transfer the bytes of a blob: so many in all, and of them so many for each account.
#[derive(Clone)]
pub(crate) struct Transfers {
    all: Arc<Semaphore>,
    /// Of accounts that have or await a turn.
    each: Arc<Mutex<HashMap<ChainRoot, Weak<Semaphore>>>>,
}

impl Default for Transfers {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(TRANSFERS)),
            each: Arc::default(),
        }
    }
}

impl Transfers {
    /// Waits for a turn, which ends when it is dropped.
    pub(crate) async fn turn(&self, root: ChainRoot) -> Outcome<[OwnedSemaphorePermit; 2]> {
        let own = {
            let mut each = self.each.lock();
            let known = each.get(&root).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                each.retain(|_, turns| turns.strong_count() > 0);
                let turns = Arc::new(Semaphore::new(TRANSFERS_EACH));
                each.insert(root, Arc::downgrade(&turns));
                turns
            })
        };
        let closed = |_| Failure::Unavailable;
        let own = own.acquire_owned().await.map_err(closed)?;
        let all = Arc::clone(&self.all).acquire_owned().await;
        Ok([own, all.map_err(closed)?])
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

    fn text(&self) -> String {
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
