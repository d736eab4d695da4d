//! Changing what is declared of a stream.

use std::sync::Arc;

use millrace_storage::meta::keys;
use millrace_storage::meta::keys::stream::StreamKey;
use millrace_storage::time::Timestamp;

use super::stored::value_of;
use super::{Streams, not_found};
use crate::error::Result;
use crate::streams::name::StreamName;
use crate::streams::options::{StreamOptions, StreamSpec};
use crate::streams::reshard::{Ask, By};
use crate::streams::state::StreamState;

impl Streams {
    /// Changes what `options` names; the rest stays. Another number of shards is a reshard, after all else.
    ///
    /// # Errors
    /// [`Kind::NotFound`], or [`Kind::Invalid`] where the options break a limit.
    pub async fn update(&self, name: &StreamName, options: &StreamOptions) -> Result<Arc<StreamState>> {
        let _turn = self.0.changes.lock().await;
        let state = self.get(name)?;
        let spec = options.update(state.spec(), &self.0.settings).map_err(|rejected| self.reject(rejected))?;
        let before = state.spec();
        if spec == before {
            return Ok(state);
        }
        let resharded = spec.shard_count;
        let spec = StreamSpec { shard_count: before.shard_count, ..spec };
        let key = StreamKey { name: name.to_string() };
        let stored = keys::get(&*self.0.meta, &key).await?.ok_or_else(|| not_found(name))?;
        let mut value = value_of(stored.value.id, Timestamp(stored.value.created_at_ms), &spec);
        value.spec_toml.clone_from(&stored.value.spec_toml);
        value.encryption_key_version = stored.value.encryption_key_version;
        if spec.encryption == before.encryption {
            self.0.meta.commit(vec![keys::unchanged(&key, &stored)], vec![keys::put(&key, &value)]).await?;
        } else {
            let new_key = self.first_key(state.id(), spec.encryption).await?;
            self.switch_key(&state, &key, &stored, value, new_key).await?;
        }
        state.set_spec(spec);
        tracing::info!(stream = %name, ?spec, "updated a stream");
        if resharded != spec.shard_count {
            self.reshard(name, Ask::Evenly { count: resharded }, By::User).await?;
        }
        Ok(state)
    }

    /// What a stream is now, where it exists, and what a creation or an update with `options` would make of it.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where the options break a limit.
    pub fn preview(&self, name: &StreamName, options: &StreamOptions) -> Result<(Option<StreamSpec>, StreamSpec)> {
        let before = self.get(name).ok().map(|state| state.spec());
        let after = match before {
            Some(before) => options.update(before, &self.0.settings),
            None => options.create(&self.0.settings),
        };
        Ok((before, after.map_err(|rejected| self.reject(rejected))?))
    }
}
