//! Encryption by choice: what is stored where, what a rotation destroys, and what a failed commit leaves.

use std::time::Duration;

use millrace_storage::encryption::{KeyStore, MasterKeys, parse_local_keys};
use millrace_storage::log::{Offset, ShardId};
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::data_key::scan_stream;
use millrace_storage::meta::keys::stream::StreamKey;

use super::*;
use crate::error::Kind;

const MASTER: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Streams with a master key, on the stores of a world whose clock tells the present.
async fn with_master(world: &World) -> (Streams, Arc<KeyStore>) {
    world.set_now(Timestamp::now());
    let masters = MasterKeys::new(parse_local_keys("the test", MASTER).unwrap());
    let store = Arc::new(KeyStore::open(Arc::clone(&world.meta), masters).await.unwrap());
    let log = Arc::clone(&world.log) as Arc<dyn Log>;
    let (meta, keys) = (Arc::clone(&world.meta), Arc::clone(&store));
    let streams = Streams::open_with_keys(log, meta, keys, world.settings.clone(), &Metrics::new()).await.unwrap();
    (streams, store)
}

fn encryption(on: bool) -> StreamOptions {
    StreamOptions { encryption: Some(on), ..StreamOptions::default() }
}

async fn versions(world: &World, stream: &StreamState) -> Vec<u32> {
    let found = scan_stream(&*world.meta, stream.id().0).await.unwrap();
    found.into_iter().map(|(key, _)| key.version).collect()
}

#[tokio::test]
async fn a_rotation_destroys_the_keys_that_no_record_needs() {
    let world = World::new().await;
    let (streams, _) = with_master(&world).await;
    let stream = streams.create(&name("s"), &encryption(true)).await.unwrap();
    streams.put(&name("s"), vec![record("a", "first")]).await.unwrap();
    streams.rotate_key(&name("s")).await.unwrap();
    let later = Timestamp(Timestamp::now().0 + 3_600_000);
    world.set_now(later);
    streams.put(&name("s"), vec![record("a", "second")]).await.unwrap();
    streams.rotate_key(&name("s")).await.unwrap();
    assert_eq!(versions(&world, &stream).await, [1, 2, 3], "both records need their key");
    world.set_now(Timestamp(later.0 + 3_600_000));
    streams.put(&name("s"), vec![record("a", "third")]).await.unwrap();

    let shard = stream.topology().shards()[0].key();
    world.log.trim(shard, Offset(1)).await.unwrap();
    streams.rotate_key(&name("s")).await.unwrap();
    assert_eq!(versions(&world, &stream).await, [2, 3, 4], "the first record is trimmed");
    world.log.trim(shard, Offset(2)).await.unwrap();
    streams.rotate_key(&name("s")).await.unwrap();
    assert_eq!(versions(&world, &stream).await, [3, 4, 5]);
    // With nothing left to read, the newest stays, and no number comes twice.
    world.log.trim(shard, Offset(3)).await.unwrap();
    streams.update(&name("s"), &encryption(false)).await.unwrap();
    streams.update(&name("s"), &encryption(true)).await.unwrap();
    streams.rotate_key(&name("s")).await.unwrap();
    assert_eq!(versions(&world, &stream).await, [6, 7]);
}

#[tokio::test]
async fn a_switch_is_found_again_after_a_restart_and_other_changes_leave_it() {
    let world = World::new().await;
    let (streams, store) = with_master(&world).await;
    let stream = streams.create(&name("s"), &StreamOptions::default()).await.unwrap();
    assert_eq!((stream.spec().encryption, streams.key_version(&stream)), (false, None));
    streams.update(&name("s"), &encryption(true)).await.unwrap();
    let longer = StreamOptions { retention: Some(Duration::from_secs(72 * 3600)), ..StreamOptions::default() };
    streams.update(&name("s"), &longer).await.unwrap();
    streams.split_shard(&name("s"), ShardId(0), None).await.unwrap();
    assert_eq!(store.keyring().sealing_version(stream.id()).map(|version| version.0), Some(1));
    let (streams, _) = with_master(&world).await;
    let stream = streams.get(&name("s")).unwrap();
    assert_eq!((stream.spec().encryption, streams.key_version(&stream)), (true, Some(1)));
    streams.update(&name("s"), &encryption(false)).await.unwrap();
    let (streams, _) = with_master(&world).await;
    let stream = streams.get(&name("s")).unwrap();
    assert_eq!((stream.spec().encryption, streams.key_version(&stream)), (false, None));
    let states = streams.key_states(&stream).await.unwrap();
    assert!(states.len() == 1 && states[0].replaced_at.is_some() && states[0].unusable.is_none(), "{states:?}");
}

#[tokio::test]
async fn a_deletion_takes_the_keys_and_one_that_was_cut_off_does_at_the_next_start() {
    let world = World::new().await;
    let (streams, store) = with_master(&world).await;
    let first = streams.create(&name("a"), &encryption(true)).await.unwrap();
    let second = streams.create(&name("b"), &encryption(true)).await.unwrap();
    streams.delete(&name("a")).await.unwrap();
    assert_eq!(versions(&world, &first).await, [] as [u32; 0]);
    assert_eq!(store.keyring().sealing_version(first.id()), None);
    // The mark is all that a crash left of the second deletion.
    let key = StreamKey { name: "b".to_owned() };
    let mut value = keys::get(&*world.meta, &key).await.unwrap().unwrap().value;
    value.deleting = true;
    world.meta.commit(Vec::new(), vec![keys::put(&key, &value)]).await.unwrap();
    let (streams, store) = with_master(&world).await;
    assert!(streams.get(&name("b")).is_err());
    assert_eq!(versions(&world, &second).await, [] as [u32; 0]);
    assert_eq!(store.keyring().sealing_version(second.id()), None);
}

