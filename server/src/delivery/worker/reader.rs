//! Reading: records of one shard become a chunk, by way of the transform chain and the converter.
//!
//! It must never read past the offset that it is given, so that a batch that is redone has the same records.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use millrace_storage::lake::convert::Converter;
use millrace_storage::lake::row::{Cause, Row, SetAside};
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::log::{self, Log, Offset, ReadLimit, Record, ShardId, ShardKey};
use millrace_storage::meta::keys::Totals;
use tokio::sync::Semaphore;

use super::chunk::{Chunk, Content};
use crate::delivery::budget::{Budget, Reservation};
use crate::delivery::metrics::WorkerMetrics;
use crate::delivery::settings::CorruptBlocks;
use crate::error::{Error, Kind, Result};
use crate::transform::{Chain, Outcome};

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
    /// As many conversions at once as there are cores.
    pub(crate) conversions: Arc<Semaphore>,
    pub(crate) chain: Chain,
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
        let Ok(_turn) = self.conversions.acquire().await else {
            let chunk = Err(Error::new(Kind::Unavailable, "the server is closing"));
            return ReadDone { shard, converting: Some(converting), chunk };
        };
        let reader = Arc::clone(&self);
        let converted = tokio::task::spawn_blocking(move || {
            let _timer = reader.metrics.convert_seconds.start_timer();
            reader.convert(converting, shard, records)
        });
        match converted.await {
            Ok((converting, Ok(converted))) => {
                reservation.resize(converted.memory_bytes());
                let totals = Totals { lost, ..converted.totals };
                let Converted { content, set_aside, oldest_at, .. } = converted;
                let offsets = offsets.start..end;
                let chunk = Chunk { shard, offsets, content, set_aside, totals, oldest_at, reservation };
                ReadDone { shard, converting: Some(converting), chunk: Ok(chunk) }
            }
            Ok((converting, Err(error))) => ReadDone { shard, converting: Some(converting), chunk: Err(error) },
            Err(panic) => {
                let words = format!("converting {key} from offset {} on panicked: {panic}", offsets.start);
                ReadDone { shard, converting: None, chunk: Err(Error::new(Kind::Internal, words)) }
            }
        }
    }

    async fn reserve(&self, bytes: u64, memory: Memory) -> Option<Reservation> {
        match memory {
            Memory::Wait => Some(self.budget.reserve(bytes).await),
            Memory::Take => Some(self.budget.take(bytes)),
            Memory::Try => self.budget.try_reserve(bytes),
        }
    }

    /// The records, and how many before the first of them are lost: trimmed unread, or in a corrupt block that is skipped.
    async fn fetch(&self, key: ShardKey, offsets: &Range<Offset>, bytes_max: usize) -> Result<(Vec<Record>, u64)> {
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

    fn convert(
        &self,
        mut converting: Converting,
        shard: ShardId,
        records: Vec<Record>,
    ) -> (Converting, Result<Converted>) {
        let oldest_at = records.first().map(|record| record.arrival_time);
        let mut made = transform(&self.chain, shard, records);
        let content = match &mut converting {
            Converting::Lines => Ok(Content::Lines(std::mem::take(&mut made.rows))),
            Converting::Table(converter) => converter.convert(std::mem::take(&mut made.rows)).map(|converted| {
                made.set_aside.extend(converted.set_aside);
                Content::Table(converted.batch)
            }),
        };
        let content = match content {
            Ok(content) => content,
            Err(error) => return (converting, Err(Error::new(Kind::Internal, error))),
        };
        let mut totals = made.totals;
        totals.rows = content.rows();
        totals.set_aside = made.set_aside.len() as u64;
        (converting, Ok(Converted { content, set_aside: made.set_aside, totals, oldest_at }))
    }
}

fn bytes_of(record: &Record) -> u64 {
    (record.data.len() + record.partition_key.len()) as u64
}

struct Converted {
    content: Content,
    set_aside: Vec<SetAside>,
    totals: Totals,
    oldest_at: Option<millrace_storage::time::Timestamp>,
}

impl Converted {
    fn memory_bytes(&self) -> u64 {
        let row_bytes = |row: &Row| (row.data.len() + row.partition_key.len()) as u64 + ROW_OVERHEAD_BYTES;
        let content = match &self.content {
            Content::Table(batch) => batch.get_array_memory_size() as u64,
            Content::Lines(rows) => rows.iter().map(row_bytes).sum(),
        };
        content + self.set_aside.iter().map(|aside| row_bytes(&aside.row) + aside.message.len() as u64).sum::<u64>()
    }
}

impl Content {
    /// Rows or lines.
    pub(crate) fn rows(&self) -> u64 {
        match self {
            Self::Table(batch) => batch.num_rows() as u64,
            Self::Lines(rows) => rows.len() as u64,
        }
    }
}

/// What the transform chain made of records.
struct Transformed {
    rows: Vec<Row>,
    set_aside: Vec<SetAside>,
    totals: Totals,
}

fn transform(chain: &Chain, shard: ShardId, records: Vec<Record>) -> Transformed {
    let bytes_in = records.iter().map(bytes_of).sum();
    let mut totals = Totals { records: records.len() as u64, bytes_in, ..Totals::default() };
    let inputs = chain.inputs(shard, &records);
    let outcomes = chain.apply(&inputs);
    let mut rows = Vec::with_capacity(inputs.len());
    let mut set_aside = Vec::new();
    let mut inputs = inputs.into_iter().zip(outcomes).peekable();
    for (index, record) in records.into_iter().enumerate() {
        let (mut sub, mut outputs) = (0, 0);
        while let Some((input, outcome)) = inputs.next_if(|(input, _)| input.record == index) {
            let row = |sub: u32, data: Bytes| Row {
                shard,
                offset: record.offset,
                sub,
                arrival_time: record.arrival_time,
                partition_key: input.partition_key.clone(),
                data,
            };
            match outcome {
                Outcome::One(output) => {
                    outputs += 1;
                    rows.push(row(sub, output.data));
                    sub += 1;
                }
                Outcome::Many(parts) => {
                    outputs += parts.len() as u64;
                    for output in parts {
                        rows.push(row(sub, output.data));
                        sub += 1;
                    }
                }
                Outcome::Dropped => {
                    outputs += 1;
                    totals.dropped += 1;
                }
                Outcome::Failed(failure) => {
                    outputs += 1;
                    let message = failure.message;
                    set_aside.push(SetAside { row: row(sub, input.data.clone()), cause: Cause::Transform, message });
                    sub += 1;
                }
            }
        }
        if outputs == 0 {
            // An aggregate of nothing.
            outputs = 1;
            totals.dropped += 1;
        }
        totals.outputs += outputs;
    }
    Transformed { rows, set_aside, totals }
}
