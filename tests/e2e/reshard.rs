//! Resharding as a user does it: while a producer puts, a consumer reads and a delivery delivers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use millrace_client::{Client, Position, PutRecord};
use millrace_tests::cli::{sql, sql_number};
use millrace_tests::pipeline::Pipeline;
use millrace_tests::site::Site;
use millrace_tests::wait;
use serde_json::Value;
use tokio::sync::watch;

const KEYS: i64 = 40;
/// Sent before the producer waits for them to be durable.
const BATCH: i64 = 300;
const DEADLINE: Duration = Duration::from_secs(120);

/// Puts numbered events under a few keys, until it is told to stop; gives their number.
async fn produce(client: Client, sent: Arc<AtomicI64>, stop: Arc<AtomicBool>) -> i64 {
    let producer = client.producer("events");
    let mut next = 0;
    while !stop.load(Ordering::SeqCst) {
        let mut fates = Vec::new();
        for id in next..next + BATCH {
            let event = format!("{{\"id\":{id},\"key\":{}}}", id % KEYS);
            fates.push(producer.send(PutRecord::new(format!("key-{}", id % KEYS), event)).await.expect("it is taken"));
        }
        for fate in fates {
            fate.await.expect("a reshard fails no put");
        }
        next += BATCH;
        sent.store(next, Ordering::SeqCst);
    }
    producer.close().await.expect("the producer closes");
    next
}

/// Reads all events from the first on, until there were as many as are told in the end; gives the ids by key, in the order
/// in which they came.
async fn consume(client: Client, mut total: watch::Receiver<i64>) -> BTreeMap<String, Vec<i64>> {
    let mut records = client.consumer().subscribe("events", Position::TrimHorizon).await.expect("the stream is there");
    let mut seen: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut count = 0;
    while count < *total.borrow_and_update() {
        let record = tokio::select! {
            record = records.next() => record.expect("a reshard breaks no subscription").expect("it does not end"),
            Ok(()) = total.changed() => continue,
        };
        let event: Value = serde_json::from_slice(&record.data).expect("events are JSON");
        let id = event["id"].as_i64().expect("events have ids");
        seen.entry(record.partition_key.to_string()).or_default().push(id);
        count += 1;
    }
    seen
}

