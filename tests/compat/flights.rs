//! The whole flights file, put through the client, is the same 336,776 events for every reader.

use std::collections::BTreeMap;

use millrace_tests::cli;
use millrace_tests::flights;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::python;
use millrace_tests::server::{Server, ServerSettings};
use serde_json::{Value, json};

#[test]
fn all_flights_are_equal_for_sql_and_every_reader() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let settings = ServerSettings::new(&folder.path().join("data"))
        .env("MILLRACE_STORE_URL", format!("file://{}", lake.display()));
    let mut server = Server::start(&settings);
    let file = Pipeline::new("flights").write(folder.path());
    let source = flights::path();
    let source = source.to_str().expect("a UTF-8 path");
    let expected = python::run("compat/readers.py", &["source", source]);
    assert_eq!(expected["rows"], json!(flights::EVENTS), "the file itself");

    let _said = cli::millrace(&server, &["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();
    let _said = cli::millrace(&server, &["put", "flights", source]).ok();
    assert_eq!(by_sql(&server), expected, "sql over the log's tail, before any delivery");
    let _said = cli::millrace(&server, &["delivery", "flush", "flights"]).ok();
    assert_eq!(by_sql(&server), expected, "sql over the table");
    let _proof = cli::millrace(&server, &["verify", "flights"]).ok();

    let table = cli::millrace(&server, &["table", "describe", "flights", "--output", "json"]).ok().json();
    let location = field(&table, "location").trim_start_matches("file://").to_owned();
    assert!(location.starts_with(lake.to_str().expect("a UTF-8 path")), "the table lies below the store: {location}");
    let metadata = field(&table, "metadata_location");
    // The files are complete without the server.
    assert!(server.stop().success(), "the drained server exits well");
    let data = format!("{location}/data");
    for reader in ["duckdb", "duckdb-hive", "pyarrow", "polars"] {
        assert_eq!(python::run("compat/readers.py", &[reader, &data]), expected, "{reader}");
    }
    for reader in ["pyiceberg", "polars-iceberg"] {
        assert_eq!(python::run("compat/readers.py", &[reader, metadata]), expected, "{reader}");
    }
}

fn field<'a>(table: &'a Value, name: &str) -> &'a str {
    let table = table.as_array().and_then(|tables| tables.first()).unwrap_or(table);
    table[name].as_str().unwrap_or_else(|| panic!("the table's description has no {name}: {table}"))
}

fn by_sql(server: &Server) -> Value {
    let number = |what: &str| cli::sql_number(server, &format!("select {what} from flights"));
    let years = cli::sql(server, "select distinct year from flights order by year");
    let carriers = cli::sql(server, "select carrier, count(*) as flights from flights group by carrier");
    let carriers: BTreeMap<&str, &Value> =
        carriers.iter().map(|row| (row["carrier"].as_str().expect("a carrier"), &row["flights"])).collect();
    json!({
        "rows": number("count(*)"),
        "sum_distance": number("sum(distance)"),
        "count_dep_time": number("count(dep_time)"),
        "years": years.iter().map(|row| row["year"].clone()).collect::<Vec<_>>(),
        "carriers": carriers,
    })
}
