//! Which shard a record will go to, as far as the producer knows. What it says may be out of date: a reshard is told by the
//! places that the server answers with.

use crate::connection::Channel;
use millrace_proto::aggregate::hash_key;
use millrace_proto::v1;
use millrace_proto::v1::ListShardsRequest;
use millrace_proto::v1::stream_service_client::StreamServiceClient;

use crate::{Error, Result};

/// The open shards of a stream, by hash key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShardMap {
    /// The first hash key of each shard, ascending from 0.
    starts: Vec<(u128, u32)>,
    /// The most that a record of the stream may hold, in bytes.
    pub(super) record_bytes_max: usize,
}

impl ShardMap {
    pub(super) async fn fetch(mut streams: StreamServiceClient<Channel>, stream: &str) -> Result<Self> {
        let request = v1::DescribeStreamRequest { name: stream.to_owned() };
        let described = streams.describe_stream(request).await?.into_inner().stream;
        let described = described.ok_or_else(|| Error::malformed("the stream"))?;
        let (mut shards, mut page_token) = (described.shards, described.next_shards_page_token);
        while !page_token.is_empty() {
            let request = ListShardsRequest { stream: stream.to_owned(), page_token, ..ListShardsRequest::default() };
            let page = streams.list_shards(request).await?.into_inner();
            shards.extend(page.shards);
            page_token = page.next_page_token;
        }
        let record_bytes_max = usize::try_from(described.record_bytes_max).unwrap_or(usize::MAX);
        Self::of(&shards, record_bytes_max).ok_or_else(|| Error::malformed("shards that cover all hash keys"))
    }

    /// `None` where the shards' hash keys cannot be read.
    pub(super) fn of(shards: &[v1::Shard], record_bytes_max: usize) -> Option<Self> {
        let open = shards.iter().filter(|shard| !shard.closed);
        let starts: Option<Vec<(u128, u32)>> =
            open.map(|shard| Some((shard.hash_key_start.parse().ok()?, shard.shard))).collect();
        let mut starts = starts?;
        starts.sort_unstable();
        (starts.first()?.0 == 0).then_some(Self { starts, record_bytes_max })
    }

    /// The shard of a hash key.
    pub(super) fn shard(&self, hash_key: u128) -> u32 {
        let after = self.starts.partition_point(|(start, _)| *start <= hash_key);
        self.starts[after.saturating_sub(1)].1
    }

    pub(super) fn has(&self, shard: u32) -> bool {
        self.starts.iter().any(|(_, known)| *known == shard)
    }
}

/// The hash key that the server will take for a record; `None` where it will refuse the record's own.
pub(super) fn hash_key_of(record: &v1::PutRecord) -> Option<u128> {
    match &record.explicit_hash_key {
        None => Some(hash_key(&record.partition_key)),
        Some(decimal) => decimal.parse().ok().filter(|key: &u128| key.to_string() == *decimal),
    }
}
