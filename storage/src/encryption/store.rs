//! The data keys in the meta store, wrapped: made, unwrapped at open, wrapped anew, and destroyed.
//!
//! A key is durable in the meta store before the first block is sealed with it. A key that cannot be unwrapped locks its
//! own stream and no other; [`KeyStore::unlock`] tries again where that can help.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::{StreamExt, stream};
use parking_lot::Mutex;

use super::data_key::{DataKey, KeyVersion};
use super::keyring::{KeyUnusable, Keyring};
use super::{Error, KeyFault, KeyMaterial, MasterKeys, Result, local};
use crate::log::StreamId;
use crate::meta::keys::data_key::{DataKeyKey, DataKeyValue, scan_stream};
use crate::meta::keys::purge::{PurgeKey, PurgeValue};
use crate::meta::keys::stream::StreamKey;
use crate::meta::keys::{self, Stored};
use crate::meta::{MetaStore, Write};
use crate::time::Timestamp;

/// The most data keys of one stream.
pub const KEYS_MAX: usize = 128;
/// Keys that are unwrapped at a time: a master key may be far away.
const UNWRAPS_MAX: usize = 16;

/// The data keys of a node.
#[derive(Debug)]
pub struct KeyStore {
    meta: Arc<dyn MetaStore>,
    masters: MasterKeys,
    keyring: Arc<Keyring>,
}

/// A data key that was made and is not stored yet.
#[derive(Debug)]
pub struct NewKey {
    stream: StreamId,
    key: DataKey,
    value: DataKeyValue,
}

impl NewKey {
    /// Its number.
    #[must_use]
    pub const fn version(&self) -> KeyVersion {
        self.key.version()
    }

    /// The write that stores it.
    #[must_use]
    pub fn write(&self) -> Write {
        keys::put(&key_of(self.stream, self.version()), &self.value)
    }
}

/// A data key as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    /// Its number.
    pub version: KeyVersion,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stopped sealing; `None` while it seals.
    pub replaced_at: Option<Timestamp>,
    /// The id of the master key that wraps it.
    pub master_key_id: String,
    /// Why it cannot be used; `None` where it can.
    pub unusable: Option<String>,
}

const fn key_of(stream: StreamId, version: KeyVersion) -> DataKeyKey {
    DataKeyKey { stream_id: stream.0, version: version.0 }
}

/// What a wrapped key is bound to, so that it opens as nothing else.
fn bound_to(key: DataKeyKey) -> Vec<u8> {
    [&b"millrace data key 1"[..], &key.stream_id.to_be_bytes(), &key.version.to_be_bytes()].concat()
}

impl KeyStore {
    /// Reads and unwraps all data keys. One that does not unwrap is told in the process's log and locks its stream.
    pub async fn open(meta: Arc<dyn MetaStore>, masters: MasterKeys) -> Result<Self> {
        let store = Self { meta, masters, keyring: Arc::default() };
        let mut names = HashMap::new();
        for (key, stored) in keys::scan::<StreamKey>(&*store.meta).await? {
            if stored.value.encryption_key_version > 0 {
                let version = KeyVersion(stored.value.encryption_key_version);
                store.keyring.seal_with(StreamId(stored.value.id), Some(version));
            }
            names.insert(stored.value.id, key.name);
        }
        let wrapped = keys::scan::<DataKeyKey>(&*store.meta).await?;
        let wrapped = wrapped.into_iter().map(|(key, stored)| (key, stored.value)).collect();
        for (key, error) in store.load_all(wrapped).await {
            let (stream, version) = (names.get(&key.stream_id), key.version);
            tracing::error!(stream, version, %error, "a data key cannot be used; its stream is locked, others go on");
        }
        if keys::get(&*store.meta, &PurgeKey).await?.is_some() {
            store.purge().await;
        }
        Ok(store)
    }

    /// Takes in a stream as the meta store has it, where a commit of this process took effect although it seemed to fail.
    pub async fn load_stream(&self, stream: StreamId, sealing: Option<KeyVersion>) -> Result<()> {
        self.keyring.seal_with(stream, sealing);
        for (key, stored) in scan_stream(&*self.meta, stream.0).await? {
            // Why a key cannot be used is in the keyring.
            drop(self.load(key, stored.value).await);
        }
        Ok(())
    }

    /// Unwraps keys into the keyring and returns those that fail. Where a master key does not answer, it is not asked for
    /// every other key too: a start must not wait for each.
    async fn load_all(&self, wrapped: Vec<(DataKeyKey, DataKeyValue)>) -> Vec<(DataKeyKey, Error)> {
        let away: Mutex<HashMap<String, Error>> = Mutex::default();
        let load = async |(key, value): (DataKeyKey, DataKeyValue)| {
            let master = value.master_key_id.clone();
            let known = away.lock().get(&master).cloned();
            let failed = match known {
                Some(error) => Some((key, self.lock(key, error))),
                None => self.load(key, value).await,
            };
            if let Some((_, error @ Error::Unreachable { .. })) = &failed {
                away.lock().insert(master, error.clone());
            }
            failed
        };
        stream::iter(wrapped).map(load).buffer_unordered(UNWRAPS_MAX).filter_map(async |failed| failed).collect().await
    }

