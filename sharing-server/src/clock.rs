//! The server's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use keyfold_protocol::ids::Time;

/// The time of the system, and what it is set ahead by: nothing, but by who tests what time does.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    ahead: Arc<AtomicU64>,
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = since.map_or(0, |since| since.as_secs());
        Time(seconds.saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    /// Sets the clock ahead, for all who share it.
    pub fn set_ahead(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }
}
