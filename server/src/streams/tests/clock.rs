//! The system's clock is set back an hour: records keep their order in time, positions by time find them, and nothing is
//! trimmed before its time.

use millrace_storage::log::{Offset, ReadLimit, ShardId};

use super::*;
use crate::streams::Position;

const HOUR_MS: i64 = 3_600_000;
const ALL: ReadLimit = ReadLimit { records_max: 0, bytes_max: 0 };

fn hours(hours: i64) -> Timestamp {
    Timestamp(NOON.as_millis() + hours * HOUR_MS)
}

/// A record at one, then one after the clock was set back to noon, and one when it is one again.
async fn set_back() -> World {
    let world = World::new().await;
    world.create("s", 1).await;
    for (hour, data) in [(1, "before"), (0, "set back"), (1, "again")] {
        world.set_now(hours(hour));
        assert!(world.streams.put(&name("s"), vec![record("k", data)]).await.unwrap()[0].is_ok());
    }
    world
}

async fn offsets_from(world: &World, position: Position) -> Vec<u64> {
    let read = world.streams.get_records(&name("s"), ShardId(0), position, ALL).await.unwrap();
    read.records.iter().map(|record| record.offset.0).collect()
}

#[tokio::test]
async fn arrival_times_stand_still_until_the_clock_has_caught_up() {
    let world = set_back().await;
    let read = world.streams.get_records(&name("s"), ShardId(0), Position::TrimHorizon, ALL).await.unwrap();
    let times: Vec<_> = read.records.iter().map(|record| record.arrival_time).collect();
    assert_eq!(times, [hours(1); 3]);
    assert_eq!(offsets_from(&world, Position::Time(hours(0))).await, [0, 1, 2]);
    assert_eq!(offsets_from(&world, Position::Time(hours(1))).await, [0, 1, 2]);
    assert_eq!(offsets_from(&world, Position::Time(Timestamp(hours(1).0 + 1))).await, [] as [u64; 0]);
    world.set_now(hours(2));
    world.streams.put(&name("s"), vec![record("k", "later")]).await.unwrap();
    assert_eq!(offsets_from(&world, Position::Time(hours(2))).await, [3]);
}

#[tokio::test]
async fn retention_goes_by_the_times_that_records_have() {
    let world = set_back().await;
    let key = world.streams.get(&name("s")).unwrap().topology().shards()[0].key();
    for (now, start) in [(hours(-1), 0), (hours(25), 0), (Timestamp(hours(25).0 + 1), 3), (hours(0), 3)] {
        world.streams.retain(now).await.unwrap();
        assert_eq!(world.log.offsets(key), Offset(start)..Offset(3), "at {now}");
    }
}
