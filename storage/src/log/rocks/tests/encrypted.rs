//! Encrypted streams in the log: what lies on the disk, keys that change between appends, and keys that are gone.

use super::*;
use crate::encryption::{DataKey, KEY_BYTES, KeyStore, KeyVersion, Keyring, MasterKeys, parse_local_keys};
use crate::meta::MetaStore;
use crate::meta::memory::MemoryMeta;

fn ring(versions: &[u8]) -> Arc<Keyring> {
    let ring = Arc::new(Keyring::default());
    for version in versions {
        ring.add(StreamId(1), DataKey::new(KeyVersion(u32::from(*version)), &[*version; KEY_BYTES]));
    }
    ring
}

fn open_with(path: &Path, ring: &Arc<Keyring>) -> RocksLog {
    let settings = LogSettings { tail_cache_bytes_max: 0, ..LogSettings::new(path) };
    RocksLog::open_with_keys(settings, Clock::system(), Arc::clone(ring)).expect("open")
}

fn marked(marker: &str, count: usize, bytes: usize) -> Vec<NewRecord> {
    let record = |_| {
        let data = [marker.as_bytes(), &random(bytes).data].concat();
        NewRecord { partition_key: Bytes::copy_from_slice(format!("{marker}-key").as_bytes()), data: data.into() }
    };
    (0..count).map(record).collect()
}

fn is_on_disk(folder: &Path, needle: &str) -> bool {
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    files.map(|path| std::fs::read(path).unwrap_or_default()).any(|bytes| {
        let mut windows = bytes.windows(needle.len());
        windows.any(|window| window == needle.as_bytes())
    })
}

#[tokio::test]
async fn small_and_large_appends_are_sealed_and_read_back_over_switches_and_a_restart() {
    let files = folder();
    let ring = ring(&[1, 2]);
    let log = open_with(files.path(), &ring);
    let mut written = Vec::new();
    for (version, marker) in [(None, "clear-a"), (Some(1), "hidden-b"), (Some(2), "hidden-c"), (None, "clear-d")] {
        ring.seal_with(StreamId(1), version.map(KeyVersion));
        for records in [marked(marker, 3, 50), marked(marker, 2, 100_000)] {
            put(&log, shard(1, 0), records.clone()).await;
            written.extend(records);
        }
        put(&log, shard(2, 0), numbered(0, 1)).await;
    }
    assert_eq!(log.stats().encrypted_blocks, 4);
    // In the write-ahead log, then in blob files.
    for round in 0..2 {
        for (marker, is_found) in [("clear-a", true), ("hidden-b", false), ("hidden-c", false), ("clear-d", true)] {
            assert_eq!(is_on_disk(files.path(), marker), is_found, "{marker} in round {round}");
        }
        log.close().await.expect("close");
    }
    drop(log);
    let log = open_with(files.path(), &ring);
    let read = read_all(&log, shard(1, 0), Offset::ZERO, ALL).await;
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(&written) {
        assert_eq!((&read.partition_key, &read.data), (&written.partition_key, &written.data));
    }
    assert!(log.stats().decrypted_blocks >= 4);
}

/// One group may hold appends that began before a switch and after it.
#[tokio::test]
async fn appends_of_one_group_share_a_block_only_under_one_key() {
    let files = folder();
    let ring = ring(&[1, 2]);
    let log = open_with(files.path(), &ring);
    let mut tickets = Vec::new();
    for number in 0..30u64 {
        let version = match number % 3 {
            0 => None,
            version => Some(KeyVersion(u32::try_from(version).expect("small"))),
        };
        ring.seal_with(StreamId(1), version);
        tickets.push(log.append(shard(1, 0), numbered(number, 1).into()).await.expect("append"));
    }
    for (number, ticket) in (0..).zip(tickets) {
        assert_eq!(ticket.durable().await.expect("durable").offsets, range(number, number + 1));
    }
    assert_numbered(&read_all(&log, shard(1, 0), Offset::ZERO, ALL).await, 0..30);
    let stats = log.stats();
    assert_eq!((stats.blocks, stats.encrypted_blocks), (30, 20), "each append has another key than the one before");
}

