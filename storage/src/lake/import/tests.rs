//! Objects of each format become the same chunks wherever reading begins, and what is bad is told.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::TryStreamExt;
use proptest::prelude::*;

use super::*;
use crate::lake::store::{Store, StoreSettings};

fn options(format: ImportFormat) -> ReadOptions {
    ReadOptions {
        format,
        compression: ImportCompression::Auto,
        csv: CsvOptions::default(),
        partition_key: None,
        partition_key_chars_max: 256,
        record_bytes_max: 1 << 20,
        chunk_rows: 3,
        chunk_bytes: 1 << 20,
        again: None,
    }
}

async fn put(name: &str, bytes: impl Into<Bytes>) -> (Source, SourceObject) {
    let store = Store::open(&StoreSettings::of_url("memory:///in")).unwrap();
    store.put(&store.path(name), bytes.into()).await.unwrap();
    let source = Source::of(store);
    let mut found: Vec<_> = source.list(&Pattern::default()).try_collect().await.unwrap();
    assert_eq!(found.len(), 1);
    (source, found.remove(0))
}

async fn chunks(
    source: &Source,
    object: &SourceObject,
    options: &ReadOptions,
    from: Mark,
) -> Result<(Vec<Chunk>, u64), ReadError> {
    let mut reader = read(source.store().clone(), object.clone(), Arc::new(options.clone()), from);
    let mut chunks = Vec::new();
    while let Some(next) = reader.recv().await {
        match next? {
            Read::Chunk(chunk) => chunks.push(chunk),
            Read::End { rows } => return Ok((chunks, rows)),
        }
    }
    panic!("a reader ends with an end or an error")
}

fn lines(chunks: &[Chunk]) -> Vec<String> {
    let records = chunks.iter().flat_map(|chunk| &chunk.records);
    records.map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
}

