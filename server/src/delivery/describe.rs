//! What deliveries tell of themselves.

use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys::Totals;
use millrace_storage::time::Timestamp;

use super::Deliveries;
use super::declaration::Declaration;
use super::entry::Entry;
use crate::error::Result;
use crate::streams::{Held, StreamName};

/// What a delivery does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It reads and commits.
    Running,
    /// It keeps its position and does nothing.
    Paused,
    /// Something fails, and it tries again.
    Retrying,
}

/// A delivery as it is now.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// The stream that it reads.
    pub stream: String,
    /// Its normalised declaration.
    pub spec_toml: String,
    /// Which declaration it is: another one for each that differs.
    pub version: String,
    /// What it does.
    pub state: State,
    /// Why it is retrying.
    pub last_error: Option<String>,
    /// Failed attempts since the last success.
    pub retries: u64,
    /// The number that the next batch gets.
    pub next_batch: u64,
    /// By shard.
    pub shards: Vec<DescribedShard>,
    /// Since it was created.
    pub totals: Totals,
    /// When the last batch was committed.
    pub last_commit_at: Option<Timestamp>,
    /// What the stream keeps past its retention because of this delivery.
    pub held: Option<Held>,
}

/// A shard of a delivery's stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribedShard {
    /// Its number.
    pub shard: ShardId,
    /// The first offset that is not committed.
    pub committed: Offset,
    /// The offset that the next record gets.
    pub next: Offset,
}

/// What a replay did.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// Outputs that were taken up again.
    pub replayed: u64,
    /// What became rows or lines.
    pub rows: u64,
    /// What was set aside once more.
    pub set_aside: u64,
    /// What a transform dropped, and header rows that the input skips.
    pub dropped: u64,
    /// The delivery after it.
    pub delivery: Described,
}

impl Deliveries {
    /// All deliveries, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Described> {
        let entries: Vec<_> = self.inner.entries.read().values().cloned().collect();
        entries.iter().map(|entry| self.describe_entry(entry)).collect()
    }

    /// One delivery, once its worker knows its position or fails to learn it.
    ///
    /// # Errors
    /// [`crate::error::Kind::NotFound`].
    pub async fn describe(&self, name: &str) -> Result<Described> {
        let entry = self.entry(name)?;
        let mut progress = entry.progress.clone();
        let known = progress.wait_for(|progress| progress.recovered || progress.ended || !progress.failing.is_empty());
        drop(known.await.map_err(|_| super::closing(name))?);
        Ok(self.describe_entry(&entry))
    }

    fn held(&self, delivery: &str, stream: &str) -> Option<Held> {
        let stream = self.parts().streams.get(&StreamName::any(stream).ok()?).ok()?;
        stream.holding().by.into_iter().find(|held| held.delivery == delivery)
    }

    pub(super) fn describe_entry(&self, entry: &Entry) -> Described {
        let progress = entry.progress.borrow().clone();
        let declared = entry.declared();
        let shards = declared.shards().into_iter().map(|key| DescribedShard {
            shard: key.shard,
            committed: progress.committed.get(&key.shard).copied().unwrap_or_default(),
            next: self.parts().log.offsets(key).end,
        });
        let failure = progress.last_error();
        Described {
            name: entry.name.clone(),
            stream: declared.spec.stream.clone(),
            spec_toml: declared.spec.to_toml(),
            version: declared.spec.version(),
            state: entry.state(&progress),
            last_error: failure.map(|failure| failure.message.clone()),
            retries: failure.map_or(0, |failure| failure.attempts),
            next_batch: progress.next_batch,
            shards: shards.collect(),
            totals: progress.totals,
            last_commit_at: progress.last_commit_at,
            held: self.held(&entry.name, &declared.spec.stream),
        }
    }
}
