//! A disk as an object store whose writes survive a power cut.
//!
//! `object_store`'s own file store renames a file into place without syncing it: after a power cut the name may be there with
//! no bytes behind it. Here a write returns only after the file and every folder on its way from the root are synced.

use std::fmt;
use std::fs::File;
use std::path::{Path as FilePath, PathBuf};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// The file store, with syncs.
#[derive(Debug)]
pub(super) struct DurableDisk {
    files: LocalFileSystem,
    root: PathBuf,
}

impl DurableDisk {
    /// A store of paths relative to `/`; folders above `root` are taken as durable.
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Self { files: LocalFileSystem::new(), root: root.into() }
    }

    async fn sync(&self, location: &Path) -> Result<()> {
        sync(self.files.path_to_filesystem(location)?, self.root.clone()).await
    }
}

/// Syncs a new folder and those above it, as far as this user may open them; one that was there before is synced already.
pub(super) fn sync_folders(folder: &FilePath) {
    for folder in folder.ancestors() {
        if File::open(folder).and_then(|folder| folder.sync_all()).is_err() {
            return;
        }
    }
}

/// Syncs a file, then its folders up to and with `root`.
async fn sync(file: PathBuf, root: PathBuf) -> Result<()> {
    let synced = tokio::task::spawn_blocking(move || {
        File::open(&file)?.sync_all()?;
        let folders = file.ancestors().skip(1).take_while(|folder| folder.starts_with(&root));
        folders.into_iter().try_for_each(|folder: &FilePath| File::open(folder)?.sync_all())
    });
    let outcome: std::io::Result<()> = synced.await?;
    outcome.map_err(|error| Error::Generic { store: "LocalFileSystem", source: Box::new(error) })
}

impl fmt::Display for DurableDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableDisk({})", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableDisk {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let result = self.files.put_opts(location, payload, opts).await?;
        self.sync(location).await?;
        Ok(result)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.files.put_multipart_opts(location, opts).await?;
        let file = self.files.path_to_filesystem(location)?;
        Ok(Box::new(DurableUpload { upload, file, root: self.root.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await?;
        self.sync(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await?;
        self.sync(to).await
    }
}

/// An upload in parts that is synced when it completes.
#[derive(Debug)]
struct DurableUpload {
    upload: Box<dyn MultipartUpload>,
    file: PathBuf,
    root: PathBuf,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.complete().await?;
        sync(self.file.clone(), self.root.clone()).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
