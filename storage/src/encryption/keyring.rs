//! The data keys in memory, by stream: which one seals a stream's new blocks, and those that open its old ones.
//!
//! A stream that is to be encrypted and whose key cannot be had gets an error, never a block in the clear.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use super::{DataKey, KeyFault, KeyVersion};
use crate::log::{self, StreamId};
use crate::time::Timestamp;

/// The data keys that the log asks for.
#[derive(Debug, Default)]
pub struct Keyring {
    streams: RwLock<HashMap<StreamId, StreamKeys>>,
}

#[derive(Debug, Default)]
struct StreamKeys {
    sealing: Option<KeyVersion>,
    keys: BTreeMap<KeyVersion, Slot>,
}

#[derive(Debug, Clone)]
enum Slot {
    Open(Arc<DataKey>),
    Locked { fault: KeyFault, reason: String, is_retryable: bool },
    Destroyed { at: Timestamp },
}

/// Why a data key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUnusable {
    /// The key.
    pub version: KeyVersion,
    /// Why, for programs.
    pub fault: KeyFault,
    /// Why, in words.
    pub reason: String,
    /// Whether it may be usable later without a change of settings.
    pub is_retryable: bool,
}

impl KeyUnusable {
    /// Whether it was destroyed, and with it every record that it sealed.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.fault == KeyFault::Destroyed
    }
}

impl Keyring {
    /// The key that seals a stream's new blocks; `None` where they are stored in the clear.
    pub(crate) fn sealing(&self, stream: StreamId) -> Result<Option<Arc<DataKey>>, KeyUnusable> {
        let streams = self.streams.read();
        match streams.get(&stream).and_then(|keys| keys.sealing) {
            None => Ok(None),
            Some(version) => usable(&streams, stream, version).map(Some).map_err(|mut why| {
                if why.is_destroyed() {
                    why.reason.push_str(", and no other was made; rotate the stream's key");
                }
                why
            }),
        }
    }

    /// Whether a stream's new blocks can be stored as they are to be: sealed, or in the clear.
    pub fn check(&self, stream: StreamId) -> log::Result<()> {
        self.sealing(stream).map(drop).map_err(|why| log::Error::key(stream, why))
    }

    /// The key that opens blocks sealed with a version.
    pub(crate) fn opening(&self, stream: StreamId, version: KeyVersion) -> Result<Arc<DataKey>, KeyUnusable> {
        usable(&self.streams.read(), stream, version)
    }

    /// The version that seals a stream's new blocks.
    #[must_use]
    pub fn sealing_version(&self, stream: StreamId) -> Option<KeyVersion> {
        self.streams.read().get(&stream)?.sealing
    }

    /// A stream's data keys, and why those that cannot be used cannot.
    #[must_use]
    pub fn versions(&self, stream: StreamId) -> Vec<(KeyVersion, Result<(), KeyUnusable>)> {
        let streams = self.streams.read();
        let versions = streams.get(&stream).into_iter().flat_map(|keys| keys.keys.keys());
        versions.map(|version| (*version, usable(&streams, stream, *version).map(drop))).collect()
    }

    /// Adds a key that can be used, in the place of a locked one.
    pub fn add(&self, stream: StreamId, key: DataKey) {
        let mut streams = self.streams.write();
        streams.entry(stream).or_default().keys.insert(key.version(), Slot::Open(Arc::new(key)));
    }

    /// Adds a key that exists and cannot be used.
    pub(super) fn add_locked(&self, stream: StreamId, why: KeyUnusable) {
        let KeyUnusable { version, fault, reason, is_retryable } = why;
        let mut streams = self.streams.write();
        streams.entry(stream).or_default().keys.insert(version, Slot::Locked { fault, reason, is_retryable });
    }

    /// Notes that a key was destroyed.
    pub(super) fn add_destroyed(&self, stream: StreamId, version: KeyVersion, at: Timestamp) {
        self.streams.write().entry(stream).or_default().keys.insert(version, Slot::Destroyed { at });
    }

    /// Seals the stream's blocks from now on with a version, or with none.
    pub fn seal_with(&self, stream: StreamId, version: Option<KeyVersion>) {
        self.streams.write().entry(stream).or_default().sealing = version;
    }

    /// How many keys exist and cannot be used; those that were destroyed exist no more.
    #[must_use]
    pub fn locked_count(&self) -> usize {
        let streams = self.streams.read();
        let slots = streams.values().flat_map(|keys| keys.keys.values());
        slots.filter(|slot| matches!(slot, Slot::Locked { .. })).count()
    }

    /// The keys that may be usable later without a change of settings.
    pub(super) fn locked(&self) -> Vec<(StreamId, KeyVersion)> {
        let streams = self.streams.read();
        let locked = |slot: &Slot| matches!(slot, Slot::Locked { is_retryable: true, .. });
        let of_stream = |(stream, keys): (&StreamId, &StreamKeys)| -> Vec<_> {
            keys.keys.iter().filter(|(_, slot)| locked(slot)).map(|(version, _)| (*stream, *version)).collect()
        };
        streams.iter().flat_map(of_stream).collect()
    }

    /// Forgets one key.
    pub(super) fn remove(&self, stream: StreamId, version: KeyVersion) {
        if let Some(keys) = self.streams.write().get_mut(&stream) {
            keys.keys.remove(&version);
        }
    }

    /// Forgets a stream's keys.
    pub(super) fn remove_stream(&self, stream: StreamId) {
        self.streams.write().remove(&stream);
    }
}

fn usable(
    streams: &HashMap<StreamId, StreamKeys>,
    stream: StreamId,
    version: KeyVersion,
) -> Result<Arc<DataKey>, KeyUnusable> {
    match streams.get(&stream).and_then(|keys| keys.keys.get(&version)) {
        Some(Slot::Open(key)) => Ok(Arc::clone(key)),
        Some(Slot::Locked { fault, reason, is_retryable }) => {
            Err(KeyUnusable { version, fault: *fault, reason: reason.clone(), is_retryable: *is_retryable })
        }
        Some(Slot::Destroyed { at }) => {
            let reason = format!("it was destroyed at {at}");
            Err(KeyUnusable { version, fault: KeyFault::Destroyed, reason, is_retryable: false })
        }
        None => {
            let reason = "there is no such key: it was destroyed, or is not of this server".to_owned();
            Err(KeyUnusable { version, fault: KeyFault::Missing, reason, is_retryable: false })
        }
    }
}
