//! One attempt to commit: Iceberg's transaction writes manifests, and what it hands over becomes the new table state.
//!
//! The attempt stands in for a catalog towards the transaction. It must never report a commit that the meta store did not
//! confirm, and never retry by itself: whether a retry makes sense is the caller's to know.

use std::collections::HashMap;
use std::str::FromStr;

use async_trait::async_trait;
use iceberg::spec::{MetadataLog, Schema, SchemaRef, Snapshot, TableMetadata};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{
    ErrorKind, MetadataLocation, Namespace, NamespaceIdent, TableCommit, TableCreation, TableIdent, TableRequirement,
    TableUpdate,
};
use parking_lot::Mutex;

use super::schema::{Fit, fit};
use super::{Append, Catalog, Error, Loaded, Result, TableName};
use crate::meta::keys;
use crate::meta::keys::table::TableValue;
use crate::meta::{self, Condition, Write};
use crate::time::Timestamp;

/// A commit that applied.
#[derive(Debug)]
pub(super) struct Done {
    /// The table's new state.
    pub(super) loaded: Loaded,
    /// Metadata files that the table no longer lists.
    pub(super) expired: Vec<MetadataLog>,
}

/// A commit that did not apply, or may not have.
#[derive(Debug)]
pub(super) enum Refused {
    /// Another writer swapped the pointer.
    Moved,
    /// Trying again at once makes no sense.
    Failed(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a commit of any kind comes with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Along<'a> {
    /// The schema that the files were written with.
    pub(super) schema: Option<&'a SchemaRef>,
    /// The partition spec that the files were written for, where it may not be the default any more.
    pub(super) partition_spec_id: Option<i32>,
    /// What must hold.
    pub(super) conditions: &'a [Condition],
    /// What else is written.
    pub(super) writes: &'a [Write],
}

/// One attempt on one base state.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) catalog: &'a Catalog,
    pub(super) name: &'a TableName,
    pub(super) base: &'a Loaded,
    along: Along<'a>,
    /// The schema to commit, where it is not the base's.
    schema: Option<Schema>,
    /// The base with that schema, and with the files' partition spec as the default: what the transaction sees, so that its
    /// manifests have the new columns and the right spec.
    pub(super) view: Table,
    /// Iceberg's errors cannot carry ours, so the outcome is handed over here.
    outcome: Mutex<Option<Result<Done, Refused>>>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(catalog: &'a Catalog, name: &'a TableName, base: &'a Loaded, along: Along<'a>) -> Result<Self> {
        let schema = extended_schema(name, base.table.metadata(), along.schema)?;
        let view = view(catalog, name, base, schema.clone(), along.partition_spec_id)?;
        Ok(Self { catalog, name, base, along, schema, view, outcome: Mutex::new(None) })
    }

    /// Appends by Iceberg's own transaction.
    pub(super) async fn append(self, append: &Append) -> Result<Done, Refused> {
        let committed = self.transact(append).await;
        match (self.outcome.into_inner(), committed) {
            (Some(outcome), _) => outcome,
            (None, Err(error)) => Err(Error::iceberg(self.name, error).into()),
            (None, Ok(_)) => unreachable!("a transaction with an action ends in update_table or in an error"),
        }
    }

    async fn transact(&self, append: &Append) -> iceberg::Result<Table> {
        let transaction = Transaction::new(&self.view);
        let action = transaction
            .fast_append()
            // The check reads every manifest of the table. Names are unique already: they carry delivery and batch, and the
            // caller's conditions let a batch commit once.
            .with_check_duplicate(false)
            .set_snapshot_properties(append.summary.to_properties())
            .add_data_files(append.files.iter().cloned());
        action.apply(transaction)?.commit(self).await
    }

