//! One site for one test: a temporary folder with a server, its tables on disk beside its data.

use std::path::{Path, PathBuf};

use millrace_tests::cli::{self, Said};
use millrace_tests::pipeline::Pipeline;
use millrace_tests::server::{Server, ServerSettings};
use tempfile::TempDir;

/// A running server and its folders.
#[derive(Debug)]
pub(crate) struct Site {
    // Declared first, so that the server is gone before its folder.
    pub(crate) server: Server,
    pub(crate) settings: ServerSettings,
    pub(crate) lake: PathBuf,
    folder: TempDir,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::start_with(|settings| settings)
    }

    pub(crate) fn start_with(adjust: impl FnOnce(ServerSettings) -> ServerSettings) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let lake = folder.path().join("lake");
        let settings = ServerSettings::new(&folder.path().join("data"))
            .env("MILLRACE_STORE_URL", format!("file://{}", lake.display()));
        let settings = adjust(settings);
        let server = Server::start(&settings);
        Self { server, settings, lake, folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        cli::millrace(&self.server, arguments)
    }

    pub(crate) fn apply(&self, pipeline: &Pipeline) -> Said {
        let file = pipeline.write(self.folder());
        self.run(&["apply", "-f", text(&file)]).ok()
    }

    /// Puts lines of a file as records, through the client.
    pub(crate) fn put_lines(&self, stream: &str, lines: impl IntoIterator<Item = String>) -> Said {
        let file = self.folder().join("lines.jsonl");
        let mut content = lines.into_iter().collect::<Vec<_>>().join("\n");
        content.push('\n');
        std::fs::write(&file, content).expect("the test's folder can be written");
        self.run(&["put", stream, text(&file)]).ok()
    }

    pub(crate) fn flush(&self, delivery: &str) {
        let _said = self.run(&["delivery", "flush", delivery]).ok();
    }

    pub(crate) fn count(&self, table: &str) -> i64 {
        cli::sql_number(&self.server, &format!("select count(*) from {table}"))
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a test's paths are UTF-8")
}
