//! Rows that were set aside are under their prefix, come back as they were, and do not depend on when they were written.

use super::*;
use crate::lake::prefix::DEFAULT_ERROR_PREFIX;
use crate::lake::store::StoreSettings;

const HOUR: i64 = 1_357_034_400_000;

fn row(offset: u64, arrival: i64, data: &'static [u8]) -> Row {
    Row {
        shard: ShardId(1),
        offset: Offset(offset),
        sub: 2,
        arrival_time: Timestamp(arrival),
        partition_key: Bytes::from_static(b"key"),
        data: Bytes::from_static(data),
        keys: None,
        source: None,
    }
}

fn aside(row: Row, cause: Cause) -> SetAside {
    SetAside { row, cause, message: "why \"so\"".into(), attempts: 1 }
}

fn settings(prefix: &str) -> SetAsideSettings {
    SetAsideSettings {
        root: "default/flights".into(),
        prefix: Prefix::of_errors(prefix).unwrap(),
        stream: "events".into(),
        cut_at: Timestamp(HOUR + 7),
    }
}

async fn written(settings: &SetAsideSettings, rows: &[SetAside]) -> (Store, Vec<WrittenObject>) {
    let store = Store::open(&StoreSettings::of_url("memory:///lake")).unwrap();
    let names = FileNames { delivery: "flights".into(), batch: 7 };
    let written = write(&store, settings, &names, rows).await.unwrap();
    (store, written)
}

#[tokio::test]
async fn rows_are_kept_by_cause_and_hour_with_their_bytes() {
    let rows = [
        aside(row(0, HOUR, b"\xff{"), Cause::InvalidJson),
        aside(row(1, HOUR + 3_600_000, b"{}{}"), Cause::InvalidJson),
        aside(row(2, HOUR, b"[]"), Cause::NotAnObject),
        aside(row(3, HOUR, b""), Cause::InvalidJson),
    ];
    let settings = settings(DEFAULT_ERROR_PREFIX);
    let (store, written) = written(&settings, &rows).await;
    let paths: Vec<_> = written.iter().map(|object| object.path.to_string()).collect();
    let folder = "year=2013/month=01/date=01/hour=";
    assert_eq!(
        paths,
        [
            format!("lake/default/flights/errors/invalid_json/{folder}10/flights-000000000007.jsonl"),
            format!("lake/default/flights/errors/invalid_json/{folder}11/flights-000000000007.jsonl"),
            format!("lake/default/flights/errors/not_an_object/{folder}10/flights-000000000007.jsonl"),
        ]
    );
    assert_eq!(written.iter().map(|object| object.rows).collect::<Vec<_>>(), [2, 1, 1]);
    let lines = read(&written[0].url, &store.get(&written[0].path).await.unwrap()).unwrap();
    assert_eq!((lines[0].offset, lines[0].attempts_made, lines[0].attempt_ending_timestamp), (0, 1, HOUR + 7));
    assert_eq!((lines[0].error_message.as_str(), lines[0].cause()), ("why \"so\"", Some(Cause::InvalidJson)));
    assert_eq!(lines[1], line_of(&settings, &rows[3]));
    assert_eq!(lines[0].to_row().unwrap(), rows[0].row);
}

#[tokio::test]
async fn a_record_of_one_output_is_kept_as_it_came() {
    let source = Some(Bytes::from_static(b"before"));
    let rows = [aside(Row { source: source.clone(), ..row(0, HOUR, b"after") }, Cause::InvalidJson)];
    let (store, written) = written(&settings("failed/"), &rows).await;
    let lines = read(&written[0].url, &store.get(&written[0].path).await.unwrap()).unwrap();
    assert_eq!(lines[0].raw_data_of, RawDataOf::Record);
    let again = lines[0].to_row().unwrap();
    assert_eq!((again.data, again.source), (Bytes::from_static(b"before"), source));
}

#[tokio::test]
async fn one_prefix_for_all_causes_is_one_file() {
    let rows = [aside(row(0, HOUR, b"x"), Cause::InvalidJson), aside(row(1, HOUR, b"[]"), Cause::NotAnObject)];
    let (_, written) = written(&settings("failed/!{firehose:random-string}/"), &rows).await;
    assert_eq!((written.len(), written[0].rows), (1, 2));
    assert!(written[0].path.as_ref().starts_with("lake/default/flights/failed/"), "{}", written[0].path);
}

#[test]
fn lines_of_before_are_read() {
    let line = br#"{"stream":"s","shard":0,"offset":1,"sub":0,"arrivalTimestamp":5,"partitionKey":"k","errorCode":"invalid_json","errorMessage":"m","rawData":"eA=="}"#;
    let lines = read("memory:///x", line).unwrap();
    assert_eq!((lines[0].attempts_made, lines[0].raw_data_of), (1, RawDataOf::Output));
    let error = read("memory:///x", b"{}\n").unwrap_err().to_string();
    assert!(error.contains("line 1 of memory:///x"), "{error}");
}
