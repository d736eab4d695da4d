//! What a backup holds, as a file of its own: JSON with the check sum of its own text.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// The version that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// One backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// The manifest's version.
    pub format: u32,
    /// Its name: when it was taken, in UTC, so that names sort by time.
    pub id: String,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
    /// The version of Millrace that took it.
    pub version: String,
    /// Every file, by path.
    pub files: Vec<BackupFile>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its path below the data folder, such as `log/000012.sst`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hexadecimal; also the name of the object that holds them.
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    backup: Backup,
    /// SHA-256 of the backup as compact JSON.
    sha256: String,
}

impl Backup {
    pub(super) fn new(id: String, created_at_ms: i64, files: Vec<BackupFile>) -> Self {
        Self { format: FORMAT, id, created_at_ms, version: env!("CARGO_PKG_VERSION").to_owned(), files }
    }

    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(super) fn encode(&self) -> Bytes {
        let signed = Signed { backup: self.clone(), sha256: self.sha256() };
        Bytes::from(serde_json::to_vec_pretty(&signed).expect("names and numbers are JSON"))
    }

    /// Reads a manifest and checks it: its check sum, its version, and that no path leaves the folder.
    pub(super) fn decode(object: &str, bytes: &[u8]) -> Result<Self> {
        let damaged = |reason: String| Error::Damaged { object: object.to_owned(), reason };
        let signed: Signed = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        let backup = signed.backup;
        if backup.sha256() != signed.sha256 {
            return Err(damaged("its check sum is another".to_owned()));
        }
        if backup.format != FORMAT {
            return Err(damaged(format!("its format is {}, and this build reads {FORMAT}", backup.format)));
        }
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        let is_below = |file: &BackupFile| {
            let (folder, name) = file.path.split_once('/').unwrap_or_default();
            matches!(folder, "log" | "meta") && is_plain(name) && !name.contains('/')
        };
        match backup.files.iter().find(|file| !is_below(file)) {
            Some(file) => Err(damaged(format!("it has a file {:?}", file.path))),
            None => Ok(backup),
        }
    }

    fn sha256(&self) -> String {
        let text = serde_json::to_vec(self).expect("names and numbers are JSON");
        hex(ring::digest::digest(&ring::digest::SHA256, &text).as_ref())
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