    fn lock(&self, key: DataKeyKey, error: Error) -> Error {
        let fault = error.fault().unwrap_or(KeyFault::Invalid);
        let (reason, is_retryable) = (error.to_string(), error.is_retryable());
        let why = KeyUnusable { version: KeyVersion(key.version), fault, reason, is_retryable };
        self.keyring.add_locked(StreamId(key.stream_id), why);
        error
    }

    /// Unwraps one key into the keyring. The error has been put there too.
    async fn load(&self, key: DataKeyKey, value: DataKeyValue) -> Option<(DataKeyKey, Error)> {
        let (stream, version) = (StreamId(key.stream_id), KeyVersion(key.version));
        if value.destroyed_at_ms > 0 {
            self.keyring.add_destroyed(stream, version, Timestamp(value.destroyed_at_ms));
            return None;
        }
        match self.unwrap(key, &value).await {
            Ok(material) => {
                self.keyring.add(stream, DataKey::new(version, &material));
                None
            }
            Err(error) => Some((key, self.lock(key, error))),
        }
    }

    async fn unwrap(&self, key: DataKeyKey, value: &DataKeyValue) -> Result<KeyMaterial> {
        let master = self.masters.by_id(&value.master_key_id)?;
        master.unwrap(&value.wrapped, &bound_to(key)).await
    }

