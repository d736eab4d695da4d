//! Messages that several families share: offset ranges of shards, and totals.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Range};

use crate::log::{Offset, ShardId};

/// The offsets `from..to` of one shard.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct OffsetRange {
    /// The first offset.
    #[prost(uint64, tag = "1")]
    pub from: u64,
    /// The offset after the last; equal to `from` where there is none.
    #[prost(uint64, tag = "2")]
    pub to: u64,
}

impl From<Range<Offset>> for OffsetRange {
    fn from(range: Range<Offset>) -> Self {
        Self { from: range.start.0, to: range.end.0 }
    }
}

impl From<OffsetRange> for Range<Offset> {
    fn from(range: OffsetRange) -> Self {
        Offset(range.from)..Offset(range.to)
    }
}

/// Ranges by shard, for storing.
#[must_use]
pub fn store_ranges(ranges: &BTreeMap<ShardId, Range<Offset>>) -> BTreeMap<u32, OffsetRange> {
    ranges.iter().map(|(shard, range)| (shard.0, range.clone().into())).collect()
}

/// Ranges by shard, from their stored form.
#[must_use]
pub fn load_ranges(stored: &BTreeMap<u32, OffsetRange>) -> BTreeMap<ShardId, Range<Offset>> {
    stored.iter().map(|(&shard, &range)| (ShardId(shard), range.into())).collect()
}

/// Offsets by shard, for storing.
#[must_use]
pub fn store_offsets(offsets: &BTreeMap<ShardId, Offset>) -> BTreeMap<u32, u64> {
    offsets.iter().map(|(shard, offset)| (shard.0, offset.0)).collect()
}

/// Offsets by shard, from their stored form.
#[must_use]
pub fn load_offsets(stored: &BTreeMap<u32, u64>) -> BTreeMap<ShardId, Offset> {
    stored.iter().map(|(&shard, &offset)| (ShardId(shard), Offset(offset))).collect()
}

/// What a delivery took and made, in one batch or since it began. `outputs = rows + set_aside + dropped`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Totals {
    /// Records taken from the stream.
    #[prost(uint64, tag = "1")]
    pub records: u64,
    /// What the transform chain made of them.
    #[prost(uint64, tag = "2")]
    pub outputs: u64,
    /// Rows, or lines, written.
    #[prost(uint64, tag = "3")]
    pub rows: u64,
    /// Outputs set aside under the error prefix.
    #[prost(uint64, tag = "4")]
    pub set_aside: u64,
    /// Outputs that a transform dropped on purpose.
    #[prost(uint64, tag = "5")]
    pub dropped: u64,
    /// Data files written.
    #[prost(uint64, tag = "6")]
    pub files: u64,
    /// Bytes of the records.
    #[prost(uint64, tag = "7")]
    pub bytes_in: u64,
    /// Bytes of the files.
    #[prost(uint64, tag = "8")]
    pub bytes_out: u64,
    /// Records that were trimmed from the log before they were read.
    #[prost(uint64, tag = "9")]
    pub lost: u64,
    /// Outputs that were set aside before and taken up again. What became of them is among `outputs`, and they stay among
    /// `set_aside`: `set_aside - replayed` are open.
    #[prost(uint64, tag = "10")]
    pub replayed: u64,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        self.records += more.records;
        self.outputs += more.outputs;
        self.rows += more.rows;
        self.set_aside += more.set_aside;
        self.dropped += more.dropped;
        self.files += more.files;
        self.bytes_in += more.bytes_in;
        self.bytes_out += more.bytes_out;
        self.lost += more.lost;
        self.replayed += more.replayed;
    }
}
