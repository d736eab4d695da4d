//! The control plane's small state: streams, deliveries, checkpoints, intents, table pointers.
//!
//! [`MetaStore`] is the contract. [`keys`] has a file for each family of keys, with typed keys and versioned prost values;
//! nothing else writes raw keys.

mod error;
pub mod keys;
pub mod rocks;
pub mod memory;
#[cfg(test)]
mod conformance;

pub use error::{Error, Result};

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

/// A small, durable, ordered key-value store whose writes are atomic compare-and-sets.
///
/// A `commit` MUST apply all its writes durably or none of them, MUST check all conditions against the same state that the
/// writes apply to, and MUST be linearizable. Reads see every commit that returned before they began. Where a commit
/// names a key twice, the last write stands. A commit without writes only checks.
#[async_trait]
pub trait MetaStore: Send + Sync + fmt::Debug + 'static {
    /// The value of a key.
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// All pairs whose key begins with `prefix`, in key order, as one consistent view.
    async fn scan(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>>;

    /// Applies `writes` when every condition holds; [`Error::Conflict`] names the first key that does not.
    async fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<()>;

    /// Rewrites what the store keeps on disk, so that its files hold nothing of what was removed or overwritten before the
    /// call. What the file system leaves in free blocks, and copies made by others, are out of its reach.
    async fn purge(&self) -> Result<()>;

    /// Releases the files. Every later call fails with [`Error::Closed`]; a second close does nothing.
    async fn close(&self) -> Result<()>;
}

/// What a key must hold for a commit to apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The key.
    pub key: Bytes,
    /// Its exact value; `None` where it must be absent.
    pub expected: Option<Bytes>,
}

/// One write of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
    },
    /// Removes a key; one that is absent stays so.
    Delete {
        /// The key.
        key: Bytes,
    },
}
