//! Logs that RocksDB wrote, damaged in every way: rot is told, a torn end is not.

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rocksdb::{DB, Options, WriteBatch, WriteOptions};

use super::repair::After;
use super::*;

/// A folder as a killed process leaves it, with the logs of batches that were synced one by one.
struct Left {
    folder: tempfile::TempDir,
    framing: Framing,
}

fn options(framing: Framing) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_write_buffer_size(1 << 20);
    options.set_max_write_buffer_number(4);
    if framing == Framing::Recycled {
        options.set_recycle_log_file_num(2);
    }
    options
}

/// Writes values of these sizes, after `before` bytes that fill and recycle earlier logs.
fn left(framing: Framing, before: usize, sizes: &[usize]) -> Left {
    left_by(&options(framing), framing, before, sizes)
}

fn left_by(options: &Options, framing: Framing, before: usize, sizes: &[usize]) -> Left {
    let (written, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let db = DB::open(options, written.path()).unwrap();
    let mut random = StdRng::seed_from_u64(7);
    let mut put = |key: u64, size: usize| {
        let mut value = vec![0; size];
        random.fill_bytes(&mut value);
        let mut batch = WriteBatch::default();
        batch.put(key.to_be_bytes(), &value);
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        db.write_opt(batch, &synced).unwrap();
    };
    for key in 0..before / 50_000 {
        put(1_000_000 + key as u64, 50_000);
    }
    if before > 0 {
        db.flush().unwrap();
    }
    for (key, size) in (0..).zip(sizes) {
        put(key, *size);
    }
    for file in fs::read_dir(written.path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    Left { folder, framing }
}

impl Left {
    fn newest(&self) -> PathBuf {
        live_logs(self.folder.path()).unwrap().pop().expect("a log").1
    }

    fn check(&self) -> Option<Damage> {
        check(self.folder.path(), self.framing).unwrap()
    }

    /// The places of the newest log's records, and where the last one ends.
    fn records(&self) -> (Vec<u64>, u64) {
        let (number, path) = live_logs(self.folder.path()).unwrap().pop().expect("a log");
        let (mut places, mut end) = (Vec::new(), 0);
        let mut visit = |found: walk::Found<'_>| match found {
            walk::Found::Record { at, .. } => places.push(at),
            walk::Found::Damaged { at, .. } if end == 0 => end = at,
            _ => {}
        };
        walk::Walk::new(self.framing, number, &mut visit).run(fs::File::open(&path).unwrap()).unwrap();
        (places, if end == 0 { fs::metadata(path).unwrap().len() } else { end })
    }

    /// The keys below a million that a process finds which opens the folder.
    fn keys(&self) -> Vec<u64> {
        let db = DB::open(&options(self.framing), self.folder.path()).unwrap();
        let keys = db.iterator(rocksdb::IteratorMode::Start).map(|pair| pair.unwrap().0);
        keys.filter_map(|key| Some(u64::from_be_bytes((*key).try_into().ok()?)))
            .filter(|key| *key < 1_000_000)
            .collect()
    }
}

fn change(path: &Path, at: u64, change: impl FnOnce(&mut u8)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes[usize::try_from(at).unwrap()]);
    fs::write(path, bytes).unwrap();
}

/// Records of all kinds: many in a block, one over three blocks, one that leaves less than a header, an empty one.
const SIZES: &[usize] = &[10, 0, 200, 3000, 70_000, 20, 31_000, 1, 5, 40_000, 9, 12_000, 300, 300, 8];

#[test]
fn whole_logs_pass() {
    for framing in [Framing::Plain, Framing::Recycled] {
        for before in [0, 4_000_000] {
            let left = left(framing, before, SIZES);
            assert_eq!(left.check(), None);
            let (records, end) = left.records();
            assert!(records.len() >= SIZES.len(), "{records:?}");
            assert!(end > 150_000);
            assert_eq!(left.keys().len(), SIZES.len());
        }
    }
}

/// Each byte that belongs to a record but the last is changed in turn, in steps that meet every part of a header.
#[test]
fn rot_before_the_last_record_is_told_wherever_it_is() {
    for framing in [Framing::Plain, Framing::Recycled] {
        let left = left(framing, 3_000_000, SIZES);
        let (records, _) = left.records();
        let (path, last) = (left.newest(), *records.last().unwrap());
        let whole = fs::read(&path).unwrap();
        let headers = records.iter().flat_map(|at| *at..*at + 30).filter(|at| *at < last);
        let blocks = (0..last).step_by(32 << 10).flat_map(|at| at.saturating_sub(12)..at + 12).filter(|at| *at < last);
        let spread = (0..last).step_by(997);
        let mut random = StdRng::seed_from_u64(9);
        for at in headers.chain(blocks).chain(spread) {
            let by = random.random_range(1..=255);
            change(&path, at, |byte| *byte ^= by);
            let damage = left.check().unwrap_or_else(|| panic!("{framing:?}: byte {at} by {by} is not told"));
            assert_eq!(damage.file, path);
            assert!(damage.at <= at && at < damage.at + (33 << 10), "byte {at} was changed, {damage:?} is told");
            fs::write(&path, &whole).unwrap();
        }
        assert_eq!(left.check(), None);
    }
}

