//! From records in the log to rows in tables and lines in files.

use bytesize::ByteSize;

use super::faults::Fault;
use super::site::{Process, Site, event, settings};
use crate::delivery::{DeliverySettings, State};

async fn delivers_once(site: Site) {
    let process = site.start_applied().await;
    let (mut rows, mut broken) = process.put(0..500).await;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, rows.clone(), broken).await;

    let (more, more_broken) = process.put(500..700).await;
    rows.extend(more);
    broken += more_broken;
    process.deliveries.close().await;

    // What was not committed is delivered by the next process.
    let process = site.start().await;
    let described = process.deliveries.flush("d").await.unwrap();
    assert_eq!(described.totals.records, 700);
    assert_eq!((described.next_batch, described.state), (3, State::Running));
    process.check_exactly_once(&site, rows, broken).await;
}

#[tokio::test]
async fn records_become_rows_once_in_memory() {
    delivers_once(Site::memory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_become_rows_once_on_disk() {
    delivers_once(Site::disk()).await;
}

#[tokio::test]
async fn a_flush_without_records_returns_at_once_and_writes_nothing() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let described = process.deliveries.flush("d").await.unwrap();
    assert_eq!(described.next_batch, 1);
}

/// Any mixture of errors, torn uploads and failures that were successes, in store and meta store.
async fn survives_faults(site: Site, seed: u64, count: u32) {
    println!("seed {seed}");
    let process = site.start_applied().await;
    let (mut rows, mut broken) = (Vec::new(), 0);
    site.faults.random(count, seed);
    let mut round = 0;
    while site.faults.left() > 0 {
        let (more, more_broken) = process.put(round * 40..(round + 1) * 40).await;
        rows.extend(more);
        broken += more_broken;
        process.deliveries.flush("d").await.unwrap();
        round += 1;
    }
    site.faults.none();
    process.check_exactly_once(&site, rows, broken).await;
    let described = process.deliveries.describe("d").await.unwrap();
    assert_eq!((described.state, described.last_error), (State::Running, None));
    assert!(process.metrics.text().contains("millrace_delivery_retries_total{delivery=\"d\"}"));
}

#[tokio::test]
async fn failing_stores_lose_and_double_nothing_in_memory() {
    for seed in 0..8 {
        survives_faults(Site::memory(), seed, 40).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_stores_lose_and_double_nothing_on_disk() {
    survives_faults(Site::disk(), rand::random(), 15).await;
}

#[tokio::test]
async fn a_store_that_fails_is_retried_visibly_until_it_is_well() {
    let site = Site::memory();
    let process = site.start_applied().await;
    site.faults.always(Fault::Lost);
    let (rows, broken) = process.put(0..50).await;
    let deliveries = process.deliveries.clone();
    let flush = tokio::spawn(async move { deliveries.flush("d").await });
    let mut progress = process.deliveries.entry("d").unwrap().progress.clone();
    progress.wait_for(|progress| progress.last_error().is_some_and(|failure| failure.attempts >= 3)).await.unwrap();
    let described = process.deliveries.describe("d").await.unwrap();
    assert_eq!(described.state, State::Retrying);
    assert!(described.last_error.unwrap().contains("write the intent: "));
    assert!(process.metrics.text().contains("millrace_delivery_state{delivery=\"d\"} 2"));
    site.faults.none();
    flush.await.unwrap().unwrap();
    process.check_exactly_once(&site, rows, broken).await;
}

const LINES: &str = r#"
    [[stream]]
    name = "s"
    shards = 2
    [[delivery]]
    name = "raw"
    stream = "s"
    format = "json_lines"
    destination = "exports/raw"
    transforms = ["split", "newline"]
    buffer_interval = "900s"
"#;

#[tokio::test]
async fn lines_are_written_once_and_proven_by_the_ledger() {
    for compression in ["none", "gzip", "snappy"] {
        let site = Site::memory();
        let process = site.start().await;
        let pipeline = format!("{LINES}compression = \"{compression}\"\n");
        process.deliveries.apply(&pipeline, false).await.unwrap();
        site.faults.random(10, 7);
        let (rows, broken) = process.put(0..100).await;
        process.deliveries.flush("raw").await.unwrap();
        site.faults.none();
        let verified = process.deliveries.verify("raw").await.unwrap();
        assert_eq!(verified.faults, Vec::<String>::new());
        assert_eq!(verified.totals.rows, rows.len() as u64);
        assert_eq!(verified.totals.set_aside, broken as u64);
        assert_eq!(site.lines("exports/raw/errors").await.len(), broken);
        if compression == "none" {
            let mut expected: Vec<String> = rows.iter().map(|id| event(*id)).collect();
            expected.sort_unstable();
            let lines: Vec<String> = site.lines("exports/raw").await;
            let written: Vec<String> = lines.into_iter().filter(|line| !line.contains("rawData")).collect();
            assert_eq!(written, expected);
        }
    }
}

/// A batch is cut by its size alone, while the next one is read.
#[tokio::test]
async fn batches_are_cut_at_their_size() {
    let site = Site::memory();
    let process = site.start().await;
    let pipeline = format!("{}buffer_size = \"1MiB\"\n", super::site::PIPELINE);
    process.deliveries.apply(&pipeline, false).await.unwrap();
    let filler = "x".repeat(10_000);
    for id in 0..600 {
        let data = format!("{{\"id\":{id},\"at\":\"2013-01-01T10:00:00Z\",\"filler\":\"{filler}\"}}");
        process.append(0, vec![data]).await;
    }
    let mut progress = process.deliveries.entry("d").unwrap().progress.clone();
    let progress = progress.wait_for(|progress| progress.totals.rows >= 400).await.unwrap().clone();
    let rows_of_a_batch = progress.totals.rows / (progress.next_batch - 1);
    assert!((50..=110).contains(&rows_of_a_batch), "{rows_of_a_batch} rows of 10 kB in a batch of 1 MiB");
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, (0..600).collect(), 0).await;
}

#[tokio::test]
async fn an_interval_of_zero_commits_without_being_asked() {
    let site = Site::memory();
    let process = site.start().await;
    let pipeline = super::site::PIPELINE.replace("900s", "0s");
    process.deliveries.apply(&pipeline, false).await.unwrap();
    let mut progress = process.deliveries.entry("d").unwrap().progress.clone();
    for id in [0, 2] {
        process.append(0, vec![event(id)]).await;
        progress.wait_for(|progress| progress.totals.rows == (id / 2 + 1) as u64).await.unwrap();
    }
    process.check_exactly_once(&site, vec![0, 2], 0).await;
}

/// Two deliveries bring different new columns into one table: the second to commit converts again.
#[tokio::test]
async fn deliveries_into_one_table_meet_in_its_schema() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let second = "[[stream]]\nname = \"s2\"\n[[delivery]]\nname = \"d2\"\nstream = \"s2\"\ntable = \"t\"\nbuffer_interval = \"900s\"\n";
    process.deliveries.apply(second, false).await.unwrap();
    process.append(0, vec![r#"{"id":1,"at":"2013-01-01T10:00:00Z","left":1}"#.to_owned()]).await;
    process.append_to("s2", 0, vec![r#"{"id":2,"at":"2013-01-01T10:00:00Z","right":"r"}"#.to_owned()]).await;
    let converted = process.deliveries.tail(&super::site::table(), &process.ends().await).await.unwrap();
    assert_eq!(converted.parts.len(), 2, "both have converted on the same schema");
    process.deliveries.flush("d").await.unwrap();
    process.deliveries.flush("d2").await.unwrap();
    assert_eq!(site.listed_ids("default/t/data").await, [1, 2]);
    for name in ["d", "d2"] {
        flush(&process, name, 1).await;
    }
    let loaded = process.catalog.load(&super::site::table()).await.unwrap();
    let columns: Vec<_> =
        loaded.metadata().current_schema().as_struct().fields().iter().map(|f| f.name.clone()).collect();
    assert!(["left", "right"].iter().all(|name| columns.iter().any(|column| column == name)), "{columns:?}");
}

/// A small budget for many deliveries: all of them get there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_budget_serves_many_deliveries() {
    let site = Site::memory();
    let tight = DeliverySettings { memory_bytes_max: crate::delivery::MEMORY_BYTES_MIN, ..settings() };
    let process = site.start_with(tight).await;
    process.deliveries.apply(super::site::PIPELINE, false).await.unwrap();
    let mut names = vec!["d".to_owned()];
    for number in 0..4 {
        let name = format!("more{number}");
        let pipeline = format!("[[delivery]]\nname = \"{name}\"\nstream = \"s\"\nbuffer_interval = \"900s\"\n");
        process.deliveries.apply(&pipeline, false).await.unwrap();
        names.push(name);
    }
    let filler = "x".repeat(50_000);
    for id in 0..200 {
        let data = format!("{{\"id\":{id},\"at\":\"2013-01-01T10:00:00Z\",\"filler\":\"{filler}\"}}");
        process.append(u32::try_from(id % 2).unwrap(), vec![data]).await;
    }
    for name in &names {
        flush(&process, name, 200).await;
    }
}

async fn flush(process: &Process, name: &str, rows: u64) {
    let described = process.deliveries.flush(name).await.unwrap();
    assert_eq!(described.totals.rows, rows, "{name}");
    assert_eq!(process.deliveries.verify(name).await.unwrap().faults, Vec::<String>::new());
}

/// What one delivery may hold is a part of what all may: its batches are cut by it, without being asked.
#[tokio::test]
async fn a_delivery_keeps_to_its_own_memory() {
    let site = Site::memory();
    let process = site.start().await;
    let pipeline = format!("{}memory_max = \"16MiB\"\nbuffer_size = \"128MiB\"\n", super::site::PIPELINE);
    process.deliveries.apply(&pipeline, false).await.unwrap();
    let filler = "x".repeat(100_000);
    for id in 0..300 {
        let data = format!("{{\"id\":{id},\"at\":\"2013-01-01T10:00:00Z\",\"filler\":\"{filler}\"}}");
        process.append(0, vec![data]).await;
    }
    let mut progress = process.deliveries.entry("d").unwrap().progress.clone();
    let progress = progress.wait_for(|progress| progress.totals.rows >= 150).await.unwrap().clone();
    let rows_of_a_batch = progress.totals.rows / (progress.next_batch - 1);
    assert!((40..=130).contains(&rows_of_a_batch), "{rows_of_a_batch} rows of 100 kB in a batch of 8 MiB");
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, (0..300).collect(), 0).await;
    let error = process.deliveries.apply(&pipeline.replace("16MiB", "15MiB"), false).await.unwrap_err().to_string();
    assert!(error.contains("memory_max") && error.contains("15MiB"), "{error}");
}

/// Deliveries that wait for each other's memory all come to their end, whatever their priority.
#[tokio::test]
async fn deliveries_of_every_priority_end_with_little_memory() {
    let site = Site::memory();
    let settings = DeliverySettings { memory_bytes_max: ByteSize::mib(16), ..settings() };
    let process = site.start_with(settings).await;
    let delivery = |priority: &str| {
        let (_, section) = super::site::PIPELINE.split_once("[[delivery]]").unwrap();
        let section = section.replace("name = \"d\"", &format!("name = \"{priority}\""));
        let section = section.replace("table = \"t\"", &format!("table = \"{priority}\"\npriority = \"{priority}\""));
        format!("[[table]]\nname = \"{priority}\"\ntime = {{ field = \"at\" }}\n[[delivery]]{section}")
    };
    let pipeline = format!("[[stream]]\nname = \"s\"\nshards = 2\n{}{}", delivery("low"), delivery("high"));
    process.deliveries.apply(&pipeline, false).await.unwrap();
    let filler = "x".repeat(100_000);
    for id in 0..300 {
        let data = format!("{{\"id\":{id},\"at\":\"2013-01-01T10:00:00Z\",\"filler\":\"{filler}\"}}");
        process.append(0, vec![data]).await;
    }
    let (low, high) = tokio::join!(process.deliveries.flush("low"), process.deliveries.flush("high"));
    assert_eq!((low.unwrap().totals.rows, high.unwrap().totals.rows), (300, 300));
    for name in ["low", "high"] {
        assert_eq!(process.deliveries.verify(name).await.unwrap().faults, Vec::<String>::new());
    }
}
