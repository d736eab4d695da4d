//! Calls on streams.

use millrace_proto::v1::{
    CreateStreamRequest, DeleteStreamRequest, DescribeStreamRequest, ListStreamsRequest, RewrapStreamKeysRequest,
    RewrapStreamKeysResponse, RotateStreamKeyRequest, Stream, UpdateStreamRequest,
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
        response.stream.ok_or_else(|| Error::malformed("the stream"))
    }

    /// One stream with its shards.
    ///
    /// # Errors
    /// `NotFound` where there is none.
    pub async fn describe_stream(&self, name: &str) -> Result<Stream> {
        let request = DescribeStreamRequest { name: name.to_owned() };
        let response = self.streams.clone().describe_stream(request).await?.into_inner();
        response.stream.ok_or_else(|| Error::malformed("the stream"))
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
        response.stream.ok_or_else(|| Error::malformed("the stream"))
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

    /// Wraps the data keys of all streams by the server's current master key.
    ///
    /// # Errors
    /// `FailedPrecondition` where the server has no master key, `Unavailable` where that cannot be reached.
    pub async fn rewrap_stream_keys(&self) -> Result<RewrapStreamKeysResponse> {
        Ok(self.streams.clone().rewrap_stream_keys(RewrapStreamKeysRequest {}).await?.into_inner())
    }
}
