//! Rot on the disk of a log whose process was killed: acknowledged records are there, or the open or a read says that they are
//! not. Checking, repairing and copying a log.

use std::collections::BTreeMap;
use std::fs;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::log::Append;
use crate::wal::{Framing, check};

/// The name of an append that was first sent just now.
fn named(producer: u32, sequence: u64) -> ProducerSequence {
    ProducerSequence { producer: producer.into(), sequence, age: Duration::ZERO }
}

/// The folder of a log as a kill leaves it in a quiet moment, with appends to three shards in its write-ahead log.
async fn killed() -> tempfile::TempDir {
    let (files, left) = (folder(), folder());
    let log = open(files.path());
    for round in 0..12u64 {
        for number in 0..3 {
            let records = if round % 4 == 3 { vec![random(40_000)] } else { numbered(round * 10, 10) };
            let producer = Some(named(number, round));
            let append = Append { records, producer, expected_next: None };
            log.append(shard(1, number), append).await.expect("append").durable().await.expect("durable");
        }
    }
    log.trim(shard(1, 2), Offset(20)).await.expect("trim");
    let wal = files_ending(files.path(), "log").pop().expect("a write-ahead log");
    let written = fs::metadata(&wal).expect("its size").len();
    wait_until("the log is sealed", || fs::metadata(&wal).is_ok_and(|file| file.len() > written)).await;
    copy(files.path(), left.path());
    left
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for file in fs::read_dir(from).expect("files") {
        let file = file.expect("a file");
        fs::copy(file.path(), to.join(file.file_name())).expect("copy");
    }
}

fn contents(log: &RocksLog) -> BTreeMap<u32, Range<Offset>> {
    (0..3).map(|number| (number, log.offsets(shard(1, number)))).collect()
}

#[tokio::test]
async fn a_byte_that_rots_in_the_write_ahead_log_never_hides_acknowledged_records() {
    let left = killed().await;
    let wal = files_ending(left.path(), "log").pop().expect("a write-ahead log");
    let whole = fs::read(&wal).expect("read");
    let expected = {
        let opened = folder();
        copy(left.path(), opened.path());
        contents(&open(opened.path()))
    };
    let mut random = StdRng::seed_from_u64(5);
    let (mut refused, mut harmless) = (0, 0);
    for _ in 0..80 {
        let mut rotten = whole.clone();
        let at = random.random_range(0..rotten.len());
        rotten[at] ^= random.random_range(1..=255u8);
        let opened = folder();
        copy(left.path(), opened.path());
        fs::write(opened.path().join(wal.file_name().expect("a name")), rotten).expect("write");
        match RocksLog::open(LogSettings::new(opened.path())) {
            Err(Error::Damaged { file, at: told, .. }) => {
                assert!(file.ends_with(wal.file_name().expect("a name").to_str().expect("text")), "{file}");
                assert!(told <= at as u64, "byte {at} rotted, {told} is told");
                refused += 1;
            }
            Err(error) => panic!("byte {at}: {error}"),
            // The record that seals the log holds nothing, and zeros at a block's end hold nothing.
            Ok(log) => {
                assert_eq!(contents(&log), expected, "byte {at}");
                harmless += 1;
            }
        }
    }
    assert!(refused > 70, "{refused} refused, {harmless} harmless");
}

#[tokio::test]
async fn a_torn_end_of_the_write_ahead_log_opens() {
    let left = killed().await;
    let wal = files_ending(left.path(), "log").pop().expect("a write-ahead log");
    let whole = fs::read(&wal).expect("read");
    for cut in [1, 10, 23, 24, 200, 5000, 41_000, 100_000] {
        let opened = folder();
        copy(left.path(), opened.path());
        let rest = &whole[..whole.len() - cut];
        fs::write(opened.path().join(wal.file_name().expect("a name")), rest).expect("write");
        let log = open(opened.path());
        for number in 0..2 {
            let end = log.offsets(shard(1, number)).end;
            assert_eq!(read_all(&log, shard(1, number), Offset::ZERO, ALL).await.len() as u64, end.0);
        }
    }
}

