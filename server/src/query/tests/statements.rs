//! Statements: what is answered, what is refused, and in which words.

use std::sync::Arc;

use bytesize::ByteSize;
use iceberg::spec::{PrimitiveType, Type};
use serde_json::json;

use super::super::{NoTail, QuerySettings};
use super::fixture::{Lake, ask, text, time};
use crate::auth::Caller;
use crate::error::Kind;

async fn lake_with_table() -> Lake {
    let lake = Lake::new();
    let table = lake.create("t", &[("n", Type::Primitive(PrimitiveType::Long))]).await;
    lake.create("other.u", &[]).await;
    lake.commit(&table, 3, 0..1, &[json!({"_arrival_time": time(3, 30), "_offset": 0, "n": 7})]).await;
    lake
}

#[tokio::test]
async fn what_is_wrong_is_told_in_words() {
    let lake = lake_with_table().await;
    let engine = lake.engine();
    for (sql, kind, words) in [
        ("selec 1", Kind::Invalid, "the SQL does not parse: "),
        ("", Kind::Invalid, "there is no statement"),
        ("select 1; select 2", Kind::Invalid, "single SQL statement"),
        ("select * from nowhere", Kind::NotFound, "nowhere"),
        ("select * from other.nothing", Kind::NotFound, "other.nothing"),
        ("select * from nospace.t", Kind::NotFound, "nospace.t"),
        ("select missing from t", Kind::Invalid, "missing"),
        ("select n + 'x' from t", Kind::Invalid, "x"),
        ("select cast('x' as int)", Kind::Invalid, "x"),
        ("select 1 / 0", Kind::Invalid, "ivide by zero"),
        ("select no_such_function(1)", Kind::Invalid, "no_such_function"),
        ("select * from t where n = $1", Kind::Invalid, "parameters"),
        ("create table x (a int)", Kind::Invalid, "only reads"),
        ("create external table x stored as csv location '/etc/passwd'", Kind::Invalid, "only reads"),
        ("drop table t", Kind::Invalid, "only reads"),
        ("create view v as select 1", Kind::Invalid, "only reads"),
        ("insert into t values (null, 1, 1)", Kind::Invalid, "only reads"),
        ("delete from t", Kind::Invalid, "only reads"),
        ("copy t to '/tmp/x.csv'", Kind::Invalid, "only reads"),
        ("explain copy t to '/tmp/x.csv'", Kind::Invalid, "only reads"),
        ("set datafusion.execution.batch_size = 1", Kind::Invalid, "only reads"),
        ("select * from '/etc/passwd'", Kind::NotFound, "/etc/passwd"),
    ] {
        let error = ask(&engine, sql).await.unwrap_err();
        assert!(error.to_string().contains(words), "{sql}: {error}");
        assert_eq!(error.kind(), &kind, "{sql}: {error}");
        assert!(!error.to_string().contains("backtrace"), "{sql}: {error}");
        assert!(!error.to_string().contains("bug in DataFusion"), "{sql}: {error}");
    }
    assert_eq!(ask(&engine, "select count(*) c from t").await.unwrap(), json!([{"c": 1}]));
}

#[tokio::test]
async fn a_statement_may_have_as_many_bytes_as_the_limit_and_no_more() {
    let lake = Lake::new();
    let settings = QuerySettings { sql_bytes_max: ByteSize::b(20), ..QuerySettings::default() };
    let engine = lake.engine_with(Arc::new(NoTail), settings);
    assert_eq!(ask(&engine, "select 1 as one     ").await.unwrap(), json!([{"one": 1}]));
    let error = ask(&engine, "select 1 as one      ").await.unwrap_err();
    assert_eq!(error.to_string(), "the statement has 21 bytes; query.sql_bytes_max is 20");
}

#[tokio::test]
async fn a_deep_expression_is_answered_or_refused_but_never_overflows_a_stack() {
    let lake = Lake::new();
    let engine = lake.engine();
    // `select` and `as` count too.
    let sum = |terms: usize| format!("select {} as s", vec!["1"; terms].join(" + "));
    let most = usize::from(QuerySettings::default().sql_operators_max.get()) - 1;
    assert_eq!(ask(&engine, &sum(most)).await.unwrap(), json!([{"s": most}]));
    let error = ask(&engine, &sum(most + 1)).await.unwrap_err();
    assert_eq!(error.to_string(), "the statement has 1001 operators and keywords; query.sql_operators_max is 1000");
    let columns = format!("select {} as s from generate_series(1, 3)", vec!["value"; most - 2].join(" * "));
    ask(&engine, &columns).await.unwrap_err();
    for (start, end) in
        [("(", ")"), ("not ", ""), ("- ", ""), ("abs(", ")"), ("(select ", ")"), ("case when true then ", " end")]
    {
        for depth in [20, 300] {
            let nested = format!("select {}1{}", start.repeat(depth), end.repeat(depth));
            let _answered_or_refused = ask(&engine, &nested).await;
        }
    }
    let union = vec!["select 1"; 300].join(" union all ");
    assert_eq!(ask(&engine, &format!("select count(*) c from ({union})")).await.unwrap(), json!([{"c": 300}]));
    assert_eq!(ask(&engine, "select 1 one").await.unwrap(), json!([{"one": 1}]));
}

#[tokio::test]
async fn the_catalog_shows_itself() {
    let lake = lake_with_table().await;
    let engine = lake.engine();
    let tables = text(&engine, "show tables").await;
    for name in ["\"t\"", "\"u\"", "\"other\"", "\"queries\"", "\"files\"", "\"snapshots\""] {
        assert!(tables.contains(name), "{name} is not in {tables}");
    }
    let columns =
        ask(&engine, "select column_name n from information_schema.columns where table_name = 't' order by 1");
    assert_eq!(columns.await.unwrap(), json!([{"n": "_arrival_time"}, {"n": "_offset"}, {"n": "n"}]));
    assert!(text(&engine, "show columns from t").await.contains("Timestamp"));
    assert!(text(&engine, "describe t").await.contains("Int64"));
}

#[tokio::test]
async fn system_tables_answer() {
    let lake = lake_with_table().await;
    let engine = lake.engine();
    let files = ask(&engine, "select \"table\", hour, rows, bytes > 100 b from system.files").await.unwrap();
    assert_eq!(files, json!([{"table": "default.t", "hour": "1970-01-01T03:00:00Z", "rows": 1, "b": true}]));
    let snapshots = ask(&engine, "select \"table\", added_rows, total_rows, delivery, batch from system.snapshots");
    let expected = json!([{"table": "default.t", "added_rows": 1, "total_rows": 1, "delivery": "d", "batch": 0}]);
    assert_eq!(snapshots.await.unwrap(), expected);

    ask(&engine, "select missing from t").await.unwrap_err();
    let queries = ask(&engine, "select id, state, rows, error is null e, sql from system.queries order by id").await;
    let queries = queries.unwrap();
    assert_eq!(queries[2]["state"], "error");
    assert_eq!(queries[2]["e"], false);
    assert_eq!(queries[1]["rows"], 1);
    assert_eq!(queries[3]["state"], "running");
}

#[tokio::test]
async fn answers_may_name_a_column_twice() {
    let lake = lake_with_table().await;
    let engine = lake.engine();
    let mut stream = engine.sql(&Caller::open(), "select a.n, b.n from t a cross join t b").await.unwrap();
    let names: Vec<String> = stream.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["n", "n"]);
    let batch = futures::StreamExt::next(&mut stream).await.unwrap().unwrap();
    assert_eq!((batch.num_rows(), batch.num_columns()), (1, 2));
}
