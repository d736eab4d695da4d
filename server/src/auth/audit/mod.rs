//! The audit log: who changed what, and who was denied what. One line an event, in the process's own log under the target
//! `audit` and, where a path is set, in a file of JSON lines. Never data, never a secret.

mod file;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytesize::ByteSize;
use millrace_storage::time::Clock;
use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec};
use serde::{Deserialize, Serialize};

use self::file::AuditFile;
use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// Settings of `[audit]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSettings {
    /// A file of JSON lines that is appended to; none when not set.
    pub path: Option<PathBuf>,
    /// The most bytes of the file; past it a new one is begun.
    pub bytes_max: ByteSize,
    /// How many older files are kept, as `<path>.1` and so on.
    pub files_max: u32,
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self { path: None, bytes_max: ByteSize::mib(64), files_max: 8 }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// Nobody knows the caller.
    Unauthenticated,
    /// No grant allows it.
    Denied,
    /// It failed for another reason.
    Failed,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// An event to tell.
#[derive(Debug, Clone, Serialize)]
pub struct Entry<'a> {
    /// The principal's name; `(anyone)` while auth is off.
    pub caller: &'a str,
    /// Where the call came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<SocketAddr>,
    /// The call, such as `millrace.v1.StreamService/DeleteStream`.
    pub call: &'a str,
    /// What it named.
    pub resources: &'a [String],
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it did not end well.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(flatten)]
    entry: &'a Entry<'a>,
}

/// Where events are told. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Option<Mutex<AuditFile>>,
    clock: Clock,
    entries: IntCounterVec,
    errors: IntCounter,
}

impl Audit {
    /// Opens the file, where one is set.
    ///
    /// # Errors
    /// Where it cannot be written to: who wants an audit log must not run without.
    pub fn open(settings: &AuditSettings, clock: Clock, metrics: &Metrics) -> Result<Self> {
        let file = settings.path.as_ref().map(|path| {
            let opened = AuditFile::open(path, settings.bytes_max.as_u64(), settings.files_max);
            opened.map_err(|error| {
                Error::unavailable(format_args!(
                    "cannot write to the audit log {} (audit.path): {error}",
                    path.display()
                ))
            })
        });
        Ok(Self(Arc::new(Inner {
            file: file.transpose()?.map(Mutex::new),
            clock,
            entries: metrics.counters(
                "millrace_audit_entries_total",
                "Events of the audit log, by outcome",
                &["outcome"],
            ),
            errors: metrics.counter("millrace_audit_errors_total", "Events that the audit log's file did not take"),
        })))
    }

    /// Tells an event. A file that fails is told in the process's log and counted; the call goes on.
    pub fn tell(&self, entry: &Entry<'_>) {
        let Entry { caller, peer, call, resources, outcome, reason } = entry;
        self.0.entries.with_label_values(&[outcome.as_str()]).inc();
        let peer = peer.map(tracing::field::display);
        tracing::info!(target: "audit", caller, peer, call, ?resources, outcome = outcome.as_str(), reason, "call");
        let Some(file) = &self.0.file else { return };
        let line = Line { time: self.0.clock.now().to_string(), entry };
        let written = serde_json::to_vec(&line).map_err(std::io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            file.lock().append(&line)
        });
        if let Err(error) = written {
            self.0.errors.inc();
            tracing::error!(%error, "the audit log's file does not take an event");
        }
    }

    /// Tells of credentials that were refused before anything was known of the caller.
    pub(super) fn refused(&self, scheme: &str, call: &str, reason: &str) {
        let outcome = Outcome::Unauthenticated;
        self.tell(&Entry {
            caller: "(unknown)",
            peer: None,
            call: &format!("{call} by {scheme}"),
            resources: &[],
            outcome,
            reason,
        });
    }
}

#[cfg(test)]
mod tests {
    use millrace_storage::time::Timestamp;

    use super::*;

    #[test]
    fn an_event_is_a_line_of_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let settings = AuditSettings { path: Some(path.clone()), ..AuditSettings::default() };
        let metrics = Metrics::new();
        let audit = Audit::open(&settings, Clock::new(|| Timestamp(0)), &metrics).unwrap();
        let resources = ["stream/flights".to_owned()];
        let entry = Entry {
            caller: "ann",
            peer: Some("10.0.0.7:5000".parse().unwrap()),
            call: "millrace.v1.StreamService/DeleteStream",
            resources: &resources,
            outcome: Outcome::Denied,
            reason: "no grant \"allows\" it\n",
        };
        audit.tell(&entry);
        audit.refused("bearer", "millrace.v1.RecordService/Put", "wrong");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(lines[0]["caller"], "ann");
        assert_eq!(lines[0]["peer"], "10.0.0.7:5000");
        assert_eq!(lines[0]["resources"][0], "stream/flights");
        assert_eq!(lines[0]["outcome"], "denied");
        assert_eq!(lines[1]["outcome"], "unauthenticated");
        let text = metrics.text();
        assert!(text.contains("millrace_audit_entries_total{outcome=\"denied\"} 1"), "{text}");
    }

    #[test]
    fn a_file_that_cannot_be_written_keeps_the_server_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        let settings = AuditSettings { path: Some(folder.path().join("no/such/folder/x")), ..AuditSettings::default() };
        let error = Audit::open(&settings, Clock::system(), &Metrics::new()).unwrap_err().to_string();
        assert!(error.contains("audit.path") && error.contains("no/such/folder"), "{error}");
    }
}
