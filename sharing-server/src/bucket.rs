//! How much somebody does: leaky buckets, one for each address or account.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What each does fills a bucket of his own, which empties evenly. Each process of a server has its own.
pub(crate) struct Buckets {
    capacity: f64,
    /// What leaves in a second.
    leak: f64,
    levels: Mutex<Levels>,
}

struct Levels {
    each: HashMap<Vec<u8>, Level>,
    /// When empty ones were last forgotten to make room.
    swept: Instant,
}

/// How full a bucket was.
#[derive(Clone, Copy)]
struct Level {
    amount: f64,
    at: Instant,
}

impl Buckets {
    /// Buckets that are told apart at one time; all others are one.
    const KEYS: usize = 100_000;
    /// Looking for empty ones takes about a millisecond: no more often than so.
    const SWEEP: Duration = Duration::from_secs(1);

    /// Buckets that hold so much, and that are empty again after so long.
    pub(crate) fn new(capacity: u64, emptied: Duration, now: Instant) -> Self {
        let capacity = capacity.max(1) as f64;
        Self {
            capacity,
            leak: capacity / emptied.as_secs_f64(),
            levels: Mutex::new(Levels {
                each: HashMap::new(),
                swept: now,
            }),
        }
    }

    /// Pours in what happened; whether the bucket runs over by it, and did not before.
    pub(crate) fn overflows(&self, whose: &[u8], amount: u64, now: Instant) -> bool {
        self.with(whose, now, |level| {
            let before = *level;
            *level += amount as f64;
            before <= self.capacity && *level > self.capacity
        })
    }

    /// Pours in one, if there is room.
    ///
    /// # Errors
    /// How long there is to be none.
    pub(crate) fn admit(&self, whose: &[u8], now: Instant) -> Result<(), Duration> {
        self.with(whose, now, |level| {
            let over = *level + 1.0 - self.capacity;
            if over > 0.0 {
                return Err(Duration::from_secs_f64(over / self.leak));
            }
            *level += 1.0;
            Ok(())
        })
    }

    fn with<T>(&self, whose: &[u8], now: Instant, pour: impl FnOnce(&mut f64) -> T) -> T {
        let mut levels = self.levels.lock();
        let known = levels.each.contains_key(whose);
        if !known && levels.each.len() >= Self::KEYS && now >= levels.swept + Self::SWEEP {
            levels.swept = now;
            levels.each.retain(|_, level| self.left(*level, now) > 0.0);
        }
        let apart = known || levels.each.len() < Self::KEYS;
        let key = if apart { whose.to_vec() } else { Vec::new() };
        let empty = Level {
            amount: 0.0,
            at: now,
        };
        let level = levels.each.entry(key).or_insert(empty);
        level.amount = self.left(*level, now);
        level.at = now;
        pour(&mut level.amount)
    }

    fn left(&self, level: Level, now: Instant) -> f64 {
        let leaked = now.saturating_duration_since(level.at).as_secs_f64() * self.leak;
        (level.amount - leaked).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn after_a_burst_as_many_are_admitted_as_leak() {
        let begin = Instant::now();
        let buckets = Buckets::new(10, SECOND, begin);
        for _ in 0..10 {
            assert_eq!(buckets.admit(b"a", begin), Ok(()));
        }
        let wait = buckets.admit(b"a", begin).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(buckets.admit(b"b", begin), Ok(()), "another has his own");
        let later = begin + wait + Duration::from_millis(1);
        assert_eq!(buckets.admit(b"a", later), Ok(()));
        assert!(buckets.admit(b"a", later).is_err());
    }

    #[test]
    fn who_was_refused_owes_nothing_for_it() {
        let begin = Instant::now();
        let buckets = Buckets::new(10, SECOND, begin);
        let admitted = (0..1000).filter(|_| buckets.admit(b"a", begin).is_ok());
        assert_eq!(admitted.count(), 10);
        assert_eq!(buckets.admit(b"a", begin + SECOND), Ok(()));
    }

    #[test]
    fn running_over_is_told_once() {
        let begin = Instant::now();
        let buckets = Buckets::new(100, SECOND, begin);
        assert!(!buckets.overflows(b"a", 100, begin));
        assert!(buckets.overflows(b"a", 1, begin));
        assert!(!buckets.overflows(b"a", 50, begin));
        let later = begin + 2 * SECOND;
        assert!(buckets.overflows(b"a", u64::MAX, later), "it had emptied");
    }

    #[test]
    fn when_there_are_too_many_those_that_are_empty_are_forgotten() {
        let begin = Instant::now();
        let buckets = Buckets::new(1, SECOND, begin);
        for key in 0..=Buckets::KEYS as u64 {
            assert_eq!(buckets.admit(&key.to_le_bytes(), begin), Ok(()));
        }
        assert!(buckets.admit(b"a", begin).is_err(), "the one of all others");
        assert_eq!(buckets.admit(b"a", begin + SECOND), Ok(()));
        assert_eq!(buckets.levels.lock().each.len(), 1);
    }
}
