//! Data keys through their life: made, stored, read back, wrapped anew, destroyed, and masters that are wrong or away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use async_trait::async_trait;

use super::*;
use crate::log::StreamId;
use crate::meta::keys::stream::{StreamKey, StreamValue};
use crate::meta::keys::{self, data_key::prefix_of_stream};
use crate::meta::memory::MemoryMeta;
use crate::meta::rocks::RocksMeta;
use crate::meta::{MetaStore, Write};
use crate::time::Timestamp;

const ONE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const TWO: &str = "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0101112131415161718191a1b1c1d1e1f";

fn masters(text: &str) -> MasterKeys {
    MasterKeys::new(parse_local_keys("the test", text).expect("keys"))
}

async fn open(meta: &Arc<dyn MetaStore>, text: &str) -> KeyStore {
    KeyStore::open(Arc::clone(meta), masters(text)).await.expect("open")
}

/// Gives a stream its next key, as its owner does.
async fn rotate(meta: &Arc<dyn MetaStore>, store: &KeyStore, stream: u32) {
    let new = store.make(StreamId(stream)).await.expect("a key");
    let value = StreamValue { id: stream, encryption_key_version: new.version().0, ..StreamValue::default() };
    let mut writes = vec![new.write(), keys::put(&StreamKey { name: format!("s{stream}") }, &value)];
    writes.extend(store.replaced(StreamId(stream), Timestamp(9)).await.expect("meta"));
    meta.commit(Vec::new(), writes).await.expect("commit");
    store.install(new);
}

fn memory() -> Arc<dyn MetaStore> {
    Arc::new(MemoryMeta::new())
}

fn sealed(ring: &Keyring, stream: u32) -> (KeyVersion, [u8; NONCE_BYTES], Vec<u8>) {
    let key = ring.sealing(StreamId(stream)).expect("usable").expect("a key");
    let mut bytes = b"text".to_vec();
    let (nonce, tag) = key.seal(b"", &mut bytes);
    bytes.extend_from_slice(&tag);
    (key.version(), nonce, bytes)
}

fn opens(ring: &Keyring, stream: u32, (version, nonce, bytes): &(KeyVersion, [u8; NONCE_BYTES], Vec<u8>)) -> bool {
    let Ok(key) = ring.opening(StreamId(stream), *version) else { return false };
    key.open(*nonce, b"", &mut bytes.clone()).is_some_and(|text| text == b"text")
}

#[tokio::test]
async fn keys_survive_a_restart_and_old_ones_open_after_a_rotation() {
    let meta = memory();
    let store = open(&meta, ONE).await;
    assert_eq!(store.keyring().sealing(StreamId(1)).expect("no key is fine").map(|key| key.version()), None);
    rotate(&meta, &store, 1).await;
    let first = sealed(&store.keyring(), 1);
    rotate(&meta, &store, 1).await;
    let second = sealed(&store.keyring(), 1);
    assert_eq!((first.0, second.0), (KeyVersion(1), KeyVersion(2)));

    let store = open(&meta, ONE).await;
    let ring = store.keyring();
    assert!(opens(&ring, 1, &first) && opens(&ring, 1, &second));
    assert_eq!(ring.sealing_version(StreamId(1)), Some(KeyVersion(2)));
    let states = store.states(StreamId(1)).await.expect("states");
    let shown: Vec<_> = states.iter().map(|key| (key.version.0, key.replaced_at, key.unusable.clone())).collect();
    assert_eq!(shown, [(1, Some(Timestamp(9)), None), (2, None, None)]);
}

#[tokio::test]
async fn another_master_key_locks_the_stream_by_name_and_no_other() {
    let meta = memory();
    rotate(&meta, &open(&meta, ONE).await, 1).await;
    let store = open(&meta, TWO).await;
    let ring = store.keyring();
    let why = ring.sealing(StreamId(1)).expect_err("its master key is not here");
    let (one, two) = (masters(ONE), masters(TWO));
    for id in [one.current().expect("one").id(), two.current().expect("two").id()] {
        assert!(why.reason.contains(id), "{why:?}");
    }
    assert!(!why.is_retryable);
    assert_eq!(ring.sealing(StreamId(2)).expect("another stream is free").map(|key| key.version()), None);
    rotate(&meta, &store, 2).await;
    sealed(&ring, 2);
    let none = KeyStore::open(meta, MasterKeys::default()).await.expect("open");
    assert!(none.keyring().sealing(StreamId(1)).expect_err("locked").reason.contains("are none"));
    assert!(matches!(none.make(StreamId(1)).await, Err(Error::NoMaster)));
}

