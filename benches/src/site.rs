//! A release server on a temporary folder of the measured disk.

use std::path::{Path, PathBuf};

use millrace_proto::v1::CreateStreamRequest;
use millrace_tests::grpc;
use millrace_tests::server::{Server, ServerSettings};
use tempfile::TempDir;

/// A running server and its folder.
#[derive(Debug)]
pub struct Site {
    /// The server; killed before its folder goes.
    pub server: Server,
    /// How it was started.
    pub settings: ServerSettings,
    folder: TempDir,
}

impl Site {
    /// Starts a server with default settings below `parent`.
    ///
    /// # Panics
    /// When the folder cannot be made or the server does not start.
    #[must_use]
    pub fn start(parent: &Path) -> Self {
        Self::start_with(parent, |settings| settings)
    }

    /// As [`Site::start`], with other settings.
    ///
    /// # Panics
    /// When the folder cannot be made or the server does not start.
    #[must_use]
    pub fn start_with(parent: &Path, change: impl FnOnce(ServerSettings) -> ServerSettings) -> Self {
        std::fs::create_dir_all(parent).expect("the folder can be made");
        let folder = tempfile::tempdir_in(parent).expect("a folder can be made");
        let settings = change(ServerSettings::new(&folder.path().join("data")));
        Self { server: Server::start(&settings), settings, folder }
    }

    /// The server's folder.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }

    /// Creates a stream without quotas.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn create_stream(&self, name: &str, shard_count: u32) {
        let channel = grpc::connect(&self.server.endpoint()).await.expect("the server listens");
        let request = CreateStreamRequest {
            name: name.to_owned(),
            shard_count,
            in_bytes_per_second: Some(0),
            in_records_per_second: Some(0),
            out_bytes_per_second: Some(0),
            ..CreateStreamRequest::default()
        };
        grpc::streams(&channel).create_stream(request).await.expect("a stream can be created");
    }
}

/// A number of the server's metrics, summed over its labels; `None` where there is no such metric.
#[must_use]
pub fn metric(server: &Server, name: &str) -> Option<f64> {
    let (_, text) = server.http_get("/metrics");
    let lines = text.lines().filter(|line| line.starts_with(name) && line[name.len()..].starts_with([' ', '{']));
    let numbers: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    (!numbers.is_empty()).then(|| numbers.iter().sum())
}
