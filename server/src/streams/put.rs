//! The way of records into the log: check, route, take quota, append, and wait until they are durable.
//!
//! Nothing is reported as placed before its append ticket resolved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_storage::log::{AppendTicket, NewRecord, Offset, ShardId};

use super::StreamName;
use super::hash_key;
use super::options::Rejected;
use super::registry::Streams;
use super::room::Place;
use super::settings::StreamSettings;
use super::state::StreamState;
use super::topology::ShardState;
use crate::error::{Error, Result};

/// A record to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutRecord {
    /// 1 to 256 characters.
    pub partition_key: String,
    /// Decimal, below 2^128; overrides the partition key's hash key.
    pub explicit_hash_key: Option<String>,
    /// The event.
    pub data: Bytes,
}

impl PutRecord {
    /// Data plus partition key, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        (self.partition_key.len() + self.data.len()) as u64
    }
}

/// Where a durable record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The shard.
    pub shard: ShardId,
    /// Its place in the shard.
    pub offset: Offset,
}

/// Why one record of a put was not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutFailure {
    /// What the caller can do.
    pub kind: PutFailureKind,
    /// In words.
    pub message: String,
    /// The shard, where the record could be routed.
    pub shard: Option<ShardId>,
}

/// What a caller can do about a record that was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutFailureKind {
    /// The record breaks a rule; a retry cannot succeed.
    Invalid,
    /// The shard's quota is used up.
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// The log did not take it; it may be retried, and may have been stored.
    Unavailable,
}

/// The fate of one record.
pub type PutResult = Result<Placed, PutFailure>;

/// A put whose records have their place in the order, and are not yet durable.
#[must_use = "records may be acknowledged only after `durable` returned"]
#[derive(Debug)]
pub struct PendingPut {
    streams: Streams,
    /// Each record's failure so far; those in a group are set by it.
    results: Vec<PutResult>,
    appends: Vec<Append>,
    began: Instant,
    _place: Place,
}

/// The records of a put that go to one shard.
#[derive(Debug)]
struct Append {
    shard: Arc<ShardState>,
    /// Where in the put each record stands.
    indexes: Vec<u32>,
    bytes: u64,
    ticket: AppendTicket,
}

/// The records of a put that go to one shard, before the log has them.
#[derive(Debug)]
struct Group {
    shard: Arc<ShardState>,
    indexes: Vec<u32>,
    bytes: u64,
    records: Vec<NewRecord>,
}

impl Streams {
    /// Puts records and waits until they are durable. Gives each record's fate, in order.
    ///
    /// # Errors
    /// Where the stream is missing, the put as a whole breaks a limit, or too many are in flight; nothing is stored then.
    pub async fn put(&self, stream: &StreamName, records: Vec<PutRecord>) -> Result<Vec<PutResult>> {
        let bytes = records.iter().map(PutRecord::size).sum::<u64>();
        let place = self.room().try_enter(usize::try_from(bytes).unwrap_or(usize::MAX)).ok_or_else(|| {
            self.metrics().rejected("put_in_flight_bytes_max", 1);
            let max = self.settings().put_in_flight_bytes_max;
            Error::unavailable(format_args!("puts of {max} are not yet durable, which is the limit; try again"))
        })?;
        Ok(self.begin_put(stream, records, place).await?.durable().await)
    }

    /// Queues records in the log. Puts that begin one after the other keep that order within each shard.
    /// `place` is theirs in [`Streams::room`], for as long as they are in flight.
    ///
    /// # Errors
    /// Where the stream is missing or the put as a whole breaks a limit; nothing is stored then.
    pub async fn begin_put(&self, stream: &StreamName, records: Vec<PutRecord>, place: Place) -> Result<PendingPut> {
        let began = Instant::now();
        let stream = self.get(stream)?;
        check_put(&records, self.settings()).map_err(|rejected| self.reject(rejected))?;
        // Held until the log has the records in its order: who moves shards waits for that, and then for an append of its own.
        let _gate = stream.gate.read().await;
        if stream.deleted.is_cancelled() {
            return Err(stream.is_deleted());
        }
        let (mut results, groups) = self.group(&stream, records, began);
        let mut appends = Vec::with_capacity(groups.len());
        for Group { shard, indexes, bytes, records } in groups {
            match self.log().append(shard.key(), records.into()).await {
                Ok(ticket) => appends.push(Append { shard, indexes, bytes, ticket }),
                Err(error) => fail(&mut results, &indexes, &shard, &error),
            }
        }
        Ok(PendingPut { streams: self.clone(), results, appends, began, _place: place })
    }

