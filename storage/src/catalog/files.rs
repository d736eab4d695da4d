//! The files of a table's current snapshot, with what planning a query needs to know of each.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{
    Datum, Literal, ManifestContentType, ManifestEntryRef, ManifestFile, PartitionField, PartitionSpecRef,
    PrimitiveLiteral, Schema, Transform,
};
use iceberg::table::Table;
use iceberg::transform::create_transform_function;
use parking_lot::Mutex;

use super::{Catalog, Error, Result, TableName, partition_path};

/// Manifests that are read from the store at a time.
const MANIFESTS_AT_A_TIME: usize = 16;

/// How many files' statistics are kept in memory for one table. Those past it are read for each plan.
const FILES_KEPT_MAX: usize = 5_000;

/// The files of one snapshot.
#[derive(Debug, Clone, Default)]
pub struct TableFiles {
    /// The snapshot; `None` where the table has none yet.
    pub snapshot_id: Option<i64>,
    /// Its data files.
    pub entries: Vec<FileEntry>,
    /// Whether another engine wrote delete files: then the data files hold rows that the table has not.
    pub has_deletes: bool,
}

/// A data file.
#[derive(Debug, Clone)]
pub struct FileEntry {
    entry: ManifestEntryRef,
    /// What its partition is in terms of.
    spec: PartitionSpecRef,
}

impl FileEntry {
    /// Where it lies, as a URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.entry.file_path()
    }

    /// Its size.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.entry.file_size_in_bytes()
    }

    /// Its rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.entry.record_count()
    }

    /// The hour of its rows' time, in hours since the Unix epoch, UTC; `None` where the file is not partitioned so.
    #[must_use]
    pub fn hour(&self) -> Option<i32> {
        self.partition().find_map(|(field, value)| match (field.transform, value) {
            (Transform::Hour, Some(PrimitiveLiteral::Int(hour))) => Some(*hour),
            _ => None,
        })
    }

    /// Its partition, such as `_by_day_at=2013-01-01/carrier=UA`; the schema is the table's.
    #[must_use]
    pub fn partition_path(&self, schema: &Schema) -> String {
        partition_path::path(&self.spec, schema, self.partition().map(|(_, value)| value))
    }

    /// Whether its partition tells anything of the column's values.
    #[must_use]
    pub fn is_partitioned_by(&self, field_id: i32) -> bool {
        self.spec.fields().iter().any(|field| field.source_id == field_id)
    }

    /// Whether a row of it may have the value in the column, as far as its partition tells.
    #[must_use]
    pub fn may_hold(&self, field_id: i32, value: &Datum) -> bool {
        self.partition().filter(|(field, _)| field.source_id == field_id).all(|(field, held)| {
            let transformed = create_transform_function(&field.transform).and_then(|of| of.transform_literal(value));
            match (transformed, held) {
                (Ok(Some(transformed)), Some(held)) => may_be_same(transformed.literal(), held),
                // The rows of the file have null there.
                (Ok(Some(_)), None) => false,
                _ => true,
            }
        })
    }

    fn partition(&self) -> impl Iterator<Item = (&PartitionField, Option<&PrimitiveLiteral>)> {
        let values = self.entry.data_file().partition().iter().map(|value| match value {
            Some(Literal::Primitive(value)) => Some(value),
            _ => None,
        });
        self.spec.fields().iter().zip(values)
    }

    /// No value of the column is below it. Long strings are cut, and a column that has been widened since has the old type.
    #[must_use]
    pub fn lower(&self, field_id: i32) -> Option<&Datum> {
        self.entry.data_file().lower_bounds().get(&field_id)
    }

    /// No value of the column is above it. See [`FileEntry::lower`].
    #[must_use]
    pub fn upper(&self, field_id: i32) -> Option<&Datum> {
        self.entry.data_file().upper_bounds().get(&field_id)
    }

    /// How many values of the column are null; `None` where the file does not say, as for a column that came later.
    #[must_use]
    pub fn nulls(&self, field_id: i32) -> Option<u64> {
        self.entry.data_file().null_value_counts().get(&field_id).copied()
    }
}

/// Whether two partition values are, or may be, the same; a column may have been widened between them.
fn may_be_same(one: &PrimitiveLiteral, other: &PrimitiveLiteral) -> bool {
    use PrimitiveLiteral::{Int, Long};
    match (one, other) {
        (Int(one), Long(other)) | (Long(other), Int(one)) => i64::from(*one) == *other,
        (one, other) if std::mem::discriminant(one) == std::mem::discriminant(other) => one == other,
        _ => true,
    }
}

