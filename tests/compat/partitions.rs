//! Tables partitioned by day, value and bucket: SQL and PyIceberg read only the files that can hold what is asked for, and
//! PyArrow, DuckDB and Polars find the same rows in them.

use std::fmt::Write as _;

use millrace_tests::server::{Server, ServerSettings};
use millrace_tests::{cli, python};
use serde_json::{Value, json};

/// Three days, four carriers, fifty flights.
const EVENTS: i64 = 1_200;
const DAYS: i64 = 3;

#[test]
fn only_the_files_that_match_are_planned() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lake = folder.path().join("lake");
    let settings = ServerSettings::new(&folder.path().join("data"))
        .env("MILLRACE_STORE_URL", format!("file://{}", lake.display()));
    let mut server = Server::start(&settings);
    let file = folder.path().join("partitions.toml");
    std::fs::write(&file, pipeline()).expect("the test's folder can be written");
    let _said = cli::millrace(&server, &["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();
    let events = folder.path().join("events.jsonl");
    std::fs::write(&events, (0..EVENTS).map(event).collect::<String>()).expect("the test's folder can be written");
    let _said = cli::millrace(&server, &["put", "events", events.to_str().expect("a UTF-8 path")]).ok();
    for (name, ..) in TABLES {
        let _said = cli::millrace(&server, &["delivery", "flush", name]).ok();
        let _proof = cli::millrace(&server, &["verify", name]).ok();
    }

    let by_day = [
        ("true", 12, EVENTS, EVENTS),
        ("carrier == 'UA'", 3, 300, 300),
        ("at >= '2013-01-02T00:00:00+00:00' and at < '2013-01-03T00:00:00+00:00'", 4, 400, 400),
        ("carrier == 'UA' and at < '2013-01-01T12:00:00+00:00'", 1, 100, 50),
        ("carrier == 'ZZ'", 0, 0, 0),
    ];
    check(&server, "by_day", &by_day);
    // Each flight is in one of eight buckets.
    for flight in ["f7", "f42"] {
        let wanted = format!("flight == '{flight}'");
        let rows = cli::sql_number(&server, &format!("select count(*) from by_bucket where flight = '{flight}'"));
        assert_eq!(rows, EVENTS / 50);
        assert_eq!(pruned(&server, "by_bucket", &wanted.replace("==", "=")), 7, "{wanted}");
        let found = planned(&server, "by_bucket", &[&wanted]);
        assert_eq!((&found[&wanted]["files"], &found[&wanted]["rows"]), (&json!(1), &json!(rows)), "{wanted}");
    }
    // Every type that a table may be partitioned by.
    let by_values = [
        ("true", 12, EVENTS, EVENTS),
        ("even == true", 6, EVENTS / 2, EVENTS / 2),
        ("fare == 1.25", 3, 300, 300),
        ("day == '2013-01-02'", 4, 400, 400),
        ("tail is null", 3, 300, 300),
    ];
    check(&server, "by_values", &by_values);

    // From now on by the month: what is there stays as it is, and both are planned by what they have.
    let changed = pipeline().replace("\"day(at)\", \"identity(carrier)\"", "\"month(at)\", \"bucket(4, carrier)\"");
    std::fs::write(&file, changed).expect("the test's folder can be written");
    let said = cli::millrace(&server, &["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();
    assert!(said.stdout.contains("month(at)"), "the change is shown: {}", said.stdout);
    let _said = cli::millrace(&server, &["put", "events", events.to_str().expect("a UTF-8 path")]).ok();
    let _said = cli::millrace(&server, &["delivery", "flush", "by_day"]).ok();
    let _proof = cli::millrace(&server, &["verify", "by_day"]).ok();
    let described = cli::millrace(&server, &["table", "describe", "by_day"]).ok().stdout;
    assert!(described.contains("month(at), bucket[4](carrier)"), "{described}");
    let both = planned(&server, "by_day", &["carrier == 'UA'", "at < '2012-12-31T00:00:00+00:00'"]);
    let of_ua = &both["carrier == 'UA'"];
    assert_eq!(of_ua["rows"], json!(600));
    assert_eq!(of_ua["files"], json!(4), "three days of one carrier, and a month of one bucket");
    assert_eq!(both["at < '2012-12-31T00:00:00+00:00'"]["files"], json!(0));
    assert_eq!(cli::sql_number(&server, "select count(*) from by_day where carrier = 'UA'"), 600);

    let metadata = metadata(&server, "by_bucket");
    assert!(server.stop().success(), "the drained server exits well");
    assert!(metadata.starts_with(lake.to_str().expect("a UTF-8 path")), "the table lies in the lake: {metadata}");
    let expected = json!({
        "rows": EVENTS,
        "sum": (0..EVENTS).sum::<i64>(),
        "texts": EVENTS - EVENTS / 4,
        "halves": (0..EVENTS).sum::<i64>() as f64 / 2.0,
    });
    for (table, ..) in TABLES.iter().filter(|(table, ..)| *table != "by_day") {
        let data = lake.join(format!("default/{table}/data"));
        for reader in ["pyarrow", "duckdb", "polars"] {
            let found = python::run("compat/formats.py", &[reader, "parquet", data.to_str().expect("a UTF-8 path")]);
            assert_eq!(found, expected, "{reader} reads {table}");
        }
    }
}

/// Table, what partitions it.
const TABLES: [(&str, &str); 3] = [
    ("by_day", "\"day(at)\", \"identity(carrier)\""),
    ("by_bucket", "\"bucket(8, flight)\""),
    (
        "by_values",
        "\"identity(day)\", \"identity(even)\", \"identity(fare)\", \"truncate(2, tail)\", \"identity(text)\"",
    ),
];

/// For each filter: the files planned, their rows, and the rows that match.
fn check(server: &Server, table: &str, filters: &[(&str, i64, i64, i64)]) {
    let texts: Vec<&str> = filters.iter().map(|(text, ..)| *text).collect();
    let found = planned(server, table, &texts);
    for (text, files, rows_planned, rows) in filters {
        let expected = json!({ "files": files, "rows_planned": rows_planned, "rows": rows });
        assert_eq!(found[*text], expected, "{table} where {text}");
        let by_sql = text.replace("==", "=");
        let count = cli::sql_number(server, &format!("select count(*) from {table} where {by_sql}"));
        assert_eq!(count, *rows, "sql over {table} where {text}");
        // SQL compares a decimal with a fraction as doubles, of which files have no bounds.
        if !text.starts_with("fare") {
            assert_eq!(pruned(server, table, &by_sql), 12 - files, "{table} where {text}");
        }
    }
}

fn planned(server: &Server, table: &str, filters: &[&str]) -> Value {
    let metadata = metadata(server, table);
    let mut arguments = vec![metadata.as_str()];
    arguments.extend(filters);
    python::run("compat/partitions.py", &arguments)
}

/// How many files a query leaves unread.
fn pruned(server: &Server, table: &str, filter: &str) -> i64 {
    let count = || {
        let (_, metrics) = server.http_get("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix("millrace_query_files_pruned_total "));
        line.and_then(|count| count.parse::<i64>().ok()).expect("pruned files are counted")
    };
    let before = count();
    // Not a count alone, which statistics may answer.
    let _rows = cli::sql(server, &format!("select sum(number) as sum from {table} where {filter}"));
    count() - before
}

fn metadata(server: &Server, table: &str) -> String {
    let described = cli::millrace(server, &["table", "describe", table, "--output", "json"]).ok().json();
    let described = described.as_array().and_then(|tables| tables.first()).unwrap_or(&described).clone();
    let location = described["metadata_location"].as_str().expect("a table has a metadata file");
    location.trim_start_matches("file://").to_owned()
}

fn event(id: i64) -> String {
    let (day, carrier) = (id / (EVENTS / DAYS), id % 4);
    let hour = if (id / 4) % 2 == 0 { 5 } else { 17 };
    let name = ["UA", "AA", "DL", "B6"][usize::try_from(carrier).expect("a carrier's place")];
    let text =
        if carrier == 0 { String::new() } else { format!(",\"tail\":\"N{carrier}{id}\",\"text\":\"t{carrier}\"") };
    format!(
        "{{\"number\":{id},\"half\":{:?},\"at\":\"2013-01-{:02}T{hour:02}:00:00Z\",\"day\":\"2013-01-{:02}\",\
         \"carrier\":\"{name}\",\"flight\":\"f{}\",\"even\":{},\"fare\":\"{carrier}.25\"{text}}}\n",
        id as f64 / 2.0,
        day + 1,
        day + 1,
        id % 50,
        carrier % 2 == 0,
    )
}

fn pipeline() -> String {
    let quota = ["in_bytes_per_second", "in_records_per_second", "out_bytes_per_second"];
    let quota = quota.map(|rate| format!("{rate} = \"off\"")).join("\n");
    let mut toml = format!("[[stream]]\nname = \"events\"\nshards = 2\n[stream.quota]\n{quota}\n");
    let columns = [
        ("number", "long"),
        ("half", "double"),
        ("day", "date"),
        ("carrier", "string"),
        ("flight", "string"),
        ("even", "boolean"),
        ("fare", "decimal(9,2)"),
        ("tail", "string"),
        ("text", "string"),
    ];
    let columns = columns.map(|(name, kind)| format!("{{ name = \"{name}\", type = \"{kind}\" }}")).join(", ");
    for (name, partition_by) in TABLES {
        write!(
            toml,
            "[[table]]\nname = \"{name}\"\ntime = {{ field = \"at\" }}\npartition_by = [{partition_by}]\ncolumn = [{columns}]\n\
             [[delivery]]\nname = \"{name}\"\nstream = \"events\"\nprefix = \"all/\"\nbuffer_interval = \"900s\"\n"
        )
        .expect("writing to a string cannot fail");
    }
    toml
}
