//! `StreamService`: the control plane of streams.

use std::time::Duration;

use millrace_proto::v1;
use millrace_proto::v1::stream_service_server::StreamService;
use millrace_storage::log::ShardId;
use tonic::{Request, Response, Status};

use super::access::Call;
use crate::auth::Resource;
use crate::complete::complete;
use crate::error::Error;
use crate::streams::{
    OverQuota, Resharded, Rewrapped, ShardState, StreamMode, StreamName, StreamOptions, StreamState, Streams,
};

/// Streams in one page where the caller does not say.
const PAGE_SIZE_DEFAULT: u32 = 100;
/// The most streams, or shards, in one page.
const PAGE_SIZE_MAX: u32 = 1000;

#[derive(Debug)]
pub(super) struct StreamHandler {
    streams: Streams,
}

impl StreamHandler {
    pub(super) const fn new(streams: Streams) -> Self {
        Self { streams }
    }

    /// A stream with the first page of its shards.
    fn describe(&self, stream: &StreamState) -> v1::Stream {
        let (shards, next_shards_page_token) = self.page(stream, 0, PAGE_SIZE_MAX as usize);
        let held = stream.holding().by.into_iter().map(|held| v1::Held {
            delivery: held.delivery,
            records: held.records,
            bytes: held.bytes,
            since_ms: held.since.as_millis(),
        });
        v1::Stream {
            shards,
            next_shards_page_token,
            stored_bytes: self.streams.log().stored_bytes(stream.id()),
            held: held.collect(),
            ..self.summarize(stream)
        }
    }

    /// As [`Self::describe`], with the data keys.
    async fn describe_all(&self, stream: &StreamState) -> Result<v1::Stream, Error> {
        let keys = self.streams.key_states(stream).await?.into_iter().map(|key| v1::DataKey {
            version: key.version.0,
            created_at_ms: key.created_at.as_millis(),
            replaced_at_ms: key.replaced_at.map_or(0, |time| time.as_millis()),
            master_key_id: key.master_key_id,
            unusable: key.unusable.unwrap_or_default(),
        });
        let key_version = self.streams.key_version(stream).unwrap_or_default();
        let encryption = Some(v1::StreamEncryption { key_version, keys: keys.collect() });
        Ok(v1::Stream { encryption, ..self.describe(stream) })
    }

    /// A stream without its shards.
    fn summarize(&self, stream: &StreamState) -> v1::Stream {
        let key_version = self.streams.key_version(stream).unwrap_or_default();
        let encryption = Some(v1::StreamEncryption { key_version, keys: Vec::new() });
        v1::Stream { encryption, ..settings_of(stream) }
    }

    /// The shards with at least this number, and the token of the page after them.
    fn page(&self, stream: &StreamState, first: u32, count: usize) -> (Vec<v1::Shard>, String) {
        let topology = stream.topology();
        let from = topology.shards().partition_point(|shard| shard.id().0 < first);
        let (page, rest) = topology.shards()[from..].split_at(count.min(topology.shards().len() - from));
        let token = rest.first().map(|next| next.id().to_string()).unwrap_or_default();
        (page.iter().map(|shard| self.shard(shard)).collect(), token)
    }

    fn shard(&self, shard: &ShardState) -> v1::Shard {
        let offsets = self.streams.log().offsets(shard.key());
        let closed = shard.closed();
        let ids = |shards: &[ShardId]| shards.iter().map(|shard| shard.0).collect();
        v1::Shard {
            shard: shard.id().0,
            hash_key_start: shard.range().start.to_string(),
            hash_key_end: shard.range().end.to_string(),
            trim_offset: offsets.start.0,
            next_offset: offsets.end.0,
            parents: ids(shard.parents()),
            closed: closed.is_some(),
            closed_at_ms: closed.map_or(0, |closed| closed.at.as_millis()),
            children: closed.map(|closed| ids(&closed.children)).unwrap_or_default(),
            created_at_ms: shard.created_at().as_millis(),
            reason: shard.reason().to_owned(),
        }
    }

