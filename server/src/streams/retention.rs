//! Retention: trims what is older than a stream keeps, and never what a delivery has not yet committed, unless the stream
//! says otherwise.

use std::collections::BTreeMap;
use std::ops::Range;

use millrace_storage::log::{Offset, ShardId, ShardKey};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::checkpoint::CheckpointKey;
use millrace_storage::meta::keys::delivery::DeliveryKey;
use millrace_storage::time::Timestamp;
use tokio_util::sync::CancellationToken;

use super::registry::Streams;
use super::state::{Held, Holding, StreamState};
use crate::error::Result;

/// The deliveries of each stream.
type Needed = BTreeMap<String, Vec<Reader>>;

/// A delivery and the lowest offset that it still needs, by shard. A shard that is missing is needed from 0 on.
#[derive(Debug)]
struct Reader {
    delivery: String,
    committed: BTreeMap<u32, u64>,
}

impl Reader {
    fn needs(&self, shard: ShardId) -> Offset {
        Offset(self.committed.get(&shard.0).copied().unwrap_or(0))
    }
}

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
            needed.entry(stored.value.stream).or_default().push(Reader { delivery: key.name, committed });
        }
        Ok(needed)
    }

    async fn retain_stream(&self, stream: &StreamState, readers: &[Reader], now: Timestamp) -> Result<()> {
        let spec = stream.spec();
        let kept_ms = i64::try_from(spec.retention.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp(now.as_millis().saturating_sub(kept_ms));
        let all = readers;
        let readers = if spec.hold_for_deliveries { readers } else { &[] };
        let mut holding = Holding::default();
        for shard in stream.topology().shards() {
            // Trimming must not overtake a deletion; held for one shard at a time and not while bytes are counted, since a
            // reshard waits for it, and puts for that.
            let gate = stream.gate.read().await;
            if stream.deleted.is_cancelled() {
                return Ok(());
            }
            let trim = self.log().offsets(shard.key()).start;
            let ended = self.log().offset_at(shard.key(), oldest).await?;
            let needed = readers.iter().map(|reader| reader.needs(shard.id())).min();
            let before = needed.map_or(ended, |needed| needed.min(ended));
            if before > trim {
                self.log().trim(shard.key(), before).await?;
                stream.metrics.retention_trimmed.inc_by(before.since(trim));
                tracing::debug!(stream = %stream.name(), shard = %shard.id(), %before, "trimmed");
            }
            drop(gate);
            self.hold(&mut holding, shard.key(), before.max(trim)..ended, readers).await?;
        }
        show(stream, holding, now);
        // What goes unread where nothing is held is counted by the delivery that misses it, which must find the shard.
        let needed = |shard| all.iter().map(|reader| reader.needs(shard)).min().unwrap_or(Offset(u64::MAX));
        self.drop_closed_shards(stream, oldest, needed).await
    }

    /// Adds what one shard keeps past the retention, for all and for each delivery.
    async fn hold(
        &self,
        holding: &mut Holding,
        shard: ShardKey,
        kept: Range<Offset>,
        readers: &[Reader],
    ) -> Result<()> {
        if kept.start >= kept.end {
            return Ok(());
        }
        holding.records += kept.end.since(kept.start);
        let kept_bytes = self.log().stored_bytes_in(shard, kept.clone()).await?;
        holding.bytes += kept_bytes;
        for reader in readers {
            let from = reader.needs(shard.shard).max(kept.start);
            if from >= kept.end {
                continue;
            }
            let bytes = match from == kept.start {
                true => kept_bytes,
                false => self.log().stored_bytes_in(shard, from..kept.end).await?,
            };
            let records = kept.end.since(from);
            match holding.by.iter_mut().find(|held| held.delivery == reader.delivery) {
                Some(held) => (held.records, held.bytes) = (held.records + records, held.bytes + bytes),
                None => {
                    let delivery = reader.delivery.clone();
                    holding.by.push(Held { delivery, records, bytes, since: Timestamp(0) });
                }
            }
        }
        Ok(())
    }
}

/// Puts what a pass found in place of what the last one did; who was held for before keeps the time.
fn show(stream: &StreamState, mut holding: Holding, now: Timestamp) {
    let mut shown = stream.holding.write();
    for held in &mut holding.by {
        let before = shown.by.iter().find(|before| before.delivery == held.delivery);
        held.since = before.map_or(now, |before| before.since);
        if before.is_none() {
            let (delivery, records) = (&held.delivery, held.records);
            tracing::warn!(stream = %stream.name(), delivery, records, "records are kept past the retention for a delivery");
        }
    }
    *shown = holding;
}
