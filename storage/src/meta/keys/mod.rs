//! The typed keys of the meta store, a file for each family, and how their values are read and written.
//!
//! A key is the family's name, `/`, and the parts that name one object; numbers in it are big-endian, so that they sort. A
//! value is one byte, the format, and a prost message. Fields are added to a message and never renumbered; a change that an
//! older build would misread raises the family's `FORMAT`.

mod ranges;
pub mod stream;
pub mod stream_attribute;
pub mod stream_consumer;
pub mod account;
pub mod data_key;
pub mod purge;
pub mod shard;
pub mod delivery;
pub mod delivery_stream;
pub mod intent;
pub mod batch;
pub mod rebuild;
pub mod checkpoint;
pub mod table;
pub mod transform;
pub mod import;
pub mod import_set_aside;
pub mod group;
pub mod principal;
#[cfg(test)]
mod tests;

pub use ranges::{OffsetRange, Totals, load_offsets, load_ranges, store_offsets, store_ranges};

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::{Condition, Error, MetaStore, Result, Write};

/// A key of one family and the type of what it holds.
pub trait Key: fmt::Debug + Clone + PartialEq + Sized {
    /// What the key holds.
    type Value: Message + Default;
    /// How every key of the family begins, with the closing `/`.
    const FAMILY: &'static str;
    /// The first byte of every value that this build writes, and the only one that it reads.
    const FORMAT: u8 = 1;

    /// Appends what follows the family's name.
    fn encode_rest(&self, key: &mut BytesMut);

    /// Reads what follows the family's name; `None` where no key of the family looks so.
    fn decode_rest(rest: &[u8]) -> Option<Self>;

    /// The key's bytes.
    fn encode(&self) -> Bytes {
        let mut key = BytesMut::from(Self::FAMILY);
        self.encode_rest(&mut key);
        key.freeze()
    }

    /// Reads a key of the family.
    fn decode(key: &[u8]) -> Option<Self> {
        Self::decode_rest(key.strip_prefix(Self::FAMILY.as_bytes())?)
    }
}

/// A value as it was read, with its exact bytes, so that a condition can ask for just these.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored<V> {
    /// The value.
    pub value: V,
    /// Its bytes in the store.
    pub bytes: Bytes,
}

/// A value with the bytes that [`put`] stores for it.
#[must_use]
pub fn stored<K: Key>(_key: &K, value: K::Value) -> Stored<K::Value> {
    let bytes = encode_value::<K>(&value);
    Stored { value, bytes }
}

/// Reads one key.
pub async fn get<K: Key>(store: &dyn MetaStore, key: &K) -> Result<Option<Stored<K::Value>>> {
    let encoded = key.encode();
    match store.get(&encoded).await? {
        Some(bytes) => decode_value::<K>(&encoded, bytes).map(Some),
        None => Ok(None),
    }
}

/// Reads a whole family, in key order, as one consistent view.
pub async fn scan<K: Key>(store: &dyn MetaStore) -> Result<Vec<(K, Stored<K::Value>)>> {
    scan_prefix(store, K::FAMILY.as_bytes()).await
}

async fn scan_prefix<K: Key>(store: &dyn MetaStore, prefix: &[u8]) -> Result<Vec<(K, Stored<K::Value>)>> {
    let pairs = store.scan(prefix).await?;
    pairs
        .into_iter()
        .map(|(encoded, bytes)| {
            let key = K::decode(&encoded).ok_or_else(|| {
                let reason = format!("no key of the family {} looks so", K::FAMILY);
                Error::Corrupt { key: encoded.clone(), reason }
            })?;
            Ok((key, decode_value::<K>(&encoded, bytes)?))
        })
        .collect()
}

/// A write that sets a key.
#[must_use]
pub fn put<K: Key>(key: &K, value: &K::Value) -> Write {
    Write::Put { key: key.encode(), value: encode_value::<K>(value) }
}

/// A write that removes a key.
#[must_use]
pub fn delete<K: Key>(key: &K) -> Write {
    Write::Delete { key: key.encode() }
}

/// The condition that a key holds nothing.
#[must_use]
pub fn absent<K: Key>(key: &K) -> Condition {
    Condition { key: key.encode(), expected: None }
}

/// The condition that a key still holds what was read.
#[must_use]
pub fn unchanged<K: Key>(key: &K, stored: &Stored<K::Value>) -> Condition {
    Condition { key: key.encode(), expected: Some(stored.bytes.clone()) }
}

/// The condition that a key is as a [`get`] found it: absent, or with the same value.
#[must_use]
pub fn as_found<K: Key>(key: &K, found: Option<&Stored<K::Value>>) -> Condition {
    found.map_or_else(|| absent(key), |stored| unchanged(key, stored))
}

fn encode_value<K: Key>(value: &K::Value) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + value.encoded_len());
    bytes.put_u8(K::FORMAT);
    value.encode(&mut bytes).expect("the buffer grows as it must");
    bytes.freeze()
}

fn decode_value<K: Key>(key: &[u8], bytes: Bytes) -> Result<Stored<K::Value>> {
    let corrupt = |reason: String| Error::Corrupt { key: Bytes::copy_from_slice(key), reason };
    let Some((&format, message)) = bytes.split_first() else {
        return Err(corrupt("it is empty".to_owned()));
    };
    if format != K::FORMAT {
        return Err(corrupt(format!("its format is {format}, and this build reads {}", K::FORMAT)));
    }
    let value = K::Value::decode(message).map_err(|error| corrupt(error.to_string()))?;
    Ok(Stored { value, bytes })
}

/// Reads the keys of a family that begin with `number`.
async fn scan_numbered<K: Key>(store: &dyn MetaStore, number: u32) -> Result<Vec<(K, Stored<K::Value>)>> {
    let mut prefix = BytesMut::from(K::FAMILY);
    put_number(&mut prefix, number);
    scan_prefix(store, &prefix).await
}

/// Writes a key's first part, a number that owns what follows.
fn put_number(key: &mut BytesMut, number: u32) {
    key.put_u32(number);
    key.put_u8(b'/');
}

/// Reads what [`put_number`] wrote; gives what follows, too.
fn split_number(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest.strip_prefix(b"/")?))
}

/// Writes a name, and a number that belongs to it.
fn put_name_and_number(key: &mut BytesMut, name: &str, number: u64) {
    key.put_slice(name.as_bytes());
    key.put_u8(b'/');
    key.put_u64(number);
}

/// Reads what [`put_name_and_number`] wrote. The number has a fixed width, so the name is whatever stands before it.
fn split_name_and_number(rest: &[u8]) -> Option<(String, u64)> {
    let (rest, number) = rest.split_last_chunk()?;
    Some((name(rest.strip_suffix(b"/")?)?, u64::from_be_bytes(*number)))
}

/// Reads a key's last part, a name.
fn name(rest: &[u8]) -> Option<String> {
    String::from_utf8(rest.to_vec()).ok()
}
