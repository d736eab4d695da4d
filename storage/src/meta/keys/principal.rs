//! `principal/<name>`: who may call, with access keys whose secrets a master key wraps. They are never stored otherwise.

use bytes::{BufMut, BytesMut};

use super::{Key, name};

/// The key of a principal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PrincipalKey {
    /// The principal's name.
    pub name: String,
}

/// A principal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PrincipalValue {
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub created_at_ms: i64,
    /// Whether it is refused.
    #[prost(bool, tag = "2")]
    pub disabled: bool,
    /// Its access keys, oldest first.
    #[prost(message, repeated, tag = "3")]
    pub keys: Vec<AccessKeyValue>,
    /// What it may do.
    #[prost(message, repeated, tag = "4")]
    pub grants: Vec<GrantValue>,
    /// What it may put; absent is no limit.
    #[prost(message, optional, tag = "5")]
    pub quota: Option<QuotaValue>,
}

/// An access key.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AccessKeyValue {
    /// Its id, which is no secret.
    #[prost(string, tag = "1")]
    pub id: String,
    /// What the master key made of the secret.
    #[prost(bytes = "vec", tag = "2")]
    pub wrapped: Vec<u8>,
    /// The id of the master key.
    #[prost(string, tag = "3")]
    pub master_key_id: String,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "4")]
    pub created_at_ms: i64,
    /// When it ends, in milliseconds since the Unix epoch; zero is never.
    #[prost(int64, tag = "5")]
    pub expires_at_ms: i64,
}

/// Actions on the resources that a pattern matches.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GrantValue {
    /// The actions' words; `*` is all of them.
    #[prost(string, repeated, tag = "1")]
    pub actions: Vec<String>,
    /// Such as `stream/flights-*`.
    #[prost(string, tag = "2")]
    pub resource: String,
}

/// What a principal may put.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct QuotaValue {
    /// Zero is no limit.
    #[prost(uint64, tag = "1")]
    pub in_bytes_per_second: u64,
    /// Zero is no limit.
    #[prost(uint64, tag = "2")]
    pub in_records_per_second: u64,
    /// How much is saved up, in milliseconds at its rate.
    #[prost(uint64, tag = "3")]
    pub burst_ms: u64,
    /// What becomes of a put over quota: 0 it is refused, 1 it waits.
    #[prost(uint32, tag = "4")]
    pub over_quota: u32,
}

impl Key for PrincipalKey {
    type Value = PrincipalValue;
    const FAMILY: &'static str = "principal/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.name.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        name(rest).map(|name| Self { name })
    }
}
