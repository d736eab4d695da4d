//! Trying again, visibly: back-off with jitter, a count, a state, and a line in the log when it begins and when it is over.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use backon::ExponentialBackoff;

use super::{Halt, Worker};
use crate::error::Result;
use crate::imports::entry::Declared;
use crate::retry::delays;

const DELAY_MIN: Duration = Duration::from_millis(100);

/// The failures of one step in a row.
#[derive(Debug)]
pub(super) struct Streak {
    delays: ExponentialBackoff,
    delay_max: Duration,
    pub(super) attempts: u64,
}

impl Worker {
    /// A step that has not failed yet.
    pub(super) fn streak(&self) -> Streak {
        let delay_max = self.parts.settings.retry_delay_max;
        Streak { delays: delays(DELAY_MIN, delay_max), delay_max, attempts: 0 }
    }

    /// Does a step again until it succeeds, fails for good, or has used up the retries that are declared.
    pub(super) async fn retried<T, F>(
        &self,
        declared: &Declared,
        step: &str,
        attempt: impl Fn() -> F + Send + Sync,
    ) -> Result<T, Halt>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let mut streak = self.streak();
        loop {
            let done = tokio::select! {
                biased;
                () = self.interrupted() => return Err(Halt::Stopped),
                done = attempt() => done,
            };
            match done {
                Ok(done) => {
                    self.recovered(&mut streak);
                    return Ok(done);
                }
                Err(error) if streak.attempts >= u64::from(declared.spec.retries()) || !error.is_retryable() => {
                    return Err(Halt::Failed(error));
                }
                Err(error) => self.failed(&mut streak, step, &error, Duration::ZERO).await?,
            }
        }
    }

    /// Tells of a failure, and waits before the next attempt.
    pub(super) async fn failed(
        &self,
        streak: &mut Streak,
        step: &str,
        error: &impl Display,
        at_least: Duration,
    ) -> Result<(), Halt> {
        streak.attempts += 1;
        self.metrics.retries.inc();
        self.metrics.state.set(3);
        if streak.attempts == 1 {
            tracing::warn!(import = self.name(), "{step}: {error}; trying again");
        }
        self.show(|progress| progress.failing = Some((format!("{step}: {error}"), streak.attempts)));
        let delay = streak.delays.next().unwrap_or(streak.delay_max).min(streak.delay_max).max(at_least);
        tokio::select! {
            biased;
            () = self.interrupted() => Err(Halt::Stopped),
            () = tokio::time::sleep(delay) => Ok(()),
        }
    }

    /// Tells that a step which had failed does not any more.
    pub(super) fn recovered(&self, streak: &mut Streak) {
        if std::mem::take(&mut streak.attempts) > 0 {
            *streak = self.streak();
            self.metrics.state.set(2);
            self.show(|progress| progress.failing = None);
            tracing::info!(import = self.name(), "no longer failing");
        }
    }
}
