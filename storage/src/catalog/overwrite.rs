//! Overwriting: some files of a table are replaced by others in one snapshot, so that a reader sees the old ones or the new.
//!
//! `iceberg` has only append, so that manifests and snapshot are made here: a manifest that lists a file to be removed is
//! written anew without it, every other one stays. It must never remove a file that the base does not list, and never one
//! more than it was told.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{
    DataFile, FormatVersion, MAIN_BRANCH, Manifest, ManifestContentType, ManifestFile, ManifestListWriter,
    ManifestWriter, ManifestWriterBuilder, Operation, SchemaRef, Snapshot, SnapshotReference, SnapshotRetention,
    Summary, TableMetadata,
};
use iceberg::table::Table;
use iceberg::{ErrorKind, TableUpdate};
use uuid::Uuid;

use super::append::COMMIT_ATTEMPTS_MAX;
use super::commit::{Along, Attempt, Refused};
use super::{Catalog, Error, Result, TableName};
use crate::meta::{Condition, Write};
use crate::time::Timestamp;

/// Manifests that are read from the store at a time.
const MANIFESTS_AT_A_TIME: usize = 16;

/// A replacement.
#[derive(Debug, Clone)]
pub struct Overwrite {
    /// The new files, all durable in the store.
    pub files: Vec<DataFile>,
    /// The URLs of the files that they replace.
    pub removed: HashSet<String>,
    /// The schema that the new files were written with. `None` where they have no column that the table has not.
    pub schema: Option<SchemaRef>,
    /// The partition spec that the new files were written for; `None` for the table's default.
    pub partition_spec_id: Option<i32>,
    /// What the snapshot says of itself.
    pub properties: HashMap<String, String>,
    /// What must hold for the commit.
    pub conditions: Vec<Condition>,
    /// What else the commit writes.
    pub writes: Vec<Write>,
}

impl Catalog {
    /// Replaces files: swaps the table's pointer and applies the caller's conditions and writes, all or nothing.
    ///
    /// Appends that come between are kept. [`Error::FileGone`] says that the table does not list a file any more that is to
    /// be replaced; for the other errors see [`Catalog::append`].
    pub async fn overwrite(&self, name: &TableName, overwrite: Overwrite) -> Result<Table> {
        let along = Along {
            schema: overwrite.schema.as_ref(),
            partition_spec_id: overwrite.partition_spec_id,
            conditions: &overwrite.conditions,
            writes: &overwrite.writes,
        };
        let slot = self.slot(name);
        let _turn = slot.commit.lock().await;
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let base = self.load_with_pointer(name).await?;
            match Attempt::new(self, name, &base, along)?.overwrite(&overwrite).await {
                Ok(done) => return Ok(self.settle(&slot, done).await),
                Err(Refused::Moved) => tracing::debug!(table = %name, "another writer moved the table; trying again"),
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
        Err(Error::Contended { table: name.clone(), attempts: COMMIT_ATTEMPTS_MAX })
    }
}

impl Attempt<'_> {
    async fn overwrite(self, overwrite: &Overwrite) -> Result<super::commit::Done, Refused> {
        let snapshot = Producer::new(&self, overwrite).produce().await?;
        let snapshot_id = snapshot.snapshot_id();
        let branch = SnapshotRetention::branch(None, None, None);
        let updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef {
                ref_name: MAIN_BRANCH.to_owned(),
                reference: SnapshotReference::new(snapshot_id, branch),
            },
        ];
        // The pointer is compared as a whole, which leaves nothing to require.
        self.swap(Vec::new(), updates).await
    }
}

/// Makes one snapshot.
struct Producer<'a> {
    attempt: &'a Attempt<'a>,
    overwrite: &'a Overwrite,
    snapshot_id: i64,
    commit: Uuid,
    manifests: u32,
    /// Files and rows that were found and removed.
    removed: BTreeMap<String, (u64, u64)>,
}

impl<'a> Producer<'a> {
    fn new(attempt: &'a Attempt<'a>, overwrite: &'a Overwrite) -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        // Ids are positive by custom.
        let snapshot_id = i64::try_from((high ^ low) >> 1).unwrap_or(i64::MAX);
        Self { attempt, overwrite, snapshot_id, commit: Uuid::new_v4(), manifests: 0, removed: BTreeMap::new() }
    }

    async fn produce(mut self) -> Result<Snapshot> {
        let (name, metadata) = (self.attempt.name, self.attempt.view.metadata());
        let failed = |error| Error::iceberg(name, error);
        if metadata.format_version() != FormatVersion::V2 {
            let words = "only tables of format version 2 can have files replaced";
            return Err(failed(iceberg::Error::new(ErrorKind::FeatureUnsupported, words)));
        }
        let manifests = self.manifests().await?;
        if let Some(gone) = self.overwrite.removed.iter().find(|url| !self.removed.contains_key(*url)) {
            return Err(Error::FileGone { table: name.clone(), file: gone.clone() });
        }
        let list = self.write_list(metadata, manifests).await.map_err(failed)?;
        let parent = metadata.current_snapshot();
        Ok(Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(parent.map(|parent| parent.snapshot_id()))
            .with_sequence_number(metadata.next_sequence_number())
            .with_timestamp_ms(Timestamp::now().as_millis())
            .with_manifest_list(list)
            .with_summary(self.summary(parent.map(|parent| parent.summary())))
            .with_schema_id(metadata.current_schema_id())
            .build())
    }