/// Reads the object; then from the beginning of each of its chunks, which must give the rest of them.
async fn check(name: &str, bytes: impl Into<Bytes>, options: &ReadOptions) -> Vec<Chunk> {
    let (source, object) = put(name, bytes).await;
    let (all, rows) = chunks(&source, &object, options, Mark::default()).await.unwrap();
    assert_eq!(all.iter().map(|chunk| (chunk.records.len() + chunk.bad.len()) as u64).sum::<u64>(), rows);
    for (index, chunk) in all.iter().enumerate() {
        assert_eq!(chunk.start, index.checked_sub(1).map_or(Mark::default(), |before| all[before].next));
        let (rest, _) = chunks(&source, &object, options, chunk.start).await.unwrap();
        assert_eq!(rest, all[index..], "{name} from chunk {index}");
    }
    all
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

const LINES: &str = "{\"k\":\"a\",\"n\":1}\n\n{\"n\":2}\r\n{\"n\":\n[3]\n{\"k\":7}";

#[tokio::test]
async fn json_lines_are_records_in_any_compression() {
    let mut wanted = options(ImportFormat::JsonLines);
    wanted.partition_key = Some("k".into());
    let plain = check("a.jsonl", LINES, &wanted).await;
    assert_eq!(lines(&plain), ["{\"k\":\"a\",\"n\":1}", "{\"n\":2}", "[3]", "{\"k\":7}"]);
    assert_eq!(plain[0].bad[0].row, 3);
    assert_eq!((plain[0].bad[0].cause, &plain[0].bad[0].data[..]), (ImportCause::InvalidJson, &b"{\"n\":"[..]));
    let keys: Vec<_> = plain.iter().flat_map(|chunk| &chunk.records).map(|record| &record.partition_key).collect();
    assert_eq!((keys[0].as_str(), keys[3].as_str(), keys[1].len()), ("a", "7", 16));
    assert_ne!(keys[1], keys[2], "rows without the field are spread");
    let two_members = [gzip(&LINES[..20]), gzip(&LINES[20..])].concat();
    let mut framed = snap::write::FrameEncoder::new(Vec::new());
    framed.write_all(LINES.as_bytes()).unwrap();
    for (name, bytes) in [
        ("a.jsonl.gz", two_members),
        ("a.jsonl.zst", zstd::encode_all(LINES.as_bytes(), 3).unwrap()),
        ("a.jsonl.sz", framed.into_inner().unwrap()),
    ] {
        assert_eq!(lines(&check(name, bytes, &wanted).await), lines(&plain), "{name}");
    }
}

#[tokio::test]
async fn a_record_at_the_limit_is_one_and_past_it_is_set_aside_by_its_beginning() {
    let mut wanted = options(ImportFormat::Lines);
    wanted.record_bytes_max = 100_000;
    // The key that follows from the place has 16 characters.
    let text = format!("{}\n{}\n{}\nend\n", "a".repeat(99_984), "b".repeat(99_985), "c".repeat(3_000_000));
    let found = check("a.txt", text, &wanted).await;
    assert_eq!(lines(&found), ["a".repeat(99_984), "end".to_owned()]);
    let bad: Vec<_> = found.iter().flat_map(|chunk| &chunk.bad).collect();
    assert_eq!(
        bad.iter().map(|bad| (bad.row, bad.cause)).collect::<Vec<_>>(),
        [(2, ImportCause::TooLarge), (3, ImportCause::TooLarge)]
    );
    assert!(bad.iter().all(|bad| bad.data.len() == BAD_ROW_DATA_BYTES_MAX));
}

#[tokio::test]
async fn a_chunk_ends_before_the_row_that_is_past_its_bytes() {
    let mut wanted = options(ImportFormat::Lines);
    (wanted.chunk_rows, wanted.chunk_bytes) = (100, 2 * 26);
    let found = check("a.txt", "0123456789\n0123456789\n0123456789\n".to_owned() + &"x".repeat(90), &wanted).await;
    assert_eq!(found.iter().map(|chunk| chunk.records.len()).collect::<Vec<_>>(), [2, 1, 1]);
}

#[tokio::test]
async fn csv_is_objects_of_its_header() {
    let text = "\u{feff}id,name,note\r\n1,\"a,\"\"b\"\"\",\"two\nlines\"\r\n\r\n2,b\r\n007,c,\r\n";
    let mut wanted = options(ImportFormat::Csv);
    wanted.partition_key = Some("name".into());
    let found = check("a.csv", text, &wanted).await;
    assert_eq!(
        lines(&found),
        [r#"{"id":"1","name":"a,\"b\"","note":"two\nlines"}"#, r#"{"id":"007","name":"c","note":""}"#]
    );
    assert_eq!(found[0].records[0].partition_key, "a,\"b\"");
    let bad = &found[0].bad[0];
    assert_eq!((bad.row, bad.cause, &bad.data[..]), (2, ImportCause::InvalidCsv, &b"2,b"[..]));
    assert!(bad.message.contains("2 fields") && bad.message.contains("3 columns"), "{}", bad.message);

    wanted.csv = CsvOptions { delimiter: b';', columns: vec!["a".into(), "b".into()], values: CsvValues::Infer };
    let found = check("a.csv", "007;-1.50e3\n;true\n12345678901234567890;x\n1 ;01", &wanted).await;
    assert_eq!(
        lines(&found),
        [
            r#"{"a":"007","b":-1.50e3}"#,
            r#"{"a":null,"b":true}"#,
            r#"{"a":12345678901234567890,"b":"x"}"#,
            r#"{"a":"1 ","b":"01"}"#,
        ]
    );
}

#[tokio::test]
async fn a_quote_that_is_never_closed_is_one_bad_row_and_takes_no_memory() {
    let mut wanted = options(ImportFormat::Csv);
    wanted.record_bytes_max = 100_000;
    let text = format!("a,b\n1,2\n3,\"{}", "x,\n".repeat(1_000_000));
    let found = check("a.csv", text, &wanted).await;
    assert_eq!(lines(&found), [r#"{"a":"1","b":"2"}"#]);
    assert_eq!((found[0].bad[0].row, found[0].bad[0].cause), (2, ImportCause::TooLarge));
    let (source, object) = put("a.csv", "a,a\n1,2\n").await;
    let error = chunks(&source, &object, &wanted, Mark::default()).await.unwrap_err();
    assert!(matches!(&error, ReadError::Unreadable(words) if words.contains("\"a\" twice")), "{error}");
}

#[tokio::test]
async fn parquet_rows_are_objects_that_keep_their_digits() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("price", DataType::Decimal128(20, 2), false),
        Field::new("ratio", DataType::Float64, false),
    ]));
    let count: i64 = 2000;
    let name = |id: i64| (id % 3 != 0).then(|| format!("n{id}\n"));
    let ratio = |id: i64| if id % 5 == 0 { f64::NAN } else { id as f64 / 2.0 };
    let prices = Decimal128Array::from_iter_values((0..count).map(|id| i128::from(id) * 100_000_000_000_000_001));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Int64Array::from_iter_values((0..count).map(|id| id + (i64::MAX - count)))),
            Arc::new(StringArray::from_iter((0..count).map(name))),
            Arc::new(prices.with_precision_and_scale(20, 2).unwrap()),
            Arc::new(Float64Array::from_iter_values((0..count).map(ratio))),
        ],
    )
    .unwrap();
    let properties = ::parquet::file::properties::WriterProperties::builder();
    let properties = properties.set_max_row_group_row_count(Some(700)).set_data_page_row_count_limit(50).build();
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    let bytes = writer.into_inner().unwrap();

    let mut wanted = options(ImportFormat::Parquet);
    (wanted.chunk_rows, wanted.partition_key) = (300, Some("name".into()));
    let found = check("a.parquet", bytes.clone(), &wanted).await;
    assert_eq!(found.len(), 7);
    let rows = lines(&found);
    assert_eq!(rows[0], "{\"id\":9223372036854773807,\"price\":0.00,\"ratio\":\"NaN\"}");
    assert_eq!(rows[7], "{\"id\":9223372036854773814,\"name\":\"n7\\n\",\"price\":7000000000000000.07,\"ratio\":3.5}");
    assert_eq!(found[0].records[7].partition_key, "n7\n");
    let (source, object) = put("a.parquet", bytes[..bytes.len() - 9].to_vec()).await;
    let error = chunks(&source, &object, &wanted, Mark::default()).await.unwrap_err();
    assert!(matches!(&error, ReadError::Unreadable(words) if words.contains("Parquet")), "{error}");
}

