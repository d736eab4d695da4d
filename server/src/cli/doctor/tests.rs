//! The doctor on healthy and on sick folders.

use std::path::Path;

use millrace_storage::lake::store::StoreSettings;
use tempfile::TempDir;

use super::*;

fn verdicts(checks: &[Check]) -> Vec<(&str, Verdict)> {
    checks.iter().map(|check| (check.check, check.verdict)).collect()
}

#[test]
fn a_writable_folder_is_good_and_stays_empty() {
    let folder = TempDir::new().unwrap();
    let data_dir = folder.path().join("data");
    let checks = disk::check(&data_dir);
    assert_eq!(checks[0].verdict, Verdict::Good, "{checks:?}");
    assert_eq!(checks[1].check, "fsync");
    assert_eq!(std::fs::read_dir(&data_dir).unwrap().count(), 0);
}

#[test]
fn a_folder_that_cannot_be_made_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let checks = disk::check(&file.join("data"));
    assert_eq!(verdicts(&checks), [("data folder", Verdict::Bad)]);
    assert!(checks[0].advice.as_ref().is_some_and(|advice| advice.contains("--data-dir")));
}

#[tokio::test]
async fn a_store_on_disk_can_do_all_of_it_and_keeps_nothing() {
    let folder = TempDir::new().unwrap();
    let checks = store::check(&StoreSettings::of_url(format!("file://{}", folder.path().display()))).await;
    let names = ["store put", "store get", "store list", "store conditional write", "store delete"];
    assert_eq!(verdicts(&checks), names.map(|name| (name, Verdict::Good)), "{checks:?}");
    assert_eq!(files_below(folder.path()), 0);
}

#[tokio::test]
async fn a_store_that_is_not_there_is_bad() {
    let mut settings = StoreSettings::of_url("ftp://somewhere");
    assert_eq!(verdicts(&store::check(&settings).await), [("store", Verdict::Bad)]);
    // Encryption is off and not allowed to be.
    settings.url = "s3://bucket/prefix".into();
    settings.endpoint = Some("http://127.0.0.1:9".into());
    let checks = store::check(&settings).await;
    assert!(checks[0].verdict == Verdict::Bad && checks[0].found.contains("allow_http"), "{checks:?}");
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}
