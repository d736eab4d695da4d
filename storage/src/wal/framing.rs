//! How RocksDB lays records out in a log file: blocks of 32 KiB, and in them fragments with a header. The layout is fixed by
//! `db/log_format.h` and `db/log_writer.cc` of RocksDB.
//!
//! ```text
//! CRC-32C, masked u32 | length u16 | type u8 | log number u32, in recycled files only | payload
//! ```

/// Bytes of a block. A fragment never crosses its end; where a header does not fit there, zeros stand.
pub(super) const BLOCK_BYTES: usize = 32 << 10;
/// The header without a log number.
const PLAIN_HEADER_BYTES: usize = 4 + 2 + 1;
const RECYCLED_HEADER_BYTES: usize = PLAIN_HEADER_BYTES + 4;
/// By how much the types of recycled files are higher.
const RECYCLED_TYPES: u8 = 4;

/// Which headers a store's log files have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Files are written once.
    Plain,
    /// Files are written over, so that each fragment names its log.
    Recycled,
}

/// A fragment's place in its record. Numbers are those of a plain file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Full = 1,
    First = 2,
    Middle = 3,
    Last = 4,
}

impl Kind {
    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Full),
            2 => Some(Self::First),
            3 => Some(Self::Middle),
            4 => Some(Self::Last),
            _ => None,
        }
    }

    /// Whether a record begins with it.
    pub(super) const fn begins(self) -> bool {
        matches!(self, Self::Full | Self::First)
    }

    /// Whether a record ends with it.
    pub(super) const fn ends(self) -> bool {
        matches!(self, Self::Full | Self::Last)
    }
}

/// A fragment as its header tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment {
    pub(super) kind: Kind,
    /// Where its payload begins and ends in the block.
    pub(super) payload: (usize, usize),
    /// Whether its check sum holds.
    pub(super) is_intact: bool,
}

impl Framing {
    pub(super) const fn header_bytes(self) -> usize {
        match self {
            Self::Plain => PLAIN_HEADER_BYTES,
            Self::Recycled => RECYCLED_HEADER_BYTES,
        }
    }

    /// The fragment at a place of a block; the error says why none of this log can be there.
    pub(super) fn fragment(self, block: &[u8], at: usize, number: u64) -> Result<Fragment, &'static str> {
        let header_bytes = self.header_bytes();
        let Some(header) = block.get(at..at + header_bytes) else { return Err("the file ends within a header") };
        let kind = match self {
            Self::Plain => Kind::of(header[6]),
            Self::Recycled => header[6].checked_sub(RECYCLED_TYPES).and_then(Kind::of),
        };
        let Some(kind) = kind else { return Err("there is no record") };
        if self == Self::Recycled && header[7..11] != log_number(number) {
            return Err("the record is of another log");
        }
        let end = at + header_bytes + usize::from(u16::from_le_bytes([header[4], header[5]]));
        if end > BLOCK_BYTES {
            return Err("the record is longer than its block");
        }
        if end > block.len() {
            return Err("the file ends within a record");
        }
        let expected = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let is_intact = masked(crc32c::crc32c(&block[at + 6..end])) == expected;
        Ok(Fragment { kind, payload: (at + header_bytes, end), is_intact })
    }

    /// The places from `from` on where a fragment of this log may begin. Old content of a recycled file costs little so.
    pub(super) fn places(self, block: &[u8], from: usize, number: u64) -> impl Iterator<Item = usize> + '_ {
        let number = log_number(number);
        let mut at = from;
        std::iter::from_fn(move || {
            let number_at = match self {
                Self::Plain => (at + PLAIN_HEADER_BYTES <= block.len()).then_some(at + PLAIN_HEADER_BYTES)?,
                Self::Recycled => {
                    let rest = block.get(at + PLAIN_HEADER_BYTES..)?;
                    at + PLAIN_HEADER_BYTES + memchr::memmem::find(rest, &number)?
                }
            };
            let place = number_at - PLAIN_HEADER_BYTES;
            at = place + 1;
            Some(place)
        })
    }

    /// Appends a record to the bytes of a log.
    pub(super) fn append(self, log: &mut Vec<u8>, record: &[u8], number: u64) {
        let header_bytes = self.header_bytes();
        let (mut rest, mut is_first) = (record, true);
        loop {
            let left = BLOCK_BYTES - log.len() % BLOCK_BYTES;
            if left < header_bytes {
                log.resize(log.len() + left, 0);
                continue;
            }
            let (payload, after) = rest.split_at(rest.len().min(left - header_bytes));
            let kind = match (is_first, after.is_empty()) {
                (true, true) => Kind::Full,
                (true, false) => Kind::First,
                (false, false) => Kind::Middle,
                (false, true) => Kind::Last,
            };
            self.append_fragment(log, kind, payload, number);
            (rest, is_first) = (after, false);
            if rest.is_empty() {
                return;
            }
        }
    }

    fn append_fragment(self, log: &mut Vec<u8>, kind: Kind, payload: &[u8], number: u64) {
        let mut checked = match self {
            Self::Plain => vec![kind as u8],
            Self::Recycled => [&[kind as u8 + RECYCLED_TYPES][..], &log_number(number)].concat(),
        };
        checked.extend_from_slice(payload);
        let length = u16::try_from(payload.len()).expect("a payload is shorter than its block");
        log.extend_from_slice(&masked(crc32c::crc32c(&checked)).to_le_bytes());
        log.extend_from_slice(&length.to_le_bytes());
        log.extend_from_slice(&checked);
    }
}

/// The log number as fragments carry it: its low 32 bits.
const fn log_number(number: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = number.to_le_bytes();
    [a, b, c, d]
}

/// A check sum as RocksDB stores it, so that check sums of check sums do not weaken.
const fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
