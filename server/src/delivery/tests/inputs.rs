//! Records that are not JSON: rows of CSV, lines, whole records; each once, whatever comes between.

use std::ops::Range;

use super::faults::Fault;
use super::site::{Process, Site, ids, table};
use crate::delivery::{Ends, RebuildRequest};
use crate::error::Kind;

const COLUMNS: &str = r#"column = [
        { name = "id", type = "long" }, { name = "at", type = "timestamptz" }, { name = "name", type = "string" },
    ]"#;

fn pipeline(table: &str, delivery: &str) -> String {
    format!(
        r#"
    [[stream]]
    name = "s"
    shards = 2
    [[table]]
    name = "t"
    {table}
    [[delivery]]
    name = "d"
    stream = "s"
    table = "t"
    buffer_interval = "900s"
    {delivery}
    "#
    )
}

fn csv(input: &str) -> String {
    pipeline(&format!("schema_policy = \"reject\"\n    time = {{ field = \"at\" }}\n    {COLUMNS}"), input)
}

fn row(id: i64) -> String {
    format!("{id},2013-01-01T{:02}:00:00Z,\"n, \"\"{id}\"\"\"", 10 + id % 3)
}

/// Puts a record for each id, alternating over two shards: every third has three rows, every seventh has one that is no row
/// besides. Gives the ids that must become rows, and how many rows must be set aside.
async fn put(process: &Process, range: Range<i64>) -> (Vec<i64>, usize) {
    let (mut rows, mut broken) = (Vec::new(), 0);
    for id in range {
        let mut of_record = vec![id];
        if id % 3 == 0 {
            of_record.extend([id + 1_000_000, id + 2_000_000]);
        }
        let mut lines: Vec<String> = of_record.iter().map(|id| row(*id)).collect();
        if id % 7 == 0 {
            lines.insert(0, format!("x{}", row(id)));
            broken += 1;
        }
        rows.extend(of_record);
        process.append(u32::try_from(id % 2).unwrap(), vec![lines.join("\r\n") + "\r\n"]).await;
    }
    (rows, broken)
}

async fn tail_ids(process: &Process, ends: &Ends) -> Vec<i64> {
    let tail = process.deliveries.tail(&table(), ends).await.unwrap();
    let mut found: Vec<i64> = tail.parts.iter().flat_map(|part| ids(&part.batches)).collect();
    found.sort_unstable();
    found
}

fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn rows_of_csv_are_seen_at_once_and_are_there_once() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&csv("input = \"csv\""), false).await.unwrap();
    let (rows, broken) = put(&process, 0..60).await;
    assert_eq!(tail_ids(&process, &process.ends().await).await, sorted(rows.clone()));
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows, broken).await;
    let lines = site.lines("default/t/errors").await;
    assert!(lines.iter().all(|line| line.contains("type_conflict") && line.contains("\\\"id\\\"")), "{lines:?}");
    // The columns of the table became those of the delivery, and are kept.
    let described = process.deliveries.describe("d").await.unwrap();
    assert!(described.spec_toml.contains("columns = [\"id\", \"at\", \"name\"]"), "{}", described.spec_toml);
}

#[tokio::test]
async fn a_crash_at_any_write_doubles_no_row_of_csv() {
    for fault in [Fault::HangsLost, Fault::HangsApplied] {
        let mut writes = 0;
        loop {
            let site = Site::memory();
            let process = site.start().await;
            process.deliveries.apply(&csv("input = \"csv\""), false).await.unwrap();
            let (rows, broken) = put(&process, 0..30).await;
            site.faults.at(writes, fault);
            let reached = tokio::select! {
                done = process.deliveries.flush("d") => { done.unwrap(); false }
                () = site.faults.hung() => true,
            };
            process.deliveries.close().await;
            site.faults.none();
            let process = site.start().await;
            process.deliveries.flush("d").await.unwrap();
            process.check_exactly_once(&site, rows, broken).await;
            if !reached {
                break;
            }
            writes += 1;
        }
        assert!(writes >= 8, "{fault:?} was tried at {writes} writes only");
    }
}

/// With columns that the rows have not, all of them fail; with the right ones, each becomes a row once.
#[tokio::test]
async fn a_mended_format_takes_up_what_was_set_aside() {
    let wrong = csv("input = { format = \"csv\", columns = [\"id\", \"at\"] }");
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&wrong, false).await.unwrap();
    let (rows, broken) = put(&process, 0..30).await;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, Vec::new(), rows.len() + broken).await;
    process.deliveries.apply(&csv("input = \"csv\""), false).await.unwrap();
    let done = process.deliveries.replay("d").await.unwrap();
    let all = (rows.len() + broken) as u64;
    assert_eq!((done.replayed, done.rows, done.set_aside), (all, rows.len() as u64, broken as u64));
    assert_eq!(process.table_ids(&site).await, sorted(rows.clone()));
    assert_eq!(site.listed_ids("default/t/data").await, sorted(rows.clone()));

    // A rebuild makes the same of the stream's records.
    let request = RebuildRequest { table: "t".to_owned(), delivery: None, from: None, to: None, transforms: None };
    let done = process.deliveries.rebuild(request).await.unwrap();
    assert_eq!((done.totals.rows, done.totals.set_aside), (rows.len() as u64, broken as u64));
    assert_eq!(process.table_ids(&site).await, sorted(rows));
    assert_eq!(process.deliveries.verify("d").await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn rows_whose_ends_nobody_can_tell_are_set_aside_together() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&csv("input = \"csv\""), false).await.unwrap();
    let open = format!("{}\n2,\"never closed\n{}\n", row(1), row(3));
    process.append(0, vec![row(0), open, "\n".to_owned(), row(4)]).await;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, vec![0, 4], 2).await;
    let lines = site.lines("default/t/errors").await;
    assert!(lines.iter().all(|line| line.contains("invalid_csv")), "{lines:?}");
}

