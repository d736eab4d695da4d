//! Values for a statement's parameters: one row of them, by position (`$1`, `?`) or by name (`$carrier`).

use std::collections::HashMap;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;

use super::error;
use crate::error::{Error, Result};

/// The parameters that a plan has, in their order: by number, then by name.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, DataType)>);

impl Parameters {
    /// Where nothing tells a parameter's type, it is text, which is cast where it is used.
    pub(super) fn of(plan: &LogicalPlan) -> Result<Self> {
        let types = plan.get_parameter_types().map_err(|error| error::of(&error))?;
        let typed = |(name, kind): (String, Option<DataType>)| (name, kind.unwrap_or(DataType::Utf8));
        let mut parameters: Vec<_> = types.into_iter().map(typed).collect();
        parameters.sort_by_cached_key(|(name, _)| (position(name).unwrap_or(usize::MAX), name.clone()));
        Ok(Self(parameters))
    }

    /// A field for each, named as in the statement without its mark.
    pub(super) fn schema(&self) -> Schema {
        let field = |(name, kind): &(String, DataType)| Field::new(bare(name), kind.clone(), true);
        Schema::new(self.0.iter().map(field).collect::<Vec<_>>())
    }

    /// Puts the row's values in their places.
    pub(super) fn bind(&self, plan: LogicalPlan, row: Option<&RecordBatch>) -> Result<LogicalPlan> {
        let given = row.map_or(0, RecordBatch::num_columns);
        if given != self.0.len() {
            let names: Vec<&str> = self.0.iter().map(|(name, _)| name.as_str()).collect();
            let message =
                format!("parameters of the statement: {} ({}); values bound: {given}", names.len(), names.join(", "));
            return Err(Error::invalid(message).in_field("parameters"));
        }
        let Some(row) = row.filter(|_| given > 0) else { return Ok(plan) };
        let values = self.values(row)?;
        plan.with_param_values(values).map_err(|error| error::of(&error))
    }

    fn values(&self, row: &RecordBatch) -> Result<ParamValues> {
        let by_position = self.0.iter().all(|(name, _)| position(name).is_some());
        if by_position {
            let columns = self.0.iter().zip(row.columns());
            let values = columns.map(|((name, kind), column)| value(name, kind, column));
            return values.collect::<Result<Vec<_>>>().map(ParamValues::List);
        }
        let named = |(name, kind): &(String, DataType)| {
            let column = row.column_by_name(bare(name)).ok_or_else(|| {
                Error::invalid(format_args!("no value is named {}", bare(name))).in_field("parameters")
            })?;
            Ok((bare(name).to_owned(), value(name, kind, column)?))
        };
        self.0.iter().map(named).collect::<Result<HashMap<_, _>>>().map(ParamValues::Map)
    }
}

/// The value in a column of one row. Text becomes what the statement wants in its place: compared as text, 9 were more than 10.
fn value(name: &str, wanted: &DataType, column: &ArrayRef) -> Result<ScalarAndMetadata> {
    let found = ScalarValue::try_from_array(column, 0).map_err(|error| error::of(&error))?;
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    if !is_text(&found.data_type()) || is_text(wanted) || found.is_null() {
        return Ok(found.into());
    }
    let cast = found.cast_to(wanted).map_err(|error| {
        let message = format!("the value of {name} is no {wanted}: {}", error::of(&error));
        Error::invalid(message).in_field("parameters")
    })?;
    Ok(cast.into())
}

/// The number of `$7`.
fn position(name: &str) -> Option<usize> {
    bare(name).parse().ok()
}

fn bare(name: &str) -> &str {
    name.strip_prefix(['$', '?', ':', '@']).unwrap_or(name)
}
