//! Backup, restore, and damaged files, as an operator meets them: by the command line alone.

use std::fs;
use std::path::Path;
use std::time::Duration;

use millrace_tests::cli::{millrace_alone, sql_number};
use millrace_tests::listing;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::s3::{self, S3Server};
use millrace_tests::server::{Server, ServerSettings};
use millrace_tests::site::{Site, text};
use millrace_tests::wait;

fn lines(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|id| format!("{{\"id\":{id},\"name\":\"n{id}\"}}"))
}

/// The records in the log of a data folder, by `log dump` over both shards.
fn dumped(data_dir: &Path, stream: &str) -> usize {
    let of = |shard: &str| {
        let said = millrace_alone(&["log", "dump", stream, shard, "--data-dir", text(data_dir)]).ok();
        said.stdout.lines().count()
    };
    of("0") + of("1")
}

#[test]
fn a_backup_restores_after_writes_went_on_and_its_delivery_goes_on_from_there() {
    let mut site = Site::start();
    let pipeline = Pipeline::new("b");
    site.apply(&pipeline);
    site.put_lines("b", lines(0..500));
    site.flush("b");
    site.put_lines("b", lines(500..600));
    let first = site.run(&["backup", "take", "--output", "json"]).ok().json();
    site.put_lines("b", lines(600..900));
    site.flush("b");
    let listed = site.run(&["backup", "list", "--output", "json"]).ok().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["id"], first["id"]);
    assert!(site.server.stop().success());

    let backups = site.settings.data_dir.join("backups");
    let restored = site.folder().join("restored");
    let arguments = ["restore", "--from", text(&backups), "--data-dir", text(&restored)];
    let _said = millrace_alone(&arguments).ok();
    let refused = millrace_alone(&arguments).failed();
    assert!(refused.stderr.contains("is not empty"), "{}", refused.stderr);
    assert_eq!(dumped(&restored, "b"), 600);
    let verified = millrace_alone(&["log", "verify", "--data-dir", text(&restored), "--output", "json"]).ok().json();
    assert_eq!((verified["ok"].as_bool(), verified["records"].as_u64()), (Some(true), Some(600)), "{verified}");

    // The store is ahead: it holds a batch that the restored server knows nothing of, and makes anew under the same names.
    let settings = ServerSettings::new(&restored).env("MILLRACE_STORE_URL", format!("file://{}", site.lake.display()));
    let server = Server::start(&settings);
    let run = |arguments: &[&str]| millrace_tests::cli::millrace(&server, arguments);
    let _said = run(&["delivery", "flush", "b"]).ok();
    assert_eq!(sql_number(&server, "select count(distinct id) from b"), 600);
    assert_eq!(sql_number(&server, "select count(*) from b"), 600);
    let _said = run(&["verify", "b"]).ok();
    assert_eq!(listing::rows(&listing::read(&site.lake.join("default/b/data"))), 600, "by listing files");
}

/// The backups' place is a bucket, reached as the tables' store is.
#[test]
fn backups_in_a_bucket_are_taken_beside_puts_pruned_and_restored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = S3Server::start(folder.path());
    let mut site = Site::start_with(|settings| {
        let settings = store.as_store(ServerSettings::new(&settings.data_dir));
        settings.env("MILLRACE_BACKUP_URL", "s3://lake/backups/millrace")
    });
    let place = store.bucket_folder().join("backups/millrace");
    let objects = || fs::read_dir(place.join("objects")).expect("objects").count();
    site.apply(&Pipeline::new("b"));
    let mut taken = Vec::new();
    for round in 0..3 {
        site.put_lines("b", lines(round * 100..round * 100 + 100));
        taken.push(site.run(&["backup", "take", "--output", "json"]).ok().json()["id"].clone());
    }
    let before = objects();
    let unasked = site.run(&["backup", "prune", "--keep", "1"]).failed();
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    let dry = site.run(&["backup", "prune", "--keep", "1", "--dry-run", "--output", "json"]).ok().json();
    assert_eq!((dry["removed"].as_array().map(Vec::len), objects()), (Some(2), before), "{dry}");
    let pruned = site.run(&["backup", "prune", "--keep", "1", "--yes", "--output", "json"]).ok().json();
    assert_eq!(pruned["removed"].as_array().expect("ids"), &taken[..2], "{pruned}");
    assert_eq!(Some((before - objects()) as u64), pruned["objects"].as_u64());
    let listed = site.run(&["backup", "list", "--output", "json"]).ok().json();
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["id"]), (Some(1), &taken[2]), "{listed}");
    assert!(listed[0]["place"].as_str().is_some_and(|place| place.starts_with("s3://lake/backups")), "{listed}");
    assert!(site.server.stop().success());

    let restored = site.folder().join("restored");
    let config = site.folder().join("store.toml");
    let settings = format!(
        "[store]\nurl = \"s3://lake/tables\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\naccess_key_id = \"{}\"\n\
         secret_access_key = \"{}\"\nallow_http = true\n",
        store.endpoint,
        s3::ACCESS_KEY_ID,
        s3::SECRET_ACCESS_KEY
    );
    fs::write(&config, settings).expect("the test's folder can be written");
    let from = ["restore", "--from", "s3://lake/backups/millrace", "--config", text(&config)];
    let _said = millrace_alone(&[&from[..], &["--data-dir", text(&restored)]].concat()).ok();
    assert_eq!(dumped(&restored, "b"), 300);
}

