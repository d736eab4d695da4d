//! The wire: gRPC and HTTP handlers. They check shapes, call a service and map errors; they decide nothing.

mod status;
mod access;
mod asked;
mod lasting;
pub mod http;
pub mod aws;
mod stream;
mod record;
mod group;
mod transform;
mod delivery;
mod import;
mod table;
mod flight;
mod principal;
pub(crate) mod maintenance;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use millrace_proto::v1::delivery_service_server::{self, DeliveryServiceServer};
use millrace_proto::v1::group_service_server::{self, GroupServiceServer};
use millrace_proto::v1::import_service_server::{self, ImportServiceServer};
use millrace_proto::v1::maintenance_service_server::{self, MaintenanceServiceServer};
use millrace_proto::v1::principal_service_server::{self, PrincipalServiceServer};
use millrace_proto::v1::record_service_server::{self, RecordServiceServer};
use millrace_proto::v1::stream_service_server::{self, StreamServiceServer};
use millrace_proto::v1::table_service_server::{self, TableServiceServer};
use millrace_proto::v1::transform_service_server::{self, TransformServiceServer};
use millrace_storage::catalog::Catalog;
use tonic::Status;
use tonic::service::{Routes, RoutesBuilder};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub use status::DOMAIN;

use crate::auth::Auth;
use crate::delivery::Deliveries;
use crate::groups::Groups;
use crate::imports::Imports;
use crate::maintenance::Maintenance;
use crate::query::QueryEngine;
use crate::streams::Streams;
use crate::transform::Transforms;

/// What the handlers call.
#[derive(Debug, Clone)]
pub struct Services {
    /// Streams and their records.
    pub streams: Streams,
    /// Consumer groups.
    pub groups: Groups,
    /// Transform modules.
    pub transforms: Transforms,
    /// Deliveries.
    pub deliveries: Deliveries,
    /// Imports.
    pub imports: Imports,
    /// The tables' catalog.
    pub catalog: Catalog,
    /// SQL.
    pub queries: Arc<QueryEngine>,
    /// Backups and checks.
    pub maintenance: Maintenance,
    /// Who may call.
    pub auth: Auth,
}

/// The services that report their health, by their gRPC names; the empty name is the whole server.
const SERVICE_NAMES: [&str; 11] = [
    "",
    stream_service_server::SERVICE_NAME,
    record_service_server::SERVICE_NAME,
    group_service_server::SERVICE_NAME,
    transform_service_server::SERVICE_NAME,
    delivery_service_server::SERVICE_NAME,
    import_service_server::SERVICE_NAME,
    table_service_server::SERVICE_NAME,
    maintenance_service_server::SERVICE_NAME,
    principal_service_server::SERVICE_NAME,
    flight::SERVICE_NAME,
];

/// What a message holds beside the bytes that its own limit counts: field tags, hash keys, offsets.
const MESSAGE_OVERHEAD_BYTES: u64 = 1 << 20;

/// The name that messages past the wire's limit are counted under.
pub(super) const MESSAGE_LIMIT: &str = "message_bytes_max";

/// All gRPC services, with health and reflection.
///
/// # Errors
/// Where the wire's own descriptors cannot be read: a bug.
pub fn routes(services: &Services, health: &HealthReporter) -> Result<Routes, tonic_reflection::server::Error> {
    let settings = services.streams.settings();
    // A put past its own limit must reach the handler, which says so in words; only what is far past it is cut here.
    let put_bytes_max = message_bytes(settings.put_bytes_max.as_u64().saturating_mul(2));
    // One record is always given, however small the limit of a read.
    let read_bytes_max = message_bytes(settings.get_bytes_max.as_u64().max(settings.subscribe_bytes_max.as_u64()))
        .saturating_add(message_bytes(settings.record_bytes_max.as_u64()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(millrace_proto::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(tonic_health::pb::health_server::HealthServer::new(
            tonic_health::server::HealthService::from_health_reporter(health.clone()),
        ))
        .add_service(reflection)
        .add_service(StreamServiceServer::new(stream::StreamHandler::new(services.streams.clone())))
        .add_service(
            RecordServiceServer::new(record::RecordHandler::new(services.streams.clone()))
                .max_decoding_message_size(put_bytes_max)
                .max_encoding_message_size(read_bytes_max),
        )
        .add_service(GroupServiceServer::new(group::GroupHandler::new(
            services.groups.clone(),
            services.streams.clone(),
        )))
        .add_service(
            TransformServiceServer::new(transform::TransformHandler::new(
                services.transforms.clone(),
                services.deliveries.clone(),
                services.streams.clone(),
            ))
            .max_decoding_message_size(message_bytes(services.transforms.settings().module_bytes_max.as_u64()))
            .max_encoding_message_size(transform::ANSWER_BYTES_MAX),
        )
        .add_service(DeliveryServiceServer::new(delivery::DeliveryHandler::new(
            services.deliveries.clone(),
            services.imports.clone(),
        )))
        .add_service(ImportServiceServer::new(import::ImportHandler::new(services.imports.clone())))
        .add_service(TableServiceServer::new(table::TableHandler::new(services.catalog.clone())))
        .add_service(MaintenanceServiceServer::new(maintenance::MaintenanceHandler::new(services.maintenance.clone())))
        .add_service(PrincipalServiceServer::new(principal::PrincipalHandler::new(services.auth.clone())))
        .add_service(flight::FlightSql::service(Arc::clone(&services.queries)));
    let streams = services.streams.clone();
    let count = move |response: axum::response::Response| {
        // The wire's own answer to a message past what it decodes. A `PutStream` counts its own.
        if response.headers().get(Status::GRPC_STATUS).is_some_and(|code| code == "11") {
            streams.count_rejected(MESSAGE_LIMIT);
        }
        std::future::ready(response)
    };
    let routes = routes.routes().into_axum_router().layer(axum::middleware::map_response(count));
    // The outermost layer: nothing of a call is looked at before its caller is known.
    Ok(routes.layer(axum::middleware::from_fn_with_state(services.auth.clone(), access::authenticate)).into())
}

fn message_bytes(payload: u64) -> usize {
    usize::try_from(payload.saturating_add(MESSAGE_OVERHEAD_BYTES)).unwrap_or(usize::MAX)
}

/// Reports all services as serving, or as not: when they open, and when they drain.
pub async fn set_serving(health: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for name in SERVICE_NAMES {
        health.set_service_status(name, status).await;
    }
}
