//! The data folder: may it be written, and how long does a write take to be durable?

use std::fs::{self, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use super::Check;

/// One write of the measurement, and how many there are.
const WRITE_BYTES: usize = 4096;
const WRITES: usize = 200;
/// Every put waits for at least one sync: past this, puts are slow.
const SYNC_P99_POOR: Duration = Duration::from_millis(50);

/// Checks the data folder, making it where it is absent, as the server would.
pub(super) fn check(data_dir: &Path) -> Vec<Check> {
    let place = data_dir.display();
    let advice = "give the server's user a folder that it may write, by --data-dir";
    if let Err(error) = fs::create_dir_all(data_dir) {
        return vec![Check::bad("data folder", format!("{place} cannot be made: {error}"), advice)];
    }
    let probe = data_dir.join(format!("doctor-{}", uuid::Uuid::new_v4()));
    let measured = measure(&probe);
    // It is absent where the measurement could not make it.
    let _ = fs::remove_file(&probe);
    match measured {
        Err(error) => vec![Check::bad("data folder", format!("{place} cannot be written: {error}"), advice)],
        Ok(times) => vec![Check::good("data folder", format!("{place} can be written")), judge(times)],
    }
}

/// Times writes into space that the file has already, each made durable by itself: what a log can reach at best.
fn measure(path: &Path) -> io::Result<Vec<Duration>> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let block = [0x6d_u8; WRITE_BYTES];
    file.write_all(&block.repeat(WRITES))?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut times = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    Ok(times)
}

fn judge(mut times: Vec<Duration>) -> Check {
    times.sort_unstable();
    let (p50, p99) = (times[WRITES / 2], times[WRITES * 99 / 100]);
    let milliseconds = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
    let found = format!("{} at the median, {} at p99, of {WRITES} synced writes", milliseconds(p50), milliseconds(p99));
    if p99 > SYNC_P99_POOR {
        return Check::poor("fsync", found, "each put waits for a sync; a local SSD takes a few milliseconds");
    }
    Check::good("fsync", found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn a_slow_disk_is_poor_and_not_bad() {
        let times = |slow| vec![slow; WRITES];
        assert_eq!(judge(times(SYNC_P99_POOR)).verdict, Verdict::Good);
        assert_eq!(judge(times(SYNC_P99_POOR + Duration::from_nanos(1))).verdict, Verdict::Poor);
    }
}
