//! Arrow Flight SQL: statements, prepared statements and their parameters, and the metadata calls that drivers make.
//!
//! Handles are the statements themselves ([`handle`]), so that the server keeps nothing between calls and a restart breaks
//! none.
//! Results stream at the pace of the client; when it goes away, the query ends.

mod handle;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult,
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandPreparedStatementQuery, CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{Action, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{Request, Response, Status};

use super::access::Call;
use crate::query::{CATALOG, QueryEngine, Schemas, Statement};
use handle::{bound, handle_of, statement_of};

/// The gRPC name of the service.
pub(super) const SERVICE_NAME: &str = <FlightServiceServer<FlightSql> as tonic::server::NamedService>::NAME;

/// Bytes that one message aims for; clients accept 4 MiB unless told otherwise. A batch is split by rows to meet it.
const MESSAGE_BYTES: usize = 1 << 20;

type DataStream = Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send>>;

/// Flight SQL over the query engine.
#[derive(Clone)]
pub(super) struct FlightSql {
    queries: Arc<QueryEngine>,
    info: Arc<SqlInfoData>,
}

impl fmt::Debug for FlightSql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightSql").field("queries", &self.queries).finish_non_exhaustive()
    }
}

impl FlightSql {
    /// The gRPC service.
    #[must_use]
    pub(super) fn service(queries: Arc<QueryEngine>) -> FlightServiceServer<Self> {
        FlightServiceServer::new(Self { queries, info: Arc::new(sql_info()) })
    }

    /// Says how to fetch a statement's answer: with `ticket`, from this server.
    async fn info_of(
        &self,
        statement: Statement,
        ticket: Bytes,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let call = Call::of(&request)?;
        let Schemas { answer, .. } = call.asked(self.queries.describe(call.caller(), statement).await)?;
        info(&answer, ticket, request.into_inner())
    }

    async fn run(&self, call: &Call, statement: Statement) -> Answer<DataStream> {
        let answer = call.asked(self.queries.sql(call.caller(), statement).await)?;
        let schema = answer.schema();
        let batches = answer.map_err(|error| FlightError::Tonic(Box::new(Status::from(error))));
        Ok(Response::new(encode(schema, batches)))
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn encode(
    schema: SchemaRef,
    batches: impl Stream<Item = Result<RecordBatch, FlightError>> + Send + 'static,
) -> DataStream {
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema).with_max_flight_data_size(MESSAGE_BYTES);
    encoder.build(batches).map_err(Status::from).boxed()
}

/// The answer of a metadata call: one batch.
fn one(batch: Result<RecordBatch, impl std::fmt::Display>) -> Answer<DataStream> {
    let batch = batch.map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(encode(batch.schema(), stream::iter([Ok(batch)]))))
}

fn info(schema: &Schema, ticket: Bytes, descriptor: FlightDescriptor) -> Answer<FlightInfo> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket { ticket });
    let info = FlightInfo::new().try_with_schema(schema).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(info.with_endpoint(endpoint).with_descriptor(descriptor)))
}

fn packed(command: &impl ProstMessageExt) -> Bytes {
    command.as_any().encode_to_vec().into()
}

fn sql_info() -> SqlInfoData {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Millrace");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerArrowVersion, "1.5");
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    info.append(SqlInfo::FlightSqlServerTransaction, 0_i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.append(SqlInfo::FlightSqlServerStatementTimeout, 0_i32);
    info.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    info.append(SqlInfo::SqlDdlCatalog, false);
    info.append(SqlInfo::SqlDdlSchema, false);
    info.append(SqlInfo::SqlDdlTable, false);
    info.build().expect("the infos are of the types that the protocol names")
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let ticket = packed(&TicketStatementQuery { statement_handle: handle_of(&query.query) });
        self.info_of(query.query.as_str().into(), ticket, request).await
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        self.info_of(statement_of(&query.prepared_statement_handle)?, packed(&query), request).await
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        info(&query.into_builder().schema(), packed(&query), request.into_inner())
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let ticket = packed(&query);
        info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let ticket = packed(&query);
        info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        info(&query.into_builder().schema(), packed(&query), request.into_inner())
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Answer<FlightInfo> {
        let ticket = packed(&query);
        info(&query.into_builder(&self.info).schema(), ticket, request.into_inner())
    }

    async fn do_get_statement(&self, ticket: TicketStatementQuery, request: Request<Ticket>) -> Answer<DataStream> {
        self.run(&Call::of(&request)?, statement_of(&ticket.statement_handle)?).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Answer<DataStream> {
        self.run(&Call::of(&request)?, statement_of(&query.prepared_statement_handle)?).await
    }

    async fn do_get_catalogs(&self, query: CommandGetCatalogs, _request: Request<Ticket>) -> Answer<DataStream> {
        let mut builder = query.into_builder();
        builder.append(CATALOG);
        one(builder.build())
    }

    async fn do_get_schemas(&self, query: CommandGetDbSchemas, request: Request<Ticket>) -> Answer<DataStream> {
        let mut builder = query.into_builder();
        for schema in self.queries.schemas(Call::of(&request)?.caller()).await? {
            builder.append(CATALOG, schema);
        }
        one(builder.build())
    }

    async fn do_get_tables(&self, query: CommandGetTables, request: Request<Ticket>) -> Answer<DataStream> {
        let with_columns = query.include_schema;
        let mut builder = query.into_builder();
        for table in self.queries.list(Call::of(&request)?.caller(), with_columns).await? {
            let appended = builder.append(CATALOG, table.schema, table.name, table.kind, &table.columns);
            appended.map_err(|error| Status::internal(error.to_string()))?;
        }
        one(builder.build())
    }

    async fn do_get_table_types(&self, query: CommandGetTableTypes, _request: Request<Ticket>) -> Answer<DataStream> {
        let mut builder = query.into_builder();
        builder.append("TABLE");
        builder.append("VIEW");
        one(builder.build())
    }

    async fn do_get_sql_info(&self, query: CommandGetSqlInfo, _request: Request<Ticket>) -> Answer<DataStream> {
        one(query.into_builder(&self.info).build())
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let call = Call::of(&request)?;
        let schemas = call.asked(self.queries.describe(call.caller(), query.query.as_str()).await)?;
        let options = IpcWriteOptions::default();
        let encoded = |schema: &Schema| {
            let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &options));
            message.map(|message| message.0).map_err(|error| Status::internal(error.to_string()))
        };
        Ok(ActionCreatePreparedStatementResult {
            dataset_schema: encoded(&schemas.answer)?,
            parameter_schema: encoded(&schemas.parameters)?,
            prepared_statement_handle: handle_of(&query.query),
        })
    }

    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    /// Binds a row of parameters: the answer's handle is the statement with it.
    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let bytes_max = self.queries.statement_bytes_max();
        let handle = bound(&query.prepared_statement_handle, request.into_inner(), bytes_max).await?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn register_sql_info(&self, _id: i32, _info: &SqlInfo) {}
}