    /// The manifests of the new snapshot: those of the base, without the removed files, and one of the added.
    async fn manifests(&mut self) -> Result<Vec<ManifestFile>> {
        let table = &self.attempt.view;
        let failed = |error| Error::iceberg(self.attempt.name, error);
        let mut kept = Vec::new();
        if let Some(snapshot) = table.metadata().current_snapshot() {
            let list = table.manifest_list_reader(snapshot).load().await.map_err(failed)?;
            let manifests: Vec<_> = list.consume_entries().into_iter().collect();
            let read = stream::iter(manifests).map(|manifest| async move {
                let loaded = manifest.load_manifest(table.file_io()).await?;
                Ok::<_, iceberg::Error>((manifest, loaded))
            });
            let mut read = std::pin::pin!(read.buffered(MANIFESTS_AT_A_TIME));
            while let Some((manifest, loaded)) = read.try_next().await.map_err(failed)? {
                kept.extend(self.keep(manifest, &loaded).await.map_err(failed)?);
            }
        }
        if !self.overwrite.files.is_empty() {
            // The view's default is what the files were written for.
            let spec_id = table.metadata().default_partition_spec_id();
            let mut writer = self.writer(spec_id).map_err(failed)?;
            let added = self.overwrite.files.iter().cloned();
            // Their sequence number is that of the snapshot, which readers inherit.
            added.into_iter().try_for_each(|file| writer.add_file(file, -1)).map_err(failed)?;
            kept.push(writer.write_manifest_file().await.map_err(failed)?);
        }
        Ok(kept)
    }

    /// A manifest as it is, or what takes its place.
    async fn keep(&mut self, manifest: ManifestFile, loaded: &Manifest) -> iceberg::Result<Option<ManifestFile>> {
        let is_removed = |url: &str| self.overwrite.removed.contains(url);
        let touched = manifest.content == ManifestContentType::Data
            && loaded.entries().iter().any(|entry| entry.is_alive() && is_removed(entry.file_path()));
        if !touched {
            let lives = manifest.has_added_files() || manifest.has_existing_files();
            return Ok(lives.then_some(manifest));
        }
        let mut writer = self.writer(manifest.partition_spec_id)?;
        for entry in loaded.entries().iter().filter(|entry| entry.is_alive()) {
            let unnumbered =
                || iceberg::Error::new(ErrorKind::DataInvalid, "an entry of a manifest has no sequence number");
            let sequence_number = entry.sequence_number().ok_or_else(unnumbered)?;
            let file = entry.data_file().clone();
            if is_removed(entry.file_path()) {
                let sizes = (entry.record_count(), entry.file_size_in_bytes());
                self.removed.insert(entry.file_path().to_owned(), sizes);
                writer.add_delete_file(file, sequence_number, entry.file_sequence_number)?;
            } else {
                let snapshot_id = entry.snapshot_id().ok_or_else(unnumbered)?;
                writer.add_existing_file(file, snapshot_id, sequence_number, entry.file_sequence_number)?;
            }
        }
        Ok(Some(writer.write_manifest_file().await?))
    }

    fn writer(&mut self, partition_spec_id: i32) -> iceberg::Result<ManifestWriter> {
        let metadata = self.attempt.view.metadata();
        let spec = metadata.partition_spec_by_id(partition_spec_id).ok_or_else(|| {
            iceberg::Error::new(ErrorKind::DataInvalid, format!("there is no partition spec {partition_spec_id}"))
        })?;
        let path = format!("{}/metadata/{}-m{}.avro", metadata.location(), self.commit, self.manifests);
        self.manifests += 1;
        let output = self.attempt.view.file_io().new_output(path)?;
        let schema = metadata.current_schema().clone();
        Ok(ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec.as_ref().clone()).build_v2_data())
    }

    async fn write_list(&self, metadata: &TableMetadata, manifests: Vec<ManifestFile>) -> iceberg::Result<String> {
        let path = format!("{}/metadata/snap-{}-0-{}.avro", metadata.location(), self.snapshot_id, self.commit);
        let writer = self.attempt.view.file_io().new_output(path.clone())?.writer().await?;
        let (parent, number) = (metadata.current_snapshot_id(), metadata.next_sequence_number());
        let mut list = ManifestListWriter::v2(writer, self.snapshot_id, parent, number);
        list.add_manifests(manifests.into_iter())?;
        list.close().await?;
        Ok(path)
    }

    fn summary(&self, before: Option<&Summary>) -> Summary {
        let added = |of: fn(&DataFile) -> u64| self.overwrite.files.iter().map(of).sum::<u64>();
        let removed = |of: fn(&(u64, u64)) -> u64| self.removed.values().map(of).sum::<u64>();
        let counts = [
            (added(|_| 1), removed(|_| 1), ["added-data-files", "deleted-data-files", "total-data-files"]),
            (
                added(DataFile::record_count),
                removed(|(rows, _)| *rows),
                ["added-records", "deleted-records", "total-records"],
            ),
            (
                added(DataFile::file_size_in_bytes),
                removed(|(_, bytes)| *bytes),
                ["added-files-size", "removed-files-size", "total-files-size"],
            ),
        ];
        let total = |name: &str| -> u64 {
            let found = before.and_then(|before| before.additional_properties.get(name));
            found.and_then(|found| found.parse().ok()).unwrap_or_default()
        };
        let mut properties = self.overwrite.properties.clone();
        for (added, removed, [added_name, removed_name, total_name]) in counts {
            properties.insert(added_name.to_owned(), added.to_string());
            properties.insert(removed_name.to_owned(), removed.to_string());
            properties.insert(total_name.to_owned(), (total(total_name) + added).saturating_sub(removed).to_string());
        }
        for name in ["total-delete-files", "total-position-deletes", "total-equality-deletes"] {
            properties.insert(name.to_owned(), total(name).to_string());
        }
        Summary { operation: Operation::Overwrite, additional_properties: properties }
    }
}
