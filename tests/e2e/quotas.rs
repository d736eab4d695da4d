//! What a stream may hold and how fast it may grow, as its user sets and sees it: burst, delay, stored bytes, and records that
//! are kept past their retention for a delivery that is paused.

use std::time::{Duration, Instant};

use millrace_proto::v1::put_error::Kind;
use millrace_proto::v1::put_result::Result as Fate;
use millrace_tests::grpc;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::site::{Site, text};
use millrace_tests::wait;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(30);

fn lines(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("{{\"n\":{number}}}"))
}

fn describe(site: &Site, noun: &str, name: &str) -> Value {
    site.run(&[noun, "describe", name, "--output", "json"]).ok().json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_delays_stores_all_and_one_that_rejects_says_when_to_retry() {
    let site = Site::start();
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let quota = ["--in-records-per-second", "100", "--burst", "100ms", "--out-bytes-per-second", "off"];
    for (name, choice) in [("patient", "delay"), ("strict", "reject")] {
        let create = [&["stream", "create", name, "--over-quota", choice], &quota[..]].concat();
        let said = site.run(&create).ok();
        assert!(said.stdout.contains("100ms") && said.stdout.contains(choice), "{}", said.stdout);
    }
    let put = async |stream: &str| {
        let request = grpc::put_request(stream, (0..40).map(|n| (format!("k{n}"), b"x".to_vec())));
        grpc::records(&channel).put(request).await.expect("a put is answered").into_inner()
    };
    let began = Instant::now();
    let waited = put("patient").await;
    assert_eq!(waited.failed_count, 0, "{waited:?}");
    assert!(began.elapsed() >= Duration::from_millis(250), "10 at once, and 30 more at 100 a second");
    let refused = put("strict").await;
    assert!((1..=30).contains(&refused.failed_count), "10 at once, and few more: {refused:?}");
    for result in refused.results {
        if let Some(Fate::Error(error)) = result.result {
            assert_eq!(error.kind(), Kind::Throttled, "{error:?}");
            assert!(error.retry_after_ms > 0, "{error:?}");
        }
    }
    let metrics = site.server.http_get("/metrics").1;
    let delayed = "millrace_streams_write_delayed_records_total{shard=\"0\",stream=\"patient\"} 40";
    assert!(metrics.contains(delayed), "{metrics}");
    assert!(metrics.contains("millrace_streams_write_throttled_records_total{shard=\"0\",stream=\"strict\"}"));
}

#[test]
fn a_stream_past_its_stored_size_is_refused_in_words_until_the_limit_is_raised() {
    let site = Site::start();
    let create = ["stream", "create", "small", "--stored-size-max", "64KiB", "--in-bytes-per-second", "off"];
    let _said = site.run(&create).ok();
    let channel_test = async |bytes: usize| {
        let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
        // Noise, which no codec shrinks.
        let data: Vec<u8> = (0..bytes).map(|_| rand::random()).collect();
        let request = grpc::put_request("small", [("k".to_owned(), data)]);
        grpc::records(&channel).put(request).await.expect("a put is answered").into_inner().results.remove(0)
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let put = |bytes: usize| match runtime.block_on(channel_test(bytes)).result {
        Some(Fate::Placed(_)) => Ok(()),
        Some(Fate::Error(error)) => Err(error),
        None => panic!("a fate is set"),
    };
    assert_eq!(put(40 << 10), Ok(()));
    let error = put(40 << 10).expect_err("80 KiB are more than 64");
    assert_eq!(error.kind(), Kind::StreamFull, "{error:?}");
    assert!(error.message.contains("stream small") && error.message.contains("65536"), "{error:?}");
    assert_eq!(put(20 << 10), Ok(()), "what still fits is taken");
    let stream = describe(&site, "stream", "small");
    assert_eq!(stream["stored_bytes_max"], 65536);
    let stored = stream["stored_bytes"].as_u64().expect("a number");
    assert!((60 << 10..=64 << 10).contains(&stored), "{stored}");
    let _said = site.run(&["stream", "update", "small", "--stored-size-max", "off"]).ok();
    assert_eq!(put(40 << 10), Ok(()));
    assert_eq!(site.run(&["stream", "update", "small", "--burst", "61s"]).failed().code, Some(1));
}

#[test]
fn a_paused_delivery_that_keeps_records_past_their_retention_is_seen_and_can_be_let_go() {
    let site = Site::start_with(|settings| {
        settings.env("MILLRACE_STREAMS_RETENTION_MIN", "1ms").env("MILLRACE_STREAMS_RETENTION_INTERVAL", "50ms")
    });
    let _said = site.apply(&Pipeline::new("events"));
    let _said = site.run(&["delivery", "pause", "events"]).ok();
    let _said = site.put_lines("events", lines(100));
    let _said = site.run(&["stream", "update", "events", "--retention", "1ms"]).ok();
    let held = wait::until("the retention to hold", DEADLINE, || {
        let held = describe(&site, "delivery", "events")["held"].clone();
        (held["records"] == 100).then_some(held)
    });
    assert!(held["bytes"].as_u64() > Some(0), "{held}");
    let stream = describe(&site, "stream", "events");
    assert_eq!(stream["held"][0]["delivery"], "events", "{stream}");
    let said = site.run(&["stream", "describe", "events"]).ok();
    assert!(said.stdout.contains("100 records") && said.stdout.contains("for events"), "{}", said.stdout);
    let metrics = site.server.http_get("/metrics").1;
    for line in [
        "millrace_streams_retention_held_records{stream=\"events\"} 100",
        "millrace_delivery_held_records{delivery=\"events\",stream=\"events\"} 100",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    // Let go by the delivery: nothing is lost.
    let _said = site.run(&["delivery", "resume", "events"]).ok();
    site.flush("events");
    assert_eq!(site.count("events"), 100);
    wait::until("the retention to let go", DEADLINE, || {
        (describe(&site, "delivery", "events")["held"].is_null()).then_some(())
    });
    // Let go by the stream: what is not delivered is lost, and counted so.
    let _said = site.run(&["delivery", "pause", "events"]).ok();
    let _said = site.run(&["stream", "update", "events", "--hold-for-deliveries", "false"]).ok();
    let _said = site.put_lines("events", lines(50));
    wait::until("the retention to trim", DEADLINE, || {
        let shards = describe(&site, "stream", "events")["shards"].as_array().expect("shards").clone();
        shards.iter().all(|shard| shard["trim_offset"] == shard["next_offset"]).then_some(())
    });
    let _said = site.run(&["delivery", "resume", "events"]).ok();
    wait::until("the loss to be counted", DEADLINE, || {
        site.flush("events");
        (describe(&site, "delivery", "events")["totals"]["lost"] == 50).then_some(())
    });
    assert_eq!(site.count("events"), 100);
}

#[test]
fn a_pipeline_file_sets_what_a_stream_may_hold() {
    let site = Site::start();
    let file = site.folder().join("limits.toml");
    let pipeline = r#"
        [[stream]]
        name = "limited"
        over_quota = "delay"
        stored_size_max = "1GiB"
        hold_for_deliveries = false
        [stream.quota]
        burst = "5s"
    "#;
    std::fs::write(&file, pipeline).expect("the test's folder can be written");
    let _said = site.run(&["apply", "-f", text(&file)]).ok();
    let stream = describe(&site, "stream", "limited");
    assert_eq!(stream["over_quota"], "delay");
    assert_eq!(stream["stored_bytes_max"], 1 << 30);
    assert_eq!(stream["hold_for_deliveries"], false);
    assert_eq!(stream["quota"]["burst_ms"], 5000);
    let again = site.run(&["apply", "-f", text(&file)]).ok();
    assert!(again.stdout.contains("unchanged"), "{}", again.stdout);
}
