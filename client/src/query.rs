//! SQL over Arrow Flight SQL: a statement goes out, record batches come back as the server makes them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::connection::Channel;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt};
use arrow_flight::{FlightDescriptor, FlightInfo, Ticket};
use futures::{Stream, StreamExt, TryStreamExt};
use prost::Message;

use crate::{Error, Kind, Result};

/// Runs SQL. Cheap to clone.
///
/// ```no_run
/// # async fn example(client: millrace_client::Client) -> Result<(), millrace_client::Error> {
/// let mut rows = client.query().sql("select carrier, count(*) from flights group by carrier").await?;
/// while let Some(batch) = rows.next().await? {
///     println!("{} rows", batch.num_rows());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Query {
    flight: FlightServiceClient<Channel>,
}

impl Query {
    pub(crate) fn new(channel: &Channel, message_bytes_max: usize) -> Self {
        let flight = FlightServiceClient::new(channel.clone()).max_decoding_message_size(message_bytes_max);
        Self { flight }
    }

    /// Runs one statement. Its answer holds every record that was acknowledged before the call.
    ///
    /// # Errors
    /// `Invalid` for a statement that does not parse or plan, with the place; `Throttled` over the server's memory.
    pub async fn sql(&self, statement: &str) -> Result<Rows> {
        let command = CommandStatementQuery { query: statement.to_owned(), transaction_id: None };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let info = self.flight.clone().get_flight_info(descriptor).await?.into_inner();
        self.fetch(info).await
    }

    /// As [`Self::sql`], with values for the statement's parameters: a batch of one row, whose columns are taken by position
    /// for `$1`, `$2` or `?`, and by name for `$carrier`. Values are never part of the text, so that none can change it.
    ///
    /// ```no_run
    /// # use std::sync::Arc;
    /// # use arrow::array::{ArrayRef, RecordBatch, StringArray};
    /// # async fn example(client: millrace_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let carrier: ArrayRef = Arc::new(StringArray::from(vec!["UA"]));
    /// let values = RecordBatch::try_from_iter([("carrier", carrier)])?;
    /// let rows = client.query().sql_with("select count(*) from flights where carrier = $carrier", values).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::sql`], and `Invalid` where there is not one row, or not a value for each parameter.
    pub async fn sql_with(&self, statement: &str, parameters: RecordBatch) -> Result<Rows> {
        let mut flight = FlightSqlServiceClient::new_from_inner(self.flight.clone());
        let mut prepared = flight.prepare(statement.to_owned(), None).await.map_err(error_of)?;
        prepared.set_parameters(parameters).map_err(error_of)?;
        let info = prepared.execute().await.map_err(error_of)?;
        self.fetch(info).await
    }

    async fn fetch(&self, info: FlightInfo) -> Result<Rows> {
        let mut tickets: VecDeque<Ticket> = info.endpoint.into_iter().filter_map(|part| part.ticket).collect();
        let first = tickets.pop_front().ok_or_else(|| Error::malformed("a ticket for the answer"))?;
        Rows::open(self.flight.clone(), first, tickets).await
    }
}

/// An answer's rows, batch by batch. Dropping it cancels the statement. It is also a [`Stream`] of results.
pub struct Rows {
    schema: SchemaRef,
    batches: Pin<Box<dyn Stream<Item = Result<RecordBatch>> + Send>>,
}

impl Rows {
    async fn open(flight: FlightServiceClient<Channel>, first: Ticket, rest: VecDeque<Ticket>) -> Result<Self> {
        let mut part = fetch(flight.clone(), first).await?;
        // The schema comes before the first batch: reading that batch makes both known.
        let head = part.try_next().await.map_err(error_of)?;
        let schema = part.schema().cloned().ok_or_else(|| Error::malformed("the answer's schema"))?;
        let more = futures::stream::iter(rest)
            .then(move |ticket| fetch(flight.clone(), ticket))
            .map_ok(|part| part.map_err(error_of))
            .try_flatten();
        let batches = futures::stream::iter(head.map(Ok)).chain(part.map_err(error_of)).chain(more);
        Ok(Self { schema, batches: Box::pin(batches) })
    }

    /// The answer's columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// What stopped the statement midway.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.try_next().await
    }
}

impl Stream for Rows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.as_mut().poll_next(cx)
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("schema", &self.schema).finish_non_exhaustive()
    }
}

async fn fetch(mut flight: FlightServiceClient<Channel>, ticket: Ticket) -> Result<FlightRecordBatchStream> {
    let data = flight.do_get(ticket).await?.into_inner().map_err(|status| FlightError::Tonic(Box::new(status)));
    Ok(FlightRecordBatchStream::new_from_flight_data(data))
}

fn error_of(error: FlightError) -> Error {
    match error {
        FlightError::Tonic(status) => (*status).into(),
        other => Error::new(Kind::Internal, format!("the answer does not decode: {other}")),
    }
}
