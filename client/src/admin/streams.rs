//! Calls on streams.

use millrace_proto::v1::{
    CreateStreamRequest, DeleteStreamRequest, DescribeStreamRequest, ListShardsRequest, ListStreamsRequest,
    MergeShardsRequest, RewrapStreamKeysRequest, RewrapStreamKeysResponse, RotateStreamKeyRequest, Shard,
    ShredStreamRequest, SplitShardRequest, Stream, UpdateShardCountRequest, UpdateStreamRequest,
};

use super::Admin;
use crate::{Error, Result};

/// Streams asked for at a time; the most that a server gives.
const PAGE_STREAMS: u32 = 1_000;

impl Admin {
    /// Creates a stream; fields that are not set take the server's defaults.
    ///
    /// # Errors
    /// `AlreadyExists` where a stream has the name, `Invalid` for a bad name or value.
    pub async fn create_stream(&self, request: CreateStreamRequest) -> Result<Stream> {
        let response = self.streams.clone().create_stream(request).await?.into_inner();
        self.with_shards(response.stream).await
    }

    /// One stream with all its shards, by number: open ones, and closed ones whose records are still kept.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn describe_stream(&self, name: &str) -> Result<Stream> {
        let request = DescribeStreamRequest { name: name.to_owned() };
        let response = self.streams.clone().describe_stream(request).await?.into_inner();
        self.with_shards(response.stream).await
    }

    /// A stream with the shards that did not fit into its description.
    async fn with_shards(&self, stream: Option<Stream>) -> Result<Stream> {
        let mut stream = stream.ok_or_else(|| Error::malformed("the stream"))?;
        while !stream.next_shards_page_token.is_empty() {
            let page_token = std::mem::take(&mut stream.next_shards_page_token);
            let request = ListShardsRequest { stream: stream.name.clone(), page_size: 0, page_token };
            let page = self.streams.clone().list_shards(request).await?.into_inner();
            stream.shards.extend(page.shards);
            stream.next_shards_page_token = page.next_page_token;
        }
        Ok(stream)
    }

    /// Splits an open shard in two, at the first hash key of the upper child or else in the middle. Gives the closed parent
    /// and its children.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` where the hash key is not within the shard after its first, `FailedPrecondition` where the
    /// shard is closed or the stream is on demand.
    pub async fn split_shard(&self, stream: &str, shard: u32, hash_key: Option<u128>) -> Result<Vec<Shard>> {
        let hash_key = hash_key.map(|key| key.to_string()).unwrap_or_default();
        let request = SplitShardRequest { stream: stream.to_owned(), shard, hash_key };
        Ok(self.streams.clone().split_shard(request).await?.into_inner().shards)
    }

    /// Merges two open shards whose hash keys meet. Gives the closed parents and their child.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` where they are not neighbours, `FailedPrecondition` where one is closed or the stream is on
    /// demand.
    pub async fn merge_shards(&self, stream: &str, shard: u32, adjacent_shard: u32) -> Result<Vec<Shard>> {
        let request = MergeShardsRequest { stream: stream.to_owned(), shard, adjacent_shard };
        Ok(self.streams.clone().merge_shards(request).await?.into_inner().shards)
    }

    /// Splits and merges until the open shards are so many and equal.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` where the number breaks a limit, `FailedPrecondition` where the stream is on demand.
    pub async fn update_shard_count(&self, stream: &str, shard_count: u32) -> Result<Stream> {
        let request = UpdateShardCountRequest { stream: stream.to_owned(), shard_count };
        let response = self.streams.clone().update_shard_count(request).await?.into_inner();
        self.with_shards(response.stream).await
    }

    /// All streams by name, without their shards.
    ///
    /// # Errors
    /// Only those of any call.
    pub async fn list_streams(&self) -> Result<Vec<Stream>> {
        let mut streams = Vec::new();
        let mut request = ListStreamsRequest { page_size: PAGE_STREAMS, page_token: String::new() };
        loop {
            let page = self.streams.clone().list_streams(request.clone()).await?.into_inner();
            streams.extend(page.streams);
            if page.next_page_token.is_empty() {
                return Ok(streams);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Changes a stream; fields that are not set stay.
    ///
    /// # Errors
    /// `NotFound` where there is none, `Invalid` for a bad value.
    pub async fn update_stream(&self, request: UpdateStreamRequest) -> Result<Stream> {
        let response = self.streams.clone().update_stream(request).await?.into_inner();
        self.with_shards(response.stream).await
    }

    /// Deletes a stream and its records.
    ///
    /// # Errors
    /// `NotFound` where there is none, `FailedPrecondition` while a delivery reads it.
    pub async fn delete_stream(&self, name: &str) -> Result<()> {
        self.streams.clone().delete_stream(DeleteStreamRequest { name: name.to_owned() }).await?;
        Ok(())
    }

    /// Gives an encrypted stream a new data key; older records stay readable.
    ///
    /// # Errors
    /// `NotFound` where there is none, `FailedPrecondition` where it is not encrypted.
    pub async fn rotate_stream_key(&self, name: &str) -> Result<Stream> {
        let request = RotateStreamKeyRequest { name: name.to_owned() };
        let response = self.streams.clone().rotate_stream_key(request).await?.into_inner();
        response.stream.ok_or_else(|| Error::malformed("the stream"))
    }

    /// Destroys all data keys of a stream: what they sealed can never be read again. The stream stays; where it is encrypted,
    /// new records are sealed by a new key.
    ///
    /// # Errors
    /// `NotFound` where there is none, `FailedPrecondition` where it has no data key.
    pub async fn shred_stream(&self, name: &str) -> Result<Stream> {
        let request = ShredStreamRequest { name: name.to_owned() };
        let response = self.streams.clone().shred_stream(request).await?.into_inner();
        response.stream.ok_or_else(|| Error::malformed("the stream"))
    }

    /// Wraps the data keys of all streams by the server's current master key.
    ///
    /// # Errors
    /// `FailedPrecondition` where the server has no master key, `Unavailable` where that cannot be reached.
    pub async fn rewrap_stream_keys(&self) -> Result<RewrapStreamKeysResponse> {
        Ok(self.streams.clone().rewrap_stream_keys(RewrapStreamKeysRequest {}).await?.into_inner())
    }
}