#[tokio::test]
async fn a_repair_loses_the_rotten_block_alone_and_never_gives_its_offsets_again() {
    let left = killed().await;
    let settings = LogSettings::new(left.path());
    let wal = files_ending(left.path(), "log").pop().expect("a write-ahead log");
    let mut bytes = fs::read(&wal).expect("read");
    let expected = {
        let opened = folder();
        copy(left.path(), opened.path());
        contents(&open(opened.path()))
    };
    // The payload of a record of shard 0 that was numbered.
    let needle = b"event 80";
    let at = bytes.windows(needle.len()).position(|window| window == needle).expect("the record is in the clear");
    bytes[at] ^= 0x20;
    fs::write(&wal, bytes).expect("write");
    assert!(matches!(RocksLog::open(settings.clone()), Err(Error::Damaged { .. })));

    let dry = repair(&settings, None).expect("a dry run");
    assert!(matches!(RocksLog::open(settings.clone()), Err(Error::Damaged { .. })), "a dry run changes nothing");
    let aside = folder();
    let done = repair(&settings, Some(aside.path())).expect("a repair");
    assert_eq!(dry, done);
    assert_eq!((done.damages.len(), done.groups, done.groups_unknown), (1, 1, 0), "{done:?}");
    assert_eq!(done.blocks_lost.len(), 1, "{done:?}");
    assert!(files_ending(aside.path(), "log").len() == 1, "the damaged file is kept");

    let log = open(left.path());
    assert_eq!(contents(&log), expected);
    let lost = done.blocks_lost[0].clone();
    let error = log.read(lost.shard, lost.offsets.start, ALL).await.expect_err("it is lost");
    assert_eq!(error.next_readable(), Some(lost.offsets.end), "{error}");
    let verified = log.verify(|_| {}).await.expect("verify");
    assert_eq!((verified.fault_count, verified.faults.len()), (1, 1), "{verified:?}");
    assert_eq!((verified.faults[0].shard, verified.faults[0].offsets.clone()), (lost.shard, lost.offsets.clone()));
    let after = log.read(lost.shard, lost.offsets.end, ALL).await.expect("what follows is readable");
    assert_eq!(after.first().map(|record| record.offset), Some(lost.offsets.end));
    assert_eq!(check(left.path(), Framing::Recycled).expect("check"), None);
    // What the damaged group knew of producers is lost: what is sent again is refused, and not stored twice.
    let again = ProducerSequence { age: Duration::from_secs(1), ..named(0, 8) };
    let refused = log.stored(shard(1, 0), again, 10).expect_err("it may have been stored");
    assert!(matches!(refused, Error::SequenceTooOld { .. }), "{refused}");
    assert_eq!(log.stored(shard(1, 0), named(0, 100), 10).expect("a first try"), None);
}

/// A window of a producer has a key of the length of a block's, and with two sequences often the length of an index entry.
#[tokio::test]
async fn a_repair_takes_no_producer_for_a_block() {
    let (files, ended) = (folder(), folder());
    let log = open(files.path());
    put(&log, shard(1, 0), numbered(0, 1000)).await;
    for number in 1000..1020 {
        let producer = Some(named(u32::MAX - (number / 2) as u32, number % 2));
        let append = Append { producer, ..numbered(number, 1).into() };
        log.append(shard(1, 0), append).await.expect("append").durable().await.expect("durable");
    }
    let wal = files_ending(files.path(), "log").pop().expect("a write-ahead log");
    let written = fs::metadata(&wal).expect("its size").len();
    wait_until("the log is sealed", || fs::metadata(&wal).is_ok_and(|file| file.len() > written)).await;
    copy(files.path(), ended.path());
    let whole = fs::read(&wal).expect("read");
    for number in (1001..1020).step_by(2) {
        let needle = format!("event {number}");
        let at = whole.windows(needle.len()).position(|window| window == needle.as_bytes()).expect("the record");
        let rotten = folder();
        copy(ended.path(), rotten.path());
        let mut bytes = whole.clone();
        bytes[at] ^= 0x20;
        fs::write(rotten.path().join(wal.file_name().expect("a name")), bytes).expect("write");
        let aside = folder();
        let done = repair(&LogSettings::new(rotten.path()), Some(aside.path())).expect("a repair");
        assert_eq!(done.blocks_lost.len(), 1, "{done:?}");
        assert_eq!(open(rotten.path()).offsets(shard(1, 0)), range(0, 1020), "event {number}");
    }
}

#[tokio::test]
async fn a_verification_names_each_rotten_block_and_counts_the_others() {
    let files = folder();
    let log = open(files.path());
    let written = put_blocks(&log).await;
    log.trim(shard(1, 0), Offset(5)).await.expect("trim");
    let whole = log.verify(|_| {}).await.expect("verify");
    assert_eq!((whole.shards, whole.blocks, whole.records, whole.fault_count), (2, 10, 55, 0), "{whole:?}");
    log.close().await.expect("close");
    faults::flip(files.path(), &written[25].data);
    let log = open(files.path());
    let verified = log.verify(|_| {}).await.expect("verify");
    assert_eq!(verified.blocks, 10);
    let told: Vec<_> = verified.faults.iter().map(|fault| (fault.shard, fault.offsets.clone())).collect();
    assert_eq!(told, [(shard(1, 0), range(20, 30))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_beside_appends_holds_all_that_was_acknowledged_before_it() {
    let (files, copies) = (folder(), folder());
    let log = Arc::new(open(files.path()));
    let writer = tokio::spawn({
        let log = Arc::clone(&log);
        async move {
            for number in 0..400 {
                put(&*log, shard(1, 0), vec![random(3000 + number)]).await;
            }
        }
    });
    let mut copied = Vec::new();
    while !writer.is_finished() {
        let before = log.offsets(shard(1, 0)).end;
        let path = copies.path().join(copied.len().to_string());
        log.checkpoint(path.clone()).await.expect("checkpoint");
        copied.push((path, before, log.offsets(shard(1, 0)).end));
    }
    writer.await.expect("the writer");
    assert!(!copied.is_empty());
    for (path, before, after) in copied {
        let copy = open(&path);
        let end = copy.offsets(shard(1, 0)).end;
        assert!(before <= end && end <= after, "{before} {end} {after}");
        assert_eq!(copy.verify(|_| {}).await.expect("verify").fault_count, 0);
        assert_eq!(put(&copy, shard(1, 0), numbered(0, 1)).await.offsets.start, end);
    }
    assert_eq!(log.offsets(shard(1, 0)).end, Offset(400));
}
