//! Tables that are partitioned otherwise than before: each file keeps the spec that it was written for.

use std::collections::HashSet;

use super::*;

const DAY: i32 = HOUR / 24;

fn by(texts: &[&str]) -> Partitioning {
    Partitioning::parse(texts, &TimeSource::Arrival).unwrap()
}

/// A file of one day and carrier, for the spec with this id.
fn file_of(spec_id: i32, name: &str, carrier: Option<&str>) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(format!("memory:///lake/default/flights/data/{name}.parquet"))
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::date(DAY)), carrier.map(Literal::string)]))
        .partition_spec_id(spec_id)
        .record_count(10)
        .file_size_in_bytes(100)
        .build()
        .unwrap()
}

fn paths(table: &iceberg::table::Table, files: &TableFiles) -> Vec<(String, String)> {
    let schema = table.metadata().current_schema();
    let name = |file: &FileEntry| file.url().rsplit('/').next().unwrap_or_default().to_owned();
    let mut paths: Vec<_> = files.entries.iter().map(|file| (name(file), file.partition_path(schema))).collect();
    paths.sort_unstable();
    paths
}

#[tokio::test]
async fn files_keep_the_spec_that_they_were_written_for() {
    let catalog = catalog(memory_store());
    catalog.create(&name(), new_table()).await.unwrap();
    catalog.append(&name(), batch("d", 0)).await.unwrap();
    let daily = by(&["day(_arrival_time)", "identity(carrier)"]);
    let table = catalog.repartition(&name(), &daily).await.unwrap();
    let id = table.metadata().default_partition_spec_id();
    assert_eq!(
        (daily.spec_id(table.metadata()), by(&["hour(_arrival_time)"]).spec_id(table.metadata())),
        (Some(id), Some(0))
    );
    assert_ne!(id, 0);

    let files = vec![file_of(id, "ua", Some("UA")), file_of(id, "none", None)];
    catalog.append(&name(), Append { files, partition_spec_id: Some(id), ..batch("d", 1) }).await.unwrap();
    // A batch whose files were written before the change: it is listed as it is.
    let table = catalog.append(&name(), Append { partition_spec_id: Some(0), ..batch("d", 2) }).await.unwrap();
    assert_eq!(table.metadata().default_partition_spec_id(), id);
    let found = catalog.files(&table).await.unwrap();
    let expected = [
        ("d-000000000000-000.parquet", "_hour=2013-01-01-05"),
        ("d-000000000002-000.parquet", "_hour=2013-01-01-05"),
        ("none.parquet", "_by_day__arrival_time=2013-01-01/carrier=null"),
        ("ua.parquet", "_by_day__arrival_time=2013-01-01/carrier=UA"),
    ];
    assert_eq!(paths(&table, &found), expected.map(|(name, path)| (name.to_owned(), path.to_owned())));
    let hours: HashSet<_> = found.entries.iter().map(FileEntry::hour).collect();
    assert_eq!(hours, HashSet::from([Some(HOUR), None]));

    // Back again is the spec of before, and so it is for who opens the table anew.
    let table = catalog.repartition(&name(), &by(&["hour(_arrival_time)"])).await.unwrap();
    assert_eq!((table.metadata().default_partition_spec_id(), table.metadata().partition_specs_iter().len()), (0, 2));
    let again = Catalog::new(Arc::clone(&catalog.meta), catalog.store().clone());
    let table = again.load(&name()).await.unwrap();
    assert_eq!(paths(&table, &again.files(&table).await.unwrap()).len(), 4);
    let before = table.metadata_location().map(str::to_owned);
    let table = again.repartition(&name(), &by(&[])).await.unwrap();
    assert_eq!(table.metadata_location().map(str::to_owned), before, "nothing changed");
}

#[tokio::test]
async fn an_overwrite_puts_files_of_one_spec_in_the_place_of_another() {
    let catalog = catalog(memory_store());
    catalog.create(&name(), new_table()).await.unwrap();
    for number in 0..2 {
        catalog.append(&name(), batch("d", number)).await.unwrap();
    }
    let table = catalog.repartition(&name(), &by(&["day(_arrival_time)", "identity(carrier)"])).await.unwrap();
    let id = table.metadata().default_partition_spec_id();
    let overwrite = Overwrite {
        files: vec![file_of(id, "new", Some("AA"))],
        removed: HashSet::from([file(&name(), "d-000000000000-000", 10).file_path().to_owned()]),
        schema: None,
        partition_spec_id: Some(id),
        properties: HashMap::default(),
        conditions: vec![],
        writes: vec![],
    };
    let table = catalog.overwrite(&name(), overwrite).await.unwrap();
    let found = paths(&table, &catalog.files(&table).await.unwrap());
    let partitions: Vec<_> = found.iter().map(|(_, path)| path.as_str()).collect();
    assert_eq!(partitions, ["_hour=2013-01-01-05", "_by_day__arrival_time=2013-01-01/carrier=AA"]);
}

#[tokio::test]
async fn a_partition_rules_values_out_that_its_files_cannot_hold() {
    let catalog = catalog(memory_store());
    let partitioning = by(&["day(_arrival_time)", "identity(carrier)"]);
    catalog.create(&name(), NewTable { partitioning, ..new_table() }).await.unwrap();
    let files = vec![file_of(0, "ua", Some("UA")), file_of(0, "none", None)];
    let table = catalog.append(&name(), Append { files, ..batch("d", 0) }).await.unwrap();
    let found = catalog.files(&table).await.unwrap();
    let may_hold = |id, value: Datum| found.entries.iter().map(|file| file.may_hold(id, &value)).collect::<Vec<_>>();
    let (arrival, carrier, distance) = (1, 2, 3);
    assert_eq!(may_hold(carrier, Datum::string("UA")), [true, false]);
    assert_eq!(may_hold(carrier, Datum::string("AA")), [false, false]);
    assert_eq!(may_hold(distance, Datum::int(1)), [true, true], "nothing is known of it");
    let micros = i64::from(DAY) * 86_400_000_000;
    assert_eq!(may_hold(arrival, Datum::timestamptz_micros(micros + 1)), [true, true]);
    assert_eq!(may_hold(arrival, Datum::timestamptz_micros(micros - 1)), [false, false]);
    assert_eq!(may_hold(carrier, Datum::long(1)), [true, false], "what cannot be compared may be there, but for null");
}

#[tokio::test]
async fn a_column_that_is_missing_is_told_and_changes_nothing() {
    let catalog = catalog(memory_store());
    let before = catalog.create(&name(), new_table()).await.unwrap();
    let error = catalog.repartition(&name(), &by(&["identity(tail)"])).await.unwrap_err();
    assert!(matches!(&error, Error::Schema { .. }) && error.to_string().contains("\"tail\""), "{error}");
    assert_eq!(catalog.load(&name()).await.unwrap().metadata_location(), before.metadata_location());
}
