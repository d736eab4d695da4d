//! Deleting a stream: marked in the meta store before the log forgets, and the mark goes last, so that an opening finishes
//! what a crash interrupted.

use millrace_storage::log::{Append, StreamId};
use millrace_storage::meta::keys::delivery::DeliveryKey;
use millrace_storage::meta::keys::import::ImportKey;
use millrace_storage::meta::keys::shard::scan_stream;
use millrace_storage::meta::keys::stream::{StreamKey, StreamValue};
use millrace_storage::meta::keys::stream_attribute::StreamAttributeKey;
use millrace_storage::meta::keys::stream_consumer::scan_consumers;
use millrace_storage::meta::{self, MetaStore, keys};

use super::{Streams, not_found};
use crate::error::{Error, Kind, Result};
use crate::streams::name::StreamName;
use crate::streams::state::StreamState;

impl Streams {
    /// Deletes a stream and its records. Puts in flight end first; readers are told.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`] while a delivery reads it or an import puts into it. After another error the deletion can be repeated, and a
    /// restart finishes it.
    pub async fn delete(&self, name: &StreamName) -> Result<()> {
        let _turn = self.0.changes.lock().await;
        let state = self.0.by_name.read().get(name).cloned().ok_or_else(|| not_found(name))?;
        self.check_unread(name).await?;
        let (meta, key) = (&*self.0.meta, StreamKey { name: name.to_string() });
        if let Some(stored) = keys::get(meta, &key).await? {
            self.mark_deleting(name, &key, &stored).await?;
        }
        state.deleted.cancel();
        let _alone = state.gate.write().await;
        self.settle_appends(&state).await;
        self.0.log.delete_stream(state.id()).await?;
        let mut writes = forget(&key, meta, state.id()).await?;
        writes.extend(self.0.keys.destruction(state.id()).await?);
        meta.commit(Vec::new(), writes).await?;
        self.0.keys.destroyed(state.id()).await;
        self.0.by_name.write().remove(name);
        self.0.metrics.remove(name);
        tracing::info!(stream = %name, "deleted a stream");
        Ok(())
    }

    /// Waits until all appends of a stream are decided. An append of nothing is answered in its turn; a log that takes none
    /// has decided all.
    pub(in crate::streams) async fn settle_appends(&self, state: &StreamState) {
        let mut barriers = Vec::new();
        for shard in state.topology().open() {
            barriers.extend(self.0.log.append(shard.key(), Append::default()).await);
        }
        for barrier in barriers {
            let _ = barrier.durable().await;
        }
    }

    /// Marks, then looks again: a delivery that was declared in between asked for the stream without the mark.
    async fn mark_deleting(
        &self,
        name: &StreamName,
        key: &StreamKey,
        stored: &keys::Stored<StreamValue>,
    ) -> Result<()> {
        if stored.value.deleting {
            return Ok(());
        }
        let meta = &*self.0.meta;
        let marked = StreamValue { deleting: true, ..stored.value.clone() };
        meta.commit(vec![keys::unchanged(key, stored)], vec![keys::put(key, &marked)]).await?;
        if let Err(error) = self.check_unread(name).await {
            meta.commit(Vec::new(), vec![keys::put(key, &stored.value)]).await?;
            return Err(error);
        }
        Ok(())
    }

    async fn check_unread(&self, name: &StreamName) -> Result<()> {
        let imports = keys::scan::<ImportKey>(&*self.0.meta).await?;
        if let Some((import, _)) = imports.iter().find(|(_, stored)| stored.value.stream == name.as_str()) {
            let words = format_args!("import {} puts into stream {name}; delete that first", import.name);
            let error = Error::new(Kind::FailedPrecondition, words);
            return Err(error.about("stream", name).about("import", &import.name));
        }
        let deliveries = keys::scan::<DeliveryKey>(&*self.0.meta).await?;
        match deliveries.iter().find(|(_, stored)| stored.value.stream == name.as_str()) {
            None => Ok(()),
            Some((delivery, _)) => Err(Error::new(
                Kind::FailedPrecondition,
                format_args!("stream {name} is read by delivery {}; delete that first", delivery.name),
            )
            .about("stream", name)
            .about("delivery", &delivery.name)),
        }
    }
}

/// The writes that remove a stream with its shards, registered consumers and attributes.
pub(super) async fn forget(key: &StreamKey, meta: &dyn MetaStore, id: StreamId) -> Result<Vec<meta::Write>> {
    let (shards, consumers) = (scan_stream(meta, id).await?, scan_consumers(meta, id.0).await?);
    let shards = shards.iter().map(|(shard, _)| keys::delete(shard));
    let consumers = consumers.iter().map(|(consumer, _)| keys::delete(consumer));
    let rest = [keys::delete(&StreamAttributeKey { stream: id.0 }), keys::delete(key)];
    Ok(shards.chain(consumers).chain(rest).collect())
}
