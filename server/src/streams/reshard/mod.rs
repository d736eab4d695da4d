//! Resharding: open shards close, and their children take over their hash keys.
//!
//! ```text
//! plan ─► hold new puts back ─► all appends before are durable ─► ONE meta commit ─► swap the topology ─► puts go on
//! ```
//!
//! Invariants: no record comes into a shard after its end is stored, and none into a child before. A put never fails
//! because of a reshard: it waits a moment, and is routed by what is there then. A reshard that has begun runs to its end,
//! also when its caller goes away.

mod plan;
mod stored;
mod drop;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use millrace_storage::log::{Append, Offset, ShardId, ShardKey};
use millrace_storage::meta::keys::shard::{ShardMetaKey, ShardValue, scan_stream};
use millrace_storage::meta::keys::stream::{StreamKey, StreamValue};
use millrace_storage::meta::{self, Condition, Write, keys};
use millrace_storage::time::Timestamp;

use self::plan::Plan;
pub(super) use self::stored::load;
use super::hash_key;
use super::name::StreamName;
use super::options::{Rejected, StreamMode};
use super::registry::{Streams, not_found};
use super::state::StreamState;
use super::topology::{Closed, ShardSpec, ShardState, Topology};
use crate::complete::complete;
use crate::error::{Error, Kind, Result};

/// Between two looks at a meta store that does not say whether it stored a reshard.
const SETTLE_INTERVAL: Duration = Duration::from_millis(200);

/// What a reshard did. Without shards where nothing was to be done.
#[derive(Debug, Clone)]
pub struct Resharded {
    /// The stream.
    pub stream: Arc<StreamState>,
    /// The shards that it closed, by number.
    pub closed: Vec<Arc<ShardState>>,
    /// The shards that came, by number; those that came closed are only links of the lineage.
    pub children: Vec<Arc<ShardState>>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Split { shard: ShardId, at: Option<u128> },
    Merge { shard: ShardId, adjacent: ShardId },
    Evenly { count: NonZeroU32 },
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) enum By {
    /// A user, who may not where the load decides.
    User,
    /// The load, with its words.
    Load(String),
}

impl Streams {
    /// Splits an open shard at a hash key, in decimal, which becomes the first of the upper child; without one, in the
    /// middle.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] where the hash key is not within the shard after its first, or a limit is
    /// broken; [`Kind::FailedPrecondition`] where the shard is closed or the stream is on demand.
    pub async fn split_shard(&self, stream: &StreamName, shard: ShardId, at: Option<&str>) -> Result<Resharded> {
        let parse = |decimal: &str| {
            hash_key::parse(decimal).ok_or_else(|| {
                let shown: String = decimal.chars().take(48).collect();
                Error::invalid(format_args!("the hash key {shown:?} is not a decimal number below 2^128"))
                    .in_field("hash_key")
            })
        };
        let at = at.map(parse).transpose()?;
        self.ask(stream, Ask::Split { shard, at }, By::User).await
    }

    /// Merges two open shards whose hash keys meet.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] where they are not neighbours; [`Kind::FailedPrecondition`] where one is closed
    /// or the stream is on demand.
    pub async fn merge_shards(&self, stream: &StreamName, shard: ShardId, adjacent: ShardId) -> Result<Resharded> {
        self.ask(stream, Ask::Merge { shard, adjacent }, By::User).await
    }

    /// Makes the open shards so many equal ones.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::Invalid`] where the count breaks a limit; [`Kind::FailedPrecondition`] where the stream
    /// is on demand.
    pub async fn update_shard_count(&self, stream: &StreamName, count: u32) -> Result<Resharded> {
        let none = || Error::invalid("a stream needs at least 1 shard").in_field("shard_count");
        let count = NonZeroU32::new(count).ok_or_else(none)?;
        self.ask(stream, Ask::Evenly { count }, By::User).await
    }

    /// Reshards in a task of its own: a caller that goes away must not leave it half done.
    pub(super) async fn ask(&self, stream: &StreamName, ask: Ask, by: By) -> Result<Resharded> {
        let (streams, stream) = (self.clone(), stream.clone());
        complete("a reshard", async move {
            let _turn = streams.changes().lock().await;
            streams.reshard(&stream, ask, by).await
        })
        .await
    }

