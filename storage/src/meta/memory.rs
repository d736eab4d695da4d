//! The reference engine: an ordered map in memory. It keeps nothing when the process ends.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;

use super::{Condition, Error, MetaStore, Result, Write};

/// A meta store without a disk, for tests and as the measure of what the others must do.
#[derive(Debug)]
pub struct MemoryMeta {
    /// `None` once the store is closed.
    pairs: RwLock<Option<BTreeMap<Bytes, Bytes>>>,
}

impl MemoryMeta {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { pairs: RwLock::new(Some(BTreeMap::new())) }
    }
}

impl Default for MemoryMeta {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl MetaStore for MemoryMeta {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let pairs = self.pairs.read();
        Ok(pairs.as_ref().ok_or(Error::Closed)?.get(key).cloned())
    }

    async fn scan(&self, prefix: &[u8]) -> Result<Vec<(Bytes, Bytes)>> {
        let pairs = self.pairs.read();
        let from = pairs.as_ref().ok_or(Error::Closed)?.range(Bytes::copy_from_slice(prefix)..);
        let within = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(within.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    async fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<()> {
        let mut pairs = self.pairs.write();
        let pairs = pairs.as_mut().ok_or(Error::Closed)?;
        for Condition { key, expected } in conditions {
            if pairs.get(&key) != expected.as_ref() {
                return Err(Error::Conflict { key });
            }
        }
        for write in writes {
            match write {
                Write::Put { key, value } => pairs.insert(key, value),
                Write::Delete { key } => pairs.remove(&key),
            };
        }
        Ok(())
    }

    async fn purge(&self) -> Result<()> {
        self.pairs.read().as_ref().map(drop).ok_or(Error::Closed)
    }

    async fn close(&self) -> Result<()> {
        *self.pairs.write() = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance;
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn keeps_the_contract() {
        conformance::check(|| async { MemoryMeta::new() }).await;
    }
}
