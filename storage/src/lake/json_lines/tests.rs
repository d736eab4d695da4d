//! Lines are whole, under the right prefix, readable by any reader of their compression; what is no line is set aside.

use std::io::Read;

use super::*;
use crate::lake::store::StoreSettings;
use crate::log::{Offset, ShardId};

const HOUR: i64 = 1_357_034_400_000; // 2013-01-01T10:00:00Z

fn row(offset: u64, arrival: i64, data: &[u8]) -> Row {
    Row {
        shard: ShardId(0),
        offset: Offset(offset),
        sub: 0,
        arrival_time: Timestamp(arrival),
        partition_key: Bytes::new(),
        data: Bytes::copy_from_slice(data),
        keys: None,
        source: None,
    }
}

fn settings(compression: LinesCompression) -> JsonLinesSettings {
    JsonLinesSettings { destination: "exports/events".into(), compression, ..JsonLinesSettings::default() }
}

async fn written(settings: &JsonLinesSettings, rows: Vec<Row>) -> (Store, Written) {
    let store = Store::open(&StoreSettings::of_url("memory:///lake")).unwrap();
    let names = FileNames { delivery: "events".into(), batch: 3 };
    let written = write(&store, settings, &names, rows).await.unwrap();
    (store, written)
}

#[tokio::test]
async fn a_batch_over_two_hours_writes_two_files() {
    let rows = vec![row(0, HOUR + 3_599_999, b"{\"a\":1}\n"), row(1, HOUR + 3_600_000, b"[2]"), row(2, HOUR, b" 3 ")];
    let (store, written) = written(&settings(LinesCompression::None), rows).await;
    let folder = "lake/exports/events/year=2013/month=01/date=01/hour=";
    let paths: Vec<_> = written.objects.iter().map(|object| object.path.to_string()).collect();
    assert_eq!(
        paths,
        [format!("{folder}10/events-000000000003-000.jsonl"), format!("{folder}11/events-000000000003-000.jsonl")]
    );
    assert_eq!(store.get(&written.objects[0].path).await.unwrap(), "{\"a\":1}\n3\n");
    assert_eq!(store.get(&written.objects[1].path).await.unwrap(), "[2]\n");
    assert_eq!(
        written.objects.iter().map(|object| (object.rows, object.size_bytes)).collect::<Vec<_>>(),
        [(2, 10), (1, 4)]
    );
    assert_eq!(written.objects[0].url, format!("memory:///{}", paths[0]));
    assert!(written.set_aside.is_empty());
}

#[tokio::test]
async fn each_compression_is_read_by_its_reader() {
    let rows: Vec<_> =
        (0..10_000).map(|number| row(number, HOUR, format!("{{\"number\":{number}}}").as_bytes())).collect();
    let expected: String = (0..10_000).map(|number| format!("{{\"number\":{number}}}\n")).collect();
    for (compression, extension) in [
        (LinesCompression::None, ".jsonl"),
        (LinesCompression::Gzip, ".jsonl.gz"),
        (LinesCompression::Zstd, ".jsonl.zst"),
        (LinesCompression::Snappy, ".jsonl.sz"),
    ] {
        let (store, written) = written(&settings(compression), rows.clone()).await;
        assert!(written.objects[0].url.ends_with(extension), "{}", written.objects[0].url);
        let bytes = store.get(&written.objects[0].path).await.unwrap();
        let mut text = String::new();
        match compression {
            LinesCompression::None => (&*bytes).read_to_string(&mut text),
            LinesCompression::Gzip => flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text),
            LinesCompression::Zstd => zstd::stream::read::Decoder::new(&*bytes).unwrap().read_to_string(&mut text),
            LinesCompression::Snappy => snap::read::FrameDecoder::new(&*bytes).read_to_string(&mut text),
        }
        .unwrap();
        assert_eq!(text, expected, "{compression:?}");
        let mut again = String::new();
        LinesCompression::of_name(&written.objects[0].url).reader(&*bytes).unwrap().read_to_string(&mut again).unwrap();
        assert_eq!(again, expected, "{compression:?} by its name");
    }
}