    /// Splits a put by shard, and takes each shard's quota. Synchronous: it holds locks.
    fn group(&self, stream: &StreamState, records: Vec<PutRecord>, now: Instant) -> (Vec<PutResult>, Vec<Group>) {
        let record_bytes_max = stream.spec().record_bytes_max;
        let mut results: Vec<PutResult> = vec![UNDECIDED; records.len()];
        let mut groups: Vec<Group> = Vec::new();
        let topology = stream.topology();
        let open = topology.open();
        let group_len = records.len().div_ceil(open.len());
        // Small entries, as there may be thousands of shards: the group's number plus 1.
        let mut group_of_shard: Vec<u32> = vec![0; open.len()];
        for (index, record) in (0_u32..).zip(records) {
            match self.hash_key_of(&record, record_bytes_max) {
                Ok(hash_key) => {
                    let shard = topology.route(hash_key);
                    if group_of_shard[shard] == 0 {
                        let (indexes, records) = (Vec::with_capacity(group_len), Vec::with_capacity(group_len));
                        groups.push(Group { shard: Arc::clone(&open[shard]), indexes, bytes: 0, records });
                        group_of_shard[shard] = u32::try_from(groups.len()).unwrap_or(u32::MAX);
                    }
                    let group = group_of_shard[shard] as usize - 1;
                    let PutRecord { partition_key, data, .. } = record;
                    groups[group].indexes.push(index);
                    groups[group].records.push(NewRecord { partition_key: partition_key.into(), data });
                }
                Err(Rejected { limit, error }) => {
                    self.metrics().rejected(limit, 1);
                    let message = error.to_string();
                    results[index as usize] = Err(PutFailure { kind: PutFailureKind::Invalid, message, shard: None });
                }
            }
        }
        for group in &mut groups {
            take_quota(group, stream.name(), now, &mut results);
        }
        groups.retain(|group| !group.records.is_empty());
        (results, groups)
    }

    /// Checks one record; gives its hash key.
    fn hash_key_of(&self, record: &PutRecord, record_bytes_max: u64) -> Result<u128, Rejected> {
        let chars_max = self.settings().partition_key_chars_max as usize;
        let key = &record.partition_key;
        if key.is_empty() {
            let message = format!("a partition key is empty, and needs 1 to {chars_max} characters");
            return Err(Rejected::new("partition_key_empty", "partition_key", message));
        }
        // Bytes are at least as many as characters, so short keys need no count.
        if key.len() > chars_max && key.chars().count() > chars_max {
            let message =
                format!("a partition key of {} characters is past the limit of {chars_max}", key.chars().count());
            return Err(Rejected::new("partition_key_chars_max", "partition_key", message));
        }
        if record.size() > record_bytes_max {
            let message = format!(
                "a record of {} bytes (data and partition key) is past the stream's limit of {record_bytes_max}",
                record.size()
            );
            return Err(Rejected::new("record_bytes_max", "data", message));
        }
        match &record.explicit_hash_key {
            None => Ok(hash_key::of_partition_key(key)),
            Some(decimal) => hash_key::parse(decimal).ok_or_else(|| {
                let shown: String = decimal.chars().take(48).collect();
                let message = format!("the explicit hash key {shown:?} is not a decimal number below 2^128");
                Rejected::new("explicit_hash_key", "explicit_hash_key", message)
            }),
        }
    }
}

