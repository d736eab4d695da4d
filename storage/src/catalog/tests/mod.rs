//! The catalog over real stores: what is committed is there, what is not is invisible, and writers never lose each other.

mod appending;
mod overwriting;
mod repartitioning;
mod evolving;
mod failing;
mod lake;
mod faults;
mod racing;

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, NestedField, PrimitiveType, Schema,
    Struct,
};

use super::*;
use crate::lake::event_time::{TimeFormat, TimeSource};
use crate::lake::partition::Partitioning;
use crate::lake::store::StoreSettings;
use crate::log::{Offset, ShardId};
use crate::meta::keys::Totals;
use crate::meta::memory::MemoryMeta;

/// The hour of all test rows: 2013-01-01 05:00 UTC.
const HOUR: i32 = 376_949;

fn memory_store() -> Store {
    Store::open(&StoreSettings::of_url("memory:///lake")).unwrap()
}

fn disk_store(folder: &tempfile::TempDir) -> Store {
    Store::open(&StoreSettings::of_url(format!("file://{}", folder.path().display()))).unwrap()
}

fn catalog(store: Store) -> Catalog {
    Catalog::new(Arc::new(MemoryMeta::new()), store)
}

fn name() -> TableName {
    "flights".parse().unwrap()
}

fn columns() -> Vec<Arc<NestedField>> {
    let column =
        |id, name, primitive| Arc::new(NestedField::optional(id, name, iceberg::spec::Type::Primitive(primitive)));
    vec![
        column(1, "_arrival_time", PrimitiveType::Timestamptz),
        column(2, "carrier", PrimitiveType::String),
        column(3, "distance", PrimitiveType::Int),
    ]
}

fn schema(columns: Vec<Arc<NestedField>>) -> Schema {
    Schema::builder().with_fields(columns).build().unwrap()
}

fn new_table() -> NewTable {
    NewTable {
        schema: schema(columns()),
        partitioning: Partitioning::hourly(&TimeSource::Arrival),
        spec_toml: "name = \"flights\"".to_owned(),
    }
}

fn file(table: &TableName, file: &str, rows: u64) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(format!("memory:///lake/{}/data/{file}.parquet", table.folder()))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::int(HOUR))]))
        .partition_spec_id(0)
        .record_count(rows)
        .file_size_in_bytes(rows * 10)
        .null_value_counts([(3, 2)].into())
        .lower_bounds([(3, Datum::int(17))].into())
        .upper_bounds([(3, Datum::int(4_983))].into())
        .build()
        .unwrap()
}

fn summary(delivery: &str, batch: u64, from: u64, to: u64) -> BatchSummary {
    let ranges = BTreeMap::from([(ShardId(0), Offset(from)..Offset(to)), (ShardId(1), Offset(0)..Offset(0))]);
    let totals = Totals { records: to - from, outputs: to - from, rows: to - from, ..Totals::default() };
    BatchSummary { delivery: delivery.to_owned(), batch, ranges, totals }
}

/// Batch number `batch` of ten records, in one file.
fn batch(delivery: &str, batch: u64) -> Append {
    Append {
        files: vec![file(&name(), &format!("{delivery}-{batch:012}-000"), 10)],
        schema: None,
        partition_spec_id: None,
        summary: summary(delivery, batch, batch * 10, batch * 10 + 10),
        conditions: vec![],
        writes: vec![],
    }
}

fn urls(files: &TableFiles) -> Vec<&str> {
    let mut urls: Vec<_> = files.entries.iter().map(FileEntry::url).collect();
    urls.sort_unstable();
    urls
}
