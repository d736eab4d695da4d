//! What every engine of the meta store must do, run on each of them.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Condition, Error, MetaStore, Write};

/// Runs the suite; `make` gives a new, empty store each time.
pub(super) async fn check<S, F>(mut make: impl FnMut() -> F)
where
    S: MetaStore,
    F: Future<Output = S>,
{
    reads_what_was_written(&make().await).await;
    scans_a_prefix_in_key_order(&make().await).await;
    applies_all_writes_or_none(&make().await).await;
    names_the_key_that_conflicts(&make().await).await;
    lets_exactly_one_of_many_writers_win(Arc::new(make().await)).await;
    never_shows_half_a_commit(Arc::new(make().await)).await;
    agrees_with_a_model(&make().await).await;
    refuses_calls_after_close(&make().await).await;
}

fn bytes(text: impl AsRef<[u8]>) -> Bytes {
    Bytes::copy_from_slice(text.as_ref())
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Write {
    Write::Put { key: bytes(key), value: bytes(value) }
}

fn delete(key: impl AsRef<[u8]>) -> Write {
    Write::Delete { key: bytes(key) }
}

fn holds(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Condition {
    Condition { key: bytes(key), expected: Some(bytes(value)) }
}

fn absent(key: impl AsRef<[u8]>) -> Condition {
    Condition { key: bytes(key), expected: None }
}

async fn reads_what_was_written(store: &impl MetaStore) {
    assert_eq!(store.get(b"a").await.unwrap(), None);
    store.commit(vec![], vec![put("a", "1"), put("empty", "")]).await.unwrap();
    assert_eq!(store.get(b"a").await.unwrap(), Some(bytes("1")));
    assert_eq!(store.get(b"empty").await.unwrap(), Some(bytes("")), "an empty value is not an absent one");
    store.commit(vec![], vec![put("a", "2"), put("a", "3"), delete("missing")]).await.unwrap();
    assert_eq!(store.get(b"a").await.unwrap(), Some(bytes("3")), "the last write of a key stands");
    store.commit(vec![], vec![delete("a")]).await.unwrap();
    assert_eq!(store.get(b"a").await.unwrap(), None);
}

async fn scans_a_prefix_in_key_order(store: &impl MetaStore) {
    let keys: [&[u8]; 7] = [b"b", b"b\x00", b"b\x00\xff", b"b\xff", b"b\xff\xff", b"a\xff", b"c"];
    store.commit(vec![], keys.iter().map(|key| put(key, key)).collect()).await.unwrap();
    let scan = async |prefix: &[u8]| -> Vec<Bytes> {
        store.scan(prefix).await.unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(scan(b"b").await, [&b"b"[..], b"b\x00", b"b\x00\xff", b"b\xff", b"b\xff\xff"]);
    assert_eq!(scan(b"b\xff").await, [&b"b\xff"[..], b"b\xff\xff"]);
    assert_eq!(scan(b"").await.len(), keys.len());
    assert!(scan(b"d").await.is_empty());
}

async fn applies_all_writes_or_none(store: &impl MetaStore) {
    store.commit(vec![], vec![put("a", "1"), put("b", "1")]).await.unwrap();
    let outcome = store.commit(vec![holds("a", "1"), holds("b", "2")], vec![put("a", "9"), delete("b")]).await;
    assert!(matches!(outcome, Err(Error::Conflict { .. })));
    assert_eq!(store.scan(b"").await.unwrap(), [(bytes("a"), bytes("1")), (bytes("b"), bytes("1"))]);
    let conditions = vec![holds("a", "1"), holds("b", "1"), absent("c")];
    store.commit(conditions, vec![put("a", "2"), delete("b"), put("c", "1")]).await.unwrap();
    assert_eq!(store.scan(b"").await.unwrap(), [(bytes("a"), bytes("2")), (bytes("c"), bytes("1"))]);
}

async fn names_the_key_that_conflicts(store: &impl MetaStore) {
    store.commit(vec![], vec![put("a", "1"), put("b", "1")]).await.unwrap();
    let cases = [
        (vec![holds("a", "1"), holds("b", "2"), holds("a", "3")], "b"),
        (vec![absent("a")], "a"),
        (vec![absent("z"), holds("y", "")], "y"),
        (vec![holds("a", "")], "a"),
        (vec![holds("a", "11")], "a"),
    ];
    for (conditions, expected) in cases {
        match store.commit(conditions.clone(), vec![put("x", "1")]).await {
            Err(Error::Conflict { key }) => assert_eq!(key, bytes(expected), "{conditions:?}"),
            other => panic!("{conditions:?} gave {other:?}"),
        }
    }
    assert_eq!(store.get(b"x").await.unwrap(), None);
    store.commit(vec![holds("a", "1")], vec![]).await.expect("a commit may only check");
}

async fn lets_exactly_one_of_many_writers_win(store: Arc<impl MetaStore>) {
    for round in 0..20_u32 {
        let expected = match round {
            0 => absent("counter"),
            _ => holds("counter", (round - 1).to_string()),
        };
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (store, expected) = (Arc::clone(&store), expected.clone());
                let writes = vec![put("counter", round.to_string()), put(format!("won/{round}/{writer}"), "")];
                tokio::spawn(async move { store.commit(vec![expected], writes).await })
            })
            .collect();
        let mut won = 0;
        for writer in writers {
            match writer.await.unwrap() {
                Ok(()) => won += 1,
                Err(Error::Conflict { key }) => assert_eq!(key, bytes("counter")),
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
        assert_eq!(store.scan(format!("won/{round}/").as_bytes()).await.unwrap().len(), 1);
    }
}

async fn never_shows_half_a_commit(store: Arc<impl MetaStore>) {
    let pair = |value: u32| vec![put("pair/a", value.to_string()), put("pair/b", value.to_string())];
    store.commit(vec![], pair(0)).await.unwrap();
    let writer = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for value in 1..200 {
                store.commit(vec![], pair(value)).await.unwrap();
            }
        })
    };
    while !writer.is_finished() {
        let seen = store.scan(b"pair/").await.unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].1, seen[1].1, "a scan is one consistent view");
    }
    writer.await.unwrap();
}

