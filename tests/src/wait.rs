//! Waiting on a condition, with a deadline and words for what was waited for.

use std::time::{Duration, Instant};

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Polls `condition` until it gives a value.
///
/// # Panics
/// When it gives none within `deadline`; the message names `what`.
pub fn until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} for {what}, in vain");
        std::thread::sleep(POLL_INTERVAL);
    }
}
