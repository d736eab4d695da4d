//! NATS JetStream with `sync_interval: always`; the load is `nats bench`, its own tool.

use std::io;
use std::path::Path;
use std::process::Command;

use super::{Process, free_port, installed, output, write};
use crate::load::Producers;

/// A NATS server.
#[derive(Debug)]
pub struct Nats {
    _process: Process,
    url: String,
}

impl Nats {
    /// Starts one below `folder`; `None` where NATS or its tool is not installed.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(folder: &Path) -> io::Result<Option<Self>> {
        if !installed("bin/nats").is_file() {
            return Ok(None);
        }
        let port = free_port()?;
        let store = folder.join("jetstream");
        let settings = format!(
            "listen: \"127.0.0.1:{port}\"\nmax_payload: 8MB\njetstream {{\n  store_dir: \"{}\"\n  sync_interval: always\n  max_file_store: 64GB\n}}\n",
            store.display()
        );
        let settings = write(folder, "nats.conf", &settings)?;
        let mut command = Command::new(installed("bin/nats-server"));
        command.arg("-c").arg(settings);
        let Some(mut process) = Process::start(&mut command)? else { return Ok(None) };
        process.listening(port)?;
        Ok(Some(Self { _process: process, url: format!("nats://127.0.0.1:{port}") }))
    }

    /// Publishes `messages` and gives messages a second. `way` is the tool's way of batching: `async` waits for the
    /// acknowledgements of a batch, `atomic` has the server store a batch as one.
    ///
    /// # Errors
    /// When the tool fails or prints something else than expected.
    pub async fn run(&self, way: &str, workload: Producers, messages: usize) -> io::Result<f64> {
        let mut command = Command::new(installed("bin/nats"));
        command.args(["--server", &self.url, "bench", "js", "pub", way, "bench"]);
        command.args(["--stream", &format!("bench-{way}"), "--create", "--storage", "file", "--maxbytes", "32GB"]);
        command.args(["--clients", &workload.producers.to_string(), "--msgs", &messages.to_string()]);
        command.args(["--size", &workload.record_bytes.to_string(), "--batch", &workload.batch_records.to_string()]);
        command.arg("--no-progress");
        let text = output(command).await?;
        rate(&text).ok_or_else(|| io::Error::other(format!("nats bench printed no rate: {text}")))
    }
}

/// The "1,234 msgs/sec" of all clients together.
fn rate(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(" aggregated stats: "))?;
    line.split(" msgs/sec").next()?.rsplit(' ').next()?.replace(',', "").parse().ok()
}
