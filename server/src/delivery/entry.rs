//! A delivery as the process runs it: its worker's task, and the two channels to it.

use std::sync::Arc;

use millrace_storage::log::Log;
use millrace_storage::time::Timestamp;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::declared::Declared;
use super::describe::State;
use super::metrics::Sample;
use super::worker::{Held, Progress, Retry, Wanted, Worker};
use crate::error::Result;
use crate::halted::until;

/// A running delivery.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) wanted: watch::Sender<Wanted>,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) held: Arc<Held>,
    pub(super) retry: Retry,
    pub(super) stop: CancellationToken,
}

impl Entry {
    /// Starts a delivery's worker.
    pub(super) fn start(
        name: &str,
        parts: Arc<Parts>,
        declared: Declared,
        running: bool,
        stop: CancellationToken,
    ) -> Self {
        let wanted = Wanted {
            running,
            declared: Arc::new(declared),
            flush: Default::default(),
            convert: Default::default(),
            replay: Default::default(),
        };
        let (wanted, wanted_receiver) = watch::channel(wanted);
        let (progress_sender, progress) = watch::channel(Progress::default());
        let retry = Retry {
            delivery: name.to_owned(),
            delay_max: parts.settings.retry_delay_max,
            progress: progress_sender,
            metrics: parts.metrics.worker(name),
        };
        let held = Arc::new(Held::default());
        let worker = Worker {
            parts,
            wanted: wanted_receiver,
            retry: retry.clone(),
            held: Arc::clone(&held),
            stop: stop.clone(),
        };
        tokio::spawn(worker.run());
        Self { name: name.to_owned(), wanted, progress, held, retry, stop }
    }

    /// What the delivery is to do now.
    pub(super) fn declared(&self) -> Arc<Declared> {
        Arc::clone(&self.wanted.borrow().declared)
    }

    /// Waits until the worker says so, and gives what it said; an error where it is paused, stopped or deleted before.
    pub(super) async fn until(&self, so: impl FnMut(&Progress) -> bool) -> Result<Progress> {
        let said = until(&self.progress, so, &self.wanted, |wanted| !wanted.running, &self.stop).await;
        said.map_err(|halted| halted.error("delivery", &self.name))
    }

    /// Waits until the worker has ended.
    pub(super) async fn ended(&self) {
        let mut progress = self.progress.clone();
        // An error means that the worker is gone without a word, which is an end too.
        let _ = progress.wait_for(|progress| progress.ended).await;
    }

    pub(super) fn state(&self, progress: &Progress) -> State {
        match (progress.failing.is_empty(), self.wanted.borrow().running) {
            (false, _) => State::Retrying,
            (true, true) => State::Running,
            (true, false) => State::Paused,
        }
    }

    pub(super) fn sample(&self, log: &dyn Log) -> Sample {
        let progress = self.progress.borrow().clone();
        let state = match self.state(&progress) {
            State::Paused => 0,
            State::Running => 1,
            State::Retrying => 2,
        };
        let age = |at: Timestamp| (Timestamp::now().as_millis() - at.as_millis()).max(0) as f64 / 1000.0;
        let topology = self.declared().stream.topology();
        let lag = topology.shards().iter().filter_map(|shard| {
            let committed = progress.committed.get(&shard.id()).copied().unwrap_or_default();
            let lag = log.offsets(shard.key()).end.since(committed);
            // A closed shard that is committed has nothing more to tell.
            let tells = lag > 0 || shard.closed().is_none();
            tells.then(|| (shard.id().0, i64::try_from(lag).unwrap_or(i64::MAX)))
        });
        Sample {
            delivery: self.name.clone(),
            state,
            freshness_seconds: progress.oldest_at.map_or(0.0, age),
            buffered_bytes: i64::try_from(progress.buffered_bytes).unwrap_or(i64::MAX),
            open_partitions: i64::try_from(progress.open_partitions).unwrap_or(i64::MAX),
            lag: lag.collect(),
        }
    }
}