/// Stands in `results` until a record's append decides it.
const UNDECIDED: PutResult = Ok(Placed { shard: ShardId(0), offset: Offset::ZERO });

fn check_put(records: &[PutRecord], settings: &StreamSettings) -> Result<(), Rejected> {
    let (count, count_max) = (records.len(), settings.put_records_max as usize);
    if count == 0 {
        return Err(Rejected::new("put_records_min", "records", "a put needs at least 1 record".to_owned()));
    }
    if count > count_max {
        let message = format!("a put of {count} records is past the limit of {count_max}");
        return Err(Rejected::new("put_records_max", "records", message));
    }
    let (bytes, bytes_max) = (records.iter().map(PutRecord::size).sum::<u64>(), settings.put_bytes_max.as_u64());
    if bytes > bytes_max {
        let message = format!("a put of {bytes} bytes (data and partition keys) is past the limit of {bytes_max}");
        return Err(Rejected::new("put_bytes_max", "records", message));
    }
    Ok(())
}

/// Takes quota for a group's records in order, and cuts off those that it denies.
fn take_quota(group: &mut Group, stream: &StreamName, now: Instant, results: &mut [PutResult]) {
    let shard = Arc::clone(&group.shard);
    let account = shard.account();
    let mut incoming = account.incoming(now);
    let mut taken = 0;
    for record in &group.records {
        let bytes = (record.partition_key.len() + record.data.len()) as u64;
        if incoming.take(bytes).is_err() {
            break;
        }
        group.bytes += bytes;
        taken += 1;
    }
    let denied = incoming.denied();
    drop(incoming);
    let Some(retry_after) = denied else { return };
    shard.metrics.throttled_in.inc_by((group.records.len() - taken) as u64);
    let message = format!(
        "shard {} of stream {stream} is over its quota; retry in {} ms",
        shard.id(),
        retry_after.as_millis().max(1)
    );
    for index in &group.indexes[taken..] {
        let kind = PutFailureKind::Throttled { retry_after };
        results[*index as usize] = Err(PutFailure { kind, message: message.clone(), shard: Some(shard.id()) });
    }
    group.indexes.truncate(taken);
    group.records.truncate(taken);
}

fn fail(results: &mut [PutResult], indexes: &[u32], shard: &ShardState, error: &millrace_storage::log::Error) {
    let kind = match error {
        millrace_storage::log::Error::TooLarge { .. } => PutFailureKind::Invalid,
        _ => PutFailureKind::Unavailable,
    };
    let failure = PutFailure { kind, message: error.to_string(), shard: Some(shard.id()) };
    for index in indexes {
        results[*index as usize] = Err(failure.clone());
    }
}

impl PendingPut {
    /// Waits until every record is durable or has failed; gives each record's fate, in the order of the put.
    pub async fn durable(mut self) -> Vec<PutResult> {
        for Append { shard, indexes, bytes, ticket } in self.appends {
            match ticket.durable().await {
                Ok(appended) => {
                    for (place, index) in indexes.iter().enumerate() {
                        let offset = appended.offsets.start + place as u64;
                        self.results[*index as usize] = Ok(Placed { shard: shard.id(), offset });
                    }
                    shard.metrics.in_records.inc_by(indexes.len() as u64);
                    shard.metrics.in_bytes.inc_by(bytes);
                }
                Err(error) => fail(&mut self.results, &indexes, &shard, &error),
            }
        }
        self.streams.metrics().put_latency.observe(self.began.elapsed().as_secs_f64());
        self.results
    }
}

impl From<PutFailure> for Error {
    fn from(failure: PutFailure) -> Self {
        use crate::error::Kind;
        let kind = match failure.kind {
            PutFailureKind::Invalid => Kind::Invalid,
            PutFailureKind::Throttled { retry_after } => Kind::Throttled { retry_after },
            PutFailureKind::Unavailable => Kind::Unavailable,
        };
        let error = Self::new(kind, failure.message);
        match failure.shard {
            Some(shard) => error.about("shard", shard),
            None => error,
        }
    }
}
