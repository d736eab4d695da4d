//! The object store: a disk, an S3-compatible service or memory, told by one URL.
//!
//! It must never say that an object is written before it survives a power cut, and must never show a secret.

mod settings;
mod disk;
mod sse;

pub use settings::{Secret, StoreEncryption, StoreSettings};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig};

use super::{Error, Result};
use disk::DurableDisk;

/// How long a connection to an S3-compatible service may take to open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one request to an S3-compatible service may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often one request is repeated before the caller hears of it. Delivery repeats on top, for ever.
const RETRIES_MAX: usize = 3;
/// How long the repeats of one request may take together.
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// An open store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    object_store: Arc<dyn ObjectStore>,
    /// What stands before every path in a URL: `file:///`, `s3://bucket/`, `memory:///`.
    base: String,
    root: Path,
}

impl Store {
    /// Opens the store that the settings tell. A disk's folder is made where it is absent; an S3-compatible service is not
    /// asked yet.
    pub fn open(settings: &StoreSettings) -> Result<Self> {
        let place = Place::parse(&settings.url)?;
        let object_store: Arc<dyn ObjectStore> = match place.scheme {
            Scheme::File => {
                let folder = format!("/{}", place.root);
                std::fs::create_dir_all(&folder)
                    .map_err(|error| Error::Invalid(format!("the store's folder {folder} cannot be made: {error}")))?;
                disk::sync_folders(folder.as_ref());
                Arc::new(DurableDisk::new(folder))
            }
            Scheme::S3 => Arc::new(open_s3(settings, &place)?),
            Scheme::Memory => Arc::new(InMemory::new()),
        };
        Ok(Self { object_store, base: place.base, root: place.root })
    }

    /// Takes any object store under a URL as [`StoreSettings::url`] has it, for stores that inject faults.
    ///
    /// The object store must take paths as those of [`Store::object_store`] are: relative to `/`, or to the bucket.
    pub fn from_object_store(url: &str, object_store: Arc<dyn ObjectStore>) -> Result<Self> {
        let place = Place::parse(url)?;
        Ok(Self { object_store, base: place.base, root: place.root })
    }

    /// The store below; its paths are relative to the bucket, and for a disk to `/`.
    #[must_use]
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.object_store)
    }

    /// The path of `relative` below the configured root.
    ///
    /// Empty segments vanish. What no path may hold (control characters, `.` and `..` as segments) is percent-encoded, so
    /// that a path never leaves the root.
    #[must_use]
    pub fn path(&self, relative: &str) -> Path {
        let parts = || relative.split('/').filter(|part| !part.is_empty());
        let joined = self.root.parts().map(|part| part.as_ref().to_owned()).chain(parts().map(str::to_owned));
        Path::parse(joined.collect::<Vec<_>>().join("/"))
            .unwrap_or_else(|_| parts().fold(self.root.clone(), |path, part| path.join(part)))
    }

    /// The absolute URL of a path: what Iceberg metadata holds.
    #[must_use]
    pub fn url(&self, path: &Path) -> String {
        format!("{}{path}", self.base)
    }

    /// The URL of the configured root, without a slash at its end.
    #[must_use]
    pub fn root_url(&self) -> String {
        self.url(&self.root).trim_end_matches('/').to_owned()
    }

    /// The path of an absolute URL; an error where the URL is of another store.
    pub fn path_of_url(&self, url: &str) -> Result<Path> {
        let same = |base: &str| url.strip_prefix(base).map(str::to_owned);
        // Other writers of the same table say `file:/dir`, `file://dir` or `s3a://bucket`.
        let rest = same(&self.base)
            .or_else(|| self.base.starts_with("file:").then(|| same("file:")).flatten())
            .or_else(|| {
                url.strip_prefix("s3a://")
                    .and_then(|url| format!("s3://{url}").strip_prefix(&self.base).map(str::to_owned))
            })
            .ok_or_else(|| Error::Invalid(format!("{url} is not in the store {}", self.root_url())))?;
        Path::parse(rest.trim_start_matches('/'))
            .map_err(|error| Error::Invalid(format!("{url} is no object of the store {}: {error}", self.root_url())))
    }

    /// Reads a whole object.
    pub async fn get(&self, path: &Path) -> Result<Bytes> {
        let read = async { self.object_store.get(path).await?.bytes().await };
        read.await.map_err(|error| self.error(path, &error))
    }

    /// Writes a whole object, over one that is there. When this returns, the object is durable.
    pub async fn put(&self, path: &Path, payload: impl Into<PutPayload>) -> Result<()> {
        match self.object_store.put(path, payload.into()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.error(path, &error)),
        }
    }

    /// Removes an object; one that is absent stays so.
    pub async fn delete(&self, path: &Path) -> Result<()> {
        match self.object_store.delete(path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(path, &error)),
        }
    }

    /// Sorts an error of the object store into its kind, naming the object and this store.
    #[must_use]
    pub fn error(&self, path: &Path, error: &object_store::Error) -> Error {
        Error::of_store(&self.root_url(), path.as_ref(), error)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The object store's own output is left out: it may hold credentials.
        f.debug_struct("Store").field("url", &self.root_url()).finish_non_exhaustive()
    }
}

