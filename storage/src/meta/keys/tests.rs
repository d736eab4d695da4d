//! Keys and values of every family: they come back as they went in, and foreign bytes are refused by name.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::batch::{BatchKey, BatchObject, BatchValue, RebuiltBatch, scan_delivery};
use super::checkpoint::{CheckpointKey, CheckpointValue};
use super::data_key::{DataKeyKey, DataKeyValue};
use super::delivery::{DeliveryKey, DeliveryState, DeliveryValue};
use super::group::{
    GroupCheckpointKey, GroupCheckpointValue, GroupIdKey, GroupIdValue, GroupKey, GroupStart, GroupValue,
    scan_checkpoints,
};
use super::intent::{IntentKey, IntentModule, IntentValue, ReplayedObject};
use super::principal::{AccessKeyValue, GrantValue, PrincipalKey, PrincipalValue, QuotaValue};
use super::purge::{PurgeKey, PurgeValue};
use super::rebuild::{RebuildKey, RebuildState, RebuildValue};
use super::shard::{ClosedValue, ShardMetaKey, ShardValue, scan_stream};
use super::stream::{StreamIdKey, StreamIdValue, StreamKey, StreamValue};
use super::table::{TableKey, TableValue};
use super::*;
use crate::log::{Offset, ShardId, ShardKey, StreamId};
use crate::meta::memory::MemoryMeta;

fn check_key<K: Key>(key: &K) {
    let encoded = key.encode();
    assert!(encoded.starts_with(K::FAMILY.as_bytes()));
    assert_eq!(K::decode(&encoded).as_ref(), Some(key));
}

proptest! {
    #[test]
    fn keys_come_back(name in ".{0,40}", other in ".{0,40}", batch: u64, stream: u32, shard: u32) {
        check_key(&shard_key(stream, shard));
        check_key(&StreamKey { name: name.clone() });
        check_key(&DeliveryKey { name: name.clone() });
        check_key(&CheckpointKey { delivery: name.clone() });
        check_key(&IntentKey { delivery: name.clone() });
        check_key(&RebuildKey { delivery: name.clone() });
        check_key(&BatchKey { delivery: name.clone(), batch });
        check_key(&TableKey { namespace: name.replace('/', ""), name: other });
        check_key(&StreamIdKey);
        check_key(&DataKeyKey { stream_id: batch as u32, version: (batch >> 32) as u32 });
        check_key(&PurgeKey);
        check_key(&GroupKey { stream: batch as u32, name: name.clone() });
        check_key(&GroupIdKey);
        check_key(&PrincipalKey { name: name.clone() });
        check_key(&GroupCheckpointKey { group: batch as u32, shard: (batch >> 32) as u32 });
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        for family in ["", "batch/", "table/", "stream/", "stream-id/", "shard/", "data-key/", "purge/", "delivery/", "checkpoint/", "intent/", "rebuild/", "principal/"] {
            let key = [family.as_bytes(), &bytes].concat();
            let _ = (DataKeyKey::decode(&key), PurgeKey::decode(&key), StreamKey::decode(&key), StreamIdKey::decode(&key), DeliveryKey::decode(&key));
            let _ = (CheckpointKey::decode(&key), IntentKey::decode(&key), RebuildKey::decode(&key), TableKey::decode(&key), PrincipalKey::decode(&key));
            if let Some(decoded) = BatchKey::decode(&key) {
                prop_assert_eq!(&decoded.encode()[..], &key[..]);
            }
            if let Some(decoded) = ShardMetaKey::decode(&key) {
                prop_assert_eq!(&decoded.encode()[..], &key[..]);
            }
        }
        for family in ["group/", "group-id/", "group-checkpoint/"] {
            let key = [family.as_bytes(), &bytes].concat();
            if let Some(decoded) = GroupKey::decode(&key) {
                prop_assert_eq!(&decoded.encode()[..], &key[..]);
            }
            if let Some(decoded) = GroupCheckpointKey::decode(&key) {
                prop_assert_eq!(&decoded.encode()[..], &key[..]);
            }
            let _ = GroupIdKey::decode(&key);
        }
        let _ = decode_value::<PrincipalKey>(b"principal/x", Bytes::from(bytes.clone()));
        let _ = decode_value::<IntentKey>(b"intent/x", Bytes::from(bytes));
    }

    #[test]
    fn batches_sort_by_number(a: u64, b: u64) {
        let key = |batch| BatchKey { delivery: "d".to_owned(), batch }.encode();
        prop_assert_eq!(key(a).cmp(&key(b)), a.cmp(&b));
    }
}

fn shard_key(stream: u32, shard: u32) -> ShardMetaKey {
    ShardMetaKey { shard: ShardKey { stream: StreamId(stream), shard: ShardId(shard) } }
}

