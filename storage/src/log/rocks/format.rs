//! The bytes of a block. A block is decoded whole or refused with a reason; it must never panic on what a disk returns.
//!
//! ```text
//!  0  version u8 = 1         16  arrival time i64, ms
//!  1  codec u8               24  body bytes before compression u32
//!  2  cipher u8 = 0          28  CRC-32C u32 of: shard key, header up to here, body as stored
//!  3  zero u8                32  body: for each record { key length u16, data length u32 },
//!  4  count u32                        then for each record its key and its data
//!  8  first offset u64           all numbers little-endian
//! ```

use std::cell::RefCell;

use bytes::Bytes;

use super::super::{NewRecord, Offset, ShardKey};
use super::block::{self, Block};
use super::keys::BlockKey;
use crate::time::Timestamp;

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 32;
/// The header's part that its check sum covers.
const CHECKED_BYTES: usize = 28;
const VERSION: u8 = 1;
/// Reserved for encryption at rest: the body is stored in the clear.
const CIPHER_NONE: u8 = 0;
/// Smaller bodies are stored as they are.
const COMPRESS_BYTES_MIN: usize = 256;

/// Memory that a thread keeps for compression.
const SCRATCH_BYTES_MAX: usize = 2 << 20;

/// How a body is stored. Never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Codec {
    None = 0,
    Lz4 = 1,
}

/// A block whose records are encoded but whose place in the shard is not fixed, so that any thread can make it.
#[derive(Debug)]
pub(super) struct Draft {
    count: u32,
    /// Room for the header, then the body before compression.
    raw: Vec<u8>,
    /// Room for the header, then the body in LZ4, where that saves an eighth or more.
    compressed: Option<Vec<u8>>,
    /// The check sum of the body as stored.
    body_crc: u32,
}

/// A block as it goes to disk, and as readers of the tail take it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) key: BlockKey,
    pub(super) value: Bytes,
    pub(super) block: Block,
}

