//! SQL over Flight and tables over gRPC, from a put to an answer.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    CommandGetDbSchemas, CommandGetTables, CommandStatementQuery, ProstMessageExt, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{FlightDescriptor, FlightInfo, Ticket, flight_service_client::FlightServiceClient};
use futures::TryStreamExt;
use millrace_proto::v1::delivery_service_client::DeliveryServiceClient;
use millrace_proto::v1::table_service_client::TableServiceClient;
use prost::Message;
use tonic::Code;
use tonic::transport::Channel;

use super::*;

const PIPELINE: &str = r#"
[[stream]]
name = "t"
shards = 2
[[delivery]]
name = "t"
stream = "t"
table = "t"
format = "parquet"
buffer_interval = "900s"
"#;

struct Sql {
    world: World,
    flight: FlightSqlServiceClient<Channel>,
    channel: Channel,
}

impl Sql {
    async fn new() -> Self {
        let world = World::new().await;
        let endpoint = Channel::from_shared(format!("http://{}", world.running.grpc_addr())).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let flight = FlightSqlServiceClient::new(channel.clone());
        let sql = Self { world, flight, channel };
        let apply = v1::ApplyPipelineRequest { pipeline_toml: PIPELINE.to_owned(), ..Default::default() };
        sql.deliveries().apply_pipeline(apply).await.unwrap();
        sql
    }

    fn deliveries(&self) -> DeliveryServiceClient<Channel> {
        DeliveryServiceClient::new(self.channel.clone())
    }

    async fn put(&mut self, numbers: std::ops::Range<u64>) {
        let event = |n: u64| record(&n.to_string(), format!("{{\"n\":{n},\"text\":\"number {n}\"}}"));
        let answer = self.world.records.put(put("t", numbers.map(event).collect())).await.unwrap();
        offsets(&answer.into_inner());
    }

    async fn flush(&self) {
        self.deliveries().flush_delivery(v1::FlushDeliveryRequest { name: "t".to_owned() }).await.unwrap();
    }

    async fn fetch(&mut self, info: FlightInfo) -> Vec<RecordBatch> {
        let ticket = info.endpoint[0].ticket.clone().unwrap();
        self.flight.do_get(ticket).await.unwrap().try_collect().await.unwrap()
    }

    async fn ask(&mut self, sql: &str) -> Vec<RecordBatch> {
        let info = self.flight.execute(sql.to_owned(), None).await.unwrap();
        self.fetch(info).await
    }

