//! A producer's batches are stored once, though the server is killed while they are under way.

use std::process::{Command, Stdio};
use std::time::Duration;

use millrace_tests::cli;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::server::program;
use millrace_tests::site::{Site, text};
use millrace_tests::wait;

const LINES: u32 = 6000;

#[test]
fn a_put_goes_on_over_killed_servers_and_stores_each_line_once() {
    let mut site = Site::start_with(|settings| settings.on_fixed_port());
    site.apply(&Pipeline::new("events"));
    let file = site.folder().join("lines.jsonl");
    let lines: String = (0..LINES).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    std::fs::write(&file, lines).expect("the test's folder can be written");
    let put = Command::new(program())
        .args(["put", "events", text(&file), "--rate", "1500", "--output", "json"])
        .env("MILLRACE_ENDPOINT", site.server.endpoint())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    for _ in 0..3 {
        // The count begins anew with each server.
        wait::until("records to arrive", Duration::from_secs(60), || {
            let metrics = site.server.http_get("/metrics").1;
            let line = metrics.lines().find(|line| line.starts_with("millrace_log_records_total "))?;
            let records: f64 = line.split(' ').nth(1)?.parse().ok()?;
            (records > 300.0).then_some(())
        });
        site.server.kill();
        site.server.restart();
    }
    let said = put.wait_with_output().expect("the program ends");
    let (stdout, stderr) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{stdout}\n{stderr}");
    let summary: serde_json::Value = serde_json::from_str(&stdout).expect("a summary");
    assert_eq!(
        (summary["records"].as_u64(), summary["failed"].as_u64()),
        (Some(u64::from(LINES)), Some(0)),
        "{stdout}"
    );
    assert_eq!(site.count("events"), i64::from(LINES));
    assert_eq!(cli::sql_number(&site.server, "select count(distinct id) from events"), i64::from(LINES));
    site.flush("events");
    assert_eq!(site.count("events"), i64::from(LINES));
    let _proof = site.run(&["verify", "events"]).ok();
}