    fn resharded(&self, resharded: &Resharded) -> Vec<v1::Shard> {
        resharded.closed.iter().chain(&resharded.children).map(|shard| self.shard(shard)).collect()
    }
}

pub(super) fn page_size_of(asked: u32, default: u32, noun: &str) -> Result<usize, Error> {
    if asked > PAGE_SIZE_MAX {
        let message = format!("a page of {asked} {noun} is past the limit of {PAGE_SIZE_MAX}");
        return Err(Error::invalid(message).in_field("page_size"));
    }
    Ok(if asked == 0 { default } else { asked } as usize)
}

fn mode_of(mode: v1::StreamMode) -> Option<StreamMode> {
    match mode {
        v1::StreamMode::Unspecified => None,
        v1::StreamMode::Provisioned => Some(StreamMode::Provisioned),
        v1::StreamMode::OnDemand => Some(StreamMode::OnDemand),
    }
}

/// What a stream was made to be.
fn settings_of(stream: &StreamState) -> v1::Stream {
    let spec = stream.spec();
    v1::Stream {
        name: stream.name().to_string(),
        retention_ms: u64::try_from(spec.retention.as_millis()).unwrap_or(u64::MAX),
        record_bytes_max: spec.record_bytes_max,
        quota: Some(v1::ShardQuota {
            in_bytes_per_second: spec.quota.in_bytes_per_second,
            in_records_per_second: spec.quota.in_records_per_second,
            out_bytes_per_second: spec.quota.out_bytes_per_second,
            burst_ms: u64::try_from(spec.quota.burst.as_millis()).unwrap_or(u64::MAX),
        }),
        created_at_ms: stream.created_at().as_millis(),
        mode: match spec.mode {
            StreamMode::Provisioned => v1::StreamMode::Provisioned,
            StreamMode::OnDemand => v1::StreamMode::OnDemand,
        }
        .into(),
        open_shard_count: spec.shard_count.get(),
        shards: Vec::new(),
        next_shards_page_token: String::new(),
        over_quota: match spec.over_quota {
            OverQuota::Reject => v1::OverQuota::Reject.into(),
            OverQuota::Delay => v1::OverQuota::Delay.into(),
        },
        stored_bytes_max: spec.stored_bytes_max,
        hold_for_deliveries: spec.hold_for_deliveries,
        stored_bytes: 0,
        held: Vec::new(),
        encryption: None,
    }
}

fn over_quota(choice: i32) -> Result<OverQuota, Error> {
    match v1::OverQuota::try_from(choice) {
        Ok(v1::OverQuota::Reject) => Ok(OverQuota::Reject),
        Ok(v1::OverQuota::Delay) => Ok(OverQuota::Delay),
        _ => Err(Error::invalid(format_args!("{choice} is no choice of over_quota")).in_field("over_quota")),
    }
}

