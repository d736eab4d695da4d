//! The bytes of a block. A block is decoded whole or refused with a reason; it must never panic on what a disk returns.
//!
//! ```text
//!  0  version u8 = 1         16  arrival time i64, ms
//!  1  codec u8               24  body bytes before compression u32
//!  2  cipher u8              28  CRC-32C u32 of: shard key, header up to here, body as stored
//!  3  zero u8                32  body: for each record { key length u16, data length u32 },
//!  4  count u32                        then for each record its key and its data
//!  8  first offset u64           all numbers little-endian
//! ```
//!
//! With cipher 0 the body is stored as the codec left it. With cipher 1 it is then encrypted by AES-256-GCM:
//!
//! ```text
//! 32  data key version u32    36  nonce, 12 bytes    48  body, encrypted    end - 16  tag, 16 bytes
//! ```
//!
//! The tag covers the shard key, the header up to its check sum and the key's version, so that a block opens only at its own
//! place in its own stream, with its own header. The check sum covers what is stored: anyone can check a block for rot, with
//! a key or without. Nonces: see [`crate::encryption`].

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::super::{NewRecord, Offset, ShardKey};
use super::block::{self, Block};
use super::index::IndexEntry;
use super::keys::BlockKey;
use crate::encryption::{DataKey, KeyUnusable, KeyVersion, Keyring, NONCE_BYTES, TAG_BYTES};
use crate::time::Timestamp;

/// Bytes before the body.
pub(super) const HEADER_BYTES: usize = 32;
/// The header's part that its check sum covers.
const CHECKED_BYTES: usize = 28;
const VERSION: u8 = 1;
/// What stands between the header and an encrypted body: the key's version and the nonce.
const SEAL_BYTES: usize = 4 + NONCE_BYTES;
/// Smaller bodies are stored as they are.
const COMPRESS_BYTES_MIN: usize = 256;
/// A body at least this long is compressed only if one of two samples from it shrinks: noise costs a sixteenth then.
const SAMPLED_BYTES_MIN: usize = 64 << 10;
const SAMPLE_BYTES: usize = 2 << 10;

/// Two check sums are combined by as much work as it takes to go over so many bytes: shorter bodies have none of their own.
const COMBINED_BYTES_MIN: usize = 64 << 10;

/// Memory that a thread keeps for compression.
const SCRATCH_BYTES_MAX: usize = 2 << 20;

/// How a body is stored. Never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Codec {
    None = 0,
    Lz4 = 1,
}

/// How a body is encrypted. Never renumber.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Cipher {
    None = 0,
    Aes256Gcm = 1,
}

/// Why a stored block gives no records.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// It is not what was written.
    Corrupt(String),
    /// Its key cannot be used.
    Key(KeyUnusable),
}

impl From<String> for Unreadable {
    fn from(reason: String) -> Self {
        Self::Corrupt(reason)
    }
}

/// A block whose records are encoded but whose place in the shard is not fixed, so that any thread can make it.
#[derive(Debug)]
pub(super) struct Draft {
    count: u32,
    /// Room for the header, then the body before compression.
    raw: Vec<u8>,
    /// Room for the header, then the body in LZ4, where that saves an eighth or more. Where a key encrypts the body, there is
    /// room for what that adds, and the body is here also where LZ4 does not help.
    stored: Option<Vec<u8>>,
    codec: Codec,
    protection: Protection,
}

#[derive(Debug)]
enum Protection {
    /// The check sum of the body as stored, where that is long.
    Clear {
        body_crc: Option<u32>,
    },
    Encrypted(Arc<DataKey>),
}

/// A block as it goes to disk, and as readers of the tail take it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) key: BlockKey,
    pub(super) value: Bytes,
    pub(super) block: Block,
}

