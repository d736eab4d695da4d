//! What an import shows while its source fails, and afterwards.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use millrace_storage::lake::store::Store;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult,
};

use super::site::{Site, lines, pipeline};
use crate::imports::entry::Progress;

/// An object store that lists nothing while it is away.
#[derive(Debug)]
struct Unlisted {
    store: Arc<dyn ObjectStore>,
    is_away: Arc<AtomicBool>,
}

impl fmt::Display for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unlisted")
    }
}

#[async_trait]
impl ObjectStore for Unlisted {
    async fn put_opts(&self, path: &Path, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        self.store.put_opts(path, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(path, opts).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.store.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.store.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        if self.is_away.load(Ordering::SeqCst) {
            let error = object_store::Error::Generic { store: "Unlisted", source: "away, as told".into() };
            return stream::once(async { Err(error) }).boxed();
        }
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}

#[tokio::test]
async fn an_import_is_not_shown_as_failing_once_the_step_that_failed_succeeds() {
    let site = Site::new();
    let is_away = Arc::new(AtomicBool::new(true));
    let object_store = Arc::new(Unlisted { store: site.store.object_store(), is_away: Arc::clone(&is_away) });
    let store = Store::from_object_store(&site.store.root_url(), object_store).unwrap();
    let site = Site { store, ..site };
    let process = site.start().await;
    // What it lists has to rest, so that no step after the listing can tell that all is well.
    process.apply(&pipeline("retries = 1000\nmin_age = \"1h\"")).await.unwrap();
    site.write("a.jsonl", lines(0..3)).await;
    process.imports.run("i", false, false).await.unwrap();
    let mut progress = process.imports.entry("i").unwrap().progress.clone();
    let mut shows = async |what: &str, shown: fn(&Progress) -> bool| {
        let shown = tokio::time::timeout(Duration::from_secs(30), progress.wait_for(shown));
        shown.await.unwrap_or_else(|_| panic!("{what} within 30 s")).unwrap().clone()
    };
    let failing = shows("a failure", |progress| progress.failing.is_some()).await;
    let (words, _) = failing.failing.unwrap();
    assert!(words.starts_with("listing the source: "), "{words}");
    is_away.store(false, Ordering::SeqCst);
    let healed = shows("no failure, while the run goes on", |progress| progress.failing.is_none()).await;
    assert!(healed.running && healed.last_run.is_none(), "{healed:?}");
    process.close().await;
}
