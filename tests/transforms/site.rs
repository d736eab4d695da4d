//! What these tests ask of a site: deliveries with steps, and the commands of `millrace transform`.

use millrace_tests::cli::Said;
use millrace_tests::listing;
use millrace_tests::site::{Site, text};
use serde_json::Value;

/// The answer of a command of `millrace transform`, as JSON.
pub(crate) fn transform(site: &Site, arguments: &[&str]) -> Value {
    site.run(&[&["transform"], arguments, &["--output", "json"]].concat()).ok().json()
}

/// Declares the stream `name` with a table and a delivery of the same name and these steps.
pub(crate) fn apply(site: &Site, name: &str, transforms: &str) -> Said {
    let file = site.write("pipeline.toml", pipeline(name, transforms));
    site.run(&["apply", "-f", text(&file)])
}

/// The records that a delivery set aside, as they lie in the store.
pub(crate) fn set_aside(site: &Site) -> Vec<Value> {
    let files = listing::files(&site.lake, "jsonl");
    let lines = files.iter().flat_map(|path| {
        let text = std::fs::read_to_string(path).expect("a set-aside file is text");
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect::<Vec<Value>>()
    });
    lines.collect()
}

fn pipeline(name: &str, transforms: &str) -> String {
    format!(
        r#"
[[stream]]
name = "{name}"
shards = 1
[stream.quota]
in_bytes_per_second = "off"
in_records_per_second = "off"
out_bytes_per_second = "off"

[[table]]
name = "{name}"

[[delivery]]
name = "{name}"
stream = "{name}"
table = "{name}"
transforms = {transforms}
buffer_interval = "900s"
"#
    )
}