#[tokio::test]
async fn a_destroyed_key_makes_its_blocks_unreadable_and_no_other() {
    let files = folder();
    let ring_of_both = ring(&[1, 2]);
    let log = open_with(files.path(), &ring_of_both);
    for version in [1, 2] {
        ring_of_both.seal_with(StreamId(1), Some(KeyVersion(version)));
        put(&log, shard(1, 0), numbered(u64::from(version - 1) * 10, 10)).await;
    }
    put(&log, shard(2, 0), numbered(0, 10)).await;
    drop(log);

    let ring_of_two = ring(&[2]);
    ring_of_two.seal_with(StreamId(1), Some(KeyVersion(1)));
    let log = open_with(files.path(), &ring_of_two);
    assert_eq!(log.offsets(shard(1, 0)), range(0, 20), "recovery needs no key");
    let gone = |error: &Error| {
        matches!(error, Error::Key { stream: StreamId(1), version: 1, is_retryable: false, .. })
            && error.to_string().contains("destroyed")
    };
    for from in [0, 9] {
        let error = log.read(shard(1, 0), Offset(from), ALL).await.expect_err("the key is gone");
        assert!(gone(&error) && !error.is_retryable(), "{error}");
    }
    assert_numbered(&read_all(&log, shard(1, 0), Offset(10), ALL).await, 10..20);
    assert_numbered(&read_all(&log, shard(2, 0), Offset::ZERO, ALL).await, 0..10);
    // Nor is anything stored in the clear where the sealing key is gone.
    let error = log.append(shard(1, 0), numbered(20, 1).into()).await.expect_err("the key is gone");
    assert!(gone(&error), "{error}");
    assert_eq!(log.offsets(shard(1, 0)), range(0, 20));
    put(&log, shard(2, 0), numbered(10, 1)).await;
    let stats = log.stats();
    assert_eq!((stats.key_failures, stats.corrupt_blocks), (3, 0));
}

/// Also what is in memory: the newest blocks, and those that a reader decoded last.
#[tokio::test]
async fn shredded_blocks_are_named_with_where_reading_goes_on_and_memory_forgets_them() {
    let files = folder();
    let meta: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new());
    let masters = MasterKeys::new(parse_local_keys("the test", &"0f".repeat(32)).expect("keys"));
    let keys = KeyStore::open(Arc::clone(&meta), masters).await.expect("open");
    let rotate = async || {
        let new = keys.make(StreamId(1)).await.expect("a key");
        meta.commit(Vec::new(), vec![new.write()]).await.expect("commit");
        keys.install(new);
    };
    rotate().await;
    let settings = LogSettings::new(files.path());
    let log = RocksLog::open_with_keys(settings, Clock::system(), keys.keyring()).expect("open");
    for first in [0, 10] {
        put(&log, shard(1, 0), numbered(first, 10)).await;
    }
    put(&log, shard(2, 0), numbered(0, 10)).await;
    assert_numbered(&read_all(&log, shard(1, 0), Offset::ZERO, ALL).await, 0..20);
    meta.commit(Vec::new(), keys.shredding(StreamId(1), Timestamp(5)).await.expect("meta")).await.expect("commit");
    keys.shredded(StreamId(1), Timestamp(5));
    log.forget_cached(StreamId(1));
    rotate().await;
    put(&log, shard(1, 0), numbered(20, 10)).await;
    for (from, last) in [(0, 9), (9, 9), (10, 19)] {
        let error = log.read(shard(1, 0), Offset(from), ALL).await.expect_err("its key is gone");
        assert!(matches!(error, Error::Shredded { version: 1, .. }) && !error.is_retryable(), "{error}");
        assert_eq!(error.next_readable(), Some(Offset(last + 1)));
        assert!(error.to_string().contains("was destroyed at 1970-01-01"), "{error}");
    }
    assert_numbered(&read_all(&log, shard(1, 0), Offset(20), ALL).await, 20..30);
    assert_numbered(&read_all(&log, shard(2, 0), Offset::ZERO, ALL).await, 0..10);
    let verified = log.verify(|_| {}).await.expect("verify");
    assert_eq!((verified.fault_count, verified.unauthenticated), (0, 2), "they are as they were written");
    assert_eq!(log.stats().corrupt_blocks, 0);
}

#[tokio::test]
async fn an_encrypted_block_that_rots_is_corrupt_and_costs_itself_alone() {
    let files = folder();
    let ring = ring(&[1]);
    ring.seal_with(StreamId(1), Some(KeyVersion(1)));
    let log = open_with(files.path(), &ring);
    for first in [0, 10, 20] {
        put(&log, shard(1, 0), numbered(first, 10)).await;
    }
    log.close().await.expect("close");
    drop(log);
    // The second block, by its header: count 10 from offset 10.
    let mut needle = vec![1, 0, 1, 0, 10, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0];
    let blobs = files_ending(files.path(), "blob");
    let bytes = blobs.iter().map(|path| std::fs::read(path).expect("a blob file")).collect::<Vec<_>>();
    if !bytes.iter().any(|bytes| bytes.windows(16).any(|window| window == needle)) {
        needle[1] = 1;
    }
    let (path, at) = blobs
        .iter()
        .zip(&bytes)
        .find_map(|(path, bytes)| Some((path, bytes.windows(16).position(|window| window == needle)?)))
        .expect("the block lies in a blob file");
    let mut rotten = std::fs::read(path).expect("a blob file");
    rotten[at + 60] ^= 1;
    std::fs::write(path, rotten).expect("write");

    let log = open_with(files.path(), &ring);
    let error = log.read(shard(1, 0), Offset(10), ALL).await.expect_err("the block is rotten");
    assert!(matches!(error, Error::Corrupt { last_offset: Offset(19), .. }), "{error}");
    assert_numbered(&log.read(shard(1, 0), Offset(0), ALL).await.expect("whole"), 0..10);
    assert_numbered(&read_all(&log, shard(1, 0), Offset(20), ALL).await, 20..30);
}
