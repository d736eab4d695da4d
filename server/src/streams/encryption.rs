//! A stream's encryption: switched on and off, and its data key rotated and destroyed.
//!
//! A new key is in the meta store before a block is sealed with it. A switch waits for the puts in flight, so that after it
//! has returned no record is stored as it was before. What was written stays as it is, and readable.

use std::sync::Arc;

use millrace_storage::encryption::{KeyState, KeyVersion, NewKey};
use millrace_storage::log::{ShardKey, StreamId};
use millrace_storage::meta::keys::stream::{StreamKey, StreamValue};
use millrace_storage::meta::keys::{self, Stored};
use millrace_storage::time::Timestamp;

use super::name::StreamName;
use super::registry::{Streams, not_found};
use super::state::StreamState;
use crate::error::{Error, Kind, Result};

/// What wrapping the data keys anew did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrapped {
    /// Keys that the current master key wraps now and did not before.
    pub count: usize,
    /// Keys that could not be unwrapped: stream, version, reason.
    pub failures: Vec<(String, u32, String)>,
}

impl Streams {
    /// The data key that seals a stream's new records; `None` where they are stored in the clear.
    #[must_use]
    pub fn key_version(&self, stream: &StreamState) -> Option<u32> {
        self.keys().keyring().sealing_version(stream.id()).map(|version| version.0)
    }

    /// A stream's data keys, oldest first.
    ///
    /// # Errors
    /// Where the meta store cannot be read.
    pub async fn key_states(&self, stream: &StreamState) -> Result<Vec<KeyState>> {
        Ok(self.keys().states(stream.id()).await?)
    }

    /// A first data key for a stream that is to be encrypted.
    pub(super) async fn first_key(&self, stream: StreamId, encryption: bool) -> Result<Option<NewKey>> {
        if encryption { Ok(Some(self.keys().make(stream).await?)) } else { Ok(None) }
    }

    /// Gives a stream a new data key; its new records are sealed with that, and older ones stay readable. Keys that no
    /// readable record needs any more are destroyed.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] where the stream is not encrypted, or has too many keys;
    /// [`Kind::Unavailable`] where the master key cannot be reached.
    pub async fn rotate_key(&self, name: &StreamName) -> Result<Arc<StreamState>> {
        let _turn = self.changes().lock().await;
        let state = self.get(name)?;
        if !state.spec().encryption {
            let message = format_args!("stream {name} is not encrypted; switch that on first");
            return Err(Error::new(Kind::FailedPrecondition, message).about("stream", name));
        }
        self.destroy_unneeded(&state).await?;
        let key = StreamKey { name: name.to_string() };
        let stored = keys::get(self.meta(), &key).await?.ok_or_else(|| not_found(name))?;
        let new = self.keys().make(state.id()).await?;
        let value = stored.value.clone();
        self.switch_key(&state, &key, &stored, value, Some(new)).await?;
        Ok(state)
    }

    /// Seals a stream's records from now on with a new key, or with none, and stores `value` with that.
    pub(super) async fn switch_key(
        &self,
        state: &StreamState,
        key: &StreamKey,
        stored: &Stored<StreamValue>,
        mut value: StreamValue,
        new: Option<NewKey>,
    ) -> Result<()> {
        let _alone = state.gate.write().await;
        self.settle_appends(state).await;
        // No record that the old key sealed arrived later, also where the clock was set back.
        let newest = shards(state).into_iter().filter_map(|shard| self.log().newest_arrival(shard)).max();
        let at = newest.unwrap_or_default().max(Timestamp::now());
        value.encryption_key_version = new.as_ref().map_or(0, |new| new.version().0);
        let mut writes = vec![keys::put(key, &value)];
        writes.extend(new.as_ref().map(NewKey::write));
        writes.extend(self.keys().replaced(state.id(), at).await?);
        self.meta().commit(vec![keys::unchanged(key, stored)], writes).await?;
        let (stream, version) = (state.name(), value.encryption_key_version);
        match new {
            Some(new) => self.keys().install(new),
            None => self.keys().keyring().seal_with(state.id(), None),
        }
        tracing::info!(%stream, version, "new records are sealed with another data key; 0 is none");
        Ok(())
    }