/// Numbers are fixed in width and big-endian: 0x2f, the byte of `/`, and shards past 255 change nothing.
#[tokio::test]
async fn a_scan_of_shards_takes_one_stream_only_by_number() {
    let store = MemoryMeta::new();
    let keys = [shard_key(1, 0), shard_key(0x2f, 300), shard_key(0x2f, 2), shard_key(0x2f2f_2f2f, 1)];
    store.commit(vec![], keys.iter().map(|key| put(key, &ShardValue::default())).collect()).await.unwrap();
    let found = scan_stream(&store, StreamId(0x2f)).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, [shard_key(0x2f, 2), shard_key(0x2f, 300)]);
}

#[tokio::test]
async fn values_come_back() {
    async fn check<K: Key>(key: K, value: K::Value)
    where
        K::Value: Clone + PartialEq + fmt::Debug,
    {
        let store = MemoryMeta::new();
        assert_eq!(get(&store, &key).await.unwrap(), None);
        store.commit(vec![absent(&key)], vec![put(&key, &value)]).await.unwrap();
        let stored = get(&store, &key).await.unwrap().expect("it was put");
        assert_eq!(stored.value, value);
        assert_eq!(stored.bytes[0], K::FORMAT);
        assert_eq!(scan::<K>(&store).await.unwrap(), [(key.clone(), stored.clone())]);
        store.commit(vec![unchanged(&key, &stored)], vec![delete(&key)]).await.unwrap();
        assert!(store.commit(vec![as_found(&key, Some(&stored))], vec![]).await.is_err());
        store.commit(vec![as_found(&key, None)], vec![]).await.unwrap();
    }
    let name = "flights".to_owned();
    let totals = Totals {
        records: 1,
        outputs: 2,
        rows: 3,
        set_aside: 4,
        dropped: 5,
        files: 6,
        bytes_in: 7,
        bytes_out: 8,
        lost: 9,
        replayed: 10,
    };
    let ranges =
        store_ranges(&BTreeMap::from([(ShardId(0), Offset(0)..Offset(7)), (ShardId(1), Offset(3)..Offset(3))]));
    let stream = StreamValue { id: 7, shard_count: 2, retention_ms: 3_600_000, ..StreamValue::default() };
    check(StreamKey { name: name.clone() }, stream).await;
    check(StreamIdKey, StreamIdValue { next: 8 }).await;
    let data_key = DataKeyValue {
        wrapped: vec![1; 61],
        master_key_id: name.clone(),
        created_at_ms: 5,
        replaced_at_ms: 6,
        destroyed_at_ms: 7,
    };
    check(DataKeyKey { stream_id: 7, version: 2 }, data_key).await;
    check(PurgeKey, PurgeValue {}).await;
    let shard = ShardValue {
        hash_key_start: 0_u128.to_be_bytes().to_vec(),
        hash_key_end: u128::MAX.to_be_bytes().to_vec(),
        parents: vec![0, 1],
        created_at_ms: 5,
        closed: Some(ClosedValue { at_ms: 6, end_offset: 7, children: vec![3, 4] }),
        reason: "merge of shards 0 and 1".to_owned(),
    };
    check(shard_key(7, 2), shard).await;
    let state = DeliveryState::Paused.into();
    check(DeliveryKey { name: name.clone() }, DeliveryValue { state, ..DeliveryValue::default() }).await;
    let offsets = store_offsets(&BTreeMap::from([(ShardId(0), Offset(7)), (ShardId(1), Offset(0))]));
    let checkpoint = CheckpointValue {
        next_batch: 4,
        first_offsets: BTreeMap::from([(0, 3)]),
        offsets,
        totals: Some(totals),
        last_commit_at_ms: 9,
        stream_id: 3,
        first_batch: 2,
    };
    check(CheckpointKey { delivery: name.clone() }, checkpoint).await;
    let intent = IntentValue {
        batch: 4,
        ranges: ranges.clone(),
        spec_toml: "a = 1".to_owned(),
        cut_at_ms: 5,
        table_spec_toml: "b = 2".to_owned(),
        modules: vec![IntentModule { name: name.clone(), declared: 0, version: 3 }],
        replayed: vec![ReplayedObject { batch: 3, index: 1 }],
    };
    check(IntentKey { delivery: name.clone() }, intent).await;
    let objects = vec![BatchObject { url: "file:///x".to_owned(), bytes: 10, rows: 2, taken_up_by: 7 }];
    let rebuilt = Some(RebuiltBatch { number: 2, rows: 9, set_aside_objects: objects.clone() });
    let (set_aside_objects, backup_objects) = (objects.clone(), objects.clone());
    let batch = BatchValue {
        ranges,
        objects,
        set_aside_objects,
        backup_objects,
        totals: Some(totals),
        committed_at_ms: 6,
        rebuilt,
    };
    check(BatchKey { delivery: name.clone(), batch: 4 }, batch).await;
    let rebuild = RebuildValue {
        number: 2,
        state: RebuildState::Swapped.into(),
        spec_toml: "a = 1".to_owned(),
        from_ms: Some(0),
        to_ms: None,
        begun_at_ms: 5,
        swapped_at_ms: 6,
        replaced: vec!["file:///x".to_owned()],
        modules: vec![IntentModule { name: name.clone(), declared: 0, version: 3 }],
    };
    check(RebuildKey { delivery: name.clone() }, rebuild).await;
    let table = TableValue { metadata_location: "file:///m".to_owned(), spec_toml: String::new() };
    check(TableKey { namespace: "default".to_owned(), name: name.clone() }, table).await;
    let access_key = AccessKeyValue {
        id: "AKMR".to_owned(),
        wrapped: vec![1; 61],
        master_key_id: name.clone(),
        created_at_ms: 5,
        expires_at_ms: 6,
    };
    let principal = PrincipalValue {
        created_at_ms: 5,
        disabled: true,
        keys: vec![access_key],
        grants: vec![GrantValue { actions: vec!["put".to_owned()], resource: "stream/*".to_owned() }],
        quota: Some(QuotaValue { in_bytes_per_second: 1, in_records_per_second: 2, burst_ms: 3, over_quota: 1 }),
    };
    check(PrincipalKey { name: name.clone() }, principal).await;
    let start = GroupStart::Time.into();
    check(GroupKey { stream: 7, name }, GroupValue { id: 3, created_at_ms: 5, start, start_time_ms: 4 }).await;
    check(GroupIdKey, GroupIdValue { next: 4 }).await;
    let checkpoint = GroupCheckpointValue { offset: 9, sub: 2, epoch: 3 << 32, checkpointed_at_ms: 6 };
    check(GroupCheckpointKey { group: 3, shard: 1 }, checkpoint).await;
}

