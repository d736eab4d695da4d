//! The bytes of a RocksDB write batch, as far as they must be understood without RocksDB: its sequence number and count, and
//! what it puts. The layout is fixed by `db/write_batch.cc` of RocksDB.
//!
//! A batch may come from a damaged place: nothing here trusts a length.

use prost::encoding::decode_varint;

/// Sequence number u64, count u32; little-endian.
const HEADER_BYTES: usize = 8 + 4;

/// The first sequence number and how many it takes; `None` where `head` is shorter than a batch's header.
pub(crate) fn sequence(head: &[u8]) -> Option<(u64, u32)> {
    let (sequence, rest) = head.split_first_chunk()?;
    let (count, _) = rest.split_first_chunk()?;
    Some((u64::from_le_bytes(*sequence), u32::from_le_bytes(*count)))
}

/// What one entry of a batch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// Sets a key of the column family with that number; the default one has 0.
    Put { family: u64, key: &'a [u8], value: &'a [u8] },
    /// Removes a key, or all from the key up to another.
    Remove { key: &'a [u8] },
}

/// The entries up to the first that cannot be understood, and whether that is all of them.
pub(crate) fn entries(batch: &[u8]) -> (Vec<Entry<'_>>, bool) {
    let Some((_, count)) = sequence(batch) else { return (Vec::new(), false) };
    let mut rest = &batch[HEADER_BYTES..];
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let Some(entry) = entry(&mut rest) else { return (entries, false) };
        entries.extend(entry);
    }
    let whole = entries.len() == count as usize;
    (entries, whole)
}

/// One entry; `Some(None)` where it changes no key.
fn entry<'a>(rest: &mut &'a [u8]) -> Option<Option<Entry<'a>>> {
    let (tag, after) = rest.split_first()?;
    *rest = after;
    // From 4 on, a tag with a column family follows the one without; 14 and 15 stand the other way round.
    let family = if matches!(tag, 4 | 5 | 6 | 8 | 14) { varint(rest)? } else { 0 };
    let entry = match tag {
        1 | 2 | 5 | 6 => Some(Entry::Put { family, key: text(rest)?, value: text(rest)? }),
        0 | 4 | 7 | 8 => Some(Entry::Remove { key: text(rest)? }),
        14 | 15 => {
            let key = text(rest)?;
            text(rest)?;
            Some(Entry::Remove { key })
        }
        3 => {
            text(rest)?;
            None
        }
        13 => None,
        _ => return None,
    };
    Some(entry)
}

/// Bytes after their length.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(text)
}

/// A number in groups of seven bits, lowest first.
pub(super) fn varint(rest: &mut &[u8]) -> Option<u64> {
    decode_varint(rest).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rocksdb::WriteBatch;

    use super::*;

    #[test]
    fn entries_come_back_as_rocksdb_wrote_them() {
        let mut batch = WriteBatch::default();
        batch.put(b"a", b"1");
        batch.put(b"long", [7; 300]);
        batch.delete(b"gone");
        batch.delete_range(&b"from"[..], &b"to"[..]);
        batch.put_log_data(b"nothing");
        let (entries, whole) = entries(batch.data());
        assert!(whole);
        assert_eq!(
            entries,
            [
                Entry::Put { family: 0, key: b"a", value: b"1" },
                Entry::Put { family: 0, key: b"long", value: &[7; 300] },
                Entry::Remove { key: b"gone" },
                Entry::Remove { key: b"from" },
            ]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let (found, _) = entries(&bytes);
            prop_assert!(found.len() <= bytes.len());
        }
    }
}
