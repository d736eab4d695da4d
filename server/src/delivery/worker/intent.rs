//! Finishing the batch of an intent that an earlier process, or an earlier session, left open.

use std::sync::Arc;

use millrace_storage::log::ShardKey;
use millrace_storage::meta::keys::intent::IntentValue;
use millrace_storage::meta::keys::load_ranges;

use super::Worker;
use super::flight::{self, Batch};
use super::position::{self, Position};
use super::reader::{CHUNK_BYTES_MAX, Memory};
use crate::delivery::declared::Declared;
use crate::error::Result;
use crate::transform::{Chain, Pins};

impl Worker {
    /// Writes the batch of an open intent again: the same ranges, the same names, the same declaration.
    pub(super) async fn finish_intent(&self, declared: &Arc<Declared>, mut position: Position) -> Option<Position> {
        let intent = position.intent.clone()?;
        let (batch, delivery) = (intent.value.batch, &self.retry.delivery);
        tracing::info!(delivery, batch, "finishing a batch that was begun before");
        let mut streak = self.retry.streak("finish a batch");
        let declared = match declared.of_intent(&intent.value) {
            Ok(declared) => Arc::new(declared),
            Err(error) => {
                tokio::time::sleep(streak.failed(&error)).await;
                return None;
            }
        };
        if !intent.value.replayed.is_empty() {
            drop(streak);
            return self.finish_replay(&declared, position).await;
        }
        position.intent = None;
        let chain = match self.chain_of_intent(&declared, &intent.value).await {
            Ok(chain) => chain,
            Err(error) => {
                tokio::time::sleep(streak.failed(&error)).await;
                return None;
            }
        };
        let reader = Arc::new(self.parts.reader(&declared, chain, self.retry.metrics.clone()));
        let mut converting = position::converting(&self.parts, &self.retry, &declared).await;
        let mut chunks = Vec::new();
        for (shard, range) in load_ranges(&intent.value.ranges) {
            let mut from = range.start;
            while from < range.end {
                let key = ShardKey { stream: declared.stream.id(), shard };
                let read = Arc::clone(&reader).read(converting, key, from..range.end, CHUNK_BYTES_MAX, Memory::Take);
                let done = read.await;
                converting = match done.converting {
                    Some(converting) => converting,
                    None => position::converting(&self.parts, &self.retry, &declared).await,
                };
                match done.chunk {
                    Ok(chunk) => {
                        from = chunk.offsets.end;
                        let chunk = Arc::new(chunk);
                        self.held.push(Arc::clone(&chunk), converting.schema());
                        chunks.push(chunk);
                    }
                    Err(error) => tokio::time::sleep(streak.failed(&error)).await,
                }
            }
        }
        drop(streak);
        let schema = converting.schema();
        let batch = Batch::again(&declared, position, intent, chunks, schema);
        let landed = flight::fly(Arc::clone(&self.parts), self.retry.clone(), batch).await?;
        self.held.release(landed.chunks, landed.position.committed());
        Some(landed.position)
    }

    /// The chain that a batch was begun with.
    async fn chain_of_intent(&self, declared: &Declared, intent: &IntentValue) -> Result<Chain> {
        let pins = Pins::load(&intent.modules)?;
        self.parts.transforms.chain(&self.retry.delivery, &declared.spec.transforms, &pins).await
    }
}
