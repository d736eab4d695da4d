//! Where objects come from: a listing of a folder, and which of its objects are wanted.

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use ring::digest;

use crate::lake::store::{Store, StoreSettings};
use crate::lake::{Error, Result};

/// The most bytes of a pattern.
const PATTERN_BYTES_MAX: usize = 512;

/// A folder of objects to read.
#[derive(Debug, Clone)]
pub struct Source {
    store: Store,
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceObject {
    /// Its path in the store.
    pub path: Path,
    /// Its absolute URL.
    pub url: String,
    /// Its name below the source's folder, which patterns are about.
    pub name: String,
    /// In bytes.
    pub size: u64,
    /// What the store calls the version, where it does.
    pub e_tag: Option<String>,
    /// When it was written, in milliseconds since the Unix epoch.
    pub written_at_ms: i64,
    /// When it was written, as exactly as the store tells it.
    written_at_ns: i64,
    /// Whether it lies on a disk, whose tags change when a file is copied back.
    on_disk: bool,
}

impl SourceObject {
    /// The number that tells the version from others: by the store's tag; on a disk by size and time of writing.
    #[must_use]
    pub fn version(&self) -> u64 {
        let told = match &self.e_tag {
            Some(tag) if !self.on_disk => format!("tag {tag}"),
            _ => format!("size {} at {}", self.size, self.written_at_ns),
        };
        let hash = digest::digest(&digest::SHA256, told.as_bytes());
        let first = hash.as_ref().first_chunk().expect("a SHA-256 has 32 bytes");
        u64::from_be_bytes(*first)
    }
}

impl Source {
    /// Opens the folder that the settings' URL names. Unlike [`Store::open`] it makes none.
    ///
    /// # Errors
    /// [`Error::NotFound`] where a disk has no such folder; [`Error::Invalid`].
    pub fn open(settings: &StoreSettings) -> Result<Self> {
        if let Some(folder) = settings.url.strip_prefix("file://")
            && folder.starts_with('/')
            && !std::path::Path::new(folder).is_dir()
        {
            return Err(Error::NotFound { object: "the folder".to_owned(), store: settings.url.clone() });
        }
        Ok(Self { store: Store::open(settings)? })
    }

    /// A folder of a store that is open, for stores that inject faults.
    #[must_use]
    pub const fn of(store: Store) -> Self {
        Self { store }
    }

    /// The store; the folder is its root.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The objects below the folder that a pattern lets through, in no order.
    pub fn list<'s>(&'s self, pattern: &'s Pattern) -> BoxStream<'s, Result<SourceObject>> {
        let root = self.store.path("");
        let on_disk = self.store.root_url().starts_with("file:");
        let listed = self.store.object_store().list(Some(&root));
        let error = move |error: object_store::Error| self.store.error(&self.store.path(""), &error);
        listed
            .map_err(error)
            .try_filter_map(move |meta| {
                let object = self.object(meta, &root, on_disk);
                std::future::ready(Ok(pattern.matches(&object.name).then_some(object)))
            })
            .boxed()
    }

    /// The object of a URL, of which it is known that it is never written over by other bytes: its version tells no more than
    /// its size. `None` where it is not there.
    pub async fn find_unchanging(&self, url: &str) -> Result<Option<SourceObject>> {
        let path = self.store.path_of_url(url)?;
        let object =
            |meta| SourceObject { on_disk: true, written_at_ns: 0, ..self.object(meta, &self.store.path(""), true) };
        match self.store.object_store().head(&path).await {
            Ok(meta) => Ok(Some(object(meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.store.error(&path, &error)),
        }
    }

    fn object(&self, meta: ObjectMeta, root: &Path, on_disk: bool) -> SourceObject {
        let name = meta.location.as_ref().strip_prefix(root.as_ref()).unwrap_or(meta.location.as_ref());
        SourceObject {
            url: self.store.url(&meta.location),
            name: name.trim_start_matches('/').to_owned(),
            size: meta.size,
            e_tag: meta.e_tag,
            written_at_ms: meta.last_modified.timestamp_millis(),
            written_at_ns: meta.last_modified.timestamp_nanos_opt().unwrap_or_default(),
            on_disk,
            path: meta.location,
        }
    }
}

/// Which objects are wanted, by their names below the folder.
///
/// A name that begins with `.` or `_`, as temporary files and markers have it, is never wanted; nor is one in such a folder.
#[derive(Debug, Clone, Default)]
pub struct Pattern {
    glob: Option<glob::Pattern>,
    endings: Vec<&'static str>,
}

impl Pattern {
    /// A pattern of `?`, `*` within a folder, `**` over folders and `[…]`, such as `2026/**/*.csv.gz`; without one all names.
    ///
    /// # Errors
    /// [`Error::Invalid`] tells what is wrong with it.
    pub fn parse(glob: Option<&str>) -> Result<Self> {
        let Some(glob) = glob else { return Ok(Self::default()) };
        let invalid = |why: String| Error::Invalid(format!("the pattern {glob:?} {why}"));
        if glob.len() > PATTERN_BYTES_MAX {
            return Err(invalid(format!("has {} bytes, and may have {PATTERN_BYTES_MAX}", glob.len())));
        }
        let parsed = glob::Pattern::new(glob).map_err(|error| invalid(format!("is wrong: {error}")))?;
        Ok(Self { glob: Some(parsed), endings: Vec::new() })
    }

    /// The same, for names that end so.
    #[must_use]
    pub fn ending(mut self, endings: &[&'static str]) -> Self {
        self.endings = endings.to_vec();
        self
    }

    /// Whether an object of this name is wanted.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let hidden = name.split('/').any(|part| part.starts_with('.') || part.starts_with('_'));
        let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::new() };
        !hidden
            && (self.endings.is_empty() || self.endings.iter().any(|ending| name.ends_with(ending)))
            && self.glob.as_ref().is_none_or(|glob| glob.matches_with(name, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_let_through_what_they_say() {
        let check = |glob: Option<&str>, name: &str, wanted: bool| {
            assert_eq!(Pattern::parse(glob).unwrap().matches(name), wanted, "{glob:?} {name}");
        };
        check(None, "a.csv", true);
        check(None, "x/y/a", true);
        check(None, "_SUCCESS", false);
        check(None, "x/.a.csv.tmp", false);
        check(None, "_temporary/a.csv", false);
        check(Some("*.csv"), "a.csv", true);
        check(Some("*.csv"), "x/a.csv", false);
        check(Some("**/*.csv"), "x/y/a.csv", true);
        check(Some("**/*.csv"), "a.csv", true);
        check(Some("2026-*/a?.gz"), "2026-11/a1.gz", true);
        check(Some("2026-*/a?.gz"), "2026-11/b/a1.gz", false);
        assert!(Pattern::parse(Some("a[")).unwrap_err().to_string().contains("\"a[\""));
        assert!(Pattern::parse(Some(&"x".repeat(512))).is_ok());
        assert!(Pattern::parse(Some(&"x".repeat(513))).unwrap_err().to_string().contains("513"));
        let backups = Pattern::default().ending(&[".jsonl.gz"]);
        assert!(backups.matches("x/b.jsonl.gz") && !backups.matches("ranges/b.json"));
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let error = Source::open(&StoreSettings::of_url(format!("file://{}", missing.display()))).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error}");
        assert!(!missing.exists());
    }
}
