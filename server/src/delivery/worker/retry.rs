//! Trying again, for ever and visibly: back-off with jitter, a metric, a state and a log line that does not flood.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use backon::ExponentialBackoff;
use tokio::sync::watch;

use super::progress::{Failure, Progress};
use crate::delivery::metrics::WorkerMetrics;
use crate::retry::delays;

const DELAY_MIN: Duration = Duration::from_millis(100);
/// A failing step says so at most this often in the log.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How a worker retries and who hears of it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Retry {
    pub(crate) delivery: String,
    pub(crate) delay_max: Duration,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) metrics: WorkerMetrics,
}

/// The failures of one step in a row.
#[derive(Debug)]
pub(crate) struct Streak {
    retry: Retry,
    step: String,
    delays: ExponentialBackoff,
    attempts: u64,
    logged_at: Option<Instant>,
}

impl Retry {
    /// A step that has not failed yet.
    pub(crate) fn streak(&self, step: impl Into<String>) -> Streak {
        let delays = delays(DELAY_MIN, self.delay_max);
        Streak { retry: self.clone(), step: step.into(), delays, attempts: 0, logged_at: None }
    }

    /// Runs `attempt` until it succeeds.
    pub(crate) async fn forever<T, E, F>(&self, step: impl Into<String>, mut attempt: impl FnMut() -> F) -> T
    where
        E: fmt::Display,
        F: Future<Output = Result<T, E>>,
    {
        let mut streak = self.streak(step);
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(error) => {
                    let delay = streak.failed(&error);
                    tokio::time::sleep(delay).await;
                }
            }
        }
    }
}

impl Streak {
    /// Notes a failure; the answer is how long to wait before the next attempt.
    pub(crate) fn failed(&mut self, error: &impl fmt::Display) -> Duration {
        self.attempts += 1;
        let delay = self.delays.next().unwrap_or(self.retry.delay_max).min(self.retry.delay_max);
        self.retry.metrics.retries.inc();
        let failure = Failure { message: format!("{}: {error}", self.step), attempts: self.attempts };
        if self.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.logged_at = Some(Instant::now());
            let (delivery, attempts, message) = (&self.retry.delivery, self.attempts, &failure.message);
            tracing::warn!(delivery, attempts, ?delay, "{message}; trying again");
        }
        self.retry.progress.send_modify(|progress| {
            progress.failing.insert(self.step.clone(), failure);
        });
        delay
    }
}

impl Drop for Streak {
    /// The step succeeded, or was given up with what it was for.
    fn drop(&mut self) {
        if self.attempts == 0 {
            return;
        }
        self.retry.progress.send_if_modified(|progress| progress.failing.remove(&self.step).is_some());
        tracing::info!(delivery = self.retry.delivery, attempts = self.attempts, "{}: no longer failing", self.step);
    }
}
