//! Restores a backup: checks that all of it is there, then writes log and meta store into an empty folder and checks each byte.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt};
use ring::digest;

use super::manifest::{Backup, BackupFile, hex};
use super::take::{Progress, object};
use super::{Error, Result, disk};
use crate::lake::store::Store;

/// The file of a data folder whose restore is not done; a server must not open such a folder.
pub const RESTORING: &str = "RESTORING";

/// All backups in a place, oldest first.
pub async fn list(place: &Store) -> Result<Vec<Backup>> {
    let folder = place.path("backups");
    let objects: Vec<_> =
        place.object_store().list(Some(&folder)).try_collect().await.map_err(|error| place.error(&folder, &error))?;
    let mut backups = Vec::new();
    for object in objects {
        if object.location.as_ref().ends_with(".json") {
            let bytes = place.get(&object.location).await?;
            backups.push(Backup::decode(object.location.as_ref(), &bytes)?);
        }
    }
    backups.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(backups)
}

/// Writes a backup, the newest where `id` is none, into `data_dir`, which must be new or empty.
///
/// The manifest and the presence of every object are checked before the first byte is written, and each file's check sum when
/// it was. A restore that was cut off is begun again by the same call.
pub async fn restore(
    place: &Store,
    id: Option<&str>,
    data_dir: &Path,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<Backup> {
    let backup = find(place, id).await?;
    check_presence(place, &backup).await?;
    prepare(data_dir)?;
    let mut at = Progress { files: backup.files.len() as u64, bytes: backup.bytes(), ..Progress::default() };
    for file in &backup.files {
        fetch(place, file, &data_dir.join(&file.path)).await?;
        at.files_done += 1;
        at.bytes_done += file.bytes;
        at.bytes_copied += file.bytes;
        progress(at);
    }
    finish(data_dir)?;
    Ok(backup)
}

async fn find(place: &Store, id: Option<&str>) -> Result<Backup> {
    let missing = || Error::NotFound { place: place.root_url(), id: id.unwrap_or("at all").to_owned() };
    let Some(id) = id else { return list(place).await?.pop().ok_or_else(missing) };
    let path = place.path(&format!("backups/{id}.json"));
    match place.get(&path).await {
        Ok(bytes) => Backup::decode(path.as_ref(), &bytes),
        Err(crate::lake::Error::NotFound { .. }) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}

async fn check_presence(place: &Store, backup: &Backup) -> Result<()> {
    for file in &backup.files {
        let path = place.path(&object(file));
        let found = match place.object_store().head(&path).await {
            Ok(found) => found.size,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Error::Damaged { object: path.to_string(), reason: "it is missing".to_owned() });
            }
            Err(error) => return Err(place.error(&path, &error).into()),
        };
        if found != file.bytes {
            let reason = format!("it has {found} bytes, and the backup says {}", file.bytes);
            return Err(Error::Damaged { object: path.to_string(), reason });
        }
    }
    Ok(())
}

/// Makes the folder and marks it as not done; takes away what a restore left that was cut off.
fn prepare(data_dir: &Path) -> Result<()> {
    fs::create_dir_all(data_dir).map_err(disk(data_dir))?;
    let marker = data_dir.join(RESTORING);
    if marker.exists() {
        for store in ["log", "meta"] {
            let folder = data_dir.join(store);
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(disk(&folder)(error)),
                _ => {}
            }
        }
    } else if fs::read_dir(data_dir).map_err(disk(data_dir))?.next().is_some() {
        return Err(Error::NotEmpty { path: data_dir.display().to_string() });
    }
    File::create(&marker).and_then(|file| file.sync_all()).map_err(disk(&marker))?;
    sync_folder(data_dir)?;
    for store in ["log", "meta"] {
        let folder = data_dir.join(store);
        fs::create_dir_all(&folder).map_err(disk(&folder))?;
    }
    Ok(())
}

async fn fetch(place: &Store, file: &BackupFile, to: &PathBuf) -> Result<()> {
    let path = place.path(&object(file));
    let failed = |error: object_store::Error| Error::from(place.error(&path, &error));
    let mut chunks = place.object_store().get(&path).await.map_err(failed)?.into_stream();
    let mut sum = digest::Context::new(&digest::SHA256);
    let mut written = File::create(to).map_err(disk(to))?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(failed)?;
        sum.update(&chunk);
        written.write_all(&chunk).map_err(disk(to))?;
    }
    written.sync_all().map_err(disk(to))?;
    let found = hex(sum.finish().as_ref());
    if found != file.sha256 {
        let reason = format!("its bytes have the SHA-256 {found}");
        return Err(Error::Damaged { object: path.to_string(), reason });
    }
    Ok(())
}

fn finish(data_dir: &Path) -> Result<()> {
    for store in ["log", "meta"] {
        sync_folder(&data_dir.join(store))?;
    }
    let marker = data_dir.join(RESTORING);
    fs::remove_file(&marker).map_err(disk(&marker))?;
    sync_folder(data_dir)
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk(folder))
}
