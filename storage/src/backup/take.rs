//! Takes a backup: copies of both stores at one moment, made of links, then what the backup's place does not hold yet.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::DateTime;
use object_store::{ObjectStoreExt, WriteMultipart};
use ring::digest;

use super::manifest::{Backup, BackupFile, hex};
use super::marker::{Marker, Work};
use super::{Error, Result, blocking, disk};
use crate::lake::store::Store;
use crate::log::rocks::RocksLog;
use crate::meta::rocks::RocksMeta;
use crate::time::Timestamp;

/// The folder of the data folder that a backup's copies lie in while it is taken.
const COPIES: &str = "backup-copies";
/// Bytes that are read at once; also the parts of a large object.
const CHUNK_BYTES: usize = 8 << 20;
/// Parts of one object that are under way at once.
const PARTS_IN_FLIGHT: usize = 2;

/// How far a backup or a restore is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Files that are done.
    pub files_done: u64,
    /// All files.
    pub files: u64,
    /// Bytes of files that are done.
    pub bytes_done: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that were copied; the others were there.
    pub bytes_copied: u64,
}

/// Takes a backup of the stores in `data_dir` to `place`, and tells how far it is after each file.
///
/// Two at once would disturb each other's copies; the caller lets one run at a time.
pub async fn take(
    log: &Arc<RocksLog>,
    meta: &RocksMeta,
    data_dir: &Path,
    place: &Store,
    mut progress: impl FnMut(Progress) + Send,
) -> Result<(Backup, Progress)> {
    remove_remains(data_dir)?;
    let now = Timestamp::now();
    let copies = data_dir.join(COPIES);
    fs::create_dir_all(&copies).map_err(disk(&copies))?;
    let copied = copy(log, meta, &copies).await;
    let taken = match copied {
        Ok(()) => marked(&copies, now, place, &mut progress).await,
        Err(error) => Err(error),
    };
    remove_remains(data_dir)?;
    taken
}

/// Removes the copies that an ended process left; their links keep disk space taken.
pub fn remove_remains(data_dir: &Path) -> Result<()> {
    let copies = data_dir.join(COPIES);
    match fs::remove_dir_all(&copies) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(disk(&copies)(error)),
        _ => Ok(()),
    }
}

/// Both stores at one moment; see the module for why in this order.
async fn copy(log: &Arc<RocksLog>, meta: &RocksMeta, copies: &Path) -> Result<()> {
    let (log, path, runtime) = (Arc::clone(log), copies.join("log"), tokio::runtime::Handle::current());
    meta.checkpoint(copies.join("meta"), move || runtime.block_on(log.checkpoint(path)).map_err(Error::from)).await
}

/// Uploads while prunes keep away.
async fn marked(
    copies: &Path,
    now: Timestamp,
    place: &Store,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<(Backup, Progress)> {
    let mut marker = Marker::put(place, Work::Taking).await?;
    let taken = upload(copies, now, place, &mut marker, progress).await;
    marker.remove().await;
    taken
}

async fn upload(
    copies: &Path,
    now: Timestamp,
    place: &Store,
    marker: &mut Marker<'_>,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<(Backup, Progress)> {
    let paths = files(copies)?;
    let bytes = paths.iter().map(|(_, path)| path.metadata().map_or(0, |file| file.len())).sum();
    let mut at = Progress { files: paths.len() as u64, bytes, ..Progress::default() };
    let mut files = Vec::with_capacity(paths.len());
    for (name, path) in paths {
        let file = describe(name, path.clone()).await?;
        marker.touch().await?;
        if !is_there(place, &file).await? {
            put(place, &file, &path).await?;
            at.bytes_copied += file.bytes;
        }
        at.files_done += 1;
        at.bytes_done += file.bytes;
        progress(at);
        files.push(file);
    }
    let id = DateTime::from_timestamp_millis(now.as_millis())
        .map_or_else(|| now.as_millis().to_string(), |time| time.format("%Y%m%dT%H%M%S%.3fZ").to_string());
    let backup = Backup::new(id, now.as_millis(), files);
    marker.check().await?;
    place.put(&place.path(&format!("backups/{}.json", backup.id)), backup.encode()).await?;
    Ok((backup, at))
}

/// The files of both copies, by their names in the backup.
fn files(copies: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for store in ["log", "meta"] {
        let folder = copies.join(store);
        for file in fs::read_dir(&folder).map_err(disk(&folder))? {
            let file = file.map_err(disk(&folder))?;
            files.push((format!("{store}/{}", file.file_name().to_string_lossy()), file.path()));
        }
    }
    files.sort();
    Ok(files)
}

async fn describe(path: String, file: PathBuf) -> Result<BackupFile> {
    blocking(move || {
        let mut reader = File::open(&file).map_err(disk(&file))?;
        let (mut sum, mut bytes, mut chunk) = (digest::Context::new(&digest::SHA256), 0, vec![0; 1 << 20]);
        loop {
            let read = reader.read(&mut chunk).map_err(disk(&file))?;
            if read == 0 {
                return Ok(BackupFile { path, bytes, sha256: hex(sum.finish().as_ref()) });
            }
            sum.update(&chunk[..read]);
            bytes += read as u64;
        }
    })
    .await
}

async fn is_there(place: &Store, file: &BackupFile) -> Result<bool> {
    let path = place.path(&object(file));
    match place.object_store().head(&path).await {
        Ok(found) => Ok(found.size == file.bytes),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(place.error(&path, &error).into()),
    }
}

/// The object that holds a file's bytes.
pub(super) fn object(file: &BackupFile) -> String {
    format!("objects/{}", file.sha256)
}

async fn put(place: &Store, file: &BackupFile, from: &Path) -> Result<()> {
    let path = place.path(&object(file));
    let mut reader = Some(File::open(from).map_err(disk(from))?);
    if file.bytes <= CHUNK_BYTES as u64 {
        return Ok(place.put(&path, next_chunk(&mut reader, from).await?).await?);
    }
    let upload = place.object_store().put_multipart(&path).await.map_err(|error| place.error(&path, &error))?;
    let mut writer = WriteMultipart::new_with_chunk_size(upload, CHUNK_BYTES);
    loop {
        let chunk = next_chunk(&mut reader, from).await?;
        if chunk.is_empty() {
            break;
        }
        writer.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(|error| place.error(&path, &error))?;
        writer.put(chunk);
    }
    writer.finish().await.map(drop).map_err(|error| place.error(&path, &error).into())
}

/// The next bytes of a file; none at its end.
async fn next_chunk(reader: &mut Option<File>, from: &Path) -> Result<Bytes> {
    let Some(file) = reader.take() else { return Ok(Bytes::new()) };
    let from = from.to_owned();
    let (file, chunk) = blocking(move || {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        (&file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).map_err(disk(&from))?;
        Ok((file, chunk))
    })
    .await?;
    *reader = Some(file);
    Ok(Bytes::from(chunk))
}
