//! An object by ranges, from a thread that may block. Each range must be of the version that was listed.
//!
//! Errors of `std::io` carry no kind of ours, so what failed is kept here, for whoever asks afterwards.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{GetOptions, GetResult, ObjectStore};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::{ReadError, SourceObject};
use crate::lake::store::Store;

/// How much is asked for at once where an object is read from its beginning to its end.
const RANGE_BYTES: u64 = 4 << 20;

/// An object, read by ranges. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ranged(Arc<Inner>);

struct Inner {
    store: Store,
    object: SourceObject,
    runtime: Handle,
    failed: Mutex<Option<ReadError>>,
}

impl Ranged {
    pub(super) fn new(store: Store, object: SourceObject, runtime: Handle) -> Self {
        Self(Arc::new(Inner { store, object, runtime, failed: Mutex::new(None) }))
    }

    pub(super) fn size(&self) -> u64 {
        self.0.object.size
    }

    /// What failed since the last call, where it was the store or a change of the object.
    pub(super) fn failed(&self) -> Option<ReadError> {
        self.0.failed.lock().take()
    }

    /// Reads a range; it must lie within the object.
    pub(super) fn fetch(&self, range: Range<u64>) -> io::Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        let fetched = self.0.runtime.block_on(self.get(range));
        match fetched {
            Ok(bytes) if bytes.len() as u64 == wanted => Ok(bytes),
            Ok(_) => Err(self.fail(ReadError::Changed)),
            Err(error) => Err(self.fail(error)),
        }
    }

    async fn get(&self, range: Range<u64>) -> Result<Bytes, ReadError> {
        let Inner { store, object, .. } = &*self.0;
        let options = GetOptions { if_match: object.e_tag.clone(), range: Some(range.into()), ..GetOptions::default() };
        let got = async {
            let got = store.object_store().get_opts(&object.path, options).await?;
            if !self.is_the_same(&got) {
                return Ok(None);
            }
            got.bytes().await.map(Some)
        };
        match got.await {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) | Err(object_store::Error::NotFound { .. } | object_store::Error::Precondition { .. }) => {
                Err(ReadError::Changed)
            }
            Err(error) => Err(store.error(&object.path, &error).into()),
        }
    }

    /// Not every service heeds `If-Match`.
    fn is_the_same(&self, got: &GetResult) -> bool {
        let object = &self.0.object;
        let same_tag = match (&object.e_tag, &got.meta.e_tag) {
            (Some(listed), Some(got)) => listed.trim_matches('"') == got.trim_matches('"'),
            _ => true,
        };
        same_tag && got.meta.size == object.size
    }

    fn fail(&self, error: ReadError) -> io::Error {
        let words = error.to_string();
        *self.0.failed.lock() = Some(error);
        io::Error::other(words)
    }
}

/// An object from a place on to its end.
pub(super) struct Sequential {
    ranged: Ranged,
    next: u64,
    held: Bytes,
}

impl Sequential {
    pub(super) fn from(ranged: Ranged, start: u64) -> Self {
        Self { ranged, next: start, held: Bytes::new() }
    }
}

impl io::Read for Sequential {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            let end = self.ranged.size().min(self.next.saturating_add(RANGE_BYTES));
            if self.next >= end {
                return Ok(0);
            }
            self.held = self.ranged.fetch(self.next..end)?;
            self.next = end;
        }
        let count = into.len().min(self.held.len());
        into[..count].copy_from_slice(&self.held.split_to(count));
        Ok(count)
    }
}
