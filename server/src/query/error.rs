//! DataFusion's errors in the server's words: what the caller can do, without backtraces and advice meant for developers.

use datafusion::error::DataFusionError;

use crate::error::{Error, Kind};

/// An error of planning or running a query, as the server tells it.
pub(super) fn of(error: &DataFusionError) -> Error {
    if let Some(own) = own(error) {
        return own.clone();
    }
    let root = error.find_root();
    if let DataFusionError::Collection(errors) = root
        && let Some(first) = errors.first()
    {
        return of(first);
    }
    Error::new(kind(root), message(root))
}

/// An error of a storage part, wrapped so that it comes out of a plan unchanged.
pub(super) fn external(error: impl Into<Error>) -> DataFusionError {
    DataFusionError::External(Box::new(error.into()))
}

/// The server's own error that a part of the plan returned.
fn own(error: &DataFusionError) -> Option<&Error> {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(own);
        }
        if let Some(DataFusionError::External(inner)) = error.downcast_ref::<DataFusionError>()
            && let Some(own) = inner.downcast_ref::<Error>()
        {
            return Some(own);
        }
        source = error.source();
    }
    None
}

fn kind(error: &DataFusionError) -> Kind {
    match error {
        DataFusionError::Plan(text) if text.contains("not found") && text.starts_with("table ") => Kind::NotFound,
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_)
        | DataFusionError::ArrowError(..) => Kind::Invalid,
        DataFusionError::ResourcesExhausted(_) => Kind::FailedPrecondition,
        DataFusionError::ObjectStore(_) | DataFusionError::IoError(_) => Kind::Unavailable,
        DataFusionError::ParquetError(_) => Kind::DataLoss,
        _ => Kind::Internal,
    }
}

fn message(error: &DataFusionError) -> String {
    match error {
        DataFusionError::SQL(parser, _) => format!("the SQL does not parse: {parser}"),
        DataFusionError::Plan(text) if text.starts_with("No SQL statements") => "there is no statement".to_owned(),
        DataFusionError::Plan(text) => format!("the query cannot be planned: {}", first_part(text)),
        DataFusionError::SchemaError(schema, _) => format!("the query cannot be planned: {schema}"),
        DataFusionError::NotImplemented(text) => format!("the query uses what is not supported: {}", first_part(text)),
        DataFusionError::ResourcesExhausted(text) => format!(
            "the query needs more than queries may use; raise query.memory_bytes_max or query.spill_bytes_max (with a \
             master key, nothing is spilled unless encryption.allow_spill is set), or read fewer rows or columns: {}",
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        ),
        DataFusionError::Internal(text) => format!("the query engine failed: {}", first_part(text)),
        other => format!("the query failed: {}", other.message()),
    }
}

/// The words before a backtrace or advice.
fn first_part(text: &str) -> &str {
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(text);
    text.split(".\nThis issue was likely caused").next().unwrap_or(text).trim_end()
}
