//! Reading: records of one shard become a chunk, by way of the transform chain and the converter.
//!
//! It must never read past the offset that it is given, so that a batch that is redone has the same records.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use bytes::Bytes;
use millrace_storage::lake::convert::Converter;
use millrace_storage::lake::input::{Input as RowInput, Rows};
use millrace_storage::lake::parquet::KeyedBatch;
use millrace_storage::lake::partition::{PartitionCounter, PartitionSet};
use millrace_storage::lake::row::{Cause, Row, SetAside};
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::log::{self, Log, Offset, ReadLimit, Record, ShardId, ShardKey};
use millrace_storage::meta::keys::Totals;
use millrace_storage::time::Timestamp;

use super::chunk::{Chunk, Content};
use crate::delivery::budget::{Budget, Reservation};
use crate::delivery::declared::DeclaredTable;
use crate::delivery::layout::{Keys, Layout};
use crate::delivery::metrics::WorkerMetrics;
use crate::delivery::settings::CorruptBlocks;
use crate::delivery::turns::{Priority, Turns};
use crate::error::{Error, Kind, Result};
use crate::transform::{Chain, Failure, Input, Outcome, PartitionKeys};

/// The most bytes of records in one chunk.
pub(crate) const CHUNK_BYTES_MAX: usize = 4 << 20;
/// The most records in one chunk.
pub(crate) const CHUNK_RECORDS_MAX: usize = 16_384;
/// While records are converted they exist as records, as rows and as columns.
const RESERVED_PER_BYTE: u64 = 3;
/// What a row takes beside its bytes.
const ROW_OVERHEAD_BYTES: u64 = 160;

/// Makes rows of outputs: a table's converter with its evolving schema, or nothing for lines.
#[derive(Debug)]
pub(crate) enum Converting {
    /// Rows of a table.
    Table(Box<Converter>),
    /// Lines are written as they are.
    Lines,
}

impl Converting {
    /// The schema after the last conversion.
    pub(crate) fn schema(&self) -> Option<TableSchema> {
        match self {
            Self::Table(converter) => Some(converter.schema().clone()),
            Self::Lines => None,
        }
    }
}

/// How memory for a chunk is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Waiting for it.
    Wait,
    /// At once, also past the budget: a batch that is redone was within it when it was cut.
    Take,
    /// At once, or not at all.
    Try,
}

/// What reading needs, for one declaration of a delivery.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) delivery: String,
    pub(crate) log: Arc<dyn Log>,
    pub(crate) budget: Budget,
    pub(crate) priority: Priority,
    /// As many conversions at once as there are cores.
    pub(crate) conversions: Arc<Turns>,
    pub(crate) chain: Chain,
    pub(crate) layout: Arc<Layout>,
    /// How the chain's outputs are written.
    pub(crate) input: RowInput,
    pub(crate) table: Option<DeclaredTable>,
    pub(crate) corrupt_blocks: CorruptBlocks,
    pub(crate) metrics: WorkerMetrics,
}

/// What one read gave. The converter is gone where the conversion did not end.
#[derive(Debug)]
pub(crate) struct ReadDone {
    pub(crate) shard: ShardId,
    pub(crate) converting: Option<Converting>,
    pub(crate) chunk: Result<Chunk>,
}

impl Reader {
    /// Reads and converts the next records of a shard, at least one of `offsets` and within the limits of a chunk.
    pub(crate) async fn read(
        self: Arc<Self>,
        converting: Converting,
        key: ShardKey,
        offsets: Range<Offset>,
        bytes_max: usize,
        memory: Memory,
    ) -> ReadDone {
        let shard = key.shard;
        let bytes_max = bytes_max.clamp(1, CHUNK_BYTES_MAX);
        let Some(mut reservation) = self.reserve(bytes_max as u64 * RESERVED_PER_BYTE, memory).await else {
            let words = format!("the memory budget of deliveries is used up ({} bytes)", self.budget.bytes_max());
            let chunk = Err(Error::new(Kind::Unavailable, words));
            return ReadDone { shard, converting: Some(converting), chunk };
        };
        let (records, lost) = match self.fetch(key, &offsets, bytes_max).await {
            Ok(fetched) => fetched,
            Err(error) => return ReadDone { shard, converting: Some(converting), chunk: Err(error) },
        };
        let end = records.last().map_or(offsets.start + lost, |last| last.offset + 1);
        // One record may be larger than what was reserved.
        let bytes: u64 = records.iter().map(bytes_of).sum();
        reservation.resize((bytes * RESERVED_PER_BYTE).max(1));
        self.convert_chunk(converting, shard, offsets.start..end, records, lost, reservation).await
    }

