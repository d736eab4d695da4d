//! A block in memory: many records in one allocation, which the records of a read share.
//!
//! Its bytes are a table `{ key length u16, data length u32 }` for each record, little-endian, then keys and data.

use bytes::Bytes;

use super::super::{NewRecord, Offset, ReadLimit, Record};
use crate::time::Timestamp;

/// Bytes of one record in the table.
const ROW_BYTES: usize = 2 + 4;
/// What a block holds beside its bytes; counted against caches.
const OVERHEAD_BYTES: usize = 160;

/// A decoded block. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    first_offset: Offset,
    count: u32,
    time: Timestamp,
    bytes: Bytes,
    /// Where the table begins in `bytes`.
    table_at: usize,
}

/// Lays records out after `room` zero bytes.
pub(super) fn lay_out(records: &[NewRecord], room: usize) -> Vec<u8> {
    let payload: usize = records.iter().map(NewRecord::bytes).sum();
    let mut bytes = Vec::with_capacity(room + records.len() * ROW_BYTES + payload);
    bytes.resize(room, 0);
    for record in records {
        let key = u16::try_from(record.partition_key.len()).expect("an append's limits are below 2^16 for keys");
        let data = u32::try_from(record.data.len()).expect("an append's limits are below 2^30 bytes");
        bytes.extend_from_slice(&key.to_le_bytes());
        bytes.extend_from_slice(&data.to_le_bytes());
    }
    for record in records {
        bytes.extend_from_slice(&record.partition_key);
        bytes.extend_from_slice(&record.data);
    }
    bytes
}

impl Block {
    /// A block of bytes that were just laid out.
    pub(super) const fn trusted(
        first_offset: Offset,
        count: u32,
        time: Timestamp,
        bytes: Bytes,
        table_at: usize,
    ) -> Self {
        Self { first_offset, count, time, bytes, table_at }
    }

    /// A block of bytes from elsewhere; the error says why they are none.
    pub(super) fn checked(first_offset: Offset, count: u32, time: Timestamp, bytes: Bytes) -> Result<Self, String> {
        let table_bytes = (count as usize).checked_mul(ROW_BYTES).filter(|table| *table <= bytes.len());
        let Some(table_bytes) = table_bytes else {
            return Err(format!("its table of {count} records is cut off"));
        };
        let block = Self { first_offset, count, time, bytes, table_at: 0 };
        let payload: u64 = block.rows().map(|(key, data)| (key + data) as u64).sum();
        let actual = (block.bytes.len() - table_bytes) as u64;
        if payload != actual {
            return Err(format!("its records take {payload} bytes, its payload has {actual}"));
        }
        Ok(block)
    }

    pub(super) const fn first_offset(&self) -> Offset {
        self.first_offset
    }

    pub(super) fn end_offset(&self) -> Offset {
        self.first_offset + u64::from(self.count)
    }

    pub(super) const fn time(&self) -> Timestamp {
        self.time
    }

    /// Its records.
    pub(super) const fn count(&self) -> usize {
        self.count as usize
    }

    /// Data plus partition keys.
    pub(super) const fn payload_bytes(&self) -> usize {
        self.bytes.len() - self.table_at - self.count as usize * ROW_BYTES
    }

    /// Memory that it holds.
    pub(super) const fn memory_bytes(&self) -> usize {
        self.bytes.len() + OVERHEAD_BYTES
    }

    /// Key and data length of each record.
    fn rows(&self) -> impl Iterator<Item = (usize, usize)> {
        let table = &self.bytes[self.table_at..self.table_at + self.count as usize * ROW_BYTES];
        table.chunks_exact(ROW_BYTES).map(|row| {
            let key = u16::from_le_bytes([row[0], row[1]]);
            let data = u32::from_le_bytes([row[2], row[3], row[4], row[5]]);
            (usize::from(key), data as usize)
        })
    }
}

/// The records of a read so far.
#[derive(Debug)]
pub(super) struct Gathered {
    limit: ReadLimit,
    bytes: usize,
    full: bool,
    pub(super) records: Vec<Record>,
}

impl Gathered {
    pub(super) const fn new(limit: ReadLimit) -> Self {
        Self { limit, bytes: 0, full: false, records: Vec::new() }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// Takes the block's records from an offset on, as far as the limit allows. The records share the block's bytes.
    pub(super) fn take(&mut self, block: &Block, from: Offset) {
        let mut at = block.table_at + block.count as usize * ROW_BYTES;
        for (number, (key, data)) in (0u64..).zip(block.rows()) {
            let offset = block.first_offset + number;
            let start = at;
            at += key + data;
            if offset < from {
                continue;
            }
            if !self.has_room(key + data) {
                self.full = true;
                return;
            }
            self.bytes += key + data;
            self.records.push(Record {
                offset,
                arrival_time: block.time,
                partition_key: block.bytes.slice(start..start + key),
                data: block.bytes.slice(start + key..at),
            });
        }
        self.full = self.records.len() >= self.limit.records_max || self.bytes >= self.limit.bytes_max;
    }

    fn has_room(&self, more: usize) -> bool {
        self.records.is_empty()
            || (self.records.len() < self.limit.records_max && self.bytes + more <= self.limit.bytes_max)
    }
}
