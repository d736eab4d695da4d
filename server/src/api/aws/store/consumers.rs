//! Consumers that are registered with a stream.

use std::collections::BTreeMap;

use millrace_storage::meta::keys;
use millrace_storage::meta::keys::stream_consumer::{StreamConsumerKey, StreamConsumerValue, scan_consumers};
use millrace_storage::time::Timestamp;

use super::{Store, TRIES_MAX, contended};
use crate::api::aws::protocol::AwsError;
use crate::streams::StreamState;

/// A registered consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api::aws) struct Consumer {
    pub(in crate::api::aws) name: String,
    pub(in crate::api::aws) value: StreamConsumerValue,
}

impl Consumer {
    pub(in crate::api::aws) const fn created_at(&self) -> Timestamp {
        Timestamp(self.value.created_at_ms)
    }
}

impl Store {
    /// The consumers of a stream, by name.
    ///
    /// # Errors
    /// Where the meta store cannot be read.
    pub(in crate::api::aws) async fn consumers(&self, stream: &StreamState) -> Result<Vec<Consumer>, AwsError> {
        let found = scan_consumers(&*self.meta, stream.id().0).await?;
        Ok(found.into_iter().map(|(key, stored)| Consumer { name: key.name, value: stored.value }).collect())
    }

    /// A consumer by name.
    ///
    /// # Errors
    /// Where the meta store cannot be read.
    pub(in crate::api::aws) async fn consumer(
        &self,
        stream: &StreamState,
        name: &str,
    ) -> Result<Option<Consumer>, AwsError> {
        let stored = keys::get(&*self.meta, &key_of(stream, name)).await?;
        Ok(stored.map(|stored| Consumer { name: name.to_owned(), value: stored.value }))
    }

    /// Registers a consumer, where the stream has fewer than `count_max`.
    ///
    /// # Errors
    /// `ResourceInUseException` where one has the name, `LimitExceededException` past the limit.
    pub(in crate::api::aws) async fn register(
        &self,
        stream: &StreamState,
        name: &str,
        tags: BTreeMap<String, String>,
        count_max: usize,
    ) -> Result<Consumer, AwsError> {
        let key = key_of(stream, name);
        let _turn = self.registrations.lock().await;
        for _ in 0..TRIES_MAX {
            let exists = self.exists(stream).await?;
            let consumers = self.consumers(stream).await?;
            if consumers.iter().any(|consumer| consumer.name == name) {
                let message = format!("consumer {name} of stream {} is registered already", stream.name());
                return Err(AwsError::in_use(message));
            }
            if consumers.len() >= count_max {
                let message = format!("stream {} has {count_max} consumers, and that is the limit", stream.name());
                return Err(AwsError::limit(message));
            }
            let created_at_ms = Timestamp::now().as_millis();
            let value = StreamConsumerValue { created_at_ms, tags: tags.clone(), ..Default::default() };
            if self.commit(vec![exists, keys::absent(&key)], vec![keys::put(&key, &value)]).await? {
                return Ok(Consumer { name: name.to_owned(), value });
            }
        }
        Err(contended("the stream"))
    }

    /// Changes a consumer, unless `change` says no. It may be called several times.
    ///
    /// # Errors
    /// Those of `change`; `ResourceNotFoundException` where it is gone.
    pub(in crate::api::aws) async fn change_consumer<T>(
        &self,
        stream: &StreamState,
        name: &str,
        mut change: impl FnMut(&mut StreamConsumerValue) -> Result<T, AwsError> + Send,
    ) -> Result<T, AwsError> {
        let key = key_of(stream, name);
        for _ in 0..TRIES_MAX {
            let stored = keys::get(&*self.meta, &key).await?.ok_or_else(|| {
                AwsError::not_found(format!("consumer {name} of stream {} does not exist", stream.name()))
            })?;
            let mut value = stored.value.clone();
            let outcome = change(&mut value)?;
            let conditions = vec![keys::unchanged(&key, &stored)];
            if self.commit(conditions, vec![keys::put(&key, &value)]).await? {
                return Ok(outcome);
            }
        }
        Err(contended("the consumer"))
    }

    /// Removes a consumer; one that is not there stays so.
    ///
    /// # Errors
    /// Where the meta store fails.
    pub(in crate::api::aws) async fn deregister(&self, stream: &StreamState, name: &str) -> Result<(), AwsError> {
        Ok(self.meta.commit(Vec::new(), vec![keys::delete(&key_of(stream, name))]).await?)
    }
}

fn key_of(stream: &StreamState, name: &str) -> StreamConsumerKey {
    StreamConsumerKey { stream: stream.id().0, name: name.to_owned() }
}
