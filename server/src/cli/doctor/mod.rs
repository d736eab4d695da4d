//! `millrace doctor`: checks what `serve` will need, before it needs it. Leaves nothing behind.

mod disk;
mod store;
mod master;

use std::path::PathBuf;

use serde::Serialize;

use super::output::{OutputArgs, table};
use super::{Failure, Result};
use crate::config::{ConfigError, Layers, Settings};

/// Check the data folder, its disk, the object store and the master key.
///
/// It reads the settings that `millrace serve` would: file, environment and flags. It writes small files into the data
/// folder and the store, and removes them. Exit code 1 when a check fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace doctor --data-dir /var/lib/millrace
  millrace doctor --config millrace.toml --output json
  MILLRACE_STORE_URL=s3://lake/prefix MILLRACE_STORE_ENDPOINT=http://127.0.0.1:9000 \\
      MILLRACE_STORE_ALLOW_HTTP=true millrace doctor")]
pub(super) struct DoctorArgs {
    /// The settings file [env: MILLRACE_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder [env: MILLRACE_DATA_DIR] [default: millrace-data]
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// The object store [env: MILLRACE_STORE_URL] [default: the folder `lake` of the data folder]
    #[arg(long, value_name = "URL")]
    store_url: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What one check found.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    /// What was seen, or what went wrong.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    /// It works, but not well.
    Poor,
    Bad,
}

impl Check {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good, found: found.into(), advice: None }
    }

    fn poor(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Poor, found: found.into(), advice: Some(advice.into()) }
    }

    fn bad(check: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Bad, found: found.into(), advice: Some(advice.into()) }
    }
}

pub(super) async fn run(args: DoctorArgs) -> Result<()> {
    let output = args.output;
    let settings = args.settings()?;
    let data_dir = std::path::absolute(&settings.data_dir).map_err(Failure::new)?;
    let store = settings.store.settings(&data_dir);
    let mut checks = tokio::task::spawn_blocking(move || disk::check(&data_dir))
        .await
        .map_err(|error| Failure::new(format!("the disk's checks ended early: {error}")))?;
    checks.extend(store::check(&store).await);
    checks.extend(master::check(&settings.encryption).await);
    output.write(&checks, |checks| text(checks))?;
    match checks.iter().filter(|check| check.verdict == Verdict::Bad).count() {
        0 => Ok(()),
        bad => Err(Failure::new(format!("{bad} of {} checks failed", checks.len()))),
    }
}

impl DoctorArgs {
    fn settings(self) -> Result<Settings> {
        let mut layers = Layers::of_process();
        layers.file = self.config.or(layers.file);
        let data_dir = self.data_dir.map(|path| path.to_string_lossy().into_owned());
        layers
            .flag("--data-dir", "data_dir", data_dir)
            .flag("--store-url", "store.url", self.store_url)
            .load()
            .map(|loaded| loaded.settings)
            .map_err(|error: ConfigError| Failure::usage(error))
    }
}

fn text(checks: &[Check]) -> String {
    let row = |check: &Check| {
        let verdict = match check.verdict {
            Verdict::Good => "good",
            Verdict::Poor => "poor",
            Verdict::Bad => "BAD",
        };
        let advice = check.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
        [verdict.to_owned(), check.check.to_owned(), format!("{}{advice}", check.found)]
    };
    table(["", "CHECK", "FOUND"], checks.iter().map(row))
}

#[cfg(test)]
mod tests;