/// Files by the manifest that lists them. Manifests never change, so what was read once holds.
#[derive(Debug, Default)]
pub(super) struct ManifestCache {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    newest: Option<Arc<TableFiles>>,
    manifests: HashMap<String, Arc<[FileEntry]>>,
}

impl Catalog {
    /// The files of a loaded table's current snapshot. What an earlier call read is not read again.
    pub async fn files(&self, table: &Table) -> Result<Arc<TableFiles>> {
        let ident = table.identifier();
        let name = TableName::new(&ident.namespace().join("."), ident.name())?;
        let Some(snapshot) = table.metadata().current_snapshot() else {
            return Ok(Arc::default());
        };
        let slot = self.slot(&name);
        if let Some(files) = slot.manifests.of_snapshot(snapshot.snapshot_id()) {
            return Ok(files);
        }
        let failed = |error| Error::iceberg(&name, error);
        let list = table.manifest_list_reader(snapshot).load().await.map_err(failed)?;
        let has_deletes = list.entries().iter().any(|manifest| manifest.content == ManifestContentType::Deletes);
        let data = |manifest: &ManifestFile| manifest.content == ManifestContentType::Data;
        // Collected, because the list's own iterator may not cross threads.
        let manifests: Vec<_> = list.consume_entries().into_iter().filter(data).collect();
        let read = stream::iter(manifests).map(|manifest| slot.manifests.get_or_read(table, manifest));
        let manifests = read.buffered(MANIFESTS_AT_A_TIME).try_collect::<Vec<_>>().await.map_err(failed)?;
        let entries = manifests.iter().flat_map(|(_, files)| files.iter().cloned()).collect();
        let files = TableFiles { snapshot_id: Some(snapshot.snapshot_id()), entries, has_deletes };
        Ok(slot.manifests.keep(files, manifests))
    }
}

impl ManifestCache {
    fn of_snapshot(&self, snapshot: i64) -> Option<Arc<TableFiles>> {
        self.kept.lock().newest.clone().filter(|files| files.snapshot_id == Some(snapshot))
    }

    async fn get_or_read(&self, table: &Table, manifest: ManifestFile) -> iceberg::Result<(String, Arc<[FileEntry]>)> {
        let path = manifest.manifest_path.clone();
        let kept = self.kept.lock().manifests.get(&path).cloned();
        let files = match kept {
            Some(files) => files,
            None => {
                // A task of its own for each: most of the time goes into decoding, and that should use all cores.
                let table = table.clone();
                let reading = tokio::spawn(async move { read(&table, &manifest).await });
                let ended = |error| {
                    iceberg::Error::new(iceberg::ErrorKind::Unexpected, "a read ended early").with_source(error)
                };
                reading.await.map_err::<iceberg::Error, _>(ended)??
            }
        };
        Ok((path, files))
    }

    /// Keeps what the newest plan used and forgets the rest, within the limit.
    fn keep(&self, files: TableFiles, manifests: Vec<(String, Arc<[FileEntry]>)>) -> Arc<TableFiles> {
        let files = Arc::new(files);
        let mut room = FILES_KEPT_MAX;
        let fits = |(_, files): &(String, Arc<[FileEntry]>)| {
            let left = room.checked_sub(files.len());
            room = left.unwrap_or(room);
            left.is_some()
        };
        let newest = (files.entries.len() <= FILES_KEPT_MAX).then(|| Arc::clone(&files));
        *self.kept.lock() = Kept { newest, manifests: manifests.into_iter().filter(fits).collect() };
        files
    }
}

async fn read(table: &Table, manifest: &ManifestFile) -> iceberg::Result<Arc<[FileEntry]>> {
    let id = manifest.partition_spec_id;
    let spec = table.metadata().partition_spec_by_id(id).ok_or_else(|| {
        iceberg::Error::new(iceberg::ErrorKind::DataInvalid, format!("there is no partition spec {id}"))
    })?;
    let (entries, _) = manifest.load_manifest(table.file_io()).await?.into_parts();
    let living = entries.into_iter().filter(|entry| entry.is_alive());
    Ok(living.map(|entry| FileEntry { entry, spec: Arc::clone(spec) }).collect())
}
