//! Encryption at rest as an operator meets it: nothing to be found on the disk, keys that change, keys that are wrong or gone.

use std::path::{Path, PathBuf};

use millrace_tests::cli;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::s3::S3Server;
use millrace_tests::server::ServerSettings;
use millrace_tests::site::{Site, text};
use serde_json::Value;

const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const TWO: &str = "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0101112131415161718191a1b1c1d1e1f";

/// A site whose master keys are those lines of a file.
fn start(keys: &str) -> Site {
    Site::start_with(|settings| with_keys(settings, keys))
}

fn with_keys(settings: ServerSettings, keys: &str) -> ServerSettings {
    let file = settings.data_dir.with_file_name(format!("master-{}-{}.key", &keys[..4], keys.len()));
    std::fs::write(&file, keys).expect("the test's folder can be written");
    settings.env("MILLRACE_ENCRYPTION_MASTER_KEY_FILE", file.display())
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The files that hold a text.
fn holding(folder: &Path, needle: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        // A file may go while they are read.
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    files_below(folder).into_iter().filter(holds).collect()
}

/// Lines with a text in the data and as the partition key, which no codec takes apart: each is another one.
fn put(site: &Site, stream: &str, marker: &str, ids: std::ops::Range<u32>) {
    let file = site.folder().join("marked.jsonl");
    let lines =
        ids.map(|id| format!("{{\"id\":{id},\"key\":\"{marker}-key-{id}\",\"secret\":\"{marker}-data-{id}\"}}\n"));
    std::fs::write(&file, lines.collect::<String>()).expect("the test's folder can be written");
    let _said = site.run(&["put", stream, text(&file), "--key-field", "key"]).ok();
}

fn describe(site: &Site, stream: &str) -> Value {
    site.run(&["stream", "describe", stream, "--output", "json"]).ok().json()
}

fn tailed(site: &Site, stream: &str, count: usize) -> String {
    site.run(&["tail", stream, "--from", "trim-horizon", "-n", &count.to_string()]).ok().stdout
}

fn encrypted(pipeline: &Pipeline) -> String {
    pipeline.toml().replace("retention = \"168h\"", "retention = \"168h\"\nencryption = true")
}

#[test]
fn no_text_of_an_encrypted_stream_is_found_in_the_data_folder() {
    let mut site = start(ONE);
    let file = site.folder().join("both.toml");
    let both = format!("{}{}", encrypted(&Pipeline::new("hidden")), Pipeline::new("open").toml());
    std::fs::write(&file, both).expect("the test's folder can be written");
    let _said = site.run(&["apply", "-f", text(&file)]).ok();
    let again = site.run(&["apply", "-f", text(&file)]).ok();
    assert!(!again.stdout.contains("updated"), "{}", again.stdout);
    let data = site.settings.data_dir.clone();
    let check = |site: &Site, when: &str| {
        let log = site.server.log();
        assert!(!log.contains("xyzzy"), "{when}: the server's own log has it");
        assert_eq!(holding(&data, "xyzzy"), [] as [PathBuf; 0], "{when}");
        // The same search finds what is not encrypted.
        assert!(!holding(&data, "plugh").is_empty(), "{when}");
    };
    let bad = |site: &Site| {
        let _said = site.put_lines("hidden", ["no JSON: xyzzy-data-bad".to_owned()]);
    };
    put(&site, "hidden", "xyzzy", 0..500);
    put(&site, "open", "plugh", 0..500);
    bad(&site);
    check(&site, "just put, in the write-ahead log");
    let found = "select count(*) from hidden where secret like 'xyzzy-data-%'";
    assert_eq!(cli::sql_number(&site.server, found), 500);
    site.flush("hidden");
    site.flush("open");
    check(&site, "delivered");
    site.server.kill();
    site.server.restart();
    put(&site, "hidden", "xyzzy", 500..600);
    check(&site, "after a kill");
    assert_eq!(cli::sql_number(&site.server, found), 600);
    assert_eq!(tailed(&site, "hidden", 601).matches("xyzzy-data-").count(), 601);
    assert!(site.server.stop().success());
    site.server.restart();
    check(&site, "after a close, in the log's files");
    assert_eq!(tailed(&site, "hidden", 601).matches("xyzzy-data-").count(), 601);
    let row = &cli::sql(&site.server, "select encrypted, key_version from system.streams where stream = 'hidden'")[0];
    assert_eq!((&row["encrypted"], &row["key_version"]), (&Value::Bool(true), &Value::from(1)));
    let metrics = site.server.http_get("/metrics").1;
    assert!(
        metrics.lines().any(|line| {
            line.strip_prefix("millrace_log_decrypted_blocks_total ").is_some_and(|count| count != "0")
        })
    );
    let _proof = site.run(&["verify", "hidden"]).ok();
}

#[test]
fn encryption_is_switched_and_rotated_and_everything_stays_readable() {
    let mut site = start(ONE);
    let _said = site.run(&["stream", "create", "s", "--in-bytes-per-second", "off"]).ok();
    let refused = site.run(&["stream", "rotate-key", "s"]).failed();
    assert!(refused.stderr.contains("not encrypted"), "{}", refused.stderr);
    put(&site, "s", "first-clear", 0..50);
    let _said = site.run(&["stream", "update", "s", "--encryption", "on"]).ok();
    put(&site, "s", "one-hidden", 0..50);
    let _said = site.run(&["stream", "rotate-key", "s"]).ok();
    put(&site, "s", "two-hidden", 0..50);
    let _said = site.run(&["stream", "update", "s", "--encryption", "off"]).ok();
    put(&site, "s", "last-clear", 0..50);
    assert_eq!(describe(&site, "s")["encryption"]["key_version"], 0);
    site.server.kill();
    site.server.restart();
    let all = tailed(&site, "s", 200);
    for (marker, is_found) in
        [("first-clear", true), ("one-hidden", false), ("two-hidden", false), ("last-clear", true)]
    {
        assert_eq!(all.matches(&format!("{marker}-data-")).count(), 50, "{marker}");
        assert_eq!(!holding(&site.settings.data_dir, marker).is_empty(), is_found, "{marker}");
    }
    let _said = site.run(&["stream", "update", "s", "--encryption", "on"]).ok();
    let described = describe(&site, "s");
    assert_eq!(described["encryption"]["key_version"], 3);
    assert_eq!(described["encryption"]["keys"].as_array().map(Vec::len), Some(3));
    assert!(described["encryption"]["keys"][0]["replaced_at"].is_string(), "{described}");
    // Another setting leaves the key as it is.
    let _said = site.run(&["stream", "update", "s", "--retention", "48h"]).ok();
    site.server.kill();
    site.server.restart();
    assert_eq!(describe(&site, "s")["encryption"]["key_version"], 3);
    put(&site, "s", "three-hidden", 0..50);
    assert_eq!(holding(&site.settings.data_dir, "three-hidden"), [] as [PathBuf; 0]);
    assert_eq!(tailed(&site, "s", 250).matches("-data-").count(), 250);
}

#[test]
fn a_kill_in_a_rotation_leaves_the_old_key_or_the_new_one() {
    for (moment, version) in [("before", 1), ("after", 2)] {
        let folder = std::cell::RefCell::new(None);
        let mut site = Site::start_with(|settings| {
            let settings = with_keys(settings, ONE);
            *folder.borrow_mut() = Some(settings.clone());
            // The first change of the family is the creation.
            settings.env("MILLRACE_FAILPOINT", format!("meta.data-key.{moment}:2"))
        });
        let settings = folder.into_inner().expect("the settings were seen");
        let _said = site.run(&["stream", "create", "s", "--encryption", "on"]).ok();
        put(&site, "s", "xyzzy", 0..50);
        let _said = site.run(&["stream", "rotate-key", "s"]).failed();
        site.server.restart_with(&settings);
        assert_eq!(describe(&site, "s")["encryption"]["key_version"], version, "{moment}");
        put(&site, "s", "xyzzy", 50..100);
        site.server.kill();
        site.server.restart();
        assert_eq!(tailed(&site, "s", 100).matches("xyzzy-data-").count(), 100, "{moment}");
        let _said = site.run(&["stream", "rotate-key", "s"]).ok();
        put(&site, "s", "xyzzy", 100..150);
        assert_eq!(tailed(&site, "s", 150).matches("xyzzy-data-").count(), 150, "{moment}");
        assert_eq!(holding(&site.settings.data_dir, "xyzzy"), [] as [PathBuf; 0], "{moment}");
    }
}

#[test]
fn without_a_master_key_no_stream_is_encrypted() {
    let site = Site::start();
    for arguments in [&["stream", "create", "s", "--encryption", "on"][..], &["stream", "rewrap-keys"]] {
        let refused = site.run(arguments).failed();
        assert!(refused.stderr.contains("no master key is set"), "{}", refused.stderr);
    }
    let listed = site.run(&["stream", "list", "--output", "json"]).ok().json();
    assert_eq!(listed.as_array().map(Vec::len), Some(0), "{listed}");
}

#[test]
fn another_master_key_locks_the_encrypted_stream_alone_and_the_right_one_opens_it() {
    let mut site = start(ONE);
    let _said = site.run(&["stream", "create", "hidden", "--encryption", "on"]).ok();
    let _said = site.run(&["stream", "create", "open"]).ok();
    put(&site, "hidden", "xyzzy", 0..50);
    put(&site, "open", "plugh", 0..50);
    assert!(site.server.stop().success());
    let base = site.settings.clone();
    site.server.restart_with(&with_keys(base.clone(), TWO));
    let id = describe(&site, "hidden")["encryption"]["keys"][0]["master_key_id"].clone();
    let file = site.folder().join("line.jsonl");
    std::fs::write(&file, "{\"id\":1}\n").expect("the test's folder can be written");
    for arguments in [&["put", "hidden", text(&file)][..], &["tail", "hidden", "--from", "trim-horizon", "-n", "1"]] {
        let refused = site.run(arguments).failed();
        let told = format!("{}{}", refused.stdout, refused.stderr);
        assert!(told.contains("data key 1") && told.contains(id.as_str().expect("an id")), "{told}");
    }
    assert!(site.server.log().contains("hidden") && !site.server.log().contains(TWO));
    assert_eq!(tailed(&site, "open", 50).matches("plugh-data-").count(), 50);
    put(&site, "open", "plugh", 50..60);
    assert!(site.server.stop().success());

    // A new master key, with the old one below it, wraps the keys anew; then the old one can go.
    site.server.restart_with(&with_keys(base.clone(), &format!("{TWO}\n{ONE}\n")));
    assert_eq!(tailed(&site, "hidden", 50).matches("xyzzy-data-").count(), 50);
    let said = site.run(&["stream", "rewrap-keys", "--output", "json"]).ok().json();
    assert_eq!(said["rewrapped"], 1, "{said}");
    assert!(site.server.stop().success());
    site.server.restart_with(&with_keys(base.clone(), TWO));
    assert_eq!(tailed(&site, "hidden", 50).matches("xyzzy-data-").count(), 50);
    put(&site, "hidden", "xyzzy", 50..60);
    assert!(site.server.stop().success());
    site.server.restart_with(&with_keys(base, ONE));
    let refused = site.run(&["tail", "hidden", "--from", "trim-horizon", "-n", "1"]).failed();
    assert!(refused.stderr.contains("data key 1"), "{}", refused.stderr);
}

/// What was encrypted is gone, from memory too; what came before and comes after is not.
#[test]
fn a_shredded_stream_goes_on_and_nobody_reads_what_it_had() {
    let mut site = start(ONE);
    let _said = site.run(&["stream", "create", "s"]).ok();
    put(&site, "s", "clear", 0..20);
    let _said = site.run(&["stream", "update", "s", "--encryption", "on"]).ok();
    put(&site, "s", "hidden", 0..20);
    let unasked = site.run(&["stream", "shred", "s"]).failed();
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    assert_eq!(tailed(&site, "s", 40).matches("-data-").count(), 40);
    let said = site.run(&["stream", "shred", "s", "--yes"]).ok();
    assert!(said.stdout.contains("on, data key 2") && said.stdout.contains("it was destroyed at"), "{}", said.stdout);
    put(&site, "s", "later", 0..20);
    for round in ["at once", "after a restart"] {
        assert_eq!(tailed(&site, "s", 20).matches("clear-data-").count(), 20, "{round}");
        let refused = site.run(&["tail", "s", "--from", "20", "--shard", "0", "-n", "1"]).failed();
        for words in ["sealed by data key 1", "it was destroyed at"] {
            assert!(refused.stderr.contains(words), "{round}: {}", refused.stderr);
        }
        let past = site.run(&["tail", "s", "--from", "trim-horizon", "-n", "40", "--skip-unreadable"]).ok();
        assert_eq!(past.stdout.matches("clear-data-").count(), 20, "{round}: {}", past.stdout);
        assert_eq!(past.stdout.matches("later-data-").count(), 20, "{round}: {}", past.stdout);
        assert!(past.stderr.contains("data key 1"), "{round}: {}", past.stderr);
        site.server.kill();
        site.server.restart();
    }
    // A member of a group ends there, or goes on by choice as well.
    let member = ["tail", "s", "--group", "g", "--from", "trim-horizon"];
    let refused = site.run(&[&member[..], &["-n", "40"]].concat()).failed();
    assert!(refused.stderr.contains("sealed by data key 1"), "{}", refused.stderr);
    let past = site.run(&[&member[..], &["-n", "20", "--skip-unreadable"]].concat()).ok();
    assert_eq!(past.stdout.matches("later-data-").count(), 20, "the others were noted: {}", past.stdout);
    // The key of the new records can be destroyed too.
    let said = site.run(&["stream", "shred", "s", "--yes"]).ok();
    assert!(said.stdout.contains("on, data key 3"), "{}", said.stdout);
    assert!(site.run(&["tail", "s", "--from", "40", "--shard", "0", "-n", "1"]).failed().stderr.contains("data key 2"));
}

/// Deletes a stream, then puts back the log as it was before, as a thief with an old copy of it would.
#[test]
fn the_records_of_a_deleted_stream_do_not_open_from_a_copy_of_the_log() {
    let mut site = start(ONE);
    let _said = site.run(&["stream", "create", "hidden", "--encryption", "on"]).ok();
    put(&site, "hidden", "xyzzy", 0..50);
    assert!(site.server.stop().success());
    let data = site.settings.data_dir.clone();
    let copy = site.folder().join("copy");
    let cp = |from: &Path, to: &Path| {
        let copied = std::process::Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
        assert!(copied.success());
    };
    cp(&data.join("log"), &copy);
    site.server.restart();
    let _said = site.run(&["stream", "delete", "hidden", "--yes"]).ok();
    let made = site.run(&["stream", "create", "hidden", "--encryption", "on"]).ok();
    assert!(made.stdout.contains("on, data key 1"), "{}", made.stdout);
    assert!(site.server.stop().success());
    std::fs::remove_dir_all(data.join("log")).expect("the log can be removed");
    cp(&copy, &data.join("log"));
    site.server.restart();
    assert_eq!(describe(&site, "hidden")["shards"][0]["next_offset"], 0, "a new stream of the name is another one");
    assert_eq!(holding(&data, "xyzzy"), [] as [PathBuf; 0]);
    // No data key of the first stream is left: the second's is the only one.
    let keys = files_below(&data.join("meta"));
    let families = keys.iter().map(|path| {
        let bytes = std::fs::read(path).unwrap_or_default();
        bytes.windows(13).filter(|window| window[..9] == *b"data-key/" && window[9..] == [0, 0, 0, 1]).count()
    });
    // Names of removed keys may stand in the manifest of the meta store's files; what they held does not.
    assert!(families.sum::<usize>() <= 4);
}

#[test]
fn objects_are_put_with_the_encryption_that_the_settings_tell() {
    type Pairs = &'static [(&'static str, &'static str)];
    const CUSTOMER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let cases: [(Pairs, Pairs); 4] = [
        (&[("ENCRYPTION", "sse-s3")], &[("x-amz-server-side-encryption", "AES256")]),
        (&[("ENCRYPTION", "sse-kms")], &[("x-amz-server-side-encryption", "aws:kms")]),
        (
            &[("ENCRYPTION", "sse-kms"), ("KMS_KEY_ID", "arn:key/1"), ("BUCKET_KEY", "true")],
            &[
                ("x-amz-server-side-encryption", "aws:kms"),
                ("x-amz-server-side-encryption-aws-kms-key-id", "arn:key/1"),
                ("x-amz-server-side-encryption-bucket-key-enabled", "true"),
            ],
        ),
        (
            &[("ENCRYPTION", "sse-c"), ("CUSTOMER_KEY", CUSTOMER_KEY)],
            &[
                ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
                ("x-amz-server-side-encryption-customer-key", CUSTOMER_KEY),
            ],
        ),
    ];
    for (settings, headers) in cases {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = S3Server::start(folder.path());
        let site = Site::start_with(|base| {
            let base = store.as_store(ServerSettings::new(&base.data_dir));
            settings.iter().fold(base, |base, (name, value)| base.env(&format!("MILLRACE_STORE_{name}"), value))
        });
        site.apply(&Pipeline::new("events"));
        site.put_lines("events", (0..100).map(|id| format!("{{\"id\":{id}}}")));
        site.flush("events");
        assert_eq!(site.count("events"), 100);
        let puts = store.faults.puts();
        assert!(puts.len() >= 3, "data, manifest and metadata: {puts:?}");
        for put in &puts {
            for (name, value) in headers {
                assert_eq!(put.get(*name).map(String::as_str), Some(*value), "{settings:?}: {put:?}");
            }
        }
        assert!(!site.server.log().contains(CUSTOMER_KEY));
    }
}
