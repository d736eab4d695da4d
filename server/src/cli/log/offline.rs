//! The stores of a stopped server, opened by a command itself, with the settings that `millrace serve` would have.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_storage::encryption::KeyStore;
use millrace_storage::log::StreamId;
use millrace_storage::log::rocks::RocksLog;
use millrace_storage::meta::MetaStore;
use millrace_storage::meta::keys;
use millrace_storage::meta::keys::stream::StreamKey;
use millrace_storage::meta::rocks::RocksMeta;
use millrace_storage::time::Clock;

use crate::cli::{Failure, Result};
use crate::config::{Layers, Settings};
use crate::encryption::master_keys;

/// Log and meta store of a data folder.
pub(super) struct Offline {
    pub(super) log: RocksLog,
    meta: Arc<dyn MetaStore>,
}

/// The settings for a data folder, as file and environment have them.
pub(super) fn settings(data_dir: &Path, config: Option<PathBuf>) -> Result<Settings> {
    let mut layers = Layers::of_process();
    layers.file = config.or(layers.file);
    let path = data_dir.to_string_lossy().into_owned();
    Ok(layers.flag("--data-dir", "data_dir", Some(path)).load().map_err(Failure::usage)?.settings)
}

impl Offline {
    /// Opens both as the server does. A folder that is none is not made.
    pub(super) async fn open(data_dir: &Path, config: Option<PathBuf>) -> Result<Self> {
        if !data_dir.join("log").is_dir() {
            return Err(Failure::usage(format!("{} holds no log", data_dir.display())));
        }
        let settings = settings(data_dir, config)?;
        let meta = Arc::new(RocksMeta::open(&data_dir.join("meta")).map_err(Failure::new)?) as Arc<dyn MetaStore>;
        let masters = master_keys(&settings.encryption).map_err(Failure::new)?;
        let keys = KeyStore::open(Arc::clone(&meta), masters).await.map_err(Failure::new)?;
        let log = RocksLog::open_with_keys(settings.log.settings(data_dir), Clock::system(), keys.keyring());
        Ok(Self { log: log.map_err(Failure::new)?, meta })
    }

    /// The names of all streams.
    pub(super) async fn names(&self) -> Result<HashMap<StreamId, String>> {
        let streams = keys::scan::<StreamKey>(&*self.meta).await.map_err(Failure::new)?;
        Ok(streams.into_iter().map(|(key, stored)| (StreamId(stored.value.id), key.name)).collect())
    }
}
