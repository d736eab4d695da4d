//! Applying a pipeline: idempotent, with a diff where it changes something, and refused with a place where it is wrong.

use millrace_tests::pipeline::Pipeline;
use millrace_tests::site::{Site, text};

#[test]
fn a_second_apply_changes_nothing_and_says_so() {
    let site = Site::start();
    let pipeline = Pipeline::new("events");
    let first = site.apply(&pipeline);
    assert!(first.stdout.contains("created"), "{}", first.stdout);
    let second = site.apply(&pipeline);
    assert!(second.stdout.contains("unchanged") && !second.stdout.contains("created"), "{}", second.stdout);
}

#[test]
fn a_changed_file_shows_its_diff() {
    let site = Site::start();
    site.apply(&Pipeline::new("events"));
    let mut changed = Pipeline::new("events");
    changed.buffer_interval = "30s";
    let said = site.apply(&changed);
    assert!(said.stdout.contains("updated"), "{}", said.stdout);
    for line in said.stdout.lines().filter(|line| line.contains("buffer_interval")) {
        assert!(line.trim_start().starts_with(['-', '+']), "not a diff line: {line:?}");
    }
    assert!(said.stdout.contains("30s"), "{}", said.stdout);
}

#[test]
fn a_wrong_pipeline_is_refused_whole_with_the_place() {
    let site = Site::start();
    let good = Pipeline::new("events").toml();
    let cases = [
        (good.replace("name = \"events\"", "name = \"two words\""), "two words"),
        (good.replace("buffer_size", "bufer_size"), "bufer_size"),
        (good.replace("64MiB", "129MiB"), "128"),
        (good.replace("64MiB", "1023KiB"), "1"),
        (good.replace("900s", "901s"), "900"),
        (good.replace("\"newline\"", "\"no_such_transform\""), "no_such_transform"),
        (good.replace("format = \"parquet\"", "format = \"csv\""), "csv"),
        (good.replace("stream = \"events\"", "stream = \"absent\""), "absent"),
        (good.replace("168h", "59m"), "retention"),
        (good.replace("168h", "8761h"), "retention"),
        (good.replace("shards = 2", "shards = 0"), "shard"),
        ("not toml [".to_owned(), "toml"),
    ];
    for (toml, wanted) in cases {
        let file = site.folder().join("wrong.toml");
        std::fs::write(&file, &toml).expect("the test's folder can be written");
        let said = site.run(&["apply", "-f", text(&file)]).failed();
        assert!(said.stderr.to_lowercase().contains(wanted), "the refusal lacks {wanted:?}:\n{}", said.stderr);
    }
    let streams = site.run(&["stream", "list", "--output", "json"]).ok();
    assert!(!streams.stdout.contains("\"name\""), "a refused pipeline left something behind:\n{}", streams.stdout);
}
