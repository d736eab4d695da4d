//! What a process left in RocksDB's write-ahead logs: is it whole, or did a disk change what was acknowledged?
//!
//! RocksDB replays a write-ahead log up to the first record that does not check, and takes what follows for the remains of a
//! torn write. A byte that rots in the middle so hides every later record in silence. [`check`] runs before RocksDB does and
//! tells the two apart.
//!
//! **Why that is exact.** Both stores write with a sync: RocksDB writes one record (a group of batches), syncs every open log,
//! and only then writes the next one. So when a process or a machine ends, at most the last record is torn; every other was
//! synced before the one after it began. A record that begins after a damaged place therefore proves that the damaged one was
//! whole once. Remains of older logs in a recycled file do not count: they carry another log number. What a torn write may
//! leave are fragments *of that same record*, and they neither begin a record nor follow one. Across files the sequence numbers
//! decide: each record names its first, and they have no gaps.
//!
//! What this cannot see: damage in the very last record looks as if it had been torn. The log therefore ends a quiet moment
//! with a record that holds nothing, so that what was acknowledged before is not the last.
//!
//! Nothing here writes, except [`repair`].

mod framing;
mod walk;
mod manifest;
mod check;
mod cut;
pub(crate) mod batch;
pub(crate) mod repair;
#[cfg(test)]
mod tests;

pub(crate) use check::{Damage, check};
pub(crate) use cut::cut_stale_ends;
pub(crate) use framing::Framing;

use std::io;
use std::path::{Path, PathBuf};

/// The logs in a folder that RocksDB replays, by number.
fn live_logs(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let files = match std::fs::read_dir(folder) {
        Ok(files) => files,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let kept = manifest::min_log_number(folder).unwrap_or(0);
    let mut logs = Vec::new();
    for file in files {
        let path = file?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|extension| extension == "log")
            && number >= kept
        {
            logs.push((number, path));
        }
    }
    logs.sort();
    Ok(logs)
}