/// The numbers of the open shards, by hash key.
fn open_shards(site: &Site) -> Vec<String> {
    let described = site.run(&["stream", "describe", "events", "--output", "json"]).ok().json();
    let shards = described["shards"].as_array().expect("a stream has shards").clone();
    let mut open: Vec<_> = shards.iter().filter(|shard| shard["state"] == "open").collect();
    let start = |shard: &Value| shard["hash_key_start"].as_str().expect("text").parse::<u128>().expect("a number");
    open.sort_by_key(|shard| start(shard));
    open.iter().map(|shard| shard["shard"].to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_is_resharded_under_a_producer_a_consumer_and_a_delivery() {
    let mut site = Site::start();
    let _said = site.apply(&Pipeline { buffer_interval: "1s", ..Pipeline::new("events") });
    let client = Client::connect(site.server.endpoint()).expect("an endpoint");
    let (sent, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
    let (total, told) = watch::channel(i64::MAX);
    let producing = tokio::spawn(produce(client.clone(), Arc::clone(&sent), Arc::clone(&stop)));
    let consuming = tokio::spawn(consume(client, told));
    let put_more = || {
        let before = sent.load(Ordering::SeqCst);
        wait::until("more records to be put", DEADLINE, || (sent.load(Ordering::SeqCst) > before).then_some(()));
    };

    put_more();
    let _said = site.run(&["stream", "split", "events", "0"]).ok();
    put_more();
    let _said = site.run(&["stream", "update", "events", "--shards", "7"]).ok();
    put_more();
    let open = open_shards(&site);
    let _said = site.run(&["stream", "merge", "events", &open[2], &open[1]]).ok();
    put_more();
    let _said = site.run(&["stream", "update", "events", "--shards", "2"]).ok();
    put_more();
    let _said = site.run(&["stream", "update", "events", "--shards", "3"]).ok();
    put_more();
    stop.store(true, Ordering::SeqCst);
    let records = producing.await.expect("each record was acknowledged");
    total.send_replace(records);

    let seen =
        tokio::time::timeout(DEADLINE, consuming).await.expect("all records are read in time").expect("it reads");
    assert_eq!(seen.len() as i64, KEYS);
    for (key, ids) in &seen {
        assert!(ids.is_sorted_by(|a, b| a < b), "{key} came out of order, or twice");
    }
    assert_eq!(seen.values().map(Vec::len).sum::<usize>() as i64, records);

    // Before and after the last flush, and after a restart: each record is there once.
    let once = |site: &Site| {
        assert_eq!(site.count("events"), records);
        assert_eq!(sql_number(&site.server, "select count(distinct id) from events"), records);
    };
    once(&site);
    site.flush("events");
    once(&site);
    let proof = site.run(&["verify", "events", "--output", "json"]).ok().json();
    assert_eq!(proof["faults"].as_array().map(Vec::len), Some(0), "{proof}");
    let lineage =
        "select shard, parents, children, closed_at, reason from system.shards where stream = 'events' order by 1";
    let before = sql(&site.server, lineage);
    assert!(before.iter().any(|shard| shard["reason"] == "split of shard 0"), "{before:?}");
    assert_eq!(before.iter().filter(|shard| shard["closed_at"].is_null()).count(), 3);
    let status = site.server.stop();
    assert!(status.success());
    site.server.restart();
    assert_eq!(sql(&site.server, lineage), before);
    once(&site);
}

#[test]
fn what_cannot_be_resharded_is_refused_in_words_and_changes_nothing() {
    let site = Site::start();
    let _said = site.apply(&Pipeline { shards: 3, ..Pipeline::new("events") });
    let before = site.run(&["stream", "describe", "events"]).ok().stdout;
    for (arguments, words) in [
        (&["stream", "split", "events", "9"][..], "no shard 9"),
        (&["stream", "split", "events", "0", "--at", "0"], "cannot split shard 0"),
        (
            &["stream", "split", "events", "0", "--at", "340282366920938463463374607431768211455"],
            "cannot split shard 0",
        ),
        (&["stream", "merge", "events", "0", "2"], "not neighbours"),
        (&["stream", "merge", "events", "1", "1"], "not neighbours"),
        (&["stream", "update", "events", "--shards", "10001"], "past the limit of 10000"),
        (&["stream", "split", "none", "0"], "no stream is named none"),
    ] {
        let said = site.run(arguments).failed();
        assert!(said.stderr.contains(words), "{arguments:?}: {}", said.stderr);
    }
    assert_eq!(site.run(&["stream", "describe", "events"]).ok().stdout, before);
    let _said = site.run(&["stream", "update", "events", "--mode", "on-demand"]).ok();
    let said = site.run(&["stream", "update", "events", "--shards", "4"]).failed();
    assert!(said.stderr.contains("on demand"), "{}", said.stderr);
    let _said = site.run(&["stream", "update", "events", "--mode", "provisioned", "--shards", "4"]).ok();
    assert_eq!(open_shards(&site).len(), 4);
}

/// The settings make the server's looks quick. A producer over quota comes in bursts, so idle is what outlasts its pauses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_on_demand_splits_under_load_and_merges_when_idle() {
    let site = Site::start_with(|settings| {
        settings
            .env("MILLRACE_STREAMS_ON_DEMAND_INTERVAL", "1s")
            .env("MILLRACE_STREAMS_ON_DEMAND_SPLIT_AFTER", "900ms")
            .env("MILLRACE_STREAMS_ON_DEMAND_MERGE_AFTER", "6s")
            .env("MILLRACE_STREAMS_ON_DEMAND_SHARDS_MAX", "4")
    });
    let create = ["stream", "create", "events", "--mode", "on-demand", "--in-records-per-second", "100"];
    let _said = site.run(&create).ok();
    let producer = Client::connect(site.server.endpoint()).expect("an endpoint").producer("events");
    let grown = tokio::time::timeout(DEADLINE, async {
        let mut fates = Vec::new();
        for id in 0.. {
            // Over quota the producer waits and tries again by itself.
            fates.push(producer.send(PutRecord::new(format!("key-{id}"), "{}")).await.expect("it is taken"));
            if id % 50 == 0 && open_shards(&site).len() == 4 {
                break;
            }
        }
        for fate in fates {
            fate.await.expect("each record is stored in the end");
        }
    });
    grown.await.expect("the shards split in time");
    wait::until("idle shards to merge", DEADLINE, || (open_shards(&site).len() == 1).then_some(()));
    let described = site.run(&["stream", "describe", "events"]).ok().stdout;
    assert!(described.contains("split of shard 0 on demand: it took"), "{described}");
    assert!(described.contains("on demand: together they took"), "{described}");
}

/// Shard 0's records are past their retention and it is gone when its reader comes back; the children have what came since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_was_away_while_its_shard_went_finds_the_children() {
    let mut site = Site::start_with(|settings| {
        let settings = settings.on_fixed_port().env("MILLRACE_STREAMS_RETENTION_MIN", "1s");
        settings.env("MILLRACE_STREAMS_RETENTION_INTERVAL", "100ms")
    });
    let _said = site.run(&["stream", "create", "events"]).ok();
    let client = Client::connect(site.server.endpoint()).expect("an endpoint");
    let mut records = client.consumer().subscribe("events", Position::TrimHorizon).await.expect("the stream is there");
    let _said = site.put_lines("events", ["\"before\"".to_owned()]);
    let first = records.next().await.expect("the subscription holds").expect("it does not end");
    assert_eq!((first.shard, &first.data[..]), (0, &b"\"before\""[..]));

    // Where the reader does not find it.
    assert!(site.server.stop().success());
    let elsewhere = site.settings.clone().env("MILLRACE_GRPC_LISTEN", "127.0.0.1:0");
    site.server.restart_with(&elsewhere);
    let _said = site.run(&["stream", "split", "events", "0"]).ok();
    let _said = site.run(&["stream", "update", "events", "--retention", "1s"]).ok();
    wait::until("the parent to be gone", DEADLINE, || {
        let described = site.run(&["stream", "describe", "events", "--output", "json"]).ok().json();
        let shards = described["shards"].as_array().expect("a stream has shards");
        (!shards.iter().any(|shard| shard["shard"] == 0)).then_some(())
    });
    let _said = site.run(&["stream", "update", "events", "--retention", "24h"]).ok();
    let _said = site.put_lines("events", (0..20).map(|id| format!("{{\"id\":{id}}}")));
    assert!(site.server.stop().success());
    let settings = site.settings.clone();
    site.server.restart_with(&settings);

    let mut seen = Vec::new();
    while seen.len() < 20 {
        let next = tokio::time::timeout(DEADLINE, records.next()).await.expect("records come in time");
        let record = next.expect("the subscription goes on").expect("it does not end");
        assert!(record.shard == 1 || record.shard == 2, "shard {}", record.shard);
        seen.push(record.data);
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 20);
}
