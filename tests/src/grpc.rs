//! The bare wire: generated clients without the SDK, so that a test decides itself what is retried and what is unknown.

use millrace_proto::v1::delivery_service_client::DeliveryServiceClient;
use millrace_proto::v1::put_result::Result as Fate;
use millrace_proto::v1::record_service_client::RecordServiceClient;
use millrace_proto::v1::stream_service_client::StreamServiceClient;
use millrace_proto::v1::{PutRecord, PutRequest, PutResponse};
use tonic::transport::{Channel, Endpoint};

/// Connects once, without retries.
///
/// # Errors
/// When nobody listens.
pub async fn connect(endpoint: &str) -> Result<Channel, tonic::transport::Error> {
    Endpoint::from_shared(endpoint.to_owned())?.connect().await
}

/// Puts and reads records.
#[must_use]
pub fn records(channel: &Channel) -> RecordServiceClient<Channel> {
    RecordServiceClient::new(channel.clone()).max_decoding_message_size(64 << 20)
}

/// Administers streams.
#[must_use]
pub fn streams(channel: &Channel) -> StreamServiceClient<Channel> {
    StreamServiceClient::new(channel.clone())
}

/// Administers deliveries.
#[must_use]
pub fn deliveries(channel: &Channel) -> DeliveryServiceClient<Channel> {
    DeliveryServiceClient::new(channel.clone())
}

/// A request that puts `records`, each a key and its data.
#[must_use]
pub fn put_request(stream: &str, records: impl IntoIterator<Item = (String, Vec<u8>)>) -> PutRequest {
    let records = records
        .into_iter()
        .map(|(partition_key, data)| PutRecord { partition_key, explicit_hash_key: None, data: data.into() })
        .collect();
    PutRequest { stream: stream.to_owned(), records, ..PutRequest::default() }
}

/// Where each record of a response lies: (shard, offset), or `None` where it was not stored.
#[must_use]
pub fn places(response: &PutResponse) -> Vec<Option<(u32, u64)>> {
    let place = |fate: &Option<Fate>| match fate {
        Some(Fate::Placed(placed)) => Some((placed.shard, placed.offset)),
        _ => None,
    };
    response.results.iter().map(|result| place(&result.result)).collect()
}
