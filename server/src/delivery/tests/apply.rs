//! Applying pipelines: once, again, changed, and wrong.

use super::site::{PIPELINE, Site, event};
use crate::delivery::{Action, Change};
use crate::error::Kind;

fn actions(changes: &[Change]) -> Vec<(&str, &str, Action)> {
    changes.iter().map(|change| (change.kind, change.name.as_str(), change.action)).collect()
}

#[tokio::test]
async fn a_second_apply_changes_nothing_and_says_so() {
    let site = Site::memory();
    let process = site.start().await;
    let expected = |action| vec![("stream", "s", action), ("table", "default.t", action), ("delivery", "d", action)];
    let dry = process.deliveries.apply(PIPELINE, true).await.unwrap();
    assert_eq!(actions(&dry), expected(Action::Created));
    assert!(process.deliveries.list().is_empty());
    assert!(process.streams.list().is_empty());

    let first = process.deliveries.apply(PIPELINE, false).await.unwrap();
    assert_eq!(actions(&first), expected(Action::Created));
    let second = process.deliveries.apply(PIPELINE, false).await.unwrap();
    assert_eq!(actions(&second), expected(Action::Unchanged));
    process.deliveries.close().await;

    let process = site.start().await;
    let third = process.deliveries.apply(PIPELINE, false).await.unwrap();
    assert_eq!(actions(&third), expected(Action::Unchanged));
    assert!(process.catalog.load(&super::site::table()).await.is_ok(), "sql finds the table before its first row");
}

#[tokio::test]
async fn a_change_shows_its_diff_and_takes_effect_at_a_batch_border() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let (mut rows, mut broken) = process.put(0..40).await;
    let changed = PIPELINE
        .replace("shards = 2", "shards = 2\nretention = \"48h\"")
        .replace("name = \"t\"\n", "name = \"t\"\nschema_policy = \"rescue\"\n")
        .replace("900s", "600s");
    let dry = process.deliveries.apply(&changed, true).await.unwrap();
    let applied = process.deliveries.apply(&changed, false).await.unwrap();
    assert_eq!(dry, applied);
    for (change, before, after) in [
        (&applied[0], "-retention = \"1day\"", "+retention = \"2days\""),
        (&applied[1], "-schema_policy = \"evolve\"", "+schema_policy = \"rescue\""),
        (&applied[2], "-buffer_interval = \"15m\"", "+buffer_interval = \"10m\""),
    ] {
        assert_eq!(change.action, Action::Updated);
        assert!(change.diff.contains(before) && change.diff.contains(after), "{}", change.diff);
    }
    let (more, more_broken) = process.put(40..60).await;
    rows.extend(more);
    broken += more_broken;
    process.deliveries.flush("d").await.unwrap();
    assert!(process.deliveries.describe("d").await.unwrap().spec_toml.contains("10m"));
    // The first batch gave the table its columns. Under the policy `rescue` a later field is in `_rescued` alone.
    process.append(0, vec![event(60).replacen('{', r#"{"late":1,"#, 1)]).await;
    rows.push(60);
    process.deliveries.flush("d").await.unwrap();
    let loaded = process.catalog.load(&super::site::table()).await.unwrap();
    let schema = loaded.metadata().current_schema();
    assert!(schema.field_by_name("id").is_some() && schema.field_by_name("late").is_none());
    let verified = process.deliveries.verify("d").await.unwrap();
    assert_eq!(verified.faults, Vec::<String>::new());
    assert_eq!((verified.totals.rows, verified.totals.set_aside), (rows.len() as u64, broken as u64));
}

#[tokio::test]
async fn what_is_wrong_is_refused_before_anything_changes() {
    let site = Site::memory();
    let process = site.start_applied().await;
    let fresh = "[[stream]]\nname = \"fresh\"\n";
    for (from, to, words) in [
        ("shards = 2", "shards = 10001", &["stream s", "10001 shards", "10000"][..]),
        ("shards = 2", "shards = 2\nretention = \"1m\"", &["stream s", "retention", "1 h to 8760 h"]),
        ("{ field = \"at\" }", "{ field = \"at\", format = \"iso\" }", &["table default.t", "time", "iso"]),
        ("{ field = \"at\" }", "{ field = \"other\" }", &["table default.t", "time", "cannot change"]),
        ("name = \"t\"\n", "name = \"t\"\nsystem_columns = false\n", &["table default.t", "system_columns"]),
        (
            "name = \"t\"\n",
            "name = \"t\"\n[[table.column]]\nname = \"x\"\ntype = \"blob\"\n[table.time]\nfield=\"at\"\n",
            &["\"x\"", "blob"],
        ),
        ("stream = \"s\"", "stream = \"none\"", &["delivery d", "stream", "none"]),
        ("table = \"t\"", "table = \"a/b\"", &["delivery d", "table", "a/b"]),
        ("stream = \"s\"", "stream = \"s\"\npriority = \"urgent\"", &["urgent", "low", "normal", "high"]),
    ] {
        let mut pipeline = PIPELINE.replacen(from, to, 1);
        if to.contains("[table.time]") {
            pipeline = pipeline.replace("time = { field = \"at\" }", "");
        }
        assert_ne!(pipeline, PIPELINE);
        let error = process.deliveries.apply(&format!("{fresh}{pipeline}"), false).await.unwrap_err();
        for word in words {
            assert!(error.to_string().contains(word), "{to}: {error}, without {word}");
        }
        assert_eq!(process.streams.list().len(), 1, "{to}");
    }
}

#[tokio::test]
async fn a_declared_column_cannot_be_taken_back() {
    let site = Site::memory();
    let process = site.start().await;
    let with = |columns: &str| format!("[[table]]\nname = \"t\"\n{columns}");
    let column = |name: &str, of: &str| format!("[[table.column]]\nname = \"{name}\"\ntype = \"{of}\"\n");
    let (a, b) = (column("a", "long"), column("b", "string"));
    process.deliveries.apply(&with(&a), false).await.unwrap();
    let grown = process.deliveries.apply(&with(&format!("{a}{b}")), false).await.unwrap();
    assert_eq!(grown[0].action, Action::Updated);
    for (columns, word) in [(b.clone(), "taken back"), (format!("{}{b}", column("a", "string")), "cannot become")] {
        let error = process.deliveries.apply(&with(&columns), false).await.unwrap_err();
        assert_eq!(error.kind(), &Kind::Invalid);
        assert!(error.to_string().contains(word) && error.to_string().contains("\"a\""), "{error}");
    }
}
