//! Limits of queries: memory, spill, time, how many at once, and what happens when a reader goes away.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use futures::StreamExt;
use serde_json::json;

use super::super::{NoTail, QueryEngine, QuerySettings};
use super::fixture::{Lake, ask};
use crate::auth::Caller;
use crate::error::Kind;

fn engine(lake: &Lake, settings: QuerySettings) -> QueryEngine {
    lake.engine_with(Arc::new(NoTail), settings)
}

/// A sort of about 35 MB.
const BIG_SORT: &str = "select max(r) r, max(s) m, count(*) c from (select s, row_number() over (order by s desc) r \
                        from (select 'some text to sort by ' || (value * 7919 % 1000003) s from generate_series(1, 1000000)))";

#[tokio::test(flavor = "multi_thread")]
async fn a_big_sort_spills_and_cleans_up() {
    let lake = Lake::new();
    let settings = QuerySettings {
        memory_bytes_max: ByteSize::mib(16),
        partitions: Some(NonZeroUsize::MIN),
        ..QuerySettings::default()
    };
    let engine = engine(&lake, settings);
    let answer = ask(&engine, BIG_SORT).await.unwrap();
    assert_eq!(answer, json!([{"r": 1_000_000, "m": "some text to sort by 999999", "c": 1_000_000}]));
    assert!(lake.metric("millrace_query_spilled_bytes_total") > 1e6);
    lake.nothing_is_spilled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spill_past_the_limit_is_refused_by_name() {
    for spill_bytes_max in [ByteSize::mib(1), ByteSize::b(0)] {
        let lake = Lake::new();
        let settings =
            QuerySettings { memory_bytes_max: ByteSize::mib(8), spill_bytes_max, ..QuerySettings::default() };
        let error = ask(&engine(&lake, settings), BIG_SORT).await.unwrap_err();
        assert_eq!(error.kind(), &Kind::FailedPrecondition);
        assert!(error.to_string().contains("query.spill_bytes_max"), "{error}");
        assert!(spill_bytes_max > ByteSize::b(0) || lake.metric("millrace_query_spilled_bytes_total") == 0.0);
        lake.nothing_is_spilled().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_past_the_limit_is_refused_by_name_and_the_next_query_runs() {
    let lake = Lake::new();
    let settings = QuerySettings { memory_bytes_max: ByteSize::mib(4), ..QuerySettings::default() };
    let engine = engine(&lake, settings);
    let sql = "select count(*) c from generate_series(1, 2000000) a join generate_series(1, 2000000) b \
               on a.value = b.value";
    let error = ask(&engine, sql).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::FailedPrecondition);
    assert!(error.to_string().contains("query.memory_bytes_max"), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    assert_eq!(ask(&engine, "select 1 one").await.unwrap(), json!([{"one": 1}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_long_is_ended() {
    let lake = Lake::new();
    let settings = QuerySettings { timeout: Duration::from_millis(100), ..QuerySettings::default() };
    let engine = engine(&lake, settings);
    let error = ask(&engine, "select sum(value * 3 % 7) s from generate_series(1, 1000000000000)").await.unwrap_err();
    assert_eq!(error.to_string(), "the query ran longer than query.timeout of 100ms");
    assert_eq!(lake.metric("millrace_query_queries_total{outcome=\"timeout\"}"), 1.0);
    assert_eq!(lake.metric("millrace_query_active"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_query_past_the_limit_waits_its_turn_and_is_refused_in_time() {
    let lake = Lake::new();
    let settings = QuerySettings {
        concurrent_max: NonZeroUsize::MIN,
        wait_max: Duration::from_millis(50),
        ..QuerySettings::default()
    };
    let engine = engine(&lake, settings);
    let mut first = engine.sql(&Caller::open(), "select value from generate_series(1, 1000000000000)").await.unwrap();
    assert!(first.next().await.unwrap().unwrap().num_rows() > 0);

    let error = engine.sql(&Caller::open(), "select 1").await.unwrap_err();
    assert_eq!(error.kind(), &Kind::Throttled { retry_after: Duration::from_millis(50) });
    assert_eq!(error.to_string(), "1 queries run and none ended within 50ms; query.concurrent_max is 1");
    assert_eq!(lake.metric("millrace_query_refused_total"), 1.0);

    // The reader goes away: the query ends and gives its turn on.
    drop(first);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while ask(&engine, "select 1").await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "the first query still has its turn");
    }
    assert_eq!(lake.metric("millrace_query_queries_total{outcome=\"cancelled\"}"), 1.0);
    assert_eq!(lake.metric("millrace_query_active"), 0.0);
}

#[tokio::test]
async fn what_an_earlier_process_spilled_is_removed() {
    let lake = Lake::new();
    drop(lake.engine());
    let lake = Lake { metrics: crate::metrics::Metrics::new(), ..lake };
    lake.leave_in_spill_folder();
    assert_eq!(lake.spilled_files(), 1);
    let _engine = lake.engine();
    assert_eq!(lake.spilled_files(), 0);
}
