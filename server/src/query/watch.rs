//! What one query does, counted in metrics and remembered for `system.queries`, however it ends.

use std::sync::Arc;
use std::time::Instant;

use datafusion::physical_plan::ExecutionPlan;

use super::history::QueryHistory;
use super::metrics::QueryMetrics;
use crate::error::Error;

/// The record of one query. Dropped without an end, the query was cancelled.
#[derive(Debug)]
pub(super) struct Watch {
    id: u64,
    since: Instant,
    metrics: QueryMetrics,
    history: Arc<QueryHistory>,
    plan: Option<Arc<dyn ExecutionPlan>>,
    outcome: &'static str,
    error: Option<String>,
}

impl Watch {
    /// A query arrived.
    pub(super) fn begin(sql: &str, metrics: &QueryMetrics, history: &Arc<QueryHistory>) -> Self {
        metrics.active.inc();
        Self {
            id: history.begin(sql),
            since: Instant::now(),
            metrics: metrics.clone(),
            history: Arc::clone(history),
            plan: None,
            outcome: "cancelled",
            error: None,
        }
    }

    /// The plan that runs; its operators count what they read and spill.
    pub(super) fn runs(&mut self, plan: &Arc<dyn ExecutionPlan>) {
        self.plan = Some(Arc::clone(plan));
    }

    /// Rows went to the reader.
    pub(super) fn sent(&self, rows: u64) {
        self.metrics.rows.inc_by(rows);
        self.history.update(self.id, |entry| entry.rows += rows);
    }

    /// All rows were sent.
    pub(super) fn completed(mut self) {
        self.outcome = "ok";
    }

    /// The query ended with an error.
    pub(super) fn failed(mut self, error: &Error) {
        self.outcome = "error";
        self.error = Some(error.to_string());
    }

    /// The query ran out of time.
    pub(super) fn timed_out(mut self, error: &Error) {
        self.outcome = "timeout";
        self.error = Some(error.to_string());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let scanned = self.plan.as_ref().map_or(0, |plan| total(plan, "bytes_scanned"));
        let spilled = self.plan.as_ref().map_or(0, |plan| total(plan, "spilled_bytes"));
        self.metrics.active.dec();
        self.metrics.queries.with_label_values(&[self.outcome]).inc();
        self.metrics.seconds.observe(self.since.elapsed().as_secs_f64());
        self.metrics.scanned_bytes.inc_by(scanned);
        self.metrics.spilled_bytes.inc_by(spilled);
        let (outcome, error) = (self.outcome, self.error.take());
        self.history.update(self.id, |entry| {
            entry.state = outcome;
            entry.error = error;
            entry.scanned_bytes = scanned;
            entry.spilled_bytes = spilled;
        });
    }
}

/// The sum of a metric over all operators of a plan.
fn total(plan: &Arc<dyn ExecutionPlan>, metric: &str) -> u64 {
    // By the value's own name: the sum that DataFusion makes by name leaves spills out.
    let sum = plan.metrics().and_then(|metrics| metrics.sum(|part| part.value().name() == metric));
    let own = sum.map_or(0, |sum| sum.as_usize() as u64);
    plan.children().into_iter().fold(own, |sum, child| sum + total(child, metric))
}
