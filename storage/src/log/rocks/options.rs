//! How RocksDB is set up: blocks go to the write-ahead log and once to a blob file, and compaction moves keys alone.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options};
use rustix::fs::OFlags;

use super::LogSettings;

/// Blocks.
pub(super) const LOG: &str = "log";
/// The index of blocks by offset and arrival time.
pub(super) const TIME: &str = "time";
/// The last sequences of producers.
pub(super) const PRODUCER: &str = "producer";
/// Marks of trimmed shards and the folder's format.
pub(super) const META: &str = "meta";

/// The numbers of these families in a write batch: they are made first, in this order, after the default one.
pub(super) const LOG_NUMBER: u64 = 1;
pub(super) const TIME_NUMBER: u64 = 2;

/// Memory for index entries and table indexes.
const CACHE_BYTES: usize = 8 << 20;
const INFO_LOG_BYTES_MAX: usize = 4 << 20;
/// Files that stay open; a blob file is one.
const OPEN_FILES_MAX: i32 = 512;
/// Write-ahead logs kept for reuse: overwriting a file in place spares the file system's journal in each sync.
const RECYCLED_LOGS: usize = 3;
/// A blob file ends here, or where a write buffer does.
const BLOB_FILE_BYTES: u64 = 256 << 20;
/// Keys and blob references of about 100,000 blocks.
const TABLE_FILE_BYTES: u64 = 4 << 20;

pub(super) fn database(settings: &LogSettings) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_file_opening_threads(2);
    options.set_skip_stats_update_on_db_open(true);
    // What is left of a torn group at the end was never acknowledged.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_recycle_log_file_num(RECYCLED_LOGS);
    options.set_max_total_wal_size(4 * settings.write_buffer_bytes as u64);
    // Blob files reach the disk as they are written, so that the sync at their end does not hold up the next group's.
    options.set_bytes_per_sync(1 << 20);
    // Each block is written a second time, to its blob file. Past the page cache that costs no copy, and pushes nothing out
    // that readers want: it doubles the rate of ingest where the processors are the limit.
    options.set_use_direct_io_for_flush_and_compaction(takes_direct_io(&settings.path));
    // One thread writes.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// Whether the folder's file system lets files be written past the page cache; not all do.
fn takes_direct_io(folder: &Path) -> bool {
    let probe = folder.join("direct-io");
    let flags = OFlags::DIRECT.bits().cast_signed();
    let opened = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(&probe);
    if opened.is_ok() {
        // What is left of it is empty, and RocksDB leaves files alone that are not its own.
        drop(fs::remove_file(&probe));
    }
    opened.is_ok()
}

pub(super) fn column_families(settings: &LogSettings) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    let small = |write_buffer_bytes| {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_block_size(16 << 10);
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::None);
        options.set_write_buffer_size(write_buffer_bytes);
        options.set_target_file_size_base(TABLE_FILE_BYTES);
        options.set_max_bytes_for_level_base(4 * TABLE_FILE_BYTES);
        options
    };
    let mut log = small(settings.write_buffer_bytes);
    log.set_max_write_buffer_number(3);
    log.set_enable_blob_files(true);
    log.set_min_blob_size(0);
    log.set_blob_file_size(BLOB_FILE_BYTES);
    log.set_blob_compression_type(DBCompressionType::None);
    // Collection stays off until the reclaimer finds much garbage; it then takes the older half, if half of that is dead.
    log.set_enable_blob_gc(false);
    log.set_blob_gc_age_cutoff(0.5);
    log.set_blob_gc_force_threshold(0.5);
    vec![
        ColumnFamilyDescriptor::new("default", small(64 << 10)),
        ColumnFamilyDescriptor::new(LOG, log),
        ColumnFamilyDescriptor::new(TIME, small(4 << 20)),
        ColumnFamilyDescriptor::new(PRODUCER, small(4 << 20)),
        ColumnFamilyDescriptor::new(META, small(1 << 20)),
    ]
}
