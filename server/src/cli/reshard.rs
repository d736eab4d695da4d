//! Shards as `millrace stream` shows them, and its commands that change them.

use millrace_client::proto::{Shard, StreamMode};
use serde::Serialize;

use super::output::{OutputArgs, count, table, time};
use super::{Endpoint, Result};

/// Split an open shard in two. Puts, reads and deliveries go on.
///
/// The shard closes; its children take over its hash keys, and readers come to them when they have read it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  millrace stream split flights 0                                      in the middle
  millrace stream split flights 0 --at 85070591730234615865843651857942052864")]
pub(super) struct SplitArgs {
    /// The stream's name.
    name: String,
    /// The shard's number.
    shard: u32,
    /// The first hash key of the upper child: past the shard's first one. Without it the shard is halved.
    #[arg(long, value_name = "HASH KEY")]
    at: Option<u128>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Merge two open shards whose hash keys meet. Puts, reads and deliveries go on.
#[derive(Debug, clap::Args)]
pub(super) struct MergeArgs {
    /// The stream's name.
    name: String,
    /// The number of one shard.
    shard: u32,
    /// The number of its neighbour.
    adjacent: u32,
    #[command(flatten)]
    output: OutputArgs,
}

/// Who decides how many shards a stream has.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum ModeArg {
    /// You, by `split`, `merge` and `update --shards`.
    Provisioned,
    /// The load: shards split when it lasts and merge when it is gone.
    OnDemand,
}

impl ModeArg {
    /// The mode on the wire; unspecified where none is given.
    pub(super) fn on_wire(mode: Option<Self>) -> i32 {
        match mode {
            None => StreamMode::Unspecified,
            Some(Self::Provisioned) => StreamMode::Provisioned,
            Some(Self::OnDemand) => StreamMode::OnDemand,
        }
        .into()
    }
}

pub(super) async fn split(args: SplitArgs, endpoint: &Endpoint) -> Result<()> {
    let shards = endpoint.client()?.admin().split_shard(&args.name, args.shard, args.at).await?;
    args.output.write(&views(shards), |shards| listed(shards))
}

pub(super) async fn merge(args: MergeArgs, endpoint: &Endpoint) -> Result<()> {
    let shards = endpoint.client()?.admin().merge_shards(&args.name, args.shard, args.adjacent).await?;
    args.output.write(&views(shards), |shards| listed(shards))
}

/// A shard with its lineage.
#[derive(Debug, Serialize)]
pub(super) struct ShardView {
    shard: u32,
    /// `open` or `closed`.
    state: &'static str,
    hash_key_start: String,
    hash_key_end: String,
    trim_offset: u64,
    next_offset: u64,
    parents: Vec<u32>,
    children: Vec<u32>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<String>,
    /// Why it came into being; empty for those that the stream began with.
    reason: String,
}

/// Shards to be shown.
pub(super) fn views(shards: Vec<Shard>) -> Vec<ShardView> {
    let view = |shard: Shard| ShardView {
        shard: shard.shard,
        state: if shard.closed { "closed" } else { "open" },
        hash_key_start: shard.hash_key_start,
        hash_key_end: shard.hash_key_end,
        trim_offset: shard.trim_offset,
        next_offset: shard.next_offset,
        parents: shard.parents,
        children: shard.children,
        created_at: time(shard.created_at_ms),
        closed_at: shard.closed.then(|| time(shard.closed_at_ms)),
        reason: shard.reason,
    };
    shards.into_iter().map(view).collect()
}

/// Shards as a table; their lineage only where there is one.
pub(super) fn listed(shards: &[ShardView]) -> String {
    let place = |shard: &ShardView| {
        [
            shard.shard.to_string(),
            shard.trim_offset.to_string(),
            shard.next_offset.to_string(),
            count(shard.next_offset.saturating_sub(shard.trim_offset)),
            format!("{} - {}", shard.hash_key_start, shard.hash_key_end),
        ]
    };
    if shards.iter().all(|shard| shard.parents.is_empty() && shard.children.is_empty()) {
        return table(["SHARD", "FIRST", "NEXT", "KEPT", "HASH KEYS"], shards.iter().map(place));
    }
    let numbers = |numbers: &[u32]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let heading = ["SHARD", "STATE", "PARENTS", "CHILDREN", "FIRST", "NEXT", "KEPT", "HASH KEYS", "REASON"];
    table(
        heading,
        shards.iter().map(|shard| {
            let [number, first, next, kept, keys] = place(shard);
            let (parents, children) = (numbers(&shard.parents), numbers(&shard.children));
            let state = shard.state.to_owned();
            [number, state, parents, children, first, next, kept, keys, shard.reason.clone()]
        }),
    )
}
