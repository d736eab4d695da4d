//! Batches by the hour of their time column.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};

use crate::lake::schema::{adapt, invalid};
use crate::lake::{Error, Result};

const HOUR_MICROS: i64 = 3_600_000_000;

/// Brings all batches to `schema` and parts them by hour, in hours since the Unix epoch. Rows keep their order.
pub(super) fn by_hour(
    batches: Vec<RecordBatch>,
    schema: &SchemaRef,
    time_column: &str,
) -> Result<BTreeMap<i32, Vec<RecordBatch>>> {
    let mut hours: BTreeMap<i32, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches.into_iter().filter(|batch| batch.num_rows() > 0) {
        let batch = adapt(&batch, schema)?;
        let of_rows = hours_of(&batch, time_column)?;
        let runs: Vec<&[i32]> = of_rows.chunk_by(|one, next| one == next).collect();
        if runs.len() == 1 {
            hours.entry(of_rows[0]).or_default().push(batch);
            continue;
        }
        let mut rows_of: BTreeMap<i32, Vec<u32>> = BTreeMap::new();
        for (row, hour) in of_rows.iter().enumerate() {
            rows_of.entry(*hour).or_default().push(row as u32);
        }
        if rows_of.len() == runs.len() {
            // In order of time already: no row needs to be copied.
            let mut start = 0;
            for run in runs {
                hours.entry(run[0]).or_default().push(batch.slice(start, run.len()));
                start += run.len();
            }
            continue;
        }
        for (hour, rows) in rows_of {
            let rows = take_record_batch(&batch, &UInt32Array::from(rows)).map_err(invalid)?;
            hours.entry(hour).or_default().push(rows);
        }
    }
    Ok(hours)
}

fn hours_of(batch: &RecordBatch, time_column: &str) -> Result<Vec<i32>> {
    let times = batch
        .column_by_name(time_column)
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| Error::Invalid(format!("the batch has no time column {time_column:?}")))?;
    if times.null_count() > 0 {
        return Err(Error::Invalid(format!("the time column {time_column:?} has nulls, which no partition takes")));
    }
    let hours = times.values().iter().map(|micros| i32::try_from(micros.div_euclid(HOUR_MICROS)));
    hours
        .collect::<Result<_, _>>()
        .map_err(|_| Error::Invalid(format!("the time column {time_column:?} has a time outside of the calendar")))
}
