//! The aggregate format of the Kinesis Producer Library: many user records within one stored record.
//!
//! `F3 89 9A C2`, then a proto2 message of key tables and records, then the message's MD5 (`aggregation-format.md` of
//! awslabs/amazon-kinesis-producer). What looks like an aggregate and is none, because its sum, its message or an index
//! within is wrong, is an ordinary record: nothing here fails, and no bytes are lost. Payloads are never copied.

use std::collections::HashMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use md5::{Digest, Md5};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
const SUM_BYTES: usize = 16;
/// What an aggregate holds beside its message.
const FRAME_BYTES: usize = MAGIC.len() + SUM_BYTES;

/// The most user records that are taken out of one record; one with more is an ordinary record. It keeps a record of a few
/// megabytes from becoming gigabytes.
pub const USER_RECORDS_MAX: usize = 1 << 17;
/// The most bytes that a key within an aggregate may have: 256 characters of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;

/// The hash key of a partition key: its MD5 as a big-endian number. It tells which shard the server puts a record into.
#[must_use]
pub fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// A record as its producer made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// UTF-8.
    pub partition_key: Bytes,
    /// A decimal 128-bit hash key that overrides the partition key's; UTF-8.
    pub explicit_hash_key: Option<Bytes>,
    /// The event.
    pub data: Bytes,
}

/// A record of the message. Its tags are not read: nobody writes them.
#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(uint64, optional, tag = "1")]
    partition_key_index: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    explicit_hash_key_index: Option<u64>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    data: Option<Bytes>,
}

/// The user records of a stored record, in order; `None` where it is an ordinary record.
#[must_use]
pub fn unpack(data: &Bytes) -> Option<Vec<UserRecord>> {
    if !data.starts_with(&MAGIC) || data.len() < FRAME_BYTES {
        return None;
    }
    let message = data.slice(MAGIC.len()..data.len() - SUM_BYTES);
    if Md5::digest(&message)[..] != data[data.len() - SUM_BYTES..] {
        return None;
    }
    Tables::read(message)?.user_records()
}

/// The message, taken apart.
#[derive(Default)]
struct Tables {
    partition_keys: Vec<Bytes>,
    explicit_hash_keys: Vec<Bytes>,
    entries: Vec<Entry>,
}

impl Tables {
    fn read(mut message: Bytes) -> Option<Self> {
        let mut tables = Self::default();
        while message.has_remaining() {
            let (tag, wire_type) = decode_key(&mut message).ok()?;
            if wire_type != WireType::LengthDelimited {
                skip_field(wire_type, tag, &mut message, DecodeContext::default()).ok()?;
                continue;
            }
            let bytes = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
            if bytes > message.remaining() {
                return None;
            }
            let field = message.split_to(bytes);
            match tag {
                1 => push(&mut tables.partition_keys, key(field)?)?,
                2 => push(&mut tables.explicit_hash_keys, key(field)?)?,
                3 => push(&mut tables.entries, Entry::decode(field).ok()?)?,
                _ => {}
            }
        }
        Some(tables)
    }

    fn user_records(self) -> Option<Vec<UserRecord>> {
        let Self { partition_keys, explicit_hash_keys, entries } = self;
        let at = |table: &[Bytes], index: u64| table.get(usize::try_from(index).ok()?).cloned();
        let user_record = |entry: Entry| {
            let explicit_hash_key = match entry.explicit_hash_key_index {
                Some(index) => Some(at(&explicit_hash_keys, index)?),
                None => None,
            };
            let partition_key = at(&partition_keys, entry.partition_key_index?)?;
            Some(UserRecord { partition_key, explicit_hash_key, data: entry.data? })
        };
        entries.into_iter().map(user_record).collect()
    }
}

fn key(field: Bytes) -> Option<Bytes> {
    (field.len() <= KEY_BYTES_MAX && std::str::from_utf8(&field).is_ok()).then_some(field)
}

