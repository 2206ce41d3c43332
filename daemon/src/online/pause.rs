//! Pauses between attempts: longer each time, and not the same for everybody.

use std::time::Duration;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_millis(400);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait before the next attempt.
#[derive(Debug)]
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pauses {
    /// The pause after a failure: between half of and the whole of what is due.
    pub(super) fn after_failure(&mut self) -> Duration {
        let due = self.0;
        self.0 = (due * 2).min(LONGEST);
        let mut byte = [0];
        // Without randomness the pause is the longest.
        let part = match keyfold_crypto::fill_random(&mut byte) {
            Ok(()) => u32::from(byte[0]),
            Err(_) => 255,
        };
        due / 2 + due / 2 * part / 255
    }

    /// It worked.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        let mut pauses = Pauses::default();
        let mut due = FIRST;
        for _ in 0..20 {
            let pause = pauses.after_failure();
            assert!((due / 2..=due).contains(&pause));
            due = (due * 2).min(LONGEST);
        }
        pauses.reset();
        assert!(pauses.after_failure() <= FIRST);
    }
}
