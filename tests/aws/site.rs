//! Servers for the suites, and requests without an SDK.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use millrace_tests::server::{Server, ServerSettings};
use serde_json::Value;
use tempfile::TempDir;

/// A server with its folder.
pub(crate) struct Site {
    pub(crate) server: Server,
    folder: TempDir,
}

impl Site {
    /// A server with these settings on top of its defaults.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let base = ServerSettings::new(&folder.path().join("data"));
        let settings = settings.iter().fold(base, |made, (name, value)| made.env(name, value));
        Self { server: Server::start(&settings), folder }
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
