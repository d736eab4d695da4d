//! `millrace stream copy`: a range of a stream into another one, each record once, whoever is killed on the way.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use millrace_proto::v1::{GetRequest, Position, position};
use millrace_tests::server::program;
use millrace_tests::{grpc, wait};

use millrace_tests::site::{Site, text};

const RECORDS: u32 = 6_000;
const KEYS: u32 = 16;
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_killed_over_and_over_holds_each_record_once() {
    let mut site = Site::start_with(millrace_tests::server::ServerSettings::on_fixed_port);
    for (stream, shards) in [("flights", "2"), ("again", "3")] {
        let create = ["stream", "create", stream, "--shards", shards, "--in-records-per-second", "off"];
        let _said =
            site.run(&[&create[..], &["--in-bytes-per-second", "off", "--out-bytes-per-second", "off"]].concat()).ok();
    }
    put(&site, 0..RECORDS).await;
    let file = site.folder().join("copy.json");
    // What comes after it began is none of the copy's.
    let mut child = copy(&site, &file);
    moved(&mut child, &file, None);
    put(&site, RECORDS..RECORDS + 100).await;
    for round in 0..8 {
        let before = std::fs::read(&file).ok();
        moved(&mut child, &file, before.as_deref());
        if round % 3 == 0 {
            // The copy waits for the server, and goes on.
            site.server.kill();
            site.server.restart();
        } else {
            child.kill().expect("the copy runs");
            let _status = child.wait().expect("it was killed");
            child = copy(&site, &file);
        }
    }
    let ended = child.wait_with_output().expect("the copy ends");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}\n{}", String::from_utf8_lossy(&ended.stderr));
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["records"], RECORDS);
    assert!(!file.exists(), "the progress is removed at the end");

    let copied = read(&site, "again", 3).await;
    assert_eq!(copied.values().map(Vec::len).sum::<usize>(), RECORDS as usize);
    for (key, numbers) in copied {
        let expected: Vec<u32> = (0..RECORDS).filter(|number| format!("k{}", number % KEYS) == key).collect();
        assert_eq!(numbers, expected, "{key} in its order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_of_time_is_copied_and_what_fits_no_copy_is_told() {
    let site = Site::start();
    for stream in ["flights", "again"] {
        let _said = site.run(&["stream", "create", stream]).ok();
    }
    for first in [0, 10, 20] {
        put(&site, first..first + 10).await;
        let now = SystemTime::now();
        wait::until("a later millisecond", DEADLINE, || {
            let passed = SystemTime::now().duration_since(now).unwrap_or_default();
            (passed > Duration::from_millis(1)).then_some(())
        });
    }
    let all = site.run(&["tail", "flights", "--from", "trim-horizon", "-n", "30", "--output", "json"]).ok().json();
    let arrival = |number: usize| all[number]["arrival_time"].as_str().expect("a record has a time").to_owned();
    let file = site.folder().join("range.json");
    let (from, to) = (arrival(10), arrival(20));
    let range = ["--from", &from, "--to", &to, "--progress", text(&file)];
    let said =
        site.run(&[&["stream", "copy", "flights", "again"][..], &range, &["--output", "json"]].concat()).ok().json();
    assert_eq!(said["records"], 10);
    let mut copied: Vec<u32> = read(&site, "again", 1).await.into_values().flatten().collect();
    copied.sort_unstable();
    assert_eq!(copied, (10..20).collect::<Vec<_>>());

    let missing = site.run(&["stream", "copy", "flights", "nowhere", "--progress", text(&file)]).failed();
    assert!(missing.stderr.contains("nowhere"), "{}", missing.stderr);
    assert!(!file.exists(), "a copy that did not begin leaves no progress");
    std::fs::write(&file, "not json").expect("the test's folder can be written");
    let broken = site.run(&["stream", "copy", "flights", "again", "--progress", text(&file)]).failed();
    assert!(broken.stderr.contains("not the progress of a copy"), "{}", broken.stderr);
}

async fn put(site: &Site, numbers: std::ops::Range<u32>) {
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let numbers: Vec<u32> = numbers.collect();
    for batch in numbers.chunks(500) {
        let records = batch.iter().map(|number| (format!("k{}", number % KEYS), number.to_string().into_bytes()));
        let answer = grpc::records(&channel).put(grpc::put_request("flights", records)).await.expect("it is taken");
        assert_eq!(answer.into_inner().failed_count, 0);
    }
}

/// The numbers of each partition key, shard by shard in the order of offsets.
async fn read(site: &Site, stream: &str, shards: u32) -> BTreeMap<String, Vec<u32>> {
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let mut found: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for shard in 0..shards {
        let mut next = 0;
        loop {
            let position = Some(Position { position: Some(position::Position::Offset(next)) });
            let request = GetRequest { stream: stream.to_owned(), shard, position, ..GetRequest::default() };
            let page = grpc::records(&channel).get(request).await.expect("the stream can be read").into_inner();
            if page.records.is_empty() {
                break;
            }
            next = page.next_offset;
            for record in page.records {
                let number = String::from_utf8_lossy(&record.data).parse().expect("a number");
                found.entry(record.partition_key).or_default().push(number);
            }
        }
    }
    found
}

fn copy(site: &Site, file: &Path) -> Child {
    Command::new(program())
        .args(["stream", "copy", "flights", "again", "--records-per-second", "8000", "--output", "json"])
        .args(["--progress", text(file)])
        .env("MILLRACE_ENDPOINT", site.server.endpoint())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs")
}

/// Waits until the progress is another one than it was, or the copy has ended.
fn moved(child: &mut Child, file: &Path, before: Option<&[u8]>) {
    wait::until("the copy to get on", DEADLINE, || {
        let ended = child.try_wait().expect("a child can be asked").is_some();
        let now = std::fs::read(file).ok();
        (ended || (now.is_some() && now.as_deref() != before)).then_some(())
    });
}
