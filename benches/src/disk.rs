//! What the disk takes: raw writes into a preallocated file or appended to one, with one `fdatasync` after each group.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngCore;

/// Zeros are written ahead in pieces of this size, so that the file's blocks are there before the clock runs.
const PREALLOCATION_BYTES: usize = 4 << 20;

/// The time of each write and sync of `group_bytes`, into a file that was written in full before.
///
/// # Errors
/// When the folder cannot be written.
pub fn synced_writes(folder: &Path, group_bytes: usize, groups: usize) -> io::Result<Vec<Duration>> {
    let path = folder.join("raw-writes");
    let mut file = File::create(&path)?;
    let zeros = vec![0; PREALLOCATION_BYTES];
    for _ in 0..(group_bytes * groups).div_ceil(PREALLOCATION_BYTES) {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    timed(file, &path, group_bytes, groups)
}

/// The time of each append and sync of `group_bytes` to a file that grows with them.
///
/// # Errors
/// When the folder cannot be written.
pub fn synced_appends(folder: &Path, group_bytes: usize, groups: usize) -> io::Result<Vec<Duration>> {
    let path = folder.join("raw-appends");
    timed(File::create(&path)?, &path, group_bytes, groups)
}

fn timed(mut file: File, path: &Path, group_bytes: usize, groups: usize) -> io::Result<Vec<Duration>> {
    let mut group = vec![0; group_bytes];
    rand::rng().fill_bytes(&mut group);
    let mut times = Vec::with_capacity(groups);
    for _ in 0..groups {
        let start = Instant::now();
        file.write_all(&group)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    drop(file);
    std::fs::remove_file(path)?;
    Ok(times)
}
