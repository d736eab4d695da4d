//! Bytes to the store: small ones in one request, large ones in parts.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, WriteMultipart};

use super::Result;
use super::store::Store;

/// The size of a part, in bytes; S3 takes none below 5 MiB but the last.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// How many parts of one object are under way at once.
const PARTS_IN_FLIGHT: usize = 4;

/// Writes a whole object, over one that is there. When this returns, the object is durable.
pub(crate) async fn upload(store: &Store, path: &Path, bytes: Bytes) -> Result<()> {
    if bytes.len() <= PART_BYTES {
        return store.put(path, bytes).await;
    }
    let in_parts = async {
        let upload = store.object_store().put_multipart(path).await?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        for start in (0..bytes.len()).step_by(PART_BYTES) {
            if let Err(error) = writer.wait_for_capacity(PARTS_IN_FLIGHT).await {
                // The parts that are there would be paid for for ever; the error that counts is the first.
                let _ = writer.abort().await;
                return Err(error);
            }
            writer.put(bytes.slice(start..bytes.len().min(start + PART_BYTES)));
        }
        writer.finish().await
    };
    match in_parts.await {
        Ok(_) => Ok(()),
        Err(error) => Err(store.error(path, &error)),
    }
}
