//! Streams: their shards, quotas and retention, and the way of records into and out of the log.
//!
//! Nothing here knows the wire. [`Streams`] is a cheap handle; every call checks its own limits.

mod name;
mod hash_key;
mod settings;
mod quota;
mod options;
mod metrics;
mod sampled;
mod topology;
mod state;
mod registry;
mod encryption;
mod room;
mod conditions;
mod pay;
mod admit;
mod put;
mod consumers;
mod read;
mod subscribe;
mod reshard;
mod on_demand;
mod retention;
#[cfg(test)]
mod tests;

pub use conditions::{Expect, Put, PutConditions};
pub use consumers::ConsumerName;
pub use encryption::Rewrapped;
pub use hash_key::HashKeyRange;
pub use name::{NAME_CHARS_MAX, StreamName};
pub use options::{StreamMode, StreamOptions, StreamSpec};
pub use put::{PendingPut, Placed, PutFailure, PutFailureKind, PutRecord, PutResult};
pub(crate) use quota::Account;
pub use quota::{OverQuota, ShardQuota};
pub use read::{ChildShard, Position, ShardEnd, ShardRecords};
pub use registry::Streams;
pub use reshard::Resharded;
pub use room::{Place, Room};
pub use settings::StreamSettings;
pub use state::{Held, Holding, StreamState};
pub use subscribe::Subscription;
pub use topology::{Closed, ShardState, Topology};