#[tokio::test]
async fn a_wrapped_key_of_another_stream_or_version_does_not_open() {
    let meta = memory();
    let store = open(&meta, ONE).await;
    rotate(&meta, &store, 1).await;
    rotate(&meta, &store, 2).await;
    let of = |stream| [&prefix_of_stream(stream)[..], &[0, 0, 0, 1]].concat();
    let value = meta.get(&of(2)).await.expect("get").expect("a value");
    meta.commit(Vec::new(), vec![Write::Put { key: of(1).into(), value }]).await.expect("commit");
    let ring = open(&meta, ONE).await.keyring();
    assert!(ring.sealing(StreamId(1)).expect_err("swapped").reason.contains("does not open it"));
    sealed(&ring, 2);
}

#[tokio::test]
async fn keys_are_wrapped_anew_by_the_first_master_key() {
    let meta = memory();
    let store = open(&meta, ONE).await;
    rotate(&meta, &store, 1).await;
    rotate(&meta, &store, 2).await;
    let block = sealed(&store.keyring(), 1);
    let both = open(&meta, &format!("{TWO}\n{ONE}")).await;
    assert!(opens(&both.keyring(), 1, &block));
    let (count, failed) = both.rewrap().await.expect("rewrap");
    assert_eq!((count, failed.len()), (2, 0));
    assert_eq!(both.rewrap().await.expect("rewrap").0, 0);
    assert!(opens(&open(&meta, TWO).await.keyring(), 1, &block));
    assert!(!opens(&open(&meta, ONE).await.keyring(), 1, &block));
    // What cannot be unwrapped is told and left as it is.
    let (count, failed) = open(&meta, ONE).await.rewrap().await.expect("rewrap");
    assert_eq!((count, failed.len()), (0, 2));
    assert!(opens(&open(&meta, TWO).await.keyring(), 1, &block));
}

#[tokio::test]
async fn a_stream_has_so_many_keys_and_no_more() {
    let meta = memory();
    let store = open(&meta, ONE).await;
    for _ in 0..KEYS_MAX {
        rotate(&meta, &store, 1).await;
    }
    assert!(matches!(store.make(StreamId(1)).await, Err(Error::TooManyKeys { count: KEYS_MAX, limit: KEYS_MAX })));
    store.destroy(StreamId(1), &[KeyVersion(1)]).await.expect("destroy");
    assert_eq!(store.make(StreamId(1)).await.expect("room again").version().0 as usize, KEYS_MAX + 1);
    assert!(store.keyring().opening(StreamId(1), KeyVersion(1)).expect_err("gone").reason.contains("destroyed"));
}

/// What a shredding leaves: the numbers, so that none comes twice, and when the keys were destroyed.
#[tokio::test]
async fn shredded_keys_are_gone_for_good_and_known_to_be() {
    let meta = memory();
    let store = open(&meta, ONE).await;
    rotate(&meta, &store, 1).await;
    let first = sealed(&store.keyring(), 1);
    rotate(&meta, &store, 1).await;
    let second = sealed(&store.keyring(), 1);
    rotate(&meta, &store, 2).await;
    let other = sealed(&store.keyring(), 2);
    let writes = store.shredding(StreamId(1), Timestamp(77)).await.expect("meta");
    meta.commit(Vec::new(), writes).await.expect("commit");
    store.shredded(StreamId(1), Timestamp(77));
    for store in [store, open(&meta, ONE).await] {
        let ring = store.keyring();
        assert!(!opens(&ring, 1, &first) && !opens(&ring, 1, &second) && opens(&ring, 2, &other));
        let why = ring.opening(StreamId(1), KeyVersion(1)).expect_err("destroyed");
        assert!(why.is_destroyed() && !why.is_retryable && why.reason.contains("1970-01-01T00:00:00.077Z"), "{why:?}");
        let why = ring.sealing(StreamId(1)).expect_err("nothing seals in the clear");
        assert!(why.reason.contains("rotate"), "{why:?}");
        assert_eq!(ring.locked_count(), 0, "there is nothing to open any more");
        assert_eq!(store.unlock().await.expect("meta"), 0);
        assert!(store.shredding(StreamId(1), Timestamp(88)).await.expect("meta").is_empty());
        let states = store.states(StreamId(1)).await.expect("states");
        assert!(states.iter().all(|key| key.replaced_at.is_some() && key.unusable.is_some()), "{states:?}");
        assert_eq!(store.make(StreamId(1)).await.expect("a new key").version(), KeyVersion(3));
    }
    // Another master key has nothing to wrap of them.
    let both = open(&meta, &format!("{TWO}\n{ONE}")).await;
    let (count, failed) = both.rewrap().await.expect("rewrap");
    assert_eq!((count, failed.len()), (1, 0));
}

