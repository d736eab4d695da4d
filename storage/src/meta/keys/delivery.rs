//! `delivery/<name>`: what a delivery does, and whether it runs.

use bytes::{BufMut, BytesMut};

use super::{Key, name};

/// The key of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeliveryKey {
    /// The delivery's name.
    pub name: String,
}

/// A delivery's declaration and wanted state.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DeliveryValue {
    /// The declaration, in TOML.
    #[prost(string, tag = "1")]
    pub spec_toml: String,
    /// Whether it runs.
    #[prost(enumeration = "DeliveryState", tag = "2")]
    pub state: i32,
    /// The stream that it reads.
    #[prost(string, tag = "3")]
    pub stream: String,
    /// The table that it writes, as `namespace.name`; empty where it writes plain objects.
    #[prost(string, tag = "4")]
    pub table: String,
    /// Milliseconds since the Unix epoch.
    #[prost(int64, tag = "5")]
    pub created_at_ms: i64,
}

/// Whether a delivery runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum DeliveryState {
    /// It reads its stream.
    Running = 0,
    /// It keeps its position and does nothing.
    Paused = 1,
}

impl Key for DeliveryKey {
    type Value = DeliveryValue;
    const FAMILY: &'static str = "delivery/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.name.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        name(rest).map(|name| Self { name })
    }
}