#[tokio::test]
async fn a_pretty_printed_row_becomes_one_line() {
    let (store, written) =
        written(&settings(LinesCompression::None), vec![row(0, HOUR, b"{\r\n  \"a\": \"x\\ny\"\n}")]).await;
    let text = store.get(&written.objects[0].path).await.unwrap();
    assert_eq!(text, "{    \"a\": \"x\\ny\" }\n");
}

#[tokio::test]
async fn what_is_no_line_is_set_aside() {
    let rows = [&b"{}{}"[..], b"", b"\"\xff\"", b"{\"a\"", b"{}"];
    let rows = rows.iter().enumerate().map(|(offset, data)| row(offset as u64, HOUR, data)).collect();
    let (_, written) = written(&settings(LinesCompression::None), rows).await;
    assert_eq!(written.objects[0].rows, 1);
    assert_eq!(written.set_aside.iter().map(|aside| aside.row.offset.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(written.set_aside.iter().all(|aside| aside.cause == Cause::InvalidJson));
}

#[tokio::test]
async fn nesting_is_limited() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
    let rows = vec![row(0, HOUR, &nested(128)), row(1, HOUR, &nested(129))];
    let (_, written) = written(&settings(LinesCompression::None), rows).await;
    assert_eq!(written.objects[0].rows, 1);
    assert_eq!(written.set_aside[0].cause, Cause::TooDeep);
}

#[tokio::test]
async fn the_event_time_decides_the_prefix() {
    let time = TimeSource::Field { field: "at".into(), format: TimeFormat::parse("epoch_seconds").unwrap() };
    let settings = JsonLinesSettings {
        time,
        prefix: "!{timestamp:yyyy-MM-dd}/".parse().unwrap(),
        ..settings(LinesCompression::None)
    };
    let rows = [&b"{\"x\":{\"at\":0},\"at\":86400}"[..], b"{\"at\":\"0\"}", b"{\"at\":\"soon\"}", b"{}", b"[86400]"];
    let rows = rows.iter().enumerate().map(|(offset, data)| row(offset as u64, HOUR, data)).collect();
    let (_, written) = written(&settings, rows).await;
    let paths: Vec<_> = written.objects.iter().map(|object| object.path.to_string()).collect();
    assert_eq!(
        paths,
        [
            "lake/exports/events/1970-01-01/events-000000000003-000.jsonl",
            "lake/exports/events/1970-01-02/events-000000000003-000.jsonl",
        ]
    );
    let causes: Vec<_> = written.set_aside.iter().map(|aside| aside.cause).collect();
    assert_eq!(causes, [Cause::EventTime, Cause::EventTime, Cause::NotAnObject]);
}

#[tokio::test]
async fn a_thousand_keys_are_a_thousand_files() {
    let settings = JsonLinesSettings {
        prefix: "c=!{partitionKeyFromQuery:c}/!{timestamp:HH}/".parse().unwrap(),
        ..settings(LinesCompression::Gzip)
    };
    let keyed = |number: u64| Row {
        keys: Some(Arc::from([format!("key-{}", number % 1_000)])),
        ..row(number, HOUR, format!("{{\"number\":{number}}}").as_bytes())
    };
    let (store, written) = written(&settings, (0..3_000).map(keyed).collect()).await;
    assert_eq!(written.objects.len(), 1_000);
    assert!(written.objects.iter().all(|object| object.rows == 3));
    assert!(written.objects.is_sorted_by_key(|object| &object.url));
    let object = written.objects.iter().find(|object| object.url.contains("/c=key-17/10/")).unwrap();
    let bytes = store.get(&object.path).await.unwrap();
    let mut text = String::new();
    LinesCompression::Gzip.reader(&*bytes).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "{\"number\":17}\n{\"number\":1017}\n{\"number\":2017}\n");
}

#[test]
fn unknown_compressions_say_what_is_allowed() {
    assert_eq!("gzip".parse::<LinesCompression>().unwrap(), LinesCompression::Gzip);
    assert!("lzo".parse::<LinesCompression>().unwrap_err().to_string().contains("none, gzip, zstd and snappy"));
}
