//! Sequence numbers: 56 digits that begin with 49, a pure rendering of a stream, a shard and an offset.
//!
//! ```text
//! 49 | 00000000000000 | stream, 10 digits | shard, 10 digits | offset + 1, 20 digits
//! ```
//!
//! They rise with the offset, and a child's are past its parents', since its shard has a higher number. The last part is 0
//! before a shard's first record, so that every place in a shard has a number, also in an empty one.

use std::fmt;

use millrace_storage::log::{Offset, ShardId, ShardKey, StreamId};
use serde::{Serialize, Serializer};

const PREFIX: &str = "4900000000000000";
const DIGITS: usize = 56;

/// A record's sequence number, or the place before a shard's first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SequenceNumber {
    stream: u32,
    shard: u32,
    /// How many records of the shard are at or before the place.
    count: u128,
}

impl SequenceNumber {
    /// That of a record.
    pub(super) const fn of(shard: ShardKey, offset: Offset) -> Self {
        Self { stream: shard.stream.0, shard: shard.shard.0, count: offset.0 as u128 + 1 }
    }

    /// That of the record before an offset; before a shard's first record, the shard's starting number.
    pub(super) const fn before(shard: ShardKey, next: Offset) -> Self {
        Self { stream: shard.stream.0, shard: shard.shard.0, count: next.0 as u128 }
    }

    /// Reads a number that was given out here; `None` where it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX).filter(|_| text.len() == DIGITS)?;
        if !rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let (stream, shard, count) = (rest[..10].parse().ok()?, rest[10..20].parse().ok()?, rest[20..].parse().ok()?);
        (count <= 1 << 64).then_some(Self { stream, shard, count })
    }

    /// The shard that it is of.
    pub(super) const fn shard(self) -> ShardKey {
        ShardKey { stream: StreamId(self.stream), shard: ShardId(self.shard) }
    }

    /// The offset of its record; the first where it is before that.
    pub(super) fn offset(self) -> Offset {
        Offset(u64::try_from(self.count.saturating_sub(1)).unwrap_or(u64::MAX))
    }

    /// The offset after its record.
    pub(super) fn next_offset(self) -> Offset {
        Offset(u64::try_from(self.count).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:010}{:010}{:020}", self.stream, self.shard, self.count)
    }
}

impl Serialize for SequenceNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(stream: u32, shard: u32) -> ShardKey {
        ShardKey { stream: StreamId(stream), shard: ShardId(shard) }
    }

    #[test]
    fn a_number_is_56_digits_and_begins_with_49() {
        let first = SequenceNumber::of(key(7, 3), Offset(0)).to_string();
        assert_eq!(first, "49000000000000000000000007000000000300000000000000000001");
        let last = SequenceNumber::of(key(u32::MAX, u32::MAX), Offset(u64::MAX)).to_string();
        assert_eq!(last.len(), DIGITS);
        assert_eq!(SequenceNumber::parse(&last).unwrap().offset(), Offset(u64::MAX));
    }

    #[test]
    fn the_place_before_the_first_record_is_a_number_too() {
        let start = SequenceNumber::before(key(1, 0), Offset(0));
        assert_eq!((start.offset(), start.next_offset()), (Offset(0), Offset(0)));
        assert!(start < SequenceNumber::of(key(1, 0), Offset(0)));
        assert_eq!(SequenceNumber::before(key(1, 0), Offset(5)), SequenceNumber::of(key(1, 0), Offset(4)));
    }

    #[test]
    fn foreign_numbers_are_none() {
        let ours = SequenceNumber::of(key(1, 0), Offset(4)).to_string();
        let past = format!("{}{:020}", &ours[..36], (1_u128 << 64) + 1);
        for text in
            ["", "0", "49", "49590338271490256608559692538361571095921575989136588898", &past, &format!("{ours}0")]
        {
            assert_eq!(SequenceNumber::parse(text), None, "{text}");
        }
        assert_eq!(SequenceNumber::parse(&ours.replace("49", "48")), None);
        assert_eq!(SequenceNumber::parse(&format!("{}é", &ours[..54])), None);
    }

    proptest! {
        #[test]
        fn numbers_come_back(stream in any::<u32>(), shard in any::<u32>(), offset in any::<u64>()) {
            let number = SequenceNumber::of(key(stream, shard), Offset(offset));
            let text = number.to_string();
            prop_assert!(text.len() == DIGITS && text.starts_with("49"));
            let parsed = SequenceNumber::parse(&text).unwrap();
            prop_assert_eq!(parsed, number);
            prop_assert_eq!((parsed.shard(), parsed.offset()), (key(stream, shard), Offset(offset)));
        }

        #[test]
        fn numbers_rise_with_offsets_and_from_parent_to_child(
            stream in any::<u32>(), shard in 0..u32::MAX, one in any::<u64>(), other in any::<u64>(),
        ) {
            let text = |shard, offset| SequenceNumber::of(key(stream, shard), Offset(offset)).to_string();
            prop_assert_eq!(text(shard, one).cmp(&text(shard, other)), one.cmp(&other));
            prop_assert!(text(shard, one) < text(shard + 1, other));
        }

        #[test]
        fn any_text_is_a_number_or_none(text in "\\PC{0,60}") {
            if let Some(number) = SequenceNumber::parse(&text) {
                prop_assert_eq!(number.to_string(), text);
            }
        }
    }
}
