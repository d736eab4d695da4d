//! Retention: trims what is older than a stream keeps, and never what a delivery has not yet committed.

use std::collections::BTreeMap;

use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::checkpoint::CheckpointKey;
use millrace_storage::meta::keys::delivery::DeliveryKey;
use millrace_storage::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::registry::Streams;
use super::state::StreamState;
use crate::error::Result;

/// The lowest offset that a delivery still needs, by stream and shard. A shard that is missing is needed from 0 on.
type Needed = BTreeMap<String, Vec<BTreeMap<u32, u64>>>;

impl Streams {
    /// Trims, one pass at an interval, until `stop`. A pass that fails is logged, counted and repeated.
    pub async fn run_retention(self, stop: CancellationToken) {
        let mut turn =
            tokio::time::interval(self.settings().retention_interval.max(std::time::Duration::from_millis(1)));
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turn.tick() => {}
            }
            if let Err(error) = self.retain(Timestamp::now()).await {
                self.metrics().retention_errors.inc();
                tracing::warn!(%error, "cannot trim what is past its retention");
            }
        }
    }

    /// One pass over all streams, as of `now`. A stream that fails does not keep the others from their turn.
    ///
    /// # Errors
    /// The first failure.
    pub async fn retain(&self, now: Timestamp) -> Result<()> {
        let needed = self.needed().await?;
        let mut outcome = Ok(());
        for stream in self.list() {
            let readers = needed.get(stream.name().as_str()).map_or(&[][..], Vec::as_slice);
            let trimmed = self.retain_stream(&stream, readers, now).await;
            outcome = outcome.and(trimmed);
        }
        outcome
    }

    async fn needed(&self) -> Result<Needed> {
        let mut needed = Needed::new();
        // Checkpoints after deliveries: one that moved in between is only further on.
        let deliveries = keys::scan::<DeliveryKey>(self.meta()).await?;
        let checkpoints = keys::scan::<CheckpointKey>(self.meta()).await?;
        let mut offsets: BTreeMap<String, BTreeMap<u32, u64>> =
            checkpoints.into_iter().map(|(key, stored)| (key.delivery, stored.value.offsets)).collect();
        for (key, stored) in deliveries {
            let committed = offsets.remove(&key.name).unwrap_or_default();
            needed.entry(stored.value.stream).or_default().push(committed);
        }
        Ok(needed)
    }

    async fn retain_stream(&self, stream: &StreamState, readers: &[BTreeMap<u32, u64>], now: Timestamp) -> Result<()> {
        let kept_ms = i64::try_from(stream.spec().retention.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp(now.as_millis().saturating_sub(kept_ms));
        let mut held = 0;
        // Trimming must not overtake a deletion.
        let _gate = stream.gate.read().await;
        if stream.deleted.is_cancelled() {
            return Ok(());
        }
        for shard in stream.topology().shards() {
            let trim = self.log().offsets(shard.key()).start;
            let ended = self.log().offset_at(shard.key(), oldest).await?;
            let before = ended.min(still_needed(readers, shard.id()));
            held += ended.since(before.max(trim));
            if before > trim {
                self.log().trim(shard.key(), before).await?;
                let trimmed = self.metrics().retention_trimmed.with_label_values(&[stream.name().as_str()]);
                trimmed.inc_by(before.since(trim));
                tracing::debug!(stream = %stream.name(), shard = %shard.id(), %before, "trimmed");
            }
        }
        let gauge = self.metrics().retention_held.with_label_values(&[stream.name().as_str()]);
        gauge.set(i64::try_from(held).unwrap_or(i64::MAX));
        Ok(())
    }
}

fn still_needed(readers: &[BTreeMap<u32, u64>], shard: ShardId) -> Offset {
    let committed = readers.iter().map(|offsets| offsets.get(&shard.0).copied().unwrap_or(0));
    Offset(committed.min().unwrap_or(u64::MAX))
}
