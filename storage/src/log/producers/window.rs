//! The last sequences that a shard stored of one producer, as the few bytes that lie on disk and in memory alike.
//!
//! `version u8 = 1 | floor | known since + 1, or 0 |` then for each sequence, ascending: its distance to the one before (or to
//! the floor), `| first offset` as the signed distance to the end of the one before, `| count | time` as the signed distance;
//! all numbers as base-128 varints, signed ones in zigzag.

use bytes::Buf;
use prost::encoding::{decode_varint, encode_varint};

use super::super::Offset;
use crate::time::Timestamp;

/// The version that is written: its first byte.
const VERSION: u8 = 1;

/// One stored append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) sequence: u64,
    pub(crate) first_offset: Offset,
    pub(crate) count: u64,
    pub(crate) time: Timestamp,
}

/// The window. Sequences below its floor were known once, or were passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    bytes: Box<[u8]>,
}

/// The window, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    /// No lower sequence is known.
    pub(crate) floor: u64,
    pub(crate) known_since: Option<Timestamp>,
    sequences: Vec<Sequence>,
}

impl Window {
    /// An empty window of a producer that may have been forgotten, if it was last used at `known_since` or before.
    pub(crate) fn new(known_since: Option<Timestamp>) -> Self {
        Parts { floor: 0, known_since, sequences: Vec::new() }.encode()
    }

    /// `None` where `bytes` are not what was written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let parts = Parts::decode(bytes)?;
        let ascending = parts.sequences.windows(2).all(|pair| pair[0].sequence < pair[1].sequence);
        ascending.then(|| Self { bytes: bytes.into() })
    }

    pub(crate) fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn parts(&self) -> Parts {
        Parts::decode(&self.bytes).expect("a window holds what it encoded or checked")
    }

    /// When the newest of its sequences was stored.
    pub(crate) fn newest(&self) -> Timestamp {
        self.parts().sequences.iter().map(|known| known.time).max().unwrap_or_default()
    }

    /// Takes a sequence in that it does not know, and lets the lowest go past `sequences_max`.
    pub(crate) fn push(&mut self, new: Sequence, sequences_max: usize) {
        let mut parts = self.parts();
        let at = parts.sequences.partition_point(|known| known.sequence < new.sequence);
        parts.sequences.insert(at, new);
        let gone = parts.sequences.len().saturating_sub(sequences_max.max(1));
        if let Some(last) = parts.sequences.drain(..gone).next_back() {
            parts.floor = last.sequence.saturating_add(1);
        }
        *self = parts.encode();
    }
}

impl Parts {
    pub(crate) fn find(&self, sequence: u64) -> Option<Sequence> {
        self.sequences.iter().find(|known| known.sequence == sequence).copied()
    }

    fn encode(&self) -> Window {
        let mut bytes = Vec::with_capacity(24 + 6 * self.sequences.len());
        bytes.push(VERSION);
        encode_varint(self.floor, &mut bytes);
        encode_varint(self.known_since.map_or(0, |since| since.0.max(0).cast_unsigned() + 1), &mut bytes);
        let (mut sequence, mut end, mut time) = (self.floor, 0, 0);
        for known in &self.sequences {
            encode_varint(known.sequence.wrapping_sub(sequence), &mut bytes);
            encode_varint(zigzag(known.first_offset.0.wrapping_sub(end).cast_signed()), &mut bytes);
            encode_varint(known.count, &mut bytes);
            encode_varint(zigzag(known.time.0.wrapping_sub(time)), &mut bytes);
            (sequence, end, time) = (known.sequence, known.first_offset.0.wrapping_add(known.count), known.time.0);
        }
        Window { bytes: bytes.into() }
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        if !bytes.has_remaining() || bytes.get_u8() != VERSION {
            return None;
        }
        let next = |bytes: &mut &[u8]| decode_varint(bytes).ok();
        let floor = next(bytes)?;
        let known_since = next(bytes)?.checked_sub(1).map(|since| Timestamp(since.cast_signed()));
        let (mut sequence, mut end, mut time) = (floor, 0u64, 0i64);
        let mut sequences = Vec::new();
        while bytes.has_remaining() {
            let known = Sequence {
                sequence: sequence.wrapping_add(next(bytes)?),
                first_offset: Offset(end.wrapping_add(unzigzag(next(bytes)?).cast_unsigned())),
                count: next(bytes)?,
                time: Timestamp(time.wrapping_add(unzigzag(next(bytes)?))),
            };
            (sequence, end, time) = (known.sequence, known.first_offset.0.wrapping_add(known.count), known.time.0);
            sequences.push(known);
        }
        Some(Self { floor, known_since, sequences })
    }
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequence((sequence, offset, count, time): (u64, u64, u64, i64)) -> Sequence {
        Sequence { sequence, first_offset: Offset(offset), count, time: Timestamp(time) }
    }

    #[test]
    fn a_full_window_in_steady_use_takes_few_bytes() {
        let mut window = Window::new(None);
        for number in 0..1000 {
            window.push(sequence((number, number * 10, 1, 1_700_000_000_000 + number.cast_signed())), 32);
        }
        assert!(window.encoded().len() < 160, "{}", window.encoded().len());
        assert_eq!(window.parts().floor, 968);
        assert_eq!(window.parts().find(967), None);
        assert_eq!(window.parts().find(968), Some(sequence((968, 9680, 1, 1_700_000_000_968))));
    }

    proptest! {
        #[test]
        fn a_window_keeps_the_highest_sequences_it_was_given(
            given: Vec<(u64, u64, u64, i64)>, most in 1usize..5, since in proptest::option::of(0i64..i64::MAX - 1),
        ) {
            let mut window = Window::new(since.map(Timestamp));
            let mut known: Vec<Sequence> = Vec::new();
            let mut floor = 0;
            for new in given.into_iter().map(sequence) {
                if new.sequence < floor || known.iter().any(|old| old.sequence == new.sequence) {
                    continue;
                }
                window.push(new, most);
                known.push(new);
                known.sort_by_key(|known| known.sequence);
                if known.len() > most {
                    floor = known.remove(0).sequence.saturating_add(1);
                }
                let read = Window::decode(window.encoded()).expect("it reads back");
                prop_assert_eq!(&read, &window);
                prop_assert_eq!(read.parts().floor, floor);
                prop_assert_eq!(read.parts().known_since, since.map(Timestamp));
                for known in &known {
                    prop_assert_eq!(read.parts().find(known.sequence), Some(*known));
                }
            }
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            if let Some(window) = Window::decode(&bytes) {
                prop_assert_eq!(bytes[0], VERSION);
                prop_assert!(window.newest() >= Timestamp(i64::MIN));
            }
        }
    }
}