    /// Converts records that were read elsewhere, with the memory that they need.
    pub(crate) async fn convert_records(
        self: Arc<Self>,
        converting: Converting,
        shard: ShardId,
        records: Vec<Record>,
    ) -> ReadDone {
        let bytes: u64 = records.iter().map(bytes_of).sum();
        let reservation = self.budget.take(bytes * RESERVED_PER_BYTE);
        let offset = |record: Option<&Record>| record.map_or(Offset::ZERO, |record| record.offset);
        let offsets = offset(records.first())..offset(records.last()) + 1;
        self.convert_chunk(converting, shard, offsets, records, 0, reservation).await
    }

    async fn convert_chunk(
        self: Arc<Self>,
        converting: Converting,
        shard: ShardId,
        offsets: Range<Offset>,
        records: Vec<Record>,
        lost: u64,
        reservation: Reservation,
    ) -> ReadDone {
        let _turn = self.conversions.acquire(1, self.priority).await;
        let reader = Arc::clone(&self);
        let converted = tokio::task::spawn_blocking(move || {
            let _timer = reader.metrics.convert_seconds.start_timer();
            reader.convert(converting, shard, records)
        });
        match converted.await {
            Ok((converting, Ok(mut converted))) => {
                converted.totals.lost = lost;
                let chunk = converted.into_chunk(shard, offsets, reservation);
                ReadDone { shard, converting: Some(converting), chunk: Ok(chunk) }
            }
            Ok((converting, Err(error))) => ReadDone { shard, converting: Some(converting), chunk: Err(error) },
            Err(panic) => {
                let words = format!("converting shard {shard} from offset {} on panicked: {panic}", offsets.start);
                ReadDone { shard, converting: None, chunk: Err(Error::new(Kind::Internal, words)) }
            }
        }
    }

    async fn reserve(&self, bytes: u64, memory: Memory) -> Option<Reservation> {
        match memory {
            Memory::Wait => Some(self.budget.reserve(bytes, self.priority).await),
            Memory::Take => Some(self.budget.take(bytes)),
            Memory::Try => self.budget.try_reserve(bytes),
        }
    }

    /// The records, and how many before the first of them are lost: trimmed unread, or in a corrupt block that is skipped.
    pub(super) async fn fetch(
        &self,
        key: ShardKey,
        offsets: &Range<Offset>,
        bytes_max: usize,
    ) -> Result<(Vec<Record>, u64)> {
        let wanted = usize::try_from(offsets.end.since(offsets.start)).unwrap_or(usize::MAX);
        let limit = ReadLimit { records_max: wanted.min(CHUNK_RECORDS_MAX), bytes_max };
        let mut records = match self.log.read(key, offsets.start, limit).await {
            Ok(records) => records,
            Err(error) => return self.skip(key, offsets, error),
        };
        records.retain(|record| record.offset < offsets.end);
        let first = match records.first() {
            Some(record) => record.offset,
            // Nothing of what is wanted is there any more.
            None => self.log.offsets(key).start.min(offsets.end),
        };
        let lost = first.since(offsets.start);
        if lost > 0 {
            let (delivery, from) = (&self.delivery, offsets.start);
            tracing::error!(delivery, %key, %from, to = %first, lost, "records were trimmed before they were delivered");
        } else if records.is_empty() {
            let words = format!("the log has no record of {key} at offset {}, where one was announced", offsets.start);
            return Err(Error::new(Kind::Internal, words));
        }
        Ok((records, lost))
    }

    /// Passes a corrupt block by, if that is the policy: its records are lost, and told as such.
    fn skip(&self, key: ShardKey, offsets: &Range<Offset>, error: log::Error) -> Result<(Vec<Record>, u64)> {
        let next = error.next_readable().filter(|next| *next > offsets.start);
        let (CorruptBlocks::Skip, Some(next)) = (self.corrupt_blocks, next) else { return Err(error.into()) };
        let to = next.min(offsets.end);
        let (delivery, from, lost) = (&self.delivery, offsets.start, to.since(offsets.start));
        tracing::error!(delivery, %key, %from, %to, lost, %error, "records that the disk lost are passed by");
        Ok((Vec::new(), lost))
    }