fn push<T>(list: &mut Vec<T>, item: T) -> Option<()> {
    (list.len() < USER_RECORDS_MAX).then(|| list.push(item))
}

/// An aggregate that grows record by record.
#[derive(Debug, Default)]
pub struct Aggregate {
    partition_keys: Table,
    explicit_hash_keys: Table,
    /// The message's records, encoded.
    entries: BytesMut,
    count: usize,
}

/// Keys, each once.
#[derive(Debug, Default)]
struct Table {
    index: HashMap<String, u64>,
    encoded: BytesMut,
}

impl Table {
    fn index_of(&mut self, tag: u32, key: &str) -> u64 {
        if let Some(index) = self.index.get(key) {
            return *index;
        }
        let index = self.index.len() as u64;
        self.index.insert(key.to_owned(), index);
        prost::encoding::encode_key(tag, WireType::LengthDelimited, &mut self.encoded);
        prost::encoding::encode_varint(key.len() as u64, &mut self.encoded);
        self.encoded.put_slice(key.as_bytes());
        index
    }
}

/// What a key or a record takes at most beside its own bytes: tags, lengths and two indexes.
const ENTRY_OVERHEAD_BYTES: usize = 32;

impl Aggregate {
    /// An aggregate without records.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many user records it holds.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Its bytes now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        FRAME_BYTES + self.partition_keys.encoded.len() + self.explicit_hash_keys.encoded.len() + self.entries.len()
    }

    /// The most bytes that it can have after one more record.
    #[must_use]
    pub fn bytes_with(&self, partition_key: &str, explicit_hash_key: Option<&str>, data: &[u8]) -> usize {
        let keys = partition_key.len() + explicit_hash_key.map_or(0, str::len);
        self.bytes() + keys + data.len() + 3 * ENTRY_OVERHEAD_BYTES
    }

    /// Adds a user record. Keys past [`KEY_BYTES_MAX`], or more than [`USER_RECORDS_MAX`] records, would not be read back:
    /// the caller keeps to them.
    pub fn push(&mut self, partition_key: &str, explicit_hash_key: Option<&str>, data: &[u8]) {
        debug_assert!(
            partition_key.len() <= KEY_BYTES_MAX && self.count < USER_RECORDS_MAX,
            "it would not be read back"
        );
        let entry = Entry {
            partition_key_index: Some(self.partition_keys.index_of(1, partition_key)),
            explicit_hash_key_index: explicit_hash_key.map(|key| self.explicit_hash_keys.index_of(2, key)),
            data: Some(Bytes::copy_from_slice(data)),
        };
        prost::encoding::message::encode(3, &entry, &mut self.entries);
        self.count += 1;
    }

    /// The stored record's data.
    #[must_use]
    pub fn finish(self) -> Bytes {
        let mut data = BytesMut::with_capacity(self.bytes());
        data.put_slice(&MAGIC);
        data.put_slice(&self.partition_keys.encoded);
        data.put_slice(&self.explicit_hash_keys.encoded);
        data.put_slice(&self.entries);
        let sum = Md5::digest(&data[MAGIC.len()..]);
        data.put_slice(&sum);
        data.freeze()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(partition_key: &str, explicit_hash_key: Option<&str>, data: &[u8]) -> UserRecord {
        UserRecord {
            partition_key: Bytes::copy_from_slice(partition_key.as_bytes()),
            explicit_hash_key: explicit_hash_key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
            data: Bytes::copy_from_slice(data),
        }
    }

    fn hex(digits: &str) -> Bytes {
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(byte).collect()
    }

    /// Two partition keys, a hash key, three records, and a tag on the second: put together by hand from the format's
    /// description, the sum by `md5sum`.
    const BY_HAND: &str = "f3899ac20a01610a0262621201371a0508001a01781a10080110001a02797a22060a016b1201761a0408001a00e31f412b76e41595475050317804c21a";

    #[test]
    fn an_aggregate_of_another_producer_is_taken_apart() {
        let expected = vec![record("a", None, b"x"), record("bb", Some("7"), b"yz"), record("a", None, b"")];
        assert_eq!(unpack(&hex(BY_HAND)), Some(expected));
    }

    #[test]
    fn any_changed_byte_makes_it_an_ordinary_record() {
        let good = hex(BY_HAND);
        for at in 0..good.len() {
            let mut bad = good.to_vec();
            bad[at] ^= 1;
            assert_eq!(unpack(&bad.into()), None, "byte {at}");
            assert_eq!(unpack(&good.slice(..at)), None, "the first {at} bytes");
        }
    }

    /// A message that is framed well.
    fn framed(message: &[u8]) -> Bytes {
        [&MAGIC[..], message, &Md5::digest(message)].concat().into()
    }

    #[test]
    fn a_message_that_breaks_the_format_is_an_ordinary_record() {
        // An index past the table, an index that is not there, data that is not there, a key that is not UTF-8, a length
        // past the end, and a field's wrong type.
        for message in [
            &b"\x0a\x01a\x1a\x05\x08\x01\x1a\x01x"[..],
            b"\x0a\x01a\x1a\x03\x1a\x01x",
            b"\x0a\x01a\x1a\x02\x08\x00",
            b"\x0a\x01\xff\x1a\x05\x08\x00\x1a\x01x",
            b"\x0a\x7fa",
            b"\x0a\x01a\x1a\x05\x08\x00\x18\x01x",
        ] {
            assert_eq!(unpack(&framed(message)), None, "{message:?}");
        }
        // Unknown fields are passed over, and no record at all is an aggregate of none.
        assert_eq!(unpack(&framed(b"\x48\x05\x0a\x01a")), Some(Vec::new()));
    }

    #[test]
    fn a_record_of_too_many_records_stays_whole() {
        let check = |count: usize, fits: bool| {
            let message = [&b"\x0a\x01a"[..], &b"\x1a\x04\x08\x00\x1a\x00".repeat(count)].concat();
            assert_eq!(unpack(&framed(&message)).map(|records| records.len()), fits.then_some(count));
        };
        check(USER_RECORDS_MAX, true);
        check(USER_RECORDS_MAX + 1, false);
    }

    #[test]
    fn a_key_past_its_limit_leaves_the_record_whole() {
        for (bytes, fits) in [(KEY_BYTES_MAX, true), (KEY_BYTES_MAX + 1, false)] {
            let mut message = BytesMut::new();
            prost::encoding::string::encode(1, &"k".repeat(bytes), &mut message);
            message.put_slice(b"\x1a\x05\x08\x00\x1a\x01x");
            assert_eq!(unpack(&framed(&message)).is_some(), fits, "{bytes} bytes");
        }
    }

    #[test]
    fn a_hash_key_is_the_md5() {
        // MD5("a") = 0cc175b9c0f1b6a831c399e269772661
        assert_eq!(hash_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            records in proptest::collection::vec((".{1,12}", proptest::option::of("[0-9]{1,39}"), any::<Vec<u8>>()), 0..40)
        ) {
            let mut aggregate = Aggregate::new();
            let mut expected = Vec::new();
            for (key, hash_key, data) in &records {
                let most = aggregate.bytes_with(key, hash_key.as_deref(), data);
                aggregate.push(key, hash_key.as_deref(), data);
                prop_assert!(aggregate.bytes() <= most);
                expected.push(record(key, hash_key.as_deref(), data));
            }
            let (bytes, count) = (aggregate.bytes(), aggregate.len());
            let data = aggregate.finish();
            prop_assert_eq!((data.len(), records.len()), (bytes, count));
            prop_assert_eq!(unpack(&data), Some(expected));
        }

        #[test]
        fn no_bytes_panic(message in any::<Vec<u8>>()) {
            let _ = unpack(&framed(&message));
            let _ = unpack(&message.into());
        }
    }
}
