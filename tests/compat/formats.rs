//! Every format that a delivery writes is the same events for PyArrow, DuckDB, Polars and Spark.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use millrace_tests::server::{Server, ServerSettings};
use millrace_tests::{cli, python};
use serde_json::{Value, json};

const PARQUET: [&str; 5] = ["snappy", "zstd", "gzip", "lz4", "none"];
/// Framed Snappy is left to the unit tests: none of these readers knows the framing format.
const LINES: [&str; 3] = ["none", "gzip", "zstd"];
const EVENTS: i64 = 2_000;

#[test]
fn every_format_is_the_same_for_every_reader() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = write_all(folder.path());
    let expected = expected();
    for codec in PARQUET {
        let data = lake.join(format!("default/p_{codec}/data"));
        for reader in ["pyarrow", "duckdb", "polars"] {
            let found = python::run("compat/formats.py", &[reader, "parquet", data.to_str().expect("a UTF-8 path")]);
            assert_eq!(found, expected, "{reader} reads Parquet with {codec}");
        }
    }
    for codec in LINES {
        let data = lake.join(format!("lines/{codec}"));
        for reader in ["duckdb", "polars"] {
            let found = python::run("compat/formats.py", &[reader, "lines", data.to_str().expect("a UTF-8 path")]);
            assert_eq!(found, expected, "{reader} reads lines with {codec}");
        }
    }
}

#[test]
fn spark_reads_every_format() {
    let spark = python::spark().expect("MILLRACE_TEST_SPARK=1 ./tests/run.sh makes the environment with PySpark");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = write_all(folder.path());
    let place = |below: String, kind: &str| format!("{}={kind}", lake.join(below).display());
    let tables = PARQUET.map(|codec| place(format!("default/p_{codec}/data"), "parquet"));
    // Hadoop's Zstandard needs a native library that PySpark does not bring.
    let lines = ["none", "gzip"].map(|codec| place(format!("lines/{codec}"), "lines"));
    let places: Vec<&str> = tables.iter().chain(&lines).map(String::as_str).collect();
    let found = python::run_by(&spark, "compat/spark.py", &places);
    let found = found.as_object().expect("one answer for each place");
    assert_eq!(found.len(), places.len());
    for (place, summary) in found {
        assert_eq!(*summary, expected(), "Spark reads {place}");
    }
}

/// Has the same events written in every format below a folder; gives the lake.
fn write_all(folder: &Path) -> PathBuf {
    let lake = folder.join("lake");
    let settings =
        ServerSettings::new(&folder.join("data")).env("MILLRACE_STORE_URL", format!("file://{}", lake.display()));
    let mut server = Server::start(&settings);
    let file = folder.join("formats.toml");
    std::fs::write(&file, pipeline()).expect("the test's folder can be written");
    let _said = cli::millrace(&server, &["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();
    let events = folder.join("events.jsonl");
    std::fs::write(&events, (0..EVENTS).map(event).collect::<String>()).expect("the test's folder can be written");
    let _said = cli::millrace(&server, &["put", "events", events.to_str().expect("a UTF-8 path")]).ok();
    for name in PARQUET.map(|codec| format!("p_{codec}")).into_iter().chain(LINES.map(|codec| format!("l_{codec}"))) {
        let _said = cli::millrace(&server, &["delivery", "flush", &name]).ok();
        let _proof = cli::millrace(&server, &["verify", &name]).ok();
    }
    assert!(server.stop().success(), "the drained server exits well");
    lake
}

fn expected() -> Value {
    json!({
        "rows": EVENTS,
        "sum": (0..EVENTS).sum::<i64>(),
        "texts": (0..EVENTS).filter(|id| id % 3 != 0).count(),
        "halves": (0..EVENTS).sum::<i64>() as f64 / 2.0,
    })
}

fn event(id: i64) -> String {
    let text = if id % 3 == 0 { String::new() } else { format!(",\"text\":\"t{}\"", id % 17) };
    format!("{{\"number\":{id},\"half\":{:?},\"group\":\"g{}\"{text}}}\n", id as f64 / 2.0, id % 3)
}

fn pipeline() -> String {
    let quota = ["in_bytes_per_second", "in_records_per_second", "out_bytes_per_second"];
    let quota = quota.map(|rate| format!("{rate} = \"off\"")).join("\n");
    let mut toml = format!("[[stream]]\nname = \"events\"\nshards = 2\n[stream.quota]\n{quota}\n");
    let delivery = "stream = \"events\"\ntransforms = [\"newline\", \"split\"]\nbuffer_interval = \"900s\"";
    for codec in PARQUET {
        write!(
            toml,
            "[[delivery]]\nname = \"p_{codec}\"\n{delivery}\ncompression = \"{codec}\"\nsort_by = [\"text\", \"number\"]\n\
             bloom_filters = [\"text\"]\nprefix = \"g=!{{partitionKeyFromQuery:g}}/!{{timestamp:yyyy/MM/dd/HH}}/\"\n\
             [delivery.partition_keys]\ng = \".group\"\n"
        )
        .expect("writing to a string cannot fail");
    }
    for codec in LINES {
        write!(
            toml,
            "[[delivery]]\nname = \"l_{codec}\"\n{delivery}\nformat = \"json_lines\"\ncompression = \"{codec}\"\n\
             destination = \"lines/{codec}\"\n"
        )
        .expect("writing to a string cannot fail");
    }
    toml
}
