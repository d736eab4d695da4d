//! Files read back as what was written, under the right hour, with ids and bounds that hold.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use iceberg::spec::{Datum, Literal, PrimitiveLiteral, Struct};
use object_store::path::Path;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::*;
use crate::lake::convert::{ConvertSettings, Converter};
use crate::lake::event_time::TimeSource;
use crate::lake::row::Row;
use crate::lake::schema::{ColumnSpec, TableSchema};
use crate::lake::store::StoreSettings;
use crate::log::{Offset, ShardId};
use crate::time::Timestamp;

const HOUR: i64 = 1_357_034_400_000; // 2013-01-01T10:00:00Z

fn row(offset: u64, arrival: i64, data: &str) -> Row {
    Row {
        shard: ShardId(0),
        offset: Offset(offset),
        sub: 0,
        arrival_time: Timestamp(arrival),
        partition_key: Bytes::from_static(b"k"),
        data: Bytes::copy_from_slice(data.as_bytes()),
        keys: None,
        source: None,
    }
}

fn converter(columns: &[(&str, &str)]) -> Converter {
    let columns = columns.iter().map(|(name, column_type)| ColumnSpec::parse(name, column_type).unwrap()).collect();
    let settings = ConvertSettings { columns, system_columns: true, ..ConvertSettings::default() };
    let table = TableSchema::initial(&settings.columns, &settings.time, settings.policy, true).unwrap();
    Converter::new(settings, "events", &table).unwrap()
}

fn target(converter: &Converter) -> ParquetTarget {
    ParquetTarget {
        table_root: "default/events".into(),
        names: FileNames { delivery: "events".into(), batch: 5 },
        schema: Arc::clone(&converter.schema().schema),
        partitioning: Partitioning::hourly(&TimeSource::Arrival),
        partition_spec_id: 0,
        time_column: TimeSource::Arrival.column().into(),
        prefix: Prefix::default(),
    }
}

fn memory() -> Store {
    Store::open(&StoreSettings::of_url("memory:///lake")).unwrap()
}