impl Draft {
    /// Encodes records: at least one, within the limits of an append. A key encrypts them once their place is known; all that
    /// can be done before, compression and copying, is done here.
    pub(super) fn new(records: &[NewRecord], key: Option<Arc<DataKey>>) -> Self {
        let raw = block::lay_out(records, HEADER_BYTES);
        let body = &raw[HEADER_BYTES..];
        let room = HEADER_BYTES + if key.is_some() { SEAL_BYTES } else { 0 };
        let compressed = compress(body, room);
        let codec = if compressed.is_some() { Codec::Lz4 } else { Codec::None };
        let stored = match &key {
            Some(_) => Some(compressed.unwrap_or_else(|| with_room(body, room))),
            None => compressed,
        };
        let protection = match key {
            Some(key) => Protection::Encrypted(key),
            None => Protection::Clear { body_crc: crc_of_long(&stored.as_ref().unwrap_or(&raw)[HEADER_BYTES..]) },
        };
        let count = u32::try_from(records.len()).expect("an append's limits are below 2^24 records");
        Self { count, raw, stored, codec, protection }
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Fixes the block's place.
    pub(super) fn seal(self, shard: ShardKey, first_offset: Offset, time: Timestamp) -> Sealed {
        let Self { count, mut raw, stored, codec, protection } = self;
        let body_bytes = u32::try_from(raw.len() - HEADER_BYTES).expect("an append's limits are below 2^30 bytes");
        let cipher = match protection {
            Protection::Clear { .. } => Cipher::None,
            Protection::Encrypted(_) => Cipher::Aes256Gcm,
        };
        let header = Header { codec: codec as u8, cipher: cipher as u8, count, first_offset, time, body_bytes };
        let (value, raw) = match (protection, stored) {
            (Protection::Encrypted(key), Some(mut stored)) => {
                header.encrypt(shard, &key, &mut stored);
                header.write(shard, None, &mut stored);
                (Bytes::from(stored), Bytes::from(raw))
            }
            (Protection::Encrypted(_), None) => unreachable!("an encrypted draft has room for its key"),
            (Protection::Clear { body_crc }, Some(mut stored)) => {
                header.write(shard, body_crc, &mut stored);
                (Bytes::from(stored), Bytes::from(raw))
            }
            (Protection::Clear { body_crc }, None) => {
                header.write(shard, body_crc, &mut raw);
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
    cipher: u8,
    count: u32,
    first_offset: Offset,
    time: Timestamp,
    body_bytes: u32,
}

impl Header {
    /// Encrypts the body that lies after the room for header, key version and nonce, and puts these two and the tag around it.
    fn encrypt(&self, shard: ShardKey, key: &DataKey, stored: &mut Vec<u8>) {
        let bound_to = bound_to(shard, &self.checked(), key.version());
        let (nonce, tag) = key.seal(&bound_to, &mut stored[HEADER_BYTES + SEAL_BYTES..]);
        stored[HEADER_BYTES..][..4].copy_from_slice(&key.version().0.to_le_bytes());
        stored[HEADER_BYTES + 4..][..NONCE_BYTES].copy_from_slice(&nonce);
        stored.extend_from_slice(&tag);
    }

    /// Puts the header before a body, whose check sum may be known.
    fn write(&self, shard: ShardKey, body_crc: Option<u32>, stored: &mut [u8]) {
        let (header, body) = stored.split_at_mut(HEADER_BYTES);
        header[..CHECKED_BYTES].copy_from_slice(&self.checked());
        let crc = match body_crc {
            Some(body_crc) => {
                crc32c::crc32c_combine(crc_of_header(shard, &header[..CHECKED_BYTES]), body_crc, body.len())
            }
            None => crc(shard, &header[..CHECKED_BYTES], body),
        };
        header[CHECKED_BYTES..].copy_from_slice(&crc.to_le_bytes());
    }

    /// The header without its check sum.
    fn checked(&self) -> [u8; CHECKED_BYTES] {
        let mut header = [0; CHECKED_BYTES];
        header[..4].copy_from_slice(&[VERSION, self.codec, self.cipher, 0]);
        header[4..8].copy_from_slice(&self.count.to_le_bytes());
        header[8..16].copy_from_slice(&self.first_offset.0.to_le_bytes());
        header[16..24].copy_from_slice(&self.time.0.to_le_bytes());
        header[24..28].copy_from_slice(&self.body_bytes.to_le_bytes());
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
            cipher: header[2],
            count: u32_at(4),
            first_offset: Offset(u64_at(8)),
            time: Timestamp(u64_at(16).cast_signed()),
            body_bytes: u32_at(24),
        };
        Ok((decoded, u32_at(CHECKED_BYTES)))
    }
}

/// The check sum over a block's place, header and stored body.
fn crc(shard: ShardKey, header: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc_of_header(shard, header), body)
}

fn crc_of_header(shard: ShardKey, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&BlockKey::new(shard, Offset::ZERO).encode()[..8]), header)
}