#[tokio::test]
async fn a_scan_of_checkpoints_takes_one_group_only() {
    let store = MemoryMeta::new();
    let key = |group, shard| GroupCheckpointKey { group, shard };
    let keys = [key(0x2f, 300), key(0x2f, 2), key(0x2f2f, 1), key(0x2f00, 1), key(0x2e, 7)];
    store.commit(vec![], keys.iter().map(|key| put(key, &GroupCheckpointValue::default())).collect()).await.unwrap();
    let found: Vec<_> = scan_checkpoints(&store, 0x2f).await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, [key(0x2f, 2), key(0x2f, 300)]);
}

#[test]
fn ranges_and_offsets_come_back() {
    let ranges = BTreeMap::from([(ShardId(0), Offset(1)..Offset(7)), (ShardId(9), Offset(u64::MAX)..Offset(u64::MAX))]);
    assert_eq!(load_ranges(&store_ranges(&ranges)), ranges);
    let offsets = BTreeMap::from([(ShardId(3), Offset(0)), (ShardId(u32::MAX), Offset(u64::MAX))]);
    assert_eq!(load_offsets(&store_offsets(&offsets)), offsets);
}

#[tokio::test]
async fn a_scan_of_batches_takes_one_delivery_only() {
    let store = MemoryMeta::new();
    let key = |delivery: &str, batch| BatchKey { delivery: delivery.to_owned(), batch };
    let keys = [key("a", 300), key("a", 2), key("a/b", 1), key("ab", 1)];
    store.commit(vec![], keys.iter().map(|key| put(key, &BatchValue::default())).collect()).await.unwrap();
    let found: Vec<_> = scan_delivery(&store, "a").await.unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, [key("a", 2), key("a", 300)]);
}

#[tokio::test]
async fn a_value_of_another_format_is_refused_by_name() {
    let store = MemoryMeta::new();
    let key = TableKey { namespace: "default".to_owned(), name: "t".to_owned() };
    for (bytes, reason) in
        [(&b""[..], "it is empty"), (b"\x09", "its format is 9, and this build reads 1"), (b"\x01\xff", "varint")]
    {
        let value = Bytes::copy_from_slice(bytes);
        store.commit(vec![], vec![Write::Put { key: key.encode(), value }]).await.unwrap();
        let error = get(&store, &key).await.unwrap_err().to_string();
        assert!(
            error.starts_with("the value of table/default/t cannot be read: ") && error.contains(reason),
            "{error}"
        );
    }
}

#[test]
fn objects_of_a_rebuild_stand_behind_the_batch_s_own() {
    let object = |url: &str| BatchObject { url: url.to_owned(), ..BatchObject::default() };
    let rebuilt = RebuiltBatch { set_aside_objects: vec![object("c")], ..RebuiltBatch::default() };
    let mut value = BatchValue { set_aside_objects: vec![object("a"), object("b")], ..BatchValue::default() };
    assert!(value.set_aside_mut(2).is_none());
    value.rebuilt = Some(rebuilt);
    for (index, url) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(value.all_set_aside().nth(index).map(|object| object.url.as_str()), Some(url));
        assert_eq!(value.set_aside_mut(index).map(|object| object.url.clone()).as_deref(), Some(url));
    }
    assert!(value.set_aside_mut(3).is_none());
}
