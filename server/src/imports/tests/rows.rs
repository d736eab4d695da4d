//! Rows that cannot be records, and objects that cannot be read.

use millrace_storage::meta::keys::import::ImportObjectState;

use super::site::{Site, expected, lines, pipeline};
use crate::imports::ImportSettings;

#[tokio::test]
async fn a_bad_row_is_set_aside_with_its_place_and_cause() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", format!("{}no\n{}{{\"id\":\n", lines(0..3), lines(3..4))).await;
    let import = process.imports.run("i", false, true).await.unwrap();
    let counts = import.last_run.unwrap().counts;
    assert_eq!((counts.imported, counts.failed, counts.records, counts.set_aside), (1, 0, 4, 2));
    assert_eq!(process.records().await, expected(&[&lines(0..4)]));
    let aside = site.set_aside().await;
    let told: Vec<_> =
        aside.iter().map(|line| (line["row"].as_u64().unwrap(), line["rawData"].as_str().unwrap())).collect();
    assert_eq!(told, [(4, "bm8="), (6, "eyJpZCI6")]);
    assert!(
        aside.iter().all(|line| line["errorCode"] == "invalid_json" && line["object"] == "memory:///lake/in/a.jsonl")
    );
    assert_eq!(process.metric("millrace_import_set_aside_total"), 2);
}

#[tokio::test]
async fn an_object_with_a_bad_row_is_given_up_where_that_is_wanted_and_tried_again_on_request() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("on_bad_row = \"fail\"")).await.unwrap();
    site.write("a.jsonl", format!("{}no\n{}", lines(0..6), lines(6..9))).await;
    site.write("b.jsonl", lines(9..12)).await;
    let run = process.imports.run("i", false, true).await.unwrap().last_run.unwrap();
    assert_eq!((run.counts.imported, run.counts.failed, run.error.as_str()), (1, 1, ""));
    // Whole chunks before the bad row's are in the stream.
    assert_eq!(process.records().await, expected(&[&lines(0..4), &lines(9..12)]));
    let objects = process.imports.objects("i").await.unwrap();
    assert_eq!(objects[0].state, ImportObjectState::Failed);
    for words in ["row 7", "invalid_json", "the 4 records of the rows before row 5"] {
        assert!(objects[0].error.contains(words), "{}", objects[0].error);
    }
    let run = process.imports.run("i", false, true).await.unwrap().last_run.unwrap();
    assert_eq!((run.counts.skipped, run.counts.failed), (2, 0), "it is not tried again by itself");
    process.apply(&pipeline("")).await.unwrap();
    let run = process.imports.run("i", true, true).await.unwrap().last_run.unwrap();
    assert_eq!((run.counts.imported, run.counts.set_aside), (1, 1));
    assert_eq!(process.records().await, expected(&[&lines(0..12)]));
}

#[tokio::test]
async fn an_object_that_is_no_such_file_is_given_up_and_the_others_go_on() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl.gz", "no gzip").await;
    site.write("b.jsonl", lines(0..3)).await;
    site.write("_SUCCESS", "").await;
    let run = process.imports.run("i", false, true).await.unwrap().last_run.unwrap();
    assert_eq!((run.counts.seen, run.counts.imported, run.counts.failed), (2, 1, 1));
    assert_eq!(process.records().await, expected(&[&lines(0..3)]));
    assert!(process.imports.objects("i").await.unwrap()[0].error.contains("at row 1"));
}

#[tokio::test]
async fn more_objects_than_the_limit_end_the_run_in_words() {
    let site = Site::new();
    let process = site.start_with(ImportSettings { objects_max: 2, ..super::site::settings() }).await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", lines(0..1)).await;
    site.write("b.jsonl", lines(1..2)).await;
    assert_eq!(process.imports.run("i", false, true).await.unwrap().last_run.unwrap().counts.imported, 2);
    site.write("c.jsonl", lines(2..3)).await;
    let run = process.imports.run("i", false, true).await.unwrap().last_run.unwrap();
    assert!(run.error.contains("more than 2 objects") && run.error.contains("import.objects_max"), "{}", run.error);
    assert_eq!(process.records().await.len(), 2);
}

#[tokio::test]
async fn the_number_of_imports_and_of_kept_runs_is_limited() {
    let site = Site::new();
    let process = site.start_with(ImportSettings { count_max: 1, runs_kept: 3, ..super::site::settings() }).await;
    process.apply(&pipeline("")).await.unwrap();
    let error = process.apply(&pipeline("").replace("name = \"i\"", "name = \"j\"")).await.unwrap_err();
    assert!(error.to_string().contains("2 imports") && error.to_string().contains("import.count_max"), "{error}");
    for _ in 0..5 {
        process.imports.run("i", false, true).await.unwrap();
    }
    let runs = process.imports.history("i", usize::MAX).await.unwrap();
    assert_eq!(runs.iter().map(|run| run.number).collect::<Vec<_>>(), [5, 4, 3]);
}

#[tokio::test]
async fn a_cap_on_the_rate_makes_puts_wait() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("records_per_second_max = 400")).await.unwrap();
    site.write("a.jsonl", lines(0..40)).await;
    process.imports.run("i", false, true).await.unwrap();
    assert_eq!(process.records().await.len(), 40);
    // Ten puts of four records: each but the first is paid for by a wait of 10 ms, unless reading took longer.
    assert!(process.metric("millrace_import_rate_waits_total") >= 1);
}
