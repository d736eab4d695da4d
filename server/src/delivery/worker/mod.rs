//! A worker: one task that carries one delivery from the log to committed batches.
//!
//! It finishes an open intent, then runs sessions, each from the committed position on, until the declaration changes, the
//! delivery is paused or the position turns out to be another's.
//! It must never acknowledge, trim or skip anything: what is not committed is read again.

mod progress;
mod retry;
mod chunk;
mod reader;
mod shard;
mod position;
mod flight;
mod sink;
mod intent;
mod replay;
mod session;

pub(crate) use chunk::{Chunk, Content, Held};
pub(crate) use position::{is_fresh, open_converting};
pub(crate) use progress::{Offsets, Progress, Wanted, raise, reached};
pub(crate) use reader::{CHUNK_BYTES_MAX, Converting, Memory, Reader};
pub(crate) use replay::read_object;
pub(crate) use retry::Retry;
pub(crate) use sink::Output;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::position::Position;
use self::session::Session;
use super::Parts;
use super::declared::Declared;

/// A worker before it runs.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) parts: Arc<Parts>,
    pub(crate) wanted: watch::Receiver<Wanted>,
    pub(crate) retry: Retry,
    pub(crate) held: Arc<Held>,
    pub(crate) stop: CancellationToken,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The worker was stopped.
    Stopped,
    /// Something that the session began with has changed.
    Changed,
}

/// How a session begins.
enum Begun {
    Session(Box<Session>),
    /// The delivery is to do nothing.
    Paused,
    /// The position must be looked at again.
    Again,
}

/// How long a new session waits after one that ended by an error, so that a fault that lasts does not spin.
const SESSION_DELAY: Duration = Duration::from_secs(1);

impl Worker {
    /// Runs until it is stopped.
    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            // A stop drops what is under way before the session: an intent stays open and is finished at the next start.
            let session = tokio::select! {
                () = stop.cancelled() => break,
                session = self.begin(&wanted) => session,
            };
            let end = match session {
                Begun::Session(mut session) => session.run(&mut self.wanted, &stop).await,
                Begun::Paused => self.rest().await,
                Begun::Again => End::Changed,
            };
            if end == End::Stopped {
                break;
            }
        }
        self.retry.progress.send_modify(|progress| progress.ended = true);
    }

    async fn begin(&self, wanted: &Wanted) -> Begun {
        match self.recover(&wanted.declared).await {
            Some(_) if !wanted.running => Begun::Paused,
            Some(position) if wants_replay(wanted, &self.retry) => {
                self.replay(&wanted.declared, position, wanted.replay).await
            }
            Some(position) => match Session::begin(self, &wanted.declared, position).await {
                Some(session) => Begun::Session(Box::new(session)),
                None => Begun::Again,
            },
            None => {
                tokio::time::sleep(SESSION_DELAY).await;
                Begun::Again
            }
        }
    }

    /// The committed position, with no intent open: what a crash left is finished first. `None` where that failed for a
    /// reason that only a new look at the store can settle.
    async fn recover(&self, declared: &Arc<Declared>) -> Option<Position> {
        let position = Position::load(&self.parts, &self.retry).await;
        self.publish(&position);
        if position.intent.is_none() {
            return Some(position);
        }
        let position = self.finish_intent(declared, position).await?;
        self.publish(&position);
        Some(position)
    }

    fn publish(&self, position: &Position) {
        self.held.reset(position.committed(), is_fresh(&position.checkpoint.value));
        self.retry.progress.send_modify(|progress| {
            progress.recovered = true;
            progress.converted = position.committed();
            progress.buffered_bytes = 0;
            progress.open_partitions = 0;
            progress.oldest_at = None;
            position.show(progress);
        });
    }

    /// Does nothing until something else is wanted.
    async fn rest(&mut self) -> End {
        self.retry.progress.send_modify(|progress| progress.paused = true);
        let changed = self.wanted.changed();
        let end = tokio::select! {
            () = self.stop.cancelled() => End::Stopped,
            changed = changed => if changed.is_ok() { End::Changed } else { End::Stopped },
        };
        if end == End::Changed && self.wanted.borrow().running {
            self.retry.progress.send_modify(|progress| progress.paused = false);
        }
        end
    }
}

/// Whether a replay is asked for.
fn wants_replay(wanted: &Wanted, retry: &Retry) -> bool {
    wanted.replay.request > retry.progress.borrow().replay_answered
}