    /// Reshards. The caller holds the turn to change streams.
    pub(super) async fn reshard(&self, name: &StreamName, ask: Ask, by: By) -> Result<Resharded> {
        let stream = self.get(name)?;
        let topology = stream.topology();
        let on_demand = stream.spec().mode == StreamMode::OnDemand;
        if on_demand && matches!(by, By::User) {
            let words =
                format!("stream {name} is on demand: its load splits and merges its shards; make it provisioned first");
            return Err(Error::new(Kind::FailedPrecondition, words).about("stream", name));
        }
        let plan = match &ask {
            Ask::Split { shard, at } => Plan::split(&topology, &*stream.shard(*shard)?, *at)?,
            Ask::Merge { shard, adjacent } => {
                Plan::merge(&topology, &*stream.shard(*shard)?, &*stream.shard(*adjacent)?)?
            }
            Ask::Evenly { count } => {
                // Before anything is made for each of them.
                self.check_open(name, count.get() as usize).map_err(|rejected| self.reject(rejected))?;
                Plan::evenly(&topology, *count)
            }
        };
        let reason = match by {
            By::Load(reason) => reason,
            By::User => ask.to_string(),
        };
        if plan.children.is_empty() {
            return Ok(Resharded { stream, closed: Vec::new(), children: Vec::new() });
        }
        let change = Change::of(&plan, self, &stream, &reason);
        self.check_room(&stream, &topology, &change).map_err(|rejected| self.reject(rejected))?;
        self.carry_out(stream, &topology, change).await
    }

    /// Checks the limits on numbers of shards.
    fn check_room(&self, stream: &StreamState, before: &Topology, change: &Change) -> Result<(), Rejected> {
        let (closed, links) = (change.closing.len(), change.links.len());
        self.check_open(stream.name(), before.open().len() + change.children.len() - closed - links)?;
        self.check_shards(change.children.len())
    }

    /// Checks whether a stream may have so many open shards.
    fn check_open(&self, stream: &StreamName, open: usize) -> Result<(), Rejected> {
        let open_max = self.settings().shard_count_max as usize;
        if open > open_max {
            let message = format!("{open} shards are past the limit of {open_max} for stream {stream}");
            return Err(Rejected::new("shard_count_max", "shard_count", message));
        }
        Ok(())
    }

    /// Checks whether so many more shards may be.
    pub(super) fn check_shards(&self, more: usize) -> Result<(), Rejected> {
        let all: usize = self.list().iter().map(|stream| stream.topology().shards().len()).sum();
        let max = self.settings().shards_max as usize;
        if all + more > max {
            let message = format!(
                "{all} shards exist, closed ones whose records are kept among them, and {more} more are past the limit of {max}"
            );
            return Err(Rejected::new("shards_max", "shard_count", message));
        }
        Ok(())
    }

    async fn carry_out(&self, stream: Arc<StreamState>, before: &Topology, change: Change) -> Result<Resharded> {
        // New puts wait from here on; those before are in the log's order.
        let gate = stream.gate.write().await;
        let closed = self.close_at(&change).await?;
        self.store(&stream, before, &change, &closed).await?;
        let kept = before.shards().iter().chain(&change.children).cloned().collect();
        let ends =
            change.closing.iter().chain(&change.links).map(|shard| (Arc::clone(shard), closed[&shard.id()].clone()));
        stream.set_topology(Topology::closing(kept, &closed), ends);
        drop(gate);
        let Change { closing, children, reason, .. } = change;
        let list = |shards: &[Arc<ShardState>]| shards.iter().map(|shard| shard.id().0).collect::<Vec<_>>();
        let open = stream.spec().shard_count;
        tracing::info!(stream = %stream.name(), reason, closed = ?list(&closing), children = ?list(&children), open, "resharded");
        Ok(Resharded { stream, closed: closing, children })
    }

    /// Where each shard that closes ends. An append of nothing is answered after all appends before it are decided.
    async fn close_at(&self, change: &Change) -> Result<BTreeMap<ShardId, Closed>> {
        let mut barriers = Vec::with_capacity(change.closing.len());
        for shard in &change.closing {
            barriers.push(self.log().append(shard.key(), Append::default()).await?);
        }
        for barrier in barriers {
            barrier.durable().await?;
        }
        let at = Timestamp::now();
        let mut children: BTreeMap<ShardId, Vec<&Arc<ShardState>>> = BTreeMap::new();
        for child in &change.children {
            child.parents().iter().for_each(|parent| children.entry(*parent).or_default().push(child));
        }
        let ends = change.closing.iter().map(|shard| (shard.id(), self.log().offsets(shard.key()).end));
        let links = change.links.iter().map(|shard| (shard.id(), Offset::ZERO));
        let closed = ends.chain(links).map(|(shard, end)| {
            let mut children = children.remove(&shard).unwrap_or_default();
            children.sort_unstable_by_key(|child| child.range().start);
            (shard, Closed { at, end, children: children.iter().map(|child| child.id()).collect() })
        });
        Ok(closed.collect())
    }

