//! The lake's files in the catalog's tables: field ids, hours and bounds agree from the first row to the plan of a query.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::TryStreamExt;
use iceberg::spec::{PrimitiveLiteral, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;
use crate::lake::FileNames;
use crate::lake::convert::{ConvertSettings, Converter};
use crate::lake::parquet::{ParquetSettings, ParquetTarget, write};
use crate::lake::prefix::Prefix;
use crate::lake::row::Row;
use crate::lake::schema::{ARRIVAL_TIME, TableSchema};
use crate::time::Timestamp;

const HOUR_MS: i64 = 3_600_000;

fn settings() -> ConvertSettings {
    ConvertSettings { system_columns: true, ..ConvertSettings::default() }
}

fn row(offset: u64, arrival_time: i64, data: &str) -> Row {
    Row {
        shard: ShardId(0),
        offset: Offset(offset),
        sub: 0,
        arrival_time: Timestamp(arrival_time),
        partition_key: Bytes::from_static(b"UA"),
        data: Bytes::copy_from_slice(data.as_bytes()),
        keys: None,
        source: None,
    }
}

/// What a delivery does with a batch: convert by the table's schema, write files, append them with the schema they have.
async fn deliver(catalog: &Catalog, number: u64, rows: Vec<Row>) -> iceberg::table::Table {
    let table = catalog.load(&name()).await.unwrap();
    let known = TableSchema::of(table.metadata());
    let mut converter = Converter::new(settings(), "flights", &known).unwrap();
    let records = rows.len() as u64;
    let converted = converter.convert(rows).unwrap();
    assert!(converted.set_aside.is_empty(), "{:?}", converted.set_aside);
    let target = ParquetTarget {
        table_root: name().folder(),
        names: FileNames { delivery: "flights".to_owned(), batch: number },
        schema: Arc::clone(&converter.schema().schema),
        partitioning: Partitioning::hourly(&TimeSource::Arrival),
        partition_spec_id: table.metadata().default_partition_spec_id(),
        time_column: ARRIVAL_TIME.to_owned(),
        prefix: Prefix::default(),
    };
    let files =
        write(catalog.store(), &ParquetSettings::default(), &target, vec![converted.batch.into()]).await.unwrap();
    let schema = converter.is_evolved().then(|| Arc::clone(&converter.schema().schema));
    let summary = summary("flights", number, number * records, (number + 1) * records);
    catalog
        .append(&name(), Append { files, schema, partition_spec_id: None, summary, conditions: vec![], writes: vec![] })
        .await
        .unwrap()
}

async fn create(catalog: &Catalog) {
    let settings = settings();
    let initial = TableSchema::initial(&[], &settings.time, settings.policy, settings.system_columns).unwrap();
    let schema = initial.schema.as_ref().clone();
    let new = NewTable { schema, partitioning: Partitioning::hourly(&TimeSource::Arrival), spec_toml: String::new() };
    catalog.create(&name(), new).await.unwrap();
}

#[tokio::test]
async fn batches_that_bring_columns_over_two_hours_are_planned_by_hour_and_bound() {
    let folder = tempfile::tempdir().unwrap();
    for store in [memory_store(), disk_store(&folder)] {
        let catalog = catalog(store);
        create(&catalog).await;
        let first = vec![
            row(0, 10 * HOUR_MS, r#"{"carrier": "UA", "distance": 1400, "year": 2013}"#),
            row(1, 11 * HOUR_MS, r#"{"carrier": "AA", "distance": 1416, "hour": 5}"#),
        ];
        deliver(&catalog, 0, first).await;
        let second = vec![
            row(2, 11 * HOUR_MS + 1, r#"{"carrier": "DL", "weather": {"wind": 12.5}}"#),
            row(3, 11 * HOUR_MS + 2, r#"{"carrier": "DL", "weather": {"wind": 8, "gusts": [{"at": 1}]}}"#),
        ];
        let table = deliver(&catalog, 1, second).await;
        check_plan(&catalog, &table).await;
        check_rows(&catalog, &table).await;
    }
}

async fn check_plan(catalog: &Catalog, table: &iceberg::table::Table) {
    let files = catalog.files(table).await.unwrap();
    let schema = table.metadata().current_schema();
    let planned = |column: &str| -> Vec<_> {
        let id = schema.field_id_by_name(column).unwrap_or_else(|| panic!("the table has no column {column}"));
        let bound = |bound: Option<&Datum>| bound.map(|datum| datum.literal().clone());
        let entries = files.entries.iter();
        entries.map(|file| (file.hour(), file.rows(), bound(file.lower(id)), bound(file.upper(id)))).collect()
    };
    let long = |value| Some(PrimitiveLiteral::Long(value));
    let text = |value: &str| Some(PrimitiveLiteral::String(value.to_owned()));
    assert_eq!(
        planned("distance"),
        [(Some(10), 1, long(1_400), long(1_400)), (Some(11), 1, long(1_416), long(1_416)), (Some(11), 2, None, None)]
    );
    let carriers = planned("carrier");
    assert_eq!((&carriers[0].2, &carriers[2].3), (&text("UA"), &text("DL")));
    let offsets: Vec<_> = planned("_offset").into_iter().map(|(.., lower, upper)| (lower, upper)).collect();
    assert_eq!(offsets, [(long(0), long(0)), (long(1), long(1)), (long(2), long(3))]);
    let wind = schema.field_id_by_name("weather.wind").unwrap();
    assert_eq!(files.entries[2].upper(wind), Some(&Datum::double(12.5)));
    assert_eq!(files.entries[0].upper(wind), None);
}

/// What a reader that lists the folder gets is what the snapshot names, and each file has the columns' ids.
async fn check_rows(catalog: &Catalog, table: &iceberg::table::Table) {
    let store = catalog.store();
    let data = store.path(&format!("{}/data", name().folder()));
    let listed: Vec<_> = store.object_store().list(Some(&data)).try_collect().await.unwrap();
    let listed: BTreeSet<_> = listed.iter().map(|object| store.url(&object.location)).collect();
    let files = catalog.files(table).await.unwrap();
    let planned: BTreeSet<_> = files.entries.iter().map(|file| file.url().to_owned()).collect();
    assert_eq!(listed, planned);
    assert!(listed.iter().all(|url| url.contains("/data/year=1970/month=01/date=01/hour=1")), "{listed:?}");
    for file in &files.entries {
        let bytes = store.get(&store.path_of_url(file.url()).unwrap()).await.unwrap();
        assert_eq!(bytes.len() as u64, file.size_bytes());
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        check_ids(reader.schema().fields(), table.metadata().current_schema());
        let rows: usize = reader.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum();
        assert_eq!(rows as u64, file.rows());
    }
}

fn check_ids(fields: &arrow::datatypes::Fields, schema: &SchemaRef) {
    for field in fields {
        let id: i32 = field.metadata()[parquet::arrow::PARQUET_FIELD_ID_META_KEY].parse().unwrap();
        assert_eq!(schema.field_id_by_name(field.name()), Some(id), "{}", field.name());
    }
}
