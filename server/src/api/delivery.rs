//! gRPC: deliveries.

use millrace_proto::v1 as proto;
use millrace_storage::catalog::TableName;
use millrace_storage::meta::keys::Totals;
use millrace_storage::time::Timestamp;
use proto::delivery_service_server::DeliveryService;
use tonic::{Request, Response, Status};

use super::access::Call;
use super::asked::needs;
use crate::auth::Resource;
use crate::delivery::{
    Action, Asked, Change, Deliveries, Described, RebuildRequest, Replayed, State, Verified, parse_transforms,
};
use crate::imports::{Application, Imports};

/// The service.
#[derive(Debug, Clone)]
pub(super) struct DeliveryHandler {
    deliveries: Deliveries,
    imports: Imports,
}

impl DeliveryHandler {
    /// Over the process's deliveries, and the imports that a pipeline file declares too.
    #[must_use]
    pub(super) const fn new(deliveries: Deliveries, imports: Imports) -> Self {
        Self { deliveries, imports }
    }
}

#[tonic::async_trait]
impl DeliveryService for DeliveryHandler {
    async fn apply_pipeline(
        &self,
        request: Request<proto::ApplyPipelineRequest>,
    ) -> Result<Response<proto::ApplyPipelineResponse>, Status> {
        let call = Call::of(&request)?;
        let proto::ApplyPipelineRequest { pipeline_toml, dry_run, expected_versions } = request.into_inner();
        let (expected, allow) = (expected_versions.into_iter().collect(), |asked: Asked<'_>| allow(&call, asked));
        let owner = call.caller().principal().unwrap_or_default();
        let application = Application { pipeline_toml: &pipeline_toml, dry_run, expected: &expected, owner };
        let changes = self.imports.apply(&self.deliveries, application, &allow).await?;
        Ok(Response::new(proto::ApplyPipelineResponse { changes: changes.into_iter().map(change).collect() }))
    }

    async fn describe_delivery(
        &self,
        request: Request<proto::DescribeDeliveryRequest>,
    ) -> Result<Response<proto::DescribeDeliveryResponse>, Status> {
        let name = named(request, |request| request.name)?;
        let described = self.deliveries.describe(&name).await?;
        Ok(Response::new(proto::DescribeDeliveryResponse { delivery: Some(delivery(described)) }))
    }

    async fn list_deliveries(
        &self,
        request: Request<proto::ListDeliveriesRequest>,
    ) -> Result<Response<proto::ListDeliveriesResponse>, Status> {
        let call = Call::of(&request)?;
        let seen = self.deliveries.list().into_iter().filter(|found| call.may(&Resource::delivery(&found.name)));
        let deliveries = seen.map(delivery).collect();
        Ok(Response::new(proto::ListDeliveriesResponse { deliveries }))
    }

    async fn flush_delivery(
        &self,
        request: Request<proto::FlushDeliveryRequest>,
    ) -> Result<Response<proto::FlushDeliveryResponse>, Status> {
        let name = named(request, |request| request.name)?;
        let described = self.deliveries.flush(&name).await?;
        Ok(Response::new(proto::FlushDeliveryResponse { delivery: Some(delivery(described)) }))
    }

    async fn pause_delivery(
        &self,
        request: Request<proto::PauseDeliveryRequest>,
    ) -> Result<Response<proto::PauseDeliveryResponse>, Status> {
        let name = named(request, |request| request.name)?;
        let described = self.deliveries.pause(&name).await?;
        Ok(Response::new(proto::PauseDeliveryResponse { delivery: Some(delivery(described)) }))
    }

    async fn resume_delivery(
        &self,
        request: Request<proto::ResumeDeliveryRequest>,
    ) -> Result<Response<proto::ResumeDeliveryResponse>, Status> {
        let name = named(request, |request| request.name)?;
        let described = self.deliveries.resume(&name).await?;
        Ok(Response::new(proto::ResumeDeliveryResponse { delivery: Some(delivery(described)) }))
    }

    async fn delete_delivery(
        &self,
        request: Request<proto::DeleteDeliveryRequest>,
    ) -> Result<Response<proto::DeleteDeliveryResponse>, Status> {
        let name = named(request, |request| request.name)?;
        self.deliveries.delete(&name).await?;
        Ok(Response::new(proto::DeleteDeliveryResponse {}))
    }

    async fn replay_delivery(
        &self,
        request: Request<proto::ReplayDeliveryRequest>,
    ) -> Result<Response<proto::ReplayDeliveryResponse>, Status> {
        let done = self.deliveries.replay(&named(request, |request| request.name)?).await?;
        let Replayed { replayed, rows, set_aside, dropped, delivery: after } = done;
        let delivery = Some(delivery(after));
        Ok(Response::new(proto::ReplayDeliveryResponse { replayed, rows, set_aside, dropped, delivery }))
    }

    async fn rebuild_table(
        &self,
        request: Request<proto::RebuildTableRequest>,
    ) -> Result<Response<proto::RebuildTableResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let table: TableName = request.table.parse().map_err(crate::error::Error::from)?;
        call.allow(&Resource::table(table.namespace(), table.name()))?;
        let transforms = &request.transforms_toml;
        let request = RebuildRequest {
            transforms: if transforms.is_empty() { None } else { Some(parse_transforms(transforms)?) },
            table: request.table,
            delivery: (!request.delivery.is_empty()).then_some(request.delivery),
            from: request.from_ms.map(Timestamp),
            to: request.to_ms.map(Timestamp),
        };
        let rebuilt = self.deliveries.rebuild(request).await?;
        Ok(Response::new(proto::RebuildTableResponse {
            delivery: rebuilt.delivery,
            number: rebuilt.number,
            batches: rebuilt.batches,
            totals: Some(totals(rebuilt.totals)),
            removed_rows: rebuilt.removed_rows,
            removed_files: rebuilt.removed_files,
        }))
    }

