//! `millrace serve`: runs the server until a signal.

use std::io::{self, Write};
use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, Result};
use crate::config::{ConfigError, Layers, Loaded, settings_help};
use crate::serve;

/// Run the server.
///
/// Every setting has a key, for `millrace.toml` and `--set`, and an environment name; the commonest have a flag too.
#[derive(Debug, clap::Args)]
#[command(after_long_help = settings_help())]
pub(super) struct ServeArgs {
    /// The settings file [env: MILLRACE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Everything the server keeps on this machine's disk [env: MILLRACE_DATA_DIR] [default: millrace-data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Where gRPC listens; port 0 takes a free one [env: MILLRACE_GRPC_LISTEN] [default: 127.0.0.1:7070]
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<String>,
    /// Where health, readiness and metrics are served [env: MILLRACE_HTTP_LISTEN] [default: 127.0.0.1:7080]
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Option<String>,
    /// Where the AWS protocols are served alone, beside the HTTP address [env: MILLRACE_KINESIS_LISTEN]
    #[arg(long, value_name = "ADDRESS")]
    kinesis_listen: Option<String>,
    /// Where tables and exports lie: file:///folder, s3://bucket/prefix or memory:/// [env: MILLRACE_STORE_URL]
    /// [default: the folder `lake` of the data folder]
    #[arg(long, value_name = "URL")]
    store_url: Option<String>,
    /// Log lines as text or json [env: MILLRACE_LOGGING_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// Log level or directives [env: MILLRACE_LOGGING_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any setting by its key, such as streams.count_max=50; repeatable. --help lists the keys
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

impl ServeArgs {
    fn load(self) -> Result<Loaded> {
        let mut layers = Layers::of_process();
        layers.file = self.config.or(layers.file);
        for setting in &self.settings {
            let Some((key, value)) = setting.split_once('=') else {
                return Err(Failure::usage(format!("--set {setting}: a key, '=' and a value are wanted")));
            };
            layers = layers.flag(&format!("--set {key}"), key, Some(value));
        }
        let path = |path: Option<PathBuf>| path.map(|path| path.to_string_lossy().into_owned());
        layers
            .flag("--data-dir", "data_dir", path(self.data_dir))
            .flag("--grpc-listen", "grpc_listen", self.grpc_listen)
            .flag("--http-listen", "http_listen", self.http_listen)
            .flag("--kinesis-listen", "kinesis_listen", self.kinesis_listen)
            .flag("--store-url", "store.url", self.store_url)
            .flag("--log-format", "logging.format", self.log_format)
            .flag("--log-level", "logging.level", self.log_level)
            .load()
            .map_err(|error: ConfigError| Failure::usage(error))
    }
}

/// Runs the server until SIGTERM or SIGINT, then drains. A second signal ends the process at once.
///
/// # Errors
/// What kept the server from starting, or from closing cleanly.
pub(super) async fn run(args: ServeArgs) -> Result<()> {
    let Loaded { settings, unknown_names } = args.load()?;
    serve::start_logging(&settings.logging).map_err(Failure::usage)?;
    for name in unknown_names {
        tracing::warn!(name, "no setting has this environment name; `millrace serve --help` lists them");
    }
    tracing::debug!(?settings, "settings");
    let mut signals = Signals::new().map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
    let running = serve::start(settings).await.map_err(Failure::new)?;
    print_addresses(&running);
    let shutdown = running.shutdown().clone();
    let closed = running.join();
    tokio::pin!(closed);
    let mut asked = false;
    loop {
        tokio::select! {
            outcome = &mut closed => return outcome.map_err(Failure::new),
            name = signals.next() => {
                if asked {
                    return Err(Failure::new(format!("{name} came twice; closed without finishing the drain")));
                }
                tracing::info!(signal = name, "closing; a second signal ends the process at once");
                asked = true;
                shutdown.cancel();
            }
        }
    }
}

/// For people and scripts; log lines go to stderr.
fn print_addresses(running: &serve::Running) {
    let mut out = io::stdout().lock();
    // A closed stdout leaves nobody to tell.
    let scheme = if running.is_tls() { "https" } else { "http" };
    let _ = writeln!(out, "gRPC on {scheme}://{}\nHTTP on {scheme}://{}", running.grpc_addr(), running.http_addr());
    if let Some(addr) = running.kinesis_addr() {
        let _ = writeln!(out, "Kinesis on {scheme}://{addr}");
    }
    let _ = out.flush();
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
