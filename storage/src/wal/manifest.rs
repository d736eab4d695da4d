//! The one thing that must be known of RocksDB's manifest: which write-ahead logs it still replays. Others wait to be recycled
//! or removed, and what is wrong in them is wrong with nothing. The layout is fixed by `db/version_edit.cc` of RocksDB.

use std::fs::{self, File};
use std::path::Path;

use super::batch::varint;
use super::framing::Framing;
use super::walk::{Found, Walk};

/// The lowest number of a log that is replayed; `None` where the manifest does not tell.
pub(super) fn min_log_number(folder: &Path) -> Option<u64> {
    let current = fs::read_to_string(folder.join("CURRENT")).ok()?;
    let manifest = File::open(folder.join(current.trim_end())).ok()?;
    let mut min = None;
    let mut visit = |found: Found<'_>| {
        if let Found::Record { record, .. } = found {
            min = of_edit(record).or(min);
        }
    };
    Walk::new(Framing::Plain, 0, &mut visit).run(manifest).ok()?;
    min
}

/// The number as one edit sets it. It stands before all that has a layout of its own.
fn of_edit(mut edit: &[u8]) -> Option<u64> {
    /// Tags of `VersionEdit` that stand before it, by what follows them.
    const DB_ID: u64 = (1 << 13) + 1;
    const COMPARATOR: u64 = 1;
    const NUMBERS: [u64; 4] = [2, 3, 9, 203];
    const MIN_LOG_NUMBER: u64 = 10;
    loop {
        match varint(&mut edit)? {
            MIN_LOG_NUMBER => return varint(&mut edit),
            DB_ID | COMPARATOR => {
                let length = usize::try_from(varint(&mut edit)?).ok()?;
                edit = edit.get(length..)?;
            }
            tag if NUMBERS.contains(&tag) => drop(varint(&mut edit)?),
            _ => return None,
        }
    }
}
