//! Who is at work in a backup's place: an object for each backup that is being taken and each prune.
//!
//! A backup does not copy what is there, and a prune removes what no backup names: side by side, the one would name what the
//! other removes. So each puts its marker first and then looks for the other's; of two that begin at the same moment, one at
//! least sees the other, and gives way. Ages are by the store's own clock. A marker whose owner ended without removing it
//! counts no more once it is [`STALE_AFTER`] old; who is at work keeps its own younger.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::{Error, Result};
use crate::lake::store::Store;

/// When a marker that nobody touches counts no more.
const STALE_AFTER: TimeDelta = TimeDelta::hours(1);
/// How often an owner touches its own.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// What somebody does in a backup's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Taking,
    Pruning,
}

impl Work {
    const fn folder(self) -> &'static str {
        match self {
            Self::Taking => "taking",
            Self::Pruning => "pruning",
        }
    }

    /// For an error of who finds it under way.
    const fn words(self) -> &'static str {
        match self {
            Self::Taking => "a backup is being taken",
            Self::Pruning => "backups are being pruned",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Taking => Self::Pruning,
            Self::Pruning => Self::Taking,
        }
    }
}

/// The marker of this process's work.
#[derive(Debug)]
pub(super) struct Marker<'a> {
    place: &'a Store,
    path: Path,
    touched: Instant,
}

impl<'a> Marker<'a> {
    /// Marks work, unless work that does not go with it is under way.
    pub(super) async fn put(place: &'a Store, work: Work) -> Result<Self> {
        let path = place.path(&format!("{}/{:016x}", work.folder(), rand::random::<u64>()));
        place.put(&path, Bytes::new()).await?;
        let marker = Self { place, path, touched: Instant::now() };
        match marker.is_alone(work.other()).await {
            Ok(true) => Ok(marker),
            Ok(false) => {
                marker.remove().await;
                Err(Error::Busy { place: place.root_url(), work: work.other().words() })
            }
            Err(error) => {
                marker.remove().await;
                Err(error)
            }
        }
    }

    /// Whether nobody is at the other work. Who left its marker long ago is not.
    async fn is_alone(&self, other: Work) -> Result<bool> {
        let store = self.place.object_store();
        let own = store.head(&self.path).await.map_err(|error| self.place.error(&self.path, &error))?;
        let folder = self.place.path(other.folder());
        let found: Vec<_> =
            store.list(Some(&folder)).try_collect().await.map_err(|error| self.place.error(&folder, &error))?;
        Ok(!found.iter().any(|marker| is_fresh(marker.last_modified, own.last_modified)))
    }

    /// Keeps the marker young. To be called again and again while the work goes on.
    ///
    /// Fails where it is gone: somebody took this work for dead.
    pub(super) async fn touch(&mut self) -> Result<()> {
        if self.touched.elapsed() < TOUCH_INTERVAL {
            return Ok(());
        }
        self.check().await?;
        self.place.put(&self.path, Bytes::new()).await?;
        self.touched = Instant::now();
        Ok(())
    }

    /// Fails where the marker is gone.
    pub(super) async fn check(&self) -> Result<()> {
        match self.place.object_store().head(&self.path).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::NotFound { .. }) => Err(Error::Overtaken { marker: self.path.to_string() }),
            Err(error) => Err(self.place.error(&self.path, &error).into()),
        }
    }

    /// Removes the marker. Where that fails it counts no more after a while.
    pub(super) async fn remove(self) {
        if let Err(error) = self.place.delete(&self.path).await {
            tracing::warn!(marker = %self.path, %error, "a marker in the backup's place is left");
        }
    }
}

/// Removes the markers of those who ended without doing so.
pub(super) async fn remove_stale(place: &Store, own: &Marker<'_>) -> Result<()> {
    let store = place.object_store();
    let now = store.head(&own.path).await.map_err(|error| place.error(&own.path, &error))?.last_modified;
    for work in [Work::Taking, Work::Pruning] {
        let folder = place.path(work.folder());
        let found: Vec<_> =
            store.list(Some(&folder)).try_collect().await.map_err(|error| place.error(&folder, &error))?;
        for marker in found.iter().filter(|marker| !is_fresh(marker.last_modified, now)) {
            place.delete(&marker.location).await?;
        }
    }
    Ok(())
}

fn is_fresh(touched: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    now - touched < STALE_AFTER
}