#[tokio::test]
async fn a_whole_object_is_one_record() {
    let wanted = ReadOptions { record_bytes_max: 100_000, ..options(ImportFormat::Raw) };
    let found = check("a.bin.gz", gzip("x\ny"), &wanted).await;
    assert_eq!(lines(&found), ["x\ny"]);
    assert!(check("a.bin", "", &wanted).await.is_empty());
    let found = check("a.bin", vec![7; 100_000], &wanted).await;
    assert_eq!((found[0].records.len(), found[0].bad[0].cause), (0, ImportCause::TooLarge));
}

#[tokio::test]
async fn a_backup_gives_keys_and_bytes_back() {
    let line = |key: &str, data: &[u8]| {
        use base64::Engine as _;
        let raw_data = base64::prelude::BASE64_STANDARD.encode(data);
        serde_json::to_string(&crate::lake::source_backup::BackupLine {
            shard: 1,
            offset: 2,
            arrival_timestamp: 3,
            partition_key: key.into(),
            raw_data,
        })
        .unwrap()
    };
    let text = format!("{}\nno\n{}\n", line("k1", &[0, 0xff, b'\n']), line("k2", b"x"));
    let found = check("b.jsonl.gz", gzip(&text), &options(ImportFormat::SourceBackup)).await;
    assert_eq!(
        found[0].records[0],
        ImportRecord { partition_key: "k1".into(), data: Bytes::from_static(&[0, 0xff, b'\n']) }
    );
    assert_eq!(found[0].records[1].partition_key, "k2");
    assert_eq!((found[0].bad[0].row, found[0].bad[0].cause), (2, ImportCause::InvalidBackup));
}

#[tokio::test]
async fn what_is_cut_off_or_written_over_is_told() {
    let wanted = options(ImportFormat::JsonLines);
    let whole = gzip(&"{\"n\":1}\n".repeat(1000));
    let (source, object) = put("a.jsonl.gz", whole[..whole.len() / 2].to_vec()).await;
    let error = chunks(&source, &object, &wanted, Mark::default()).await.unwrap_err();
    assert!(matches!(&error, ReadError::Unreadable(words) if words.starts_with("at row ")), "{error}");

    let (source, object) = put("a.jsonl", "{\"n\":1}\n").await;
    source.store().put(&object.path, Bytes::from_static(b"{\"n\":2}\n")).await.unwrap();
    let error = chunks(&source, &object, &wanted, Mark::default()).await.unwrap_err();
    assert!(matches!(error, ReadError::Changed), "{error}");
    source.store().delete(&object.path).await.unwrap();
    let error = chunks(&source, &object, &wanted, Mark::default()).await.unwrap_err();
    assert!(matches!(error, ReadError::Changed), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever an object holds, it is read to its end without a panic, and the same from each chunk on.
    #[test]
    fn any_bytes_become_the_same_chunks(
        bytes in proptest::collection::vec(prop_oneof![4 => any::<u8>(), 6 => prop::sample::select(&b"\n\r\",{}:1a"[..])], 0..400),
        format in prop::sample::select(vec![ImportFormat::JsonLines, ImportFormat::Lines, ImportFormat::SourceBackup]),
        chunk_rows in 1u32..5,
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let wanted = ReadOptions { chunk_rows, ..options(format) };
        runtime.block_on(check("a.txt", bytes.clone(), &wanted));
        let wanted = ReadOptions { csv: CsvOptions { columns: vec!["a".into()], ..CsvOptions::default() }, ..options(ImportFormat::Csv) };
        runtime.block_on(check("a.csv", bytes, &wanted));
    }
}
