//! Where time stamps come from: the system's clock, or one a test moves by hand.

use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::vfs::Timestamp;

const NANOS_PER_SEC: u32 = 1_000_000_000;

/// A source of the present time.
pub trait Clock: Send + Sync {
    /// The present time, in UTC.
    fn now(&self) -> Timestamp;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Timestamp {
                secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
                nanos: since.subsec_nanos(),
            },
            Err(before) => mirrored(before.duration()),
        }
    }
}

/// The time `before` ahead of 1970, with nanoseconds that count forward.
fn mirrored(before: std::time::Duration) -> Timestamp {
    let secs = -i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
    match before.subsec_nanos() {
        0 => Timestamp { secs, nanos: 0 },
        nanos => Timestamp {
            secs: secs - 1,
            nanos: NANOS_PER_SEC - nanos,
        },
    }
}

/// A clock that stands still until it is moved, so that tests can name every time stamp.
#[derive(Debug, Default)]
pub struct TestClock(Mutex<Timestamp>);

impl TestClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self(Mutex::new(start))
    }

    /// Shows `time` from now on.
    pub fn set(&self, time: Timestamp) {
        *self.0.lock() = time;
    }

    /// Moves on by `secs` seconds.
    pub fn advance(&self, secs: u32) {
        self.0.lock().secs += i64::from(secs);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nanoseconds_count_forward_before_1970() {
        let half = mirrored(Duration::from_millis(1500));
        assert_eq!(
            half,
            Timestamp {
                secs: -2,
                nanos: 500_000_000
            }
        );
        assert_eq!(
            mirrored(Duration::from_secs(3)),
            Timestamp { secs: -3, nanos: 0 }
        );
    }

    #[test]
    fn test_clock_moves_only_by_hand() {
        let clock = TestClock::new(Timestamp { secs: 7, nanos: 1 });
        assert_eq!(clock.now(), clock.now());
        clock.advance(2);
        assert_eq!(clock.now(), Timestamp { secs: 9, nanos: 1 });
    }
}
