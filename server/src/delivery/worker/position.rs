//! Where a delivery stands in the meta store: its checkpoint, and the intent that a crash may have left.

use std::sync::Arc;

use millrace_storage::lake::convert::{ConvertSettings, Converter};
use millrace_storage::lake::schema::TableSchema;
use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys::checkpoint::{CheckpointKey, CheckpointValue};
use millrace_storage::meta::keys::intent::{IntentKey, IntentValue};
use millrace_storage::meta::keys::{self, Stored, load_offsets};
use millrace_storage::time::Timestamp;

use super::progress::{Offsets, Progress};
use super::reader::Converting;
use super::retry::Retry;
use crate::delivery::Parts;
use crate::delivery::declared::Declared;
use crate::error::{Error, Kind, Result};

/// Where a delivery stands.
#[derive(Debug, Clone)]
pub(crate) struct Position {
    pub(crate) checkpoint: Stored<CheckpointValue>,
    pub(crate) intent: Option<Stored<IntentValue>>,
}

/// Whether no batch was ever committed.
pub(crate) const fn is_fresh(checkpoint: &CheckpointValue) -> bool {
    checkpoint.last_commit_at_ms == 0
}

impl Position {
    /// Reads the position, trying for ever.
    pub(super) async fn load(parts: &Parts, retry: &Retry) -> Self {
        retry.forever("read the position", || Self::read(parts, &retry.delivery)).await
    }

    /// Reads the position once.
    pub(super) async fn read(parts: &Parts, delivery: &str) -> Result<Self> {
        let checkpoint = keys::get(&*parts.meta, &checkpoint_key(delivery)).await?;
        let intent = keys::get(&*parts.meta, &intent_key(delivery)).await?;
        let gone = || Error::new(Kind::NotFound, format_args!("delivery {delivery} has no checkpoint"));
        Ok(Self { checkpoint: checkpoint.ok_or_else(gone)?, intent })
    }

    /// For each shard the first offset that is not committed.
    pub(super) fn committed(&self) -> Offsets {
        load_offsets(&self.checkpoint.value.offsets)
    }

    /// The first offset of one shard that is not committed.
    pub(super) fn committed_in(&self, shard: ShardId) -> Offset {
        Offset(self.checkpoint.value.offsets.get(&shard.0).copied().unwrap_or(0))
    }

    /// Shows the position to others.
    pub(super) fn show(&self, progress: &mut Progress) {
        let checkpoint = &self.checkpoint.value;
        progress.committed = self.committed();
        progress.next_batch = checkpoint.next_batch;
        progress.totals = checkpoint.totals.unwrap_or_default();
        progress.last_commit_at = (!is_fresh(checkpoint)).then_some(Timestamp(checkpoint.last_commit_at_ms));
    }
}

pub(super) fn checkpoint_key(delivery: &str) -> CheckpointKey {
    CheckpointKey { delivery: delivery.to_owned() }
}

pub(super) fn intent_key(delivery: &str) -> IntentKey {
    IntentKey { delivery: delivery.to_owned() }
}

/// What makes rows of outputs: for a table by its schema of now, which is read trying for ever.
pub(crate) async fn converting(parts: &Parts, retry: &Retry, declared: &Arc<Declared>) -> Converting {
    retry.forever("load the table", || open_converting(parts, declared, None)).await
}

/// What makes rows of outputs, from `base` on where the table's own schema is not the newest.
pub(crate) async fn open_converting(
    parts: &Parts,
    declared: &Declared,
    base: Option<TableSchema>,
) -> Result<Converting> {
    let Some(table) = &declared.table else { return Ok(Converting::Lines) };
    let base = match base {
        Some(base) => base,
        None => TableSchema::of(parts.catalog.load(&table.name).await?.metadata()),
    };
    let settings = ConvertSettings { input: declared.input.clone(), ..table.spec.convert_settings()? };
    let converter = Converter::new(settings, &declared.spec.stream, &base);
    let failed = |error| Error::new(Kind::FailedPrecondition, format_args!("table {}: {error}", table.name));
    Ok(Converting::Table(Box::new(converter.map_err(failed)?)))
}
