//! The connection: one HTTP/2 channel that opens on first use, opens again when it breaks, and is shared by clones.

use std::sync::Arc;

use millrace_proto::v1;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::connection::{Channel, ConnectionSettings, Connector, normalize};
use crate::{Admin, BatchName, Consumer, Error, GroupConsumer, Producer, ProducerSettings, PutRecord, Result};

/// Where a server listens unless told otherwise.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:7070";
/// The environment variable that names the server for [`Client::from_env`].
pub const ENDPOINT_VARIABLE: &str = "MILLRACE_ENDPOINT";
/// The environment variable with the principal's token for [`Client::from_env`].
pub const TOKEN_VARIABLE: &str = "MILLRACE_TOKEN";
/// The environment variable that names a file of certificates for [`Client::from_env`].
pub const CA_FILE_VARIABLE: &str = "MILLRACE_CA_FILE";

/// The largest message in either direction: records to 10 MiB, 10 MiB of them in an answer, and room for framing.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// A connection to a Millrace server. Clones share it.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Arc<str>,
    /// For connections beside the shared one.
    connector: Connector,
    channel: Channel,
}

impl Client {
    /// A client of the server at `endpoint`, for example `http://127.0.0.1:7070`; `http://` may be left out. Without a token.
    ///
    /// Nothing is sent yet: the connection opens with the first call, and again after it broke.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) when the endpoint is no URL of scheme `http` or `https`, or outside a tokio
    /// runtime.
    pub fn connect(endpoint: impl AsRef<str>) -> Result<Self> {
        Self::connect_with(endpoint, &ConnectionSettings::default())
    }

    /// As [`Self::connect`], with a principal's token, and the certificates that prove an `https://` server.
    ///
    /// # Errors
    /// As [`Self::connect`], and where the settings fit no connection.
    pub fn connect_with(endpoint: impl AsRef<str>, settings: &ConnectionSettings) -> Result<Self> {
        let endpoint = normalize(endpoint.as_ref());
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(Error::invalid("a client must be made inside a tokio runtime"));
        }
        let connector = Connector::new(&endpoint, settings)?;
        let channel = connector.connect();
        Ok(Self { endpoint: endpoint.into(), connector, channel })
    }

    /// A client of the server that the environment variable `MILLRACE_ENDPOINT` names, else of [`DEFAULT_ENDPOINT`], with
    /// the token of `MILLRACE_TOKEN` and the certificates of the file that `MILLRACE_CA_FILE` names, where they are set.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn from_env() -> Result<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let settings =
            ConnectionSettings { token: set(TOKEN_VARIABLE), ca_file: set(CA_FILE_VARIABLE).map(Into::into) };
        match std::env::var(ENDPOINT_VARIABLE) {
            Ok(endpoint) => {
                Self::connect_with(&endpoint, &settings).map_err(|error| error.in_context(ENDPOINT_VARIABLE))
            }
            Err(_) => Self::connect_with(DEFAULT_ENDPOINT, &settings),
        }
    }

    /// The server's URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether the server serves: it says no while it drains. Needs no token, whatever the server asks of others.
    ///
    /// # Errors
    /// Where no server answers.
    pub async fn is_serving(&self) -> Result<bool> {
        let mut health = HealthClient::new(self.channel.clone());
        let answer = health.check(HealthCheckRequest::default()).await?.into_inner();
        Ok(answer.status() == ServingStatus::Serving)
    }

    /// A producer for one stream, with default settings.
    #[must_use]
    pub fn producer(&self, stream: impl Into<String>) -> Producer {
        Producer::start(self.records(), self.streams(), stream.into(), ProducerSettings::default())
    }

    /// A producer for one stream.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) when a setting is out of its range.
    pub fn producer_with(&self, stream: impl Into<String>, settings: ProducerSettings) -> Result<Producer> {
        settings.validate()?;
        Ok(Producer::start(self.records(), self.streams(), stream.into(), settings))
    }

    /// Puts records into a shard, all together and only if the first of them gets the offset `next_offset`: for writers that
    /// must not overtake each other, or must know that nobody wrote since they read. Gives the offset after the last one.
    ///
    /// All records must belong to the shard by their keys. Nothing is tried again: after an outcome that is unknown, read from
    /// `next_offset` on to see who was first.
    ///
    /// # Errors
    /// [`Kind::FailedPrecondition`](crate::Kind::FailedPrecondition) with [`Error::next_offset`] where the shard's next offset
    /// is another one, and as for any put. Nothing was stored then, unless [`Error::may_have_applied`].
    pub async fn put_expecting(
        &self,
        stream: impl Into<String>,
        shard: u32,
        next_offset: u64,
        records: Vec<PutRecord>,
    ) -> Result<u64> {
        let request = v1::PutRequest {
            stream: stream.into(),
            records: records.into_iter().map(Into::into).collect(),
            expect: Some(v1::Expect { shard, next_offset }),
            ..v1::PutRequest::default()
        };
        let answer = self.records().put(request).await?.into_inner();
        match answer.results.into_iter().last().and_then(|result| result.result) {
            Some(v1::put_result::Result::Placed(placed)) => Ok(placed.offset + 1),
            Some(v1::put_result::Result::Error(error)) => Err(crate::producer::error_of(error)),
            None => Err(Error::malformed("a record's result")),
        }
    }

    /// Puts a batch under a name of the caller's own, for programs that remember across their own restarts what they sent: sent
    /// again under its name, with the same records and its age, it is stored once. The server knows a name for 24 hours, and of
    /// each producer the last 32. Returns when all records are durable. Nothing is tried again.
    ///
    /// # Errors
    /// The first that a record met; the others may be stored. One that [may succeed later](Error::is_retryable) asks for the
    /// whole batch again, under its name.
    pub async fn put_named(&self, stream: impl Into<String>, name: BatchName, records: Vec<PutRecord>) -> Result<()> {
        let request = v1::PutRequest {
            stream: stream.into(),
            records: records.into_iter().map(Into::into).collect(),
            producer_id: name.producer_id,
            sequence: name.sequence,
            sequence_age_ms: name.age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            ..v1::PutRequest::default()
        };
        for result in self.records().put(request).await?.into_inner().results {
            match result.result {
                Some(v1::put_result::Result::Placed(_)) => {}
                Some(v1::put_result::Result::Error(error)) => return Err(crate::producer::error_of(error)),
                None => return Err(Error::malformed("a record's result")),
            }
        }
        Ok(())
    }

    /// A reader of streams.
    #[must_use]
    pub fn consumer(&self) -> Consumer {
        Consumer::new(self.records(), self.admin())
    }

    /// A member of a consumer group of a stream, with default settings. The group comes into being with its first member.
    pub fn group_consumer(&self, stream: impl Into<String>, group: impl Into<String>) -> GroupConsumer {
        GroupConsumer::new(self.connector.clone(), stream.into(), group.into())
    }

    /// The control plane: streams, consumer groups, deliveries, tables.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(&self.channel, MESSAGE_BYTES_MAX)
    }

    /// SQL over the server's tables.
    #[cfg(feature = "query")]
    #[must_use]
    pub fn query(&self) -> crate::Query {
        crate::Query::new(&self.channel, MESSAGE_BYTES_MAX)
    }

    fn streams(&self) -> v1::stream_service_client::StreamServiceClient<Channel> {
        v1::stream_service_client::StreamServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn records(&self) -> v1::record_service_client::RecordServiceClient<Channel> {
        records(self.channel.clone())
    }
}

