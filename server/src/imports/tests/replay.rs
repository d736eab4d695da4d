//! What was set aside is taken up again, each row once.

use millrace_storage::lake::import::{Again, Source};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::import::{
    ImportCounts, ImportCurrent, ImportObjectKey, ImportObjectValue, ImportPositionKey, ImportRunValue, ImportTrigger,
};
use millrace_storage::meta::keys::import_set_aside::scan_set_aside;

use super::site::{Process, Site, expected, lines, pipeline};
use crate::error::Kind;

/// Rows taken up, records, rows set aside again.
async fn replay(process: &Process, again: Again) -> [u64; 3] {
    let run = process.imports.replay("i", again).await.unwrap();
    assert_eq!((run.error.as_str(), run.counts.failed), ("", 0));
    [run.counts.replayed, run.counts.records, run.counts.set_aside]
}

/// Places of rows that are set aside and open, with how often they were tried.
async fn open(process: &Process) -> Vec<(String, u64, u32)> {
    let mut rows = Vec::new();
    for aside in process.imports.set_aside().await.unwrap() {
        if aside.replayed_run.is_none() {
            let lines = process.imports.read_set_aside(&aside).await.unwrap();
            rows.extend(lines.into_iter().map(|line| (line.object, line.row, line.attempts_made)));
        }
    }
    rows
}

#[tokio::test]
async fn rows_come_into_the_stream_once_what_made_them_fail_is_mended() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", format!("{}no\n{}never\n", lines(0..3), lines(3..7))).await;
    process.imports.run("i", false, true).await.unwrap();
    let place = |row, attempts| ("memory:///lake/in/a.jsonl".to_owned(), row, attempts);
    assert_eq!(open(&process).await, [place(4, 1), place(9, 1)]);

    assert_eq!(replay(&process, Again::ByFormat).await, [2, 0, 2], "nothing was mended");
    assert_eq!(open(&process).await, [place(4, 2), place(9, 2)]);
    process.apply(&pipeline("format = \"lines\"")).await.unwrap();
    assert_eq!(replay(&process, Again::ByFormat).await, [2, 2, 0]);
    assert_eq!(replay(&process, Again::ByFormat).await, [0, 0, 0]);
    assert_eq!(process.records().await, expected(&[&lines(0..7), "no\nnever"]));
    assert_eq!(open(&process).await, []);

    let import = process.imports.describe("i").unwrap();
    let totals = import.totals;
    assert_eq!((totals.records, totals.set_aside, totals.replayed, totals.imported), (9, 4, 4, 1));
    assert_eq!(process.metric("millrace_import_replayed_total"), 4);
    assert_eq!(process.imports.objects("i").await.unwrap().len(), 1, "what holds set-aside rows is no object of it");
    let run = process.imports.run("i", false, true).await.unwrap().last_run.unwrap();
    assert_eq!((run.trigger, run.counts.skipped, run.counts.records), (ImportTrigger::Manual, 1, 0));
}

#[tokio::test]
async fn a_row_is_a_record_as_it_is_where_that_is_asked_for() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("on_bad_row = \"set_aside\"")).await.unwrap();
    site.write("a.jsonl", format!("{}{{\"id\"\n", lines(0..1))).await;
    process.imports.run("i", false, true).await.unwrap();
    process.apply(&pipeline("on_bad_row = \"fail\"")).await.unwrap();
    assert_eq!(replay(&process, Again::ByFormat).await, [1, 0, 1], "what was set aside never gives anything up");
    assert_eq!(replay(&process, Again::AsIs).await, [1, 1, 0]);
    assert_eq!(process.records().await, expected(&[&lines(0..1), "{\"id\""]));
    let runs = process.imports.history("i", 1).await.unwrap();
    assert_eq!(runs[0].trigger, ImportTrigger::ReplayAsIs);
}

/// The put came to the log and its commit did not: what the crash left in doubt is asked about under the same sequence.
#[tokio::test]
async fn rows_that_were_put_before_a_crash_are_known_again() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", format!("no\nnever\n{}", lines(0..2))).await;
    process.imports.run("i", false, true).await.unwrap();
    let url = process.imports.set_aside().await.unwrap().remove(0).url;
    let object = Source::of(site.store.clone()).find_unchanging(&url).await.unwrap().unwrap();
    assert_eq!(replay(&process, Again::AsIs).await, [2, 2, 0]);
    process.close().await;

    let key = ImportPositionKey { import: "i".into() };
    let mut position = keys::get(&*site.meta, &key).await.unwrap().unwrap().value;
    position.next_sequence -= 2;
    let object_key = ImportObjectKey { import: "i".into(), url: url.clone(), version: object.version() };
    position.current = Some(ImportCurrent { url, version: object.version() });
    let counts = Some(ImportCounts::default());
    let trigger = ImportTrigger::ReplayAsIs.into();
    position.run = Some(ImportRunValue { number: position.next_run, trigger, counts, ..ImportRunValue::default() });
    position.next_run += 1;
    let value = ImportObjectValue { options_json: OPTIONS.into(), ..ImportObjectValue::default() };
    let (aside_key, aside) = scan_set_aside(&*site.meta, "i").await.unwrap().remove(0);
    let aside = millrace_storage::meta::keys::import_set_aside::ImportSetAsideValue { replayed_run: 0, ..aside.value };
    let writes = vec![keys::put(&key, &position), keys::put(&object_key, &value), keys::put(&aside_key, &aside)];
    site.meta.commit(vec![], writes).await.unwrap();

    let process = site.start().await;
    assert_eq!(replay(&process, Again::AsIs).await, [0, 0, 0], "the run that was cut off took them up");
    assert_eq!(process.records().await, expected(&[&lines(0..2), "no\nnever"]));
    assert_eq!(process.metric("millrace_import_known_records_total"), 2);
    assert_eq!(open(&process).await, []);
}

const OPTIONS: &str = r#"{"format":"json_lines","compression":"auto","csv":{"delimiter":44,"columns":[],"values":"text"},
    "partition_key":null,"partition_key_chars_max":256,"record_bytes_max":1048576,"chunk_rows":4,"chunk_bytes":1048576,
    "again":"as_is"}"#;

#[tokio::test]
async fn rows_that_are_gone_from_the_store_are_told() {
    let site = Site::new();
    let process = site.start().await;
    process.apply(&pipeline("")).await.unwrap();
    site.write("a.jsonl", "no\n").await;
    site.write("b.jsonl", "never\n").await;
    process.imports.run("i", false, true).await.unwrap();
    let url = process.imports.set_aside().await.unwrap().remove(0).url;
    site.store.delete(&site.store.path_of_url(&url).unwrap()).await.unwrap();
    let run = process.imports.replay("i", Again::AsIs).await.unwrap();
    assert_eq!((run.counts.replayed, run.counts.failed), (1, 1));
    assert!(run.error.contains(&url) && run.error.contains("1 rows"), "{}", run.error);
    assert_eq!(process.records().await, ["never"]);
}

#[tokio::test]
async fn a_paused_import_and_one_that_is_not_there_take_nothing_up() {
    let site = Site::new();
    let process = site.start().await;
    assert_eq!(process.imports.replay("i", Again::AsIs).await.unwrap_err().kind(), &Kind::NotFound);
    process.apply(&pipeline("paused = true")).await.unwrap();
    let error = process.imports.replay("i", Again::AsIs).await.unwrap_err();
    assert_eq!(error.kind(), &Kind::FailedPrecondition);
    process.imports.resume("i").await.unwrap();
    assert_eq!(replay(&process, Again::AsIs).await, [0, 0, 0]);
}