#[tokio::test]
async fn without_a_master_key_nothing_is_made() {
    let world = World::new().await;
    let refused = world.streams.create(&name("s"), &encryption(true)).await.unwrap_err();
    assert_eq!(*refused.kind(), Kind::FailedPrecondition);
    assert!(refused.to_string().contains("master_key_file"), "{refused}");
    world.create("s", 1).await;
    assert!(world.streams.update(&name("s"), &encryption(true)).await.is_err());
    assert!(!world.streams.get(&name("s")).unwrap().spec().encryption);
}

#[tokio::test]
async fn a_shredded_stream_stays_and_its_new_records_have_a_new_key() {
    let world = World::new().await;
    let (streams, _) = with_master(&world).await;
    let stream = streams.create(&name("s"), &encryption(true)).await.unwrap();
    streams.put(&name("s"), vec![record("a", "first")]).await.unwrap();
    streams.rotate_key(&name("s")).await.unwrap();
    streams.put(&name("s"), vec![record("a", "second")]).await.unwrap();
    streams.shred(&name("s")).await.unwrap();
    let check = async |streams: &Streams| {
        let states = streams.key_states(&stream).await.unwrap();
        let usable: Vec<_> = states.iter().map(|key| (key.version.0, key.unusable.is_none())).collect();
        assert_eq!(usable, [(1, false), (2, false), (3, true)]);
        assert_eq!(streams.key_version(&stream), Some(3));
        for (_, stored) in scan_stream(&*world.meta, stream.id().0).await.unwrap().into_iter().take(2) {
            assert!(stored.value.wrapped.is_empty(), "nothing of the key is left");
        }
    };
    check(&streams).await;
    streams.put(&name("s"), vec![record("a", "third")]).await.unwrap();
    let (streams, store) = with_master(&world).await;
    check(&streams).await;
    assert_eq!(store.keyring().locked_count(), 0);
    assert_eq!(*streams.shred(&name("none")).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_stream_without_keys_is_not_shredded_and_one_whose_encryption_is_off_gets_no_new_key() {
    let world = World::new().await;
    let (streams, _) = with_master(&world).await;
    let stream = streams.create(&name("s"), &encryption(false)).await.unwrap();
    let refused = streams.shred(&name("s")).await.unwrap_err();
    assert_eq!(*refused.kind(), Kind::FailedPrecondition);
    assert!(refused.to_string().contains("no data key"), "{refused}");
    streams.update(&name("s"), &encryption(true)).await.unwrap();
    streams.put(&name("s"), vec![record("a", "hidden")]).await.unwrap();
    streams.update(&name("s"), &encryption(false)).await.unwrap();
    streams.shred(&name("s")).await.unwrap();
    assert_eq!((versions(&world, &stream).await, streams.key_version(&stream)), (vec![1], None));
    assert!(streams.put(&name("s"), vec![record("a", "clear")]).await.unwrap()[0].is_ok());
    assert!(streams.shred(&name("s")).await.is_err(), "there is nothing left to destroy");
    streams.update(&name("s"), &encryption(true)).await.unwrap();
    assert_eq!(streams.key_version(&stream), Some(2));
}

/// To destroy takes no master key; to go on does.
#[tokio::test]
async fn a_stream_is_shredded_without_its_master_key_and_takes_no_put_until_it_has_a_new_key() {
    let world = World::new().await;
    let (streams, _) = with_master(&world).await;
    let stream = streams.create(&name("s"), &encryption(true)).await.unwrap();
    let without = world.restarted().await;
    without.streams.shred(&name("s")).await.unwrap();
    let refused = without.streams.put(&name("s"), vec![record("a", "x")]).await.unwrap_err();
    assert_eq!(*refused.kind(), Kind::FailedPrecondition);
    assert!(refused.to_string().contains("rotate"), "{refused}");
    let (streams, _) = with_master(&without).await;
    assert!(streams.put(&name("s"), vec![record("a", "x")]).await.is_err());
    streams.rotate_key(&name("s")).await.unwrap();
    assert_eq!(streams.key_version(&stream), Some(2));
    assert!(streams.put(&name("s"), vec![record("a", "x")]).await.unwrap()[0].is_ok());
}

/// A creation whose commit seemed to fail is found by the next one: the stream must not then be written in the clear.
#[tokio::test]
async fn a_stream_that_another_made_is_taken_in_with_its_key() {
    let world = World::new().await;
    let (streams, _) = with_master(&world).await;
    let (other, _) = with_master(&world).await;
    other.create(&name("s"), &encryption(true)).await.unwrap();
    let again = streams.create(&name("s"), &encryption(true)).await.unwrap_err();
    assert_eq!(*again.kind(), Kind::AlreadyExists);
    let stream = streams.get(&name("s")).unwrap();
    assert_eq!((stream.spec().encryption, streams.key_version(&stream)), (true, Some(1)));
}
