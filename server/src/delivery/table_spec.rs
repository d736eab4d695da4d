//! A declared table: what the converter and the catalog make of it, and what may change once it exists.

use millrace_storage::catalog::NewTable;
use millrace_storage::lake::convert::{ConvertLimits, ConvertSettings};
use millrace_storage::lake::event_time::{TimeFormat, TimeSource};
use millrace_storage::lake::input::Input;
use millrace_storage::lake::schema::{self, TableSchema};

use super::spec::{SchemaPolicy, TableSpec, to_toml};
use crate::error::{Error, Kind, Result};

impl TableSpec {
    /// Reads a spec from its normalised TOML.
    pub(super) fn from_toml(text: &str) -> Result<Self> {
        let broken = |error| Error::new(Kind::DataLoss, format_args!("a stored table cannot be read: {error}"));
        toml::from_str(text).map_err(broken)
    }

    /// The normalised TOML.
    pub(super) fn to_toml(&self) -> String {
        to_toml(self)
    }

    /// How rows become columns of the table; how they are written is the delivery's to say. An error names table, field and value.
    pub(crate) fn convert_settings(&self) -> Result<ConvertSettings> {
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let parsed = schema::ColumnSpec::parse(&column.name, &column.r#type);
            columns.push(parsed.map_err(|error| self.invalid(&format!("column {:?}", column.name), error))?);
        }
        let time = match &self.time {
            None => TimeSource::Arrival,
            Some(time) => {
                let format = TimeFormat::parse(&time.format).map_err(|error| self.invalid("time", error))?;
                TimeSource::Field { field: time.field.clone(), format }
            }
        };
        let policy = match self.schema_policy {
            SchemaPolicy::Evolve => schema::SchemaPolicy::Evolve,
            SchemaPolicy::Rescue => schema::SchemaPolicy::Rescue,
            SchemaPolicy::Reject => schema::SchemaPolicy::Reject,
        };
        let limits = ConvertLimits::default();
        Ok(ConvertSettings {
            columns,
            policy,
            time,
            system_columns: self.system_columns,
            input: Input::default(),
            limits,
        })
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
        Ok(NewTable {
            schema: initial.schema.as_ref().clone(),
            time_column: settings.time.column().to_owned(),
            spec_toml: self.to_toml(),
        })
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

    fn invalid(&self, field: &str, words: impl std::fmt::Display) -> Error {
        Error::invalid(format_args!("table {}: {field}: {words}", self.name))
    }
}
