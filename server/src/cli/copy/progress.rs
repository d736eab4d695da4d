//! How far a copy is: a file that is always whole, and newer than anything that was sent.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::{Failure, Result};

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) source: String,
    pub(super) destination: String,
    /// In milliseconds since the Unix epoch; from the first record on where it is absent.
    pub(super) from_ms: Option<i64>,
    /// In milliseconds since the Unix epoch; to the last record where it is absent.
    pub(super) to_ms: Option<i64>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    version: u8,
    pub(super) range: Range,
    /// By number.
    pub(super) shards: BTreeMap<u32, ShardProgress>,
}

/// How far a shard of the source is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShardProgress {
    /// The producer that the shard's batches are named by: a random number.
    pub(super) producer_id: u64,
    /// The sequence of the next batch, or of the one that is being sent.
    pub(super) sequence: u64,
    /// The first offset that is not copied.
    pub(super) next: u64,
    /// The first offset that is none of the copy's.
    pub(super) end: u64,
    /// What is being sent, and may be stored.
    pub(super) sending: Option<Sending>,
    /// Copied so far.
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Records that were past their retention before they could be read.
    pub(super) lost: u64,
}

/// A batch from `next` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sending {
    /// The offset after its last record.
    pub(super) upto: u64,
    /// When it was first sent, in milliseconds since the Unix epoch.
    pub(super) first_sent_at_ms: i64,
}

const VERSION: u8 = 1;

impl Progress {
    pub(super) fn new(range: Range, shards: BTreeMap<u32, ShardProgress>) -> Self {
        Self { version: VERSION, range, shards }
    }

    /// Reads the file of a copy that was interrupted; `None` where there is none.
    pub(super) fn load(file: &Path, wanted: &Range) -> Result<Option<Self>> {
        let name = file.display();
        let text = match fs::read(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::new(format!("cannot read {name}: {error}"))),
        };
        let read: Self = serde_json::from_slice(&text)
            .map_err(|error| Failure::new(format!("{name} is not the progress of a copy: {error}")))?;
        let is_same = |wanted: Option<i64>, begun: Option<i64>| wanted.is_none() || wanted == begun;
        let (begun, version) = (&read.range, read.version);
        if version != VERSION || begun.source != wanted.source || begun.destination != wanted.destination {
            let (source, destination) = (&begun.source, &begun.destination);
            let words =
                format!("{name} is of a copy of {source} into {destination} (version {version}), not of this one");
            return Err(Failure::usage(words).with_hint("name another file with --progress"));
        }
        if !is_same(wanted.from_ms, begun.from_ms) || !is_same(wanted.to_ms, begun.to_ms) {
            let words = format!("{name} is of a copy of another range, which was interrupted");
            let hint = "leave --from and --to out to go on with it, or remove the file to begin anew";
            return Err(Failure::usage(words).with_hint(hint));
        }
        Ok(Some(read))
    }

    /// Writes the file, durably.
    pub(super) fn store(&self, file: &Path) -> Result<()> {
        let store = || {
            let beside = file.with_extension("tmp");
            let mut written = File::create(&beside)?;
            written.write_all(&serde_json::to_vec(self)?)?;
            written.sync_all()?;
            fs::rename(&beside, file)?;
            sync_folder(file)
        };
        store().map_err(|error: io::Error| Failure::new(format!("cannot write {}: {error}", file.display())))
    }
}

/// Makes a rename durable.
fn sync_folder(file: &Path) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from_ms: Option<i64>) -> Range {
        Range { source: "a".into(), destination: "b".into(), from_ms, to_ms: None }
    }

    #[test]
    fn a_copy_goes_on_by_its_file_and_no_other_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("progress.json");
        assert!(Progress::load(&file, &range(None)).unwrap().is_none());
        let sending = Some(Sending { upto: 9, first_sent_at_ms: 7 });
        let shard =
            ShardProgress { producer_id: u64::MAX, sequence: 3, next: 5, end: 20, sending, ..Default::default() };
        let progress = Progress::new(range(Some(1)), BTreeMap::from([(0, shard)]));
        progress.store(&file).unwrap();
        assert_eq!(Progress::load(&file, &range(None)).unwrap(), Some(progress.clone()));
        assert_eq!(Progress::load(&file, &range(Some(1))).unwrap(), Some(progress));
        let other_range = Progress::load(&file, &range(Some(2))).unwrap_err().to_string();
        assert!(other_range.contains("another range"), "{other_range}");
        let other = Range { destination: "c".into(), ..range(None) };
        let other = Progress::load(&file, &other).unwrap_err().to_string();
        assert!(other.contains("a copy of a into b"), "{other}");
        fs::write(&file, "{").unwrap();
        assert!(Progress::load(&file, &range(None)).unwrap_err().to_string().contains("not the progress of a copy"));
    }
}
