//! What only an engine on disk can show: restarts, lost processes, full disks, rot, and disk space given back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use rand::RngCore;

use super::*;
use crate::log::conformance::{ALL, HandClock, assert_numbered, in_time, numbered, put, range, read_all, shard};

mod faults;
mod encrypted;
mod rot;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(path: &Path) -> RocksLog {
    RocksLog::open(LogSettings::new(path)).expect("open")
}

/// A record of random bytes, which no codec makes smaller.
fn random(bytes: usize) -> NewRecord {
    let mut data = vec![0; bytes];
    rand::rng().fill_bytes(&mut data);
    NewRecord { partition_key: Bytes::new(), data: data.into() }
}

/// Puts five blocks of ten large records into shard 0 of stream 1, which it gives, each followed by a record in shard 1.
async fn put_blocks(log: &RocksLog) -> Vec<NewRecord> {
    let mut written = Vec::new();
    for _ in 0..5 {
        let block: Vec<NewRecord> = (0..10).map(|_| random(4000)).collect();
        put(log, shard(1, 0), block.clone()).await;
        put(log, shard(1, 1), numbered(0, 1)).await;
        written.extend(block);
    }
    written
}

async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !condition() {
            look.tick().await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain until {what}");
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let files = folder();
    for round in 0..4u64 {
        let log = open(files.path());
        for number in [0, 1, 300] {
            let shard = shard(number, number);
            let trim = round.saturating_sub(1) * 10;
            assert_eq!(log.offsets(shard), range(trim, round * 20));
            assert_numbered(&read_all(&log, shard, Offset::ZERO, ALL).await, trim..round * 20);
            let mut newest = log.newest_arrival(shard);
            for first in [round * 20, round * 20 + 10] {
                let arrival_time = put(&log, shard, numbered(first, 10)).await.arrival_time;
                assert!(newest <= Some(arrival_time));
                newest = Some(arrival_time);
            }
            log.trim(shard, Offset(round * 10)).await.expect("trim");
        }
        // One round ends well, the next like a lost process: without a flush, with a log to replay.
        if round % 2 == 0 {
            log.close().await.expect("close");
        }
        drop(log);
    }
}

#[tokio::test]
async fn what_a_stream_holds_is_counted_again_after_a_restart() {
    let files = folder();
    let log = open(files.path());
    for number in 0..100 {
        put(&log, shard(1, 0), numbered(number, 1)).await;
    }
    put(&log, shard(2, 0), numbered(0, 10)).await;
    log.trim(shard(1, 0), Offset(30)).await.expect("trim");
    let held = [1, 2].map(|stream| log.stored_bytes(StreamId(stream)));
    assert!(held[0] > held[1]);
    drop(log);
    let log = open(files.path());
    // Changes while the index is counted are neither lost nor counted twice.
    put(&log, shard(1, 0), numbered(100, 1)).await;
    let more = log.stored_bytes_in(shard(1, 0), range(100, 101)).await.expect("stored bytes");
    log.delete_stream(StreamId(2)).await.expect("delete");
    wait_until("the index is counted", || log.stored_bytes(StreamId(1)) == held[0] + more).await;
    assert_eq!(log.stored_bytes(StreamId(2)), 0);
}

#[tokio::test]
async fn a_shard_without_a_block_keeps_its_offsets_and_times_over_a_restart() {
    let (files, clock) = (folder(), HandClock::default());
    clock.set(5000);
    let reopen = || RocksLog::open_with_clock(LogSettings::new(files.path()), clock.clock()).expect("open");
    let log = reopen();
    put(&log, shard(1, 0), numbered(0, 7)).await;
    log.trim(shard(1, 0), Offset(7)).await.expect("trim");
    drop(log);

    clock.set(1000);
    let log = reopen();
    assert_eq!(log.offsets(shard(1, 0)), range(7, 7));
    assert_eq!(log.newest_arrival(shard(1, 0)), None);
    let appended = put(&log, shard(1, 0), numbered(7, 1)).await;
    assert_eq!(appended.offsets, range(7, 8));
    assert_eq!(appended.arrival_time, Timestamp(5000), "the clock went back, the shard's time did not");
    drop(log);

    let log = reopen();
    assert_eq!(log.newest_arrival(shard(1, 0)), Some(Timestamp(5000)));
    assert_eq!(log.offset_at(shard(1, 0), Timestamp(4999)).await.expect("offset_at"), Offset(7));
    assert_eq!(log.offset_at(shard(1, 0), Timestamp(5001)).await.expect("offset_at"), Offset(8));
}

