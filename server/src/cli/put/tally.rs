//! Counts what became of each record, remembers the first failure, and moves the progress bar.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use millrace_client::{Kind, PutFuture};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::output::rates;

/// Groups of fates that may wait.
const GROUPS_MAX: usize = 64;

/// One line's fate.
pub(super) enum Fate {
    Sent { number: u64, bytes: u64, fate: PutFuture },
    Refused { number: u64, why: String },
}

/// The totals.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) stored: u64,
    pub(super) bytes: u64,
    pub(super) failed: u64,
    /// Of those that failed: how many may be stored nevertheless.
    pub(super) unknown: u64,
    pub(super) first_failure: Option<String>,
}

/// Where fates go to be counted.
pub(super) struct Tally {
    fates: mpsc::Sender<Vec<Fate>>,
    hopeless: Arc<AtomicBool>,
}

impl Tally {
    /// Starts counting; the task ends with its totals when the tally is dropped.
    pub(super) fn start(bar: Bar) -> (Self, JoinHandle<Counts>) {
        let (fates, receiver) = mpsc::channel(GROUPS_MAX);
        let hopeless = Arc::new(AtomicBool::new(false));
        let counting = tokio::spawn(count(receiver, Arc::clone(&hopeless), bar));
        (Self { fates, hopeless }, counting)
    }

    /// Takes the fates over. When this is dropped midway, they stay where they are.
    pub(super) async fn add(&self, fates: &mut Vec<Fate>) {
        // Without a receiver the task has panicked, and its handle says so.
        if let Ok(slot) = self.fates.reserve().await {
            slot.send(std::mem::take(fates));
        }
    }

    /// Whether a failure was one that every further record would share.
    pub(super) fn is_hopeless(&self) -> bool {
        self.hopeless.load(Ordering::Relaxed)
    }
}

async fn count(mut receiver: mpsc::Receiver<Vec<Fate>>, hopeless: Arc<AtomicBool>, bar: Bar) -> Counts {
    let mut counts = Counts::default();
    while let Some(group) = receiver.recv().await {
        for fate in group {
            match fate {
                Fate::Refused { number, why } => counts.fail(number, &why),
                Fate::Sent { number, bytes, fate } => match fate.await {
                    Ok(_) => {
                        counts.stored += 1;
                        counts.bytes += bytes;
                    }
                    Err(error) => {
                        if matches!(error.kind(), Kind::NotFound | Kind::Denied | Kind::Unsupported) {
                            hopeless.store(true, Ordering::Relaxed);
                        }
                        counts.unknown += u64::from(error.may_have_applied());
                        counts.fail(number, error.message());
                    }
                },
            }
        }
        bar.show(&counts);
    }
    bar.0.finish_and_clear();
    counts
}

impl Counts {
    fn fail(&mut self, number: u64, why: &str) {
        self.failed += 1;
        self.first_failure.get_or_insert_with(|| format!("line {number}: {why}"));
    }
}

/// Progress on stderr; nothing where that is no terminal.
pub(super) struct Bar(ProgressBar, Arc<AtomicU64>, Instant);

impl Bar {
    /// A bar for an input of `bytes`, or a spinner, that follows how far the input was read.
    pub(super) fn new(bytes: Option<u64>, read: Arc<AtomicU64>) -> Self {
        let (bar, template) = match bytes {
            Some(bytes) => (ProgressBar::new(bytes), "{bar:30} {percent:>3}% {msg}"),
            None => (ProgressBar::new_spinner(), "{spinner} {msg}"),
        };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar, read, Instant::now())
    }

    fn show(&self, counts: &Counts) {
        let Self(bar, read, started) = self;
        bar.set_position(read.load(Ordering::Relaxed));
        let failed = if counts.failed > 0 { format!(", {} failed", counts.failed) } else { String::new() };
        bar.set_message(format!("{}{failed}", rates(counts.stored, counts.bytes, started.elapsed())));
    }
}
