//! CSV, lines and whole records become tables: declared, put, queried at once, set aside, mended and replayed.

use millrace_tests::{cli, grpc};
use serde_json::json;

use millrace_tests::site::{Site, text};

const PIPELINE: &str = r#"
[[stream]]
name = "trips"
[[stream]]
name = "notes"
[[stream]]
name = "blobs"

[[table]]
name = "trips"
schema_policy = "reject"
time = { field = "began_at", format = "%Y-%m-%d %H:%M:%S" }
column = [
    { name = "began_at", type = "timestamptz" }, { name = "vendor", type = "int" }, { name = "fare", type = "decimal(9,2)" },
    { name = "note", type = "string" },
]

[[delivery]]
name = "trips"
stream = "trips"
input = { format = "csv", null = "NULL" }
buffer_interval = "900s"

[[delivery]]
name = "notes"
stream = "notes"
input = "lines"
buffer_interval = "900s"

[[delivery]]
name = "blobs"
stream = "blobs"
input = "raw"
buffer_interval = "900s"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_not_json_become_tables() {
    let mut site = Site::start();
    let apply = |site: &Site, toml: &str| {
        let file = site.folder().join("inputs.toml");
        std::fs::write(&file, toml).expect("the test's folder can be written");
        site.run(&["apply", "-f", text(&file)]).ok()
    };
    let _said = apply(&site, PIPELINE);
    let trips = "2013-01-01 10:00:00,1,12.50,\"late, \"\"very\"\"\"\n2013-01-01 11:00:00,NULL,NULL,NULL\n\
                 2013-01-01 11:00:00,2,12.505,too many digits\n2013-01-01 11:30:00,2,7,\n";
    let puts: [(&str, Vec<u8>); 4] = [
        ("trips", trips.into()),
        ("trips", b"2013-01-01 12:00:00,3,1.00,\"never closed\n".to_vec()),
        ("notes", b"one\ntwo\n".to_vec()),
        ("blobs", vec![0xFF, 0x00]),
    ];
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    for (stream, data) in puts {
        let put = grpc::put_request(stream, [("key".to_owned(), data)]);
        assert_eq!(grpc::records(&channel).put(put).await.expect("any bytes are taken").into_inner().failed_count, 0);
    }
    let query = "select vendor, cast(fare as varchar) as fare, note from trips order by began_at, note";
    let expected = [
        json!({ "vendor": 1, "fare": "12.50", "note": "late, \"very\"" }),
        json!({ "vendor": null, "fare": null, "note": null }),
        json!({ "vendor": 2, "fare": "7.00", "note": "" }),
    ];
    let rows = |site: &Site| {
        let rows = cli::sql(&site.server, query);
        rows.into_iter()
            .map(|row| json!({ "vendor": row["vendor"], "fare": row["fare"], "note": row["note"] }))
            .collect::<Vec<_>>()
    };
    assert_eq!(rows(&site), expected, "before any delivery");
    for name in ["trips", "notes", "blobs"] {
        site.flush(name);
        let _proof = site.run(&["verify", name]).ok();
    }
    assert_eq!(rows(&site), expected, "from the table");
    assert_eq!(
        cli::sql(&site.server, "select value from notes order by value"),
        [json!({"value": "one"}), json!({"value": "two"})]
    );
    assert_eq!(
        cli::sql_number(&site.server, "select count(*) from blobs where arrow_cast(value, 'Binary') = x'ff00'"),
        1
    );

    let failed = "select error_code, count(*) as n from system.failed_records where not replayed group by 1 order by 1";
    let causes = cli::sql(&site.server, failed);
    assert_eq!(causes, [json!({"error_code": "invalid_csv", "n": 1}), json!({"error_code": "type_conflict", "n": 1})]);
    let bytes = cli::sql(
        &site.server,
        "select cast(data as varchar) as data from system.failed_records where error_code = 'type_conflict'",
    );
    assert_eq!(bytes[0]["data"], "2013-01-01 11:00:00,2,12.505,too many digits", "the row alone");

    // A format without quotes takes the row that no quote closes; a restart comes between.
    let plain = PIPELINE.replace("null = \"NULL\"", "null = \"NULL\", quote = \"\"");
    let said = apply(&site, &plain);
    assert!(said.stdout.contains("quote"), "the change is shown: {}", said.stdout);
    site.server.kill();
    site.server.restart();
    let _said = site.run(&["replay", "trips"]).ok();
    assert_eq!(site.count("trips"), 4);
    assert_eq!(cli::sql(&site.server, failed), [json!({"error_code": "type_conflict", "n": 1})]);
    let _proof = site.run(&["verify", "trips"]).ok();
}
