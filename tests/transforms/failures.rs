//! A module that traps, loops, eats memory or answers wrong costs its own records alone: the stream goes on, the cause is told,
//! and other deliveries do not notice.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use millrace_tests::site::{Site, text};
use millrace_tests::templates;

use crate::site::{apply, set_aside, transform};

/// By the letter after `{"do":"`.
const ASKED: &str = r#"
#include "millrace.h"
static millrace_outcome millrace_transform(const millrace_record *record) {
  const uint8_t *bytes = record->data.bytes;
  size_t len = record->data.len;
  switch (bytes[7]) {
  case 't': __builtin_trap();
  case 'l': for (volatile int ever = 0;; ever++) {}
  case 'm': for (;;) millrace_alloc(1 << 20, 8);
  case 'f': return millrace_failed("not wanted");
  case 'd': return millrace_dropped();
  case 'u': return millrace_failed("\xff\xfe");
  case 'b': {
    millrace_output *outputs = millrace_alloc(1600 * sizeof *outputs, 8);
    uint8_t *large = millrace_alloc(1 << 16, 8);
    for (int index = 0; index < 1600; index++) outputs[index].data = (millrace_bytes){large, 1 << 16};
    return millrace_ok_many(outputs, 1600);
  }
  default: return millrace_ok(bytes, len);
  }
}
"#;

#[test]
fn bad_records_are_set_aside_with_their_cause_and_the_stream_goes_on() {
    let site = Site::start_with(|settings| {
        settings
            .env("MILLRACE_TRANSFORM_WASM_FUEL_MAX", 20_000_000)
            .env("MILLRACE_TRANSFORM_WASM_MEMORY_BYTES_MAX", "16MiB")
    });
    let _pushed = transform(&site, &["push", "asked", text(&templates::build_c(ASKED))]);
    let _said = apply(&site, "events", r#"[{ type = "wasm", module = "asked" }]"#).ok();
    let _said = apply(&site, "calm", r#"["split"]"#).ok();
    let what = |id: u64| match id % 100 {
        11 => "trap",
        23 => "loop",
        37 => "memory",
        41 => "fail",
        53 => "drop",
        67 => "utf8",
        79 => "big",
        _ => "keep",
    };
    let line = |id: u64| format!("{{\"do\":\"{}\",\"id\":{id}}}", what(id));
    let _said = site.put_lines("events", (0..300).map(line));
    let _said = site.put_lines("calm", (0..300).map(line));
    site.flush("calm");
    assert_eq!(site.number("select count(*) from calm"), 300);
    site.flush("events");

    let kept = (0..300).filter(|id| what(*id) == "keep").count() as i64;
    assert_eq!(site.number("select count(*) from events"), kept);
    assert_eq!(site.number("select count(*) from events where \"do\" <> 'keep'"), 0);
    let mut causes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in set_aside(&site) {
        let data = BASE64_STANDARD.decode(record["rawData"].as_str().expect("text")).expect("base64");
        let data: serde_json::Value = serde_json::from_slice(&data).expect("the record's own bytes");
        let message = record["errorMessage"].as_str().expect("a message").to_owned();
        causes.entry(data["do"].as_str().expect("text").to_owned()).or_default().push(message);
    }
    let told = |bad: &str, words: &str| {
        let messages = causes.get(bad).unwrap_or_else(|| panic!("{bad} is not among {causes:?}"));
        assert_eq!(messages.len(), 3, "{bad}: {messages:?}");
        assert!(messages.iter().all(|message| message.contains(words)), "{bad}: {messages:?}");
    };
    told("trap", "trapped");
    told("loop", "more than its fuel of 20000000");
    told("memory", "more than its memory of 16777216 bytes");
    told("fail", "not wanted");
    told("utf8", "utf-8");
    told("big", "module asked@1");
    assert_eq!(causes.len(), 6, "{causes:?}");
    assert_eq!(site.number("select dropped from system.deliveries where delivery = 'events'"), 3);
    let _proof = site.run(&["verify", "events"]).ok();

    let metrics = site.server.http_get("/metrics").1;
    for fault in ["trap", "fuel", "memory", "answer"] {
        let counted = format!("millrace_transform_wasm_faults_total{{fault=\"{fault}\",module=\"asked\"}}");
        assert!(metrics.contains(&counted), "{fault}: {metrics}");
    }
    assert!(metrics.contains("millrace_transform_wasm_calls 0"), "{metrics}");
    let _said = site.put_lines("events", (300..310).map(|id| format!("{{\"do\":\"keep\",\"id\":{id}}}")));
    site.flush("events");
    assert_eq!(site.number("select count(*) from events"), kept + 10, "the stream goes on");
}
