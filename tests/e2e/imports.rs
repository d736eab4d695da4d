//! Imports as a user meets them: files of a folder or a bucket come into a stream, each once, by request, schedule or arrival.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use millrace_tests::cli::{self, Said};
use millrace_tests::pipeline::Pipeline;
use millrace_tests::s3::{BUCKET, Fault, S3Server};
use millrace_tests::server::ServerSettings;
use millrace_tests::site::{Site, text};
use millrace_tests::{seed, wait};
use parquet::arrow::ArrowWriter;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);

/// Events with these ids, a line each.
fn lines(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("{{\"id\":{id},\"name\":\"n{id}\"}}\n")).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).expect("memory takes what is written");
    encoder.finish().expect("memory takes what is written")
}

fn parquet_file(path: &Path, ids: std::ops::Range<i64>) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, false),
    ]));
    let names = StringArray::from_iter_values(ids.clone().map(|id| format!("n{id}")));
    let columns = vec![Arc::new(Int64Array::from_iter_values(ids)) as _, Arc::new(names) as _];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("the columns are the schema's");
    let file = File::create(path).expect("the test's folder can be written");
    let mut writer = ArrowWriter::try_new(file, schema, None).expect("a file can be begun");
    writer.write(&batch).expect("a file can be written");
    writer.close().expect("a file can be ended");
}

/// Writes a file so that whoever lists the folder sees all of it or nothing.
fn place(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let (path, hidden) = (folder.join(name), folder.join(format!(".{name}")));
    std::fs::create_dir_all(folder).expect("the test's folder can be written");
    std::fs::write(&hidden, bytes).expect("the test's folder can be written");
    std::fs::rename(&hidden, &path).expect("a file can be renamed");
}

/// A server that may read the folder `in` beside its data, and that folder.
fn start() -> (Site, PathBuf) {
    let site = Site::start_with(|settings| {
        let folder = settings.data_dir.with_file_name("in");
        std::fs::create_dir_all(&folder).expect("the test's folder can be written");
        settings.env("MILLRACE_IMPORT_SOURCES", format!("file://{}", folder.display()))
    });
    let folder = site.folder().join("in");
    (site, folder)
}

/// Declares the stream and the table `events`, and an import of a folder.
fn import_toml(name: &str, source: &str, more: &str) -> String {
    format!("\n[[import]]\nname = \"{name}\"\nstream = \"events\"\nsource = \"{source}\"\nmin_age = \"0s\"\n{more}\n")
}

fn apply(site: &Site, imports: &str) -> Said {
    let file = site.folder().join("imports.toml");
    std::fs::write(&file, Pipeline::new("events").toml() + imports).expect("the test's folder can be written");
    site.run(&["apply", "-f", text(&file)])
}

fn run(site: &Site, import: &str) -> Value {
    site.run(&["import", "run", import, "--wait", "--output", "json"]).ok().json()["last_run"].clone()
}

/// Each event is there once.
fn check(site: &Site, count: i64) {
    assert_eq!(site.count("events"), count);
    assert_eq!(cli::sql_number(&site.server, "select count(distinct id) from events"), count);
}

fn metric(site: &Site, line: &str) -> f64 {
    let (_, text) = site.server.http_get("/metrics");
    let found = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no metric {line} in\n{text}"))
}