fn open_s3(settings: &StoreSettings, place: &Place) -> Result<object_store::aws::AmazonS3> {
    let client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT);
    let retry =
        RetryConfig { backoff: BackoffConfig::default(), max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&place.bucket)
        .with_region(settings.region.as_deref().unwrap_or("us-east-1"))
        .with_client_options(client)
        .with_allow_http(settings.allow_http)
        .with_retry(retry)
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    if let Some(endpoint) = &settings.endpoint {
        if endpoint.starts_with("http://") && !settings.allow_http {
            return Err(Error::Invalid(format!(
                "the store's endpoint {endpoint} is not encrypted; set allow_http = true to use it all the same"
            )));
        }
        builder = builder.with_endpoint(endpoint);
    }
    builder = match (&settings.access_key_id, &settings.secret_access_key) {
        (Some(id), Some(secret)) => builder.with_access_key_id(id).with_secret_access_key(secret.reveal()),
        (None, None) => builder,
        _ => {
            return Err(Error::Invalid(format!(
                "the store {} needs both access_key_id and secret_access_key, or neither",
                settings.url
            )));
        }
    };
    builder = sse::encrypt(builder, settings)?;
    builder.build().map_err(|error| Error::Invalid(format!("the store {} cannot be set up: {error}", settings.url)))
}

enum Scheme {
    File,
    S3,
    Memory,
}

/// A store's URL taken apart.
struct Place {
    scheme: Scheme,
    bucket: String,
    base: String,
    root: Path,
}

impl Place {
    fn parse(url: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::Invalid(format!(
                "the store URL {url:?} {why}; allowed are file:///absolute/folder, s3://bucket/prefix and memory:///"
            ))
        };
        let (scheme, bucket, rest) = if let Some(rest) = url.strip_prefix("file://") {
            if !rest.starts_with('/') {
                return Err(bad("has no absolute folder"));
            }
            (Scheme::File, "", rest)
        } else if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, rest) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() {
                return Err(bad("has no bucket"));
            }
            (Scheme::S3, bucket, rest)
        } else if let Some(rest) = url.strip_prefix("memory://") {
            (Scheme::Memory, "", rest)
        } else {
            return Err(bad("has an unknown scheme"));
        };
        let rest = rest.trim_matches('/');
        let root = Path::parse(rest).map_err(|error| bad(&format!("has a bad path: {error}")))?;
        let base = match scheme {
            Scheme::File => "file:///".to_owned(),
            Scheme::S3 => format!("s3://{bucket}/"),
            Scheme::Memory => "memory:///".to_owned(),
        };
        Ok(Self { scheme, bucket: bucket.to_owned(), base, root })
    }
}

#[cfg(test)]
mod tests;