    /// Destroys all data keys of a stream at once: no record that one of them sealed can ever be read again, here or from a
    /// copy of the log. The stream stays. Where it is encrypted, its new records are sealed by a new key; where none can be
    /// made, puts are refused until [`Self::rotate_key`] makes one. What was stored in the clear, what deliveries wrote, and
    /// backups are out of reach.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] where the stream has no data key. An error of the meta store that leaves it open whether
    /// the keys are gone stops puts until a restart tells.
    pub async fn shred(&self, name: &StreamName) -> Result<Arc<StreamState>> {
        let _turn = self.changes().lock().await;
        let state = self.get(name)?;
        self.destroy_unneeded(&state).await?;
        let new = if state.spec().encryption { self.keys().make(state.id()).await.map(Some) } else { Ok(None) };
        let new = new.unwrap_or_else(|error| {
            tracing::warn!(stream = %name, %error, "no new data key could be made; puts are refused until a rotation makes one");
            None
        });
        let key = StreamKey { name: name.to_string() };
        let stored = keys::get(self.meta(), &key).await?.ok_or_else(|| not_found(name))?;
        {
            let _alone = state.gate.write().await;
            self.settle_appends(&state).await;
            self.destroy_all(&state, &key, &stored, new).await?;
        }
        self.keys().purge().await;
        tracing::warn!(stream = %name, "the stream's data keys are destroyed, and what they sealed with them");
        Ok(state)
    }

    /// The caller holds the gate.
    async fn destroy_all(
        &self,
        state: &StreamState,
        key: &StreamKey,
        stored: &Stored<StreamValue>,
        new: Option<NewKey>,
    ) -> Result<()> {
        let newest = shards(state).into_iter().filter_map(|shard| self.log().newest_arrival(shard)).max();
        let at = newest.unwrap_or_default().max(Timestamp::now());
        let mut writes = self.keys().shredding(state.id(), at).await?;
        if writes.is_empty() {
            let message = format_args!("stream {} has no data key: nothing of it is encrypted", state.name());
            return Err(Error::new(Kind::FailedPrecondition, message).about("stream", state.name()));
        }
        let mut value = stored.value.clone();
        if let Some(new) = &new {
            value.encryption_key_version = new.version().0;
            writes.push(new.write());
        }
        writes.push(keys::put(key, &value));
        if let Err(error) = self.meta().commit(vec![keys::unchanged(key, stored)], writes).await {
            if error.may_have_applied() {
                self.keys().doubt(state.id());
            }
            return Err(error.into());
        }
        self.keys().shredded(state.id(), at);
        if let Some(new) = new {
            self.keys().install(new);
        }
        self.log().forget_cached(state.id());
        Ok(())
    }

    /// Destroys the replaced keys whose last record is trimmed.
    async fn destroy_unneeded(&self, state: &StreamState) -> Result<()> {
        let mut unneeded: Vec<KeyVersion> = Vec::new();
        let sealing = self.keys().keyring().sealing_version(state.id());
        let mut known = self.keys().states(state.id()).await?;
        // The newest stays: its number must not be given again.
        known.pop();
        for key in known.into_iter().filter(|key| Some(key.version) != sealing) {
            let Some(replaced_at) = key.replaced_at else { continue };
            if self.all_are_newer(state, replaced_at).await? {
                unneeded.push(key.version);
            }
        }
        Ok(self.keys().destroy(state.id(), &unneeded).await?)
    }

    /// Whether every readable record arrived after `time`.
    async fn all_are_newer(&self, state: &StreamState, time: Timestamp) -> Result<bool> {
        for shard in shards(state) {
            let first_newer = self.log().offset_at(shard, Timestamp(time.0.saturating_add(1))).await?;
            if first_newer > self.log().offsets(shard).start {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Wraps all data keys by the current master key, so that older ones can go.
    ///
    /// # Errors
    /// Where no master key is set, or it cannot be reached; what was wrapped until then stays so.
    pub async fn rewrap_keys(&self) -> Result<Rewrapped> {
        let _turn = self.changes().lock().await;
        let (count, failed) = self.keys().rewrap().await?;
        let streams = self.list();
        let name = |id| {
            let found = streams.iter().find(|stream| stream.id() == id);
            found.map_or_else(|| format!("#{id}"), |stream| stream.name().to_string())
        };
        let failures = failed.into_iter().map(|(id, version, error)| (name(id), version.0, error.to_string()));
        Ok(Rewrapped { count, failures: failures.collect() })
    }
}

/// All shards that hold readable records, closed ones too.
fn shards(state: &StreamState) -> Vec<ShardKey> {
    state.topology().shards().iter().map(|shard| shard.key()).collect()
}
