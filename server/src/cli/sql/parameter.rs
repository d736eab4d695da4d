//! Values of a statement's parameters, as they are typed.

use std::str::FromStr;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};

use crate::cli::{Failure, Result};

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameter {
    name: String,
    value: String,
}

impl FromStr for Parameter {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE, or 1=VALUE for $1")?;
        let name = name.strip_prefix('$').unwrap_or(name);
        if name.is_empty() {
            return Err("the parameter has no name; write NAME=VALUE, or 1=VALUE for $1".to_owned());
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

impl Parameter {
    /// The number of `$7`.
    fn position(&self) -> Option<usize> {
        self.name.parse().ok()
    }
}

/// One row of values; numbered ones come in their order. `None` where there are none.
pub(super) fn row(mut parameters: Vec<Parameter>) -> Result<Option<RecordBatch>> {
    if parameters.is_empty() {
        return Ok(None);
    }
    parameters.sort_by_key(|parameter| parameter.position().unwrap_or(usize::MAX));
    for (number, parameter) in (1..).zip(&parameters) {
        if parameter.position().is_some_and(|position| position != number) {
            return Err(Failure::usage(format!("there is no value for parameter ${number}, or two")));
        }
    }
    let column = |Parameter { name, value }| (name, Arc::new(StringArray::from(vec![value])) as ArrayRef);
    let row = RecordBatch::try_from_iter(parameters.into_iter().map(column));
    row.map(Some).map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(parameters: &[&str]) -> Result<Vec<String>> {
        let parsed = parameters.iter().map(|text| text.parse()).collect::<std::result::Result<Vec<_>, _>>();
        let row = row(parsed.map_err(Failure::usage)?)?;
        let schema = row.map(|row| row.schema());
        Ok(schema.iter().flat_map(|schema| schema.fields()).map(|field| field.name().clone()).collect())
    }

    #[test]
    fn numbered_values_come_in_their_order() {
        assert_eq!(columns(&[]).unwrap(), Vec::<String>::new());
        assert_eq!(columns(&["2=b=c", "1="]).unwrap(), ["1", "2"]);
        assert_eq!(columns(&["carrier=UA", "$from=x"]).unwrap(), ["carrier", "from"]);
    }

    #[test]
    fn what_cannot_be_bound_is_refused() {
        for wrong in [&["UA"][..], &["=UA"], &["2=x"], &["1=x", "1=y"], &["0=x"]] {
            assert!(columns(wrong).is_err(), "{wrong:?}");
        }
    }
}