#[test]
fn files_of_many_forms_are_imported_each_row_once_also_over_a_kill() {
    let (mut site, folder) = start();
    place(&folder, "a.jsonl.gz", gzip(&lines(0..1000)));
    place(&folder, "b.jsonl.zst", zstd::encode_all(lines(1000..2000).as_bytes(), 3).expect("memory takes it"));
    let rows: String = (2000..3000).map(|id| format!("{id};\"n;{id}\"\r\n")).collect();
    place(&folder, "c.csv", format!("id;name\r\n{rows}"));
    parquet_file(&folder.join("d.parquet"), 3000..4000);
    let source = format!("file://{}", folder.display());
    let imports = [
        import_toml("json", &source, "pattern = \"*.jsonl.*\"\npartition_key = \"name\""),
        import_toml(
            "csv",
            &source,
            "pattern = \"*.csv\"\nformat = \"csv\"\n[import.csv]\ndelimiter = \";\"\nvalues = \"infer\"",
        ),
        import_toml("parquet", &source, "pattern = \"*.parquet\"\nformat = \"parquet\""),
    ];
    let said = apply(&site, &imports.concat()).ok();
    assert_eq!(said.stdout.matches("created   import").count(), 3, "{}", said.stdout);
    let said = apply(&site, &imports.concat()).ok();
    assert!(said.stdout.contains("nothing to change"), "{}", said.stdout);
    for (import, objects) in [("json", 2), ("csv", 1), ("parquet", 1)] {
        let run = run(&site, import);
        assert_eq!((&run["imported"], &run["records"]), (&objects.into(), &(objects * 1000).into()), "{import}");
    }
    check(&site, 4000);
    let keys = "select count(*) from events where _partition_key = name";
    assert_eq!(cli::sql_number(&site.server, keys), 2000, "the field is the partition key where it is asked for");
    site.server.kill();
    site.server.restart();
    place(&folder, "e.jsonl.gz", gzip(&lines(4000..4500)));
    for import in ["json", "csv", "parquet"] {
        let _run = run(&site, import);
    }
    check(&site, 4500);
    let runs = site.run(&["import", "history", "json", "--output", "json"]).ok().json();
    assert_eq!((&runs[0]["number"], &runs[0]["imported"], &runs[0]["skipped"]), (&2.into(), &1.into(), &2.into()));
    let listed = site.run(&["import", "list"]).ok().stdout;
    assert!(listed.contains("json") && listed.contains("2,500"), "{listed}");
    let sql = "select count(*) from system.import_objects where import = 'json' and state = 'imported'";
    assert_eq!(cli::sql_number(&site.server, sql), 3);
    assert_eq!(cli::sql_number(&site.server, "select sum(imported) from system.import_runs"), 5);
    assert_eq!(cli::sql_number(&site.server, "select sum(records) from system.imports"), 4500);
    let said = site.run(&["stream", "delete", "events", "--yes"]).failed();
    assert!(said.stderr.contains("import"), "{}", said.stderr);
}

#[test]
fn rows_that_are_none_are_told_and_lie_in_the_store_with_their_bytes() {
    let (site, folder) = start();
    place(&folder, "a.jsonl", format!("{}not json\n{}", lines(0..10), lines(10..20)));
    let _said =
        apply(&site, &import_toml("strict", &format!("file://{}", folder.display()), "on_bad_row = \"fail\"")).ok();
    let said = site.run(&["import", "run", "strict", "--wait"]).failed();
    assert!(said.stderr.contains("gave 1 objects up"), "{}", said.stderr);
    let objects = site.run(&["import", "objects", "strict", "--output", "json"]).ok().json();
    let error = objects[0]["error"].as_str().expect("an error");
    assert!(error.contains("row 11") && error.contains("invalid_json"), "{error}");
    let _said = apply(&site, &import_toml("strict", &format!("file://{}", folder.display()), "")).ok();
    let said = site.run(&["import", "run", "strict", "--wait", "--retry-failed", "--output", "json"]).ok();
    assert_eq!(said.json()["last_run"]["set_aside"], 1);
    check(&site, 20);
    let aside = millrace_tests::listing::files(&site.lake.join("errors/imports/strict"), "jsonl");
    let line: Value = serde_json::from_slice(&std::fs::read(&aside[0]).expect("a file")).expect("a line of JSON");
    assert_eq!(
        (&line["row"], &line["errorCode"], &line["rawData"]),
        (&11.into(), &"invalid_json".into(), &"bm90IGpzb24=".into())
    );
    assert!(
        (metric(&site, "millrace_import_set_aside_total{cause=\"invalid_json\",import=\"strict\"}") - 1.0).abs() < 0.1
    );
    let open = "select count(*) from system.import_failed_rows where not replayed and error_code = 'invalid_json' \
                and cast(data as varchar) = 'not json' and row_number = 11";
    assert_eq!(cli::sql_number(&site.server, open), 1);
    let replay = |arguments: &[&str]| {
        let arguments = [&["import", "replay", "strict", "--output", "json"], arguments].concat();
        let run = site.run(&arguments).ok().json();
        [&run["replayed"], &run["records"], &run["set_aside"]].map(|count| count.as_i64().expect("a number"))
    };
    assert_eq!(replay(&[]), [1, 0, 1], "nothing was mended: it is set aside again");
    assert_eq!(cli::sql_number(&site.server, open), 1);
    assert_eq!(replay(&["--as-is"]), [1, 1, 0]);
    assert_eq!(replay(&["--as-is"]), [0, 0, 0]);
    assert_eq!(cli::sql_number(&site.server, "select count(*) from system.import_failed_rows where replayed"), 2);
}

