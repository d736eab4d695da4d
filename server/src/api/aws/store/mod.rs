//! What the protocols keep of streams beside what streams are: attributes, registered consumers, the account, delivery
//! streams.
//!
//! Each change is one compare-and-set that also asks for the stream, so that nothing is written for one that is gone.

mod attributes;
mod consumers;
mod account;
mod delivery_streams;

pub(in crate::api::aws) use attributes::initial_attributes;
pub(in crate::api::aws) use consumers::Consumer;

use std::fmt;
use std::sync::Arc;

use millrace_storage::meta::keys::stream::StreamKey;
use millrace_storage::meta::{self, Condition, MetaStore, Write, keys};

use super::protocol::AwsError;
use crate::streams::StreamState;

/// How often a change is tried that others are faster than.
const TRIES_MAX: usize = 16;

/// The meta store, as the protocols use it. Cheap to clone.
#[derive(Clone)]
pub(in crate::api::aws) struct Store {
    meta: Arc<dyn MetaStore>,
    /// One registration at a time, so that a stream's limit holds.
    registrations: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    pub(in crate::api::aws) fn new(meta: Arc<dyn MetaStore>) -> Self {
        Self { meta, registrations: Arc::default() }
    }

    /// That a stream is still what it was when it was found.
    async fn exists(&self, stream: &StreamState) -> Result<Condition, AwsError> {
        let key = StreamKey { name: stream.name().to_string() };
        let stored = keys::get(&*self.meta, &key).await?;
        let stored = stored.filter(|stored| stored.value.id == stream.id().0 && !stored.value.deleting);
        let stored = stored.ok_or_else(|| AwsError::not_found(format!("stream {} was deleted", stream.name())))?;
        Ok(keys::unchanged(&key, &stored))
    }

    /// Commits; false where another change was faster, and the caller is to look again.
    async fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> Result<bool, AwsError> {
        match self.meta.commit(conditions, writes).await {
            Ok(()) => Ok(true),
            Err(meta::Error::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What is said where a change loses every time.
fn contended(what: &str) -> AwsError {
    AwsError::in_use(format!("{what} is being changed by others; try again"))
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