#[tokio::test]
async fn a_key_that_may_be_destroyed_seals_no_more() {
    let meta = memory();
    let store = open(&meta, ONE).await;
    rotate(&meta, &store, 1).await;
    let block = sealed(&store.keyring(), 1);
    store.doubt(StreamId(1));
    assert!(!opens(&store.keyring(), 1, &block));
    assert!(store.keyring().sealing(StreamId(1)).expect_err("in doubt").reason.contains("restart"));
    assert!(opens(&open(&meta, ONE).await.keyring(), 1, &block), "it was not");
}

/// A master key whose keeper can be away.
#[derive(Debug)]
struct Far {
    key: Arc<dyn MasterKey>,
    away: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait]
impl MasterKey for Far {
    fn id(&self) -> &str {
        self.key.id()
    }

    async fn wrap(&self, key: &KeyMaterial, bound_to: &[u8]) -> Result<Vec<u8>> {
        self.key.wrap(key, bound_to).await
    }

    async fn unwrap(&self, wrapped: &[u8], bound_to: &[u8]) -> Result<KeyMaterial> {
        self.asked.fetch_add(1, Relaxed);
        if self.away.load(Relaxed) {
            return Err(Error::Unreachable { master: self.id().to_owned(), reason: "it is away".to_owned() });
        }
        self.key.unwrap(wrapped, bound_to).await
    }
}

#[tokio::test]
async fn a_master_key_that_is_away_at_the_start_is_asked_again() {
    let meta = memory();
    let store = open(&meta, ONE).await;
    for stream in 1..100 {
        rotate(&meta, &store, stream).await;
    }
    let key = parse_local_keys("the test", ONE).expect("keys").remove(0);
    let far = Arc::new(Far { key, away: AtomicBool::new(true), asked: AtomicUsize::new(0) });
    let store = KeyStore::open(meta, MasterKeys::new(vec![Arc::clone(&far) as _])).await.expect("open");
    let why = store.keyring().sealing(StreamId(1)).expect_err("locked");
    assert!(why.is_retryable && why.reason.contains("it is away"), "{why:?}");
    assert!(far.asked.load(Relaxed) <= 16, "each of 99 keys would have waited for it");
    assert_eq!(store.unlock().await.expect("meta"), 99);
    far.away.store(false, Relaxed);
    assert_eq!(store.unlock().await.expect("meta"), 0);
    sealed(&store.keyring(), 1);
}

/// All bytes of a folder's files.
fn bytes_below(folder: &std::path::Path) -> Vec<u8> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    // A file may go while they are read.
    files.flat_map(|file| std::fs::read(file).unwrap_or_default()).collect()
}

fn holds(folder: &std::path::Path, needle: &[u8]) -> bool {
    bytes_below(folder).windows(needle.len()).any(|window| window == needle)
}

#[tokio::test]
async fn a_destroyed_key_leaves_no_wrapped_copy_in_the_store_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let rocks = RocksMeta::open(folder.path()).expect("open");
    let meta: Arc<dyn MetaStore> = Arc::new(rocks);
    let store = open(&meta, ONE).await;
    rotate(&meta, &store, 1).await;
    rotate(&meta, &store, 2).await;
    let wrapped = |stored: Vec<(keys::data_key::DataKeyKey, keys::Stored<keys::data_key::DataKeyValue>)>| {
        stored.into_iter().next().expect("a key").1.value.wrapped
    };
    let of = async |stream| wrapped(keys::data_key::scan_stream(&*meta, stream).await.expect("scan"));
    let (gone, kept) = (of(1).await, of(2).await);
    assert!(holds(folder.path(), &gone) && holds(folder.path(), &kept));

    let block = sealed(&store.keyring(), 1);
    meta.commit(Vec::new(), store.destruction(StreamId(1)).await.expect("scan")).await.expect("commit");
    assert!(holds(folder.path(), &gone), "a removal alone leaves the bytes in the files");
    store.destroyed(StreamId(1)).await;
    assert!(!holds(folder.path(), &gone), "a wrapped copy is left");
    assert!(holds(folder.path(), &kept));
    assert!(!opens(&store.keyring(), 1, &block));

    // A process that ends between the removal and the rewriting leaves the mark, and the next open does the rest.
    meta.commit(Vec::new(), store.destruction(StreamId(2)).await.expect("scan")).await.expect("commit");
    assert!(holds(folder.path(), &kept));
    open(&meta, ONE).await;
    assert!(!holds(folder.path(), &kept));
}
