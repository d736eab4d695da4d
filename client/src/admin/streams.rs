//! Calls on streams.

use millrace_proto::v1::{
    CreateStreamRequest, DeleteStreamRequest, DescribeStreamRequest, ListStreamsRequest, Stream, UpdateStreamRequest,
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
}
