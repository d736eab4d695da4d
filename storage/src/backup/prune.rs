//! Prunes backups: removes all but the newest, then the objects that no backup names any more.
//!
//! It removes nothing while a backup is taken, and nothing where one manifest cannot be read: what that names is not known.

use std::collections::HashSet;
use std::num::NonZeroU32;

use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore};

use super::Result;
use super::manifest::Backup;
use super::marker::{Marker, Work, remove_stale};
use super::restore::list;
use super::take::object;
use crate::lake::store::Store;

/// What a prune removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Ids of the backups, oldest first.
    pub backups: Vec<String>,
    /// Objects that no backup names any more.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Backups that are left.
    pub kept: u64,
}

/// Whether a prune does what it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pruning {
    /// It removes.
    Real,
    /// It only tells what it would remove.
    Dry,
}

/// Removes all backups but the newest `keep`, and what only they named.
///
/// Backups go before their objects, so that one that is there is whole whenever this ends early; the next call finds what it
/// left. Fails with [`super::Error::Busy`] while a backup is taken, by any process.
pub async fn prune(place: &Store, keep: NonZeroU32, pruning: Pruning) -> Result<Pruned> {
    if pruning == Pruning::Dry {
        return look(place, keep).await.map(|(pruned, _)| pruned);
    }
    let mut marker = Marker::put(place, Work::Pruning).await?;
    let outcome = remove(place, keep, &mut marker).await;
    marker.remove().await;
    outcome
}

async fn remove(place: &Store, keep: NonZeroU32, marker: &mut Marker<'_>) -> Result<Pruned> {
    remove_stale(place, marker).await?;
    let (pruned, objects) = look(place, keep).await?;
    for id in &pruned.backups {
        marker.touch().await?;
        place.delete(&place.path(&format!("backups/{id}.json"))).await?;
    }
    for object in objects {
        marker.touch().await?;
        place.delete(&object.location).await?;
    }
    Ok(pruned)
}

/// What is to be removed, with the objects.
async fn look(place: &Store, keep: NonZeroU32) -> Result<(Pruned, Vec<ObjectMeta>)> {
    let mut backups = list(place).await?;
    let kept = backups.split_off(backups.len().saturating_sub(keep.get() as usize));
    let named: HashSet<String> = kept.iter().flat_map(objects_of).collect();
    let folder = place.path("objects");
    let found: Vec<ObjectMeta> =
        place.object_store().list(Some(&folder)).try_collect().await.map_err(|error| place.error(&folder, &error))?;
    let is_named = |object: &ObjectMeta| object.location.filename().is_some_and(|name| named.contains(name));
    let objects: Vec<ObjectMeta> = found.into_iter().filter(|object| !is_named(object)).collect();
    let pruned = Pruned {
        backups: backups.into_iter().map(|backup| backup.id).collect(),
        objects: objects.len() as u64,
        bytes: objects.iter().map(|object| object.size).sum(),
        kept: kept.len() as u64,
    };
    Ok((pruned, objects))
}

/// The names of a backup's objects.
fn objects_of(backup: &Backup) -> impl Iterator<Item = String> + '_ {
    backup.files.iter().map(|file| object(file).trim_start_matches("objects/").to_owned())
}
