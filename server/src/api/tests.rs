//! The wire as a client sees it: a real server in this process, with its log and meta store on disk.

mod records;
mod streams;
mod bad_input;
mod process;
mod metrics;
mod auth;
mod ports;
mod sql;

use std::collections::BTreeMap;

use millrace_proto::v1;
use millrace_proto::v1::record_service_client::RecordServiceClient;
use millrace_proto::v1::stream_service_client::StreamServiceClient;
use tonic::Status;
use tonic::transport::Channel;
use tonic_types::StatusExt;

use crate::config::{Layers, Settings};
use crate::serve::{self, Running};

/// A server on a folder of its own.
struct World {
    folder: tempfile::TempDir,
    running: Running,
    records: RecordServiceClient<Channel>,
    streams: StreamServiceClient<Channel>,
}

/// Settings for free ports and a small server, changed by environment names.
fn settings(folder: &std::path::Path, environment: &[(&str, &str)]) -> Settings {
    let data_dir = folder.join("data").display().to_string();
    let fixed = [
        ("MILLRACE_DATA_DIR", data_dir.as_str()),
        ("MILLRACE_GRPC_LISTEN", "127.0.0.1:0"),
        ("MILLRACE_HTTP_LISTEN", "127.0.0.1:0"),
        ("MILLRACE_STORE_URL", "memory:///"),
        ("MILLRACE_STREAMS_IN_BYTES_PER_SECOND", "0"),
        ("MILLRACE_STREAMS_IN_RECORDS_PER_SECOND", "0"),
        ("MILLRACE_STREAMS_OUT_BYTES_PER_SECOND", "0"),
    ];
    let both = fixed.iter().chain(environment).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let layers = Layers { environment: both.collect::<BTreeMap<_, _>>(), ..Layers::default() };
    layers.load().unwrap().settings
}

impl World {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::on(folder, environment).await
    }

    async fn on(folder: tempfile::TempDir, environment: &[(&str, &str)]) -> Self {
        let running = serve::start(settings(folder.path(), environment)).await.unwrap();
        let endpoint = Channel::from_shared(format!("http://{}", running.grpc_addr())).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let records = RecordServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20);
        Self { folder, running, records, streams: StreamServiceClient::new(channel) }
    }

    async fn create(&mut self, name: &str, shard_count: u32) -> v1::Stream {
        let request = v1::CreateStreamRequest { name: name.to_owned(), shard_count, ..Default::default() };
        self.streams.create_stream(request).await.unwrap().into_inner().stream.unwrap()
    }

    /// A path of the HTTP side: its status and body.
    async fn http(&self, path: &str) -> (u16, String) {
        http(self.running.http_addr(), path).await
    }

    async fn close(self) -> tempfile::TempDir {
        self.running.shutdown().cancel();
        self.running.join().await.unwrap();
        self.folder
    }
}

/// One request over HTTP/1.1, by hand: the tests need no client of their own for three paths.
async fn http(addr: std::net::SocketAddr, path: &str) -> (u16, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut connection = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: millrace\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// What programs read of an error: reason, field, and whether a retry is told.
fn details(status: &Status) -> (String, Option<String>, bool) {
    let details = status.get_error_details();
    let field = details.bad_request().and_then(|bad| bad.field_violations.first()).map(|first| first.field.clone());
    (details.error_info().unwrap().reason.clone(), field, details.retry_info().is_some())
}

fn record(key: &str, data: impl Into<bytes::Bytes>) -> v1::PutRecord {
    v1::PutRecord { partition_key: key.to_owned(), explicit_hash_key: None, data: data.into() }
}

fn put(stream: &str, records: Vec<v1::PutRecord>) -> v1::PutRequest {
    v1::PutRequest { stream: stream.to_owned(), records, ..v1::PutRequest::default() }
}

fn trim_horizon() -> Option<v1::Position> {
    let trim_horizon = v1::position::TrimHorizon {};
    Some(v1::Position { position: Some(v1::position::Position::TrimHorizon(trim_horizon)) })
}

fn get(stream: &str) -> v1::GetRequest {
    v1::GetRequest { stream: stream.to_owned(), position: trim_horizon(), ..Default::default() }
}

/// The offsets of placed records; a failure fails the test.
fn offsets(response: &v1::PutResponse) -> Vec<u64> {
    let placed = response.results.iter().map(|result| match result.result.as_ref().unwrap() {
        v1::put_result::Result::Placed(placed) => placed.offset,
        v1::put_result::Result::Error(error) => panic!("{error:?}"),
    });
    placed.collect()
}