    /// Writes the shards in one commit. The first reshard of a stream writes all of them.
    async fn store(
        &self,
        stream: &StreamState,
        before: &Topology,
        change: &Change,
        closed: &BTreeMap<ShardId, Closed>,
    ) -> Result<()> {
        let key = StreamKey { name: stream.name().to_string() };
        let value = keys::get(self.meta(), &key).await?.ok_or_else(|| not_found(stream.name()))?;
        let found = scan_stream(self.meta(), stream.id()).await?;
        let open = before.open().len() + change.children.len() - closed.len();
        let counted = StreamValue { shard_count: u32::try_from(open).unwrap_or(u32::MAX), ..value.value.clone() };
        let mut conditions = vec![keys::unchanged(&key, &value)];
        let mut writes = vec![keys::put(&key, &counted)];
        let parents = change.closing.iter().filter(|_| !found.is_empty());
        let all = before.shards().iter().filter(|_| found.is_empty());
        for shard in parents.chain(all).chain(&change.children) {
            let key = key_of(shard.key());
            let stored = found.binary_search_by_key(&key, |(found, _)| *found).ok().map(|index| &found[index].1);
            conditions.push(keys::as_found(&key, stored));
            writes.push(keys::put(&key, &stored::value_of(shard, closed.get(&shard.id()))));
        }
        let last = change.children.last().expect("a change has children");
        let wanted = stored::value_of(last, closed.get(&last.id()));
        self.commit_settled(conditions, writes, &key_of(last.key()), &wanted).await
    }

    /// Commits, and finds out whether it was stored where the store does not say: the shards in memory must be those that
    /// a restart finds.
    async fn commit_settled(
        &self,
        conditions: Vec<Condition>,
        writes: Vec<Write>,
        probe: &ShardMetaKey,
        wanted: &ShardValue,
    ) -> Result<()> {
        let error = match self.meta().commit(conditions, writes).await {
            Ok(()) => return Ok(()),
            Err(error) if !error.may_have_applied() => return Err(error.into()),
            Err(error) => error,
        };
        tracing::warn!(%error, "a reshard may have been stored; looking");
        loop {
            match keys::get(self.meta(), probe).await {
                Ok(Some(found)) if found.value == *wanted => return Ok(()),
                Ok(_) => return Err(error.into()),
                Err(meta::Error::Closed) => return Err(error.into()),
                Err(error) => tracing::warn!(%error, "puts wait until a reshard's outcome is known"),
            }
            tokio::time::sleep(SETTLE_INTERVAL).await;
        }
    }
}

/// The key of a shard in the meta store.
pub(super) const fn key_of(shard: ShardKey) -> ShardMetaKey {
    ShardMetaKey { shard }
}

/// A plan with its shards.
struct Change {
    /// Shards that are open now and close.
    closing: Vec<Arc<ShardState>>,
    children: Vec<Arc<ShardState>>,
    /// The children that are parents themselves.
    links: Vec<Arc<ShardState>>,
    reason: String,
}

impl Change {
    fn of(plan: &Plan, streams: &Streams, stream: &StreamState, reason: &str) -> Self {
        let (spec, topology, now) = (stream.spec(), stream.topology(), Timestamp::now());
        let children = plan.children.iter().map(|child| {
            let shard = ShardSpec {
                key: ShardKey { stream: stream.id(), shard: child.id },
                range: child.range,
                parents: child.parents.clone(),
                created_at: now,
                reason: reason.into(),
            };
            Arc::new(ShardState::new(shard, &spec, stream.name(), streams.metrics()))
        });
        let children: Vec<Arc<ShardState>> = children.collect();
        let mut parents: Vec<ShardId> = children.iter().flat_map(|child| child.parents()).copied().collect();
        parents.sort_unstable();
        parents.dedup();
        let is_parent = |shard: &&Arc<ShardState>| parents.binary_search(&shard.id()).is_ok();
        let closing = topology.open().iter().filter(is_parent).cloned().collect::<Vec<_>>();
        let links = children.iter().filter(is_parent).cloned().collect();
        let mut change = Self { closing, children, links, reason: reason.to_owned() };
        change.closing.sort_unstable_by_key(|shard| shard.id());
        change
    }
}

impl std::fmt::Display for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Split { shard, .. } => write!(f, "split of shard {shard}"),
            Self::Merge { shard, adjacent } => write!(f, "merge of shards {shard} and {adjacent}"),
            Self::Evenly { count } => write!(f, "update to {count} shards"),
        }
    }
}