impl Draft {
    /// Encodes records: at least one, within the limits of an append.
    pub(super) fn new(records: &[NewRecord]) -> Self {
        let raw = block::lay_out(records, HEADER_BYTES);
        let compressed = compress(&raw[HEADER_BYTES..]);
        let stored = compressed.as_ref().unwrap_or(&raw);
        let body_crc = crc32c::crc32c(&stored[HEADER_BYTES..]);
        let count = u32::try_from(records.len()).expect("an append's limits are below 2^24 records");
        Self { count, raw, compressed, body_crc }
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Fixes the block's place.
    pub(super) fn seal(self, shard: ShardKey, first_offset: Offset, time: Timestamp) -> Sealed {
        let Self { count, mut raw, compressed, body_crc } = self;
        let body_bytes = u32::try_from(raw.len() - HEADER_BYTES).expect("an append's limits are below 2^30 bytes");
        let codec = if compressed.is_some() { Codec::Lz4 } else { Codec::None };
        let header = Header { codec: codec as u8, count, first_offset, time, body_bytes };
        let stored = compressed.as_ref().unwrap_or(&raw);
        let header = header.encode(shard, body_crc, stored.len() - HEADER_BYTES);
        let (value, raw) = match compressed {
            Some(mut stored) => {
                stored[..HEADER_BYTES].copy_from_slice(&header);
                (Bytes::from(stored), Bytes::from(raw))
            }
            None => {
                raw[..HEADER_BYTES].copy_from_slice(&header);
                let raw = Bytes::from(raw);
                (raw.clone(), raw)
            }
        };
        let block = Block::trusted(first_offset, count, time, raw, HEADER_BYTES);
        let key = BlockKey::new(shard, Offset(first_offset.0 + u64::from(count) - 1));
        Sealed { key, value, block }
    }
}

/// How many of the first records fill one block of at most `bytes_max`; at least one of those there are.
pub(super) fn fill(records: &[NewRecord], bytes_max: usize) -> usize {
    let mut bytes = 0;
    let fit = records.iter().take_while(|record| {
        bytes += record.bytes();
        bytes <= bytes_max
    });
    fit.count().max(1).min(records.len())
}

struct Header {
    codec: u8,
    count: u32,
    first_offset: Offset,
    time: Timestamp,
    body_bytes: u32,
}

impl Header {
    fn encode(&self, shard: ShardKey, body_crc: u32, stored_body_bytes: usize) -> [u8; HEADER_BYTES] {
        let mut header = [0; HEADER_BYTES];
        header[..4].copy_from_slice(&[VERSION, self.codec, CIPHER_NONE, 0]);
        header[4..8].copy_from_slice(&self.count.to_le_bytes());
        header[8..16].copy_from_slice(&self.first_offset.0.to_le_bytes());
        header[16..24].copy_from_slice(&self.time.0.to_le_bytes());
        header[24..28].copy_from_slice(&self.body_bytes.to_le_bytes());
        let crc = crc(shard, &header[..CHECKED_BYTES], body_crc, stored_body_bytes);
        header[CHECKED_BYTES..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// The header and its check sum.
    fn decode(header: &[u8; HEADER_BYTES]) -> Result<(Self, u32), String> {
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        if header[0] != VERSION {
            return Err(format!("its version is {}, not {VERSION}", header[0]));
        }
        let decoded = Self {
            codec: header[1],
            count: u32_at(4),
            first_offset: Offset(u64_at(8)),
            time: Timestamp(u64_at(16).cast_signed()),
            body_bytes: u32_at(24),
        };
        Ok((decoded, u32_at(CHECKED_BYTES)))
    }
}

/// The check sum over a block's place, header and stored body, given the body's own.
fn crc(shard: ShardKey, header: &[u8], body_crc: u32, body_bytes: usize) -> u32 {
    let crc = crc32c::crc32c(&BlockKey::new(shard, Offset::ZERO).encode()[..8]);
    crc32c::crc32c_combine(crc32c::crc32c_append(crc, header), body_crc, body_bytes)
}

thread_local! {
    /// Where a body is compressed before its size is known; kept, as fresh memory costs as much as the compression.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The body in LZ4 after room for the header, where that saves at least an eighth.
fn compress(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < COMPRESS_BYTES_MIN {
        return None;
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let bound = lz4_flex::block::get_maximum_output_size(body.len());
        if scratch.len() < bound {
            scratch.resize(bound, 0);
        }
        let written = lz4_flex::block::compress_into(body, scratch).ok()?;
        let helps = written <= body.len() - body.len() / 8;
        let stored = helps.then(|| [&[0; HEADER_BYTES], &scratch[..written]].concat());
        if scratch.len() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        stored
    })
}

/// Checks and decodes a stored block; the error says what is wrong with it.
pub(super) fn decode(key: BlockKey, value: &[u8]) -> Result<Block, String> {
    let Some((header_bytes, stored)) = value.split_first_chunk::<HEADER_BYTES>() else {
        return Err(format!("it has {} bytes, fewer than a header", value.len()));
    };
    let (header, expected) = Header::decode(header_bytes)?;
    let found = crc(key.shard, &header_bytes[..CHECKED_BYTES], crc32c::crc32c(stored), stored.len());
    if found != expected {
        return Err(format!("its check sum is {found:08x}, not {expected:08x}"));
    }
    // What follows was written so, unless a writer was wrong.
    if header_bytes[2] != CIPHER_NONE {
        return Err(format!("its cipher {} is not known", header_bytes[2]));
    }
    if header.count == 0 || header.first_offset.0.checked_add(u64::from(header.count) - 1) != Some(key.last_offset.0) {
        return Err(format!("it holds {} records from offset {}", header.count, header.first_offset));
    }
    let body = match header.codec {
        codec if codec == Codec::None as u8 => Bytes::copy_from_slice(stored),
        codec if codec == Codec::Lz4 as u8 => decompress(stored, header.body_bytes as usize)?,
        codec => return Err(format!("its codec {codec} is not known")),
    };
    if body.len() != header.body_bytes as usize {
        return Err(format!("its body has {} bytes, not {}", body.len(), header.body_bytes));
    }
    Block::checked(header.first_offset, header.count, header.time, body)
}

fn decompress(stored: &[u8], body_bytes: usize) -> Result<Bytes, String> {
    // LZ4 makes at most 255 bytes of one, so that a wrong length cannot claim the memory.
    if body_bytes / 256 > stored.len() {
        return Err(format!("a body of {body_bytes} bytes cannot come of {}", stored.len()));
    }
    let body = lz4_flex::block::decompress(stored, body_bytes).map_err(|error| error.to_string())?;
    Ok(Bytes::from(body))
}

#[cfg(test)]
mod tests;
