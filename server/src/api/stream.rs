//! `StreamService`: the control plane of streams.

use std::time::Duration;

use millrace_proto::v1;
use millrace_proto::v1::stream_service_server::StreamService;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::streams::{StreamName, StreamOptions, StreamState, Streams};

/// Streams in one page where the caller does not say.
const PAGE_SIZE_DEFAULT: u32 = 100;
/// The most streams in one page.
const PAGE_SIZE_MAX: u32 = 1000;

#[derive(Debug)]
pub(super) struct StreamHandler {
    streams: Streams,
}

impl StreamHandler {
    pub(super) const fn new(streams: Streams) -> Self {
        Self { streams }
    }

    fn describe(&self, stream: &StreamState) -> v1::Stream {
        let shards = stream.shards().iter().map(|shard| {
            let offsets = self.streams.log().offsets(shard.key());
            v1::Shard {
                shard: shard.id().0,
                hash_key_start: shard.range().start.to_string(),
                hash_key_end: shard.range().end.to_string(),
                trim_offset: offsets.start.0,
                next_offset: offsets.end.0,
            }
        });
        v1::Stream { shards: shards.collect(), ..summarize(stream) }
    }
}

/// A stream without its shards.
fn summarize(stream: &StreamState) -> v1::Stream {
    let spec = stream.spec();
    v1::Stream {
        name: stream.name().to_string(),
        retention_ms: u64::try_from(spec.retention.as_millis()).unwrap_or(u64::MAX),
        record_bytes_max: spec.record_bytes_max,
        quota: Some(v1::ShardQuota {
            in_bytes_per_second: spec.quota.in_bytes_per_second,
            in_records_per_second: spec.quota.in_records_per_second,
            out_bytes_per_second: spec.quota.out_bytes_per_second,
        }),
        shards: Vec::new(),
        created_at_ms: stream.created_at().as_millis(),
    }
}

#[tonic::async_trait]
impl StreamService for StreamHandler {
    async fn create_stream(
        &self,
        request: Request<v1::CreateStreamRequest>,
    ) -> Result<Response<v1::CreateStreamResponse>, Status> {
        let request = request.into_inner();
        let name = StreamName::try_from(request.name)?;
        let options = StreamOptions {
            shard_count: (request.shard_count > 0).then_some(request.shard_count),
            retention: request.retention_ms.map(Duration::from_millis),
            record_bytes_max: request.record_bytes_max,
            in_bytes_per_second: request.in_bytes_per_second,
            in_records_per_second: request.in_records_per_second,
            out_bytes_per_second: request.out_bytes_per_second,
        };
        let stream = self.streams.create(&name, &options).await?;
        Ok(Response::new(v1::CreateStreamResponse { stream: Some(self.describe(&stream)) }))
    }

    async fn describe_stream(
        &self,
        request: Request<v1::DescribeStreamRequest>,
    ) -> Result<Response<v1::DescribeStreamResponse>, Status> {
        let name = StreamName::try_from(request.into_inner().name)?;
        let stream = self.streams.get(&name)?;
        Ok(Response::new(v1::DescribeStreamResponse { stream: Some(self.describe(&stream)) }))
    }

    async fn list_streams(
        &self,
        request: Request<v1::ListStreamsRequest>,
    ) -> Result<Response<v1::ListStreamsResponse>, Status> {
        let v1::ListStreamsRequest { page_size, page_token } = request.into_inner();
        if page_size > PAGE_SIZE_MAX {
            let message = format!("a page of {page_size} streams is past the limit of {PAGE_SIZE_MAX}");
            return Err(Error::invalid(message).in_field("page_size").into());
        }
        let page_size = if page_size == 0 { PAGE_SIZE_DEFAULT } else { page_size } as usize;
        let mut streams = self.streams.list_after(&page_token, page_size + 1);
        let more = streams.len() > page_size;
        streams.truncate(page_size);
        let last = streams.last().filter(|_| more);
        let next_page_token = last.map(|stream| stream.name().to_string()).unwrap_or_default();
        let streams = streams.iter().map(|stream| summarize(stream)).collect();
        Ok(Response::new(v1::ListStreamsResponse { streams, next_page_token }))
    }

    async fn update_stream(
        &self,
        request: Request<v1::UpdateStreamRequest>,
    ) -> Result<Response<v1::UpdateStreamResponse>, Status> {
        let request = request.into_inner();
        let name = StreamName::try_from(request.name)?;
        let options = StreamOptions {
            shard_count: None,
            retention: request.retention_ms.map(Duration::from_millis),
            record_bytes_max: request.record_bytes_max,
            in_bytes_per_second: request.in_bytes_per_second,
            in_records_per_second: request.in_records_per_second,
            out_bytes_per_second: request.out_bytes_per_second,
        };
        let stream = self.streams.update(&name, &options).await?;
        Ok(Response::new(v1::UpdateStreamResponse { stream: Some(self.describe(&stream)) }))
    }

    async fn delete_stream(
        &self,
        request: Request<v1::DeleteStreamRequest>,
    ) -> Result<Response<v1::DeleteStreamResponse>, Status> {
        let name = StreamName::try_from(request.into_inner().name)?;
        self.streams.delete(&name).await?;
        Ok(Response::new(v1::DeleteStreamResponse {}))
    }
}
