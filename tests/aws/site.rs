//! Servers for the suites, and requests without an SDK.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use millrace_tests::server::{Server, ServerSettings};
use millrace_tests::{certificate, cli};
use serde_json::Value;
use tempfile::TempDir;

/// 32 bytes in base64.
pub(crate) const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A second subscription is refused however long a client on a busy machine takes to ask for it.
pub(crate) const NO_TAKEOVER: (&str, &str) = ("MILLRACE_KINESIS_TAKEOVER_AFTER", "10m");

/// A server with its folder.
pub(crate) struct Site {
    pub(crate) server: Server,
    folder: TempDir,
}

impl Site {
    /// A server with these settings on top of its defaults.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { server: Server::start(&on_top(&folder, settings)), folder }
    }

    /// A server that lets nobody in but by principals, with the first of them, who may do everything.
    pub(crate) fn with_auth() -> (Self, Principal) {
        let site = Self::with(&[("MILLRACE_AUTH", "on"), ("MILLRACE_ENCRYPTION_MASTER_KEY", MASTER_KEY), NO_TAKEOVER]);
        let root = Principal::create(&site, "", &["root"]);
        (site, root)
    }

    /// As [`Site::with_auth`], over TLS; with what the command line needs to be the principal.
    pub(crate) fn with_auth_over_tls() -> (Self, Principal, Vec<(&'static str, String)>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [cert, key] = certificate::write(folder.path()).map(|path| path.display().to_string());
        let tls = [("MILLRACE_TLS_CERT_PATH", cert.as_str()), ("MILLRACE_TLS_KEY_PATH", &key)];
        let auth = [("MILLRACE_AUTH", "on"), ("MILLRACE_ENCRYPTION_MASTER_KEY", MASTER_KEY)];
        let server = Server::start(&on_top(&folder, &[tls, auth].concat()));
        let site = Self { server, folder };
        let root = Principal::create_with(&site, &[("MILLRACE_CA_FILE", &cert)], &["root"]);
        let environment = vec![("MILLRACE_CA_FILE", cert), ("MILLRACE_TOKEN", root.token.clone())];
        (site, root, environment)
    }

    /// Kills the server and starts it with these settings on top of its defaults, in place of those that it had.
    pub(crate) fn restart_with(&mut self, settings: &[(&str, &str)]) {
        self.server.kill();
        self.server.restart_with(&on_top(&self.folder, settings));
    }

    /// Where HTTP is served.
    pub(crate) fn http(&self) -> &str {
        self.server.http_endpoint()
    }

    /// The folder that holds the server's own, `data`.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Stops the server in order, and has the log checked block by block.
    pub(crate) fn stop_and_verify(mut self) {
        assert!(self.server.stop().success(), "the drained server exits well");
        let data_dir = self.folder.path().join("data");
        let data_dir = data_dir.to_str().expect("a UTF-8 path");
        let _said = millrace_tests::cli::millrace_alone(&["log", "verify", "--data-dir", data_dir]).ok();
    }
}

fn on_top(folder: &TempDir, settings: &[(&str, &str)]) -> ServerSettings {
    let base = ServerSettings::new(&folder.path().join("data"));
    settings.iter().fold(base, |made, (name, value)| made.env(name, value))
}

/// A principal's key, as it is told once.
#[derive(Debug)]
pub(crate) struct Principal {
    pub(crate) access_key_id: String,
    pub(crate) secret: String,
    /// Both, for gRPC.
    pub(crate) token: String,
}

impl Principal {
    /// Makes a principal on behalf of whose token it is.
    pub(crate) fn create(site: &Site, token: &str, arguments: &[&str]) -> Self {
        Self::create_with(site, &[("MILLRACE_TOKEN", token)], arguments)
    }

    fn create_with(site: &Site, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let arguments = [&["principal", "create", "--output", "json"], arguments].concat();
        let created = cli::millrace_with(&site.server, environment, &arguments).ok().json();
        let text = |key: &str| created[key].as_str().expect("a new key has it").to_owned();
        Self { access_key_id: text("access_key_id"), secret: text("secret_access_key"), token: text("token") }
    }
}

/// Runs a client's program, which prints JSON; one that fails tells why.
pub(crate) fn run(program: &mut Command) -> Value {
    let output = program.output().unwrap_or_else(|error| panic!("{program:?} cannot be run: {error}"));
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?} failed:\n{complained}");
    serde_json::from_slice(&output.stdout).expect("the program prints JSON")
}

/// Calls an operation with a JSON body; gives the status and the answer.
pub(crate) fn call(endpoint: &str, operation: &str, body: &Value) -> (u16, Value) {
    call_target(endpoint, &format!("Kinesis_20131202.{operation}"), body)
}

/// As [`call`], of any service.
pub(crate) fn call_target(endpoint: &str, target: &str, body: &Value) -> (u16, Value) {
    let (address, body) = (endpoint.trim_start_matches("http://"), body.to_string());
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket takes a time-out");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/x-amz-json-1.1\r\n\
         X-Amz-Target: {target}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).expect("the request is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer comes");
    let answer = String::from_utf8(answer).expect("the answer is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).expect("the body is JSON") };
    (status, body)
}
