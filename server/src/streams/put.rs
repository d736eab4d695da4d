//! The way of records into the log: check, route, take quota, append, and wait until they are durable.
//!
//! Nothing is reported as placed before its append ticket resolved.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_storage::log::{self, AppendTicket, NewRecord, Offset, ShardId};
use prometheus::Histogram;

use super::StreamName;
use super::admit::{Admitted, InFlight};
use super::conditions::{Expect, Line, Put, PutConditions, failure, refuse, settle_from_closed};
use super::hash_key;
use super::options::Rejected;
use super::pay::Charge;
use super::registry::Streams;
use super::room::Place;
use super::settings::StreamSettings;
use super::state::StreamState;
use super::topology::{ShardState, Topology};
use crate::auth::Payer;
use crate::error::{Error, Kind, Result};

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
    /// Whether an earlier put of the same producer and sequence stored it.
    pub duplicate: bool,
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
    /// The log does not know any more whether it stored the sequence.
    SequenceTooOld,
    /// The sequence was stored with another number of records.
    SequenceReused,
    /// The shard's next offset is not the expected one.
    ExpectationFailed {
        /// What it is.
        next_offset: Offset,
    },
    /// The server's disk is at its mark; nothing was stored.
    DiskFull {
        /// When to try again.
        retry_after: Duration,
    },
    /// The stream holds what it may; nothing was stored.
    StreamFull {
        /// When to try again.
        retry_after: Duration,
    },
}

/// The fate of one record.
pub type PutResult = Result<Placed, PutFailure>;

/// A put whose records have their place in the order, and are not yet durable.
#[must_use = "records may be acknowledged only after `durable` returned"]
#[derive(Debug)]
pub struct PendingPut {
    /// Each record's failure so far; those in a group are set by it.
    results: Vec<PutResult>,
    appends: Vec<Append>,
    began: Instant,
    latency: Histogram,
    /// The fates of the records after those of `results`, which nobody paid for.
    unpaid: Vec<PutResult>,
    charge: Charge,
    _place: Place,
    _in_flight: Option<InFlight>,
}

/// The records of a put that go to one shard.
#[derive(Debug)]
struct Append {
    shard: Arc<ShardState>,
    /// Where in the put each record stands.
    indexes: Vec<u32>,
    bytes: u64,
    line: Line,
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
    pub async fn put(&self, stream: &StreamName, put: impl Into<Put>) -> Result<Vec<PutResult>> {
        self.put_for(None, stream, put).await
    }

