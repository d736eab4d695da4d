//! A declared table: what the converter and the catalog make of it, and what may change once it exists.

use iceberg::spec::Schema;
use millrace_storage::catalog::NewTable;
use millrace_storage::lake::convert::{ConvertLimits, ConvertSettings};
use millrace_storage::lake::event_time::{TimeFormat, TimeSource};
use millrace_storage::lake::input::Input;
use millrace_storage::lake::partition::Partitioning;
use millrace_storage::lake::schema::{self, TableSchema};

use super::declaration::Declaration;
use super::spec::{SchemaPolicy, TableSpec};
use crate::error::Result;

impl TableSpec {
    /// How rows become columns of the table; how they are written is the delivery's to say. An error names table, field and value.
    pub(crate) fn convert_settings(&self) -> Result<ConvertSettings> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let parsed = schema::ColumnSpec::parse(&column.name, &column.r#type);
            columns.push(parsed.map_err(|error| self.invalid(&format!("column {:?}", column.name), error))?);
        }
        let policy = match self.schema_policy {
            SchemaPolicy::Evolve => schema::SchemaPolicy::Evolve,
            SchemaPolicy::Rescue => schema::SchemaPolicy::Rescue,
            SchemaPolicy::Reject => schema::SchemaPolicy::Reject,
        };
        let limits = ConvertLimits::default();
        Ok(ConvertSettings {
            columns,
            policy,
            time: self.time_source()?,
            system_columns: self.system_columns,
            input: Input::default(),
            limits,
        })
    }

    fn time_source(&self) -> Result<TimeSource> {
        let Some(time) = &self.time else { return Ok(TimeSource::Arrival) };
        let format = TimeFormat::parse(&time.format).map_err(|error| self.invalid("time", error))?;
        Ok(TimeSource::Field { field: time.field.clone(), format })
    }

    /// What partitions the table. An error names table, field and value.
    pub(crate) fn partitioning(&self) -> Result<Partitioning> {
        let parsed = Partitioning::parse(&self.partition_by, &self.time_source()?);
        parsed.map_err(|error| self.invalid("partition_by", error))
    }

    /// Checks that a table with these columns can be partitioned so from now on.
    pub(super) fn check_partitioning(&self, schema: &Schema) -> Result<()> {
        self.partitioning()?.unbound(schema).map(drop).map_err(|error| {
            let words =
                format_args!("{error} (a column that is declared now is there after the next batch: apply it then)");
            self.invalid("partition_by", words)
        })
    }

    /// The same table, written so that two declarations that mean the same are equal.
    pub(super) fn normalised(self) -> Result<Self> {
        let (partitioning, time) = (self.partitioning()?, self.time_source()?);
        let partition_by = if partitioning.is_hourly(&time) { Vec::new() } else { partitioning.texts() };
        Ok(Self { partition_by, ..self })
    }

    /// The columns of the table before its first row.
    pub(super) fn initial_schema(&self, settings: &ConvertSettings) -> Result<TableSchema> {
        let initial = TableSchema::initial(&settings.columns, &settings.time, settings.policy, settings.system_columns);
        initial.map_err(|error| self.invalid("column", error))
    }

    /// The table to create. With no declared column it has the system columns alone, so that SQL finds it at once.
    pub(super) fn new_table(&self) -> Result<NewTable> {
        let settings = self.convert_settings()?;
        let initial = self.initial_schema(&settings)?;
        let partitioning = self.partitioning()?;
        partitioning.unbound(&initial.schema).map_err(|error| self.invalid("partition_by", error))?;
        Ok(NewTable { schema: initial.schema.as_ref().clone(), partitioning, spec_toml: self.to_toml() })
    }

    /// Checks a changed spec against the one in force: what rows already in the table depend on cannot change.
    pub(super) fn check_change(&self, next: &Self) -> Result<()> {
        let fixed = |field: &str| {
            next.invalid(field, "it cannot change once the table exists; declare a table with another name")
        };
        if self.time != next.time {
            return Err(fixed("time"));
        }
        if self.system_columns != next.system_columns {
            return Err(fixed("system_columns"));
        }
        for column in &self.columns {
            match next.columns.iter().find(|kept| kept.name == column.name) {
                Some(kept) if kept.r#type == column.r#type => {}
                Some(kept) => {
                    let words = format!("it is {} and cannot become {}", column.r#type, kept.r#type);
                    return Err(next.invalid(&format!("column {:?}", column.name), words));
                }
                None => {
                    let words = "it is declared and cannot be taken back: rows may have it";
                    return Err(next.invalid(&format!("column {:?}", column.name), words));
                }
            }
        }
        Ok(())
    }
}