/// A torn write leaves any part of the last record, at any size of the disk's pages, over what the file held before.
#[test]
fn a_torn_last_record_passes_however_it_is_torn() {
    for framing in [Framing::Plain, Framing::Recycled] {
        for size in [5, 500, 31_000, 100_000] {
            let sizes = [SIZES, &[size]].concat();
            let left = left(framing, 3_000_000, &sizes);
            let (records, end) = left.records();
            let (path, last) = (left.newest(), *records.last().unwrap());
            let whole = fs::read(&path).unwrap();
            let (from, to) = (usize::try_from(last).unwrap(), usize::try_from(end).unwrap());
            for cut in (from..to).step_by((to - from).div_ceil(60)) {
                fs::write(&path, &whole[..cut]).unwrap();
                assert_eq!(left.check(), None, "{framing:?}: cut at {cut} of {from}..{to}");
            }
            let mut random = StdRng::seed_from_u64(size as u64);
            for round in 0..60 {
                let mut torn = whole.clone();
                for page in (from / 512 * 512..to).step_by(512) {
                    if random.random_bool(0.5) {
                        let page = page.max(from)..(page + 512).min(to);
                        // What the file held: zeros, or what nobody knows any more.
                        let old = if round % 2 == 0 { 0 } else { random.random() };
                        torn[page].fill(old);
                    }
                }
                fs::write(&path, &torn).unwrap();
                assert_eq!(left.check(), None, "{framing:?}: round {round} of {size}");
            }
            fs::write(&path, &whole[..from]).unwrap();
            assert_eq!(left.keys().len(), SIZES.len());
        }
    }
}

/// A user's record may hold the bytes of a log, as of one that was copied into a stream.
#[test]
fn a_record_that_holds_a_log_does_not_make_a_torn_end_look_rotten() {
    let left = left(Framing::Recycled, 0, &[100, 60_000]);
    let (number, path) = live_logs(left.folder.path()).unwrap().pop().unwrap();
    let (records, end) = left.records();
    let last = usize::try_from(*records.last().unwrap()).unwrap();
    let mut log = fs::read(&path).unwrap();
    log.truncate(usize::try_from(end).unwrap());
    let mut inner = Vec::new();
    Framing::Recycled.append(&mut inner, &[1; 40], number);
    log[last + 100..last + 100 + inner.len()].copy_from_slice(&inner);
    fs::write(&path, log).unwrap();
    assert_eq!(left.check(), None, "its sequence is not one that could follow");
}

#[test]
fn a_log_that_is_missing_between_two_is_told() {
    let mut options = options(Framing::Recycled);
    options.set_max_write_buffer_number(10);
    options.set_min_write_buffer_number_to_merge(9);
    let left = left_by(&options, Framing::Recycled, 0, &[400_000; 10]);
    let logs = live_logs(left.folder.path()).unwrap();
    assert!(logs.len() >= 3, "{logs:?}");
    fs::remove_file(&logs[1].1).unwrap();
    let damage = left.check().expect("a gap");
    assert!(damage.file == logs[0].1 || damage.file == logs[2].1, "{damage:?}");
}

#[test]
fn rot_in_a_log_that_is_not_replayed_any_more_is_nothing() {
    let left = left(Framing::Recycled, 4_000_000, SIZES);
    let live = live_logs(left.folder.path()).unwrap();
    let all = fs::read_dir(left.folder.path()).unwrap().map(|file| file.unwrap().path());
    let old: Vec<_> = all
        .filter(|path| path.extension().is_some_and(|end| end == "log") && live.iter().all(|(_, live)| live != path))
        .collect();
    assert!(!old.is_empty(), "a log waits to be recycled");
    for path in old {
        change(&path, 5000, |byte| *byte ^= 1);
    }
    assert_eq!(left.check(), None);
}

#[test]
fn a_repair_keeps_every_record_but_the_damaged_one() {
    for framing in [Framing::Plain, Framing::Recycled] {
        let left = left(framing, 3_000_000, SIZES);
        let (records, _) = left.records();
        let at = |back: usize| records[records.len() - back] + 40;
        // The seventh and the second to last.
        for at in [at(9), at(2)] {
            change(&left.newest(), at, |byte| *byte ^= 0x55);
        }
        let plan = repair::plan(left.folder.path(), framing, After::Keep).unwrap();
        assert_eq!((plan.damages.len(), plan.records_lost, plan.suspects.len()), (2, 2, 2), "{:?}", plan.damages);
        let path = left.newest();
        let damaged = fs::read(&path).unwrap();
        let aside = left.folder.path().join("aside");
        plan.apply(&aside).unwrap();
        assert_eq!(fs::read(aside.join(path.file_name().unwrap())).unwrap(), damaged);
        assert_eq!(left.check(), None);
        let expected: Vec<u64> = (0..15).filter(|key| *key != 6 && *key != 13).collect();
        assert_eq!(left.keys(), expected);
    }
}

#[test]
fn a_repair_to_one_point_in_time_drops_what_follows() {
    let left = left(Framing::Plain, 0, SIZES);
    let (records, _) = left.records();
    change(&left.newest(), records[records.len() - 9] + 40, |byte| *byte ^= 0x55);
    let plan = repair::plan(left.folder.path(), Framing::Plain, After::Drop).unwrap();
    assert_eq!(plan.records_lost, 9);
    plan.apply(&left.folder.path().join("aside")).unwrap();
    assert_eq!(left.check(), None);
    assert_eq!(left.keys(), (0..6).collect::<Vec<u64>>());
}
