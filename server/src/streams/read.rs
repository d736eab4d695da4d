//! The way of records out of the log: positions, one read, and how far a reader is behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_storage::log::{Log, Offset, ReadLimit, Record, ShardId, ShardKey};
use millrace_storage::time::Timestamp;

use super::consumers::{ConsumerName, Payer};
use super::hash_key::HashKeyRange;
use super::name::StreamName;
use super::options::Rejected;
use super::quota::Account;
use super::registry::Streams;
use super::state::StreamState;
use super::topology::{ShardState, Topology};
use crate::error::{Error, Kind, Result};

/// Where reading starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The oldest record that is kept.
    TrimHorizon,
    /// Just after the newest record.
    Latest,
    /// The record with this offset; one that was trimmed means the trim horizon.
    Offset(Offset),
    /// The record after this offset.
    After(Offset),
    /// The first record that arrived at or after this time.
    Time(Timestamp),
}

impl Position {
    /// The same place, by the offset of the first record wanted where the position names one.
    fn first_wanted(self) -> Self {
        match self {
            Self::After(offset) => Self::Offset(Offset(offset.0.saturating_add(1))),
            position => position,
        }
    }

    /// Whether it has a meaning in one shard only.
    pub(super) const fn is_of_one_shard(self) -> bool {
        matches!(self, Self::Offset(_) | Self::After(_))
    }
}

/// Records of one shard, in offset order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardRecords {
    /// The shard.
    pub shard: ShardId,
    /// Its records.
    pub records: Vec<Record>,
    /// Where to read on.
    pub next_offset: Offset,
    /// How long ago the last record given arrived, in milliseconds; zero at the tip.
    pub millis_behind_latest: u64,
    /// Set where the shard is closed and `next_offset` is its end.
    pub end: Option<ShardEnd>,
}

/// The end of a closed shard, for its reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardEnd {
    /// The shards that took over, by hash key: to be read from their first record on, once all their parents are read.
    pub children: Vec<ChildShard>,
}

/// A shard that took over from a closed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildShard {
    /// Its number.
    pub shard: ShardId,
    /// The shards that it took over from.
    pub parents: Vec<ShardId>,
    /// The hash keys that belong to it.
    pub range: HashKeyRange,
}

impl Streams {
    /// As [`Self::get_waiting`], of what is there.
    ///
    /// # Errors
    /// As there.
    pub async fn get_records(
        &self,
        stream: &StreamName,
        shard: ShardId,
        position: Position,
        limit: ReadLimit,
    ) -> Result<ShardRecords> {
        self.get_waiting(stream, shard, position, limit, Duration::ZERO, None).await
    }

    /// Reads one shard once. A limit of zero takes the most that is allowed. Where nothing is left to read, waits for a
    /// record, or for the shard's end; the answer is empty where neither comes in time, and when the server closes. What is
    /// read is taken from the out quota of `consumer`, or of all readers without a name.
    ///
    /// # Errors
    /// Where the stream or shard is missing, the offset is past the tip, a limit is past the most, or the shard's out quota
    /// is used up.
    pub async fn get_waiting(
        &self,
        stream: &StreamName,
        shard: ShardId,
        position: Position,
        limit: ReadLimit,
        wait: Duration,
        consumer: Option<&ConsumerName>,
    ) -> Result<ShardRecords> {
        let stream = self.get(stream)?;
        let shard = &*stream.shard(shard)?;
        let limit = self.read_limit(limit).map_err(|rejected| self.reject(rejected))?;
        self.check_wait(wait).map_err(|rejected| self.reject(rejected))?;
        let payer = self.payer(&stream, consumer)?;
        let from = self.resolve(&stream, shard, position).await?;
        if !wait.is_zero() {
            self.wait_for_record(&stream, shard, from, wait).await?;
        }
        let (began, account) = (Instant::now(), payer.account(&stream, shard));
        if let Err(retry_after) = account.outgoing(began) {
            shard.metrics.throttled_out.inc();
            let wait = retry_after.as_millis().max(1);
            return Err(Error::new(
                Kind::Throttled { retry_after },
                format_args!(
                    "shard {} of stream {} is over its out quota; retry in {wait} ms",
                    shard.id(),
                    stream.name()
                ),
            )
            .about("stream", stream.name())
            .about("shard", shard.id()));
        }
        let mut read = read_shard(&**self.log(), shard, &account, from, limit).await?;
        read.end = end_at(&stream.topology(), shard, read.next_offset);
        stream.readers.get.read(read.millis_behind_latest);
        stream.metrics.get_latency.observe(began.elapsed().as_secs_f64());
        Ok(read)
    }

    /// Whose out quota a reader takes.
    pub(super) fn payer(&self, stream: &StreamState, consumer: Option<&ConsumerName>) -> Result<Payer> {
        let most = self.settings().consumers_max;
        stream.consumers.payer(consumer, most as usize).ok_or_else(|| {
            let message = format!("stream {} is read under {most} names, and that is the limit", stream.name());
            self.reject(Rejected::new("consumers_max", "consumer", message)).about("stream", stream.name())
        })
    }

