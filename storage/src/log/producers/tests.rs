use super::super::ShardId;
use super::*;

const SHARD: ShardKey = ShardKey { stream: StreamId(1), shard: ShardId(0) };
const MINUTE: i64 = 60_000;

fn limits(producers_max: usize) -> ProducerLimits {
    ProducerLimits { producers_max, sequences_max: 4, idle_max: Duration::from_secs(3600) }
}

fn of(producer: u64, sequence: u64, age_ms: u64) -> ProducerSequence {
    ProducerSequence { producer, sequence, age: Duration::from_millis(age_ms) }
}

/// Appends one record unless it was stored; tells whether it was stored now.
fn append(producers: &mut Producers, of: ProducerSequence, now: i64) -> Result<bool> {
    producers.set_now(Timestamp(now));
    let found = producers.find(SHARD, of, 1)?;
    if found.is_none() {
        producers.record(SHARD, of, Offset(of.sequence), 1, Timestamp(now));
    } else {
        producers.touch((SHARD, of.producer));
    }
    producers.evict();
    Ok(found.is_none())
}

fn is_too_old<T>(result: Result<T>) -> bool {
    matches!(result, Err(Error::SequenceTooOld { .. }))
}

#[test]
fn a_sequence_is_known_in_its_window_and_refused_below_it() {
    let mut producers = Producers::new(limits(10));
    for sequence in [1, 0, 3, 2, 5] {
        assert!(append(&mut producers, of(7, sequence, 0), 1).expect("new"));
    }
    assert!(is_too_old(append(&mut producers, of(7, 0, 0), 1)), "one past the window");
    for sequence in [1, 2, 3, 5] {
        assert!(!append(&mut producers, of(7, sequence, 0), 1).expect("known"));
    }
    assert!(append(&mut producers, of(7, 4, 0), 1).expect("never stored, within the window"));
    assert!(is_too_old(append(&mut producers, of(7, 1, 0), 1)));
    assert!(append(&mut producers, of(8, 1, 0), 1).expect("another producer's"));
    assert_eq!(
        producers.find(SHARD, of(7, 2, 0), 1).expect("known").map(|found| found.offsets),
        Some(Offset(2)..Offset(3))
    );
    let reused = producers.find(SHARD, of(7, 2, 0), 2).expect_err("another number of records");
    assert!(matches!(reused, Error::SequenceReused { stored: 1, given: 2, .. }), "{reused}");
}

#[test]
fn the_producer_that_was_not_used_for_longest_is_forgotten_and_never_stored_twice() {
    let mut producers = Producers::new(limits(2));
    let now = 100 * MINUTE;
    assert!(append(&mut producers, of(1, 0, 0), now).expect("new"));
    assert!(append(&mut producers, of(2, 0, 0), now).expect("new"));
    // The first is used again, so the second goes.
    assert!(!append(&mut producers, of(1, 0, 5), now).expect("known"));
    drop(producers.take_changes());
    assert!(append(&mut producers, of(3, 0, 0), now + 5).expect("new"));
    assert_eq!(producers.len(), 2);
    let changes = producers.take_changes();
    assert_eq!(changes.gone, [(SHARD, 2)]);
    assert_eq!(changes.forgotten_until, Some(Timestamp(now)));
    assert_eq!(changes.windows.len(), 1);

    let later = now + 10 * MINUTE;
    // Sent before the second was forgotten: it may have been stored. So it is, but that is not known any more.
    assert!(is_too_old(append(&mut producers, of(2, 0, 10 * MINUTE.unsigned_abs()), later)));
    // Sent after that: it cannot have been stored and forgotten.
    assert!(append(&mut producers, of(2, 1, 2 * MINUTE.unsigned_abs()), later).expect("new"));
    // It is known again, and what came before still is not.
    assert!(is_too_old(append(&mut producers, of(2, 0, 10 * MINUTE.unsigned_abs()), later)));
}

#[test]
fn an_idle_producer_is_forgotten_in_time() {
    let mut producers = Producers::new(limits(10));
    assert!(append(&mut producers, of(1, 0, 0), 0).expect("new"));
    assert!(append(&mut producers, of(2, 0, 0), 60 * MINUTE).expect("new"));
    assert_eq!(producers.len(), 2, "an hour is the limit");
    assert!(append(&mut producers, of(2, 1, 0), 60 * MINUTE + 1).expect("new"));
    assert_eq!(producers.len(), 1);
    // A clock that is set back forgets nothing.
    assert!(append(&mut producers, of(2, 2, 0), 0).expect("new"));
    assert_eq!(producers.len(), 1);
    assert!(is_too_old(append(&mut producers, of(1, 0, 61 * MINUTE.unsigned_abs()), 0)));
}

#[test]
fn what_was_written_is_known_after_recovery() {
    let mut before = Producers::new(limits(2));
    let mut disk = HashMap::new();
    let mut forgotten_until = None;
    for producer in 1..=3 {
        for sequence in 0..3 {
            assert!(append(&mut before, of(producer, sequence, 0), producer.cast_signed() * MINUTE).expect("new"));
        }
        let changes = before.take_changes();
        disk.extend(changes.windows);
        for gone in changes.gone {
            disk.remove(&gone);
        }
        forgotten_until = forgotten_until.max(changes.forgotten_until);
    }
    let windows = disk.into_iter().map(|(key, bytes)| (key, Window::decode(&bytes).expect("a window"))).collect();
    let mut after = Producers::new(limits(2));
    after.recover(windows, forgotten_until, Timestamp(4 * MINUTE));
    assert_eq!(after.len(), 2);
    for producer in 2..=3 {
        assert!(!append(&mut after, of(producer, 2, 1), 4 * MINUTE).expect("known"));
    }
    assert!(is_too_old(append(&mut after, of(1, 2, 3 * MINUTE.unsigned_abs()), 4 * MINUTE)));
    after.remove_stream(StreamId(1));
    assert_eq!(after.len(), 0);
    assert_eq!(after.evict(), 0);
    assert!(after.take_changes().windows.is_empty());
}

#[test]
fn a_hundred_thousand_producers_stay_within_their_bound() {
    let mut producers = Producers::new(ProducerLimits::default());
    let mut bytes = 0;
    for producer in 0..100_001 {
        assert!(append(&mut producers, of(producer, 0, 0), MINUTE).expect("new"));
        let changes = producers.take_changes();
        bytes += changes.windows.iter().map(|(_, window)| window.len()).sum::<usize>();
    }
    assert_eq!(producers.len(), 100_000);
    assert!(bytes < 20 * 100_001, "{bytes}");
}