fn records(channel: Channel) -> v1::record_service_client::RecordServiceClient<Channel> {
    v1::record_service_client::RecordServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Connections beside the shared one: for calls that must not wait behind others, and for more calls than one has.
impl Connector {
    pub(crate) fn records(&self) -> v1::record_service_client::RecordServiceClient<Channel> {
        records(self.connect())
    }

    pub(crate) fn groups(&self) -> v1::group_service_client::GroupServiceClient<Channel> {
        v1::group_service_client::GroupServiceClient::new(self.connect()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    #[tokio::test]
    async fn an_endpoint_may_leave_out_the_scheme_and_end_in_a_slash() {
        for given in ["127.0.0.1:7070", "http://127.0.0.1:7070/", " http://127.0.0.1:7070"] {
            assert_eq!(Client::connect(given).unwrap().endpoint(), "http://127.0.0.1:7070", "{given:?}");
        }
    }

    #[tokio::test]
    async fn a_bad_endpoint_is_refused_by_name() {
        for given in ["", "ftp://example.org", "http://", "https://", "a b:1"] {
            let error = Client::connect(given).unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid, "{given:?}");
            assert!(error.message().contains("endpoint"), "{error}");
        }
    }

    #[test]
    fn outside_a_runtime_connecting_fails_instead_of_panicking() {
        assert_eq!(Client::connect("127.0.0.1:1").unwrap_err().kind(), Kind::Invalid);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_certainly_did_nothing() {
        // Bind and drop, so that the port is free and refuses.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = Client::connect(format!("127.0.0.1:{port}")).unwrap();
        let error = client.admin().list_streams().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.is_retryable() && !error.may_have_applied(), "{error:?}");
        assert!(error.message().contains("no connection to the server"), "{error}");
    }
}
