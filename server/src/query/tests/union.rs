//! A table and its log tail: each acknowledged record once, whatever is committed meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use iceberg::spec::{PrimitiveType, Type};
use millrace_storage::catalog::{Catalog, TableName};
use millrace_storage::log::{Offset, ShardId};
use serde_json::{Value, json};

use super::super::{Offsets, QuerySettings, Tail, TailError, TailPart, TailSource};
use super::fixture::{Lake, ask, json_rows, time};
use crate::error::Result;

const RECORDS: u64 = 1000;

fn row(offset: u64) -> Value {
    json!({"_arrival_time": time(500, 0), "_offset": offset, "n": offset * 2})
}

fn rows(offsets: std::ops::Range<u64>) -> Vec<Value> {
    offsets.map(row).collect()
}

fn tail_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        Field::new("_arrival_time", time, true),
        Field::new("_offset", DataType::Int64, true),
        Field::new("n", DataType::Int64, true),
        Field::new("added", DataType::Utf8, true),
    ]))
}

/// Commits a batch and forgets its rows at each of the first calls, as a worker does that is as fast as can be; after
/// them it commits once more but still holds the rows.
#[derive(Debug)]
struct Busy {
    lake: Arc<Lake>,
    table: TableName,
    committed: AtomicU64,
    commits_left: AtomicU64,
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lake")
    }
}

impl Busy {
    async fn commit(&self) {
        let from = self.committed.fetch_add(100, Ordering::SeqCst);
        self.lake.commit(&self.table, 500, from..from + 100, &rows(from..from + 100)).await;
    }
}

#[async_trait]
impl TailSource for Busy {
    async fn mark(&self, _table: &TableName) -> Result<Offsets> {
        Ok(Offsets::from([("d".to_owned(), [(ShardId(0), Offset(RECORDS))].into())]))
    }

    async fn tail(&self, _table: &TableName, ends: &Offsets, mark: &Offsets) -> Result<Tail, TailError> {
        let at = |offsets: &Offsets| offsets.get("d").map_or(0, |shards| shards[&ShardId(0)].0);
        let held = self.committed.load(Ordering::SeqCst);
        if self.commits_left.load(Ordering::SeqCst) > 0 {
            self.commits_left.fetch_sub(1, Ordering::SeqCst);
            self.commit().await;
            return Err(TailError::TooOld);
        }
        assert_eq!(at(ends), held, "the newest snapshot was read");
        self.commit().await;
        let schema = tail_schema();
        let batch = json_rows(&schema, &rows(at(ends)..at(mark)));
        Ok(Tail { parts: vec![TailPart { schema, batches: vec![batch], accounted: None }] })
    }
}

async fn busy(commits: u64) -> (Arc<Lake>, Arc<Busy>) {
    let lake = Arc::new(Lake::new());
    let table = lake.create("t", &[("n", Type::Primitive(PrimitiveType::Long))]).await;
    let source = Busy { lake: Arc::clone(&lake), table, committed: 0.into(), commits_left: commits.into() };
    (lake, Arc::new(source))
}

#[tokio::test]
async fn commits_between_snapshot_and_tail_leave_neither_gap_nor_overlap() {
    for commits in [0, 1, 3] {
        let (lake, source) = busy(commits).await;
        let engine = lake.engine_with(source, QuerySettings::default());
        let sql = "select count(*) c, count(distinct _offset) d, min(_offset) lo, max(_offset) hi, sum(n) s, \
                   count(added) a from t";
        let expected = json!([{"c": 1000, "d": 1000, "lo": 0, "hi": 999, "s": 999_000, "a": 0}]);
        assert_eq!(ask(&engine, sql).await.unwrap(), expected, "{commits} commits");
        assert_eq!(lake.metric("millrace_query_reloads_total"), commits as f64);
        assert_eq!(lake.metric("millrace_query_tail_rows_total"), (RECORDS - commits * 100) as f64);
    }
}

#[tokio::test]
async fn a_statement_that_names_a_table_twice_sees_it_at_one_point_in_time() {
    let (lake, source) = busy(1).await;
    let engine = lake.engine_with(source, QuerySettings::default());
    let sql = "select count(*) c from t a join \"default\".t b on a._offset = b._offset \
               where a._offset not in (select _offset from millrace.\"default\".t where _offset >= 900)";
    assert_eq!(ask(&engine, sql).await.unwrap(), json!([{"c": 900}]));
}

#[tokio::test]
async fn a_query_gives_up_on_a_table_that_never_stands_still() {
    let (lake, source) = busy(u64::MAX).await;
    let engine = lake.engine_with(source, QuerySettings::default());
    let error = ask(&engine, "select count(*) from t").await.unwrap_err();
    assert_eq!(error.to_string(), "table default.t was committed to 32 times while a query opened it");
    assert!(error.is_retryable());
}

/// Rows that no snapshot has, in a table without a snapshot.
#[derive(Debug)]
struct Fixed(Tail);

#[async_trait]
impl TailSource for Fixed {
    async fn mark(&self, _table: &TableName) -> Result<Offsets> {
        Ok(Offsets::from([("d".to_owned(), [(ShardId(0), Offset(3))].into())]))
    }

    async fn tail(&self, _table: &TableName, ends: &Offsets, _mark: &Offsets) -> Result<Tail, TailError> {
        assert_eq!(ends, &Offsets::new(), "nothing was committed");
        Ok(self.0.clone())
    }
}

#[tokio::test]
async fn a_table_without_a_snapshot_has_the_rows_of_its_tail_and_their_new_columns() {
    let lake = Lake::new();
    lake.create("t", &[("n", Type::Primitive(PrimitiveType::Int))]).await;
    let engine = lake.engine();
    assert_eq!(ask(&engine, "select count(*) c, sum(n) s from t").await.unwrap(), json!([{"c": 0}]));

    let schema = tail_schema();
    let batch = json_rows(&schema, &[json!({"_offset": 1, "n": 5_000_000_000_i64, "added": "new"}), row(2)]);
    let lake = Lake { metrics: crate::metrics::Metrics::new(), ..lake };
    let tail = Tail { parts: vec![TailPart { schema, batches: vec![batch], accounted: None }] };
    let engine = lake.engine_with(Arc::new(Fixed(tail)), QuerySettings::default());
    let answer = ask(&engine, "select _offset, n, added from t order by 1").await.unwrap();
    assert_eq!(answer, json!([{"_offset": 1, "n": 5_000_000_000_i64, "added": "new"}, {"_offset": 2, "n": 4}]));
    let _: &Catalog = &lake.catalog;
}
