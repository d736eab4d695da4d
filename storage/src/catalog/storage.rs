//! Iceberg's storage trait over the lake's store, so that one store serves data and metadata alike.
//!
//! Only metadata files pass here: they are small, so a file is held in memory until it is closed and then put in one piece.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use iceberg::io::{FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile};
use iceberg::io::{Storage, StorageConfig, StorageFactory};
use iceberg::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use crate::lake::store::Store;

/// Iceberg's file access over a store. URLs must lie in that store.
#[must_use]
pub fn file_io(store: &Store) -> FileIO {
    FileIOBuilder::new(Arc::new(LakeStorage { store: Some(store.clone()) })).build()
}

/// The adapter. Iceberg wants it serialisable; a store is not, so a copy that was serialised has lost it and says so.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LakeStorage {
    #[serde(skip)]
    store: Option<Store>,
}

impl LakeStorage {
    fn resolve(&self, url: &str) -> Result<Object> {
        let store = self.store.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unexpected, "this storage was serialised and has no store behind it")
        })?;
        let path = store.path_of_url(url).map_err(|error| {
            Error::new(ErrorKind::DataInvalid, "a URL does not lie in the store")
                .with_context("url", url)
                .with_source(error)
        })?;
        Ok(Object { store: store.object_store(), path, url: url.to_owned() })
    }
}

#[typetag::serde(name = "millrace")]
impl StorageFactory for LakeStorage {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde(name = "millrace")]
impl Storage for LakeStorage {
    async fn exists(&self, url: &str) -> Result<bool> {
        let object = self.resolve(url)?;
        match object.store.head(&object.path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(object.failed("look up", error)),
        }
    }

    async fn metadata(&self, url: &str) -> Result<FileMetadata> {
        let object = self.resolve(url)?;
        let meta = object.store.head(&object.path).await.map_err(|error| object.failed("look up", error))?;
        Ok(FileMetadata { size: meta.size })
    }

    async fn read(&self, url: &str) -> Result<Bytes> {
        let object = self.resolve(url)?;
        let reading = async { object.store.get(&object.path).await?.bytes().await };
        reading.await.map_err(|error| object.failed("read", error))
    }

    async fn reader(&self, url: &str) -> Result<Box<dyn FileRead>> {
        Ok(Box::new(self.resolve(url)?))
    }

    async fn write(&self, url: &str, bytes: Bytes) -> Result<()> {
        self.resolve(url)?.put(bytes).await
    }

    async fn writer(&self, url: &str) -> Result<Box<dyn FileWrite>> {
        Ok(Box::new(Upload { object: self.resolve(url)?, bytes: Some(BytesMut::new()) }))
    }

    async fn delete(&self, url: &str) -> Result<()> {
        let object = self.resolve(url)?;
        match object.store.delete(&object.path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(object.failed("delete", error)),
        }
    }

    async fn delete_prefix(&self, url: &str) -> Result<()> {
        let object = self.resolve(url)?;
        let found = object.store.list(Some(&object.path)).map_ok(|meta| meta.location).boxed();
        let mut deleted = object.store.delete_stream(found);
        while let Some(outcome) = deleted.next().await {
            match outcome {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(object.failed("delete below", error)),
            }
        }
        Ok(())
    }

    async fn delete_stream(&self, mut urls: BoxStream<'static, String>) -> Result<()> {
        while let Some(url) = urls.next().await {
            self.delete(&url).await?;
        }
        Ok(())
    }

    fn new_input(&self, url: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), url.to_owned()))
    }

    fn new_output(&self, url: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), url.to_owned()))
    }
}

/// One object of the store.
#[derive(Debug)]
struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    url: String,
}

impl Object {
    async fn put(&self, bytes: Bytes) -> Result<()> {
        let outcome = self.store.put(&self.path, PutPayload::from_bytes(bytes)).await;
        outcome.map(drop).map_err(|error| self.failed("write", error))
    }

    fn failed(&self, what: &str, error: object_store::Error) -> Error {
        Error::new(ErrorKind::Unexpected, format!("could not {what} {}", self.url)).with_source(error)
    }
}

#[async_trait]
impl FileRead for Object {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.store.get_range(&self.path, range).await.map_err(|error| self.failed("read", error))
    }
}

/// A file that is being written.
struct Upload {
    object: Object,
    /// `None` once it was closed.
    bytes: Option<BytesMut>,
}

impl Upload {
    fn closed(&self) -> Error {
        Error::new(ErrorKind::Unexpected, format!("{} is closed", self.object.url))
    }
}

#[async_trait]
impl FileWrite for Upload {
    async fn write(&mut self, more: Bytes) -> Result<()> {
        match &mut self.bytes {
            Some(bytes) => bytes.extend_from_slice(&more),
            None => return Err(self.closed()),
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let bytes = self.bytes.take().ok_or_else(|| self.closed())?;
        self.object.put(bytes.freeze()).await
    }
}
