//! Batches by the partition of their rows: the values that the table is partitioned by, and the prefix of the file.
//!
//! No row is copied here: a partition knows which rows of which batch are its own, so that thousands of partitions take
//! little more than a number for each row.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use super::{KeyedBatch, ParquetTarget};
use crate::lake::partition::{PartitionValue, RowKeys};
use crate::lake::schema::{adapt, invalid};
use crate::lake::{Error, Result};
use crate::time::Timestamp;

/// Rows that share a file: its evaluated prefix, and what the table is partitioned by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Partition {
    pub(super) prefix: String,
    pub(super) value: PartitionValue,
}

/// Some rows of one batch, in their order.
#[derive(Debug)]
enum Rows {
    All,
    Run { start: usize, len: usize },
    Listed(Vec<u32>),
}

/// Batches of one schema, parted.
#[derive(Debug)]
pub(super) struct Parted {
    batches: Vec<RecordBatch>,
    partitions: BTreeMap<Partition, Vec<(usize, Rows)>>,
}

impl Parted {
    /// Brings all batches to `schema` and parts their rows. Rows keep their order.
    pub(super) fn new(batches: Vec<KeyedBatch>, schema: &SchemaRef, target: &ParquetTarget) -> Result<Self> {
        let mut parted = Self { batches: Vec::with_capacity(batches.len()), partitions: BTreeMap::new() };
        for keyed in batches.into_iter().filter(|keyed| keyed.batch.num_rows() > 0) {
            let batch = adapt(&keyed.batch, schema)?;
            let (partitions, of_rows) = partitions_of(&batch, target, &keyed.keys)?;
            let index = parted.batches.len();
            for (partition, rows) in partitions.into_iter().zip(rows_of(&of_rows)) {
                parted.partitions.entry(partition).or_default().push((index, rows));
            }
            parted.batches.push(batch);
        }
        Ok(parted)
    }

    /// The partitions with the number of their rows, in order.
    pub(super) fn partitions(&self) -> impl Iterator<Item = (&Partition, usize)> {
        self.partitions.iter().map(|(partition, rows)| {
            let rows = rows.iter().map(|(index, rows)| match rows {
                Rows::All => self.batches[*index].num_rows(),
                Rows::Run { len, .. } => *len,
                Rows::Listed(rows) => rows.len(),
            });
            (partition, rows.sum())
        })
    }

    /// A partition's rows.
    pub(super) fn rows(&self, partition: &Partition) -> Result<Vec<RecordBatch>> {
        let parts = self.partitions.get(partition).into_iter().flatten().map(|(index, rows)| {
            let batch = &self.batches[*index];
            match rows {
                Rows::All => Ok(batch.clone()),
                Rows::Run { start, len } => Ok(batch.slice(*start, *len)),
                Rows::Listed(rows) => take_record_batch(batch, &UInt32Array::from(rows.clone())).map_err(invalid),
            }
        });
        parts.collect()
    }
}

/// The partitions of a batch in the order in which they first come, and for each row which one it is in.
fn partitions_of(batch: &RecordBatch, target: &ParquetTarget, keys: &RowKeys) -> Result<(Vec<Partition>, Vec<u32>)> {
    let ParquetTarget { time_column, prefix, partitioning, .. } = target;
    let times = batch
        .column_by_name(time_column)
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| Error::Invalid(format!("the batch has no time column {time_column:?}")))?;
    if times.null_count() > 0 {
        return Err(Error::Invalid(format!("the time column {time_column:?} has nulls, which no partition takes")));
    }
    let values = partitioning.values(batch)?;
    let resolution_micros = prefix.resolution_millis() * 1_000;
    let mut partitions: Vec<Partition> = Vec::new();
    let mut places: HashMap<Partition, u32> = HashMap::new();
    // Most rows share all that their partition depends on with others; only the first of them evaluates the prefix.
    let mut known: HashMap<(u32, i64, u32), u32> = HashMap::new();
    let mut last: Option<((u32, i64, u32), u32)> = None;
    let mut of_rows = Vec::with_capacity(batch.num_rows());
    for (row, micros) in times.values().iter().enumerate() {
        let (value_place, value) = values.of_row(row);
        let (key, of_prefix) = keys.of_row(row);
        let depends_on = (value_place, micros.div_euclid(resolution_micros), key);
        let place = match last {
            Some((of_last, place)) if of_last == depends_on => place,
            _ => *known.entry(depends_on).or_insert_with(|| {
                let prefix = prefix.evaluate(Timestamp(micros.div_euclid(1_000)), of_prefix);
                let partition = Partition { prefix, value: value.clone() };
                *places.entry(partition).or_insert_with_key(|partition| {
                    partitions.push(partition.clone());
                    partitions.len() as u32 - 1
                })
            }),
        };
        last = Some((depends_on, place));
        of_rows.push(place);
    }
    Ok((partitions, of_rows))
}

/// For each partition its rows; `of_rows` says for each row which partition it is in, first ones first.
fn rows_of(of_rows: &[u32]) -> Vec<Rows> {
    let runs: Vec<&[u32]> = of_rows.chunk_by(|one, next| one == next).collect();
    let count = of_rows.iter().max().map_or(0, |most| *most as usize + 1);
    if runs.len() == 1 {
        return vec![Rows::All];
    }
    if runs.len() == count {
        // Each partition's rows stand together: none needs to be copied, ever.
        let mut start = 0;
        let run = |run: &[u32]| {
            let rows = Rows::Run { start, len: run.len() };
            start += run.len();
            rows
        };
        return runs.into_iter().map(run).collect();
    }
    let mut listed = vec![Vec::new(); count];
    for (row, place) in of_rows.iter().enumerate() {
        listed[*place as usize].push(row as u32);
    }
    listed.into_iter().map(Rows::Listed).collect()
}