async fn agrees_with_a_model(store: &impl MetaStore) {
    let seed = rand::random::<u64>();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut model = std::collections::BTreeMap::<Bytes, Bytes>::new();
    for step in 0..300 {
        let key = |random: &mut StdRng| bytes([random.random_range(b'a'..=b'e')]);
        let conditions: Vec<_> = (0..random.random_range(0..3))
            .map(|_| {
                let key = key(&mut random);
                let expected = match random.random_bool(0.8) {
                    true => model.get(&key).cloned(),
                    false => Some(bytes("other")),
                };
                Condition { key, expected }
            })
            .collect();
        let writes: Vec<_> = (0..random.random_range(0..4))
            .map(|_| match random.random_bool(0.7) {
                true => put(key(&mut random), random.random_range(0..1_000).to_string()),
                false => delete(key(&mut random)),
            })
            .collect();
        let applies = conditions.iter().all(|condition| model.get(&condition.key) == condition.expected.as_ref());
        let outcome = store.commit(conditions, writes.clone()).await;
        assert_eq!(outcome.is_ok(), applies, "step {step} of seed {seed}");
        for write in writes.into_iter().filter(|_| applies) {
            match write {
                Write::Put { key, value } => model.insert(key, value),
                Write::Delete { key } => model.remove(&key),
            };
        }
        let expected: Vec<_> = model.clone().into_iter().collect();
        assert_eq!(store.scan(b"").await.unwrap(), expected, "step {step} of seed {seed}");
    }
}

async fn refuses_calls_after_close(store: &impl MetaStore) {
    store.commit(vec![], vec![put("a", "1")]).await.unwrap();
    store.close().await.unwrap();
    store.close().await.expect("a second close does nothing");
    assert!(matches!(store.get(b"a").await, Err(Error::Closed)));
    assert!(matches!(store.scan(b"").await, Err(Error::Closed)));
    assert!(matches!(store.commit(vec![], vec![put("a", "2")]).await, Err(Error::Closed)));
}