async fn read(store: &Store, path: &Path) -> RecordBatch {
    let bytes = store.get(path).await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

#[tokio::test]
async fn batches_of_two_schemas_over_two_hours_become_two_files_of_the_newest() {
    let mut converter = converter(&[]);
    let first =
        converter.convert(vec![row(0, HOUR, "{\"a\":1}"), row(1, HOUR + 3_600_000, "{\"a\":2}")]).unwrap().batch;
    let second = converter
        .convert(vec![row(2, HOUR + 3_599_999, "{\"a\":3,\"b\":{\"c\":[1.5]}}"), row(3, HOUR + 7_199_999, "{}")])
        .unwrap()
        .batch;
    let store = memory();
    let files = write(&store, &ParquetSettings::default(), &target(&converter), vec![first.into(), second.into()])
        .await
        .unwrap();

    let paths: Vec<_> = files.iter().map(DataFile::file_path).collect();
    let folder = "memory:///lake/default/events/data/year=2013/month=01/date=01/hour=";
    assert_eq!(
        paths,
        [format!("{folder}10/events-000000000005-000.parquet"), format!("{folder}11/events-000000000005-000.parquet")]
    );
    for (file, (hour, offsets)) in files.iter().zip([(376_954, [0, 2]), (376_955, [1, 3])]) {
        assert_eq!(file.partition(), &Struct::from_iter([Some(Literal::int(hour))]));
        assert_eq!(file.record_count(), 2);
        let path = store.path_of_url(file.file_path()).unwrap();
        assert_eq!(store.get(&path).await.unwrap().len() as u64, file.file_size_in_bytes());
        let batch = read(&store, &path).await;
        assert_eq!(batch.schema(), *converter.arrow_schema(), "names, types and field ids");
        assert_eq!(batch.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().values(), &offsets);
    }
}

#[tokio::test]
async fn a_batch_that_is_written_again_overwrites_its_files() {
    let mut converter = converter(&[]);
    let batch = converter.convert(vec![row(0, HOUR, "{\"a\":1}")]).unwrap().batch;
    let store = memory();
    let one =
        write(&store, &ParquetSettings::default(), &target(&converter), vec![batch.clone().into()]).await.unwrap();
    let two = write(&store, &ParquetSettings::default(), &target(&converter), vec![batch.into()]).await.unwrap();
    assert_eq!(one, two);
    let listed: Vec<_> = store.object_store().list(None).try_collect().await.unwrap();
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn rows_out_of_order_of_time_keep_their_order_within_the_hour() {
    let mut converter = converter(&[]);
    let rows = (0..100).map(|offset| row(offset, HOUR + 3_600_000 * (offset as i64 % 3), "{}")).collect();
    let batch = converter.convert(rows).unwrap().batch;
    let store = memory();
    let files = write(&store, &ParquetSettings::default(), &target(&converter), vec![batch.into()]).await.unwrap();
    assert_eq!(files.len(), 3);
    for (hour, file) in files.iter().enumerate() {
        let batch = read(&store, &store.path_of_url(file.file_path()).unwrap()).await;
        let offsets = batch.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(offsets, (0..100).filter(|offset| offset % 3 == hour as i64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn no_rows_write_no_files() {
    let mut converter = converter(&[]);
    let empty = converter.convert(Vec::new()).unwrap().batch;
    let files = write(&memory(), &ParquetSettings::default(), &target(&converter), vec![empty.into()]).await.unwrap();
    assert!(files.is_empty());
}

#[tokio::test]
async fn settings_reach_the_file() {
    let rows: Vec<_> = (0..1_000).map(|offset| row(offset, HOUR, "{\"s\":\"same\"}")).collect();
    let mut converter = converter(&[]);
    let batch = converter.convert(rows).unwrap().batch;
    let cases = [
        ("snappy", parquet::basic::Compression::SNAPPY),
        ("zstd", parquet::basic::Compression::ZSTD(parquet::basic::ZstdLevel::default())),
        ("gzip", parquet::basic::Compression::GZIP(parquet::basic::GzipLevel::default())),
        ("none", parquet::basic::Compression::UNCOMPRESSED),
    ];
    for (name, codec) in cases {
        let settings = ParquetSettings {
            compression: name.parse().unwrap(),
            row_group_rows_max: 400,
            dictionary: false,
            ..ParquetSettings::default()
        };
        let store = memory();
        let files = write(&store, &settings, &target(&converter), vec![batch.clone().into()]).await.unwrap();
        let path = store.path_of_url(files[0].file_path()).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(store.get(&path).await.unwrap()).unwrap();
        let groups = reader.metadata().row_groups();
        assert_eq!(groups.iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [400, 400, 200]);
        let column = groups[0].column(0);
        assert_eq!(std::mem::discriminant(&column.compression()), std::mem::discriminant(&codec), "{name}");
        assert!(column.dictionary_page_offset().is_none());
    }
    assert!("lzo".parse::<Compression>().unwrap_err().to_string().contains("snappy, zstd, gzip, lz4 and none"));
}

#[tokio::test]
async fn a_large_file_is_uploaded_in_parts() {
    let mut converter = converter(&[]);
    // Texts that hardly compress, so that the file is as large as they are.
    let noise = |seed: u64| {
        let mut bytes = vec![0u8; 45_000];
        rand::Rng::fill(&mut <rand::rngs::SmallRng as rand::SeedableRng>::seed_from_u64(seed), &mut bytes[..]);
        BASE64_STANDARD.encode(bytes)
    };
    let rows: Vec<_> = (0..200).map(|offset| row(offset, HOUR, &format!("{{\"s\":\"{}\"}}", noise(offset)))).collect();
    let batch = converter.convert(rows).unwrap().batch;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreSettings::of_url(format!("file://{}", folder.path().display()))).unwrap();
    let settings = ParquetSettings { compression: Compression::None, dictionary: false, ..ParquetSettings::default() };
    let files = write(&store, &settings, &target(&converter), vec![batch.clone().into()]).await.unwrap();
    assert!(files[0].file_size_in_bytes() > 10_000_000);
    let back = read(&store, &store.path_of_url(files[0].file_path()).unwrap()).await;
    assert_eq!(back.column_by_name("s"), batch.column_by_name("s"));
}

fn bounds(file: &DataFile, schema: &TableSchema) -> BTreeMap<String, (Datum, Datum)> {
    let fields = schema.schema.as_struct().fields().iter();
    fields
        .filter_map(|field| {
            let bounds = (file.lower_bounds().get(&field.id)?.clone(), file.upper_bounds().get(&field.id)?.clone());
            Some((field.name.clone(), bounds))
        })
        .collect()
}

#[tokio::test]
async fn statistics_tell_counts_and_bounds_of_each_type() {
    let mut converter = converter(&[
        ("small", "decimal(5,2)"),
        ("wide", "decimal(30,2)"),
        ("day", "date"),
        ("id", "uuid"),
        ("at", "timestamptz"),
        ("int", "int"),
        ("float", "float"),
        ("none", "long"),
    ]);
    let one = r#"{"small":-1.25,"wide":-12345678901234567890.5,"day":"2013-01-01","id":"00000000-0000-0000-0000-000000000001",
        "at":"2013-01-01T00:00:00Z","int":-7,"float":-0.5,"l":1,"d":-1.5,"b":false,"s":"aaaaaaaaaaaaaaaaaaaaaaaa","o":{"x":4},"list":[1]}"#;
    let two = r#"{"small":2.5,"wide":7,"day":"2013-01-02","id":"f0000000-0000-0000-0000-000000000001",
        "at":"2013-01-02T00:00:00Z","int":9,"float":0.5,"l":-5,"d":2.5,"b":true,"s":"zzzzzzzzzzzzzzzzzzzzzzzz","o":{"x":5}}"#;
    let rows = vec![row(0, HOUR, one), row(1, HOUR + 1, two), row(2, HOUR + 2, "{}")];
    let converted = converter.convert(rows).unwrap();
    assert_eq!((converted.set_aside.len(), converted.rescued), (0, 0));
    // Two row groups, so that bounds are joined.
    let settings = ParquetSettings { row_group_rows_max: 1, ..ParquetSettings::default() };
    let files = write(&memory(), &settings, &target(&converter), vec![converted.batch.into()]).await.unwrap();
    let (file, schema) = (&files[0], converter.schema());
    let id = |name: &str| schema.schema.field_id_by_name(name).unwrap();

    assert_eq!(file.value_counts()[&id("l")], 3);
    assert_eq!(file.null_value_counts()[&id("l")], 1);
    assert_eq!(file.null_value_counts()[&id("none")], 3);
    assert!(file.column_sizes()[&id("s")] > 0);
    assert_eq!(file.split_offsets().unwrap().len(), 3);

    let bounds = bounds(file, schema);
    assert!(!bounds.contains_key("none") && !bounds.contains_key("list"));
    assert_eq!(bounds["l"], (Datum::long(-5), Datum::long(1)));
    assert_eq!(bounds["int"], (Datum::int(-7), Datum::int(9)));
    assert_eq!(bounds["d"], (Datum::double(-1.5), Datum::double(2.5)));
    assert_eq!(bounds["float"], (Datum::float(-0.5), Datum::float(0.5)));
    assert_eq!(bounds["b"], (Datum::bool(false), Datum::bool(true)));
    assert_eq!(bounds["s"], (Datum::string("a".repeat(16)), Datum::string(format!("{}{{", "z".repeat(15)))));
    assert_eq!(bounds["day"], (Datum::date(15_706), Datum::date(15_707)));
    assert_eq!(bounds["small"].0.literal(), &PrimitiveLiteral::Int128(-125));
    assert_eq!(bounds["small"].1.literal(), &PrimitiveLiteral::Int128(250));
    assert_eq!(bounds["wide"].0.literal(), &PrimitiveLiteral::Int128(-1_234_567_890_123_456_789_050));
    assert_eq!(bounds["wide"].1.literal(), &PrimitiveLiteral::Int128(700));
    assert_eq!(bounds["id"].0.literal(), &PrimitiveLiteral::UInt128(1));
    assert_eq!(bounds["_offset"], (Datum::long(0), Datum::long(2)));
    assert_eq!(bounds["_arrival_time"].1, Datum::timestamptz_micros((HOUR + 2) * 1000));
    assert_eq!(file.upper_bounds()[&id("o.x")], Datum::long(5));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn every_text_lies_within_its_bounds(texts in prop::collection::vec(any::<String>(), 1..8)) {
        let mut converter = converter(&[("s", "string")]);
        let rows = texts.iter().enumerate().map(|(offset, text)| {
            row(offset as u64, HOUR, &serde_json::json!({ "s": text }).to_string())
        });
        let batch = converter.convert(rows.collect()).unwrap().batch;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let target = target(&converter);
        let files = runtime.block_on(write(&memory(), &ParquetSettings::default(), &target, vec![batch.into()])).unwrap();
        if let Some((lower, upper)) = bounds(&files[0], converter.schema()).get("s") {
            for text in texts {
                prop_assert!(*lower <= Datum::string(&text) && Datum::string(&text) <= *upper);
            }
        }
    }
}

/// Partitions by key and by hour in one batch: each row is in the file of its own, and hours that share a prefix are parts.
#[tokio::test]
async fn keys_and_hours_part_the_rows() {
    let mut converter = converter(&[]);
    let keyed = |number: u64| {
        let hour = HOUR + (number % 2) as i64 * 3_600_000;
        let keys: Option<Arc<[String]>> = Some(Arc::from([format!("k{}", number % 500)]));
        Row { keys, ..row(number, hour, &format!("{{\"number\":{number}}}")) }
    };
    let converted = converter.convert((0..2_000).map(keyed).collect()).unwrap();
    let batch = KeyedBatch { batch: converted.batch, keys: converted.keys };
    let store = memory();
    for (prefix, has_key) in [("k=!{partitionKeyFromQuery:k}/", true), ("!{timestamp:yyyy}/", false)] {
        let target = ParquetTarget { prefix: prefix.parse().unwrap(), ..target(&converter) };
        let files = write(&store, &ParquetSettings::default(), &target, vec![batch.clone()]).await.unwrap();
        let mut seen = Vec::new();
        for file in &files {
            let batch = read(&store, &store.path_of_url(file.file_path()).unwrap()).await;
            let numbers = batch.column_by_name("number").unwrap().as_primitive::<Int64Type>().values().to_vec();
            assert_eq!(file.record_count(), numbers.len() as u64);
            if has_key {
                let folder = format!("/data/k=k{}/", numbers[0] % 500);
                assert!(file.file_path().contains(&folder), "{} is not in {folder}", file.file_path());
                assert!(numbers.iter().all(|number| number % 500 == numbers[0] % 500));
            }
            seen.extend(numbers);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..2_000).collect::<Vec<_>>(), "{prefix}");
        if has_key {
            assert_eq!(files.len(), 500);
        } else {
            let names: Vec<_> = files.iter().filter_map(|file| file.file_path().rsplit('/').next()).collect();
            assert_eq!(names, ["events-000000000005-000.parquet", "events-000000000005-001.parquet"]);
        }
    }
}

#[tokio::test]
async fn files_are_sorted_and_filtered_as_they_are_told() {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    let mut converter = converter(&[]);
    let data = |n: u64| match n % 5 {
        0 => "{\"nested\":{\"key\":1}}".to_owned(),
        _ => format!("{{\"key\":\"k{:02}\",\"n\":{n}}}", (n * 7) % 20),
    };
    let mut batches = Vec::new();
    for rows in [0..50, 50..100] {
        let rows = rows.map(|n| row(n, HOUR, &data(n))).collect();
        batches.push(converter.convert(rows).unwrap().batch.into());
    }
    let names = ["unheard", "nested", "key"].map(str::to_owned).to_vec();
    let settings = ParquetSettings {
        compression: "lz4".parse().unwrap(),
        sort_by: names.clone(),
        bloom_filters: names,
        row_group_rows_max: 30,
        ..ParquetSettings::default()
    };
    let store = memory();
    let files = write(&store, &settings, &target(&converter), batches).await.unwrap();
    let path = store.path_of_url(files[0].file_path()).unwrap();
    let found = read(&store, &path).await;
    let keys: Vec<_> = found.column_by_name("key").unwrap().as_string::<i32>().iter().collect();
    let offsets = found.column_by_name("_offset").unwrap().as_primitive::<Int64Type>().values().to_vec();
    let order: Vec<_> = keys.iter().zip(&offsets).map(|(key, offset)| (key.is_none(), *key, *offset)).collect();
    assert_eq!(order.len(), 100);
    assert!(order.is_sorted(), "nulls last, equal keys in the order of their records: {order:?}");

    let file = SerializedFileReader::new(store.get(&path).await.unwrap()).unwrap();
    let leaf = |name: &str| {
        let columns = file.metadata().file_metadata().schema_descr().columns();
        columns.iter().position(|column| column.path().string() == name).unwrap()
    };
    for group in file.metadata().row_groups() {
        let sorted = group.sorting_columns().unwrap();
        assert_eq!(sorted.len(), 1);
        assert_eq!((sorted[0].column_idx as usize, sorted[0].nulls_first), (leaf("key"), false));
        let filtered = |name: &str| group.column(leaf(name)).bloom_filter_offset().is_some();
        assert!(filtered("key") && !filtered("nested.key") && !filtered("n"));
        assert!(group.column(leaf("n")).column_index_offset().is_some(), "a page index");
    }
}
