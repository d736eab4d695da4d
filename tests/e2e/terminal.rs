//! The command line at a terminal: what moves while `put` runs, and what Ctrl-C does to it. The terminal is the one that
//! `script` makes.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use millrace_tests::server::{program, signal};
use millrace_tests::site::{Site, text};
use millrace_tests::wait;
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);
const LINES: u32 = 20_000;

/// A site with a stream `events` without quotas, and a file of lines for it.
fn site() -> (Site, PathBuf) {
    let site = Site::start();
    let limits = ["--in-bytes-per-second", "off", "--in-records-per-second", "off"];
    let _said = site.run(&[&["stream", "create", "events"][..], &limits].concat()).ok();
    let file = site.folder().join("lines.jsonl");
    // Large enough that it is not read at once, ahead of what is put.
    let text = "x".repeat(1000);
    let lines: String = (0..LINES).map(|id| format!("{{\"id\":{id},\"text\":\"{text}\"}}\n")).collect();
    std::fs::write(&file, lines).expect("the test's folder can be written");
    (site, file)
}

/// A put of the file that takes its time.
fn slow_put(site: &Site, file: &str) -> Child {
    Command::new(program())
        .args(["put", "events", file, "--rate", "500", "--output", "json"])
        .env("MILLRACE_ENDPOINT", site.server.endpoint())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Records that the stream holds.
fn stored(site: &Site) -> u64 {
    let described = site.run(&["stream", "describe", "events", "--output", "json"]).ok().json();
    described["shards"][0]["next_offset"].as_u64().expect("an offset")
}

fn wait_stored(site: &Site, least: u64) {
    wait::until("records to arrive", DEADLINE, || (stored(site) >= least).then_some(()));
}

#[test]
fn a_put_shows_its_progress_at_a_terminal_and_nowhere_else() {
    let (site, file) = site();
    let put = format!("stty cols 100 rows 30; exec {} put events {} --rate 10000", text(&program()), text(&file));
    let seen = Command::new("script")
        .args(["--quiet", "--return", "--flush", "--command", &put, "/dev/null"])
        .env("MILLRACE_ENDPOINT", site.server.endpoint())
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .expect("script makes a terminal");
    let shown = String::from_utf8_lossy(&seen.stdout);
    assert!(seen.status.success(), "{shown}");
    let percents: Vec<u32> = shown.split('%').filter_map(|part| part.rsplit(' ').next()?.parse().ok()).collect();
    assert!(percents.iter().any(|percent| (1..100).contains(percent)), "{shown:?}");
    assert!(percents.is_sorted(), "{percents:?}");
    assert!(shown.contains("20,000 records") && shown.contains("0 failed"), "{shown:?}");

    let piped = site.run(&["put", "events", text(&file), "--rate", "20000"]).ok();
    assert!(piped.stderr.is_empty(), "{:?}", piped.stderr);
    assert!(!piped.stdout.contains(['%', '\u{1b}']), "{:?}", piped.stdout);
}

#[test]
fn an_interrupted_put_counts_what_is_durable_and_says_that_it_was_interrupted() {
    let (site, file) = site();
    let put = slow_put(&site, text(&file));
    wait_stored(&site, 200);
    signal(put.id(), "INT");
    let said = put.wait_with_output().expect("the program ends");
    let stderr = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted; what is counted above is durable"), "{stderr}");
    let summary: Value = serde_json::from_slice(&said.stdout).expect("a summary");
    let records = summary["records"].as_u64().expect("a count");
    assert!((200..u64::from(LINES)).contains(&records), "{summary}");
    assert_eq!((summary["failed"].as_u64(), stored(&site)), (Some(0), records), "{summary}");
}

/// The server stands still, so that what was sent is not answered.
#[test]
fn a_second_interrupt_leaves_at_once() {
    let (site, file) = site();
    let mut put = slow_put(&site, text(&file));
    wait_stored(&site, 100);
    signal(site.server.pid(), "STOP");
    signal(put.id(), "INT");
    // The first one waits for answers. It may come before the second is listened for, so the second is sent until it works.
    let status = wait::until("the put to leave", DEADLINE, || {
        let ended = put.try_wait().expect("the process is ours");
        if ended.is_none() {
            drop(Command::new("bash").arg("-c").arg(format!("kill -INT {}", put.id())).status());
        }
        ended
    });
    signal(site.server.pid(), "CONT");
    assert_eq!(status.code(), Some(130));
    let said = put.wait_with_output().expect("its output is there");
    assert!(said.stdout.is_empty(), "nothing is claimed: {}", String::from_utf8_lossy(&said.stdout));
}
