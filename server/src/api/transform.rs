//! gRPC: transform modules.

use std::collections::HashMap;

use bytes::Bytes;
use millrace_proto::v1 as proto;
use millrace_storage::log::{Offset, ReadLimit, Record, ShardId};
use millrace_storage::time::Timestamp;
use proto::test_transform_request::Chain as Tested;
use proto::transform_service_server::TransformService;
use serde::Deserialize;
use tonic::{Request, Response, Status};

use super::access::Call;
use crate::auth::{Action, Resource};
use crate::delivery::Deliveries;
use crate::error::{Error, Result};
use crate::streams::{StreamName, Streams};
use crate::transform::{
    DRY_RUN_BYTES_MAX, DRY_RUN_RECORDS_MAX, Module, ModuleName, Outcome, Output, PushOptions, TransformSpec,
    Transforms, Tried, WasmSpec,
};

/// What a dry run may answer: past it the records are too much to look at.
pub(super) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The service.
#[derive(Debug, Clone)]
pub(super) struct TransformHandler {
    transforms: Transforms,
    deliveries: Deliveries,
    streams: Streams,
}

impl TransformHandler {
    /// Over the process's modules, the deliveries that use them, and the streams that dry runs read.
    pub(super) const fn new(transforms: Transforms, deliveries: Deliveries, streams: Streams) -> Self {
        Self { transforms, deliveries, streams }
    }

    fn specs(&self, chain: Option<Tested>, version: u32) -> Result<Vec<TransformSpec>> {
        match chain {
            Some(Tested::Module(name)) => {
                let version = (version > 0).then_some(version);
                let spec = WasmSpec { module: name.parse()?, version, grant: Default::default() };
                Ok(vec![TransformSpec::Wasm(spec)])
            }
            Some(Tested::Delivery(name)) => self.deliveries.transforms_of(&name),
            Some(Tested::TransformsToml(text)) => {
                let wrong = |error| Error::invalid(format_args!("the transforms are not valid: {error}"));
                let steps: Steps = toml::from_str(&text).map_err(wrong)?;
                Ok(steps.transforms)
            }
            None => Err(Error::invalid("a module, a delivery or transforms must be named").in_field("chain")),
        }
    }

    async fn records(&self, records: Vec<Bytes>, stream: &str, count: u32) -> Result<Vec<(ShardId, Record)>> {
        if stream.is_empty() {
            let bytes: usize = records.iter().map(Bytes::len).sum();
            check_records(records.len(), bytes)?;
            let arrival_time = Timestamp::now();
            let record = |(offset, data)| {
                let record = Record { offset: Offset(offset), arrival_time, partition_key: Bytes::new(), data };
                (ShardId(0), record)
            };
            return Ok((0..).zip(records).map(record).collect());
        }
        let name: StreamName = stream.parse()?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        check_records(count, 0)?;
        self.newest(&name, count).await
    }

    /// The newest records of a stream, oldest first.
    async fn newest(&self, name: &StreamName, count: usize) -> Result<Vec<(ShardId, Record)>> {
        let stream = self.streams.get(name)?;
        let mut found = Vec::new();
        for shard in stream.topology().shards() {
            let log = self.streams.log();
            let offsets = log.offsets(shard.key());
            let mut from = Offset(offsets.end.0.saturating_sub(count as u64).max(offsets.start.0));
            while from < offsets.end {
                let limit = ReadLimit { records_max: count, bytes_max: DRY_RUN_BYTES_MAX };
                let read = log.read(shard.key(), from, limit).await?;
                let Some(last) = read.last() else { break };
                from = last.offset + 1;
                found.extend(read.into_iter().map(|record| (shard.id(), record)));
            }
        }
        found.sort_by_key(|(shard, record)| (record.arrival_time, *shard, record.offset));
        let mut bytes = 0;
        let fits = |(_, record): &&(ShardId, Record)| {
            bytes += record.data.len();
            bytes <= DRY_RUN_BYTES_MAX
        };
        let kept = found.iter().rev().take(count).take_while(fits).count();
        Ok(found.split_off(found.len() - kept))
    }

    async fn try_out(&self, request: proto::TestTransformRequest) -> Result<Vec<Tried>> {
        let specs = self.specs(request.chain, request.version)?;
        let records = self.records(request.records, &request.stream, request.count).await?;
        self.transforms.try_out(&specs, records).await
    }

