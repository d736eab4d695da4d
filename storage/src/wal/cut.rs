//! Cuts what recycled logs hold behind their end: old content that a backup need not carry.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::framing::{BLOCK_BYTES, Framing};
use super::live_logs;
use super::walk::{Found, Walk};

/// Cuts every log of a checkpoint behind the block of its last record. One that is shared with another folder stays as it is.
pub(crate) fn cut_stale_ends(folder: &Path, framing: Framing) -> io::Result<()> {
    for (number, path) in live_logs(folder)? {
        let file = File::options().read(true).write(true).open(path)?;
        if file.metadata()?.nlink() > 1 {
            continue;
        }
        let mut end = 0;
        let mut visit = |found: Found<'_>| {
            if let Found::Record { at, record } = found {
                // A record takes less than twice its length, and a block.
                end = at + 2 * record.len() as u64 + BLOCK_BYTES as u64;
            }
        };
        Walk::new(framing, number, &mut visit).run(&file)?;
        if end < file.metadata()?.len() {
            file.set_len(end)?;
            file.sync_all()?;
        }
    }
    Ok(())
}
