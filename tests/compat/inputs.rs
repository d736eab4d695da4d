//! Tables of CSV rows, of lines and of whole records are the same for PyArrow, DuckDB and Polars.

use std::fmt::Write as _;

use millrace_tests::server::{Server, ServerSettings};
use millrace_tests::{cli, grpc, python};
use serde_json::{Value, json};

const EVENTS: i64 = 2_000;
/// Rows of one record of CSV.
const ROWS_A_RECORD: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_input_is_the_same_for_every_reader() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let settings = ServerSettings::new(&folder.path().join("data"))
        .env("MILLRACE_STORE_URL", format!("file://{}", lake.display()));
    let mut server = Server::start(&settings);
    let file = folder.path().join("inputs.toml");
    std::fs::write(&file, pipeline()).expect("the test's folder can be written");
    let _said = cli::millrace(&server, &["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();

    let rows: Vec<String> = (0..EVENTS).map(row).collect();
    let csv: Vec<Vec<u8>> = rows.chunks(ROWS_A_RECORD).map(|rows| rows.concat().into_bytes()).collect();
    let lines = vec![b"first, \"line\"\n\nthird\r\n".to_vec(), "fourth: \u{e9}".as_bytes().to_vec()];
    let raw = vec![vec![0xFF, b'\n', 0], b"{}".to_vec(), Vec::new()];
    let channel = grpc::connect(&server.endpoint()).await.expect("the server listens");
    for (stream, records) in [("csv", csv), ("lines", lines), ("raw", raw)] {
        let records = records.into_iter().enumerate().map(|(key, data)| (key.to_string(), data));
        let answer =
            grpc::records(&channel).put(grpc::put_request(stream, records)).await.expect("any bytes are taken");
        assert_eq!(answer.into_inner().failed_count, 0, "{stream}");
        let _said = cli::millrace(&server, &["delivery", "flush", stream]).ok();
        let _proof = cli::millrace(&server, &["verify", stream]).ok();
    }
    assert!(server.stop().success(), "the drained server exits well");

    let events = json!({
        "rows": EVENTS,
        "sum": (0..EVENTS).sum::<i64>(),
        "texts": (0..EVENTS).filter(|id| id % 3 != 0).count(),
        "halves": (0..EVENTS).sum::<i64>() as f64 / 2.0,
    });
    let bytes = |rows: &[&str]| rows.iter().map(|row| row.len()).sum::<usize>();
    let lines = json!({ "rows": 4, "bytes": bytes(&["first, \"line\"", "third", "fourth: \u{e9}"]) });
    for (table, kind, expected) in
        [("csv", "parquet", events), ("lines", "values", lines), ("raw", "values", json!({ "rows": 3, "bytes": 5 }))]
    {
        let data = lake.join(format!("default/{table}/data"));
        for reader in ["pyarrow", "duckdb", "polars"] {
            let found: Value = python::run("compat/formats.py", &[reader, kind, data.to_str().expect("a UTF-8 path")]);
            assert_eq!(found, expected, "{reader} reads {table}");
        }
    }
}

/// A row whose text is null for every third, and holds delimiters, quotes and line ends else.
fn row(id: i64) -> String {
    let text = if id % 3 == 0 { String::new() } else { format!("\"t;\"\"{}\"\"\n\"", id % 17) };
    format!("{id};{:?};g{};{text}\r\n", id as f64 / 2.0, id % 3)
}

fn pipeline() -> String {
    let mut toml = String::new();
    for (name, input) in
        [("csv", "{ format = \"csv\", delimiter = \";\" }"), ("lines", "\"lines\""), ("raw", "\"raw\"")]
    {
        write!(
            toml,
            "[[stream]]\nname = \"{name}\"\n[[delivery]]\nname = \"{name}\"\nstream = \"{name}\"\n\
             buffer_interval = \"900s\"\ninput = {input}\n"
        )
        .expect("writing to a string cannot fail");
    }
    toml.push_str(
        "[[table]]\nname = \"csv\"\ncolumn = [{ name = \"number\", type = \"long\" }, { name = \"half\", type = \"double\" }, \
         { name = \"group\", type = \"string\" }, { name = \"text\", type = \"string\" }]\n",
    );
    toml
}
