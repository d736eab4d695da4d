//! Object stores: the S3 protocol, and stores that refuse.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use millrace_tests::listing;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::s3::{Minio, S3Server};
use millrace_tests::server::{ServerSettings, program};
use millrace_tests::site::Site;
use millrace_tests::wait;
use serde_json::Value;

/// The client of the store retries on its own before it gives a failure to delivery.
const DEADLINE: Duration = Duration::from_secs(120);

fn events(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|id| format!("{{\"id\":{id}}}"))
}

fn start_on_s3() -> (S3Server, Site) {
    let folder = tempfile::tempdir().expect("a temporary folder").keep();
    let store = S3Server::start(&folder);
    let site = Site::start_with(|settings| store.as_store(ServerSettings::new(&settings.data_dir)));
    (store, site)
}

fn retrying(site: &Site, delivery: &str) -> Option<String> {
    let said = site.run(&["delivery", "describe", delivery, "--output", "json"]).ok();
    (said.json()["state"] == "retrying").then_some(said.stdout)
}

#[test]
fn a_table_on_s3_is_delivered_queried_and_listed() {
    let (store, site) = start_on_s3();
    site.apply(&Pipeline::new("events"));
    site.put_lines("events", events(0..1000));
    site.flush("events");
    assert_eq!(site.count("events"), 1000);
    assert_eq!(listing::rows(&listing::read(&store.bucket_folder())), 1000);
    let _proof = site.run(&["verify", "events"]).ok();
}

#[test]
fn a_table_on_minio_is_delivered_and_queried() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Minio::start(folder.path());
    let site = Site::start_with(|settings| store.as_store(ServerSettings::new(&settings.data_dir)));
    site.apply(&Pipeline::new("events"));
    site.put_lines("events", events(0..1000));
    site.flush("events");
    site.put_lines("events", events(1000..2000));
    site.flush("events");
    assert_eq!(site.count("events"), 2000);
    let _proof = site.run(&["verify", "events"]).ok();
}

/// `millrace doctor` with the store's settings in its environment.
fn doctor(settings: &ServerSettings) -> (Option<i32>, Value) {
    let said = Command::new(program())
        .args(["doctor", "--output", "json", "--data-dir"])
        .arg(&settings.data_dir)
        .envs(settings.env.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("the program runs");
    let checks = serde_json::from_slice(&said.stdout).expect("the checks are JSON");
    (said.status.code(), checks)
}

/// Objects that the doctor made.
fn probes_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_probe = |path: &Path| path.file_name().is_some_and(|name| name == "probe" || name == "once");
    entries.map(|path| if path.is_dir() { probes_below(&path) } else { usize::from(is_probe(&path)) }).sum()
}

fn verdict<'a>(checks: &'a Value, name: &str) -> &'a Value {
    let found = checks.as_array().expect("a list").iter().find(|check| check["check"] == name);
    found.unwrap_or_else(|| panic!("no check {name}: {checks}"))
}

#[test]
fn the_doctor_tells_of_an_s3_store_what_it_can_do_and_leaves_nothing_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = S3Server::start(&folder.path().join("s3"));
    let settings = store.as_store(ServerSettings::new(&folder.path().join("data")));
    let (code, checks) = doctor(&settings);
    assert_eq!(code, Some(0), "{checks}");
    for check in ["store put", "store get", "store list", "store delete"] {
        assert_eq!(verdict(&checks, check)["verdict"], "good", "{checks}");
    }
    assert_ne!(verdict(&checks, "store conditional write")["verdict"], "bad", "{checks}");
    assert_eq!(probes_below(&store.bucket_folder()), 0, "it cleans up");

    store.faults.set_read_only(true);
    let (code, checks) = doctor(&settings);
    let put = verdict(&checks, "store put");
    assert_eq!((code, put["verdict"].as_str()), (Some(1), Some("bad")), "{checks}");
    assert!(put["advice"].as_str().is_some_and(|advice| advice.contains("put objects")), "{checks}");
    store.faults.set_read_only(false);
    let (code, checks) = doctor(&settings.env("MILLRACE_STORE_SECRET_ACCESS_KEY", "not-the-secret"));
    assert_eq!(code, Some(1), "{checks}");
    assert!(!checks.to_string().contains("not-the-secret"), "{checks}");
}

/// A pipeline that delivers by itself, a second after a record came.
fn eager() -> Pipeline {
    let mut pipeline = Pipeline::new("events");
    pipeline.buffer_interval = "1s";
    pipeline
}

#[test]
fn a_read_only_bucket_is_told_and_delivery_goes_on_when_it_is_healed() {
    let (store, site) = start_on_s3();
    site.apply(&eager());
    store.faults.set_read_only(true);
    site.put_lines("events", events(0..1000));
    let said = wait::until("the delivery to say that it retries", DEADLINE, || retrying(&site, "events"));
    assert!(said.contains("AccessDenied") || said.contains("403"), "the cause is told:\n{said}");
    assert_eq!(site.count("events"), 1000, "the undelivered are still queried");
    assert_eq!(listing::rows(&listing::read(&store.bucket_folder())), 0);
    store.faults.set_read_only(false);
    site.flush("events");
    assert_eq!(listing::rows(&listing::read(&store.bucket_folder())), 1000);
    let _proof = site.run(&["verify", "events"]).ok();
}

#[test]
fn wrong_credentials_are_told_and_lose_nothing() {
    let (store, mut site) = start_on_s3();
    site.apply(&eager());
    assert!(site.server.stop().success(), "the drained server exits well");
    let right = site.settings.clone();
    site.server.restart_with(&right.clone().env("MILLRACE_STORE_SECRET_ACCESS_KEY", "not-the-secret"));
    site.put_lines("events", events(0..100));
    let said = wait::until("the delivery to say that it retries", DEADLINE, || retrying(&site, "events"));
    assert!(said.contains("SignatureDoesNotMatch") || said.contains("403"), "the cause is told:\n{said}");
    assert!(!said.contains("not-the-secret"), "the secret is told:\n{said}");
    site.server.kill();
    site.server.restart_with(&right);
    site.flush("events");
    assert_eq!(listing::rows(&listing::read(&store.bucket_folder())), 100);
    assert_eq!(site.count("events"), 100);
}
