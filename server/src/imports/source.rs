//! Where imports may read, and how that is reached: as the tables' store is, or as a store is that the settings name.

use millrace_storage::lake::import::Source;
use millrace_storage::lake::store::{Store, StoreSettings};

use super::spec::ImportSpec;
use super::{Parts, worker};
use crate::auth::AuthMode;
use crate::error::{Error, Kind, Result};

impl Parts {
    /// Opens an import's source, where the settings let it be read now.
    pub(crate) async fn open_source(&self, spec: &ImportSpec) -> Result<Source> {
        self.check_source(spec)?;
        let url = &spec.source;
        if spec.store.is_none() && is_below(url, &self.store.root_url()) {
            let store = Store::from_object_store(url, self.store.object_store()).map_err(worker::of_lake)?;
            return Ok(Source::of(store));
        }
        let reached = match &spec.store {
            Some(name) => self.named_store(name)?,
            None => &self.store_settings,
        };
        let settings = StoreSettings { url: url.clone(), ..reached.clone() };
        let opened = tokio::task::spawn_blocking(move || Source::open(&settings)).await;
        opened.map_err(|error| Error::new(Kind::Internal, error))?.map_err(worker::of_lake)
    }

    /// Whether the settings let an import's source be read.
    pub(crate) fn check_source(&self, spec: &ImportSpec) -> Result<()> {
        let own = self.store.root_url();
        let (setting, allowed): (String, Vec<&str>) = match (&spec.store, &self.settings.sources) {
            (Some(name), _) => (format!("stores.{name}.url"), vec![&self.named_store(name)?.url]),
            (None, Some(sources)) => ("import.sources".to_owned(), sources.split(',').collect()),
            (None, None) if self.auth.mode() == AuthMode::Off => ("import.sources".to_owned(), vec![&own]),
            (None, None) => ("import.sources".to_owned(), Vec::new()),
        };
        let allowed: Vec<&str> = allowed.into_iter().map(|folder| folder.trim().trim_end_matches('/')).collect();
        if allowed.iter().any(|allowed| !allowed.is_empty() && is_below(&spec.source, allowed)) {
            return Ok(());
        }
        let allowed = if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") };
        Err(Error::new(
            Kind::FailedPrecondition,
            format_args!(
                "{} may not be read: the setting {setting} lets imports read {allowed}, and what is below it",
                spec.source
            ),
        ))
    }

    fn named_store(&self, name: &str) -> Result<&StoreSettings> {
        self.named_stores.get(name).ok_or_else(|| {
            let known = match self.named_stores.is_empty() {
                true => "none".to_owned(),
                false => self.named_stores.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
            };
            let words = format_args!("no store is named {name:?}: the server's settings name {known} ([stores.NAME])");
            Error::new(Kind::FailedPrecondition, words)
        })
    }
}

fn is_below(url: &str, folder: &str) -> bool {
    url.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