#[test]
fn what_arrives_in_a_bucket_is_imported_over_a_store_that_fails() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = S3Server::start(folder.path());
    let site = Site::start_with(|settings| {
        store
            .as_store(ServerSettings::new(&settings.data_dir))
            .env("MILLRACE_IMPORT_SOURCES", format!("s3://{BUCKET}/in"))
            .env("MILLRACE_IMPORT_RETRY_DELAY_MAX", "100ms")
    });
    let source = format!("s3://{BUCKET}/in/orders");
    let _said =
        apply(&site, &import_toml("orders", &source, "retries = 100\non_arrival = { poll_interval = \"100ms\" }")).ok();
    let bucket = store.bucket_folder().join("in/orders");
    store.faults.inject(seed::generator("imports"), 20, &[Fault::Error], 0);
    for file in 0..4 {
        place(&bucket.join(format!("day={file}")), "a.jsonl.gz", gzip(&lines(file * 500..(file + 1) * 500)));
    }
    wait::until("all records to arrive", DEADLINE, || (site.count("events") == 2000).then_some(()));
    store.faults.heal();
    let run = run(&site, "orders");
    assert_eq!((&run["failed"], &run["error"]), (&0.into(), &"".into()));
    check(&site, 2000);
    let triggers = "select count(*) from system.import_runs where trigger = 'arrival'";
    assert!(cli::sql_number(&site.server, triggers) >= 1);
    let said = apply(&site, &import_toml("other", &format!("s3://{BUCKET}/secret"), "")).failed();
    assert!(said.stderr.contains("import.sources"), "{}", said.stderr);
}

/// Both servers have a bucket of the same name, and each knows a key that the other does not.
#[test]
fn a_bucket_of_somebody_else_is_read_by_the_credentials_of_its_own_store() {
    const SECRET: &str = "a-secret-of-the-partner";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let own = S3Server::start(&folder.path().join("own"));
    let theirs = S3Server::start_with_key(&folder.path().join("theirs"), "partner", SECRET);
    let file = folder.path().join("millrace.toml");
    let stores = format!(
        "[stores.partner]\nurl = \"s3://{BUCKET}/drop\"\nendpoint = \"{}\"\naccess_key_id = \"partner\"\nallow_http = true\n",
        theirs.endpoint
    );
    std::fs::write(&file, stores).expect("the test's folder can be written");
    let site = Site::start_with(|settings| {
        own.as_store(ServerSettings::new(&settings.data_dir))
            .env("MILLRACE_CONFIG", file.display())
            .env("MILLRACE_STORES_PARTNER_SECRET_ACCESS_KEY", SECRET)
            .env("MILLRACE_IMPORT_SOURCES", format!("s3://{BUCKET}"))
    });
    place(&theirs.bucket_folder().join("drop/orders"), "a.jsonl.gz", gzip(&lines(0..100)));
    place(&own.bucket_folder().join("drop/orders"), "b.jsonl", lines(100..110));
    let source = format!("s3://{BUCKET}/drop/orders");
    let said = apply(&site, &import_toml("orders", &source, "store = \"partners\"")).failed();
    for words in ["import orders: store", "\"partners\"", "name partner "] {
        assert!(said.stderr.contains(words), "{}", said.stderr);
    }
    let elsewhere = import_toml("orders", &format!("s3://{BUCKET}/else"), "store = \"partner\"");
    let said = apply(&site, &elsewhere).failed();
    assert!(said.stderr.contains("stores.partner.url"), "{}", said.stderr);
    let imports = import_toml("orders", &source, "store = \"partner\"") + &import_toml("own", &source, "");
    let _said = apply(&site, &imports).ok();
    assert_eq!(run(&site, "orders")["records"], 100);
    assert_eq!(run(&site, "own")["records"], 10);
    check(&site, 110);
    let described = site.run(&["import", "describe", "orders"]).ok().stdout;
    assert!(described.contains("store = \"partner\"") && !described.contains(SECRET), "{described}");
}

#[test]
fn a_schedule_runs_by_itself_and_a_cap_holds_puts_back() {
    let (site, folder) = start();
    place(&folder, "a.jsonl", lines(0..3000));
    let source = format!("file://{}", folder.display());
    let more = "schedule = \"* * * * * *\"\ntime_zone = \"Europe/Berlin\"\nrecords_per_second_max = 2000";
    let _said = apply(&site, &import_toml("nightly", &source, more)).ok();
    wait::until("all records to arrive", DEADLINE, || (site.count("events") == 3000).then_some(()));
    check(&site, 3000);
    assert!(metric(&site, "millrace_import_rate_waits_total{import=\"nightly\"}") >= 1.0);
    wait::until("two runs by schedule", DEADLINE, || {
        let runs = "select count(*) from system.import_runs where trigger = 'schedule' and ended is not null";
        (cli::sql_number(&site.server, runs) >= 2).then_some(())
    });
    let paused = site.run(&["import", "pause", "nightly", "--output", "json"]).ok().json();
    assert_eq!(paused["state"], "paused");
    let said = site.run(&["import", "run", "nightly"]).failed();
    assert!(said.stderr.contains("paused"), "{}", said.stderr);
    check(&site, 3000);
    let _said = site.run(&["import", "resume", "nightly"]).ok();
    let _said = site.run(&["import", "delete", "nightly", "--yes"]).ok();
    let said = site.run(&["import", "describe", "nightly"]).failed();
    assert!(said.stderr.contains("no import is named nightly"), "{}", said.stderr);
}