    async fn verify_delivery(
        &self,
        request: Request<proto::VerifyDeliveryRequest>,
    ) -> Result<Response<proto::VerifyDeliveryResponse>, Status> {
        let name = named(request, |request| request.name)?;
        let found = self.deliveries.verify(&name).await?;
        Ok(Response::new(verified(found)))
    }
}

/// The delivery that a call names, where its caller may do to it what the method does.
fn named<T>(request: Request<T>, name: impl FnOnce(T) -> String) -> Result<String, Status> {
    let call = Call::of(&request)?;
    let name = name(request.into_inner());
    call.allow(&Resource::delivery(&name))?;
    Ok(name)
}

/// Asks for what a pipeline file would do to one object.
fn allow(call: &Call, asked: Asked<'_>) -> crate::error::Result<()> {
    needs(&asked).into_iter().try_for_each(|(action, resource)| call.allow_to(action, &resource))
}

fn change(change: Change) -> proto::Change {
    let action = match change.action {
        Action::Unchanged => proto::change::Action::Unchanged,
        Action::Created => proto::change::Action::Created,
        Action::Updated => proto::change::Action::Updated,
    };
    proto::Change { action: action.into(), kind: change.kind.to_owned(), name: change.name, diff: change.diff }
}

fn delivery(described: Described) -> proto::Delivery {
    let state = match described.state {
        State::Running => proto::delivery::State::Running,
        State::Paused => proto::delivery::State::Paused,
        State::Retrying => proto::delivery::State::Retrying,
    };
    let shards = described.shards.iter().map(|shard| proto::DeliveryShard {
        shard: shard.shard.0,
        committed_offset: shard.committed.0,
        next_offset: shard.next.0,
    });
    proto::Delivery {
        name: described.name,
        stream: described.stream,
        spec_toml: described.spec_toml,
        version: described.version,
        state: state.into(),
        last_error: described.last_error.unwrap_or_default(),
        retries: described.retries,
        next_batch: described.next_batch,
        shards: shards.collect(),
        totals: Some(totals(described.totals)),
        last_commit_at_ms: described.last_commit_at.map_or(0, |at| at.as_millis()),
        held: described.held.map(|held| proto::HeldRecords {
            records: held.records,
            bytes: held.bytes,
            since_ms: held.since.as_millis(),
        }),
    }
}

fn totals(totals: Totals) -> proto::DeliveryTotals {
    let Totals { records, outputs, rows, set_aside, dropped, files, bytes_in, bytes_out, lost, replayed } = totals;
    proto::DeliveryTotals { records, outputs, rows, set_aside, dropped, files, bytes_in, bytes_out, lost, replayed }
}

fn verified(verified: Verified) -> proto::VerifyDeliveryResponse {
    let shards = verified.shards.iter().map(|shard| proto::VerifiedShard {
        shard: shard.shard.0,
        from_offset: shard.offsets.start.0,
        to_offset: shard.offsets.end.0,
    });
    proto::VerifyDeliveryResponse {
        ok: verified.is_ok(),
        shards: shards.collect(),
        totals: Some(totals(verified.totals)),
        batches: verified.batches,
        faults: verified.faults,
    }
}
