//! The files of a rebuild: the records of each batch, read again and made anew.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use futures::TryStreamExt;
use iceberg::spec::DataFile;
use millrace_storage::lake::FileNames;
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::lake::source_backup;
use millrace_storage::log::{Offset, Record, ShardId, ShardKey};
use millrace_storage::meta::keys::batch::{BatchKey, BatchObject, BatchValue, RebuiltBatch, TAKEN_UP_BY_REBUILD};
use millrace_storage::meta::keys::rebuild::RebuildValue;
use millrace_storage::meta::keys::{self, Totals, store_ranges};
use millrace_storage::meta::{Condition, Write};
use millrace_storage::time::Timestamp;

use super::plan::Plan;
use crate::delivery::Parts;
use crate::delivery::declared::{Declared, DeclaredTable};
use crate::delivery::entry::Entry;
use crate::delivery::worker::{CHUNK_BYTES_MAX, Chunk, Converting, Memory, Output, Reader, open_converting};
use crate::error::{Error, Kind, Result};
use crate::transform::Pins;

/// Records are held until they have so many bytes; then their files are written.
const PIECE_BYTES: u64 = 16 << 20;

/// What a rebuild made.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) files: Vec<DataFile>,
    pub(super) schema: Option<TableSchema>,
    /// The partition spec of the files.
    pub(super) partition_spec_id: Option<i32>,
    pub(super) totals: Totals,
    /// By batch, what took its rows' place.
    batches: BTreeMap<u64, RebuiltBatch>,
}

impl Made {
    /// What the ledger must be, and what it becomes: nothing that these batches set aside is open any more, but for what the
    /// rebuild set aside itself.
    pub(super) fn ledger(&self, plan: &Plan, delivery: &str, number: u64) -> (Vec<Condition>, Vec<Write>) {
        let (mut conditions, mut writes) = (Vec::new(), Vec::new());
        for (batch, summary) in &plan.batches {
            let key = BatchKey { delivery: delivery.to_owned(), batch: *batch };
            let entry = plan.ledger.get(batch);
            let mut value = entry.map_or_else(
                || BatchValue {
                    ranges: store_ranges(&summary.ranges),
                    totals: Some(summary.totals),
                    ..BatchValue::default()
                },
                |entry| entry.value.clone(),
            );
            value.set_aside_objects.iter_mut().for_each(|object| object.taken_up_by = TAKEN_UP_BY_REBUILD);
            let rebuilt = self.batches.get(batch).cloned().unwrap_or_default();
            value.rebuilt = Some(RebuiltBatch { number, ..rebuilt });
            conditions.push(keys::as_found(&key, entry));
            writes.push(keys::put(&key, &value));
        }
        (conditions, writes)
    }
}

/// Writes the records of all batches of a plan anew.
pub(super) async fn write(
    parts: &Parts,
    entry: &Entry,
    declared: &Declared,
    plan: &Plan,
    rebuild: &RebuildValue,
) -> Result<Made> {
    let (transforms, specs) = (&parts.transforms, &declared.spec.transforms);
    let pins = Pins::load(&rebuild.modules)?;
    let chain = transforms.chain(&entry.name, specs, &pins).await?;
    let reader = Arc::new(parts.reader(declared, chain, entry.retry.metrics.clone()));
    let mut writer = Writer {
        parts,
        declared,
        rebuild,
        reader,
        converting: Some(open_converting(parts, declared, None).await?),
        held: Vec::new(),
        held_bytes: 0,
        pieces: 0,
        made: Made::default(),
    };
    for (number, summary) in &plan.batches {
        let backup = plan.ledger.get(number).map_or(&[][..], |entry| &entry.value.backup_objects);
        writer.batch(*number, &summary.ranges, backup).await?;
    }
    writer.made.schema = writer.converting.as_ref().and_then(Converting::schema);
    Ok(writer.made)
}

struct Writer<'a> {
    parts: &'a Parts,
    declared: &'a Declared,
    rebuild: &'a RebuildValue,
    reader: Arc<Reader>,
    /// Gone only after a conversion that did not end.
    converting: Option<Converting>,
    /// Of the batch at hand.
    held: Vec<Arc<Chunk>>,
    held_bytes: u64,
    /// How many pieces the batch at hand has.
    pieces: u32,
    made: Made,
}

