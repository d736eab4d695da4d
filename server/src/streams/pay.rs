//! Puts that somebody pays for: a principal's quota, over all streams, is taken before a stream's own.
//!
//! What the quota does not let through is refused record by record, in order, as a shard's quota does it; the records before
//! it go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conditions::Put;
use super::put::{PutFailure, PutFailureKind, PutRecord, PutResult};
use super::registry::Streams;
use super::state::StreamState;
use crate::auth::Payer;
use crate::error::{Error, Result};

impl Streams {
    /// Takes a payer's quota for a put, and waits for it where its puts wait. Leaves in `put` what may go on, and gives the
    /// fates of the records after it.
    ///
    /// # Errors
    /// Where the stream is deleted, or the server closes, while the put waits.
    pub(super) async fn pay(&self, payer: &Payer, stream: &StreamState, put: &mut Put) -> Result<Vec<PutResult>> {
        let sizes = put.records.iter().map(PutRecord::size);
        let bytes = || usize::try_from(sizes.clone().sum::<u64>()).unwrap_or(usize::MAX);
        // Held for as long as the put waits: who waits takes room from who would wait after it.
        let place = payer.delays().then(|| self.delayed().try_enter(bytes())).flatten();
        let wait_max = if place.is_some() { self.settings().delay_time_max } else { Duration::ZERO };
        let granted = payer.take(sizes.clone(), put.conditions.is_whole(), Instant::now(), wait_max);
        let refused = put.records.len() - granted.records;
        put.records.truncate(granted.records);
        if !granted.wait.is_zero() && granted.records > 0 {
            stream.metrics.delays.observe(granted.wait.as_secs_f64());
            tokio::select! {
                biased;
                () = stream.deleted.cancelled() => return Err(stream.is_deleted()),
                () = self.stopping().cancelled() => {
                    let message = "the server is closing; a put that waited for quota was not taken";
                    return Err(Error::unavailable(message));
                }
                () = tokio::time::sleep(granted.wait) => {}
            }
        }
        let Some(retry_after) = granted.retry_after.filter(|_| refused > 0) else { return Ok(Vec::new()) };
        Ok(vec![Err(over_quota(payer, retry_after)); refused])
    }
}

/// The fate of a record that its payer's quota denies.
fn over_quota(payer: &Payer, retry_after: Duration) -> PutFailure {
    let wait_ms = retry_after.as_millis().max(1);
    let message = format!("principal {} is over its quota; retry in {wait_ms} ms", payer.name());
    PutFailure { kind: PutFailureKind::Throttled { retry_after }, message, shard: None }
}

/// A payer and what it is charged for, counted when it is durable.
#[derive(Debug)]
pub(super) struct Charge(pub(super) Option<Arc<Payer>>);

impl Charge {
    pub(super) fn stored(&self, records: u64, bytes: u64) {
        if let Some(payer) = &self.0 {
            payer.stored(records, bytes);
        }
    }
}