    fn check_wait(&self, wait: Duration) -> Result<(), Rejected> {
        let most = self.settings().get_wait_max;
        if wait <= most {
            return Ok(());
        }
        let message = format!("a wait of {} ms is past the limit of {} ms", wait.as_millis(), most.as_millis());
        Err(Rejected::new("get_wait_max", "wait_ms", message))
    }

    /// Returns once there is something to tell a reader at `from`, or there was nothing for so long.
    async fn wait_for_record(
        &self,
        stream: &StreamState,
        shard: &ShardState,
        from: Offset,
        wait: Duration,
    ) -> Result<()> {
        let (mut tail, mut topology) = (self.log().tail(shard.key()), stream.watch_topology());
        tokio::select! {
            biased;
            () = stream.deleted().cancelled() => return Err(stream.is_deleted()),
            _ = tail.wait_for(|tip| *tip > from) => {}
            _ = topology.wait_for(|_| shard.closed().is_some()) => {}
            () = self.stopping().cancelled() => {}
            () = tokio::time::sleep(wait) => {}
        }
        Ok(())
    }

    fn read_limit(&self, asked: ReadLimit) -> Result<ReadLimit, Rejected> {
        let records_max = self.settings().get_records_max as usize;
        let bytes_max = usize::try_from(self.settings().get_bytes_max.as_u64()).unwrap_or(usize::MAX);
        if asked.records_max > records_max {
            let message = format!("a read of {} records is past the limit of {records_max}", asked.records_max);
            return Err(Rejected::new("get_records_max", "records_max", message));
        }
        if asked.bytes_max > bytes_max {
            let message = format!("a read of {} bytes is past the limit of {bytes_max}", asked.bytes_max);
            return Err(Rejected::new("get_bytes_max", "bytes_max", message));
        }
        let or_most = |asked, most| if asked == 0 { most } else { asked };
        Ok(ReadLimit {
            records_max: or_most(asked.records_max, records_max),
            bytes_max: or_most(asked.bytes_max, bytes_max),
        })
    }

    /// The offset that a position means now.
    pub(crate) async fn resolve(&self, stream: &StreamState, shard: &ShardState, position: Position) -> Result<Offset> {
        let readable = self.log().offsets(shard.key());
        match position.first_wanted() {
            Position::TrimHorizon => Ok(readable.start),
            Position::Latest => Ok(readable.end),
            Position::Time(time) => Ok(self.log().offset_at(shard.key(), time).await?),
            Position::Offset(offset) if offset <= readable.end => Ok(offset.max(readable.start)),
            Position::Offset(offset) | Position::After(offset) => Err(Error::invalid(format_args!(
                "offset {offset} is past the next offset {} of shard {} of stream {}",
                readable.end,
                shard.id(),
                stream.name()
            ))
            .in_field("position")),
        }
    }
}

/// Reads and charges what was read.
pub(super) async fn read_shard(
    log: &dyn Log,
    shard: &ShardState,
    account: &Account,
    from: Offset,
    limit: ReadLimit,
) -> Result<ShardRecords> {
    let records = log.read(shard.key(), from, limit).await?;
    let bytes = records.iter().map(|record| (record.partition_key.len() + record.data.len()) as u64).sum();
    account.charge_outgoing(bytes);
    shard.metrics.out_bytes.inc_by(bytes);
    shard.metrics.out_records.inc_by(records.len() as u64);
    // An empty answer means the tip, or that all from here on was trimmed.
    let next_offset = match records.last() {
        Some(record) => record.offset + 1,
        None => from.max(log.offsets(shard.key()).start),
    };
    let millis_behind_latest = behind(log, shard.key(), next_offset, records.last());
    Ok(ShardRecords { shard: shard.id(), records, next_offset, millis_behind_latest, end: None })
}

/// The end of a shard, where it is closed and a reader is there. Where a child is gone as well, the oldest shards that are
/// left of its hash keys take its place.
pub(super) fn end_at(topology: &Topology, shard: &ShardState, next: Offset) -> Option<ShardEnd> {
    let closed = shard.closed().filter(|closed| next >= closed.end)?;
    let mut children: Vec<_> = closed.children.iter().filter_map(|child| topology.shard(*child)).collect();
    if children.len() < closed.children.len() {
        let range = shard.range();
        children.extend(topology.shards().iter().filter(|later| {
            let meets = later.range().start <= range.end && later.range().end >= range.start;
            later.id() > shard.id() && meets && later.parents().iter().all(|parent| topology.shard(*parent).is_none())
        }));
        children.sort_unstable_by_key(|child| child.id());
        children.dedup_by_key(|child| child.id());
    }
    let child = |child: &Arc<ShardState>| ChildShard {
        shard: child.id(),
        parents: child.parents().to_vec(),
        range: child.range(),
    };
    Some(ShardEnd { children: children.into_iter().map(child).collect() })
}

/// Zero at the tip; otherwise how long ago the last record arrived that the reader has.
fn behind(log: &dyn Log, shard: ShardKey, next_offset: Offset, last: Option<&Record>) -> u64 {
    match last {
        Some(record) if next_offset < log.offsets(shard).end => {
            u64::try_from(Timestamp::now().as_millis() - record.arrival_time.as_millis()).unwrap_or(0)
        }
        _ => 0,
    }
}
