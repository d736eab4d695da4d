//! A stream's attributes: tags, monitored metrics, key id, warm throughput, policy.

use millrace_storage::log::StreamId;
use millrace_storage::meta::keys::stream_attribute::{StreamAttributeKey, StreamAttributeValue};
use millrace_storage::meta::{Write, keys};

use super::{Store, TRIES_MAX, contended};
use crate::api::aws::protocol::AwsError;
use crate::streams::StreamState;

impl Store {
    /// A stream's attributes; empty where none was ever set.
    ///
    /// # Errors
    /// Where the meta store cannot be read.
    pub(in crate::api::aws) async fn attributes(&self, stream: &StreamState) -> Result<StreamAttributeValue, AwsError> {
        let stored = keys::get(&*self.meta, &key_of(stream)).await?;
        Ok(stored.map(|stored| stored.value).unwrap_or_default())
    }

    /// Changes a stream's attributes, unless `change` says no. It may be called several times.
    ///
    /// # Errors
    /// Those of `change`; where the stream is gone or the meta store fails.
    pub(in crate::api::aws) async fn change_attributes<T>(
        &self,
        stream: &StreamState,
        mut change: impl FnMut(&mut StreamAttributeValue) -> Result<T, AwsError> + Send,
    ) -> Result<T, AwsError> {
        let key = key_of(stream);
        for _ in 0..TRIES_MAX {
            let exists = self.exists(stream).await?;
            let stored = keys::get(&*self.meta, &key).await?;
            let before = stored.as_ref().map(|stored| stored.value.clone()).unwrap_or_default();
            let mut value = before.clone();
            let outcome = change(&mut value)?;
            if value == before {
                return Ok(outcome);
            }
            let conditions = vec![exists, keys::as_found(&key, stored.as_ref())];
            if self.commit(conditions, vec![keys::put(&key, &value)]).await? {
                return Ok(outcome);
            }
        }
        Err(contended("the stream"))
    }
}

/// The write that gives a new stream its attributes, for the commit that creates it; `None` where it has none.
pub(in crate::api::aws) fn initial_attributes(stream: StreamId, value: &StreamAttributeValue) -> Option<Write> {
    let is_empty = *value == StreamAttributeValue::default();
    (!is_empty).then(|| keys::put(&StreamAttributeKey { stream: stream.0 }, value))
}

fn key_of(stream: &StreamState) -> StreamAttributeKey {
    StreamAttributeKey { stream: stream.id().0 }
}
