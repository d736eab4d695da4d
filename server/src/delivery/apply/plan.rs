//! What is to be done, checked before anything changes.

use std::collections::{BTreeMap, BTreeSet};

use millrace_storage::catalog::{self, TableName};
use millrace_storage::lake::convert::{ConvertSettings, Converter};
use millrace_storage::lake::input::Input;
use millrace_storage::lake::schema::TableSchema;

use super::change::{Asked, Change};
use super::stream::{options_of, stream_toml};
use crate::delivery::declaration::Declaration;
use crate::delivery::pipeline::Pipeline;
use crate::delivery::spec::{DeliverySpec, StreamSpec, TableSpec};
use crate::delivery::{Deliveries, table_name};
use crate::error::{Error, Result};
use crate::streams::{StreamName, StreamOptions};

/// What is to be done, checked.
pub(super) struct Plan {
    pub(super) streams: Vec<(StreamName, StreamOptions, Change)>,
    pub(super) tables: Vec<(TableName, TableSpec, Change)>,
    pub(super) deliveries: Vec<(DeliverySpec, Change)>,
}

impl Plan {
    pub(super) fn ask(&self, allow: &(dyn Fn(Asked<'_>) -> Result<()> + Sync)) -> Result<()> {
        for (name, _, Change { action, .. }) in &self.streams {
            allow(Asked::Stream { name: name.as_str(), action: *action })?;
        }
        for (name, _, Change { action, .. }) in &self.tables {
            allow(Asked::Table { namespace: name.namespace(), name: name.name(), action: *action })?;
        }
        for (spec, Change { action, .. }) in &self.deliveries {
            let table = spec.table_name().map(table_name).transpose()?;
            let table = table.as_ref().map(|table| (table.namespace(), table.name()));
            allow(Asked::Delivery { name: &spec.name, action: *action, stream: &spec.stream, table })?;
        }
        Ok(())
    }
}

impl Deliveries {
    pub(super) async fn plan(&self, pipeline: &Pipeline) -> Result<Plan> {
        let mut plan = Plan { streams: Vec::new(), tables: Vec::new(), deliveries: Vec::new() };
        for spec in &pipeline.streams {
            plan.streams.push(self.plan_stream(spec)?);
        }
        let mut declared = BTreeMap::new();
        for spec in &pipeline.tables {
            declared.insert(table_name(&spec.name)?, spec.clone());
        }
        let mut deliveries = Vec::with_capacity(pipeline.deliveries.len());
        for spec in &pipeline.deliveries {
            let Some(table) = spec.table_name() else {
                deliveries.push(spec.clone());
                continue;
            };
            // A table that nobody declares comes into being by default, and stays as it is where it exists.
            let name = table_name(table).map_err(|error| spec.invalid("table", error))?;
            let table = match (declared.get(&name), self.table_spec(&name).await?) {
                (Some(table), _) => table.clone(),
                (None, Some(found)) => TableSpec::from_toml(&found)?,
                (None, None) => declared.entry(name.clone()).or_insert(TableSpec::implied(table)).clone(),
            };
            let spec = spec.clone().with_columns_of(&table);
            self.check_input(&spec, &name, &table).await?;
            deliveries.push(spec);
        }
        for (name, spec) in declared {
            plan.tables.push(self.plan_table(name, spec).await?);
        }
        let streams: BTreeSet<&str> = plan.streams.iter().map(|(name, ..)| name.as_str()).collect();
        for spec in &deliveries {
            plan.deliveries.push(self.plan_delivery(spec, &streams)?);
        }
        Ok(plan)
    }

    /// Checks that the table has, or may get, the columns that a delivery's input fills.
    async fn check_input(&self, spec: &DeliverySpec, name: &TableName, table: &TableSpec) -> Result<()> {
        let input = spec.check_input(table)?;
        if input == Input::Json {
            return Ok(());
        }
        let settings = ConvertSettings { input, ..table.convert_settings()? };
        let invalid = |error| spec.invalid("input", error);
        let base = match self.parts().catalog.load(name).await {
            Ok(found) => TableSchema::of(found.metadata()),
            Err(catalog::Error::NotFound { .. }) => table.initial_schema(&settings)?,
            Err(error) => return Err(error.into()),
        };
        Converter::new(settings, &spec.stream, &base).map(drop).map_err(invalid)
    }

    fn plan_stream(&self, spec: &StreamSpec) -> Result<(StreamName, StreamOptions, Change)> {
        let invalid = |error: Error| Error::new(error.kind().clone(), format_args!("stream {}: {error}", spec.name));
        let name = StreamName::any(&spec.name).map_err(invalid)?;
        let options = options_of(spec);
        let (before, after) = self.parts().streams.preview(&name, &options).map_err(invalid)?;
        let before = before.map(|before| stream_toml(&name, &before));
        let change = Change::new("stream", name.as_str(), before.as_deref(), &stream_toml(&name, &after));
        Ok((name, options, change))
    }

    async fn plan_table(&self, name: TableName, spec: TableSpec) -> Result<(TableName, TableSpec, Change)> {
        let spec = TableSpec { name: name.to_string(), ..spec }.normalised()?;
        spec.new_table()?;
        let before = self.table_spec(&name).await?;
        if let Some(before) = &before {
            let before = TableSpec::from_toml(before)?;
            before.check_change(&spec)?;
            if before.partition_by != spec.partition_by {
                let loaded = self.parts().catalog.load(&name).await?;
                spec.check_partitioning(loaded.metadata().current_schema())?;
            }
        }
        let change = Change::new("table", &name.to_string(), before.as_deref(), &spec.to_toml());
        Ok((name, spec, change))
    }

    async fn table_spec(&self, name: &TableName) -> Result<Option<String>> {
        match self.parts().catalog.spec(name).await {
            Ok(spec) => Ok(Some(spec)),
            Err(catalog::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn plan_delivery(&self, spec: &DeliverySpec, streams: &BTreeSet<&str>) -> Result<(DeliverySpec, Change)> {
        self.parts().transforms.check(&spec.transforms).map_err(|error| spec.invalid("transforms", error))?;
        let name = StreamName::any(&spec.stream).map_err(|error| spec.invalid("stream", error))?;
        if !streams.contains(name.as_str()) {
            self.parts().streams.get(&name).map_err(|error| spec.invalid("stream", error))?;
        }
        let before = self.entry(&spec.name).ok().map(|entry| entry.declared().spec.clone());
        if let Some(before) = &before {
            before.check_change(spec)?;
        }
        let before = before.map(|before| before.to_toml());
        let change = Change::new("delivery", &spec.name, before.as_deref(), &spec.to_toml());
        Ok((spec.clone(), change))
    }
}