    /// Writes the new metadata file, then swaps the pointer.
    pub(super) async fn swap(
        &self,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Done, Refused> {
        let (metadata, expired) =
            self.new_metadata(requirements, updates).map_err(|error| Error::iceberg(self.name, error))?;
        let location = self.new_location(&metadata);
        let written = metadata.write_to(&self.catalog.file_io, &location).await;
        written.map_err(|error| Error::iceberg(self.name, error))?;

        let metadata_location = location.to_string();
        let table = self.catalog.table(self.name, metadata, &metadata_location)?;
        let spec_toml = self.base.pointer.value.spec_toml.clone();
        let pointer = keys::stored(&self.name.key(), TableValue { metadata_location, spec_toml });
        self.swap_pointer(&pointer.value).await?;
        Ok(Done { loaded: Loaded { pointer, table }, expired })
    }

    fn new_metadata(
        &self,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> iceberg::Result<(TableMetadata, Vec<MetadataLog>)> {
        for requirement in requirements {
            requirement.check(Some(self.base.table.metadata()))?;
        }
        let from = self.base.pointer.value.metadata_location.clone();
        let mut builder = self.base.table.metadata().clone().into_builder(Some(from));
        if let Some(schema) = &self.schema {
            builder = builder.add_current_schema(schema.clone())?;
        }
        let not_before = self.base.table.metadata().last_updated_ms();
        for update in updates {
            builder = in_order_of_time(update, not_before).apply(builder)?;
        }
        let built = builder.build()?;
        Ok((built.metadata, built.expired_metadata_logs))
    }

    fn new_location(&self, metadata: &TableMetadata) -> MetadataLocation {
        match MetadataLocation::from_str(&self.base.pointer.value.metadata_location) {
            Ok(location) => location.with_next_version().with_new_metadata(metadata),
            // The last commit was another engine's, with names of its own.
            Err(_) => MetadataLocation::new_with_metadata(metadata.location(), metadata),
        }
    }

    async fn swap_pointer(&self, value: &TableValue) -> Result<(), Refused> {
        let key = self.name.key();
        // The caller's conditions come first: where they fail no retry helps, whatever became of the pointer.
        let mut conditions = self.along.conditions.to_vec();
        conditions.push(keys::unchanged(&key, &self.base.pointer));
        let mut writes = self.along.writes.to_vec();
        writes.push(keys::put(&key, value));
        match self.catalog.meta.commit(conditions, writes).await {
            Ok(()) => Ok(()),
            Err(meta::Error::Conflict { key: conflict }) if conflict == keys::Key::encode(&key) => Err(Refused::Moved),
            Err(meta::Error::Conflict { key }) => Err(Error::Conflict { table: self.name.clone(), key }.into()),
            Err(error) if error.may_have_applied() => match keys::get(&*self.catalog.meta, &key).await {
                Ok(Some(held)) if held.value.metadata_location == value.metadata_location => Ok(()),
                _ => Err(Error::from(error).into()),
            },
            Err(error) => Err(Error::from(error).into()),
        }
    }
}

/// Iceberg refuses a snapshot that is a minute older than the last commit. A clock that was set back must not hold up the
/// deliveries until it has caught up, so their snapshots get the last commit's time.
fn in_order_of_time(update: TableUpdate, not_before_ms: i64) -> TableUpdate {
    match update {
        TableUpdate::AddSnapshot { snapshot } if snapshot.timestamp_ms() < not_before_ms => {
            let later = Snapshot::builder()
                .with_snapshot_id(snapshot.snapshot_id())
                .with_parent_snapshot_id(snapshot.parent_snapshot_id())
                .with_sequence_number(snapshot.sequence_number())
                .with_timestamp_ms(not_before_ms)
                .with_manifest_list(snapshot.manifest_list())
                .with_summary(snapshot.summary().clone())
                .schema_id_opt(snapshot.schema_id());
            TableUpdate::AddSnapshot { snapshot: later.build() }
        }
        update => update,
    }
}

/// The schema that the commit must set, where the table does not cover the files' own.
fn extended_schema(name: &TableName, table: &TableMetadata, written: Option<&SchemaRef>) -> Result<Option<Schema>> {
    let Some(written) = written else {
        return Ok(None);
    };
    match fit(table, written) {
        Ok(Fit::Covered) => Ok(None),
        Ok(Fit::Extends) => Ok(Some(written.as_ref().clone())),
        Err(reason) => Err(Error::Schema { table: name.clone(), reason }),
    }
}

/// The base as the transaction shall see it: with the schema to commit and the files' partition spec, and not from the future.
fn view(
    catalog: &Catalog,
    name: &TableName,
    base: &Loaded,
    schema: Option<Schema>,
    partition_spec_id: Option<i32>,
) -> Result<Table> {
    let held = base.table.metadata();
    let is_ahead = held.last_updated_ms() > Timestamp::now().as_millis();
    let partition_spec_id = partition_spec_id.filter(|id| *id != held.default_partition_spec_id());
    if schema.is_none() && partition_spec_id.is_none() && !is_ahead {
        return Ok(base.table.clone());
    }
    let mut metadata = held.clone();
    if let Some(schema) = schema {
        let built = metadata.into_builder(None).add_current_schema(schema).and_then(|builder| builder.build());
        // What is refused here is the schema: everything else is as it was committed.
        metadata = built.map_err(|error| Error::Schema { table: name.clone(), reason: error.to_string() })?.metadata;
    }
    if let Some(id) = partition_spec_id {
        let built = metadata.into_builder(None).set_default_partition_spec(id).and_then(|builder| builder.build());
        metadata = built.map_err(|error| Error::iceberg(name, error))?.metadata;
    }
    if is_ahead {
        metadata = without_times(&metadata).map_err(|error| Error::iceberg(name, error.into()))?;
    }
    catalog.table(name, metadata, &base.pointer.value.metadata_location)
}

/// The metadata with nothing in it that a new snapshot could be older than. Only its JSON form lets these fields be set.
fn without_times(metadata: &TableMetadata) -> serde_json::Result<TableMetadata> {
    let mut json = serde_json::to_value(metadata)?;
    json["last-updated-ms"] = 0.into();
    json["snapshot-log"] = serde_json::json!([]);
    json["metadata-log"] = serde_json::json!([]);
    serde_json::from_value(json)
}

fn unsupported<T>() -> iceberg::Result<T> {
    Err(iceberg::Error::new(ErrorKind::FeatureUnsupported, "an attempt to commit serves one table and one commit only"))
}

#[async_trait]
impl iceberg::Catalog for Attempt<'_> {
    async fn load_table(&self, _table: &TableIdent) -> iceberg::Result<Table> {
        Ok(self.view.clone())
    }

    async fn update_table(&self, mut commit: TableCommit) -> iceberg::Result<Table> {
        let outcome = self.swap(commit.take_requirements(), commit.take_updates()).await;
        let told = match &outcome {
            Ok(done) => Ok(done.loaded.table.clone()),
            Err(_) => Err(iceberg::Error::new(ErrorKind::CatalogCommitConflicts, "the attempt was refused")),
        };
        *self.outcome.lock() = Some(outcome);
        told
    }

    async fn list_namespaces(&self, _parent: Option<&NamespaceIdent>) -> iceberg::Result<Vec<NamespaceIdent>> {
        unsupported()
    }

    async fn create_namespace(
        &self,
        _namespace: &NamespaceIdent,
        _properties: HashMap<String, String>,
    ) -> iceberg::Result<Namespace> {
        unsupported()
    }

    async fn get_namespace(&self, _namespace: &NamespaceIdent) -> iceberg::Result<Namespace> {
        unsupported()
    }

    async fn namespace_exists(&self, _namespace: &NamespaceIdent) -> iceberg::Result<bool> {
        unsupported()
    }

    async fn update_namespace(
        &self,
        _namespace: &NamespaceIdent,
        _properties: HashMap<String, String>,
    ) -> iceberg::Result<()> {
        unsupported()
    }

    async fn drop_namespace(&self, _namespace: &NamespaceIdent) -> iceberg::Result<()> {
        unsupported()
    }

    async fn list_tables(&self, _namespace: &NamespaceIdent) -> iceberg::Result<Vec<TableIdent>> {
        unsupported()
    }

    async fn create_table(&self, _namespace: &NamespaceIdent, _creation: TableCreation) -> iceberg::Result<Table> {
        unsupported()
    }

    async fn drop_table(&self, _table: &TableIdent) -> iceberg::Result<()> {
        unsupported()
    }

    async fn purge_table(&self, _table: &TableIdent) -> iceberg::Result<()> {
        unsupported()
    }

    async fn table_exists(&self, _table: &TableIdent) -> iceberg::Result<bool> {
        unsupported()
    }

    async fn rename_table(&self, _from: &TableIdent, _to: &TableIdent) -> iceberg::Result<()> {
        unsupported()
    }

    async fn register_table(&self, _table: &TableIdent, _location: String) -> iceberg::Result<Table> {
        unsupported()
    }
}