#[tokio::test]
async fn keys_of_a_prefix_are_fields() {
    let site = Site::memory();
    let process = site.start().await;
    let keyed = "input = { format = \"csv\", delimiter = \";\" }\n    prefix = \"n=!{partitionKeyFromQuery:n}/\"\n    \
                 [delivery.partition_keys]\n    n = \".name\"";
    process.deliveries.apply(&csv(keyed), false).await.unwrap();
    let rows = ["1;2013-01-01T10:00:00Z;a/b", "2;2013-01-01T10:00:00Z;", "3;2013-01-01T10:00:00Z;\"a/b\""];
    process.append(0, vec![rows.join("\n")]).await;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, vec![1, 3], 1).await;
    let files = site.list("default/t/data", ".parquet").await;
    assert_eq!(files.len(), 1);
    assert!(files[0].as_ref().contains("/n=a%2Fb/") || files[0].as_ref().contains("/n=a%252Fb/"), "{files:?}");
}

#[tokio::test]
async fn lines_are_rows_by_the_time_of_arrival() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&pipeline("", "input = \"lines\""), false).await.unwrap();
    process.append(0, vec!["one\ntwo\n".to_owned(), String::new(), "not { json".to_owned()]).await;
    process.deliveries.flush("d").await.unwrap();
    let verified = process.deliveries.verify("d").await.unwrap();
    assert_eq!(verified.faults, Vec::<String>::new());
    assert_eq!((verified.totals.rows, verified.totals.set_aside), (4, 0));
}

#[tokio::test]
async fn an_input_that_its_table_cannot_take_is_refused_before_anything_changes() {
    let site = Site::memory();
    let process = site.start().await;
    for (table, delivery, why) in [
        ("", "input = \"csv\"", "csv needs columns"),
        ("time = { field = \"at\" }", "input = \"raw\"", "raw has no field \"at\""),
        ("column = [{ name = \"value\", type = \"long\" }]", "input = \"lines\"", "string or binary"),
    ] {
        let error = process.deliveries.apply(&pipeline(table, delivery), false).await.unwrap_err();
        assert_eq!(error.kind(), &Kind::Invalid);
        assert!(error.to_string().contains("delivery d: input") && error.to_string().contains(why), "{error}");
        assert!(process.streams.get(&"s".parse().unwrap()).is_err(), "the stream was made");
    }
}

/// Producers cut files into records: the header stands before the rows, alone, or in the midst.
#[tokio::test]
async fn header_rows_are_dropped_and_counted_where_the_input_skips_them() {
    let site = Site::memory();
    let process = site.start().await;
    process.deliveries.apply(&csv("input = \"csv\""), false).await.unwrap();
    let header = "\u{FEFF}id,at,\"Name\"\r\n";
    let put = async |ids: Range<i64>| {
        let rows: Vec<String> = ids.map(row).collect();
        let records =
            vec![header.to_owned() + &rows[0], header.to_owned(), [&rows[1], "id,at,name", &rows[2]].join("\n")];
        process.append(0, records).await;
    };
    put(0..3).await;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, vec![0, 1, 2], 3).await;

    let skipping = csv("input = { format = \"csv\", header = \"skip\" }");
    process.deliveries.apply(&skipping, false).await.unwrap();
    put(3..6).await;
    let totals = process.deliveries.flush("d").await.unwrap().totals;
    assert_eq!((totals.rows, totals.set_aside, totals.dropped, totals.outputs), (6, 3, 3, 12));
    assert_eq!(process.table_ids(&site).await, [0, 1, 2, 3, 4, 5]);
    // What was set aside before is no data either.
    let done = process.deliveries.replay("d").await.unwrap();
    assert_eq!((done.replayed, done.rows, done.set_aside, done.dropped), (3, 0, 0, 3));
    assert_eq!(process.deliveries.verify("d").await.unwrap().faults, Vec::<String>::new());

    let request = RebuildRequest { table: "t".to_owned(), delivery: None, from: None, to: None, transforms: None };
    let totals = process.deliveries.rebuild(request).await.unwrap().totals;
    assert_eq!((totals.rows, totals.set_aside, totals.dropped), (6, 0, 6));
    assert_eq!(process.table_ids(&site).await, [0, 1, 2, 3, 4, 5]);
    assert_eq!(process.deliveries.verify("d").await.unwrap().faults, Vec::<String>::new());
}
