//! Waiting for a condition, never for time alone.

use std::thread;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);
/// Most that a single look at the condition counts for: a machine that stood still meanwhile gave
/// nobody the time to bring it about.
const MOST: Duration = Duration::from_secs(2);

/// Waits until `condition` holds; panics, naming `what`, when it does not within `limit`.
pub fn until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    loop {
        let began = Instant::now();
        if condition() {
            return;
        }
        assert!(waited < limit, "{what}: not so within {limit:?}");
        thread::sleep(PAUSE);
        waited += began.elapsed().min(MOST);
    }
}
