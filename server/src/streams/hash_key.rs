//! Hash keys: which shard a record belongs to.
//!
//! A partition key's hash key is its MD5 read as a big-endian number, so that producers written for Kinesis route alike.

use std::num::NonZeroU32;

use md5::{Digest, Md5};

/// The hash key of a partition key.
#[must_use]
pub(super) fn of_partition_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into())
}

/// Reads a hash key that a producer gives: decimal, below 2^128, without sign, spaces or leading zeros.
#[must_use]
pub(super) fn parse(decimal: &str) -> Option<u128> {
    let canonical = decimal == "0" || !decimal.starts_with('0');
    let digits = !decimal.is_empty() && decimal.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| decimal.parse().ok()).flatten()
}

/// A contiguous part of the 128-bit hash keys; both ends belong to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKeyRange {
    /// The first hash key.
    pub start: u128,
    /// The last hash key.
    pub end: u128,
}

/// Splits all hash keys evenly: the parts meet without gap and differ in size by at most one.
#[must_use]
pub(super) fn split_evenly(count: NonZeroU32) -> Vec<HashKeyRange> {
    let count = u128::from(count.get());
    // 2^128 = count * quotient + remainder, computed without the number that does not fit.
    let (mut quotient, mut remainder) = (u128::MAX / count, u128::MAX % count + 1);
    if remainder == count {
        (quotient, remainder) = (quotient.wrapping_add(1), 0);
    }
    let start = |part: u128| part.wrapping_mul(quotient).wrapping_add(part * remainder / count);
    (0..count).map(|part| HashKeyRange { start: start(part), end: start(part + 1).wrapping_sub(1) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn md5_routes_as_kinesis_does() {
        // MD5("a") = 0cc175b9c0f1b6a831c399e269772661
        assert_eq!(of_partition_key("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn two_shards_meet_in_the_middle() {
        let parts = split_evenly(NonZeroU32::new(2).unwrap());
        assert_eq!(parts[0], HashKeyRange { start: 0, end: (1 << 127) - 1 });
        assert_eq!(parts[1], HashKeyRange { start: 1 << 127, end: u128::MAX });
        let one = split_evenly(NonZeroU32::MIN);
        assert_eq!(one, [HashKeyRange { start: 0, end: u128::MAX }]);
    }

    proptest! {
        #[test]
        fn parts_cover_all_hash_keys_evenly(count in 1_u32..3000) {
            let parts = split_evenly(NonZeroU32::new(count).unwrap());
            prop_assert_eq!(parts.len(), count as usize);
            prop_assert_eq!(parts[0].start, 0);
            prop_assert_eq!(parts[parts.len() - 1].end, u128::MAX);
            for pair in parts.windows(2) {
                prop_assert_eq!(pair[0].end + 1, pair[1].start);
            }
            let sizes = parts.iter().map(|part| part.end - part.start);
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }

        #[test]
        fn decimal_hash_keys_round_trip(key in any::<u128>()) {
            prop_assert_eq!(parse(&key.to_string()), Some(key));
        }
    }

    #[test]
    fn only_canonical_decimals_below_2_to_128_are_hash_keys() {
        assert_eq!(parse("340282366920938463463374607431768211455"), Some(u128::MAX));
        for bad in ["340282366920938463463374607431768211456", "", "-1", "+1", "01", " 1", "0x1", "1e3", "²"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