#[tokio::test]
async fn a_deleted_stream_stays_deleted_over_a_restart() {
    let files = folder();
    let log = open(files.path());
    for stream in [1, 2, 3] {
        put(&log, shard(stream, 0), numbered(0, 3)).await;
        log.trim(shard(stream, 0), Offset(1)).await.expect("trim");
    }
    log.delete_stream(StreamId(2)).await.expect("delete");
    drop(log);
    let log = open(files.path());
    assert_eq!(log.offsets(shard(2, 0)), range(0, 0));
    for stream in [1, 3] {
        assert_eq!(log.offsets(shard(stream, 0)), range(1, 3));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_drop_is_there_after_it() {
    let files = folder();
    let log = Arc::new(open(files.path()));
    let (mut acknowledged, mut tickets) = (0, Vec::new());
    for number in 0..500 {
        tickets.push(log.append(shard(1, 0), numbered(number, 1).into()).await.expect("append"));
    }
    drop(log);
    for ticket in tickets {
        match ticket.durable().await {
            Ok(appended) => acknowledged = appended.offsets.end.0,
            Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
        }
    }
    let log = open(files.path());
    assert!(log.offsets(shard(1, 0)).end.0 >= acknowledged);
    let found = read_all(&log, shard(1, 0), Offset::ZERO, ALL).await;
    assert_numbered(&found, 0..log.offsets(shard(1, 0)).end.0);
}

#[tokio::test]
async fn a_second_open_is_refused_by_name() {
    let files = folder();
    let log = open(files.path());
    let error = RocksLog::open(LogSettings::new(files.path())).expect_err("the log is open");
    assert!(matches!(&error, Error::InUse { path } if Path::new(path) == files.path()), "{error}");
    log.close().await.expect("close");
    open(files.path());
}

#[tokio::test]
async fn a_folder_of_another_format_is_refused() {
    let files = folder();
    let settings = LogSettings::new(files.path());
    let db = Db::open(&settings).expect("open");
    let mut batch = rocksdb::WriteBatch::default();
    batch.put_cf(db.meta(), marks::FORMAT_KEY, [9]);
    db.write_sync(batch).expect("write");
    drop(db);
    let error = RocksLog::open(settings).expect_err("format 9 is not known");
    assert!(error.to_string().contains("format"), "{error}");
}

#[tokio::test]
async fn one_append_larger_than_a_block_is_whole_over_many() {
    let files = folder();
    let settings = LogSettings { block_bytes_max: 10_000, ..LogSettings::new(files.path()) };
    let records: Vec<NewRecord> = (0..300).map(|number| random(number * 10 % 3000)).collect();
    let log = RocksLog::open(settings).expect("open");
    put(&log, shard(1, 0), records.clone()).await;
    let stats = log.stats();
    assert_eq!((stats.appends, stats.records, stats.groups), (1, 300, 1));
    assert!(stats.blocks > 40, "{stats:?}");
    log.close().await.expect("close");
    let log = open(files.path());
    let found = log.read(shard(1, 0), Offset::ZERO, ALL).await.expect("read");
    assert_eq!(found.len(), records.len());
    for (found, written) in found.iter().zip(&records) {
        assert_eq!(found.data, written.data);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_appends_share_blocks_and_groups() {
    let files = folder();
    let log = open(files.path());
    let one = |number: u64| {
        let log = &log;
        async move { put(log, shard(1, 0), numbered(number, 1)).await }
    };
    in_time(join_all((0..2000).map(one))).await;
    let stats = log.stats();
    assert_eq!((stats.appends, stats.records), (2000, 2000));
    assert!(stats.groups < 1000, "{stats:?}");
    assert_eq!(stats.blocks, stats.groups);
    assert_eq!((stats.queued_appends, stats.queued_bytes), (0, 0));
    assert_eq!((stats.write_micros.count, stats.sync_micros.count), (stats.groups, stats.groups));
    assert!(stats.sync_micros.sum > 0, "{stats:?}");
}

#[tokio::test]
async fn a_reader_of_old_data_leaves_the_tail_in_memory() {
    let files = folder();
    let settings = LogSettings { tail_cache_bytes_max: 300_000, ..LogSettings::new(files.path()) };
    let log = RocksLog::open(settings).expect("open");
    for _ in 0..20 {
        put(&log, shard(1, 0), vec![random(50_000)]).await;
    }
    let before = log.stats();
    assert!((250_000..=300_000).contains(&before.cache_bytes), "{before:?}");
    assert_eq!(read_all(&log, shard(1, 0), Offset::ZERO, ReadLimit { records_max: 1, bytes_max: 1 }).await.len(), 20);
    let after = log.stats();
    assert_eq!(after.cache_bytes, before.cache_bytes);
    assert_eq!((after.cache_misses, after.cache_hits), (15, 5));
}

/// However many read the tail, and old blocks while they are at hand: its records are slices of one block.
#[tokio::test]
async fn readers_share_the_bytes_of_a_block() {
    let files = folder();
    for tail_cache_bytes_max in [0, 1 << 20] {
        let settings = LogSettings { tail_cache_bytes_max, ..LogSettings::new(files.path()) };
        let log = RocksLog::open(settings).expect("open");
        put(&log, shard(1, 0), vec![random(1_000)]).await;
        let one = read_all(&log, shard(1, 0), Offset::ZERO, ALL).await;
        let other = read_all(&log, shard(1, 0), Offset::ZERO, ALL).await;
        assert_eq!(one.last().map(|record| record.data.as_ptr()), other.last().map(|record| record.data.as_ptr()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_beside_trims_and_a_deletion_do_not_fail() {
    let files = folder();
    let settings = LogSettings { tail_cache_bytes_max: 0, block_bytes_max: 100, ..LogSettings::new(files.path()) };
    let log = RocksLog::open(settings).expect("open");
    put(&log, shard(1, 0), numbered(0, 4000)).await;
    let trims = async {
        for before in (40..=2000).step_by(40) {
            log.trim(shard(1, 0), Offset(before)).await.expect("trim");
        }
        log.delete_stream(StreamId(1)).await.expect("delete");
    };
    let reads = async {
        let mut reads = 0;
        while log.offsets(shard(1, 0)).end > Offset::ZERO {
            let limit = ReadLimit { records_max: 50, bytes_max: usize::MAX };
            let found = log.read(shard(1, 0), Offset::ZERO, limit).await.expect("read");
            let first = found.first().map_or(0, |record| record.offset.0);
            assert_numbered(&found, first..first + found.len() as u64);
            reads += 1;
        }
        reads
    };
    let ((), reads) = in_time(futures::future::join(trims, reads)).await;
    assert!(reads > 10, "{reads} reads came in between");
    assert_eq!(log.stats().corrupt_blocks, 0);
}

/// A file name's end is all that tells what RocksDB keeps in it.
fn files_ending(path: &Path, end: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(path).expect("a folder").map(|file| file.expect("a file").path());
    files.filter(|path| path.extension().is_some_and(|found| found == end)).collect()
}

fn blob_bytes(path: &Path) -> u64 {
    let blobs = files_ending(path, "blob");
    blobs.iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum()
}

const SMALL_BUFFER: usize = 1 << 20;

/// Writes `mebibytes` to shard 0 of each stream in turns.
async fn fill(log: &RocksLog, streams: &[u32], mebibytes: u64) {
    for _ in 0..mebibytes * 4 {
        for stream in streams {
            put(log, shard(*stream, 0), vec![random(256 << 10)]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trim_gives_the_disk_back_and_moves_no_living_block() {
    let files = folder();
    let settings = LogSettings { write_buffer_bytes: SMALL_BUFFER, ..LogSettings::new(files.path()) };
    let log = RocksLog::open(settings).expect("open");
    fill(&log, &[1, 2], 20).await;
    assert!(blob_bytes(files.path()) > 30 << 20);
    for stream in [1, 2] {
        log.trim(shard(stream, 0), Offset(60)).await.expect("trim");
    }
    // A quarter is left, and what is still in write buffers is not in a blob file.
    wait_until("the trimmed blob files are gone", || blob_bytes(files.path()) < 13 << 20).await;
    for stream in [1, 2] {
        assert_eq!(read_all(&log, shard(stream, 0), Offset::ZERO, ALL).await.len(), 20);
    }
    let newest = newest_blob(files.path());
    for stream in [1, 2] {
        log.trim(shard(stream, 0), Offset(70)).await.expect("trim");
    }
    wait_until("more blob files are gone", || blob_bytes(files.path()) < 8 << 20).await;
    assert!(newest_blob(files.path()) <= newest + 1, "living blocks were written again");
    assert_eq!(log.stats().trimmed_records, 140);
}

/// The number in the newest blob file's name.
fn newest_blob(path: &Path) -> u64 {
    let numbers = files_ending(path, "blob").into_iter().filter_map(|path| path.file_stem()?.to_str()?.parse().ok());
    numbers.max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_stream_gives_its_disk_back_from_among_a_living_one() {
    let files = folder();
    let settings = LogSettings { write_buffer_bytes: SMALL_BUFFER, ..LogSettings::new(files.path()) };
    let log = RocksLog::open(settings).expect("open");
    fill(&log, &[1, 2, 2, 2, 2], 4).await;
    assert!(blob_bytes(files.path()) > 16 << 20);
    log.delete_stream(StreamId(2)).await.expect("delete");
    // Each blob file holds living blocks, so they must move; that goes on as writes and compactions do.
    let goes_on = async {
        while blob_bytes(files.path()) > 14 << 20 {
            fill(&log, &[3], 1).await;
            log.trim(shard(3, 0), log.offsets(shard(3, 0)).end).await.expect("trim");
        }
    };
    in_time(goes_on).await;
    assert_eq!(read_all(&log, shard(1, 0), Offset::ZERO, ALL).await.len(), 16);
}
