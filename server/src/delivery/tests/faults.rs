//! An object store and a meta store that fail when they are told to.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use millrace_storage::meta::{self, Condition, MetaStore, Write};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

/// What a write suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is not applied, and fails.
    Lost,
    /// Half of an object is there, and it fails. A commit of the meta store is not applied.
    Torn,
    /// It is applied, and fails all the same.
    AppliedAndFailed,
    /// It is not applied, and never answers.
    HangsLost,
    /// It is applied, and never answers.
    HangsApplied,
}

/// Which writes suffer what. Shared by both stores, so that writes have one order.
#[derive(Debug)]
pub(super) struct Faults {
    plan: Mutex<Plan>,
    hung: watch::Sender<bool>,
}

#[derive(Debug)]
enum Plan {
    None,
    /// The write of this number, counted down from when it was told.
    At(u32, Fault),
    /// So many more, each with a chance of one in four.
    Random(u32, Box<StdRng>),
    /// All of them.
    Always(Fault),
}

impl Faults {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { plan: Mutex::new(Plan::None), hung: watch::Sender::new(false) })
    }

    /// The write after `skip` others suffers `fault`.
    pub(super) fn at(&self, skip: u32, fault: Fault) {
        *self.plan.lock() = Plan::At(skip, fault);
    }

    /// `count` writes fail in some way.
    pub(super) fn random(&self, count: u32, seed: u64) {
        *self.plan.lock() = Plan::Random(count, Box::new(StdRng::seed_from_u64(seed)));
    }

    pub(super) fn always(&self, fault: Fault) {
        *self.plan.lock() = Plan::Always(fault);
    }

    pub(super) fn none(&self) {
        *self.plan.lock() = Plan::None;
        self.hung.send_replace(false);
    }

    /// How many of the random faults are to come.
    pub(super) fn left(&self) -> u32 {
        match &*self.plan.lock() {
            Plan::Random(left, _) => *left,
            _ => 0,
        }
    }

    /// Waits until a write hangs.
    pub(super) async fn hung(&self) {
        self.hung.subscribe().wait_for(|hung| *hung).await.unwrap();
    }

    fn next(&self) -> Option<Fault> {
        let mut plan = self.plan.lock();
        match &mut *plan {
            Plan::None => None,
            Plan::Always(fault) => Some(*fault),
            Plan::At(0, fault) => {
                let fault = *fault;
                *plan = Plan::None;
                Some(fault)
            }
            Plan::At(skip, _) => {
                *skip -= 1;
                None
            }
            Plan::Random(0, _) => None,
            Plan::Random(left, random) => {
                let fault = *[Fault::Lost, Fault::Torn, Fault::AppliedAndFailed].get(random.random_range(0..12))?;
                *left -= 1;
                Some(fault)
            }
        }
    }

    async fn hang(&self) -> ! {
        self.hung.send_replace(true);
        std::future::pending().await
    }
}

/// A meta store whose commits can fail.
#[derive(Debug)]
pub(super) struct FaultyMeta(pub(super) Arc<dyn MetaStore>, pub(super) Arc<Faults>);

#[async_trait]
impl MetaStore for FaultyMeta {
    async fn get(&self, key: &[u8]) -> meta::Result<Option<Bytes>> {
        self.0.get(key).await
    }

    async fn scan(&self, prefix: &[u8]) -> meta::Result<Vec<(Bytes, Bytes)>> {
        self.0.scan(prefix).await
    }

    async fn commit(&self, conditions: Vec<Condition>, writes: Vec<Write>) -> meta::Result<()> {
        let fault = self.1.next();
        if matches!(fault, None | Some(Fault::AppliedAndFailed | Fault::HangsApplied)) {
            self.0.commit(conditions, writes).await?;
        }
        match fault {
            None => Ok(()),
            Some(Fault::HangsLost | Fault::HangsApplied) => self.1.hang().await,
            Some(fault) => Err(meta::Error::Storage(format!("{fault:?}, as told"))),
        }
    }

    async fn purge(&self) -> meta::Result<()> {
        self.0.purge().await
    }

    async fn close(&self) -> meta::Result<()> {
        self.0.close().await
    }
}

/// An object store whose writes can fail.
#[derive(Debug)]
pub(super) struct FaultyStore(pub(super) Arc<dyn ObjectStore>, pub(super) Arc<Faults>);

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, opts: PutOptions) -> object_store::Result<PutResult> {
        let fault = self.1.next();
        match fault {
            None => return self.0.put_opts(path, payload, opts).await,
            Some(Fault::AppliedAndFailed | Fault::HangsApplied) => drop(self.0.put_opts(path, payload, opts).await?),
            Some(Fault::Torn) => {
                let whole = Bytes::from(payload);
                drop(self.0.put(path, whole.slice(..whole.len() / 2).into()).await?);
            }
            Some(Fault::Lost | Fault::HangsLost) => {}
        }
        match fault {
            Some(Fault::HangsLost | Fault::HangsApplied) => self.1.hang().await,
            fault => Err(object_store::Error::Generic { store: "FaultyStore", source: format!("{fault:?}").into() }),
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        opts: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(path, opts).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.0.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}