#[tonic::async_trait]
impl StreamService for StreamHandler {
    async fn create_stream(
        &self,
        request: Request<v1::CreateStreamRequest>,
    ) -> Result<Response<v1::CreateStreamResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let mode = mode_of(request.mode());
        let name = StreamName::try_from(request.name)?;
        call.allow(&Resource::stream(&name))?;
        let options = StreamOptions {
            mode,
            shard_count: (request.shard_count > 0).then_some(request.shard_count),
            retention: request.retention_ms.map(Duration::from_millis),
            record_bytes_max: request.record_bytes_max,
            in_bytes_per_second: request.in_bytes_per_second,
            in_records_per_second: request.in_records_per_second,
            out_bytes_per_second: request.out_bytes_per_second,
            burst: request.burst_ms.map(Duration::from_millis),
            over_quota: request.over_quota.map(over_quota).transpose()?,
            stored_bytes_max: request.stored_bytes_max,
            hold_for_deliveries: request.hold_for_deliveries,
            encryption: request.encryption,
        };
        let streams = self.streams.clone();
        let stream = complete("a creation", async move { streams.create(&name, &options).await }).await?;
        Ok(Response::new(v1::CreateStreamResponse { stream: Some(self.describe_all(&stream).await?) }))
    }

    async fn describe_stream(
        &self,
        request: Request<v1::DescribeStreamRequest>,
    ) -> Result<Response<v1::DescribeStreamResponse>, Status> {
        let call = Call::of(&request)?;
        let name = StreamName::try_from(request.into_inner().name)?;
        call.allow(&Resource::stream(&name))?;
        let stream = self.streams.get(&name)?;
        Ok(Response::new(v1::DescribeStreamResponse { stream: Some(self.describe_all(&stream).await?) }))
    }

    async fn list_streams(
        &self,
        request: Request<v1::ListStreamsRequest>,
    ) -> Result<Response<v1::ListStreamsResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::ListStreamsRequest { page_size, page_token } = request.into_inner();
        let page_size = page_size_of(page_size, PAGE_SIZE_DEFAULT, "streams")?;
        let mut streams = self.streams.list_after(&page_token, page_size + 1);
        let more = streams.len() > page_size;
        streams.truncate(page_size);
        let last = streams.last().filter(|_| more);
        let next_page_token = last.map(|stream| stream.name().to_string()).unwrap_or_default();
        // A page may so have fewer than were asked for, and its token leads on all the same.
        let seen = streams.iter().filter(|stream| call.may(&Resource::stream(stream.name())));
        let streams = seen.map(|stream| self.summarize(stream)).collect();
        Ok(Response::new(v1::ListStreamsResponse { streams, next_page_token }))
    }

    async fn update_stream(
        &self,
        request: Request<v1::UpdateStreamRequest>,
    ) -> Result<Response<v1::UpdateStreamResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let mode = mode_of(request.mode());
        let name = StreamName::try_from(request.name)?;
        call.allow(&Resource::stream(&name))?;
        let options = StreamOptions {
            mode,
            shard_count: None,
            retention: request.retention_ms.map(Duration::from_millis),
            record_bytes_max: request.record_bytes_max,
            in_bytes_per_second: request.in_bytes_per_second,
            in_records_per_second: request.in_records_per_second,
            out_bytes_per_second: request.out_bytes_per_second,
            burst: request.burst_ms.map(Duration::from_millis),
            over_quota: request.over_quota.map(over_quota).transpose()?,
            stored_bytes_max: request.stored_bytes_max,
            hold_for_deliveries: request.hold_for_deliveries,
            encryption: request.encryption,
        };
        let streams = self.streams.clone();
        let stream = complete("an update", async move { streams.update(&name, &options).await }).await?;
        Ok(Response::new(v1::UpdateStreamResponse { stream: Some(self.describe_all(&stream).await?) }))
    }

    async fn list_shards(
        &self,
        request: Request<v1::ListShardsRequest>,
    ) -> Result<Response<v1::ListShardsResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::ListShardsRequest { stream, page_size, page_token } = request.into_inner();
        let name = StreamName::try_from(stream)?;
        call.allow(&Resource::stream(&name))?;
        let stream = self.streams.get(&name)?;
        let count = page_size_of(page_size, PAGE_SIZE_MAX, "shards")?;
        let forged = |_| {
            Error::invalid(format_args!("the page token {page_token:?} is not one of this server"))
                .in_field("page_token")
        };
        let first: u32 = if page_token.is_empty() { 0 } else { page_token.parse().map_err(forged)? };
        let (shards, next_page_token) = self.page(&stream, first, count);
        Ok(Response::new(v1::ListShardsResponse { shards, next_page_token }))
    }

    async fn split_shard(
        &self,
        request: Request<v1::SplitShardRequest>,
    ) -> Result<Response<v1::SplitShardResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::SplitShardRequest { stream, shard, hash_key } = request.into_inner();
        let (stream, at) = (StreamName::try_from(stream)?, (!hash_key.is_empty()).then_some(&*hash_key));
        call.allow(&Resource::stream(&stream))?;
        let resharded = self.streams.split_shard(&stream, ShardId(shard), at).await?;
        Ok(Response::new(v1::SplitShardResponse { shards: self.resharded(&resharded) }))
    }

    async fn merge_shards(
        &self,
        request: Request<v1::MergeShardsRequest>,
    ) -> Result<Response<v1::MergeShardsResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::MergeShardsRequest { stream, shard, adjacent_shard } = request.into_inner();
        let stream = StreamName::try_from(stream)?;
        call.allow(&Resource::stream(&stream))?;
        let resharded = self.streams.merge_shards(&stream, ShardId(shard), ShardId(adjacent_shard)).await?;
        Ok(Response::new(v1::MergeShardsResponse { shards: self.resharded(&resharded) }))
    }

    async fn update_shard_count(
        &self,
        request: Request<v1::UpdateShardCountRequest>,
    ) -> Result<Response<v1::UpdateShardCountResponse>, Status> {
        let call = Call::of(&request)?;
        let v1::UpdateShardCountRequest { stream, shard_count } = request.into_inner();
        let stream = StreamName::try_from(stream)?;
        call.allow(&Resource::stream(&stream))?;
        let resharded = self.streams.update_shard_count(&stream, shard_count).await?;
        Ok(Response::new(v1::UpdateShardCountResponse { stream: Some(self.describe_all(&resharded.stream).await?) }))
    }

    async fn delete_stream(
        &self,
        request: Request<v1::DeleteStreamRequest>,
    ) -> Result<Response<v1::DeleteStreamResponse>, Status> {
        let call = Call::of(&request)?;
        let name = StreamName::try_from(request.into_inner().name)?;
        call.allow(&Resource::stream(&name))?;
        let streams = self.streams.clone();
        complete("a deletion", async move { streams.delete(&name).await }).await?;
        Ok(Response::new(v1::DeleteStreamResponse {}))
    }

    async fn rotate_stream_key(
        &self,
        request: Request<v1::RotateStreamKeyRequest>,
    ) -> Result<Response<v1::RotateStreamKeyResponse>, Status> {
        let call = Call::of(&request)?;
        let name = StreamName::try_from(request.into_inner().name)?;
        call.allow(&Resource::stream(&name))?;
        let streams = self.streams.clone();
        let stream = complete("a rotation", async move { streams.rotate_key(&name).await }).await?;
        Ok(Response::new(v1::RotateStreamKeyResponse { stream: Some(self.describe_all(&stream).await?) }))
    }

    async fn shred_stream(
        &self,
        request: Request<v1::ShredStreamRequest>,
    ) -> Result<Response<v1::ShredStreamResponse>, Status> {
        let call = Call::of(&request)?;
        let name = StreamName::try_from(request.into_inner().name)?;
        call.allow(&Resource::stream(&name))?;
        let streams = self.streams.clone();
        let stream = complete("a destruction of keys", async move { streams.shred(&name).await }).await?;
        Ok(Response::new(v1::ShredStreamResponse { stream: Some(self.describe_all(&stream).await?) }))
    }

    async fn rewrap_stream_keys(
        &self,
        _: Request<v1::RewrapStreamKeysRequest>,
    ) -> Result<Response<v1::RewrapStreamKeysResponse>, Status> {
        let streams = self.streams.clone();
        let rewrapped = complete("a rewrap", async move { streams.rewrap_keys().await }).await?;
        let Rewrapped { count, failures } = rewrapped;
        let failures =
            failures.into_iter().map(|(stream, version, reason)| v1::RewrapFailure { stream, version, reason });
        Ok(Response::new(v1::RewrapStreamKeysResponse {
            rewrapped: u32::try_from(count).unwrap_or(u32::MAX),
            failures: failures.collect(),
        }))
    }
}
