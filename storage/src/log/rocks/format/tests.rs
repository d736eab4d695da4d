use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

use super::*;
use crate::log::{ReadLimit, Record, ShardId, StreamId};

const SHARD: ShardKey = ShardKey { stream: StreamId(7), shard: ShardId(3) };
const ALL: ReadLimit = ReadLimit { records_max: usize::MAX, bytes_max: usize::MAX };

fn records() -> impl Strategy<Value = Vec<NewRecord>> {
    // Runs of one byte, so that some bodies compress and some do not.
    let bytes = |max: usize| {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..max),
            (any::<u8>(), 0..max).prop_map(|(byte, length)| vec![byte; length]),
        ]
    };
    let record =
        (bytes(50), bytes(2000)).prop_map(|(key, data)| NewRecord { partition_key: key.into(), data: data.into() });
    proptest::collection::vec(record, 1..20)
}

fn sealed(records: &[NewRecord], first: u64) -> Sealed {
    Draft::new(records, None).seal(SHARD, Offset(first), Timestamp(1234))
}

fn decode_clear(key: BlockKey, value: &[u8]) -> Result<Block, Unreadable> {
    decode(key, value, &Keyring::default())
}

fn all(block: &Block) -> Vec<Record> {
    let mut gathered = block::Gathered::new(ALL);
    gathered.take(block, Offset::ZERO);
    gathered.records
}