/// The check sum of a body that is worth one of its own, made before its place is known.
fn crc_of_long(body: &[u8]) -> Option<u32> {
    (body.len() >= COMBINED_BYTES_MIN).then(|| crc32c::crc32c(body))
}

thread_local! {
    /// Where a body is compressed before its size is known; kept, as fresh memory costs as much as the compression.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The bytes after room; memory for a tag is set aside.
fn with_room(bytes: &[u8], room: usize) -> Vec<u8> {
    let mut stored = Vec::with_capacity(room + bytes.len() + TAG_BYTES);
    stored.resize(room, 0);
    stored.extend_from_slice(bytes);
    stored
}

/// The body in LZ4 after room, where that saves at least an eighth.
fn compress(body: &[u8], room: usize) -> Option<Vec<u8>> {
    if body.len() < COMPRESS_BYTES_MIN {
        return None;
    }
    SCRATCH.with_borrow_mut(|scratch| {
        let bound = lz4_flex::block::get_maximum_output_size(body.len());
        if scratch.len() < bound {
            scratch.resize(bound, 0);
        }
        let stored = is_promising(body, scratch)
            .then(|| shrink(body, scratch))
            .flatten()
            .map(|written| with_room(&scratch[..written], room));
        if scratch.len() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        stored
    })
}

/// How many bytes the body has in LZ4, where that saves at least an eighth.
fn shrink(body: &[u8], scratch: &mut [u8]) -> Option<usize> {
    let written = lz4_flex::block::compress_into(body, scratch).ok()?;
    (written <= body.len() - body.len() / 8).then_some(written)
}

/// Whether compressing a body may be worth its time. The samples lie behind the table, which always shrinks.
fn is_promising(body: &[u8], scratch: &mut [u8]) -> bool {
    let third = body.len() / 3;
    let mut samples = [third, 2 * third].into_iter().map(|at| &body[at..at + SAMPLE_BYTES]);
    body.len() < SAMPLED_BYTES_MIN || samples.any(|sample| shrink(sample, scratch).is_some())
}

/// What the tag of an encrypted body covers beside the body: its place, its header and its key's version.
fn bound_to(shard: ShardKey, header: &[u8; CHECKED_BYTES], version: KeyVersion) -> [u8; 8 + CHECKED_BYTES + 4] {
    let mut bound_to = [0; 8 + CHECKED_BYTES + 4];
    bound_to[..8].copy_from_slice(&BlockKey::new(shard, Offset::ZERO).encode()[..8]);
    bound_to[8..8 + CHECKED_BYTES].copy_from_slice(header);
    bound_to[8 + CHECKED_BYTES..].copy_from_slice(&version.0.to_le_bytes());
    bound_to
}

/// Checks a stored block for rot, and takes header and stored body apart; the error says what is wrong. It needs no key.
fn check(key: BlockKey, value: &[u8]) -> Result<(Header, &[u8]), String> {
    let Some((header_bytes, stored)) = value.split_first_chunk::<HEADER_BYTES>() else {
        return Err(format!("it has {} bytes, fewer than a header", value.len()));
    };
    let (header, expected) = Header::decode(header_bytes)?;
    let found = crc(key.shard, &header_bytes[..CHECKED_BYTES], stored);
    if found != expected {
        return Err(format!("its check sum is {found:08x}, not {expected:08x}"));
    }
    // What follows was written so, unless a writer was wrong, or someone forged the check sum.
    if header.count == 0 || header.first_offset.0.checked_add(u64::from(header.count) - 1) != Some(key.last_offset.0) {
        return Err(format!("it holds {} records from offset {}", header.count, header.first_offset));
    }
    Ok((header, stored))
}

/// Whether a stored block says that it is encrypted.
pub(super) fn is_encrypted(value: &[u8]) -> bool {
    value.get(2).is_some_and(|cipher| *cipher != Cipher::None as u8)
}

/// What the index must say of a stored block, if that is not rotten. It needs no key.
pub(super) fn index_entry(key: BlockKey, value: &[u8]) -> Result<IndexEntry, String> {
    let (header, _) = check(key, value)?;
    let stored_bytes = u32::try_from(value.len()).map_err(|_| format!("it has {} bytes", value.len()))?;
    Ok(IndexEntry { count: header.count, time: header.time, stored_bytes })
}

/// Checks and decodes a stored block; the error says what is wrong with it, or with its key.
pub(super) fn decode(key: BlockKey, value: &[u8], keys: &Keyring) -> Result<Block, Unreadable> {
    let (header, stored) = check(key, value)?;
    let body = match header.cipher {
        cipher if cipher == Cipher::None as u8 => decompress(&header, stored)?,
        cipher if cipher == Cipher::Aes256Gcm as u8 => header.decrypt(key.shard, stored, keys)?,
        cipher => return Err(format!("its cipher {cipher} is not known").into()),
    };
    if body.len() != header.body_bytes as usize {
        return Err(format!("its body has {} bytes, not {}", body.len(), header.body_bytes).into());
    }
    Ok(Block::checked(header.first_offset, header.count, header.time, body)?)
}

impl Header {
    /// The body of an encrypted block, before compression.
    fn decrypt(&self, shard: ShardKey, stored: &[u8], keys: &Keyring) -> Result<Bytes, Unreadable> {
        let cut = || format!("its encrypted body has {} bytes", stored.len());
        let (version, rest) = stored.split_first_chunk().ok_or_else(cut)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(cut)?;
        let version = KeyVersion(u32::from_le_bytes(*version));
        let key = keys.opening(shard.stream, version).map_err(Unreadable::Key)?;
        let mut sealed = sealed.to_vec();
        let bound_to = bound_to(shard, &self.checked(), version);
        let Some(opened) = key.open(*nonce, &bound_to, &mut sealed) else {
            return Err(
                format!("data key {version} does not open it: it was changed, moved or sealed by another").into()
            );
        };
        let opened_bytes = opened.len();
        if self.codec == Codec::None as u8 {
            sealed.truncate(opened_bytes);
            return Ok(Bytes::from(sealed));
        }
        Ok(decompress(self, &sealed[..opened_bytes])?)
    }
}

/// The body as it was before its codec.
fn decompress(header: &Header, stored: &[u8]) -> Result<Bytes, String> {
    match header.codec {
        codec if codec == Codec::None as u8 => Ok(Bytes::copy_from_slice(stored)),
        codec if codec == Codec::Lz4 as u8 => inflate(stored, header.body_bytes as usize),
        codec => Err(format!("its codec {codec} is not known")),
    }
}

fn inflate(stored: &[u8], body_bytes: usize) -> Result<Bytes, String> {
    // LZ4 makes at most 255 bytes of one, so that a wrong length cannot claim the memory.
    if body_bytes / 256 > stored.len() {
        return Err(format!("a body of {body_bytes} bytes cannot come of {}", stored.len()));
    }
    let body = lz4_flex::block::decompress(stored, body_bytes).map_err(|error| error.to_string())?;
    Ok(Bytes::from(body))
}

#[cfg(test)]
mod tests;