    fn described(&self, name: &ModuleName, module: &Module) -> proto::Transform {
        proto::Transform { deliveries: self.deliveries.users_of(name), ..transform(name, module) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Steps {
    transforms: Vec<TransformSpec>,
}

fn check_records(records: usize, bytes: usize) -> Result<()> {
    if records == 0 || records > DRY_RUN_RECORDS_MAX {
        let words = format_args!("{records} records are outside 1 to {DRY_RUN_RECORDS_MAX} for a test");
        return Err(Error::invalid(words).in_field("records"));
    }
    if bytes > DRY_RUN_BYTES_MAX {
        let words = format_args!("{bytes} bytes of records are past the limit of {DRY_RUN_BYTES_MAX} for a test");
        return Err(Error::invalid(words).in_field("records"));
    }
    Ok(())
}

#[tonic::async_trait]
impl TransformService for TransformHandler {
    async fn push_transform(
        &self,
        request: Request<proto::PushTransformRequest>,
    ) -> Result<Response<proto::PushTransformResponse>, Status> {
        let proto::PushTransformRequest { name, module, canary_percent } = request.into_inner();
        let name: ModuleName = name.parse()?;
        let options = PushOptions { canary_percent: (canary_percent > 0).then_some(canary_percent) };
        let used = self.deliveries.versions_in_use().await?;
        let (version, module) = self.transforms.push(&name, module, options, &used).await?;
        let transform = Some(self.described(&name, &module));
        Ok(Response::new(proto::PushTransformResponse { version, transform }))
    }

    async fn list_transforms(
        &self,
        _request: Request<proto::ListTransformsRequest>,
    ) -> Result<Response<proto::ListTransformsResponse>, Status> {
        let transforms = self.transforms.list().iter().map(|(name, module)| transform(name, module)).collect();
        Ok(Response::new(proto::ListTransformsResponse { transforms }))
    }

    async fn describe_transform(
        &self,
        request: Request<proto::DescribeTransformRequest>,
    ) -> Result<Response<proto::DescribeTransformResponse>, Status> {
        let name: ModuleName = request.into_inner().name.parse()?;
        let transform = Some(self.described(&name, &self.transforms.describe(&name)?));
        Ok(Response::new(proto::DescribeTransformResponse { transform }))
    }

    async fn roll_back_transform(
        &self,
        request: Request<proto::RollBackTransformRequest>,
    ) -> Result<Response<proto::RollBackTransformResponse>, Status> {
        let proto::RollBackTransformRequest { name, version } = request.into_inner();
        let name: ModuleName = name.parse()?;
        let module = self.transforms.roll_back(&name, (version > 0).then_some(version)).await?;
        Ok(Response::new(proto::RollBackTransformResponse { transform: Some(self.described(&name, &module)) }))
    }

    async fn set_transform_canary(
        &self,
        request: Request<proto::SetTransformCanaryRequest>,
    ) -> Result<Response<proto::SetTransformCanaryResponse>, Status> {
        let proto::SetTransformCanaryRequest { name, percent } = request.into_inner();
        let name: ModuleName = name.parse()?;
        let module = self.transforms.set_canary(&name, percent).await?;
        Ok(Response::new(proto::SetTransformCanaryResponse { transform: Some(self.described(&name, &module)) }))
    }

    async fn delete_transform(
        &self,
        request: Request<proto::DeleteTransformRequest>,
    ) -> Result<Response<proto::DeleteTransformResponse>, Status> {
        let name: ModuleName = request.into_inner().name.parse()?;
        self.deliveries.delete_module(&name).await?;
        Ok(Response::new(proto::DeleteTransformResponse {}))
    }

    async fn test_transform(
        &self,
        request: Request<proto::TestTransformRequest>,
    ) -> Result<Response<proto::TestTransformResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        // What a test shows is what a stream or a delivery has.
        if !request.stream.is_empty() {
            call.allow_to(Action::Get, &Resource::stream(&request.stream))?;
        }
        if let Some(Tested::Delivery(name)) = &request.chain {
            call.allow_to(Action::DescribeDelivery, &Resource::delivery(name))?;
        }
        let records = self.try_out(request).await?;
        Ok(Response::new(proto::TestTransformResponse { records: records.into_iter().map(tested).collect() }))
    }
}

fn transform(name: &ModuleName, module: &Module) -> proto::Transform {
    let versions = module.versions.iter().map(|(number, version)| proto::TransformVersion {
        version: *number,
        sha256: version.sha256.to_string(),
        bytes: version.bytes,
        created_at_ms: version.created_at.as_millis(),
    });
    proto::Transform {
        name: name.to_string(),
        current_version: module.value.current,
        canary_version: module.value.canary,
        canary_percent: module.value.canary_percent,
        created_at_ms: module.value.created_at_ms,
        versions: versions.collect(),
        deliveries: Vec::new(),
    }
}

fn tested(tried: Tried) -> proto::TestedRecord {
    let record = proto::TestedRecord { id: tried.id, before: tried.before, ..Default::default() };
    match tried.outcome {
        Outcome::One(one) => proto::TestedRecord { after: vec![output(one)], ..record },
        Outcome::Many(many) => proto::TestedRecord { after: many.into_iter().map(output).collect(), ..record },
        Outcome::Dropped => proto::TestedRecord { dropped: true, ..record },
        Outcome::Failed(failure) => proto::TestedRecord { failure: failure.message, ..record },
    }
}

fn output(output: Output) -> proto::TestedOutput {
    let keys = output.partition_keys.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    proto::TestedOutput { partition_keys: keys.collect::<HashMap<_, _>>(), data: output.data }
}