#[test]
fn a_block_lies_as_documented() {
    let record = NewRecord { partition_key: Bytes::from_static(b"k"), data: Bytes::from_static(b"data") };
    let Sealed { key, value, .. } = sealed(&[record], 0x0102);
    assert_eq!(key, BlockKey::new(SHARD, Offset(0x0102)));
    let (header, body) = value.split_at(HEADER_BYTES);
    assert_eq!(header[..8], [1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(header[8..16], [2, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(header[16..24], [0xd2, 4, 0, 0, 0, 0, 0, 0]);
    assert_eq!(header[24..28], [11, 0, 0, 0]);
    assert_eq!(body, b"\x01\x00\x04\x00\x00\x00kdata");
    let mut checked = vec![0, 0, 0, 7, 0, 0, 0, 3];
    checked.extend_from_slice(&header[..28]);
    checked.extend_from_slice(body);
    assert_eq!(header[28..], crc32c::crc32c(&checked).to_le_bytes());
}

/// Long bodies have a check sum of their own, which is combined with the header's.
#[test]
fn a_check_sum_is_the_same_however_it_was_made() {
    for body_bytes in [COMBINED_BYTES_MIN - 1, COMBINED_BYTES_MIN, COMBINED_BYTES_MIN + 1] {
        let mut data = vec![0; body_bytes - 6];
        StdRng::seed_from_u64(1).fill_bytes(&mut data);
        let Sealed { value, .. } = sealed(&[NewRecord { partition_key: Bytes::new(), data: data.into() }], 9);
        let (header, body) = value.split_at(HEADER_BYTES);
        assert_eq!(body.len(), body_bytes);
        let checked = [&[0, 0, 0, 7, 0, 0, 0, 3], &header[..28], body].concat();
        assert_eq!(header[28..], crc32c::crc32c(&checked).to_le_bytes());
    }
}

/// Blocks of format version 1 must stay readable for ever: these bytes are one, of a key and 300 bytes `x`.
const FIRST_VERSION: &str =
    "01010000010000000900000000000000d204000000000000330100009cf8b2c98f01002c0100006b780100ff1360787878787878";

#[test]
fn a_compressed_block_of_the_first_version_still_reads() {
    let value: Vec<u8> = (0..FIRST_VERSION.len() / 2)
        .map(|at| u8::from_str_radix(&FIRST_VERSION[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect();
    assert_eq!(value[1], Codec::Lz4 as u8);
    let block = decode_clear(BlockKey::new(SHARD, Offset(9)), &value).expect("a block");
    let record = Record {
        offset: Offset(9),
        arrival_time: Timestamp(1234),
        partition_key: Bytes::from_static(b"k"),
        data: Bytes::from(vec![b'x'; 300]),
    };
    assert_eq!(all(&block), [record]);
}

#[test]
fn a_long_body_is_compressed_where_a_sample_of_it_shrinks() {
    let noise = || {
        let mut bytes = vec![0; SAMPLED_BYTES_MIN];
        StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
        bytes
    };
    let text = || vec![b'x'; SAMPLED_BYTES_MIN];
    for (parts, codec) in [
        ([noise(), noise(), noise()], Codec::None),
        ([text(), noise(), noise()], Codec::None),
        ([noise(), text(), noise()], Codec::Lz4),
        ([noise(), noise(), text()], Codec::Lz4),
    ] {
        let record = NewRecord { partition_key: Bytes::new(), data: parts.concat().into() };
        let Sealed { key, value, .. } = sealed(std::slice::from_ref(&record), 0);
        assert_eq!(value[1], codec as u8);
        let read = all(&decode_clear(key, &value).expect("a block"));
        assert_eq!(read[0].data, record.data);
    }
}

#[test]
fn a_split_keeps_blocks_within_the_limit_or_at_one_record() {
    let record = |bytes: usize| NewRecord { partition_key: Bytes::new(), data: vec![1; bytes].into() };
    let records: Vec<NewRecord> = [40, 60, 1, 100, 101, 300, 10, 10].map(record).into();
    let (mut counts, mut rest) = (Vec::new(), &records[..]);
    while !rest.is_empty() {
        counts.push(fill(rest, 100));
        rest = &rest[fill(rest, 100)..];
    }
    assert_eq!(counts, [2, 1, 1, 1, 1, 2]);
}

proptest! {
    #[test]
    fn a_block_reads_back(records in records(), first in 0..u64::MAX / 2) {
        let Sealed { key, value, block, .. } = sealed(&records, first);
        let decoded = decode_clear(key, &value).expect("a block");
        prop_assert_eq!(decoded.first_offset(), Offset(first));
        prop_assert_eq!(decoded.end_offset(), key.last_offset + 1);
        prop_assert_eq!(all(&decoded), all(&block));
        for (index, (read, written)) in all(&decoded).iter().zip(&records).enumerate() {
            prop_assert_eq!(read.offset, Offset(first + index as u64));
            prop_assert_eq!(read.arrival_time, Timestamp(1234));
            prop_assert_eq!(&read.partition_key, &written.partition_key);
            prop_assert_eq!(&read.data, &written.data);
        }
        prop_assert_eq!(all(&decoded).len(), records.len());
    }

    #[test]
    fn any_flipped_bit_is_found(records in records(), at: prop::sample::Index, bit in 0u8..8) {
        let Sealed { key, value, .. } = sealed(&records, 5);
        let mut value = value.to_vec();
        let at = at.index(value.len());
        value[at] ^= 1u8 << bit;
        prop_assert!(decode_clear(key, &value).is_err());
    }

    #[test]
    fn a_cut_block_is_refused(records in records(), at: prop::sample::Index) {
        let Sealed { key, value, .. } = sealed(&records, 5);
        prop_assert!(decode_clear(key, &value[..at.index(value.len())]).is_err());
    }

    #[test]
    fn a_block_in_another_place_is_refused(records in records(), stream in 0u32..100, offset in 0u64..100) {
        let Sealed { key, value, .. } = sealed(&records, 5);
        let other = BlockKey::new(ShardKey { stream: StreamId(stream), ..SHARD }, Offset(offset));
        prop_assume!(other != key);
        prop_assert!(decode_clear(other, &value).is_err());
    }

    #[test]
    fn garbage_is_refused(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode_clear(BlockKey::new(SHARD, Offset(1)), &value).is_err());
    }

    /// Garbage below a right check sum: a writer that was wrong must not make readers panic.
    #[test]
    fn a_wrong_body_is_refused(body in proptest::collection::vec(any::<u8>(), 0..100), codec in 0u8..3, count in 0u32..9, body_bytes: u32) {
        let header = Header { codec, cipher: 0, count, first_offset: Offset(0), time: Timestamp(0), body_bytes };
        let mut value = [&[0; HEADER_BYTES], &*body].concat();
        header.write(SHARD, None, &mut value);
        let key = BlockKey::new(SHARD, Offset(u64::from(count.saturating_sub(1))));
        if let Ok(block) = decode_clear(key, &value) {
            prop_assert_eq!(all(&block).len(), count as usize);
        }
    }
}

mod encrypted;