    /// As [`Self::put`], where somebody pays for it: its quota is taken first.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub async fn put_for(
        &self,
        payer: Option<Arc<Payer>>,
        stream: &StreamName,
        put: impl Into<Put>,
    ) -> Result<Vec<PutResult>> {
        let put = put.into();
        let bytes = put.records.iter().map(PutRecord::size).sum::<u64>();
        let place = self.try_enter(stream, usize::try_from(bytes).unwrap_or(usize::MAX))?;
        Ok(self.begin_put_for(payer, stream, put, place).await?.durable().await)
    }

    /// Queues records in the log. Puts that begin one after the other keep that order within each shard.
    /// `place` is theirs, by [`Streams::enter`], for as long as they are in flight.
    ///
    /// # Errors
    /// Where the stream is missing or the put as a whole breaks a limit; nothing is stored then.
    pub async fn begin_put(&self, stream: &StreamName, put: Put, place: Place) -> Result<PendingPut> {
        self.begin_put_for(None, stream, put, place).await
    }

    /// As [`Self::begin_put`], where somebody pays for it.
    ///
    /// # Errors
    /// As [`Self::begin_put`].
    pub async fn begin_put_for(
        &self,
        payer: Option<Arc<Payer>>,
        stream: &StreamName,
        mut put: Put,
        place: Place,
    ) -> Result<PendingPut> {
        let began = Instant::now();
        let stream = self.get(stream)?;
        check_put(&put.records, self.settings()).map_err(|rejected| self.reject(rejected))?;
        let unpaid = match &payer {
            Some(payer) => self.pay(payer, &stream, &mut put).await?,
            None => Vec::new(),
        };
        let charge = Charge(payer);
        if put.records.is_empty() {
            let (results, appends, latency) = (Vec::new(), Vec::new(), stream.metrics.put_latency.clone());
            return Ok(PendingPut {
                results,
                appends,
                began,
                latency,
                unpaid,
                charge,
                _place: place,
                _in_flight: None,
            });
        }
        // Before the gate: who moves shards must not wait for who waits for quota.
        let Admitted { refused, in_flight } = self.admit(&stream, &put).await?;
        // Held until the log has the records in its order: who moves shards waits for that, and then for an append of its own.
        let _gate = stream.gate.read().await;
        if stream.deleted.is_cancelled() {
            return Err(stream.is_deleted());
        }
        // Told for the put as a whole, and before its quota: a key that is locked does not open by trying again.
        self.keys().keyring().check(stream.id())?;
        let conditions = put.conditions;
        let topology = stream.topology();
        let (mut results, groups) = self.group(&stream, &topology, put, began, refused)?;
        let mut appends = Vec::with_capacity(groups.len());
        for Group { shard, indexes, bytes, records } in groups {
            let PutConditions { producer, expect } = conditions;
            let line = Line::of(&topology, &shard, &conditions);
            let append = log::Append { records, producer, expected_next: expect.map(|expect| expect.next_offset) };
            match self.log().append(shard.key(), append).await {
                Ok(ticket) => appends.push(Append { shard, indexes, bytes, line, ticket }),
                Err(error) => fail(&mut results, &indexes, &failure(&shard, line, &error)),
            }
        }
        let latency = stream.metrics.put_latency.clone();
        Ok(PendingPut { results, appends, began, latency, unpaid, charge, _place: place, _in_flight: in_flight })
    }

    /// Checks each record; gives the hash keys of those that are left to store.
    fn hash_keys(&self, stream: &StreamState, topology: &Topology, put: &Put) -> (Vec<PutResult>, Vec<Option<u128>>) {
        let record_bytes_max = stream.spec().record_bytes_max;
        let mut results: Vec<PutResult> = vec![UNDECIDED; put.records.len()];
        let mut keys = Vec::with_capacity(put.records.len());
        for (record, result) in put.records.iter().zip(&mut results) {
            let key = self.hash_key_of(record, record_bytes_max).map_err(|Rejected { limit, error }| {
                self.metrics().rejected(limit, 1);
                let message = error.to_string();
                *result = Err(PutFailure { kind: PutFailureKind::Invalid, message, shard: None });
            });
            keys.push(key.ok());
        }
        settle_from_closed(&**self.log(), topology, &put.conditions, &mut keys, &mut results);
        (results, keys)
    }

    /// Splits a put by shard, and takes each shard's quota, unless records are `refused` already: then that of the others
    /// is taken. Synchronous: it holds locks.
    fn group(
        &self,
        stream: &StreamState,
        topology: &Topology,
        put: Put,
        now: Instant,
        refused: Option<Vec<Option<PutFailure>>>,
    ) -> Result<(Vec<PutResult>, Vec<Group>)> {
        let (mut results, mut keys) = self.hash_keys(stream, topology, &put);
        if let Some(expect) = put.conditions.expect {
            check_expect(stream, topology, expect, &keys, &results)?;
        }
        let quota_is_taken = refused.is_some();
        if let Some(refused) = refused {
            refuse(topology, &put.conditions, refused, &mut keys, &mut results);
        }
        let Put { records, conditions } = put;
        let mut groups: Vec<Group> = Vec::new();
        let open = topology.open();
        let group_len = records.len().div_ceil(open.len());
        // Small entries, as there may be thousands of shards: the group's number plus 1.
        let mut group_of_shard: Vec<u32> = vec![0; open.len()];
        for ((index, record), key) in (0_u32..).zip(records).zip(keys) {
            let Some(hash_key) = key else { continue };
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
        for group in &mut groups {
            if quota_is_taken {
                group.bytes = group.records.iter().map(|record| record.bytes() as u64).sum();
            } else {
                take_quota(group, conditions.is_whole(), stream.name(), now, &mut results);
            }
        }
        groups.retain(|group| !group.records.is_empty());
        Ok((results, groups))
    }

    /// Checks one record; gives its hash key.
    pub(super) fn hash_key_of(&self, record: &PutRecord, record_bytes_max: u64) -> Result<u128, Rejected> {
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
const UNDECIDED: PutResult = Ok(Placed { shard: ShardId(0), offset: Offset::ZERO, duplicate: false });

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

/// A put with an expected offset is stored whole: its records must all be valid and belong to the one shard.
fn check_expect(
    stream: &StreamState,
    topology: &Topology,
    expect: Expect,
    keys: &[Option<u128>],
    results: &[PutResult],
) -> Result<()> {
    let shard = stream.shard(expect.shard)?;
    if let Some(failure) = results.iter().find_map(|result| result.as_ref().err()) {
        return Err(failure.clone().into());
    }
    if shard.closed().is_some() && keys.iter().any(Option::is_some) {
        let message = format!("shard {} of stream {} is closed", shard.id(), stream.name());
        return Err(Error::new(Kind::FailedPrecondition, message).about("shard", shard.id()));
    }
    let elsewhere = keys.iter().flatten().find(|key| topology.open()[topology.route(**key)].id() != shard.id());
    if elsewhere.is_some() {
        let message = format!("a record belongs to another shard than the expected {}", shard.id());
        return Err(Error::invalid(message).in_field("expect.shard").about("shard", shard.id()));
    }
    Ok(())
}

/// Takes quota for a group's records in order, and cuts off those that it denies; or for all of them together.
fn take_quota(group: &mut Group, whole: bool, stream: &StreamName, now: Instant, results: &mut [PutResult]) {
    let shard = Arc::clone(&group.shard);
    let account = shard.account();
    let mut incoming = account.incoming(now);
    let mut taken = 0;
    if whole {
        let bytes = group.records.iter().map(|record| record.bytes() as u64).sum();
        if incoming.take_whole(bytes, group.records.len() as u64).is_ok() {
            group.bytes = bytes;
            return;
        }
    }
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
    let failure = over_quota(&shard, stream, retry_after);
    for index in &group.indexes[taken..] {
        results[*index as usize] = Err(failure.clone());
    }
    group.indexes.truncate(taken);
    group.records.truncate(taken);
}

/// The fate of a record that its shard's quota denies.
pub(super) fn over_quota(shard: &ShardState, stream: &StreamName, retry_after: Duration) -> PutFailure {
    let (id, wait_ms) = (shard.id(), retry_after.as_millis().max(1));
    let message = format!("shard {id} of stream {stream} is over its quota; retry in {wait_ms} ms");
    PutFailure { kind: PutFailureKind::Throttled { retry_after }, message, shard: Some(id) }
}

fn fail(results: &mut [PutResult], indexes: &[u32], failure: &PutFailure) {
    for index in indexes {
        results[*index as usize] = Err(failure.clone());
    }
}

impl PendingPut {
    /// Waits until every record is durable or has failed; gives each record's fate, in the order of the put.
    pub async fn durable(mut self) -> Vec<PutResult> {
        for Append { shard, indexes, bytes, line, ticket } in self.appends {
            match ticket.durable().await {
                Ok(appended) => {
                    for (place, index) in indexes.iter().enumerate() {
                        let offset = appended.offsets.start + place as u64;
                        self.results[*index as usize] =
                            Ok(Placed { shard: shard.id(), offset, duplicate: appended.duplicate });
                    }
                    if appended.duplicate {
                        continue;
                    }
                    shard.metrics.in_records.inc_by(indexes.len() as u64);
                    shard.metrics.in_bytes.inc_by(bytes);
                    shard.take(bytes, indexes.len() as u64);
                    self.charge.stored(indexes.len() as u64, bytes);
                }
                Err(error) => fail(&mut self.results, &indexes, &failure(&shard, line, &error)),
            }
        }
        self.latency.observe(self.began.elapsed().as_secs_f64());
        self.results.append(&mut self.unpaid);
        self.results
    }
}

impl From<PutFailure> for Error {
    fn from(failure: PutFailure) -> Self {
        let kind = match failure.kind {
            PutFailureKind::Invalid | PutFailureKind::SequenceReused => Kind::Invalid,
            PutFailureKind::SequenceTooOld | PutFailureKind::ExpectationFailed { .. } => Kind::FailedPrecondition,
            PutFailureKind::Throttled { retry_after } => Kind::Throttled { retry_after },
            PutFailureKind::Unavailable => Kind::Unavailable,
            PutFailureKind::DiskFull { retry_after } => Kind::Exhausted { reason: "DISK_FULL", retry_after },
            PutFailureKind::StreamFull { retry_after } => Kind::Exhausted { reason: "STREAM_FULL", retry_after },
        };
        let error = Self::new(kind, failure.message);
        match failure.shard {
            Some(shard) => error.about("shard", shard),
            None => error,
        }
    }
}
