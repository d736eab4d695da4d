//! Encrypted blocks: they open at their own place with their own key, and nowhere else.

use super::*;
use crate::encryption::KEY_BYTES;

const MARKER: &[u8] = b"a-plain-text-that-must-not-lie-on-a-disk";

/// A ring with keys 1 and 2 of stream 7, and key 1 of stream 8 with the very same bytes as stream 7's.
fn ring() -> Keyring {
    let ring = Keyring::default();
    ring.add(SHARD.stream, DataKey::new(KeyVersion(1), &[1; KEY_BYTES]));
    ring.add(SHARD.stream, DataKey::new(KeyVersion(2), &[2; KEY_BYTES]));
    ring.add(StreamId(8), DataKey::new(KeyVersion(1), &[1; KEY_BYTES]));
    ring
}

fn encrypted(ring: &Keyring, version: u32, records: &[NewRecord], first: u64) -> Sealed {
    let key = ring.opening(SHARD.stream, KeyVersion(version)).expect("a key");
    Draft::new(records, Some(key)).seal(SHARD, Offset(first), Timestamp(1234))
}

fn marked() -> Vec<NewRecord> {
    vec![NewRecord { partition_key: MARKER.into(), data: MARKER.into() }; 3]
}

/// Makes the check sum right for a place, as someone would who forges a block.
fn forged(key: BlockKey, value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    let crc = crc(key.shard, &value[..CHECKED_BYTES], &value[HEADER_BYTES..]);
    value[CHECKED_BYTES..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    value
}

fn refusal(key: BlockKey, value: &[u8]) -> String {
    match decode(key, value, &ring()) {
        Ok(block) => panic!("{} records came of it", block.count()),
        Err(Unreadable::Corrupt(reason)) => reason,
        Err(Unreadable::Key(why)) => format!("key {}: {}", why.version, why.reason),
    }
}

#[test]
fn an_encrypted_block_lies_as_documented() {
    let ring = ring();
    let record = NewRecord { partition_key: Bytes::from_static(b"k"), data: Bytes::from_static(b"data") };
    let Sealed { key, value, .. } = encrypted(&ring, 2, &[record], 0x0102);
    assert!(is_encrypted(&value));
    assert_eq!(value[..8], [1, 0, 1, 0, 1, 0, 0, 0]);
    assert_eq!(value[24..28], [11, 0, 0, 0]);
    assert_eq!(value[32..36], [2, 0, 0, 0]);
    assert_eq!(value.len(), 32 + 4 + 12 + 11 + 16);
    // Opened by hand, with nothing but the layout.
    let mut bound_to = vec![0, 0, 0, 7, 0, 0, 0, 3];
    bound_to.extend_from_slice(&value[..28]);
    bound_to.extend_from_slice(&value[32..36]);
    let data_key = ring.opening(SHARD.stream, KeyVersion(2)).expect("a key");
    let mut sealed = value[48..].to_vec();
    let nonce = value[36..48].try_into().expect("twelve bytes");
    let opened = data_key.open(nonce, &bound_to, &mut sealed).expect("it opens");
    assert_eq!(opened, b"\x01\x00\x04\x00\x00\x00kdata");
    let mut checked = vec![0, 0, 0, 7, 0, 0, 0, 3];
    checked.extend_from_slice(&value[..28]);
    checked.extend_from_slice(&value[32..]);
    assert_eq!(value[28..32], crc32c::crc32c(&checked).to_le_bytes());
    assert_eq!(key, BlockKey::new(SHARD, Offset(0x0102)));
}

/// Blocks that were written so must stay readable for ever: this one is of key 1, a partition key `k` and 300 bytes `x`.
const FIRST_ENCRYPTED: &str = "01010100010000000900000000000000d204000000000000330100006e33b499010000003272c542ad24\
    76b600000000c30e1138a78e4a4414ab6e196718e23ea6573205b06d65b374caba3c33430d423013e41f";

#[test]
fn an_encrypted_block_of_the_first_version_still_reads() {
    let value: Vec<u8> = (0..FIRST_ENCRYPTED.len() / 2)
        .map(|at| u8::from_str_radix(&FIRST_ENCRYPTED[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect();
    assert_eq!((value[1], value[2]), (Codec::Lz4 as u8, Cipher::Aes256Gcm as u8));
    let block = decode(BlockKey::new(SHARD, Offset(9)), &value, &ring()).expect("a block");
    assert_eq!(all(&block)[0].data, vec![b'x'; 300]);
}

#[test]
fn no_text_is_left_and_the_same_text_twice_looks_different() {
    let ring = ring();
    let random: Vec<u8> = (0..2000).map(|_| rand::random()).collect();
    let incompressible = [NewRecord { partition_key: MARKER.into(), data: [&random[..], MARKER].concat().into() }];
    for records in [&marked()[..], &incompressible] {
        let (one, two) = (encrypted(&ring, 1, records, 5).value, encrypted(&ring, 1, records, 5).value);
        for value in [&one, &two] {
            assert!(!value.windows(12).any(|window| MARKER.windows(12).any(|part| part == window)));
        }
        assert_ne!(one[HEADER_BYTES..], two[HEADER_BYTES..]);
    }
}

#[test]
fn a_moved_block_is_refused_even_with_a_forged_check_sum() {
    let ring = ring();
    let Sealed { key, value, .. } = encrypted(&ring, 1, &marked(), 5);
    assert!(decode(key, &forged(key, &value), &ring).is_ok(), "in its own place it opens");
    let at = |stream, shard, offset| {
        BlockKey::new(ShardKey { stream: StreamId(stream), shard: ShardId(shard) }, Offset(offset))
    };
    // Another shard; another stream, which even has the same key.
    for place in [at(7, 4, 7), at(8, 3, 7)] {
        assert!(refusal(place, &value).contains("check sum"), "without forging it the check sum tells");
        assert!(refusal(place, &forged(place, &value)).contains("data key 1 does not open it"));
    }
    // Another offset, also where the header is made to fit.
    let place = at(7, 3, 17);
    assert!(refusal(place, &forged(place, &value)).contains("holds 3 records from offset 5"));
    let mut fitted = value.to_vec();
    fitted[8..16].copy_from_slice(&15u64.to_le_bytes());
    assert!(refusal(place, &forged(place, &fitted)).contains("data key 1 does not open it"));
}

#[test]
fn a_block_under_another_key_version_is_refused() {
    let ring = ring();
    let Sealed { key, value, .. } = encrypted(&ring, 1, &marked(), 5);
    let swapped = |version: u32| {
        let mut value = value.to_vec();
        value[32..36].copy_from_slice(&version.to_le_bytes());
        forged(key, &value)
    };
    assert!(refusal(key, &swapped(2)).contains("data key 2 does not open it"));
    assert!(refusal(key, &swapped(3)).contains("key 3: there is no such key"));
    // Nor does it pass for one in the clear.
    let mut value = value.to_vec();
    value[2] = Cipher::None as u8;
    assert!(decode(key, &forged(key, &value), &ring).is_err());
    value[2] = 2;
    assert!(refusal(key, &forged(key, &value)).contains("its cipher 2 is not known"));
}

#[test]
fn rot_is_told_without_a_key() {
    let Sealed { key, value, .. } = encrypted(&ring(), 1, &marked(), 5);
    assert!(check(key, &value).is_ok());
    let mut rotten = value.to_vec();
    rotten[60] ^= 1;
    assert!(check(key, &rotten).is_err_and(|reason| reason.contains("check sum")));
    let without = decode(key, &value, &Keyring::default());
    assert!(matches!(without, Err(Unreadable::Key(why)) if why.version == KeyVersion(1) && !why.is_retryable));
}

proptest! {
    #[test]
    fn an_encrypted_block_reads_back(records in records(), first in 0..u64::MAX / 2, version in 1u32..3) {
        let ring = ring();
        let Sealed { key, value, block, .. } = encrypted(&ring, version, &records, first);
        let decoded = decode(key, &value, &ring).expect("a block");
        prop_assert_eq!(all(&decoded), all(&block));
        prop_assert_eq!(all(&decoded), all(&sealed(&records, first).block));
    }

    /// The check sum finds rot; the tag finds what someone changed who made the check sum right again.
    #[test]
    fn any_changed_bit_is_found(records in records(), at: prop::sample::Index, bit in 0u8..8) {
        let ring = ring();
        let Sealed { key, value, .. } = encrypted(&ring, 1, &records, 5);
        let mut value = value.to_vec();
        let at = at.index(value.len());
        value[at] ^= 1u8 << bit;
        prop_assert!(decode(key, &value, &ring).is_err());
        // Byte 3 says nothing, and the check sum is made right.
        prop_assume!(at != 3 && !(CHECKED_BYTES..HEADER_BYTES).contains(&at));
        prop_assert!(decode(key, &forged(key, &value), &ring).is_err());
    }

    #[test]
    fn a_cut_or_longer_block_is_refused(records in records(), at: prop::sample::Index, more in 1usize..20) {
        let ring = ring();
        let Sealed { key, value, .. } = encrypted(&ring, 1, &records, 5);
        let cut = &value[..at.index(value.len())];
        prop_assert!(decode(key, cut, &ring).is_err());
        if cut.len() >= HEADER_BYTES {
            prop_assert!(decode(key, &forged(key, cut), &ring).is_err());
        }
        let longer = [&value[..], &vec![0; more]].concat();
        prop_assert!(decode(key, &forged(key, &longer), &ring).is_err());
    }
}
