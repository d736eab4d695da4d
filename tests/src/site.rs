//! One site for one test: a temporary folder with a server, its tables on disk beside its data.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{self, Said};
use crate::pipeline::Pipeline;
use crate::server::{Server, ServerSettings};

/// A running server and its folders.
#[derive(Debug)]
pub struct Site {
    // Declared first, so that the server is gone before its folder.
    /// The server.
    pub server: Server,
    /// How it was started.
    pub settings: ServerSettings,
    /// Where its tables lie.
    pub lake: PathBuf,
    folder: TempDir,
}

impl Site {
    /// Starts a server.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(|settings| settings)
    }

    /// As [`Site::start`], with other settings.
    ///
    /// # Panics
    /// When no folder can be made or the server does not start.
    #[must_use]
    pub fn start_with(adjust: impl FnOnce(ServerSettings) -> ServerSettings) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lake = folder.path().join("lake");
        let settings = ServerSettings::new(&folder.path().join("data"))
            .env("MILLRACE_STORE_URL", format!("file://{}", lake.display()));
        let settings = adjust(settings);
        let server = Server::start(&settings);
        Self { server, settings, lake, folder }
    }

    /// The folder of all that is the test's.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file into the test's folder.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, content).expect("the test's folder can be written");
        path
    }

    /// Runs the program as a client of the server.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Said {
        cli::millrace(&self.server, arguments)
    }

    /// Applies a pipeline, which must be taken.
    pub fn apply(&self, pipeline: &Pipeline) -> Said {
        let file = pipeline.write(self.folder());
        self.run(&["apply", "-f", text(&file)]).ok()
    }

    /// Puts lines of a file as records, through the client.
    pub fn put_lines(&self, stream: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) -> Said {
        let content: String = lines.into_iter().map(|line| format!("{}\n", line.as_ref())).collect();
        let file = self.write("lines.jsonl", content);
        self.run(&["put", stream, text(&file)]).ok()
    }

    /// Delivers what was put, and waits for it.
    pub fn flush(&self, delivery: &str) {
        let _said = self.run(&["delivery", "flush", delivery]).ok();
    }

    /// Rows of an answer.
    #[must_use]
    pub fn sql(&self, query: &str) -> Vec<Value> {
        cli::sql(&self.server, query)
    }

    /// The one number of an answer.
    #[must_use]
    pub fn number(&self, query: &str) -> i64 {
        cli::sql_number(&self.server, query)
    }

    /// Rows of a table, those in the log included.
    #[must_use]
    pub fn count(&self, table: &str) -> i64 {
        self.number(&format!("select count(*) from {table}"))
    }
}

/// A path as an argument.
///
/// # Panics
/// When it is not UTF-8; a test's paths are.
#[must_use]
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a test's paths are UTF-8")
}
