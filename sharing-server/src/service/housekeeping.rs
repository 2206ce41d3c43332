//! What goes by itself: sessions, counters, and blobs whose time is over.

use keyfold_protocol::ids::Time;

use super::access::ACT;
use super::{Outcome, Work, blobs as rules};
use crate::db::{accounts, blobs, offers, sessions, throttle};

const DAY: u64 = 24 * 3600;
/// Seconds that a blob which no record names stays.
const UNNAMED: u64 = 7 * DAY;
/// Seconds that a request stays after it came and expired.
const REQUESTS: u64 = 90 * DAY;
/// Blobs that one transaction forgets.
const BATCH: u64 = 256;

/// Forgets what is over. Objects that nothing names any more are to be deleted next.
pub(crate) fn sweep(work: &Work<'_>) -> Outcome<Vec<String>> {
    let ago = |seconds| Time(work.now.0.saturating_sub(seconds));
    sessions::forget_expired(work.tx, work.now)?;
    throttle::forget(work.tx, ago(DAY))?;
    // A nonce is kept for as long as its act could be taken.
    accounts::forget_acts(work.tx, ago(2 * ACT + 1))?;
    offers::forget_requests(work.tx, ago(REQUESTS))?;
    for (share, blob) in blobs::overdue(work.tx, work.now, ago(UNNAMED), BATCH)? {
        rules::forget(work, &share, &blob)?;
    }
    Ok(blobs::doomed(work.tx, BATCH)?)
}
