//! The worker of one import: it waits until a run is due, and carries it out.
//!
//! A run that a stop, a pause or a crash cut off stays open, and is gone on with. Runs of one import never overlap: there is one
//! worker, and it does one thing at a time.

mod retry;
mod run;
mod object;
mod put;
mod replay;

pub(super) use run::of_lake;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_storage::lake::import::Again;
use millrace_storage::log::{ProducerSequence, ShardId};
use millrace_storage::meta::keys::import::ImportTrigger;
use millrace_storage::time::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Parts;
use super::entry::{Progress, Wanted};
use super::ledger::Ledger;
use super::metrics::WorkerMetrics;
use super::pace::Pace;
use crate::error::Error;
use crate::streams::StreamName;

/// The longest sleep: clocks may be set, and schedules are told by the clock.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// Why a run does not go on.
#[derive(Debug)]
pub(super) enum Halt {
    /// It was asked to stop, and goes on later.
    Stopped,
    /// It ends early.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A worker.
#[derive(Debug)]
pub(super) struct Worker {
    parts: Arc<Parts>,
    ledger: Ledger,
    wanted: watch::Receiver<Wanted>,
    progress: watch::Sender<Progress>,
    stop: CancellationToken,
    metrics: WorkerMetrics,
    pace: Pace,
    /// The last request that a run was begun for.
    taken: u64,
    /// The last request to take up what was set aside that a run was begun for.
    replays_taken: u64,
    /// The schedule that times are kept by.
    schedule: Option<(Option<String>, Option<String>)>,
    poll_at: Instant,
    /// Where the chunk that a former process may have put came to lie.
    former: Option<Former>,
}

/// What the log knew of the next chunk when the process opened, before anything was put that could make it forget.
#[derive(Debug, Clone)]
pub(super) struct Former {
    /// When it may first have been sent.
    pub(super) since: Timestamp,
    /// The shards that have it.
    pub(super) stored: BTreeSet<ShardId>,
    /// The shards that did not know any more.
    pub(super) unknown: BTreeSet<ShardId>,
}

impl Worker {
    pub(super) fn new(
        parts: Arc<Parts>,
        ledger: Ledger,
        wanted: watch::Receiver<Wanted>,
        progress: watch::Sender<Progress>,
        stop: CancellationToken,
    ) -> Self {
        let metrics = parts.metrics.worker(&wanted.borrow().declared.spec.name);
        let former = former(&parts, &ledger, &wanted.borrow().declared.spec.stream);
        Self {
            parts,
            ledger,
            wanted,
            progress,
            stop,
            metrics,
            pace: Pace::default(),
            taken: 0,
            replays_taken: 0,
            schedule: None,
            poll_at: Instant::now(),
            former,
        }
    }

    pub(super) async fn run(mut self) {
        while let Some(trigger) = self.next().await {
            self.show(|progress| (progress.running, progress.paused) = (true, false));
            self.metrics.state.set(2);
            let turns = Arc::clone(&self.parts.turns);
            tokio::select! {
                biased;
                () = self.interrupted() => {}
                // The semaphore is never closed.
                turn = turns.acquire() => {
                    self.carry_out(trigger).await;
                    drop(turn);
                }
            }
            self.show(|progress| progress.running = false);
        }
        self.progress.send_modify(|progress| progress.ended = true);
    }

    fn name(&self) -> String {
        self.wanted.borrow().declared.spec.name.clone()
    }

    /// Tells what changed, with the position as it is stored.
    fn show(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_modify(|progress| {
            progress.position = self.ledger.position().clone();
            change(progress);
        });
    }

    /// Returns when the worker is asked to stop or to pause.
    async fn interrupted(&self) {
        let mut wanted = self.wanted.clone();
        tokio::select! {
            () = self.stop.cancelled() => {}
            // An error means that nobody wants anything any more.
            _ = wanted.wait_for(|wanted| !wanted.running) => {}
        }
    }

