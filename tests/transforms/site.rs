//! One site for one test: a temporary folder with a server, a stream, and deliveries that call modules.

use std::path::{Path, PathBuf};

use millrace_tests::cli::{self, Said};
use millrace_tests::server::{Server, ServerSettings};
use serde_json::Value;
use tempfile::TempDir;

/// A running server and its folders.
#[derive(Debug)]
pub(crate) struct Site {
    // Declared first, so that the server is gone before its folder.
    pub(crate) server: Server,
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
        let server = Server::start(&adjust(settings));
        Self { server, lake, folder }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        cli::millrace(&self.server, arguments)
    }

    /// The answer of a command of `millrace transform`, as JSON.
    pub(crate) fn transform(&self, arguments: &[&str]) -> Value {
        self.run(&[&["transform"], arguments, &["--output", "json"]].concat()).ok().json()
    }

    /// Declares the stream `name` with a table and a delivery of the same name and these steps.
    pub(crate) fn apply(&self, name: &str, transforms: &str) -> Said {
        let file = self.write("pipeline.toml", pipeline(name, transforms));
        self.run(&["apply", "-f", text(&file)])
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("the test's folder can be written");
        path
    }

    pub(crate) fn put_lines(&self, stream: &str, lines: impl IntoIterator<Item = String>) {
        let mut content = lines.into_iter().collect::<Vec<_>>().join("\n");
        content.push('\n');
        let file = self.write("lines.jsonl", content);
        let _said = self.run(&["put", stream, text(&file)]).ok();
    }

    pub(crate) fn flush(&self, delivery: &str) {
        let _said = self.run(&["delivery", "flush", delivery]).ok();
    }

    pub(crate) fn number(&self, query: &str) -> i64 {
        cli::sql_number(&self.server, query)
    }

    /// The records that a delivery set aside, as they lie in the store.
    pub(crate) fn set_aside(&self) -> Vec<Value> {
        let files = millrace_tests::listing::files(&self.lake, "jsonl");
        let lines = files.iter().flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("a set-aside file is text");
            text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect::<Vec<Value>>()
        });
        lines.collect()
    }
}

fn pipeline(name: &str, transforms: &str) -> String {
    format!(
        r#"
[[stream]]
name = "{name}"
shards = 1
[stream.quota]
in_bytes_per_second = "off"
in_records_per_second = "off"
out_bytes_per_second = "off"

[[table]]
name = "{name}"

[[delivery]]
name = "{name}"
stream = "{name}"
table = "{name}"
transforms = {transforms}
buffer_interval = "900s"
"#
    )
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a test's paths are UTF-8")
}