#[test]
fn a_server_that_dies_within_a_backup_leaves_none_and_takes_the_next() {
    let mut site = Site::start();
    let pipeline = Pipeline::new("b");
    site.apply(&pipeline);
    site.put_lines("b", lines(0..2000));
    let endpoint = site.server.endpoint();
    let program = millrace_tests::server::program();
    let backup = |endpoint: &str| {
        let mut command = std::process::Command::new(&program);
        command.args(["backup", "take", "--endpoint", endpoint]);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.spawn().expect("the program starts")
    };
    let objects = site.settings.data_dir.join("backups/objects");
    let mut asked = backup(&endpoint);
    wait::until("the backup writes", Duration::from_secs(30), || objects.is_dir().then_some(()));
    site.server.kill();
    drop(asked.wait());
    site.server.restart();
    assert!(!site.settings.data_dir.join("backup-copies").exists(), "the copies of the dead process are gone");
    let _said = site.run(&["backup", "take"]).ok();
    assert!(site.server.stop().success());
    let (from, restored) = (site.settings.data_dir.join("backups"), site.folder().join("restored"));
    let _said = millrace_alone(&["restore", "--from", text(&from), "--data-dir", text(&restored)]).ok();
    assert_eq!(dumped(&restored, "b"), 2000);
}

#[test]
fn a_rotten_write_ahead_log_is_refused_and_repaired_with_the_loss_told() {
    let mut site = Site::start();
    let pipeline = Pipeline::new("r");
    site.apply(&pipeline);
    for round in 0..5 {
        site.put_lines("r", lines(round * 100..round * 100 + 100));
    }
    let logs = || listing::files(&site.settings.data_dir.join("log"), "log");
    let size = |path: &Path| path.metadata().map_or(0, |file| file.len());
    // What is acknowledged is sealed once puts rest.
    let mut seen = 0;
    wait::until("the log rests", Duration::from_secs(30), || {
        let now = logs().iter().map(|path| size(path)).sum::<u64>();
        std::mem::replace(&mut seen, now).eq(&now).then_some(())
    });
    site.server.kill();
    let wal = logs().into_iter().max_by_key(|path| size(path)).expect("a write-ahead log");
    let mut bytes = fs::read(&wal).expect("the log");
    let at = bytes.len() / 3;
    bytes[at] ^= 0x40;
    fs::write(&wal, bytes).expect("the log");

    let (status, said) = site.settings.run_refused();
    assert!(!status.success());
    assert!(said.contains("damaged at byte") && said.contains("millrace log repair"), "{said}");
    let data_dir = text(&site.settings.data_dir);
    let dry = millrace_alone(&["log", "repair", "--data-dir", data_dir, "--output", "json"]).failed();
    assert_eq!(dry.json()["repaired"], false);
    assert!(!site.settings.run_refused().0.success(), "a dry run changes nothing");
    let arguments = ["log", "repair", "--data-dir", data_dir, "--accept-loss", "--output", "json"];
    let done = millrace_alone(&arguments).ok().json();
    assert_eq!(done["repaired"], true, "{done}");
    site.server.restart();
    site.put_lines("r", lines(500..600));
}