    fn convert(&self, converting: Converting, shard: ShardId, records: Vec<Record>) -> (Converting, Result<Converted>) {
        let oldest_at = records.first().map(|record| record.arrival_time);
        let made = transform(&self.chain, self.layout.keys(&self.input), shard, &records);
        self.convert_rows(converting, made, oldest_at)
    }

    /// Makes columns or lines of what the transform chain made.
    pub(super) fn convert_rows(
        &self,
        mut converting: Converting,
        mut made: Transformed,
        oldest_at: Option<Timestamp>,
    ) -> (Converting, Result<Converted>) {
        let content = match &mut converting {
            Converting::Lines => Ok(Content::Lines(std::mem::take(&mut made.rows))),
            Converting::Table(converter) => converter.convert(std::mem::take(&mut made.rows)).map(|converted| {
                made.set_aside.extend(converted.set_aside);
                Content::Table(KeyedBatch { batch: converted.batch, keys: converted.keys })
            }),
        };
        let content = match content {
            Ok(content) => content,
            Err(error) => return (converting, Err(Error::new(Kind::Internal, error))),
        };
        let mut totals = made.totals;
        totals.rows = content.rows();
        totals.set_aside = made.set_aside.len() as u64;
        let partitions = match self.partitions(&content) {
            Ok(partitions) => partitions,
            Err(error) => return (converting, Err(error)),
        };
        (converting, Ok(Converted { content, set_aside: made.set_aside, partitions, totals, oldest_at }))
    }

    fn partitions(&self, content: &Content) -> Result<PartitionSet> {
        let mut counter = PartitionCounter::new(&self.layout.prefix);
        match (content, &self.table) {
            (Content::Table(keyed), Some(table)) => count_rows(&mut counter, table, keyed)?,
            (Content::Lines(rows), _) => rows.iter().for_each(|row| counter.add(row.arrival_time, row.keys(), None)),
            (Content::Table(_), None) => {}
        }
        Ok(counter.finish())
    }
}

fn count_rows(counter: &mut PartitionCounter<'_>, table: &DeclaredTable, keyed: &KeyedBatch) -> Result<()> {
    let KeyedBatch { batch, keys } = keyed;
    let column = batch.column_by_name(&table.time_column());
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    // Hours count by their folders alone, which as a rule are hours.
    let values = if table.spec.partition_by.is_empty() {
        None
    } else {
        Some(table.spec.partitioning()?.values(batch).map_err(|error| Error::new(Kind::Internal, error))?)
    };
    for (row, micros) in times.iter().flat_map(|times| times.values()).enumerate() {
        let value = values.as_ref().map(|values| values.of_row(row).1);
        counter.add(Timestamp(micros.div_euclid(1_000)), keys.of_row(row).1, value);
    }
    Ok(())
}

fn bytes_of(record: &Record) -> u64 {
    (record.data.len() + record.partition_key.len()) as u64
}

pub(super) struct Converted {
    content: Content,
    set_aside: Vec<SetAside>,
    partitions: PartitionSet,
    pub(super) totals: Totals,
    oldest_at: Option<Timestamp>,
}

impl Converted {
    /// The chunk of these offsets.
    pub(super) fn into_chunk(self, shard: ShardId, offsets: Range<Offset>, mut reservation: Reservation) -> Chunk {
        reservation.resize(self.memory_bytes());
        let Self { content, set_aside, partitions, totals, oldest_at } = self;
        Chunk { shard, offsets, content, set_aside, partitions, totals, oldest_at, reservation }
    }

    fn memory_bytes(&self) -> u64 {
        // A record that no transform changed is in memory once.
        let source_bytes = |row: &Row| match &row.source {
            Some(source) if source.as_ptr() != row.data.as_ptr() => source.len(),
            _ => 0,
        };
        let row_bytes =
            |row: &Row| (row.data.len() + row.partition_key.len() + source_bytes(row)) as u64 + ROW_OVERHEAD_BYTES;
        let content = match &self.content {
            Content::Table(KeyedBatch { batch, keys }) => (batch.get_array_memory_size() + keys.memory_bytes()) as u64,
            Content::Lines(rows) => rows.iter().map(row_bytes).sum(),
        };
        content + self.set_aside.iter().map(|aside| row_bytes(&aside.row) + aside.message.len() as u64).sum::<u64>()
    }
}

impl Content {
    /// Rows or lines.
    pub(crate) fn rows(&self) -> u64 {
        match self {
            Self::Table(keyed) => keyed.batch.num_rows() as u64,
            Self::Lines(rows) => rows.len() as u64,
        }
    }
}

