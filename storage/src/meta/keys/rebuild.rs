//! `rebuild/<delivery>`: the newest rebuild of what a delivery wrote into its table. While it is open, nothing that the
//! delivery set aside is taken up again.

use bytes::{BufMut, BytesMut};

use super::intent::IntentModule;
use super::{Key, name};

/// The key of a delivery's newest rebuild.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RebuildKey {
    /// The delivery's name.
    pub delivery: String,
}

/// A rebuild.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RebuildValue {
    /// Its number, from 1; it is part of the names of its files.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// How far it is.
    #[prost(enumeration = "RebuildState", tag = "2")]
    pub state: i32,
    /// The declaration that rows are made by, in TOML.
    #[prost(string, tag = "3")]
    pub spec_toml: String,
    /// Records that arrived at or after it, in milliseconds since the Unix epoch; all from the first on where it is not set.
    #[prost(int64, optional, tag = "4")]
    pub from_ms: Option<i64>,
    /// Records that arrived before it; all up to the last committed where it is not set.
    #[prost(int64, optional, tag = "5")]
    pub to_ms: Option<i64>,
    /// When it began, in milliseconds since the Unix epoch.
    #[prost(int64, tag = "6")]
    pub begun_at_ms: i64,
    /// When its files took the place of others; zero before.
    #[prost(int64, tag = "7")]
    pub swapped_at_ms: i64,
    /// The URLs of the files that were replaced, to be removed.
    #[prost(string, repeated, tag = "8")]
    pub replaced: Vec<String>,
    /// The versions of transform modules that rows are made by, also where it begins again.
    #[prost(message, repeated, tag = "9")]
    pub modules: Vec<IntentModule>,
}

/// How far a rebuild is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RebuildState {
    /// Its files are being written; after a crash they are written again.
    Open = 0,
    /// The table has its files; those that they replaced are still there.
    Swapped = 1,
    /// Nothing is left to be done.
    Done = 2,
}

impl Key for RebuildKey {
    type Value = RebuildValue;
    const FAMILY: &'static str = "rebuild/";

    fn encode_rest(&self, key: &mut BytesMut) {
        key.put_slice(self.delivery.as_bytes());
    }

    fn decode_rest(rest: &[u8]) -> Option<Self> {
        name(rest).map(|delivery| Self { delivery })
    }
}
