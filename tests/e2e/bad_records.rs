//! Records that cannot become rows: each is set aside with its cause and its bytes, the stream goes on, nothing is lost.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use millrace_proto::v1::CreateStreamRequest;
use millrace_tests::cli;
use millrace_tests::grpc;
use millrace_tests::listing;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::site::Site;
use serde_json::Value;

/// What is put, and how many rows and set-aside records it becomes.
struct Case {
    name: &'static str,
    data: Vec<u8>,
    rows: u64,
    set_aside: u64,
}

fn case(name: &'static str, data: impl Into<Vec<u8>>, rows: u64, set_aside: u64) -> Case {
    Case { name, data: data.into(), rows, set_aside }
}

fn nested(depth: usize) -> String {
    format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_records_are_set_aside_with_their_bytes_and_good_ones_go_on() {
    let site = Site::start();
    site.apply(&Pipeline::new("events"));
    let mut truncated = b"{\"id\":5,\"name\":\"".to_vec();
    truncated.extend([0xe2, 0x82]); // Two of the three bytes of a euro sign.
    let cases = [
        case("an object", "{\"id\":1,\"name\":\"good\"}", 1, 0),
        case("an object with its line end", "{\"id\":2,\"name\":\"good\"}\n", 1, 0),
        case("objects end to end", "{\"id\":3}{\"id\":4}{\"id\":5}", 3, 0),
        case("lines", "{\"id\":6}\n{\"id\":7}\n", 2, 0),
        case("an array of objects", "[{\"id\":8},{\"id\":9}]", 2, 0),
        case("no JSON", "certainly not json", 0, 1),
        case("half an object", "{\"id\":1", 0, 1),
        case("truncated UTF-8", truncated, 0, 1),
        case("a number", "42", 0, 1),
    ];
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let records = cases.iter().map(|case| (case.name.to_owned(), case.data.clone()));
    let answer = grpc::records(&channel).put(grpc::put_request("events", records)).await.expect("any bytes are taken");
    assert_eq!(answer.into_inner().failed_count, 0, "the log takes any bytes");
    site.flush("events");

    let rows: u64 = cases.iter().map(|case| case.rows).sum();
    let wanted: u64 = cases.iter().map(|case| case.set_aside).sum();
    assert_eq!(site.count("events") as u64, rows);
    let set_aside = set_aside(&site);
    assert_eq!(set_aside.len() as u64, wanted, "{set_aside:?}");
    for case in cases.iter().filter(|case| case.set_aside > 0) {
        let found = set_aside.get(case.name).unwrap_or_else(|| panic!("{} was not set aside", case.name));
        let bytes =
            BASE64_STANDARD.decode(found["rawData"].as_str().expect("rawData is text")).expect("rawData is base64");
        let expected = [case.data.clone(), [case.data.clone(), b"\n".to_vec()].concat()];
        assert!(expected.contains(&bytes), "{}: other bytes were set aside", case.name);
        assert!(found["errorCode"].as_str().is_some_and(|code| !code.is_empty()), "{found}");
        assert!(found["errorMessage"].as_str().is_some_and(|message| !message.is_empty()), "{found}");
    }
    let proof = site.run(&["verify", "events"]).ok();
    eprintln!("{}", proof.stdout);
    let description = site.run(&["delivery", "describe", "events", "--output", "json"]).ok();
    assert!(description.stdout.contains("set_aside"), "the count is told:\n{}", description.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_shapes_keep_their_values_or_are_set_aside() {
    let site = Site::start();
    site.apply(&Pipeline::new("shapes"));
    let wide = (0..10_000).map(|i| format!("\"c{i}\":{i}")).collect::<Vec<_>>().join(",");
    let shapes = [
        ("first", "{\"id\":1,\"n\":1,\"s\":\"x\",\"o\":{\"a\":1}}".to_owned()),
        ("wider number", "{\"id\":2,\"n\":1.5}".to_owned()),
        ("number for text", "{\"id\":3,\"s\":17}".to_owned()),
        ("text for number", "{\"id\":4,\"n\":\"many\"}".to_owned()),
        ("text for object", "{\"id\":5,\"o\":\"flat\"}".to_owned()),
        ("new nested field", "{\"id\":6,\"o\":{\"b\":true}}".to_owned()),
        ("64 deep", nested(64)),
        ("10,000 deep", nested(10_000)),
        ("10,000 columns", format!("{{{wide}}}")),
        ("a key of odd letters", "{\"id\":7,\"ключ \\u0001\":\"значение\"}".to_owned()),
        ("a system column's name", "{\"id\":8,\"_offset\":\"mine\"}".to_owned()),
        ("the same key twice", "{\"id\":9,\"id\":10}".to_owned()),
        ("an empty object", "{}".to_owned()),
    ];
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    for (key, data) in &shapes {
        let request = grpc::put_request("shapes", [((*key).to_owned(), data.clone().into_bytes())]);
        let answer = grpc::records(&channel).put(request).await.expect("any bytes are taken").into_inner();
        assert_eq!(answer.failed_count, 0, "{key}");
    }
    site.flush("shapes");
    let rows = site.count("shapes");
    let set_aside = set_aside(&site);
    assert_eq!(rows as usize + set_aside.len(), shapes.len(), "each is a row or set aside: {:?}", set_aside.keys());
    assert!(rows >= 6, "only {rows} of the shapes became rows; set aside: {:?}", set_aside.keys());
    let _proof = site.run(&["verify", "shapes"]).ok();
    // The stream goes on.
    site.put_lines("shapes", ["{\"id\":11}".to_owned()]);
    site.flush("shapes");
    assert_eq!(site.count("shapes"), rows + 1);
    assert_eq!(cli::sql_number(&site.server, "select id from shapes where id = 11"), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_a_delivery_keeps_any_bytes() {
    let site = Site::start();
    let channel = grpc::connect(&site.server.endpoint()).await.expect("the server listens");
    let request = CreateStreamRequest { name: "raw".to_owned(), ..CreateStreamRequest::default() };
    grpc::streams(&channel).create_stream(request).await.expect("a stream can be created");
    let data: Vec<u8> = (0..=255).collect();
    let request = grpc::put_request("raw", [("k".to_owned(), data.clone())]);
    grpc::records(&channel).put(request).await.expect("any bytes are taken");
    let position = millrace_proto::v1::Position {
        position: Some(millrace_proto::v1::position::Position::TrimHorizon(Default::default())),
    };
    let request = millrace_proto::v1::GetRequest {
        stream: "raw".to_owned(),
        shard: 0,
        position: Some(position),
        ..Default::default()
    };
    let records = grpc::records(&channel).get(request).await.expect("it can be read").into_inner().records;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].data, data);
}

/// The set-aside records below the lake, by partition key.
fn set_aside(site: &Site) -> BTreeMap<String, Value> {
    let files = listing::files(&site.lake, "jsonl");
    let lines = files.iter().flat_map(|path| {
        let text = std::fs::read_to_string(path).expect("a set-aside file is text");
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON")).collect::<Vec<_>>()
    });
    lines.map(|line| (line["partitionKey"].as_str().unwrap_or_default().to_owned(), line)).collect()
}
