//! Creating a stream: in the meta store first, with its first data key, then in memory.

use std::sync::Arc;

use millrace_storage::encryption::{KeyVersion, NewKey};
use millrace_storage::log::StreamId;
use millrace_storage::meta::keys::stream::{StreamIdKey, StreamIdValue, StreamKey, StreamValue};
use millrace_storage::meta::{self, keys};
use millrace_storage::time::Timestamp;

use super::Streams;
use super::stored::{spec_of, state_of, value_of};
use crate::error::{Error, Kind, Result};
use crate::streams::name::StreamName;
use crate::streams::options::{Rejected, StreamOptions, StreamSpec};
use crate::streams::state::StreamState;

impl Streams {
    /// Creates a stream.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`] where one has the name; [`Kind::Invalid`] where the options break a limit.
    pub async fn create(&self, name: &StreamName, options: &StreamOptions) -> Result<Arc<StreamState>> {
        self.create_with(name, options, |_| None).await
    }

    /// As [`Self::create`], with a write of the caller's own in the same commit.
    ///
    /// # Errors
    /// As there.
    pub async fn create_with(
        &self,
        name: &StreamName,
        options: &StreamOptions,
        also: impl FnOnce(StreamId) -> Option<meta::Write> + Send,
    ) -> Result<Arc<StreamState>> {
        let _turn = self.0.changes.lock().await;
        if self.0.by_name.read().contains_key(name) {
            return Err(exists(name));
        }
        let spec = options.create(&self.0.settings).map_err(|rejected| self.reject(rejected))?;
        let (count, count_max) = (self.0.by_name.read().len(), self.0.settings.count_max);
        if count >= count_max as usize {
            let message = format!("{count} streams exist, and the limit is {count_max}");
            return Err(self.reject(Rejected::new("stream_count_max", "name", message)));
        }
        self.check_shards(spec.shard_count.get() as usize).map_err(|rejected| self.reject(rejected))?;
        let (meta, key) = (&*self.0.meta, StreamKey { name: name.to_string() });
        let counter = keys::get(meta, &StreamIdKey).await?;
        let id = counter.as_ref().map_or(1, |stored| stored.value.next);
        let new_key = self.first_key(StreamId(id), spec.encryption).await?;
        let mut value = value_of(id, Timestamp::now(), &spec);
        value.encryption_key_version = new_key.as_ref().map_or(0, |key| key.version().0);
        let conditions = vec![keys::absent(&key), keys::as_found(&StreamIdKey, counter.as_ref())];
        let mut writes = vec![keys::put(&key, &value), keys::put(&StreamIdKey, &StreamIdValue { next: id + 1 })];
        writes.extend(new_key.as_ref().map(NewKey::write));
        writes.extend(also(StreamId(id)));
        match meta.commit(conditions, writes).await {
            Ok(()) => {}
            // An earlier creation was stored although its caller was told that it failed.
            Err(meta::Error::Conflict { .. }) if let Some(stored) = keys::get(meta, &key).await? => {
                let sealing = stored.value.encryption_key_version;
                let sealing = (sealing > 0).then_some(KeyVersion(sealing));
                self.0.keys.load_stream(StreamId(stored.value.id), sealing).await?;
                self.insert(name, &stored.value, spec_of(&key, &stored.value)?)?;
                return Err(exists(name));
            }
            Err(error) => return Err(error.into()),
        }
        if let Some(key) = new_key {
            self.0.keys.install(key);
        }
        tracing::info!(stream = %name, id, shards = spec.shard_count, "created a stream");
        self.insert(name, &value, spec)
    }

    fn insert(&self, name: &StreamName, value: &StreamValue, spec: StreamSpec) -> Result<Arc<StreamState>> {
        let state = state_of(name, value, spec, &[], &self.0.settings, &self.0.metrics)?;
        self.0.by_name.write().insert(name.clone(), Arc::clone(&state));
        Ok(state)
    }
}

fn exists(name: &StreamName) -> Error {
    Error::new(Kind::AlreadyExists, format_args!("a stream named {name} exists")).about("stream", name)
}
