//! A server with 3,000 flights: 1,000 delivered, then 1,000 delivered apart, then 1,000 still in the log.

use millrace_tests::cli::{self, Said};
use millrace_tests::flights;
use millrace_tests::pipeline::Pipeline;
use millrace_tests::server::{Server, ServerSettings};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const FLIGHTS: usize = 3000;

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) server: Server,
    folder: TempDir,
}

impl Site {
    pub(crate) fn start(pipeline: &Pipeline) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = ServerSettings::new(&folder.path().join("data"))
            .env("MILLRACE_STORE_URL", format!("file://{}", folder.path().join("lake").display()));
        let site = Self { server: Server::start(&settings), folder };
        let file = pipeline.write(site.folder.path());
        let _said = site.run(&["apply", "-f", file.to_str().expect("a UTF-8 path")]).ok();
        site
    }

    pub(crate) fn with_flights() -> Self {
        let site = Self::start(&Pipeline::new("flights"));
        let lines: Vec<String> = flights::lines().take(FLIGHTS).collect();
        site.put("flights", &lines[..1000]);
        site.flush("flights");
        site.put("flights", &lines[1000..2000]);
        site.flush("flights");
        site.put("flights", &lines[2000..]);
        site
    }

    pub(crate) fn put(&self, stream: &str, lines: &[impl AsRef<str>]) {
        let file = self.folder.path().join("lines.jsonl");
        let content: String = lines.iter().map(|line| format!("{}\n", line.as_ref())).collect();
        std::fs::write(&file, content).expect("the test's folder can be written");
        let _said = self.run(&["put", stream, file.to_str().expect("a UTF-8 path")]).ok();
    }

    pub(crate) fn flush(&self, delivery: &str) {
        let _said = self.run(&["delivery", "flush", delivery]).ok();
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        cli::millrace(&self.server, arguments)
    }

    pub(crate) fn sql(&self, query: &str) -> Vec<Value> {
        cli::sql(&self.server, query)
    }

    pub(crate) fn number(&self, query: &str) -> i64 {
        cli::sql_number(&self.server, query)
    }
}
