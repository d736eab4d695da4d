//! `system.failed_records` and `system.backup_records`: what deliveries set aside, and the source records that they backed up.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, RecordBatch, StringBuilder, TimestampMillisecondBuilder, UInt32Builder,
    UInt64Builder,
};
use datafusion::arrow::datatypes::{DataType, SchemaRef};

use super::by_object::{Objects, batch, decoded};
use super::{columns, time};
use crate::delivery::{Deliveries, LedgerObject};
use crate::error::Result;

/// Which of the two tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Records {
    Failed,
    Backup,
}

/// The records of objects that no table of the catalog lists.
#[derive(Debug, Clone)]
pub(super) struct ObjectRecords {
    deliveries: Deliveries,
    records: Records,
    schema: SchemaRef,
}

impl ObjectRecords {
    pub(super) fn new(deliveries: &Deliveries, records: Records) -> Self {
        let place = [
            ("delivery", DataType::Utf8),
            ("batch", DataType::UInt64),
            ("shard", DataType::UInt32),
            ("offset", DataType::UInt64),
            ("arrival_time", time()),
            ("partition_key", DataType::Utf8),
            ("data", DataType::Binary),
            ("url", DataType::Utf8),
        ];
        let failure = [
            ("stream", DataType::Utf8),
            ("sub", DataType::UInt32),
            ("error_code", DataType::Utf8),
            ("error_message", DataType::Utf8),
            ("attempts", DataType::UInt32),
            ("last_attempt", time()),
            ("replayed", DataType::Boolean),
        ];
        let schema = match records {
            Records::Failed => columns(&[&place[..], &failure[..]].concat()),
            Records::Backup => columns(&place),
        };
        Self { deliveries: deliveries.clone(), records, schema }
    }
}

#[async_trait]
impl Objects for ObjectRecords {
    type Object = LedgerObject;

    fn name(&self) -> &'static str {
        match self.records {
            Records::Failed => "failed_records",
            Records::Backup => "backup_records",
        }
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn list(&self) -> Result<Vec<LedgerObject>> {
        match self.records {
            Records::Failed => self.deliveries.set_aside_objects().await,
            Records::Backup => self.deliveries.backup_objects().await,
        }
    }

    async fn read(&self, object: LedgerObject) -> Result<RecordBatch> {
        let mut rows = Rows::default();
        match self.records {
            Records::Failed => {
                for line in self.deliveries.read_set_aside(&object).await? {
                    let place = (line.shard, line.offset, line.arrival_timestamp);
                    rows.place(&object, place, &line.partition_key, &line.raw_data)?;
                    rows.stream.append_value(&line.stream);
                    rows.sub.append_value(line.sub);
                    rows.error_code.append_value(&line.error_code);
                    rows.error_message.append_value(&line.error_message);
                    rows.attempts.append_value(line.attempts_made);
                    // Lines of before this was noted.
                    let ended = Some(line.attempt_ending_timestamp).filter(|ended| *ended != 0);
                    rows.last_attempt.append_option(ended);
                    rows.replayed.append_value(object.is_taken_up());
                }
            }
            Records::Backup => {
                for line in self.deliveries.read_backup(&object).await? {
                    let place = (line.shard, line.offset, line.arrival_timestamp);
                    rows.place(&object, place, &line.partition_key, &line.raw_data)?;
                }
            }
        }
        rows.finish(&self.schema, self.records)
    }
}

/// Columns as they grow.
#[derive(Default)]
struct Rows {
    delivery: StringBuilder,
    batch: UInt64Builder,
    shard: UInt32Builder,
    offset: UInt64Builder,
    arrival_time: TimestampMillisecondBuilder,
    partition_key: StringBuilder,
    data: BinaryBuilder,
    url: StringBuilder,
    stream: StringBuilder,
    sub: UInt32Builder,
    error_code: StringBuilder,
    error_message: StringBuilder,
    attempts: UInt32Builder,
    last_attempt: TimestampMillisecondBuilder,
    replayed: BooleanBuilder,
}

impl Rows {
    fn place(&mut self, object: &LedgerObject, place: (u32, u64, i64), key: &str, data: &str) -> Result<()> {
        let (shard, offset, arrival) = place;
        self.delivery.append_value(&object.delivery);
        self.batch.append_value(object.batch);
        self.shard.append_value(shard);
        self.offset.append_value(offset);
        self.arrival_time.append_value(arrival);
        self.partition_key.append_value(key);
        self.data.append_value(decoded(data, object.url())?);
        self.url.append_value(object.url());
        Ok(())
    }

    fn finish(mut self, schema: &SchemaRef, records: Records) -> Result<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(self.delivery.finish()),
            Arc::new(self.batch.finish()),
            Arc::new(self.shard.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.arrival_time.finish().with_data_type(time())),
            Arc::new(self.partition_key.finish()),
            Arc::new(self.data.finish()),
            Arc::new(self.url.finish()),
        ];
        if records == Records::Failed {
            arrays.extend([
                Arc::new(self.stream.finish()) as ArrayRef,
                Arc::new(self.sub.finish()),
                Arc::new(self.error_code.finish()),
                Arc::new(self.error_message.finish()),
                Arc::new(self.attempts.finish()),
                Arc::new(self.last_attempt.finish().with_data_type(time())),
                Arc::new(self.replayed.finish()),
            ]);
        }
        batch(schema, arrays)
    }
}
