//! The process's own log lines, on stderr, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LoggingFormat, LoggingSettings};
use crate::error::{Error, Result};

/// Starts logging for the whole process; a second start changes nothing.
///
/// # Errors
/// Where the level is no filter.
pub fn start_logging(settings: &LoggingSettings) -> Result<()> {
    let filter = EnvFilter::try_new(&settings.level)
        .map_err(|error| Error::invalid(format_args!("logging.level {:?} is no filter: {error}", settings.level)))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match settings.format {
        LoggingFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LoggingFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
    Ok(())
}
