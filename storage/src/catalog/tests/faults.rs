//! A meta store and an object store that fail when they are told to.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};
use parking_lot::Mutex;

use super::*;
use crate::meta::{Condition, Write};

/// What the next commit with a write suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetaFault {
    /// It is not applied, and fails.
    Lost,
    /// It is applied, and fails all the same.
    AppliedAndFailed,
}

/// A meta store whose commits can fail.
#[derive(Debug, Default)]
pub(super) struct FaultyMeta {
    pub(super) inner: MemoryMeta,
    pub(super) next: Mutex<Option<MetaFault>>,
}

#[async_trait]
impl MetaStore for FaultyMeta {
    async fn get(&self, key: &[u8]) -> crate::meta::Result<Option<Bytes>> {
        self.inner.get(key).await
    }

    async fn scan(&self, prefix: &[u8]) -> crate::meta::Result<Vec<(Bytes, Bytes)>> {
        self.inner.scan(prefix).await
    }

    async fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> crate::meta::Result<()> {
        let fault = self.next.lock().take();
        if fault != Some(MetaFault::Lost) {
            self.inner.commit(conditions, writes).await?;
        }
        fault.map_or(Ok(()), |fault| Err(crate::meta::Error::Storage(format!("{fault:?}, as told"))))
    }

    async fn purge(&self) -> crate::meta::Result<()> {
        self.inner.purge().await
    }

    async fn close(&self) -> crate::meta::Result<()> {
        self.inner.close().await
    }
}

/// An object store that can refuse to write files whose names contain a text.
#[derive(Debug)]
pub(super) struct FaultyStore {
    inner: InMemory,
    refused: &'static str,
    refuses: AtomicBool,
}

impl FaultyStore {
    pub(super) fn refusing(refused: &'static str) -> Self {
        Self { inner: InMemory::new(), refused, refuses: AtomicBool::new(false) }
    }

    pub(super) fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        if self.refuses.load(Ordering::SeqCst) && path.as_ref().contains(self.refused) {
            return Err(object_store::Error::Generic { store: "FaultyStore", source: "as told".into() });
        }
        self.inner.put_opts(path, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, opts).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