    async fn number(&mut self, sql: &str) -> i64 {
        self.ask(sql).await[0].column(0).as_primitive::<Int64Type>().value(0)
    }
}

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_in_the_answer_once_before_and_after_it_is_committed() {
    let mut sql = Sql::new().await;
    assert_eq!(sql.number("select count(*) from t").await, 0);
    sql.put(0..100).await;
    assert_eq!(sql.number("select sum(n) from t").await, 4950);
    sql.flush().await;
    assert_eq!(sql.number("select sum(n) from t").await, 4950);
    sql.put(100..150).await;
    assert_eq!(sql.number("select count(distinct n) from t").await, 150);
    assert_eq!(sql.number("select count(*) from t").await, 150);
    assert_eq!(sql.number("select count(*) from system.shards").await, 2);
    assert_eq!(sql.number("select cast(sum(rows) as bigint) from system.files").await, 100);
    assert_eq!(sql.number("select cast(pending_records as bigint) from system.deliveries").await, 50);
    assert_eq!(sql.number("select cast(records as bigint) from system.snapshots").await, 100);
    assert_eq!(sql.number("select count(*) from system.streams where stream = 't'").await, 1);

    let mut tables = TableServiceClient::new(sql.channel.clone());
    let request = v1::DescribeTableRequest { name: "t".to_owned() };
    let table = tables.describe_table(request).await.unwrap().into_inner().table.unwrap();
    assert_eq!((table.namespace.as_str(), table.name.as_str(), table.rows), ("default", "t", 100));
    assert_eq!(table.partitioning, "hour(_arrival_time)");
    assert!(table.columns.iter().any(|column| column.name == "n" && column.r#type == "long"), "{table:?}");
    assert!(table.metadata_location.ends_with(".metadata.json"), "{}", table.metadata_location);
    let listed = tables.list_tables(v1::ListTablesRequest {}).await.unwrap().into_inner().tables;
    assert_eq!((listed.len(), listed[0].columns.len(), listed[0].snapshots), (1, 0, 1));
    let nothing = v1::DescribeTableRequest { name: "nothing".to_owned() };
    assert_eq!(tables.describe_table(nothing).await.unwrap_err().code(), Code::NotFound);
    let wrong = v1::DescribeTableRequest { name: "a.b.c".to_owned() };
    assert_eq!(tables.describe_table(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    sql.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_find_tables_and_prepare_statements() {
    let mut sql = Sql::new().await;
    sql.put(0..3).await;
    let mut prepared = sql.flight.prepare("select n from t order by n".to_owned(), None).await.unwrap();
    assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "n");
    assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 0);
    let info = prepared.execute().await.unwrap();
    assert_eq!(rows(&sql.fetch(info).await), 3);
    prepared.close().await.unwrap();

    let info = sql.flight.get_catalogs().await.unwrap();
    assert_eq!(sql.fetch(info).await[0].column(0).as_string::<i32>().value(0), "millrace");
    let info = sql.flight.get_db_schemas(CommandGetDbSchemas::default()).await.unwrap();
    assert_eq!(rows(&sql.fetch(info).await), 2);
    let named = CommandGetTables {
        db_schema_filter_pattern: Some("def%".to_owned()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = sql.flight.get_tables(named).await.unwrap();
    let tables = sql.fetch(info).await;
    assert_eq!(rows(&tables), 1);
    assert_eq!(tables[0].column_by_name("table_name").unwrap().as_string::<i32>().value(0), "t");
    assert!(tables[0].column_by_name("table_schema").unwrap().as_binary::<i32>().value(0).len() > 100);
    let info = sql.flight.get_table_types().await.unwrap();
    assert_eq!(rows(&sql.fetch(info).await), 2);
    let info = sql.flight.get_sql_info(vec![SqlInfo::FlightSqlServerName]).await.unwrap();
    assert_eq!(rows(&sql.fetch(info).await), 1);
    sql.world.close().await;
}

fn parameters(columns: &[(&str, ArrayRef)]) -> RecordBatch {
    RecordBatch::try_from_iter(columns.iter().cloned()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_bound_by_position_and_by_name() {
    let mut sql = Sql::new().await;
    sql.put(0..10).await;
    let number = |n: i64| Arc::new(Int64Array::from(vec![n])) as ArrayRef;
    let text = |text: &str| Arc::new(StringArray::from(vec![text])) as ArrayRef;
    // An end of the literal inside of the value is a value all the same.
    let cases = [
        ("select n from t where n >= $1 and n < $2 order by n", parameters(&[("a", number(2)), ("b", number(5))]), 3),
        ("select n from t where n >= ? and n < ? -- why?", parameters(&[("a", number(2)), ("b", number(5))]), 3),
        (
            "select n from t where text = $named or n = $other",
            parameters(&[("other", number(7)), ("named", text("number 1"))]),
            2,
        ),
        ("select n from t where text = ? and text <> 'it''s ?'", parameters(&[("a", text("' or 1 = 1 --"))]), 0),
        ("select ? as x from t", parameters(&[("a", text("x"))]), 10),
    ];
    for (statement, row, expected) in cases {
        let mut prepared = sql.flight.prepare(statement.to_owned(), None).await.unwrap();
        assert_eq!(prepared.parameter_schema().unwrap().fields().len(), row.num_columns(), "{statement}");
        prepared.set_parameters(row).unwrap();
        let info = prepared.execute().await.unwrap();
        assert_eq!(rows(&sql.fetch(info).await), expected, "{statement}");
    }
    let mut prepared = sql.flight.prepare("select n from t where n = $1".to_owned(), None).await.unwrap();
    assert_eq!(prepared.parameter_schema().unwrap().field(0).data_type(), &DataType::Int64, "of the column");
    let ticket = prepared.execute().await.unwrap().endpoint[0].ticket.clone().unwrap();
    let error = sql.flight.do_get(ticket).await.map(drop).unwrap_err().to_string();
    assert!(error.contains("parameters of the statement: 1 ($1); values bound: 0"), "{error}");
    for (row, expected) in [
        (parameters(&[("a", number(1)), ("b", number(1))]), "values bound: 2"),
        (parameters(&[("a", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)]), "2 rows of parameters"),
        (parameters(&[("a", text(&"x".repeat(2 << 20)))]), "query.sql_bytes_max"),
    ] {
        prepared.set_parameters(row).unwrap();
        let error = prepared.execute().await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut prepared = sql.flight.prepare("select n from t where n = $wanted".to_owned(), None).await.unwrap();
    prepared.set_parameters(parameters(&[("a", number(1))])).unwrap();
    let error = prepared.execute().await.unwrap_err().to_string();
    assert!(error.contains("no value is named wanted"), "{error}");
    sql.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_of_somebody_else_is_refused() {
    let mut sql = Sql::new().await;
    // Not a message; a statement with bytes in the place of its parameters.
    for handle in [
        &b"select 1"[..],
        b"\x0a\x08select 1\x12\x05ABCDE",
        b"\x0a\x08select 1\x12\x08\xff\xff\xff\xff\x10\x00\x00\x00",
    ] {
        let ticket = TicketStatementQuery { statement_handle: handle.to_vec().into() }.as_any().encode_to_vec();
        let answer = sql.flight.do_get(Ticket { ticket: ticket.into() }).await;
        let error = answer.map(drop).unwrap_err().to_string();
        assert!(error.contains("the statement handle is not from this server"), "{error}");
    }
    sql.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_larger_than_a_message_arrive_whole_and_a_client_that_leaves_ends_its_query() {
    let mut sql = Sql::new().await;
    // Each batch has more than the 4 MiB that a client takes in one message.
    let wide = "select repeat('x', 2000) || value as s from generate_series(1, 30000)";
    assert_eq!(rows(&sql.ask(wide).await), 30_000);

    let endless = "select value from generate_series(1, 1000000000000)";
    let info = sql.flight.execute(endless.to_owned(), None).await.unwrap();
    let mut stream = sql.flight.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    assert_eq!(sql.number("select count(*) from system.queries where state = 'running' and rows > 0").await, 1);
    drop(stream);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while sql.number("select count(*) from system.queries where state = 'cancelled'").await == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the query goes on");
    }
    sql.world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_codes_and_reasons() {
    let sql = Sql::new().await;
    let mut flight = FlightServiceClient::new(sql.channel.clone());
    for (statement, code, reason, words) in [
        ("selec 1", Code::InvalidArgument, "INVALID", "the SQL does not parse"),
        ("select * from nowhere", Code::NotFound, "NOT_FOUND", "nowhere"),
        ("drop table t", Code::InvalidArgument, "INVALID", "SQL only reads here"),
    ] {
        let command = CommandStatementQuery { query: statement.to_owned(), transaction_id: None };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let status = flight.get_flight_info(descriptor).await.unwrap_err();
        assert_eq!(status.code(), code, "{statement}");
        assert!(status.message().contains(words), "{statement}: {}", status.message());
        assert_eq!(details(&status).0, reason, "{statement}");
    }
    sql.world.close().await;
}
