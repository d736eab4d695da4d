//! A handle is a statement with the row that was bound to its parameters, so that any server can take it.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::sql::server::PeekableFlightDataStream;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::Status;

use crate::query::Statement;

#[derive(Clone, PartialEq, Message)]
struct Handle {
    #[prost(string, tag = "1")]
    sql: String,
    /// An Arrow IPC stream of one row; empty where nothing is bound.
    #[prost(bytes = "bytes", tag = "2")]
    parameters: Bytes,
}

pub(super) fn handle_of(sql: &str) -> Bytes {
    Handle { sql: sql.to_owned(), parameters: Bytes::new() }.encode_to_vec().into()
}

pub(super) fn statement_of(handle: &Bytes) -> Result<Statement, Status> {
    let Handle { sql, parameters } = decoded(handle)?;
    if parameters.is_empty() {
        return Ok(sql.as_str().into());
    }
    Ok(Statement::with_parameters(&sql, row_of(&parameters)?)?)
}

/// The handle with the one row that the client sends; drivers send an empty one where there is nothing to bind.
pub(super) async fn bound(handle: &Bytes, data: PeekableFlightDataStream, bytes_max: u64) -> Result<Bytes, Status> {
    let Handle { sql, .. } = decoded(handle)?;
    let Some(row) = received(data, bytes_max).await?.filter(|row| row.num_columns() > 0) else {
        return Ok(handle_of(&sql));
    };
    // Whatever is wrong with it is told now.
    drop(Statement::with_parameters(&sql, row.clone())?);
    let parameters = stream_of(&row).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Handle { sql, parameters: parameters.into() }.encode_to_vec().into())
}

fn decoded(handle: &Bytes) -> Result<Handle, Status> {
    Handle::decode(handle.clone()).map_err(|_foreign| foreign())
}

fn foreign() -> Status {
    Status::invalid_argument("the statement handle is not from this server")
}

/// All rows, as one batch.
async fn received(data: PeekableFlightDataStream, bytes_max: u64) -> Result<Option<RecordBatch>, Status> {
    let mut bytes = 0;
    let bounded = data.map(move |data| {
        let data: FlightData = data.map_err(|status| FlightError::Tonic(Box::new(status)))?;
        bytes += (data.data_header.len() + data.data_body.len()) as u64;
        if bytes > bytes_max {
            let words = format!("the parameters have more than {bytes_max} bytes, which is query.sql_bytes_max");
            return Err(FlightError::Tonic(Box::new(Status::invalid_argument(words))));
        }
        Ok(data)
    });
    // On a task of its own: bytes that make the decoder panic are the client's error, and end nothing else.
    let batches = tokio::spawn(FlightRecordBatchStream::new_from_flight_data(bounded).try_collect::<Vec<_>>());
    let batches = batches.await.map_err(|_panicked| unreadable("the decoder failed at them"))?;
    let batches = batches.map_err(|error| match error {
        FlightError::Tonic(status) => *status,
        other => unreadable(other),
    })?;
    let Some(first) = batches.first() else { return Ok(None) };
    arrow::compute::concat_batches(&first.schema(), &batches).map(Some).map_err(unreadable)
}

fn unreadable(why: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!("the parameters are not to be read: {why}"))
}

fn stream_of(row: &RecordBatch) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &row.schema())?;
    writer.write(row)?;
    writer.into_inner()
}

fn row_of(parameters: &Bytes) -> Result<RecordBatch, Status> {
    let read = || StreamReader::try_new(parameters.as_ref(), None)?.next().transpose();
    // A forged handle may make the decoder panic.
    let row = std::panic::catch_unwind(read).ok().and_then(Result::ok).flatten();
    row.ok_or_else(foreign)
}
