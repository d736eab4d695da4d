//! Authentication as an operator meets it: the first principal, tokens in the environment, what is refused at the start.

use std::path::{Path, PathBuf};

use millrace_tests::cli::{self, Said};
use millrace_tests::server::ServerSettings;
use millrace_tests::site::{Site, text};
use serde_json::Value;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn closed(settings: ServerSettings) -> ServerSettings {
    let file = settings.data_dir.with_file_name("master.key");
    std::fs::write(&file, KEY).expect("the test's folder can be written");
    settings.env("MILLRACE_AUTH", "on").env("MILLRACE_ENCRYPTION_MASTER_KEY_FILE", file.display())
}

fn run(site: &Site, token: &str, arguments: &[&str]) -> Said {
    cli::millrace_with(&site.server, &[("MILLRACE_TOKEN", token)], arguments)
}

fn create(site: &Site, token: &str, arguments: &[&str]) -> Value {
    let arguments = [&["principal", "create", "--output", "json"], arguments].concat();
    run(site, token, &arguments).ok().json()
}

fn token(created: &Value) -> String {
    created["token"].as_str().expect("a token").to_owned()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[test]
fn from_the_first_principal_to_a_denied_one() {
    let mut site = Site::start_with(closed);
    let said = site.run(&["stream", "list"]).failed();
    assert!(said.stderr.contains("no principal exists yet"), "{}", said.stderr);
    let root = token(&create(&site, "", &["root"]));
    assert_eq!(site.run(&["health"]).ok().stdout.trim(), "serving", "a health check needs no token");
    let said = site.run(&["principal", "create", "thief"]).failed();
    assert!(said.stderr.contains("no credentials") && said.stderr.contains("MILLRACE_TOKEN"), "{}", said.stderr);
    let _said = run(&site, &root, &["stream", "create", "billing-1"]).ok();
    let billing = create(&site, &root, &["billing", "--grant", "put,get,describe_stream on stream/billing-*"]);
    let secret = billing["secret_access_key"].as_str().expect("a secret").to_owned();
    let billing = token(&billing);
    let lines = site.folder().join("lines.jsonl");
    std::fs::write(&lines, "{\"a\":1}\n").expect("the test's folder can be written");
    let _said = run(&site, &billing, &["put", "billing-1", text(&lines)]).ok();
    let said = run(&site, &billing, &["stream", "delete", "billing-1", "--yes"]).failed();
    assert!(said.stderr.contains("principal billing may not delete_stream"), "{}", said.stderr);
    let said = run(&site, &billing, &["sql", "select * from system.streams"]).failed();
    assert!(said.stderr.contains("may not query"), "{}", said.stderr);

    // A stolen folder has no secret, and neither has the server's own log.
    for file in files_below(&site.settings.data_dir) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for needle in [&secret, root.split_once('.').expect("a token").1] {
            let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
            assert!(!found, "{} holds a secret", file.display());
        }
    }
    assert!(!site.server.log().contains(&secret));
    let described = run(&site, &root, &["principal", "describe", "billing", "--output", "json"]).ok();
    assert!(!described.stdout.contains(&secret) && described.stdout.contains("stream/billing-*"));

    site.server.kill();
    let said = site.run(&["health"]).failed();
    assert!(said.stderr.contains("no connection to the server"), "{}", said.stderr);
    site.server.restart();
    let _said = run(&site, &billing, &["stream", "describe", "billing-1"]).ok();
    let _said = run(&site, &root, &["principal", "disable", "billing"]).ok();
    let said = run(&site, &billing, &["stream", "describe", "billing-1"]).failed();
    assert!(said.stderr.contains("principal billing is disabled"), "{}", said.stderr);
    let _said = run(&site, &root, &["principal", "enable", "billing"]).ok();
    let rotated = run(&site, &root, &["principal", "rotate", "billing", "--output", "json"]).ok().json();
    let _said = run(&site, &billing, &["stream", "describe", "billing-1"]).failed();
    let _said = run(&site, &token(&rotated), &["stream", "describe", "billing-1"]).ok();
    let _said =
        run(&site, &root, &["principal", "revoke", "billing", "put,get,describe_stream", "stream/billing-*"]).ok();
    let _said = run(&site, &token(&rotated), &["stream", "describe", "billing-1"]).failed();
    let _said = run(&site, &root, &["principal", "delete", "billing", "--yes"]).ok();
    let listed = run(&site, &root, &["principal", "list", "--output", "json"]).ok().json();
    assert_eq!(listed.as_array().expect("a list").len(), 1);
    let said = run(&site, &root, &["principal", "delete", "root", "--yes"]).failed();
    assert!(said.stderr.contains("last that may manage principals"), "{}", said.stderr);
}

#[test]
fn without_a_master_key_the_error_says_what_to_set() {
    let site = Site::start_with(|settings| settings.env("MILLRACE_AUTH", "on"));
    let said = site.run(&["principal", "create", "root"]).failed();
    assert!(said.stderr.contains("MILLRACE_ENCRYPTION_MASTER_KEY_FILE"), "{}", said.stderr);
}

#[test]
fn an_open_server_says_so_and_listens_elsewhere_only_when_forced() {
    let site = Site::start();
    assert!(site.server.log().contains("auth is off"), "{}", site.server.log());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = ServerSettings::new(&folder.path().join("data")).env("MILLRACE_HTTP_LISTEN", "0.0.0.0:0");
    let (status, said) = settings.run_refused();
    assert!(!status.success() && said.contains("http_listen") && said.contains("MILLRACE_AUTH_OFF_ANYWHERE"), "{said}");
    let forced = Site::start_with(|settings| {
        settings.env("MILLRACE_HTTP_LISTEN", "0.0.0.0:0").env("MILLRACE_AUTH_OFF_ANYWHERE", "true")
    });
    assert!(forced.server.log().contains("everybody who reaches these addresses"), "{}", forced.server.log());
}
