//! Where a new delivery begins on a stream that has records already.

use std::time::Duration;

use millrace_storage::time::Timestamp;

use super::site::{PIPELINE, Process, Site, event};

/// A stream with ids 0 to 39, of which the second half arrived after the time that is given.
async fn old_stream(process: &Process) -> Timestamp {
    process.deliveries.apply("[[stream]]\nname = \"s\"\nshards = 2\n", false).await.unwrap();
    let put = async |ids: std::ops::Range<i64>| {
        for shard in 0..2 {
            let of_shard = ids.clone().filter(|id| id % 2 == i64::from(shard));
            process.append(shard, of_shard.map(event).collect()).await;
        }
    };
    put(0..20).await;
    // Times are milliseconds: the next record must arrive in a later one.
    let between = Timestamp(Timestamp::now().0 + 2);
    while Timestamp::now() < between {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    put(20..40).await;
    between
}

async fn delivers(start: impl Fn(Timestamp) -> String, expected: std::ops::Range<i64>) {
    let site = Site::memory();
    let process = site.start().await;
    let between = old_stream(&process).await;
    let pipeline = PIPELINE.replace("transforms", &format!("start = \"{}\"\n    transforms", start(between)));
    process.deliveries.apply(&pipeline, false).await.unwrap();
    process.append(0, vec![event(40)]).await;
    process.deliveries.flush("d").await.unwrap();
    let ids: Vec<i64> = expected.collect();
    process.check_exactly_once(&site, ids.clone(), 0).await;
    // It goes on from its position, not from its start, and its start cannot become another.
    process.deliveries.close().await;
    let process = site.start().await;
    process.append(1, vec![event(41)]).await;
    process.deliveries.flush("d").await.unwrap();
    process.check_exactly_once(&site, [ids, vec![41]].concat(), 0).await;
    let changed = PIPELINE.replace("transforms", "start = \"2000-01-01T00:00:00Z\"\n    transforms");
    let error = process.deliveries.apply(&changed, false).await.unwrap_err();
    assert!(error.to_string().contains("start"), "{error}");
}

#[tokio::test]
async fn the_trim_horizon_has_all() {
    delivers(|_| "trim_horizon".to_owned(), 0..41).await;
}

#[tokio::test]
async fn latest_has_what_comes() {
    delivers(|_| "latest".to_owned(), 40..41).await;
}

#[tokio::test]
async fn a_time_has_what_arrived_from_then_on() {
    let rfc3339 = |time: Timestamp| {
        chrono::DateTime::from_timestamp_millis(time.0).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    };
    delivers(rfc3339, 20..41).await;
}

#[tokio::test]
async fn what_is_no_start_is_refused() {
    let site = Site::memory();
    let process = site.start().await;
    let pipeline = PIPELINE.replace("transforms", "start = \"yesterday\"\n    transforms");
    let error = process.deliveries.apply(&pipeline, false).await.unwrap_err().to_string();
    assert!(error.contains("yesterday") && error.contains("trim_horizon"), "{error}");
}
