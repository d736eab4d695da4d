//! What follows a commit: the hint for readers of the folder, and the removal of old metadata files.
//!
//! All of it is done as well as it can be. It must never fail a commit, which stands already.

use iceberg::spec::MetadataLog;

use super::create::DELETE_AFTER_COMMIT;
use super::{Catalog, Loaded};

impl Catalog {
    /// Writes where a reader that has only the folder finds the newest metadata file. It is a hint: the pointer decides.
    pub(super) async fn write_version_hint(&self, loaded: &Loaded) {
        let location = &loaded.pointer.value.metadata_location;
        let Some((folder, file)) = location.rsplit_once('/') else {
            return;
        };
        let version = file.trim_end_matches(".metadata.json").to_owned();
        let writing =
            async { self.file_io.new_output(format!("{folder}/version-hint.text"))?.write(version.into()).await };
        if let Err(error) = writing.await {
            tracing::warn!(%location, %error, "the version hint of a table could not be written");
        }
    }

    /// Deletes metadata files that the table's properties say nobody needs any more.
    pub(super) async fn delete_expired(&self, loaded: &Loaded, expired: Vec<MetadataLog>) {
        let properties = loaded.table.metadata().properties();
        if properties.get(DELETE_AFTER_COMMIT).is_none_or(|wanted| wanted != "true") {
            return;
        }
        for log in expired {
            if let Err(error) = self.file_io.delete(&log.metadata_file).await {
                tracing::warn!(file = log.metadata_file, %error, "an old metadata file could not be deleted");
            }
        }
    }
}
