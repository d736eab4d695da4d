//! The newest queries, kept in memory for `system.queries`. It must never grow past its limit.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use millrace_storage::time::Timestamp;
use parking_lot::Mutex;

/// Queries that are remembered.
const KEPT_MAX: usize = 256;
/// Characters of a statement that are remembered.
const SQL_CHARS_MAX: usize = 1024;

/// What is known of one query.
#[derive(Debug, Clone)]
pub(super) struct QueryEntry {
    /// Its number since the start of the process.
    pub(super) id: u64,
    /// The statement, cut where it is very long.
    pub(super) sql: String,
    /// When it arrived.
    pub(super) started: Timestamp,
    /// "running", "ok", "error", "timeout" or "cancelled".
    pub(super) state: &'static str,
    /// Milliseconds from its arrival to its end; to now while it runs.
    pub(super) millis: u64,
    /// Rows sent so far.
    pub(super) rows: u64,
    /// Bytes read from Parquet files; known at its end.
    pub(super) scanned_bytes: u64,
    /// Bytes spilled to disk; known at its end.
    pub(super) spilled_bytes: u64,
    /// What went wrong.
    pub(super) error: Option<String>,
    since: Instant,
}

/// The ring of the newest queries.
#[derive(Debug, Default)]
pub(super) struct QueryHistory {
    last_id: AtomicU64,
    entries: Mutex<VecDeque<QueryEntry>>,
}

impl QueryHistory {
    /// Notes a query that begins and gives it a number.
    pub(super) fn begin(&self, sql: &str) -> u64 {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = QueryEntry {
            id,
            sql: sql.chars().take(SQL_CHARS_MAX).collect(),
            started: Timestamp::now(),
            state: "running",
            millis: 0,
            rows: 0,
            scanned_bytes: 0,
            spilled_bytes: 0,
            error: None,
            since: Instant::now(),
        };
        let mut entries = self.entries.lock();
        if entries.len() == KEPT_MAX {
            entries.pop_front();
        }
        entries.push_back(entry);
        id
    }

    /// Changes what is known of a query, unless it is forgotten already.
    pub(super) fn update(&self, id: u64, change: impl FnOnce(&mut QueryEntry)) {
        let mut entries = self.entries.lock();
        if let Some(entry) = entries.iter_mut().rev().find(|entry| entry.id == id) {
            change(entry);
            entry.millis = elapsed_millis(entry.since);
        }
    }

    /// All that are remembered, oldest first.
    pub(super) fn entries(&self) -> Vec<QueryEntry> {
        let mut entries: Vec<_> = self.entries.lock().iter().cloned().collect();
        for entry in entries.iter_mut().filter(|entry| entry.state == "running") {
            entry.millis = elapsed_millis(entry.since);
        }
        entries
    }
}

fn elapsed_millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_updates_only_what_it_knows() {
        let history = QueryHistory::default();
        for number in 0..=KEPT_MAX {
            assert_eq!(history.begin("select 1"), number as u64 + 1);
        }
        assert_eq!(history.entries().len(), KEPT_MAX);
        assert_eq!(history.entries()[0].id, 2);
        history.update(1, |_| panic!("the first is forgotten"));
        history.update(2, |entry| entry.state = "ok");
        assert_eq!(history.entries()[0].state, "ok");
    }
}