    /// Waits until a run is due; `None` at the end. `Some(None)` goes on with the open run.
    async fn next(&mut self) -> Option<Option<ImportTrigger>> {
        loop {
            if self.stop.is_cancelled() {
                return None;
            }
            let wanted = self.wanted.borrow_and_update().clone();
            let sleep = if wanted.running {
                self.metrics.state.set(1);
                self.show(|progress| progress.paused = false);
                match self.due(&wanted).await {
                    Ok(trigger) => return Some(trigger),
                    Err(sleep) => sleep,
                }
            } else {
                self.metrics.state.set(0);
                self.show(|progress| progress.paused = true);
                SLEEP_MAX
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                changed = self.wanted.changed() => changed.ok()?,
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// What makes a run due now; else how long to sleep until it is looked at again.
    async fn due(&mut self, wanted: &Wanted) -> Result<Option<ImportTrigger>, Duration> {
        if self.ledger.position().run.is_some() {
            return Ok(None);
        }
        if wanted.requests > self.taken {
            return Ok(Some(ImportTrigger::Manual));
        }
        match wanted.replays {
            (number, _) if number <= self.replays_taken => {}
            (_, Again::ByFormat) => return Ok(Some(ImportTrigger::Replay)),
            (_, Again::AsIs) => return Ok(Some(ImportTrigger::ReplayAsIs)),
        }
        let mut sleep = SLEEP_MAX;
        self.follow_schedule(wanted).await;
        if let Some(schedule) = &wanted.declared.schedule {
            let now = Timestamp::now();
            match schedule.next_after(Timestamp(self.ledger.position().scheduled_upto_ms)) {
                Some(at) if at <= now => return Ok(Some(ImportTrigger::Schedule)),
                Some(at) => sleep = sleep.min(Duration::from_millis(at.as_millis().abs_diff(now.as_millis()))),
                None => {}
            }
        }
        if let Some(arrival) = &wanted.declared.spec.on_arrival {
            if self.poll_at <= Instant::now() {
                self.poll_at = Instant::now() + arrival.poll_interval;
                if self.has_new(wanted).await {
                    return Ok(Some(ImportTrigger::Arrival));
                }
            }
            sleep = sleep.min(self.poll_at.saturating_duration_since(Instant::now()));
        }
        Err(sleep)
    }

    /// Another schedule counts from now on: what it would have meant before is not made up for.
    async fn follow_schedule(&mut self, wanted: &Wanted) {
        let spec = &wanted.declared.spec;
        let declared = (spec.schedule.clone(), spec.time_zone.clone());
        let before = self.schedule.replace(declared.clone());
        if before.is_some_and(|before| before != declared)
            && let Err(error) = self.ledger.keep_schedule(Timestamp::now()).await
        {
            tracing::warn!(import = spec.name, %error, "the new schedule could not be noted");
        }
    }

    /// Whether there is an object that was not imported. A store that fails is told, and looked at again in its turn.
    async fn has_new(&self, wanted: &Wanted) -> bool {
        let found = tokio::select! {
            biased;
            () = self.interrupted() => return false,
            found = self.look_for_new(&wanted.declared) => found,
        };
        match found {
            Ok(found) => {
                self.show(|progress| progress.failing = None);
                found
            }
            Err(error) => {
                self.metrics.retries.inc();
                self.metrics.state.set(3);
                let failing = format!("looking for new objects: {error}");
                let is_new = self.progress.borrow().failing.is_none();
                if is_new {
                    tracing::warn!(import = wanted.declared.spec.name, "{failing}; trying again");
                }
                self.show(|progress| {
                    let times = progress.failing.as_ref().map_or(0, |(_, times)| *times);
                    progress.failing = Some((failing, times + 1));
                });
                false
            }
        }
    }
}

/// Asks the log for the chunk that was perhaps put before the process ended. That must be before anybody puts: the log forgets
/// a producer that was idle for long with the next put of any other.
fn former(parts: &Parts, ledger: &Ledger, stream: &str) -> Option<Former> {
    let position = ledger.position();
    position.current.as_ref()?;
    let since = Timestamp(position.moved_at_ms);
    let age = put::age_of(since);
    let sequence = ProducerSequence { producer: position.producer, sequence: position.next_sequence, age };
    let stream = StreamName::any(stream).ok().and_then(|name| parts.streams.get(&name).ok())?;
    let mut former = Former { since, stored: BTreeSet::new(), unknown: BTreeSet::new() };
    for shard in stream.topology().shards() {
        match parts.streams.log().stored(shard.key(), sequence, 0) {
            Ok(None) => {}
            // Another number of records than none: it is there.
            Ok(Some(_)) | Err(millrace_storage::log::Error::SequenceReused { .. }) => {
                former.stored.insert(shard.id());
            }
            Err(_) => {
                former.unknown.insert(shard.id());
            }
        }
    }
    Some(former)
}
