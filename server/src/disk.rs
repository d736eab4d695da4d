//! The disk that the data folder lies on: at its high-water mark puts are refused, and they are taken again by themselves
//! once there is room. Reads, deliveries and the small state of the control plane go on: what lies between the mark and the
//! end of the disk is theirs.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use bytesize::ByteSize;
use prometheus::{IntCounter, IntGauge};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Settings of `[disk]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskSettings {
    /// Below so many free bytes on the data folder's file system, puts are refused; they are taken again once a tenth more
    /// is free. It must leave room for what is being written when the mark is reached: several of `log.write_buffer_bytes`.
    pub free_bytes_min: ByteSize,
    /// The same as a part of the file system, in percent; the higher of the two holds. 0 leaves it to `free_bytes_min`.
    pub free_percent_min: u8,
    /// Time between two looks at the free space. While it is short, puts look for themselves.
    #[serde(with = "humantime_serde")]
    pub check_interval: Duration,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self { free_bytes_min: ByteSize::mib(512), free_percent_min: 0, check_interval: Duration::from_secs(1) }
    }
}

/// What a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Free for this process, in bytes.
    pub free: u64,
    /// Its size, in bytes.
    pub size: u64,
}

impl Space {
    /// The space of the file system that a folder lies on.
    ///
    /// # Errors
    /// Where the system cannot tell.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self { free: bytes(found.f_bavail), size: bytes(found.f_blocks) })
    }
}

/// Puts are refused at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk of the data folder has {} free, and puts are refused until {} are: resume or delete a delivery that holds the \
     retention, shorten a retention, delete a stream, or enlarge the disk",
    ByteSize::b(*free),
    ByteSize::b(*wanted)
)]
pub struct DiskFull {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that must be free before puts are taken again.
    pub wanted: u64,
}

/// The watch over a disk. Cheap to clone.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    settings: DiskSettings,
    space: Box<dyn Fn() -> io::Result<Space> + Send + Sync>,
    full: AtomicBool,
    free: AtomicI64,
    wanted: AtomicI64,
    /// Bytes that puts may bring before they must look themselves; without this, fast puts would pass the mark between two
    /// looks.
    credit: AtomicI64,
    metrics: DiskMetrics,
}

struct DiskMetrics {
    free: IntGauge,
    size: IntGauge,
    mark: IntGauge,
    full: IntGauge,
    errors: IntCounter,
}

impl Disk {
    /// A watch over the file system that `space` tells of, after a first look.
    pub fn new(
        settings: DiskSettings,
        space: impl Fn() -> io::Result<Space> + Send + Sync + 'static,
        metrics: &Metrics,
    ) -> Self {
        let metrics = DiskMetrics {
            free: metrics.gauge("millrace_disk_free_bytes", "Free space on the data folder's file system"),
            size: metrics.gauge("millrace_disk_size_bytes", "Size of the data folder's file system"),
            mark: metrics.gauge("millrace_disk_mark_bytes", "Free space below which puts are refused"),
            full: metrics.gauge("millrace_disk_full", "1 while puts are refused for want of disk space"),
            errors: metrics.counter("millrace_disk_errors_total", "Looks at the free space that failed"),
        };
        let disk = Self(Arc::new(Inner {
            settings,
            space: Box::new(space),
            full: AtomicBool::new(false),
            free: AtomicI64::new(0),
            wanted: AtomicI64::new(0),
            credit: AtomicI64::new(0),
            metrics,
        }));
        disk.look();
        disk
    }

    /// Looks at an interval until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut turn = tokio::time::interval(self.0.settings.check_interval.max(Duration::from_millis(1)));
        turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turn.tick() => {}
            }
            let disk = self.clone();
            // A file system that hangs must not hang the other tasks.
            if tokio::task::spawn_blocking(move || disk.look()).await.is_err() {
                return;
            }
        }
    }

    /// Lets in a put of so many bytes, or says that the disk is full.
    ///
    /// # Errors
    /// [`DiskFull`]; nothing was taken.
    pub fn admit(&self, bytes: u64) -> Result<(), DiskFull> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if !self.0.full.load(Relaxed) && self.0.credit.fetch_sub(bytes, Relaxed) < bytes {
            self.look();
        }
        self.check()
    }

    /// Whether puts are taken at present.
    ///
    /// # Errors
    /// [`DiskFull`].
    pub fn check(&self) -> Result<(), DiskFull> {
        if !self.0.full.load(Relaxed) {
            return Ok(());
        }
        let read = |value: &AtomicI64| u64::try_from(value.load(Relaxed)).unwrap_or(0);
        Err(DiskFull { free: read(&self.0.free), wanted: read(&self.0.wanted) })
    }

    /// Looks now. A look that fails changes nothing: the disk's own errors stop the log where it is really full.
    fn look(&self) {
        let Inner { settings, space, full, free, wanted, credit, metrics } = &*self.0;
        let found = match space() {
            Ok(found) => found,
            Err(error) => {
                metrics.errors.inc();
                tracing::warn!(%error, "cannot tell the free space of the data folder's file system");
                return;
            }
        };
        let mark = mark(settings, found.size);
        let resume = mark.saturating_add(mark.div_ceil(10));
        let was = full.load(Relaxed);
        let is = found.free < if was { resume } else { mark };
        free.store(signed(found.free), Relaxed);
        wanted.store(signed(resume), Relaxed);
        credit.store(signed(found.free.saturating_sub(mark)), Relaxed);
        full.store(is, Relaxed);
        metrics.free.set(signed(found.free));
        metrics.size.set(signed(found.size));
        metrics.mark.set(signed(mark));
        metrics.full.set(is.into());
        match (was, is) {
            (false, true) => tracing::error!(free = found.free, mark, "the disk is full: puts are refused"),
            (true, false) => tracing::info!(free = found.free, mark, "the disk has room again: puts are taken"),
            _ => {}
        }
    }
}

fn mark(settings: &DiskSettings, size: u64) -> u64 {
    let part = u128::from(size) * u128::from(settings.free_percent_min) / 100;
    settings.free_bytes_min.as_u64().max(u64::try_from(part).unwrap_or(u64::MAX))
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").field("full", &self.0.full).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// A disk of 10,000 bytes with a mark of 1,000, whose free space the test sets.
    fn disk(percent: u8) -> (Disk, Arc<AtomicU64>, Metrics) {
        let (free, metrics) = (Arc::new(AtomicU64::new(10_000)), Metrics::new());
        let settings = DiskSettings {
            free_bytes_min: ByteSize::b(1000),
            free_percent_min: percent,
            check_interval: Duration::from_millis(1),
        };
        let told = Arc::clone(&free);
        let disk = Disk::new(settings, move || Ok(Space { free: told.load(Relaxed), size: 10_000 }), &metrics);
        (disk, free, metrics)
    }

    #[test]
    fn puts_are_refused_below_the_mark_and_taken_again_a_tenth_above_it() {
        let (disk, free, metrics) = disk(0);
        let check = |now: u64, taken: bool| {
            free.store(now, Relaxed);
            disk.look();
            assert_eq!(disk.admit(0).is_ok(), taken, "{now} bytes free");
            assert!(metrics.text().contains(&format!("millrace_disk_full {}", u8::from(!taken))));
        };
        check(10_000, true);
        check(1000, true);
        check(999, false);
        check(1000, false);
        check(1099, false);
        check(1100, true);
        check(1000, true);
        check(0, false);
        let words = disk.check().unwrap_err().to_string();
        assert!(words.contains("0 B free") && words.contains("1.1 KiB") && words.contains("enlarge"), "{words}");
    }

    #[test]
    fn puts_look_for_themselves_where_the_last_look_left_them_little() {
        let (disk, free, _metrics) = disk(0);
        assert!(disk.admit(9000).is_ok(), "all that is free above the mark");
        free.store(999, Relaxed);
        assert!(disk.admit(1).is_err(), "one byte more than the last look found");
    }

    #[test]
    fn the_higher_mark_holds() {
        let (disk, free, metrics) = disk(20);
        free.store(1999, Relaxed);
        disk.look();
        assert_eq!(disk.check(), Err(DiskFull { free: 1999, wanted: 2200 }));
        assert!(metrics.text().contains("millrace_disk_mark_bytes 2000"));
    }

    #[test]
    fn a_disk_that_cannot_be_asked_is_counted_and_not_taken_for_full() {
        let metrics = Metrics::new();
        let disk = Disk::new(DiskSettings::default(), || Err(io::Error::other("gone")), &metrics);
        assert!(disk.admit(1).is_ok());
        assert!(metrics.text().contains("millrace_disk_errors_total 2"));
    }

    #[test]
    fn the_system_tells_the_space_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let space = Space::of(folder.path()).unwrap();
        assert!(space.size >= space.free && space.size > 0, "{space:?}");
        assert!(Space::of(&folder.path().join("absent")).is_err());
    }

    #[tokio::test]
    async fn the_watch_ends_when_it_is_told() {
        let (disk, free, _metrics) = disk(0);
        let stop = CancellationToken::new();
        let watch = tokio::spawn(disk.clone().run(stop.clone()));
        free.store(1, Relaxed);
        while disk.check().is_ok() {
            tokio::task::yield_now().await;
        }
        free.store(10_000, Relaxed);
        while disk.check().is_err() {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        watch.await.unwrap();
    }
}