    /// The keys in memory, for the log.
    #[must_use]
    pub fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring)
    }

    /// The id of the master key that wraps new keys.
    pub fn master_key_id(&self) -> Result<&str> {
        Ok(self.masters.current()?.id())
    }

    /// Makes a stream's next data key. The caller stores it by [`NewKey::write`], then calls [`KeyStore::install`].
    pub async fn make(&self, stream: StreamId) -> Result<NewKey> {
        let master = self.masters.current()?;
        let known = scan_stream(&*self.meta, stream.0).await?;
        if known.len() >= KEYS_MAX {
            return Err(Error::TooManyKeys { count: known.len(), limit: KEYS_MAX });
        }
        // The newest key of a stream is never removed as long as the stream lives, so that a number is never used again.
        let version = KeyVersion(known.last().map_or(0, |(key, _)| key.version) + 1);
        let material = local::random_key()?;
        let wrapped = master.wrap(&material, &bound_to(key_of(stream, version))).await?;
        let value = DataKeyValue {
            wrapped,
            master_key_id: master.id().to_owned(),
            created_at_ms: Timestamp::now().as_millis(),
            ..DataKeyValue::default()
        };
        Ok(NewKey { stream, key: DataKey::new(version, &material), value })
    }

    /// Seals the stream's blocks from now on with a key that was stored.
    pub fn install(&self, new: NewKey) {
        let version = new.version();
        self.keyring.add(new.stream, new.key);
        self.keyring.seal_with(new.stream, Some(version));
    }

    /// The write that notes when a stream's sealing key stopped to seal; none where nothing seals.
    pub async fn replaced(&self, stream: StreamId, at: Timestamp) -> Result<Option<Write>> {
        let Some(version) = self.keyring.sealing_version(stream) else { return Ok(None) };
        let key = key_of(stream, version);
        let Some(Stored { mut value, .. }) = keys::get(&*self.meta, &key).await? else { return Ok(None) };
        value.replaced_at_ms = at.as_millis();
        Ok(Some(keys::put(&key, &value)))
    }

    /// A stream's data keys, oldest first.
    pub async fn states(&self, stream: StreamId) -> Result<Vec<KeyState>> {
        let usable: BTreeMap<_, _> = self.keyring.versions(stream).into_iter().collect();
        let stored = scan_stream(&*self.meta, stream.0).await?;
        let states = stored.into_iter().map(|(key, Stored { value, .. })| KeyState {
            version: KeyVersion(key.version),
            created_at: Timestamp(value.created_at_ms),
            replaced_at: (value.replaced_at_ms > 0).then_some(Timestamp(value.replaced_at_ms)),
            master_key_id: value.master_key_id,
            unusable: usable.get(&KeyVersion(key.version)).and_then(|usable| Some(usable.clone().err()?.reason)),
        });
        Ok(states.collect())
    }

    /// Tries the keys again whose master key could not be reached; returns how many are still locked for that.
    pub async fn unlock(&self) -> Result<usize> {
        let mut wrapped = Vec::new();
        for (stream, version) in self.keyring.locked() {
            let key = key_of(stream, version);
            // A stream that was deleted meanwhile has no key left to open.
            wrapped.extend(keys::get(&*self.meta, &key).await?.map(|stored| (key, stored.value)));
        }
        let tried = wrapped.len();
        let failed = self.load_all(wrapped).await;
        if failed.len() < tried {
            tracing::info!(count = tried - failed.len(), "data keys can be used again");
        }
        Ok(failed.iter().filter(|(_, error)| error.is_retryable()).count())
    }

    /// Wraps every data key that another master key wrapped by the current one. Returns how many it wrapped, and those that
    /// it could not unwrap with the reason. The blocks stay as they are.
    pub async fn rewrap(&self) -> Result<(usize, Vec<(StreamId, KeyVersion, Error)>)> {
        let master = self.masters.current()?;
        let (mut count, mut failed) = (0, Vec::new());
        for (key, stored) in keys::scan::<DataKeyKey>(&*self.meta).await? {
            if stored.value.master_key_id == master.id() || stored.value.destroyed_at_ms > 0 {
                continue;
            }
            let material = match self.unwrap(key, &stored.value).await {
                Ok(material) => material,
                Err(error) => {
                    failed.push((StreamId(key.stream_id), KeyVersion(key.version), error));
                    continue;
                }
            };
            let wrapped = master.wrap(&material, &bound_to(key)).await?;
            let value = DataKeyValue { wrapped, master_key_id: master.id().to_owned(), ..stored.value.clone() };
            let marked = [keys::put(&key, &value), mark()];
            self.meta.commit(vec![keys::unchanged(&key, &stored)], marked.into()).await?;
            count += 1;
        }
        if count > 0 {
            self.purge().await;
        }
        Ok((count, failed))
    }

    /// The writes that destroy all of a stream's keys; after them the caller calls [`KeyStore::destroyed`].
    pub async fn destruction(&self, stream: StreamId) -> Result<Vec<Write>> {
        let known = scan_stream(&*self.meta, stream.0).await?;
        Ok(destruction(known.iter().map(|(key, _)| *key)))
    }

    /// Forgets a stream's keys, and rewrites the meta store's files so that they hold no copy.
    pub async fn destroyed(&self, stream: StreamId) {
        let had_keys = !self.keyring.versions(stream).is_empty();
        self.keyring.remove_stream(stream);
        if had_keys {
            self.purge().await;
        }
    }

    /// The writes that destroy all of a stream's keys and leave their numbers and times, so that what they sealed is known
    /// to be gone and not taken for damage; none where no key is left. Once they are stored the caller calls
    /// [`KeyStore::shredded`]; where that is not known, [`KeyStore::doubt`].
    pub async fn shredding(&self, stream: StreamId, at: Timestamp) -> Result<Vec<Write>> {
        let mut writes: Vec<Write> = Vec::new();
        for (key, stored) in scan_stream(&*self.meta, stream.0).await? {
            let DataKeyValue { created_at_ms, replaced_at_ms, destroyed_at_ms, .. } = stored.value;
            if destroyed_at_ms == 0 {
                let replaced_at_ms = if replaced_at_ms > 0 { replaced_at_ms } else { at.as_millis() };
                let destroyed_at_ms = at.as_millis().max(1);
                let value = DataKeyValue { created_at_ms, replaced_at_ms, destroyed_at_ms, ..DataKeyValue::default() };
                writes.push(keys::put(&key, &value));
            }
        }
        if !writes.is_empty() {
            writes.push(mark());
        }
        Ok(writes)
    }

    /// Takes over that a stream's keys were destroyed. Nothing seals until a new one is installed.
    pub fn shredded(&self, stream: StreamId, at: Timestamp) {
        for (version, usable) in self.keyring.versions(stream) {
            if !usable.is_err_and(|why| why.is_destroyed()) {
                self.keyring.add_destroyed(stream, version, at);
            }
        }
    }

    /// Stops a stream from sealing with a key that may be destroyed: what it seals now might never be read.
    pub fn doubt(&self, stream: StreamId) {
        let Some(version) = self.keyring.sealing_version(stream) else { return };
        let reason = "its destruction may have been stored; restart the server to find out".to_owned();
        self.keyring.add_locked(stream, KeyUnusable { version, fault: KeyFault::Invalid, reason, is_retryable: false });
    }

    /// Destroys some of a stream's older keys, for good.
    pub async fn destroy(&self, stream: StreamId, versions: &[KeyVersion]) -> Result<()> {
        if versions.is_empty() {
            return Ok(());
        }
        self.meta.commit(Vec::new(), destruction(versions.iter().map(|version| key_of(stream, *version)))).await?;
        for version in versions {
            self.keyring.remove(stream, *version);
        }
        self.purge().await;
        Ok(())
    }

    /// Rewrites the meta store's files. Where that fails, or the process ends first, the mark has the next open do it.
    pub async fn purge(&self) {
        let purged = async {
            self.meta.purge().await?;
            self.meta.commit(Vec::new(), vec![keys::delete(&PurgeKey)]).await
        };
        if let Err(error) = purged.await {
            tracing::warn!(%error, "wrapped copies of removed keys are still in the meta store's files; the next start tries again");
        }
    }
}

fn destruction(keys: impl Iterator<Item = DataKeyKey>) -> Vec<Write> {
    let mut writes: Vec<Write> = keys.map(|key| keys::delete(&key)).collect();
    if !writes.is_empty() {
        writes.push(mark());
    }
    writes
}

fn mark() -> Write {
    keys::put(&PurgeKey, &PurgeValue {})
}