impl Writer<'_> {
    async fn batch(
        &mut self,
        number: u64,
        ranges: &BTreeMap<ShardId, Range<Offset>>,
        backup: &[BatchObject],
    ) -> Result<()> {
        self.pieces = 0;
        let key = |shard: ShardId| ShardKey { stream: self.declared.stream.id(), shard };
        let is_logged = |(shard, range): (&ShardId, &Range<Offset>)| {
            range.is_empty() || self.parts.log.offsets(key(*shard)).start <= range.start
        };
        if ranges.iter().all(is_logged) {
            for (shard, range) in ranges {
                self.of_log(number, key(*shard), range.clone()).await?;
            }
        } else if backup.is_empty() {
            let name = &self.declared.spec.name;
            let words = "has records that the log does not keep any more, and no backup";
            return Err(Error::new(
                Kind::FailedPrecondition,
                format_args!("batch {number} of delivery {name} {words}; rebuild from a later time on"),
            ));
        } else {
            self.of_backup(number, backup).await?;
        }
        self.write_piece(number).await
    }

    async fn of_log(&mut self, number: u64, key: ShardKey, range: Range<Offset>) -> Result<()> {
        let mut from = range.start;
        while from < range.end {
            // Memory that is waited for must not be waited for with memory in hand.
            let memory = if self.held.is_empty() { Memory::Wait } else { Memory::Try };
            let converting = self.take_converting()?;
            let read = Arc::clone(&self.reader).read(converting, key, from..range.end, CHUNK_BYTES_MAX, memory);
            let done = read.await;
            self.converting = done.converting;
            match done.chunk {
                Ok(chunk) => {
                    from = chunk.offsets.end;
                    self.hold(number, chunk).await?;
                }
                Err(error) if self.held.is_empty() => return Err(error),
                Err(_) => self.write_piece(number).await?,
            }
        }
        Ok(())
    }

    async fn of_backup(&mut self, number: u64, objects: &[BatchObject]) -> Result<()> {
        let of_store = |error| Error::new(Kind::Unavailable, error);
        for object in objects {
            let path = self.parts.store.path_of_url(&object.url).map_err(of_store)?;
            let file = self.parts.store.get(&path).await.map_err(of_store)?;
            let broken = |error| Error::new(Kind::DataLoss, error);
            let mut by_shard: BTreeMap<ShardId, Vec<Record>> = BTreeMap::new();
            for line in source_backup::read(&object.url, &file).map_err(broken)? {
                let (shard, record) = line.to_record().map_err(broken)?;
                by_shard.entry(shard).or_default().push(record);
            }
            for (shard, records) in by_shard {
                let converting = self.take_converting()?;
                let done = Arc::clone(&self.reader).convert_records(converting, shard, records).await;
                self.converting = done.converting;
                self.hold(number, done.chunk?).await?;
            }
        }
        Ok(())
    }

    fn take_converting(&mut self) -> Result<Converting> {
        self.converting.take().ok_or_else(|| Error::new(Kind::Internal, "a conversion of the rebuild did not end"))
    }

    async fn hold(&mut self, number: u64, chunk: Chunk) -> Result<()> {
        self.held_bytes += chunk.totals.bytes_in;
        if chunk.totals.lost > 0 {
            let (lost, name) = (chunk.totals.lost, &self.declared.spec.name);
            let words = format_args!("{lost} records of batch {number} of delivery {name} are not in the log any more");
            return Err(Error::new(Kind::FailedPrecondition, words));
        }
        self.held.push(Arc::new(chunk));
        if self.held_bytes >= PIECE_BYTES { self.write_piece(number).await } else { Ok(()) }
    }

    async fn write_piece(&mut self, number: u64) -> Result<()> {
        let chunks = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        if chunks.is_empty() {
            return Ok(());
        }
        let schema = self.converting.as_ref().and_then(Converting::schema);
        let delivery = format!("{}{}", made_by(&self.declared.spec.name, self.rebuild.number), self.pieces);
        self.pieces += 1;
        let output = Output {
            declared: self.declared,
            chunks: &chunks,
            schema: schema.as_ref(),
            names: FileNames { delivery, batch: number },
            cut_at: Timestamp(self.rebuild.begun_at_ms),
        };
        let written = output.write(self.parts).await?;
        let mut totals = chunks.iter().fold(Totals::default(), |mut totals, chunk| {
            totals += chunk.totals;
            totals
        });
        (totals.rows, totals.files, totals.bytes_out) = (written.rows, written.files, written.bytes);
        totals.set_aside = written.set_aside.len() as u64;
        self.made.totals += totals;
        self.made.partition_spec_id = written.partition_spec_id.or(self.made.partition_spec_id);
        self.made.files.extend(written.data_files);
        let batch = self.made.batches.entry(number).or_default();
        batch.rows += written.rows;
        batch.set_aside_objects.extend(written.set_aside_objects);
        Ok(())
    }
}

/// How the names of a rebuild's files begin, before the number of the piece. No delivery's name has an `@`.
fn made_by(delivery: &str, number: u64) -> String {
    format!("{delivery}@r{number}.")
}

/// Removes what an attempt before this one wrote: it may have more files than this one will.
pub(super) async fn remove_made(parts: &Parts, declared: &Declared, table: &DeclaredTable, number: u64) -> Result<()> {
    let begin = made_by(&declared.spec.name, number);
    let root = parts.store.path(&table.name.folder());
    let of_store = |error: object_store::Error| Error::new(Kind::Unavailable, parts.store.error(&root, &error));
    let object_store = parts.store.object_store();
    let mut objects = object_store.list(Some(&root));
    while let Some(object) = objects.try_next().await.map_err(of_store)? {
        if object.location.filename().is_some_and(|name| name.starts_with(&begin)) {
            let removed = parts.store.delete(&object.location).await;
            removed.map_err(|error| Error::new(Kind::Unavailable, error))?;
        }
    }
    Ok(())
}

/// Removes files that the table does not list any more.
pub(super) async fn remove_urls(parts: &Parts, urls: &[String]) -> Result<()> {
    let of_store = |error| Error::new(Kind::Unavailable, error);
    for url in urls {
        let path = parts.store.path_of_url(url).map_err(of_store)?;
        parts.store.delete(&path).await.map_err(of_store)?;
    }
    Ok(())
}
