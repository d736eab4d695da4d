//! The program as a user runs it, against a server in this process.
#![expect(clippy::unwrap_used, reason = "a test says by its panic what failed")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Output, Stdio};

use arrow::ipc::reader::StreamReader;
use millrace_server::config::Settings;
use millrace_server::serve::{self, Running};
use serde_json::Value;
use tempfile::TempDir;

/// A server on free ports and a folder of its own.
struct Site {
    server: Running,
    folder: TempDir,
}

impl Site {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let free = "127.0.0.1:0".parse().unwrap();
        let settings = Settings {
            data_dir: folder.path().join("data"),
            grpc_listen: free,
            http_listen: free,
            ..Settings::default()
        };
        Self { server: serve::start(settings).await.unwrap(), folder }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        let endpoint = format!("http://{}", self.server.grpc_addr());
        command.args(arguments).env("MILLRACE_ENDPOINT", endpoint).stdin(Stdio::null());
        command
    }

    /// Runs to the end, without stopping the server's runtime.
    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    async fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.succeed(&[arguments, &["--output", "json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Fails with the code, and gives what stderr says.
    async fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        stderr(&output)
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn stream(&self, name: &str) {
        let off = ["--in-bytes-per-second", "off", "--in-records-per-second", "off", "--out-bytes-per-second", "off"];
        self.succeed(&[&["stream", "create", name][..], &off].concat()).await;
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_created_shown_changed_and_deleted() {
    let site = Site::start().await;
    let created = site.json(&["stream", "create", "flights", "--shards", "2", "--retention", "168h"]).await;
    assert_eq!(created["retention_ms"], 168 * 3_600_000);
    assert_eq!(created["shards"].as_array().unwrap().len(), 2);
    assert!(site.fail(1, &["stream", "create", "flights"]).await.contains("flights"));

    let listed = site.succeed(&["stream", "list"]).await;
    assert!(listed.starts_with("NAME") && listed.contains("flights  2       168h"), "{listed}");

    let changed =
        site.json(&["stream", "update", "flights", "--in-bytes-per-second", "off", "--retention", "24h"]).await;
    assert_eq!(changed["quota"]["in_bytes_per_second"], 0);
    assert_eq!(changed["quota"]["in_records_per_second"], 1000, "what was not named stays");
    assert_eq!(site.json(&["stream", "describe", "flights"]).await["retention_ms"], 24 * 3_600_000);

    assert!(site.fail(2, &["stream", "delete", "flights"]).await.contains("--yes"));
    site.succeed(&["stream", "delete", "flights", "--yes"]).await;
    assert!(site.fail(1, &["stream", "describe", "flights"]).await.contains("flights"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_file_goes_in_and_comes_out_byte_for_byte() {
    let site = Site::start().await;
    site.stream("flights").await;
    let lines: Vec<String> = (0..3000).map(|n| format!("{{\"carrier\": \"C{}\", \"flight\": {n}}}", n % 7)).collect();
    let text = lines.join("\n");
    let file = site.file("flights.json", &zstd::encode_all(text.as_bytes(), 1).unwrap());

    let summary = site.json(&["put", "flights", &file, "--key-field", "carrier"]).await;
    assert_eq!(summary["records"], 3000);
    assert_eq!(summary["bytes"], (text.len() - 2999) as u64);
    assert_eq!((&summary["failed"], &summary["random_keys"]), (&Value::from(0), &Value::from(0)));

    let tailed = site.succeed(&["tail", "flights", "--from", "trim-horizon", "-n", "3000"]).await;
    assert_eq!(tailed.lines().collect::<Vec<_>>(), lines, "one shard keeps the order");

    let last = site.json(&["tail", "flights", "--from", "2999", "--shard", "0", "-n", "1"]).await;
    assert_eq!((&last["offset"], &last["partition_key"]), (&Value::from(2999), &Value::from("C3")));
}

#[tokio::test(flavor = "multi_thread")]
async fn put_counts_and_names_what_failed_and_stores_the_rest() {
    let site = Site::start().await;
    site.stream("events").await;
    let limit = site.json(&["stream", "describe", "events"]).await["record_bytes_max"].as_u64().unwrap();
    let long = "x".repeat(usize::try_from(limit).unwrap() + 1);
    let file = site.file("events.txt", format!("not json\n{long}\n\n{{\"a\":1}}\n").as_bytes());
    let output = site.run(&["put", "events", &file, "--key-field", "a"]).await;
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(told.contains("1 of 3 records failed") && told.contains("line 2"), "{told}");
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(summary.starts_with("2 records") && summary.contains("1 lines without the key's field"), "{summary}");
    let stored = site.succeed(&["tail", "events", "--from", "trim-horizon", "-n", "2"]).await;
    assert_eq!(stored, "not json\n{\"a\":1}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn put_reads_stdin_and_keeps_to_its_rate() {
    let site = Site::start().await;
    site.stream("events").await;
    let mut command = site.command(&["put", "events", "--rate", "100", "--output", "json"]);
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines: String = (0..50).map(|n| format!("{n}\n")).collect();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let summary: Value = serde_json::from_slice(&output.await.unwrap().stdout).unwrap();
    assert_eq!(summary["records"], 50);
    // A tenth of a second's worth goes at once; the other forty take 10 ms each.
    assert!(summary["seconds"].as_f64().unwrap() >= 0.39, "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_ends_the_command_in_peace() {
    let site = Site::start().await;
    site.stream("events").await;
    let text: String = (0..20_000).map(|n| format!("a line that is long enough to fill a pipe {n}\n")).collect();
    let file = site.file("events.txt", text.as_bytes());
    site.succeed(&["put", "events", &file]).await;
    let mut command = site.command(&["tail", "events", "--from", "trim-horizon", "-n", "20000"]);
    let output = tokio::task::spawn_blocking(move || {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.starts_with("a line"), "{first}");
        child.wait_with_output().unwrap()
    });
    let output = output.await.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_with_what_to_do() {
    let site = Site::start().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = format!("http://127.0.0.1:{port}");
    let told = site.fail(1, &["stream", "list", "--endpoint", &nowhere]).await;
    assert!(told.contains("no connection to the server") && told.contains("millrace serve"), "{told}");
    let told = site.fail(2, &["stream", "list", "--endpoint", "ftp://host"]).await;
    assert!(told.contains("ftp://host"), "{told}");
    let told = site.fail(1, &["put", "absent", "/nonexistent"]).await;
    assert!(told.contains("absent"), "{told}");
    site.stream("events").await;
    let told = site.fail(1, &["put", "events", "/nonexistent"]).await;
    assert!(told.contains("/nonexistent"), "{told}");
}

const PIPELINE: &str = r#"
[[stream]]
name = "flights"
shards = 2
[stream.quota]
in_bytes_per_second = "off"
in_records_per_second = "off"
out_bytes_per_second = "off"

[[table]]
name = "flights"

[[delivery]]
name = "flights"
stream = "flights"
table = "flights"
format = "parquet"
buffer_interval = "60s"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_applied_fed_flushed_steered_and_verified() {
    let site = Site::start().await;
    let file = site.file("pipeline.toml", PIPELINE.as_bytes());
    let planned = site.succeed(&["apply", "-f", &file, "--dry-run"]).await;
    assert!(planned.contains("3 would change; nothing was changed"), "{planned}");
    let applied = site.json(&["apply", "-f", &file]).await;
    let actions: Vec<_> = applied.as_array().unwrap().iter().map(|change| change["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["created"; 3]);
    let again = site.succeed(&["apply", "-f", &file]).await;
    assert!(again.ends_with("nothing to change\n"), "{again}");
    let changed = site.file("changed.toml", PIPELINE.replace("60s", "30s").as_bytes());
    let diff = site.succeed(&["apply", "-f", &changed]).await;
    assert!(diff.contains("updated   delivery flights") && diff.contains("1 changed"), "{diff}");
    assert!(diff.lines().any(|line| line.trim_start().starts_with('+') && line.contains("30s")), "{diff}");

    let lines: String = (0..1000).map(|n| format!("{{\"carrier\":\"C{}\",\"flight\":{n}}}\n", n % 7)).collect();
    let file = site.file("flights.json", lines.as_bytes());
    site.succeed(&["put", "flights", &file]).await;
    let flushed = site.json(&["delivery", "flush", "flights"]).await;
    assert_eq!((&flushed["behind"], &flushed["totals"]["rows"]), (&Value::from(0), &Value::from(1000)));

    let proof = site.json(&["verify", "flights"]).await;
    assert_eq!((&proof["ok"], &proof["totals"]["records"]), (&Value::from(true), &Value::from(1000)));
    assert!(site.succeed(&["verify", "flights"]).await.contains("each record was delivered once"));

    assert_eq!(site.json(&["delivery", "pause", "flights"]).await["state"], "paused");
    assert!(site.fail(1, &["stream", "delete", "flights", "-y"]).await.contains("flights"));
    assert_eq!(site.json(&["delivery", "resume", "flights"]).await["state"], "running");
    let listed = site.succeed(&["delivery", "list"]).await;
    assert!(listed.starts_with("NAME") && listed.contains("running"), "{listed}");
    assert!(site.succeed(&["delivery", "describe", "flights"]).await.contains("buffer_interval"));
    site.succeed(&["delivery", "delete", "flights", "-y"]).await;
    assert!(site.fail(1, &["verify", "flights"]).await.contains("flights"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_breaks_a_rule_is_refused_by_its_place() {
    let site = Site::start().await;
    let file = site.file("pipeline.toml", PIPELINE.replace("buffer_interval", "bufer_interval").as_bytes());
    assert!(site.fail(1, &["apply", "-f", &file]).await.contains("bufer_interval"));
    assert_eq!(site.json(&["stream", "list"]).await.as_array().unwrap().len(), 0, "nothing was changed");
    let told = site.fail(1, &["apply", "-f", "/nonexistent.toml"]).await;
    assert!(told.contains("/nonexistent.toml"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sql_answer_comes_in_each_format_and_tells_its_rows() {
    let site = Site::start().await;
    let pipeline = site.file("pipeline.toml", PIPELINE.as_bytes());
    site.succeed(&["apply", "-f", &pipeline]).await;
    let lines: String = (0..10).map(|n| format!("{{\"carrier\":\"C{}\",\"flight\":{n}}}\n", n % 2)).collect();
    let file = site.file("flights.json", lines.as_bytes());
    site.succeed(&["put", "flights", &file]).await;

    let statement = "select carrier, sum(flight) as total from flights group by carrier order by carrier";
    let output = site.run(&["sql", statement]).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(text.contains("| carrier | total |") && text.contains("| C1      | 25    |"), "{text}");
    assert!(stderr(&output).starts_with("2 rows in "), "{}", stderr(&output));

    let csv = site.succeed(&["sql", statement, "-o", "csv"]).await;
    assert_eq!(csv, "carrier,total\nC0,20\nC1,25\n");
    let json = site.succeed(&["sql", statement, "-o", "json"]).await;
    assert_eq!(json, "{\"carrier\":\"C0\",\"total\":20}\n{\"carrier\":\"C1\",\"total\":25}\n");
    let empty = site.succeed(&["sql", "select carrier from flights where flight > 99", "-o", "csv"]).await;
    assert_eq!(empty, "carrier\n");

    let mut command = site.command(&["sql", "-", "-o", "arrow"]);
    let arrow = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(statement.as_bytes()).unwrap();
        child.wait_with_output().unwrap().stdout
    });
    let arrow = arrow.await.unwrap();
    let batches = StreamReader::try_new(arrow.as_slice(), None).unwrap();
    assert_eq!(batches.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);

    site.succeed(&["delivery", "flush", "flights"]).await;
    let tables = site.json(&["table", "list"]).await;
    assert_eq!((&tables[0]["name"], &tables[0]["rows"]), (&Value::from("flights"), &Value::from(10)));
    assert!(site.succeed(&["table", "describe", "flights"]).await.contains("carrier"));
    assert!(site.fail(1, &["sql", "selec 1"]).await.starts_with("error: "));
    assert!(site.fail(1, &["sql", "select nonesuch from flights"]).await.contains("nonesuch"));
    assert_eq!(site.fail(2, &["sql", "  "]).await, "error: the statement is empty\n");
}