/// What the transform chain made of records.
#[derive(Debug, Default)]
pub(super) struct Transformed {
    rows: Vec<Row>,
    set_aside: Vec<SetAside>,
    pub(super) totals: Totals,
}

fn transform(chain: &Chain, keys: Keys<'_>, shard: ShardId, records: &[Record]) -> Transformed {
    let bytes_in = records.iter().map(bytes_of).sum();
    let mut made = Transformed::default();
    made.run(chain, keys, chain.inputs(shard, records), &vec![0; records.len()]);
    (made.totals.records, made.totals.bytes_in) = (records.len() as u64, bytes_in);
    made
}

impl Transformed {
    /// Runs the chain over the inputs of some records, and takes in what becomes of them. `subs` says for each record the
    /// number of its first output.
    pub(super) fn run(&mut self, chain: &Chain, mut keys: Keys<'_>, inputs: Vec<Input>, subs: &[u32]) {
        let outcomes = chain.apply(&inputs);
        self.rows.reserve(inputs.len());
        let mut inputs = inputs.into_iter().zip(outcomes).peekable();
        for (record, first) in subs.iter().enumerate() {
            let (mut sub, before) = (*first, self.totals.outputs);
            while let Some((input, outcome)) = inputs.next_if(|(input, _)| input.record == record) {
                sub = self.take(&input, outcome, sub, &mut keys);
            }
            if self.totals.outputs == before {
                // An aggregate of nothing.
                self.totals.outputs += 1;
                self.totals.dropped += 1;
            }
        }
    }

    /// Takes in what became of one input, whose outputs are numbered from `sub` on; gives the number after its last.
    fn take(&mut self, input: &Input, outcome: Outcome, sub: u32, keys: &mut Keys<'_>) -> u32 {
        let whole = Some(input.data.clone());
        match outcome {
            Outcome::One(output) => self.output(row(input, sub, output.data, whole), &output.partition_keys, keys),
            Outcome::Many(outputs) => outputs
                .into_iter()
                .fold(sub, |sub, output| self.output(row(input, sub, output.data, None), &output.partition_keys, keys)),
            Outcome::Dropped => {
                self.totals.outputs += 1;
                self.totals.dropped += 1;
                sub
            }
            Outcome::Failed(Failure { message, attempts }) => {
                self.totals.outputs += 1;
                let row = row(input, sub, input.data.clone(), whole);
                self.set_aside.push(SetAside { row, cause: Cause::Transform, message, attempts });
                sub + 1
            }
        }
    }

    /// Takes in an output of the chain, with its partition keys: its rows, numbered from its own number on. Gives the number
    /// after the last.
    pub(super) fn output(&mut self, row: Row, told: &PartitionKeys, keys: &mut Keys<'_>) -> u32 {
        let next = row.sub + 1;
        if keys.input().is_whole() {
            self.row(row, told, keys);
            return next;
        }
        match keys.input().rows(row.data.clone()) {
            Ok(Rows::One(data)) => self.row(Row { data, ..row }, told, keys),
            Ok(Rows::Many(rows)) => {
                // Each is a part of what became of the record.
                let whole = Row { source: None, ..row };
                return rows.into_iter().fold(whole.sub, |sub, data| {
                    self.row(Row { data, sub, ..whole.clone() }, told, keys);
                    sub + 1
                });
            }
            Err((cause, message)) => {
                self.totals.outputs += 1;
                self.set_aside.push(SetAside { row, cause, message, attempts: 1 });
            }
        }
        next
    }

    fn row(&mut self, mut row: Row, told: &PartitionKeys, keys: &mut Keys<'_>) {
        self.totals.outputs += 1;
        if keys.input().skips(&row.data) {
            self.totals.dropped += 1;
            return;
        }
        match keys.of(&row.data, told) {
            Ok(keys) => {
                row.keys = keys;
                self.rows.push(row);
            }
            Err((cause, message)) => self.set_aside.push(SetAside { row, cause, message, attempts: 1 }),
        }
    }
}

fn row(input: &Input, sub: u32, data: Bytes, source: Option<Bytes>) -> Row {
    Row {
        shard: input.origin.shard,
        offset: input.origin.offset,
        sub,
        arrival_time: input.origin.arrival_time,
        partition_key: input.partition_key.clone(),
        data,
        keys: None,
        source,
    }
}