#[test]
fn a_backup_of_source_records_comes_back_into_a_stream_with_its_keys_and_bytes() {
    let site = Site::start();
    let pipeline = r#"
[[stream]]
name = "old"
[[stream]]
name = "new"
shards = 3
[[delivery]]
name = "old"
stream = "old"
[delivery.backup]
[[delivery]]
name = "new"
stream = "new"
[[import]]
name = "back"
stream = "new"
source = "file://LAKE/backup/old"
format = "source_backup"
min_age = "0s"
"#;
    let file = site.folder().join("back.toml");
    let toml = pipeline.replace("LAKE", text(&site.lake));
    std::fs::write(&file, toml).expect("the test's folder can be written");
    let _said = site.run(&["apply", "-f", text(&file)]).ok();
    for batch in 0..3 {
        site.put_lines("old", (batch * 100..(batch + 1) * 100).map(|id| format!("{{\"id\": {id}}}")));
        site.flush("old");
    }
    let run = run(&site, "back");
    assert_eq!((&run["records"], &run["set_aside"]), (&300.into(), &0.into()));
    site.flush("new");
    let same = "select count(*) from old join new on old.id = new.id and old._partition_key = new._partition_key";
    assert_eq!(cli::sql_number(&site.server, same), 300);
    assert_eq!(site.count("new"), 300);
}

#[test]
fn an_import_may_what_its_declarer_may() {
    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let site = Site::start_with(|settings| {
        let (file, folder) = (settings.data_dir.with_file_name("master.key"), settings.data_dir.with_file_name("in"));
        std::fs::create_dir_all(&folder).expect("the test's folder can be written");
        std::fs::write(&file, KEY).expect("the test's folder can be written");
        settings
            .env("MILLRACE_AUTH", "on")
            .env("MILLRACE_ENCRYPTION_MASTER_KEY_FILE", file.display())
            .env("MILLRACE_IMPORT_SOURCES", format!("file://{}", folder.display()))
    });
    let folder = site.folder().join("in");
    let as_who =
        |token: &str, arguments: &[&str]| cli::millrace_with(&site.server, &[("MILLRACE_TOKEN", token)], arguments);
    let create = |token: &str, arguments: &[&str]| {
        let arguments = [&["principal", "create", "--output", "json"], arguments].concat();
        as_who(token, &arguments).ok().json()["token"].as_str().expect("a token").to_owned()
    };
    let root = create("", &["root"]);
    let _said = as_who(&root, &["stream", "create", "events"]).ok();
    let loader = create(&root, &["loader", "--grant", "* on import/load-*"]);
    let file = site.folder().join("load.toml");
    let declare = |name: &str| {
        let toml = import_toml(name, &format!("file://{}", folder.display()), "");
        std::fs::write(&file, toml).expect("the test's folder can be written");
        as_who(&loader, &["apply", "-f", text(&file)])
    };
    let said = declare("other").failed();
    assert!(said.stderr.contains("create_import"), "{}", said.stderr);
    let said = declare("load-1").failed();
    assert!(said.stderr.contains("may not put"), "{}", said.stderr);
    let _said = as_who(&root, &["principal", "grant", "loader", "put", "stream/events"]).ok();
    let _said = declare("load-1").ok();
    place(&folder, "a.jsonl", lines(0..10));
    let described = as_who(&loader, &["import", "run", "load-1", "--wait", "--output", "json"]).ok().json();
    assert_eq!((&described["owner"], &described["last_run"]["records"]), (&"loader".into(), &10.into()));
    assert!((metric(&site, "millrace_principals_incoming_records_total{principal=\"loader\"}") - 10.0).abs() < 0.1);

    let _said = as_who(&root, &["principal", "revoke", "loader", "put", "stream/events"]).ok();
    place(&folder, "b.jsonl", lines(10..20));
    let said = as_who(&root, &["import", "run", "load-1", "--wait"]).failed();
    assert!(said.stderr.contains("principal loader may not put"), "{}", said.stderr);
    let _said = as_who(&root, &["principal", "grant", "loader", "put", "stream/events"]).ok();
    let described = as_who(&loader, &["import", "run", "load-1", "--wait", "--output", "json"]).ok().json();
    assert_eq!(described["last_run"]["records"], 10);
    let outsider = create(&root, &["outsider", "--grant", "put on stream/events"]);
    let said = as_who(&outsider, &["import", "run", "load-1"]).failed();
    assert!(said.stderr.contains("may not update_import"), "{}", said.stderr);
}
